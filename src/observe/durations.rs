//! The durations of one server's calls, counted where calls end: about 26,000 times a second, so
//! [`CallDurations::observe`] takes no lock and no memory. It does not know what a call was.

use crate::broker::snapshot::DurationHistogram;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const BOUNDS: [u64; 15] = DurationHistogram::BOUNDS_MICROS;

/// A histogram that any number of threads may add to at once.
#[derive(Debug, Default)]
pub struct CallDurations {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl CallDurations {
    /// Adds one call that took `duration`.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let index = BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_micros.fetch_add(micros, Relaxed);
    }

    /// The counts so far. The count is the sum of the buckets, so the two always agree; the sum of
    /// durations may be ahead or behind by the calls that end at this moment.
    #[must_use]
    pub fn snapshot(&self) -> DurationHistogram {
        let buckets: Vec<u64> = self
            .buckets
            .iter()
            .map(|bucket| bucket.load(Relaxed))
            .collect();
        DurationHistogram {
            count: buckets.iter().sum(),
            buckets,
            sum_micros: self.sum_micros.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let durations = CallDurations::default();
        for micros in [0, 1_000, 1_001, 60_000_000, 60_000_001] {
            durations.observe(Duration::from_micros(micros));
        }
        let seen = durations.snapshot();
        let mut wanted = vec![0; BOUNDS.len() + 1];
        wanted[0] = 2;
        wanted[1] = 1;
        wanted[14] = 1;
        wanted[15] = 1;
        assert_eq!(seen.buckets, wanted);
        assert_eq!((seen.count, seen.sum_micros), (5, 120_002_002));
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let durations = CallDurations::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..10_000).for_each(|_| durations.observe(Duration::from_micros(3)))
                });
            }
        });
        let seen = durations.snapshot();
        assert_eq!((seen.count, seen.sum_micros), (40_000, 120_000));
    }

    #[test]
    fn an_absurd_duration_is_counted_all_the_same() {
        let durations = CallDurations::default();
        durations.observe(Duration::MAX);
        assert_eq!(durations.snapshot().buckets.last(), Some(&1));
    }
}
