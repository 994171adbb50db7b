//! The memory guard: what to do about the memory of all workers of a server together, and when they
//! have to wait for memory. It is given figures and says what should happen; it reads nothing and
//! ends nobody itself.

use std::time::{Duration, Instant};

/// How long memory must stay low before the pressure is over.
const CALM: Duration = Duration::from_secs(30);
/// At most one worker is killed in this time, and the rest is measured again.
const BETWEEN_KILLS: Duration = Duration::from_secs(1);

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

/// One worker as it was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Which.
    pub worker: u64,
    /// Bytes it has now.
    pub bytes: u64,
    /// Bytes it had when it was ready and had served nobody; 0: not known.
    pub baseline: u64,
    /// Takes calls; not starting, draining or stopping.
    pub serving: bool,
    /// Calls it has now.
    pub in_flight: usize,
    /// Holds state that somebody needs: a session, or requests that are not finished.
    pub pinned: bool,
}

impl Sample {
    /// Bytes beyond its baseline.
    #[must_use]
    pub fn growth(&self) -> u64 {
        self.bytes.saturating_sub(self.baseline)
    }
}

/// What the kernel has told since the last look of how the workers wait for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stall {
    /// Nothing.
    #[default]
    None,
    /// They lose time over it.
    Some,
    /// They get hardly anything done. A limit alone does not end that: as long as there are pages to
    /// be thrown away and read again, nobody is killed.
    Full,
}

/// What the pool keeps, whatever its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Workers the pool starts again when they go.
    pub min_size: usize,
    /// Serving workers below which none is recycled, at least 1.
    pub min_serving: usize,
}

/// A worker that must end, and why it of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offender {
    /// Which.
    pub worker: u64,
    /// Bytes it had.
    pub bytes: u64,
    /// Bytes beyond its baseline.
    pub growth: u64,
}

/// What should happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// Bytes of all workers, without those that were told to end by force.
    pub total: u64,
    /// Memory is short: the pool must not grow, and background calls are refused.
    pub pressure: bool,
    /// `pressure` is not what it was at the last look.
    pub changed: bool,
    /// A worker to end politely, after its calls.
    pub retire: Option<Offender>,
    /// A worker to kill at once.
    pub kill: Option<Offender>,
    /// It is for a stall, not for a limit, that something happens.
    pub stalled: bool,
}

/// The guard of one server.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    pressure: bool,
    /// Since when memory is low while the pressure lasts.
    low: Option<Instant>,
    last_kill: Option<Instant>,
    /// Told to end by force, and still there.
    condemned: Vec<u64>,
    /// Told to end politely, and still there.
    retiring: Option<u64>,
}

impl Guard {
    /// Judges one measurement of all workers; expected every second, and whenever there is a stall.
    pub fn look(
        &mut self,
        now: Instant,
        samples: &[Sample],
        stall: Stall,
        limits: &Limits,
        keep: Keep,
    ) -> Verdict {
        let there = |worker: &u64| samples.iter().any(|sample| sample.worker == *worker);
        self.condemned.retain(there);
        self.retiring = self.retiring.filter(there);
        let counted = samples
            .iter()
            .filter(|s| !self.condemned.contains(&s.worker));
        let total = counted.map(|s| s.bytes).fold(0, u64::saturating_add);
        let before = self.pressure;
        self.weigh(now, total, stall, limits.soft_limit);
        // 95 % without overflow, for limits of any size.
        let near_hard = total >= limits.hard_limit - limits.hard_limit / 20;
        let kill = if near_hard || stall == Stall::Full {
            self.kill(now, samples)
        } else {
            None
        };
        let above_soft = total >= limits.soft_limit;
        let retire = if (above_soft || stall > Stall::None) && kill.is_none() {
            self.retire(samples, keep)
        } else {
            None
        };
        let by_limit = near_hard || (above_soft && kill.is_none());
        Verdict {
            total,
            pressure: self.pressure,
            changed: self.pressure != before,
            retire,
            kill,
            stalled: stall > Stall::None && !by_limit,
        }
    }

    /// Pressure begins at the limit or with a stall, and ends when there has been no stall, and memory
    /// has been below 7/8 of the limit, for a while.
    fn weigh(&mut self, now: Instant, total: u64, stall: Stall, soft: u64) {
        let stalls = stall > Stall::None;
        if total >= soft || stalls {
            self.pressure = true;
        }
        if total >= soft - soft / 8 || stalls {
            self.low = None;
            return;
        }
        let since = *self.low.get_or_insert(now);
        if now.saturating_duration_since(since) >= CALM {
            self.pressure = false;
        }
    }

    /// The worker that grew most, not simply the largest. Live state is no shield here.
    fn kill(&mut self, now: Instant, samples: &[Sample]) -> Option<Offender> {
        let early = |last| now.saturating_duration_since(last) < BETWEEN_KILLS;
        if self.last_kill.is_some_and(early) {
            return None;
        }
        let living = samples
            .iter()
            .filter(|s| !self.condemned.contains(&s.worker));
        let worst = living.max_by_key(|s| (s.growth(), s.bytes))?;
        self.last_kill = Some(now);
        self.condemned.push(worst.worker);
        Some(offender(worst))
    }

    /// The fattest idle worker, else the fattest busy one, one after the other. A pool that cannot
    /// become smaller gains nothing from a worker that has not grown: its successor is as large.
    fn retire(&mut self, samples: &[Sample], keep: Keep) -> Option<Offender> {
        let serving = samples
            .iter()
            .filter(|s| s.serving && !self.condemned.contains(&s.worker));
        let count = serving.clone().count();
        if self.retiring.is_some() || count <= keep.min_serving.max(1) {
            return None;
        }
        let shrinks = count > keep.min_size;
        let gains = |s: &&Sample| !s.pinned && (shrinks || s.growth() > s.baseline / 4);
        let fattest = serving
            .filter(gains)
            .max_by_key(|s| (s.in_flight == 0, s.bytes))?;
        self.retiring = Some(fattest.worker);
        Some(offender(fattest))
    }
}

fn offender(sample: &Sample) -> Offender {
    Offender {
        worker: sample.worker,
        bytes: sample.bytes,
        growth: sample.growth(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Guard, Keep, Limits, Sample, Stall, Verdict};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// Bytes are small numbers here: soft at 2000, hard at 4000.
    const LIMITS: Limits = Limits {
        soft_limit: 2000,
        hard_limit: 4000,
        check_interval: Duration::from_secs(10),
    };
    const KEEP: Keep = Keep {
        min_size: 2,
        min_serving: 1,
    };

    fn idle(worker: u64, bytes: u64) -> Sample {
        Sample {
            worker,
            bytes,
            baseline: 200,
            serving: true,
            ..Sample::default()
        }
    }

    fn busy(worker: u64, bytes: u64) -> Sample {
        Sample {
            in_flight: 1,
            ..idle(worker, bytes)
        }
    }

    /// A guard looked at every second.
    struct Watch {
        guard: Guard,
        now: Instant,
    }

    impl Watch {
        fn new() -> Self {
            Self {
                guard: Guard::default(),
                now: Instant::now(),
            }
        }

        fn look(&mut self, samples: &[Sample]) -> Verdict {
            self.stall(samples, Stall::None)
        }

        fn stall(&mut self, samples: &[Sample], stall: Stall) -> Verdict {
            self.now += Duration::from_secs(1);
            self.guard.look(self.now, samples, stall, &LIMITS, KEEP)
        }
    }

    fn retired(samples: &[Sample]) -> Option<u64> {
        let verdict = Watch::new().look(samples);
        assert_eq!(verdict.kill, None);
        verdict.retire.map(|worker| worker.worker)
    }

    fn killed(samples: &[Sample]) -> Option<u64> {
        let verdict = Watch::new().look(samples);
        assert_eq!(verdict.retire, None, "one thing at a time");
        verdict.kill.map(|worker| worker.worker)
    }

    #[test]
    fn the_soft_limit_costs_the_fattest_idle_worker() {
        let pinned = Sample {
            pinned: true,
            ..idle(4, 1500)
        };
        let draining = Sample {
            serving: false,
            ..idle(5, 1500)
        };
        assert_eq!(
            retired(&[idle(1, 900), idle(2, 1000)]),
            None,
            "below the limit"
        );
        assert_eq!(retired(&[idle(1, 900), idle(2, 1100)]), Some(2));
        assert_eq!(
            retired(&[idle(1, 900), busy(2, 1100)]),
            Some(1),
            "idle ones first"
        );
        assert_eq!(
            retired(&[busy(1, 900), busy(2, 1100)]),
            Some(2),
            "else after its calls"
        );
        assert_eq!(retired(&[idle(1, 300), idle(2, 300), pinned]), Some(2));
        assert_eq!(
            retired(&[idle(1, 2500)]),
            None,
            "never the last that serves"
        );
        assert_eq!(
            retired(&[idle(1, 2000), draining]),
            None,
            "draining does not serve"
        );
    }

    #[test]
    fn a_worker_that_has_not_grown_goes_only_if_the_pool_can_shrink() {
        let large = |worker| Sample {
            baseline: 1000,
            ..idle(worker, 1200)
        };
        assert_eq!(retired(&[large(1), large(2)]), None);
        assert_eq!(retired(&[large(1), large(2), large(3)]), Some(3));
    }

    #[test]
    fn one_is_recycled_after_the_other() {
        let mut watch = Watch::new();
        let all = [idle(1, 1500), idle(2, 1400), idle(3, 300)];
        assert_eq!(watch.look(&all).retire.map(|w| w.worker), Some(1));
        assert_eq!(watch.look(&all).retire, None, "it is on its way");
        let left = [idle(2, 1400), idle(3, 900)];
        assert_eq!(watch.look(&left).retire.map(|w| w.worker), Some(2));
    }

    #[test]
    fn pressure_ends_after_thirty_seconds_below_seven_eighths() {
        let mut watch = Watch::new();
        let mut look = |bytes| {
            let verdict = watch.look(&[busy(1, bytes)]);
            (verdict.pressure, verdict.changed)
        };
        assert_eq!(look(1999), (false, false));
        assert_eq!(look(2000), (true, true));
        for _ in 0..100 {
            assert_eq!(look(1750), (true, false), "between the two");
        }
        for _ in 0..30 {
            assert_eq!(look(1749), (true, false));
        }
        assert_eq!(look(1750), (true, false), "it counts anew");
        for _ in 0..30 {
            assert_eq!(look(1749), (true, false));
        }
        assert_eq!(look(1749), (false, true));
        assert_eq!(look(1999), (false, false));
    }

    #[test]
    fn the_hard_limit_costs_whoever_grew_most() {
        let large = Sample {
            baseline: 2400,
            ..idle(1, 2500)
        };
        let pinned = Sample {
            pinned: true,
            ..busy(2, 1400)
        };
        assert_eq!(killed(&[large, pinned]), Some(2), "not simply the largest");
        assert_eq!(
            Watch::new().look(&[large, busy(2, 1299)]).kill,
            None,
            "below 95 %"
        );
        assert_eq!(killed(&[idle(1, 5000)]), Some(1), "even the last one");
    }

    #[test]
    fn at_most_one_a_second_is_killed_and_a_dying_one_does_not_count() {
        let mut guard = Guard::default();
        let start = Instant::now();
        let mut look = |millis, samples: &[Sample]| {
            let now = start + Duration::from_millis(millis);
            guard
                .look(now, samples, Stall::None, &LIMITS, KEEP)
                .kill
                .map(|w| w.worker)
        };
        let all = [idle(1, 9000), idle(2, 5000), idle(3, 4000)];
        assert_eq!(look(0, &all), Some(1));
        assert_eq!(look(999, &all), None);
        assert_eq!(look(1000, &all), Some(2));
        assert_eq!(
            look(2000, &[idle(1, 9000), idle(2, 5000), idle(3, 1000)]),
            None
        );
    }

    #[test]
    fn a_stall_is_pressure_however_little_memory_there_is() {
        let mut watch = Watch::new();
        let all = [idle(1, 600), idle(2, 500)];
        let verdict = watch.stall(&all, Stall::Some);
        assert!(verdict.pressure && verdict.changed && verdict.stalled);
        assert_eq!(verdict.kill, None);
        assert_eq!(verdict.retire.map(|w| w.worker), Some(1), "the fattest");
        for _ in 0..20 {
            assert!(watch.look(&all[1..]).pressure);
        }
        assert!(watch.stall(&all[1..], Stall::Some).pressure);
        for _ in 0..30 {
            assert!(watch.look(&all[1..]).pressure, "it counts anew");
        }
        let verdict = watch.look(&all[1..]);
        assert!(!verdict.pressure && verdict.changed && !verdict.stalled);
    }

    #[test]
    fn a_full_stall_costs_whoever_grew_most_and_no_more_than_one_a_second() {
        let large = Sample {
            baseline: 800,
            ..idle(1, 900)
        };
        let mut guard = Guard::default();
        let start = Instant::now();
        let mut look = |millis, samples: &[Sample], stall| {
            let now = start + Duration::from_millis(millis);
            let verdict = guard.look(now, samples, stall, &LIMITS, KEEP);
            (verdict.kill.map(|w| w.worker), verdict.stalled)
        };
        let all = [large, idle(2, 700), idle(3, 300)];
        assert_eq!(look(0, &all, Stall::Full), (Some(2), true));
        assert_eq!(look(100, &all, Stall::Full).0, None, "measure again first");
        assert_eq!(look(1000, &all, Stall::None).0, None, "it is over");
        assert_eq!(look(2000, &all, Stall::Full).0, Some(1));
        let only = [busy(7, 300)];
        assert_eq!(look(4000, &only, Stall::Full).0, Some(7), "the only one");
        assert_eq!(look(6000, &only, Stall::Full).0, None, "it dies already");
        let hard = [busy(8, 9000)];
        assert_eq!(look(8000, &hard, Stall::Some), (Some(8), false));
    }

    proptest! {
        #[test]
        fn the_rules_hold_whatever_is_measured(
            looks in prop::collection::vec(
                (0u64..3000, 0..20, prop::collection::vec((0u64..2500, 0u64..1500, 0usize..3, any::<bool>(), any::<bool>()), 0..6)),
                1..60,
            ),
            min_size in 0usize..4, min_serving in 0usize..4,
        ) {
            let mut guard = Guard::default();
            let mut now = Instant::now();
            let mut last_kill: Option<Instant> = None;
            for (gap, stall, workers) in looks {
                let stall = match stall { 0 => Stall::Full, 1 => Stall::Some, _ => Stall::None };
                now += Duration::from_millis(gap);
                let samples: Vec<Sample> = (0u64..).zip(workers).map(|(worker, (bytes, baseline, in_flight, serving, pinned))| {
                    Sample { worker, bytes, baseline, serving, in_flight, pinned }
                }).collect();
                let verdict = guard.look(now, &samples, stall, &LIMITS, Keep { min_size, min_serving });
                let stalls = stall > Stall::None;
                prop_assert!(verdict.pressure || (verdict.total < LIMITS.soft_limit && !stalls));
                prop_assert!(verdict.retire.is_none() || verdict.total >= LIMITS.soft_limit || stalls);
                prop_assert!(verdict.retire.is_none() || verdict.kill.is_none());
                if let Some(retire) = verdict.retire {
                    let sample = samples.iter().find(|s| s.worker == retire.worker).unwrap();
                    prop_assert!(sample.serving && !sample.pinned);
                    prop_assert!(samples.iter().filter(|s| s.serving).count() > min_serving.max(1));
                }
                if let Some(kill) = verdict.kill {
                    prop_assert!(verdict.total >= LIMITS.hard_limit * 95 / 100 || stall == Stall::Full);
                    prop_assert!(last_kill.is_none_or(|last| now - last >= Duration::from_secs(1)));
                    prop_assert!(samples.iter().any(|s| s.worker == kill.worker));
                    last_kill = Some(now);
                }
            }
        }
    }
}
