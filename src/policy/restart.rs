//! When to start a worker again after one failed. It slows down and never gives up: a server
//! that could not start for an hour is tried again when somebody asks for it.

use std::time::{Duration, Instant};

/// The first delay; doubles up to the cap.
const FIRST: Duration = Duration::from_millis(100);
/// The longest delay once the first attempts are used up.
const LONGEST: Duration = Duration::from_secs(30);
/// A call that arrives while a server is down may ask for an attempt this often.
const ON_DEMAND: Duration = Duration::from_secs(1);

/// Pace of starts of one server.
#[derive(Debug)]
pub struct Restart {
    cap: Duration,
    attempts: u32,
    in_a_row: u32,
    last_try: Option<Instant>,
    next: Option<Instant>,
}

impl Restart {
    /// Delays up to `restart_delay` for `max_restart_attempts` failures, then up to 30 s.
    #[must_use]
    pub fn new(restart_delay: Duration, max_restart_attempts: u32) -> Self {
        Self {
            cap: restart_delay.max(FIRST),
            attempts: max_restart_attempts,
            in_a_row: 0,
            last_try: None,
            next: None,
        }
    }

    /// Failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.in_a_row
    }

    /// Whether the short outage is over and callers should be told instead of held.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.in_a_row >= self.attempts.max(1)
    }

    /// A start is made now.
    pub fn started(&mut self, now: Instant) {
        self.last_try = Some(now);
    }

    /// A worker failed to start, or died before it had done any good. `jitter` in 0.0..=1.0
    /// spreads the delay over its upper half.
    pub fn failed(&mut self, now: Instant, jitter: f64) {
        let exponent = self.in_a_row.min(16);
        self.in_a_row = self.in_a_row.saturating_add(1);
        let cap = if self.is_down() { LONGEST } else { self.cap };
        let full = FIRST.saturating_mul(1 << exponent).min(cap);
        self.next = Some(now + full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0)));
    }

    /// A worker did some good.
    pub fn succeeded(&mut self) {
        self.in_a_row = 0;
        self.next = None;
    }

    /// How long to wait before the next start; zero if it may be made at once. `wanted` says that
    /// a call waits for it.
    #[must_use]
    pub fn wait(&self, now: Instant, wanted: bool) -> Duration {
        let Some(next) = self.next else {
            return Duration::ZERO;
        };
        let by_pace = next.saturating_duration_since(now);
        if !wanted {
            return by_pace;
        }
        let since = self
            .last_try
            .map_or(ON_DEMAND, |t| now.saturating_duration_since(t));
        by_pace.min(ON_DEMAND.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST, LONGEST, Restart};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    #[test]
    fn the_first_delays_double_and_a_success_forgets_them() {
        let now = Instant::now();
        let mut pace = Restart::new(Duration::from_secs(5), 3);
        assert_eq!(pace.wait(now, false), Duration::ZERO);
        for millis in [100, 200, 400, 800, 1600] {
            pace.failed(now, 1.0);
            assert_eq!(pace.wait(now, false), Duration::from_millis(millis));
        }
        assert!(pace.is_down());
        pace.succeeded();
        assert_eq!(pace.wait(now, false), Duration::ZERO);
        assert!(!pace.is_down());
    }

    #[test]
    fn a_waiting_call_gets_an_attempt_a_second() {
        let start = Instant::now();
        let mut pace = Restart::new(Duration::from_secs(5), 3);
        for _ in 0..20 {
            pace.started(start);
            pace.failed(start, 1.0);
        }
        assert_eq!(pace.wait(start, false), LONGEST);
        assert_eq!(pace.wait(start, true), Duration::from_secs(1));
        assert_eq!(
            pace.wait(start + Duration::from_secs(1), true),
            Duration::ZERO
        );
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_longest(failures in 1usize..200, jitter in -1.0f64..2.0) {
            let now = Instant::now();
            let mut pace = Restart::new(Duration::from_secs(5), 3);
            for _ in 0..failures {
                pace.failed(now, jitter);
            }
            prop_assert!(pace.wait(now, false) <= LONGEST);
            prop_assert!(pace.wait(now, false) >= FIRST / 2);
        }

        #[test]
        fn the_first_rung_never_waits_longer_than_its_cap(failures in 1u32..5, millis in 100u64..10_000) {
            let now = Instant::now();
            let mut pace = Restart::new(Duration::from_millis(millis), 10);
            for _ in 0..failures {
                pace.failed(now, 1.0);
            }
            prop_assert!(pace.wait(now, false) <= Duration::from_millis(millis));
        }
    }
}
