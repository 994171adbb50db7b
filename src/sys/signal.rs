//! The daemon's own signals as a stream.
