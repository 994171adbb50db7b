//! How many calls a worker takes at a time, found out instead of configured: additive increase,
//! multiplicative decrease. It judges by delay and time-outs, never by the latency of calls, which
//! differs a thousandfold between tools.

use std::time::{Duration, Instant};

/// What is left of the limit after a sign of too much.
const CUT: f64 = 0.9;

/// Bounds and measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The configured concurrency: the limit starts there and never exceeds it; at least 1.
    pub ceiling: usize,
    /// A longer delay is a sign of too much.
    pub target: Duration,
    /// After a cut the next one waits this long: the calls in flight were let in before it.
    pub pause: Duration,
}

/// The limit of one worker or one server.
#[derive(Clone, Debug)]
pub struct Concurrency {
    settings: Settings,
    limit: f64,
    cut: Option<Instant>,
}

impl Concurrency {
    /// Begins at the ceiling.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            limit: Self::ceiling(settings),
            cut: None,
        }
    }

    fn ceiling(settings: Settings) -> f64 {
        f64::from(u32::try_from(settings.ceiling.max(1)).unwrap_or(u32::MAX))
    }

    /// A call has ended. `queue_delay` is what it waited at the worker, behind the worker's other
    /// calls. The wait in our own queue must not be given here: a lower limit makes that longer,
    /// and the limit would fall to the floor. `in_flight` counts the calls there at its end,
    /// itself included.
    pub fn observe(
        &mut self,
        now: Instant,
        queue_delay: Duration,
        in_flight: usize,
        timed_out: bool,
    ) {
        if timed_out || queue_delay > self.settings.target {
            let rested = |cut| now.saturating_duration_since(cut) >= self.settings.pause;
            if self.cut.is_none_or(rested) {
                self.limit = (self.limit * CUT).max(1.0);
                self.cut = Some(now);
            }
            return;
        }
        // A limit that is not used says nothing about a higher one.
        if in_flight.saturating_mul(2) >= self.limit() {
            let grown = self.limit + 1.0 / self.limit;
            self.limit = grown.min(Self::ceiling(self.settings));
        }
    }

    /// Calls at a time, from 1 to the ceiling.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the limit lies between 1 and the ceiling, which was an integer"
    )]
    pub fn limit(&self) -> usize {
        self.limit as usize
    }
}

#[cfg(test)]
mod tests {
    use super::{Concurrency, Settings};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    const SETTINGS: Settings = Settings {
        ceiling: 20,
        target: Duration::from_millis(50),
        pause: Duration::from_millis(100),
    };
    const SHORT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_millis(51);

    #[test]
    fn one_sign_of_too_much_costs_a_tenth_and_the_calls_let_in_before_cost_nothing() {
        let start = Instant::now();
        let mut found = Concurrency::new(SETTINGS);
        for _ in 0..20 {
            found.observe(start, LONG, 20, false);
        }
        assert_eq!(found.limit(), 18);
        found.observe(start + SETTINGS.pause, SHORT, 1, true);
        assert_eq!(found.limit(), 16);
    }

    #[test]
    fn it_grows_by_one_when_all_places_were_used_once_and_not_while_idle() {
        let start = Instant::now();
        let mut found = Concurrency::new(SETTINGS);
        for n in 0..12 {
            found.observe(start + n * SETTINGS.pause, LONG, 20, false);
        }
        let cut = found.limit();
        for _ in 0..1000 {
            found.observe(start, SHORT, cut / 2 - 1, false);
        }
        assert_eq!(found.limit(), cut);
        for _ in 0..=cut + 1 {
            found.observe(start, SHORT, cut, false);
        }
        assert_eq!(found.limit(), cut + 1);
    }

    /// A worker that really does five at a time: with more its calls wait behind one another.
    #[test]
    fn it_finds_what_a_worker_can_do() {
        let start = Instant::now();
        let mut found = Concurrency::new(SETTINGS);
        let mut seen = Vec::new();
        for n in 0..20_000u32 {
            let now = start + n * Duration::from_millis(5);
            let in_flight = found.limit();
            let behind = u32::try_from(in_flight.saturating_sub(5)).unwrap();
            found.observe(now, behind * Duration::from_millis(30), in_flight, false);
            seen.push(found.limit());
        }
        let settled = &seen[10_000..];
        assert!(settled.iter().all(|limit| (5..=7).contains(limit)));
    }

    proptest! {
        #[test]
        fn it_stays_between_one_and_the_ceiling(
            ceiling in 0usize..50,
            calls in prop::collection::vec((0u64..200, 0usize..60, any::<bool>(), 0u64..300), 0..300),
        ) {
            let mut now = Instant::now();
            let mut found = Concurrency::new(Settings { ceiling, ..SETTINGS });
            for (delay, in_flight, timed_out, gap) in calls {
                now += Duration::from_millis(gap);
                found.observe(now, Duration::from_millis(delay), in_flight, timed_out);
                prop_assert!((1..=ceiling.max(1)).contains(&found.limit()));
            }
        }
    }
}
