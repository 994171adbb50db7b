//! Messages to the service manager (sd_notify(3)). A failure here is logged and nothing else.
