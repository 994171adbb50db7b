//! Waits that double, and the jitter that keeps those who wait from coming back together.

use std::time::Duration;

/// `first`, doubled `times` times, at most `cap`.
#[must_use]
pub fn doubled(first: Duration, times: u32, cap: Duration) -> Duration {
    // 2^30 times any first wait is above any cap.
    first.saturating_mul(1 << times.min(30)).min(cap)
}

/// A point in the upper half of `full`; `jitter` is in 0.0..=1.0, anything else is taken as the
/// nearer end.
#[must_use]
pub fn equal_jitter(full: Duration, jitter: f64) -> Duration {
    // Not `clamp`: it hands on what is no number, and that would panic below.
    let jitter = if jitter > 0.0 { jitter.min(1.0) } else { 0.0 };
    (full / 2).saturating_add((full / 2).mul_f64(jitter))
}

#[cfg(test)]
mod tests {
    use super::{doubled, equal_jitter};
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn waits_double_up_to_their_cap() {
        let waits: Vec<u64> = (0..7)
            .map(|times| doubled(Duration::from_secs(1), times, Duration::from_secs(30)).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }

    proptest! {
        #[test]
        fn jitter_stays_in_the_upper_half(millis in 0u64..10_000_000, jitter: f64) {
            let full = Duration::from_millis(millis);
            let wait = equal_jitter(full, jitter);
            prop_assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        }
    }
}
