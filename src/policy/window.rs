//! Exact counts over the last while, in ten buckets. It knows nothing of what is counted: a
//! breaker counts calls and failures, a retry budget calls and retries.

use std::time::{Duration, Instant};

/// Buckets of a window; a count is forgotten at most a tenth of the span too early.
pub const BUCKETS: usize = 10;

/// `N` kinds of counts. Adding and reading cost the same whatever happened before, allocate
/// nothing, and forget what is old also when nothing was added meanwhile.
#[derive(Clone, Debug)]
pub struct Window<const N: usize> {
    width: Duration,
    buckets: [[u32; N]; BUCKETS],
    totals: [u64; N],
    /// Where the newest bucket is.
    at: usize,
    /// When the newest bucket began; `None` until something was counted.
    began: Option<Instant>,
}

impl<const N: usize> Window<N> {
    /// Counts over `span`, which is taken as ten nanoseconds if it is less.
    #[must_use]
    pub fn new(span: Duration) -> Self {
        let tenth = span / u32::try_from(BUCKETS).unwrap_or(u32::MAX);
        Self {
            width: tenth.max(Duration::from_nanos(1)),
            buckets: [[0; N]; BUCKETS],
            totals: [0; N],
            at: 0,
            began: None,
        }
    }

    /// Counts, and returns what [`Window::totals`] would. A `now` before the newest bucket, as a
    /// clock read before a lock may be, counts there.
    pub fn add(&mut self, now: Instant, counts: [u32; N]) -> [u64; N] {
        self.advance(now);
        let bucket = &mut self.buckets[self.at];
        for ((bucket, total), count) in bucket.iter_mut().zip(&mut self.totals).zip(counts) {
            // What a full bucket cannot hold is not in the total either.
            let room = count.min(u32::MAX - *bucket);
            *bucket += room;
            *total += u64::from(room);
        }
        self.totals
    }

    /// What was counted in the last while.
    pub fn totals(&mut self, now: Instant) -> [u64; N] {
        self.advance(now);
        self.totals
    }

    /// The same for who may not write.
    #[must_use]
    pub fn peek(&self, now: Instant) -> [u64; N] {
        let mut totals = self.totals;
        for bucket in self.expired(self.steps(now)) {
            for (total, count) in totals.iter_mut().zip(self.buckets[bucket]) {
                *total -= u64::from(count);
            }
        }
        totals
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self {
            width: self.width,
            ..Self::new(Duration::ZERO)
        };
    }

    fn steps(&self, now: Instant) -> u128 {
        let age = self
            .began
            .map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        // The usual case needs no division.
        if age < self.width {
            return 0;
        }
        age.as_nanos() / self.width.as_nanos()
    }

    /// The oldest buckets, which `steps` new ones take the place of.
    fn expired(&self, steps: u128) -> impl Iterator<Item = usize> + use<N> {
        let (at, count) = (
            self.at,
            usize::try_from(steps).unwrap_or(BUCKETS).min(BUCKETS),
        );
        (1..=count).map(move |step| (at + step) % BUCKETS)
    }

    fn advance(&mut self, now: Instant) {
        let Some(began) = self.began else {
            self.began = Some(now);
            return;
        };
        let steps = self.steps(now);
        if steps == 0 {
            return;
        }
        for bucket in self.expired(steps) {
            for (total, count) in self.totals.iter_mut().zip(self.buckets[bucket]) {
                *total -= u64::from(count);
            }
            self.buckets[bucket] = [0; N];
            self.at = bucket;
        }
        // Buckets stay aligned to the first one; after a long pause alignment means nothing.
        let whole = u32::try_from(steps).ok();
        self.began = whole
            .and_then(|steps| self.width.checked_mul(steps))
            .and_then(|passed| began.checked_add(passed))
            .or(Some(now));
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Window};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    const SPAN: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_old_is_forgotten_also_when_nothing_happens() {
        let start = Instant::now();
        let mut window = Window::<1>::new(SPAN);
        window.add(start, [7]);
        let nearly = start + SPAN - Duration::from_nanos(1);
        assert_eq!(window.peek(nearly), [7]);
        assert_eq!(window.peek(start + SPAN), [0]);
        assert_eq!(window.totals(start + 1000 * SPAN), [0]);
    }

    #[test]
    fn a_full_bucket_stays_full() {
        let start = Instant::now();
        let mut window = Window::<1>::new(SPAN);
        window.add(start, [u32::MAX]);
        window.add(start, [9]);
        assert_eq!(window.totals(start), [u64::from(u32::MAX)]);
        assert_eq!(window.totals(start + SPAN), [0]);
    }

    proptest! {
        /// A naive reference: every count with the number of its bucket, added up anew each time.
        #[test]
        fn it_counts_as_a_list_of_everything_would(
            steps in prop::collection::vec((0u64..4_000, 0u32..5, 0u32..5), 1..200),
            span in 1_000u64..20_000,
        ) {
            let start = Instant::now();
            let mut window = Window::<2>::new(Duration::from_millis(span));
            let width = u128::from(span) * 1_000_000 / BUCKETS as u128;
            // Buckets are aligned to the first count.
            window.add(start, [1, 1]);
            let (mut list, mut millis) = (vec![(0, 1, 1)], 0);
            for (pause, first, second) in steps {
                millis += pause;
                let now = start + Duration::from_millis(millis);
                let bucket = u128::from(millis) * 1_000_000 / width;
                let recent = |list: &[(u128, u32, u32)]| list.iter()
                    .filter(|(b, ..)| b + BUCKETS as u128 > bucket)
                    .fold([0, 0], |[x, y], (_, a, b)| [x + u64::from(*a), y + u64::from(*b)]);
                prop_assert_eq!(window.peek(now), recent(&list));
                window.add(now, [first, second]);
                list.push((bucket, first, second));
                prop_assert_eq!(window.totals(now), recent(&list));
            }
        }
    }
}
