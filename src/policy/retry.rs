//! Whether a call may be made again without its client knowing.

/// How often, and how many retries a server may cost in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Times one call is sent to a worker at most, at least 1.
    pub attempts: u32,
    /// Retries per 100 calls, 0 to 1000.
    pub budget_percent: u32,
    /// Retries a second that are allowed beside that.
    pub budget_per_second: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attempts: 3,
            budget_percent: 20,
            budget_per_second: 10,
        }
    }
}
