//! The memory guard's verdicts.

use std::time::Duration;

/// Memory of all workers of a server together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes above which the pool does not grow and its fattest idle worker is recycled.
    pub soft_limit: u64,
    /// Bytes of which 95 % cost one worker its life; more than `soft_limit`.
    pub hard_limit: u64,
    /// How often the trend is looked at; never zero. Limits are looked at every second.
    pub check_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            soft_limit: 2 << 30,
            hard_limit: 4 << 30,
            check_interval: Duration::from_secs(10),
        }
    }
}
