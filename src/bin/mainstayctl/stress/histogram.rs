//! Durations counted in buckets that grow with them: any number of them in 15 KiB, each known to 1 %.

use std::time::Duration;

/// Buckets for each power of two.
const STEPS: u64 = 64;
/// Powers of two: up to 2^42 µs, seven weeks.
const POWERS: u64 = 36;

/// Durations from 1 µs up.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    least: Duration,
    most: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; index(u64::MAX) + 1],
            count: 0,
            least: Duration::MAX,
            most: Duration::ZERO,
        }
    }
}

/// The first 64 microseconds have a bucket each; each doubling above has 64.
fn index(micros: u64) -> usize {
    if micros < STEPS {
        return usize::try_from(micros).unwrap_or(0);
    }
    let power = (u64::from(micros.ilog2()) - 6).min(POWERS - 1);
    let step = (micros >> power).min(2 * STEPS - 1) - STEPS;
    usize::try_from(STEPS + power * STEPS + step).unwrap_or(0)
}

/// The largest duration of a bucket.
fn bound(index: usize) -> Duration {
    let index = index as u64;
    if index < STEPS {
        return Duration::from_micros(index);
    }
    let (power, step) = ((index - STEPS) / STEPS, (index - STEPS) % STEPS);
    Duration::from_micros(((STEPS + step + 1) << power) - 1)
}

impl Histogram {
    pub(crate) fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(index(micros)) {
            *bucket += 1;
        }
        self.count += 1;
        self.least = self.least.min(took);
        self.most = self.most.max(took);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Exact; `None` while there is nothing.
    pub(crate) fn min(&self) -> Option<Duration> {
        (self.count > 0).then_some(self.least)
    }

    /// Exact; `None` while there is nothing.
    pub(crate) fn max(&self) -> Option<Duration> {
        (self.count > 0).then_some(self.most)
    }

    /// The duration that `percent` of all do not exceed, rounded up by at most 1.6 %.
    pub(crate) fn percentile(&self, percent: u64) -> Option<Duration> {
        let wanted = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= wanted {
                return Some(bound(index).min(self.most));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_of_known_durations() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.percentile(50), histogram.max()), (None, None));
        for ms in 1..=1000 {
            histogram.record(Duration::from_millis(ms));
        }
        for (percent, ms) in [(50, 500), (90, 900), (99, 990), (100, 1000)] {
            let found = histogram.percentile(percent).unwrap().as_secs_f64() * 1000.0;
            let ms = f64::from(ms);
            assert!(found >= ms && found <= ms * 1.016, "p{percent} {found}");
        }
        assert_eq!(histogram.min(), Some(Duration::from_millis(1)));
        assert_eq!(histogram.max(), Some(Duration::from_secs(1)));
    }

    proptest! {
        #[test]
        fn a_bucket_holds_what_it_says(micros in 0..1_u64 << 41) {
            let found = u64::try_from(bound(index(micros)).as_micros()).unwrap();
            prop_assert!(found >= micros && found <= micros + micros / 64);
        }

        #[test]
        fn nothing_is_lost(micros: u64) {
            let mut histogram = Histogram::default();
            histogram.record(Duration::from_micros(micros));
            prop_assert!(histogram.percentile(50).is_some());
        }
    }
}
