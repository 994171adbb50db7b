//! When to start a worker again after one failed, and by which means. It slows down and never gives
//! up: a server that could not start for an hour is tried again when somebody asks for it. It
//! knows no process; whoever holds it acts on the rung that was reached.

use super::backoff::{doubled, equal_jitter};
use std::time::{Duration, Instant};

/// The first delay; doubles up to the cap.
const FIRST: Duration = Duration::from_millis(100);
/// The longest delay on the last rung.
const LONGEST: Duration = Duration::from_secs(30);
/// A call that arrives while a server is down may ask for an attempt this often.
const ON_DEMAND: Duration = Duration::from_secs(1);
/// How long a server must be well before its failures are forgotten: that one worker came up says
/// little.
const HEALTHY: Duration = Duration::from_secs(60);
/// A start that fails sooner did not even begin.
const QUICK: Duration = Duration::from_secs(1);

/// By which means the next start is made. There is no rung above the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// Another worker.
    Restart,
    /// The same with a clean environment and a scratch directory of its own. On this rung only: had
    /// it helped, no higher one would have been reached, and the environment may be needed.
    Clean,
    /// All workers of the server anew.
    Whole,
    /// The server is degraded: a try now and then, and one when a call arrives.
    Degraded,
}

impl Rung {
    /// Its number, from 1.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Restart => 1,
            Self::Clean => 2,
            Self::Whole => 3,
            Self::Degraded => 4,
        }
    }
}

/// Pace of starts of one server, and how far up the ladder it is.
#[derive(Debug)]
pub struct Restart {
    cap: Duration,
    attempts: u32,
    /// Failures that are not forgotten: they make the pace.
    in_a_row: u32,
    /// Of these, the ones that took no time.
    quick: u32,
    /// Of these, the ones that left the server without a worker: they climb the ladder.
    without: u32,
    /// Failures since a worker was ready.
    outage: u32,
    last_try: Option<Instant>,
    next: Option<Instant>,
    /// Since when no start has failed and no worker has died; `None` after a failure.
    well_since: Option<Instant>,
}

impl Restart {
    /// Delays up to `restart_delay`, and up to 30 s once all rungs' worth of starts have failed;
    /// `max_restart_attempts` tries on each rung but the last, at least 1.
    #[must_use]
    pub fn new(restart_delay: Duration, max_restart_attempts: u32) -> Self {
        Self {
            cap: restart_delay.max(FIRST),
            attempts: max_restart_attempts.max(1),
            in_a_row: 0,
            quick: 0,
            without: 0,
            outage: 0,
            last_try: None,
            next: None,
            well_since: None,
        }
    }

    /// Paces by other bounds from now on, given as for [`Restart::new`]; failures stay counted.
    pub fn retune(&mut self, restart_delay: Duration, max_restart_attempts: u32) {
        self.cap = restart_delay.max(FIRST);
        self.attempts = max_restart_attempts.max(1);
    }

    /// Failures that are not forgotten yet.
    #[must_use]
    pub fn failures(&self, now: Instant) -> u32 {
        if self.is_well(now) { 0 } else { self.in_a_row }
    }

    /// Whether no worker has become ready since the last failure.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.outage > 0
    }

    /// How the next start is made.
    #[must_use]
    pub fn rung(&self, now: Instant) -> Rung {
        if self.is_well(now) {
            return Rung::Restart;
        }
        match self.without / self.attempts {
            0 => Rung::Restart,
            1 => Rung::Clean,
            2 => Rung::Whole,
            _ => Rung::Degraded,
        }
    }

    /// Whether the short outage is over and callers should be told instead of held.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.outage >= self.attempts
    }

    /// Whether a rung's worth of starts and more failed, each within a second: restarts will
    /// not help until somebody repairs the installation.
    #[must_use]
    pub fn looks_broken(&self) -> bool {
        self.is_down() && self.quick == self.in_a_row
    }

    /// A start is made now.
    pub fn started(&mut self, now: Instant) {
        self.last_try = Some(now);
    }

    /// A worker failed to start, or died before it had done any good. `serving` says that another
    /// one is ready: then the pace slows down, but the ladder is not climbed, whose higher rungs
    /// would cost what still works. `jitter` in 0.0..=1.0 spreads the delay over its upper half.
    /// Returns the rung if this failure led to it.
    pub fn failed(&mut self, now: Instant, serving: bool, jitter: f64) -> Option<Rung> {
        self.forget(now);
        let before = self.rung(now);
        let exponent = self.in_a_row;
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.outage = self.outage.saturating_add(1);
        if !serving {
            self.without = self.without.saturating_add(1);
        }
        let took = self.last_try.map(|t| now.saturating_duration_since(t));
        if took.is_none_or(|took| took < QUICK) {
            self.quick = self.quick.saturating_add(1);
        }
        self.well_since = None;
        let rung = self.rung(now);
        let cap = if self.in_a_row < self.attempts.saturating_mul(3) {
            self.cap
        } else {
            LONGEST.max(self.cap)
        };
        let delay = equal_jitter(doubled(FIRST, exponent, cap), jitter);
        self.next = Some(now + delay);
        (rung > before).then_some(rung)
    }

    /// A worker is ready. The next start need not wait, but failures are forgotten only after a
    /// minute without another one.
    pub fn ready(&mut self, now: Instant) {
        self.forget(now);
        self.well_since = self.well_since.or(Some(now));
        self.outage = 0;
        self.next = None;
    }

    /// A worker died that had served. It is replaced at once, however many of them die: each did
    /// some good. What failed before is not forgotten for that.
    pub fn died(&mut self, now: Instant) {
        self.forget(now);
        self.well_since = self.well_since.and(Some(now));
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

    fn is_well(&self, now: Instant) -> bool {
        let well = |since| now.saturating_duration_since(since) >= HEALTHY;
        self.well_since.is_some_and(well)
    }

    fn forget(&mut self, now: Instant) {
        if self.is_well(now) {
            self.in_a_row = 0;
            self.quick = 0;
            self.without = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST, LONGEST, Restart, Rung};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    const DELAY: Duration = Duration::from_secs(5);

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn other_bounds_hold_from_the_next_failure_on_and_nothing_is_forgotten() {
        let now = Instant::now();
        let mut restart = Restart::new(Duration::from_millis(100), 3);
        for _ in 0..3 {
            restart.failed(now, false, 1.0);
        }
        assert_eq!(restart.rung(now), Rung::Clean);
        restart.retune(Duration::from_secs(5), 5);
        assert_eq!(
            (restart.failures(now), restart.rung(now)),
            (3, Rung::Restart)
        );
        restart.failed(now, false, 1.0);
        assert!(restart.wait(now, false) > Duration::from_millis(400));
    }

    #[test]
    fn each_rung_has_its_attempts_and_its_pace_and_the_last_has_no_end() {
        use Rung::{Clean, Degraded, Whole};
        let now = Instant::now();
        let mut ladder = Restart::new(DELAY, 3);
        assert_eq!(ladder.wait(now, false), Duration::ZERO);
        #[rustfmt::skip]
        let table = [
            (100, None), (200, None), (400, Some(Clean)),
            (800, None), (1600, None), (3200, Some(Whole)),
            (5000, None), (5000, None), (25_600, Some(Degraded)),
            (30_000, None), (30_000, None),
        ];
        for (index, (wait, reached)) in table.into_iter().enumerate() {
            assert_eq!(
                ladder.failed(now, false, 1.0),
                reached,
                "failure {}",
                index + 1
            );
            assert_eq!(
                ladder.wait(now, false),
                millis(wait),
                "failure {}",
                index + 1
            );
            assert_eq!(ladder.is_down(), index >= 2);
        }
        for _ in 0..100_000 {
            assert_eq!(ladder.failed(now, false, 1.0), None);
        }
        assert_eq!(
            (ladder.rung(now), ladder.wait(now, false)),
            (Degraded, LONGEST)
        );
    }

    #[test]
    fn a_waiting_call_gets_an_attempt_a_second() {
        let start = Instant::now();
        let mut ladder = Restart::new(DELAY, 3);
        for _ in 0..20 {
            ladder.started(start);
            ladder.failed(start, false, 1.0);
        }
        assert_eq!(ladder.wait(start, false), LONGEST);
        assert_eq!(ladder.wait(start, true), millis(1000));
        assert_eq!(ladder.wait(start + millis(1000), true), Duration::ZERO);
    }

    #[test]
    fn after_an_hour_of_failing_it_is_tried_within_a_second_of_a_call_and_30_s_of_none() {
        let mut now = Instant::now();
        let end = now + Duration::from_secs(3600);
        let mut ladder = Restart::new(DELAY, 3);
        let mut tries = 0;
        while now < end {
            assert!(ladder.wait(now, true) <= millis(1000));
            let wait = ladder.wait(now, false);
            assert!(wait <= LONGEST);
            now += wait;
            ladder.started(now);
            ladder.failed(now, false, 0.5);
            tries += 1;
        }
        assert!(tries > 3600 / 30);
        ladder.started(now);
        ladder.ready(now);
        assert_eq!(ladder.wait(now, false), Duration::ZERO);
    }

    #[test]
    fn failures_are_forgotten_after_a_minute_of_health_and_not_when_a_worker_comes_up() {
        let start = Instant::now();
        let mut ladder = Restart::new(DELAY, 3);
        for _ in 0..4 {
            ladder.failed(start, false, 1.0);
        }
        ladder.ready(start);
        assert!(!ladder.is_failing());
        assert_eq!(ladder.wait(start, false), Duration::ZERO);
        let nearly = start + millis(59_999);
        assert_eq!(
            (ladder.failures(nearly), ladder.rung(nearly)),
            (4, Rung::Clean)
        );
        // Up and down again: on with the ladder.
        ladder.failed(nearly, false, 1.0);
        assert!(ladder.is_failing());
        assert_eq!(ladder.wait(nearly, false), millis(1600));
        ladder.ready(nearly);
        // A death is no health.
        let died = nearly + millis(30_000);
        ladder.died(died);
        assert_eq!(ladder.failures(died + millis(59_999)), 5);
        let well = died + millis(60_000);
        assert_eq!(
            (ladder.failures(well), ladder.rung(well)),
            (0, Rung::Restart)
        );
        ladder.failed(well, false, 1.0);
        assert_eq!(ladder.wait(well, false), FIRST);
        assert_eq!(ladder.failures(well), 1);
    }

    #[test]
    fn a_worker_that_served_is_replaced_at_once_however_many_of_them_die() {
        let mut now = Instant::now();
        let mut ladder = Restart::new(DELAY, 3);
        for _ in 0..3000 {
            ladder.started(now);
            ladder.ready(now);
            now += millis(200);
            ladder.died(now);
            assert_eq!(ladder.wait(now, false), Duration::ZERO);
            assert_eq!(ladder.rung(now), Rung::Restart);
        }
    }

    #[test]
    fn beside_a_worker_that_serves_the_pace_slows_down_and_nothing_else() {
        let now = Instant::now();
        let mut ladder = Restart::new(DELAY, 3);
        for _ in 0..100 {
            assert_eq!(ladder.failed(now, true, 1.0), None);
            assert_eq!(ladder.rung(now), Rung::Restart);
        }
        assert_eq!(ladder.wait(now, false), LONGEST);
        // Killed at random, fresh spares among them: those that served keep the starts going.
        ladder.died(now);
        assert_eq!(ladder.wait(now, false), Duration::ZERO);
        assert!(ladder.is_failing());
        ladder.ready(now);
        // The next outage is a new one, and short at first.
        assert!(!ladder.is_down());
        ladder.failed(now, false, 1.0);
        assert!(ladder.is_failing() && !ladder.is_down());
        assert_eq!(ladder.wait(now, false), LONGEST, "the pace remembers");
    }

    #[test]
    fn an_installation_looks_broken_only_if_every_start_fails_at_once() {
        for (took, broken) in [(999, true), (1000, false)] {
            let mut now = Instant::now();
            let mut ladder = Restart::new(DELAY, 3);
            for attempt in 0..4 {
                assert_eq!(ladder.looks_broken(), broken && attempt >= 3);
                ladder.started(now);
                // One slow start is enough to be another matter.
                now += millis(if attempt == 1 { took } else { 10 });
                ladder.failed(now, false, 1.0);
            }
            assert_eq!(ladder.looks_broken(), broken);
        }
    }

    proptest! {
        #[test]
        fn no_wait_is_outside_its_bounds(
            failures in 1u32..60, attempts in 0u32..6, delay in 0u64..10_000, jitter in -1.0f64..2.0,
        ) {
            let now = Instant::now();
            let mut ladder = Restart::new(millis(delay), attempts);
            let mut told = Vec::new();
            for failure in 1..=failures {
                told.extend(ladder.failed(now, false, jitter));
                let wait = ladder.wait(now, false);
                prop_assert!(wait >= FIRST / 2 && wait <= LONGEST.max(millis(delay)));
                if failure < 3 * attempts.max(1) {
                    prop_assert!(wait <= millis(delay).max(FIRST));
                }
            }
            // Each rung is told once, in order, and is where it stands.
            let rungs = [Rung::Clean, Rung::Whole, Rung::Degraded];
            let climbed = (failures / attempts.max(1)).min(3) as usize;
            prop_assert_eq!(told.as_slice(), &rungs[..climbed]);
            let stands = told.last().copied().unwrap_or(Rung::Restart);
            prop_assert_eq!(ladder.rung(now), stands);
        }
    }
}
