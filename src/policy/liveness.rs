//! Whether the daemon is alive, told by its vital parts: each moves a token, and the heartbeat to
//! the service manager stops when one of them has not for too long. It knows neither threads nor
//! sockets; who asks does so from a thread that can be held up by nothing else.

use std::time::{Duration, Instant};

/// Misses in a row that may be put down to a lack of processor time. A real deadlock waits for
/// something else, so it is not excused at all.
const EXCUSED: u32 = 3;
/// Heartbeats are sent this many times in the service manager's interval. It wants two at least.
const BEATS: u32 = 4;
/// Every part may be silent for this long, however short the interval is: they beat once a second or
/// more often, and a machine has its moments.
const SHORTEST: Duration = Duration::from_secs(2);

/// A vital part, by its place in [`Liveness::new`]'s list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(usize);

/// A vital part and how long it may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vital {
    /// Its name in events.
    pub name: &'static str,
    /// Longest time between two beats.
    pub max_silence: Duration,
    /// Others cannot move without it: where several are stuck, this one is named.
    pub carries_others: bool,
}

/// The vital parts that exist once; the runtime's threads come beside them.
pub const VITAL: [Vital; 5] = [
    vital("acceptor", 5),
    vital("dispatcher", 5),
    vital("journal", 10),
    vital("supervisor", 5),
    vital("timers", 2),
];

/// A thread of the runtime.
pub const RUNTIME: Vital = Vital {
    carries_others: true,
    ..vital("runtime", 2)
};

const fn vital(name: &'static str, seconds: u64) -> Vital {
    Vital {
        name,
        max_silence: Duration::from_secs(seconds),
        carries_others: false,
    }
}

/// A part that is silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Which.
    pub name: &'static str,
    /// Since its last beat.
    pub silent_for: Duration,
}

/// What the heartbeat does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Nothing: every part is alive, or excused, and the last heartbeat is fresh.
    Rest,
    /// Send it: every part is alive.
    Beat,
    /// Send it although a part is silent, and say so: the machine gives the daemon no time.
    Starved(Stuck),
    /// Send nothing.
    Withhold(Stuck),
    /// Send nothing, and say what is stuck: half of the watchdog's interval is over.
    Warn(Stuck),
    /// Ask the service manager to act at once, with the reason in its log: 90 % are over.
    Trigger(Stuck),
}

/// The tokens, and how far a silence has come.
#[derive(Clone, Debug)]
pub struct Liveness {
    parts: Vec<(Vital, Instant)>,
    interval: Duration,
    /// The last heartbeat that was sent.
    sent: Option<Instant>,
    /// The last one that was sent with an excuse: from then on a silence is counted anew.
    excused: Instant,
    starved: u32,
    warned: bool,
}

impl Liveness {
    /// Every part has beaten at `now`. `interval` is the service manager's watchdog interval. A part
    /// may be silent for half of it at most, or there would be no time left to say what is stuck.
    #[must_use]
    pub fn new(parts: impl IntoIterator<Item = Vital>, interval: Duration, now: Instant) -> Self {
        let most = (interval / 2).max(SHORTEST);
        let bounded = |part: Vital| Vital {
            max_silence: part.max_silence.min(most),
            ..part
        };
        Self {
            parts: parts.into_iter().map(|part| (bounded(part), now)).collect(),
            interval,
            sent: None,
            excused: now,
            starved: 0,
            warned: false,
        }
    }

    /// The tokens with their parts, in the order they were given.
    pub fn tokens(&self) -> impl Iterator<Item = (Token, Vital)> + '_ {
        self.parts
            .iter()
            .enumerate()
            .map(|(at, (part, _))| (Token(at), *part))
    }

    /// A part has moved.
    pub fn beat(&mut self, token: Token, now: Instant) {
        if let Some((_, last)) = self.parts.get_mut(token.0) {
            *last = now.max(*last);
        }
    }

    /// The parts that are silent for too long.
    pub fn stuck(&self, now: Instant) -> impl Iterator<Item = Stuck> + '_ {
        let parts = self.parts.iter();
        parts.filter_map(move |(part, last)| stuck(part, *last, now))
    }

    /// Decides what to do now; to be asked at least eight times in an interval. `starved` says that
    /// the asking thread itself, or the machine, has lately had no time for more than half of it.
    pub fn verdict(&mut self, now: Instant, starved: bool) -> Verdict {
        let worst = self.stuck(now).max_by_key(|stuck| stuck.silent_for);
        let Some((named, worst)) = worst.map(|worst| (self.carrier(now).unwrap_or(worst), worst))
        else {
            self.starved = 0;
            self.warned = false;
            return self.send(now, Verdict::Beat);
        };
        if starved && self.is_fresh(now) {
            return Verdict::Rest;
        }
        if starved && self.starved < EXCUSED {
            self.starved += 1;
            self.excused = now;
            return self.send(now, Verdict::Starved(named));
        }
        // The service manager counts from the last heartbeat, which may have been long before the part stood
        // still: it must be told before its time is over, not the part's.
        let waits = self
            .sent
            .map_or(Duration::ZERO, |sent| now.saturating_duration_since(sent));
        let silence = worst
            .silent_for
            .min(now.saturating_duration_since(self.excused))
            .max(waits);
        if silence >= self.interval.mul_f64(0.9) {
            Verdict::Trigger(named)
        } else if silence >= self.interval / 2 && !self.warned {
            self.warned = true;
            Verdict::Warn(named)
        } else {
            Verdict::Withhold(named)
        }
    }

    /// Of the parts that others cannot move without, the one that is silent for longest.
    fn carrier(&self, now: Instant) -> Option<Stuck> {
        let carriers = self.parts.iter().filter(|(part, _)| part.carries_others);
        let stuck = carriers.filter_map(|(part, last)| stuck(part, *last, now));
        stuck.max_by_key(|stuck| stuck.silent_for)
    }

    /// A heartbeat, if it is time for one.
    fn send(&mut self, now: Instant, verdict: Verdict) -> Verdict {
        if self.is_fresh(now) {
            return Verdict::Rest;
        }
        self.sent = Some(now);
        verdict
    }

    /// Whether the last heartbeat is so recent that none is due.
    fn is_fresh(&self, now: Instant) -> bool {
        let fresh = |sent| now.saturating_duration_since(sent) < self.interval / BEATS;
        self.sent.is_some_and(fresh)
    }
}

fn stuck(part: &Vital, last: Instant, now: Instant) -> Option<Stuck> {
    let silent_for = now.saturating_duration_since(last);
    (silent_for > part.max_silence).then_some(Stuck {
        name: part.name,
        silent_for,
    })
}

#[cfg(test)]
mod tests {
    use super::{EXCUSED, Liveness, RUNTIME, Stuck, VITAL, Verdict};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    const INTERVAL: Duration = Duration::from_secs(10);

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn each_part_is_missed_after_its_own_silence_and_no_other() {
        let start = Instant::now();
        for (index, part) in VITAL.iter().chain([&RUNTIME]).enumerate() {
            let parts = VITAL.iter().chain([&RUNTIME]).copied();
            let mut liveness = Liveness::new(parts, 6 * INTERVAL, start);
            let at = start + part.max_silence;
            let tokens: Vec<_> = liveness.tokens().collect();
            for (token, other) in tokens.iter().filter(|(t, _)| t.0 != index) {
                assert_ne!(other.name, part.name);
                liveness.beat(*token, at);
            }
            assert_eq!(liveness.stuck(at).count(), 0, "{}", part.name);
            let late = at + millis(1);
            let stuck = Stuck {
                name: part.name,
                silent_for: part.max_silence + millis(1),
            };
            assert_eq!(liveness.stuck(late).collect::<Vec<_>>(), [stuck]);
            liveness.beat(tokens[index].0, late);
            assert_eq!(liveness.verdict(late, false), Verdict::Beat);
            assert_eq!(liveness.verdict(late, false), Verdict::Rest);
        }
    }

    #[test]
    fn what_carries_the_others_is_named_before_them() {
        let start = Instant::now();
        let mut liveness = Liveness::new([VITAL[4], RUNTIME], INTERVAL, start);
        let runtime = liveness.tokens().nth(1).unwrap().0;
        liveness.beat(runtime, start + millis(1000));
        let mut named = |at| match liveness.verdict(start + millis(at), false) {
            Verdict::Withhold(stuck) | Verdict::Warn(stuck) => stuck.name,
            other => panic!("{other:?}"),
        };
        assert_eq!([named(2500), named(3500)], ["timers", "runtime"]);
    }

    #[test]
    fn beats_are_sent_four_times_an_interval_however_short_it_is() {
        for interval in [100, 2_000, 10_000] {
            let start = Instant::now();
            let mut liveness = Liveness::new([RUNTIME], millis(interval), start);
            let token = liveness.tokens().next().unwrap().0;
            let mut sent = 0;
            for step in 0..80 {
                let now = start + millis(interval) * step / 8;
                liveness.beat(token, now);
                sent += u32::from(liveness.verdict(now, false) == Verdict::Beat);
            }
            assert_eq!(sent, 40, "{interval}");
        }
    }

    #[test]
    fn with_a_short_interval_a_part_is_missed_in_time_to_say_so() {
        let start = Instant::now();
        for (interval, missed) in [
            (100, 2_000),
            (2_000, 2_000),
            (4_000, 2_000),
            (10_000, 5_000),
        ] {
            let liveness = Liveness::new([VITAL[0]], millis(interval), start);
            assert_eq!(liveness.stuck(start + millis(missed)).count(), 0);
            assert_eq!(liveness.stuck(start + millis(missed + 1)).count(), 1);
        }
    }

    #[test]
    fn a_deadlock_is_told_at_half_and_ended_at_nine_tenths_of_its_silence() {
        let start = Instant::now();
        let mut liveness = Liveness::new([RUNTIME], INTERVAL, start);
        let mut told = Vec::new();
        for at in (500..=9_500).step_by(500) {
            told.push(match liveness.verdict(start + millis(at), false) {
                Verdict::Withhold(_) => '-',
                Verdict::Warn(_) => 'w',
                Verdict::Trigger(_) => 'T',
                Verdict::Rest => '.',
                Verdict::Beat | Verdict::Starved(_) => '!',
            });
        }
        assert_eq!(told.iter().collect::<String>(), "!...-----w-------TT");
    }

    /// Heartbeats are a quarter of the interval apart, so the last one may be older than the fault.
    #[test]
    fn the_manager_is_told_before_its_own_time_is_over() {
        for fault in (0..5_000).step_by(500) {
            let interval = 2 * INTERVAL;
            let start = Instant::now();
            let mut liveness = Liveness::new([RUNTIME], interval, start);
            let token = liveness.tokens().next().unwrap().0;
            let mut sent = start;
            let told = (0..).step_by(500).map(millis).find_map(|after| {
                let now = start + after;
                liveness.beat(token, now.min(start + millis(fault)));
                match liveness.verdict(now, false) {
                    Verdict::Trigger(_) => return Some(now - sent),
                    Verdict::Beat => sent = now,
                    _ => {}
                }
                None
            });
            assert!(told.unwrap() <= interval.mul_f64(0.925), "{fault} {told:?}");
        }
    }

    #[test]
    fn pitfall_17_starvation_is_excused_three_times_in_a_row_and_a_deadlock_never() {
        let start = Instant::now();
        let mut liveness = Liveness::new([RUNTIME], INTERVAL, start);
        let token = liveness.tokens().next().unwrap().0;
        for round in 0..2 {
            let at = start + millis(100_000 * round);
            liveness.beat(token, at);
            assert_eq!(liveness.verdict(at, true), Verdict::Beat);
            for miss in 1..=3 {
                let now = at + millis(2500 * miss);
                assert!(matches!(liveness.verdict(now, true), Verdict::Starved(_)));
                assert_eq!(liveness.verdict(now, true), Verdict::Rest);
            }
            // What came before the last excuse is forgiven, what comes after it is not.
            let verdict = liveness.verdict(at + millis(10_000), true);
            assert!(matches!(verdict, Verdict::Withhold(_)), "{round}");
            let verdict = liveness.verdict(at + millis(7_500 + 9_000), true);
            assert!(matches!(verdict, Verdict::Trigger(_)), "{round}");
        }
    }

    proptest! {
        /// Beats come on time: whatever the processor does, nothing is withheld.
        #[test]
        fn a_part_that_moves_is_never_stuck(
            pauses in prop::collection::vec((0u64..=2000, any::<bool>()), 1..100),
        ) {
            let mut now = Instant::now();
            let mut liveness = Liveness::new([RUNTIME], INTERVAL, now);
            let token = liveness.tokens().next().unwrap().0;
            for (pause, starved) in pauses {
                now += millis(pause);
                let alive = matches!(liveness.verdict(now, starved), Verdict::Beat | Verdict::Rest);
                prop_assert!(alive);
                liveness.beat(token, now);
            }
        }

        /// No part moves: whatever the processor does, the daemon is ended in bounded time.
        #[test]
        fn a_dead_part_ends_the_daemon(
            looks in prop::collection::vec((100u64..1000, any::<bool>()), 200),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut liveness = Liveness::new([RUNTIME], INTERVAL, start);
            let mut ended = None;
            for (pause, starved) in looks {
                now += millis(pause);
                if let Verdict::Trigger(_) = liveness.verdict(now, starved) {
                    ended = Some(now.duration_since(start));
                    break;
                }
            }
            // Each excuse begins a new silence.
            let longest = RUNTIME.max_silence + (EXCUSED + 1) * INTERVAL + millis(1000);
            prop_assert!(ended.is_some_and(|after| after <= longest), "{ended:?}");
        }
    }
}
