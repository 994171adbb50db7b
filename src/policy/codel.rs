//! When a queue is no burst any more but stands (CoDel): everybody has waited for longer than a
//! target for a whole interval. It says when to shed one, ever faster while it lasts; whom, it does
//! not know.

use std::time::{Duration, Instant};

/// What is too long a wait, and for how long it must last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A wait up to this is nothing to act upon.
    pub target: Duration,
    /// How long the wait must be longer before the queue counts as standing; never zero.
    pub interval: Duration,
}

impl Pace {
    /// For a server whose calls take `median`, and whose callers are willing to wait for
    /// `acquire_timeout`. The published 5 ms and 100 ms are for services of milliseconds with
    /// callers that hurry; here the wait that was configured is the measure, and ten calls in a
    /// row are no standing queue.
    #[must_use]
    pub fn scaled(median: Option<Duration>, acquire_timeout: Duration) -> Self {
        let least = acquire_timeout / 10;
        let most = acquire_timeout / 2;
        let calls = median.unwrap_or_default().saturating_mul(10);
        Self {
            target: calls.clamp(least, most),
            interval: most.max(Duration::from_millis(1)),
        }
    }
}

/// The state of one queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codel {
    /// Since when the oldest has waited for too long.
    above: Option<Instant>,
    /// When the next is shed; `None`: the queue does not stand.
    next: Option<Instant>,
    /// How many were shed since it stands.
    shed: u32,
}

impl Codel {
    /// Looks at the queue when something leaves it; `oldest` is the longest wait in it. Returns
    /// whether one that has waited for too long should be shed now.
    pub fn look(&mut self, now: Instant, oldest: Option<Duration>, pace: Pace) -> bool {
        if oldest.is_none_or(|wait| wait <= pace.target) {
            *self = Self::default();
            return false;
        }
        let above = *self.above.get_or_insert(now);
        let next = self.next.unwrap_or(above + pace.interval);
        if now < next {
            return false;
        }
        self.shed = self.shed.saturating_add(1);
        self.next = Some(now + pace.interval.div_f64(f64::from(self.shed).sqrt()));
        true
    }

    /// Whether the queue stands: the newest are the ones that can still be served in time.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        self.next.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{Codel, Pace};
    use std::time::{Duration, Instant};

    const PACE: Pace = Pace {
        target: Duration::from_millis(5),
        interval: Duration::from_millis(100),
    };

    /// The milliseconds at which one is shed, when the oldest has waited this long at each.
    fn sheds(span: std::ops::Range<u64>, wait: impl Fn(u64) -> u64) -> Vec<u64> {
        let start = Instant::now();
        let mut codel = Codel::default();
        let due = |at: &u64| {
            let oldest = Duration::from_millis(wait(*at));
            codel.look(start + Duration::from_millis(*at), Some(oldest), PACE)
        };
        span.filter(due).collect()
    }

    #[test]
    fn a_burst_is_no_standing_queue() {
        assert_eq!(sheds(0..99, |_| 50), [0; 0]);
        assert_eq!(sheds(0..1000, |at| at % 90), [0; 0]);
        assert_eq!(sheds(0..1000, |_| 5), [0; 0]);
    }

    #[test]
    fn a_standing_queue_sheds_faster_and_faster() {
        assert_eq!(sheds(0..400, |_| 50), [100, 200, 271, 329, 379]);
    }

    #[test]
    fn it_is_over_with_the_first_short_wait() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut codel = Codel::default();
        let long = Some(Duration::from_millis(6));
        codel.look(at(0), long, PACE);
        assert!(codel.look(at(100), long, PACE) && codel.is_standing());
        assert!(!codel.look(at(300), Some(PACE.target), PACE) && !codel.is_standing());
        assert!(!codel.look(at(301), long, PACE));
        assert!(!codel.look(at(400), long, PACE));
        assert!(codel.look(at(401), long, PACE));
    }

    #[test]
    fn the_measure_is_the_call_time_within_what_callers_wait() {
        let timeout = Duration::from_secs(5);
        for (median, target) in [
            (None, 500),
            (Some(5), 500),
            (Some(100), 1000),
            (Some(9000), 2500),
        ] {
            let pace = Pace::scaled(median.map(Duration::from_millis), timeout);
            assert_eq!(pace.target, Duration::from_millis(target));
            assert_eq!(pace.interval, Duration::from_millis(2500));
        }
    }
}
