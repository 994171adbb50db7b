//! Linux: processes, limits, signals and the service manager. It knows kernel interfaces, not
//! servers, calls or protocols.
pub mod cgroup;
pub mod confine;
pub mod inherit;
pub mod lock;
pub mod notify;
pub mod process;
pub mod signal;
pub mod socket;
