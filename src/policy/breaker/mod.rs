//! The circuit breaker: when calls to a server, or to one tool, are stopped, and how it finds out
//! whether they may go on. What a call's outcome means is the table in `outcome`; one sick worker
//! is no matter for a breaker, it is replaced.

mod machine;
mod mode;
mod ramp;
mod report;
mod terms;

pub use machine::Breaker;
pub use terms::{Admission, Ended, Mode, Refused, State, Ticket, Transition, Verdict, View};

use std::time::Duration;

/// When a breaker opens, and how it comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Failures in a row that open it, at least 1.
    pub failure_threshold: u32,
    /// Longest wait before an open breaker lets a probe through. The first comes after a second.
    pub recovery_timeout: Duration,
    /// Calls let through at a time while it finds out whether to close, at least 1.
    pub half_open_max_calls: u32,
    /// What the success rate is taken over; never zero.
    pub window: Duration,
    /// Calls in the window below which the rate says nothing, at least 1.
    pub minimum_calls: u32,
    /// Per cent of calls in the window that must succeed, 0 to 100; below it opens.
    pub success_rate: u8,
    /// A call that takes longer is slow; `None`: no call is.
    pub slow_call: Option<Duration>,
    /// Per cent of slow calls in the window that open it, 1 to 100.
    pub slow_rate: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            recovery_timeout: Duration::from_secs(60),
            half_open_max_calls: 3,
            window: Duration::from_secs(10),
            minimum_calls: 10,
            success_rate: 80,
            slow_call: None,
            slow_rate: 50,
        }
    }
}
