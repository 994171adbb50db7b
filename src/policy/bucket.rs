//! The token bucket of one key, as a generic cell rate algorithm: one number says when the bucket
//! will be full again, and everything else follows from the limit. Time is monotonic nanoseconds
//! since any fixed moment; the wall clock does not exist here.

use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// How many calls a principal may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Calls a second in the long run; 0: no limit.
    pub rate: u32,
    /// Calls at once after a pause, at least 1.
    pub burst_size: u32,
    /// How often tokens arrive: `rate` times this many at a time; never zero.
    pub refill_interval: Duration,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            rate: 100,
            burst_size: 200,
            refill_interval: Duration::from_millis(10),
        }
    }
}

impl Limit {
    /// Nanoseconds a token takes to arrive, rounded up: never more than `rate` a second.
    fn emission(&self) -> u64 {
        SECOND.div_ceil(u64::from(self.rate.max(1)))
    }

    /// `refill_interval` in nanoseconds, at least 1.
    pub(super) fn tick(&self) -> u64 {
        nanos(self.refill_interval).max(1)
    }

    /// How much debt an empty bucket has, in nanoseconds.
    fn depth(&self) -> u64 {
        self.emission() * u64::from(self.burst_size.max(1))
    }
}

/// A time span in whole nanoseconds, 584 years at most.
pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Tokens of one key. A new bucket is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When the bucket is full again, as if tokens arrived continuously; 0: it was never used.
    full_at: u64,
}

impl Bucket {
    /// The bucket that is full from this moment on.
    pub(super) const fn full_at(full_at: u64) -> Self {
        Self { full_at }
    }

    /// The moment it is full, in nanoseconds; 0: it was never used.
    pub(super) const fn is_full_at(self) -> u64 {
        self.full_at
    }

    /// Debt at the last tick before `now`. Never more than an empty bucket has: a limit that became
    /// more generous counts at once.
    fn debt(self, now: u64, limit: &Limit) -> u64 {
        let ticked = now - now % limit.tick();
        self.full_at.saturating_sub(ticked).min(limit.depth())
    }

    /// Takes one token at `now`, in nanoseconds.
    ///
    /// # Errors
    /// The bucket is empty; the next token arrives after this time, never zero. Asking costs
    /// nothing.
    pub fn take(&mut self, now: u64, limit: &Limit) -> Result<(), Duration> {
        if limit.rate == 0 {
            return Ok(());
        }
        let debt = self.debt(now, limit);
        let most = limit.depth() - limit.emission();
        let tick = limit.tick();
        if debt > most {
            // The first tick by which enough has arrived, counted from the last one.
            let until = (debt - most).div_ceil(tick).saturating_mul(tick);
            return Err(Duration::from_nanos(until - now % tick));
        }
        let ticked = now - now % tick;
        self.full_at = ticked.saturating_add(debt + limit.emission());
        Ok(())
    }

    /// Whole tokens left at `now`; `u32::MAX` without a limit.
    #[must_use]
    pub fn remaining(self, now: u64, limit: &Limit) -> u32 {
        if limit.rate == 0 {
            return u32::MAX;
        }
        let left = (limit.depth() - self.debt(now, limit)) / limit.emission();
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// How long until it is full, if nothing is taken.
    #[must_use]
    pub fn until_full(self, now: u64, limit: &Limit) -> Duration {
        let debt = self.debt(now, limit);
        if limit.rate == 0 || debt == 0 {
            return Duration::ZERO;
        }
        let tick = limit.tick();
        let until = debt.div_ceil(tick).saturating_mul(tick);
        Duration::from_nanos(until - now % tick)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bucket, Limit, nanos};
    use proptest::prelude::*;
    use std::time::Duration;

    const MILLI: u64 = 1_000_000;
    const SECOND: u64 = 1000 * MILLI;

    fn drain(bucket: &mut Bucket, now: u64, limit: &Limit) -> usize {
        (0..100_000)
            .take_while(|_| bucket.take(now, limit).is_ok())
            .count()
    }

    #[test]
    fn the_burst_passes_and_the_next_call_is_told_when_to_come() {
        let limit = Limit::default();
        let mut bucket = Bucket::default();
        let now = 3 * MILLI;
        assert_eq!(bucket.remaining(now, &limit), 200);
        assert_eq!(drain(&mut bucket, now, &limit), 200);
        assert_eq!(bucket.remaining(now, &limit), 0);
        assert_eq!(bucket.take(now, &limit), Err(Duration::from_millis(7)));
        assert_eq!(bucket.take(10 * MILLI, &limit), Ok(()));
        assert_eq!(
            bucket.until_full(10 * MILLI, &limit),
            Duration::from_secs(2)
        );
    }

    #[test]
    fn tokens_arrive_one_by_one_every_refill_interval() {
        let limit = Limit::default();
        let mut bucket = Bucket::default();
        drain(&mut bucket, 0, &limit);
        for tick in 1..500u64 {
            let at = tick * 10 * MILLI;
            assert!(bucket.take(at - 1, &limit).is_err(), "before tick {tick}");
            assert_eq!(drain(&mut bucket, at, &limit), 1, "at tick {tick}");
        }
    }

    #[test]
    fn a_thousand_a_second_for_a_minute_get_a_hundred_a_second() {
        let limit = Limit::default();
        let mut bucket = Bucket::default();
        let calls = (0..60_000u64).map(|n| n * MILLI + 137);
        let granted = calls.filter(|at| bucket.take(*at, &limit).is_ok()).count();
        let steady = (granted - 200) as f64 / 60.0;
        assert!((99.0..=101.0).contains(&steady), "{steady} a second");
    }

    #[test]
    fn many_tokens_arrive_at_a_time_when_the_interval_is_long() {
        let limit = Limit {
            rate: 1000,
            burst_size: 10,
            refill_interval: Duration::from_millis(5),
        };
        let mut bucket = Bucket::default();
        assert_eq!(drain(&mut bucket, 0, &limit), 10);
        assert_eq!(drain(&mut bucket, 5 * MILLI - 1, &limit), 0);
        assert_eq!(drain(&mut bucket, 5 * MILLI, &limit), 5);
    }

    #[test]
    fn a_limit_that_became_more_generous_counts_at_once() {
        let strict = Limit {
            rate: 1,
            burst_size: 3600,
            ..Limit::default()
        };
        let mut bucket = Bucket::default();
        drain(&mut bucket, 0, &strict);
        let wait = bucket.take(0, &Limit::default());
        assert_eq!(wait, Err(Duration::from_millis(10)));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let limit = Limit {
            rate: 0,
            ..Limit::default()
        };
        let mut bucket = Bucket::default();
        assert_eq!(drain(&mut bucket, 0, &limit), 100_000);
        assert_eq!(bucket.remaining(0, &limit), u32::MAX);
    }

    /// The bucket as one would explain it: tokens in thousandths of a millionth, filled at ticks.
    struct Naive {
        level: u128,
        last_tick: u64,
    }

    impl Naive {
        fn take(&mut self, now: u64, limit: &Limit) -> bool {
            let token = u128::from(SECOND.div_ceil(u64::from(limit.rate)));
            let tick = nanos(limit.refill_interval);
            while self.last_tick + tick <= now {
                self.last_tick += tick;
                self.level += u128::from(tick);
            }
            self.level = self.level.min(token * u128::from(limit.burst_size));
            let granted = self.level >= token;
            if granted {
                self.level -= token;
            }
            granted
        }
    }

    proptest! {
        #[test]
        fn it_is_the_naive_bucket(
            rate in 1u32..5000, burst_size in 1u32..50, tick in 1u64..50,
            gaps in prop::collection::vec(0u64..30 * MILLI, 1..300),
        ) {
            let limit = Limit { rate, burst_size, refill_interval: Duration::from_millis(tick) };
            let token = SECOND.div_ceil(u64::from(rate));
            let mut naive = Naive { level: u128::from(token * u64::from(burst_size)), last_tick: 0 };
            let mut bucket = Bucket::default();
            let mut now = 0;
            for gap in gaps {
                now += gap;
                prop_assert_eq!(bucket.take(now, &limit).is_ok(), naive.take(now, &limit));
                prop_assert_eq!(u128::from(bucket.remaining(now, &limit)), naive.level / u128::from(token));
            }
        }

        #[test]
        fn whoever_waits_as_told_is_let_in_and_not_a_moment_earlier(
            rate in 1u32..5000, burst_size in 1u32..50, tick in 1u64..50, now in 0..SECOND,
        ) {
            let limit = Limit { rate, burst_size, refill_interval: Duration::from_millis(tick) };
            let mut bucket = Bucket::default();
            drain(&mut bucket, now, &limit);
            let wait = nanos(bucket.take(now, &limit).unwrap_err());
            prop_assert!(wait > 0);
            prop_assert!(bucket.take(now + wait - 1, &limit).is_err());
            prop_assert!(bucket.take(now + wait, &limit).is_ok());
        }
    }
}
