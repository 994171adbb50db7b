//! Whether a worker leaks: its memory against the calls it has served. It does not know whose
//! calls they were or what memory is.

use std::collections::VecDeque;

/// Samples below which nothing is said.
const LEAST_SAMPLES: usize = 20;
/// Samples that are kept.
const MOST_SAMPLES: usize = 120;
/// Calls below which nothing is said.
const LEAST_CALLS: u64 = 100;
/// Growth below which it is no leak: caches fill, heaps settle.
const LEAST_GROWTH: f64 = 16.0 * 1024.0 * 1024.0;
/// How much of the memory's movement the calls must explain (r squared).
const LEAST_FIT: f64 = 0.8;

/// What a leaking worker loses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leak {
    /// Bytes for each call; more than zero.
    pub bytes_a_call: f64,
    /// Calls it was seen over.
    pub calls: u64,
}

/// Memory of one worker over its calls.
#[derive(Clone, Debug, Default)]
pub struct Trend {
    samples: VecDeque<(u64, u64)>,
}

impl Trend {
    /// The worker has `bytes` after `calls` calls in its life. A sample without a new call takes
    /// the place of the one before.
    pub fn add(&mut self, calls: u64, bytes: u64) {
        if let Some(last) = self.samples.back_mut() {
            if last.0 == calls {
                last.1 = bytes;
                return;
            }
        }
        if self.samples.len() == MOST_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((calls, bytes));
    }

    /// The leak, once there are samples and calls enough to say so: the slope of the line of least
    /// squares.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "differences below 2^52 bytes and calls"
    )]
    pub fn leak(&self) -> Option<Leak> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let calls = last.0.saturating_sub(first.0);
        if self.samples.len() < LEAST_SAMPLES || calls < LEAST_CALLS {
            return None;
        }
        let points = self.samples.iter().map(|(calls, bytes)| {
            let bytes = *bytes as f64 - first.1 as f64;
            (calls.saturating_sub(first.0) as f64, bytes)
        });
        let n = self.samples.len() as f64;
        let (x, y) = points
            .clone()
            .fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
        let (x, y) = (x / n, y / n);
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for point in points {
            let (dx, dy) = (point.0 - x, point.1 - y);
            xx += dx * dx;
            xy += dx * dy;
            yy += dy * dy;
        }
        let slope = xy / xx;
        let fits = xy * xy >= LEAST_FIT * xx * yy;
        (fits && slope * calls as f64 >= LEAST_GROWTH).then_some(Leak {
            bytes_a_call: slope,
            calls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Trend;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    /// A trend over so many samples of so many calls each.
    fn trend(samples: u64, calls: u64, bytes: impl Fn(u64) -> u64) -> Trend {
        let mut trend = Trend::default();
        for n in 0..samples {
            trend.add(n * calls, bytes(n * calls));
        }
        trend
    }

    #[test]
    fn a_leak_is_told_with_its_bytes_a_call() {
        let leak = trend(30, 10, |calls| 70 * MIB + calls * 1_800_000)
            .leak()
            .unwrap();
        assert!((leak.bytes_a_call - 1_800_000.0).abs() < 1.0, "{leak:?}");
        assert_eq!(leak.calls, 290);
    }

    #[test]
    fn too_little_is_no_verdict() {
        let leaks = |calls: u64| 70 * MIB + calls * 1_800_000;
        assert!(trend(19, 100, leaks).leak().is_none(), "19 samples");
        assert!(trend(20, 5, leaks).leak().is_none(), "95 calls");
        assert!(
            trend(20, 6, leaks).leak().is_some(),
            "20 samples, 114 calls"
        );
        assert!(trend(0, 0, leaks).leak().is_none());
    }

    #[test]
    fn growth_that_is_not_by_the_call_is_no_leak() {
        let warm_up = |calls: u64| if calls < 300 { 10 * MIB } else { 200 * MIB };
        assert!(
            trend(100, 10, warm_up).leak().is_none(),
            "a heap that settled"
        );
        let saw = |calls: u64| 70 * MIB + calls % 50 * MIB;
        assert!(
            trend(100, 10, saw).leak().is_none(),
            "a heap that is collected"
        );
        assert!(
            trend(100, 10, |calls| 70 * MIB - calls * 1000)
                .leak()
                .is_none(),
            "shrinking"
        );
        assert!(
            trend(100, 10, |calls| 70 * MIB + calls * 1000)
                .leak()
                .is_none(),
            "1 MB in all"
        );
        assert!(trend(100, 10, |_| 70 * MIB).leak().is_none(), "nothing");
    }

    #[test]
    fn samples_of_an_idle_worker_do_not_count() {
        let mut trend = trend(10, 20, |calls| calls * MIB);
        for _ in 0..50 {
            trend.add(180, 180 * MIB);
        }
        assert!(trend.leak().is_none());
    }

    proptest! {
        #[test]
        fn noise_moves_the_figure_by_little(noise in prop::collection::vec(0u64..4 * MIB, 50), rate in MIB..4 * MIB) {
            let leak = trend(50, 10, |calls| calls * rate + noise[(calls / 10) as usize]).leak().unwrap();
            let off = leak.bytes_a_call / rate as f64;
            prop_assert!((0.95..1.05).contains(&off), "{off}");
        }
    }
}
