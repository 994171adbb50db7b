//! Linux: processes, limits, signals and the service manager. It knows kernel interfaces, not
//! servers, calls or protocols.
pub mod calls;
pub mod cgroup;
pub mod confine;
pub mod fence;
pub mod inherit;
pub mod job;
pub mod lock;
pub mod notify;
pub mod pressure;
pub mod process;
pub mod psi;
pub mod signal;
pub mod socket;
