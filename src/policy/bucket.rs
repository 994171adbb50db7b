//! The token bucket of one key.

use std::time::Duration;

/// How many calls a principal may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Calls a second in the long run; 0: no limit.
    pub rate: u32,
    /// Calls at once after a pause, at least 1.
    pub burst_size: u32,
    /// How often tokens arrive: `rate` times this many at a time; never zero.
    pub refill_interval: Duration,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            rate: 100,
            burst_size: 200,
            refill_interval: Duration::from_millis(10),
        }
    }
}
