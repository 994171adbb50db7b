//! The limiter: buckets of all keys, shared by many threads. It knows digests and limits, not who
//! is behind a key. Locks are short, and no call allocates.

use super::bucket::{Bucket, Limit, nanos};
use super::buckets::{Account, Buckets, Grant};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Tables, each under its own lock. A power of two.
const SHARDS: usize = 16;

/// Buckets by key.
#[derive(Debug)]
pub struct Limiter {
    epoch: Instant,
    shards: [Mutex<Buckets>; SHARDS],
    overflow: Mutex<Overflow>,
}

/// All keys together for which there is no place.
#[derive(Debug, Default)]
struct Overflow {
    limit: Limit,
    bucket: Bucket,
    account: Account,
}

fn of_strangers(limit: Limit) -> Limit {
    match limit.rate {
        0 => Limit::default(),
        _ => limit,
    }
}

/// What one lock is for: whoever panicked under it left numbers, not a broken table.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Limiter {
    /// How many keys fit by default.
    pub const KEYS: usize = 65_536;

    /// An empty table for this many keys. `epoch` is any moment that is not later than the first
    /// call. `overflow` limits all keys together that find no place; without a rate it is the
    /// default limit, since strangers are never unlimited.
    #[must_use]
    pub fn new(epoch: Instant, keys: usize, overflow: Limit) -> Self {
        Self {
            epoch,
            shards: std::array::from_fn(|_| Mutex::new(Buckets::new(keys.div_ceil(SHARDS)))),
            overflow: Mutex::new(Overflow {
                limit: of_strangers(overflow),
                ..Overflow::default()
            }),
        }
    }

    /// Another limit for the keys without a place, as given to [`Limiter::new`].
    pub fn retune(&self, overflow: Limit) {
        lock(&self.overflow).limit = of_strangers(overflow);
    }

    fn now(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch))
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Buckets> {
        let bits = key >> (u64::BITS - SHARDS.trailing_zeros());
        lock(&self.shards[usize::try_from(bits).unwrap_or_default() % SHARDS])
    }

    /// Asks the bucket of `key` for a token. The key is a digest: all its bits are as good as
    /// random. A key for which there is no place shares one bucket with all others like it.
    pub fn take(&self, key: u64, limit: &Limit, now: Instant) -> Grant {
        if limit.rate == 0 {
            return Grant::UNLIMITED;
        }
        let now = self.now(now);
        let known = self.shard(key).take(key, limit, now);
        known.unwrap_or_else(|| {
            let overflow = &mut *lock(&self.overflow);
            let grant = Grant::ask(&mut overflow.bucket, now, &overflow.limit);
            match grant.allowed {
                true => overflow.account.granted += 1,
                false => overflow.account.refused += 1,
            }
            grant
        })
    }

    /// Whole tokens a key has left; `u32::MAX` without a limit.
    #[must_use]
    pub fn remaining(&self, key: u64, limit: &Limit, now: Instant) -> u32 {
        let bucket = self.shard(key).bucket(key);
        bucket.remaining(self.now(now), limit)
    }

    /// The `most` keys with the most calls, busiest first. A key without calls for a while may be
    /// forgotten, and begins to count anew.
    #[must_use]
    pub fn busiest(&self, most: usize) -> Vec<Account> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(lock(shard).accounts());
        }
        all.sort_unstable_by_key(|one| (std::cmp::Reverse(one.granted + one.refused), one.key));
        all.truncate(most);
        all
    }

    /// What the keys without a place have had together; its key is 0.
    #[must_use]
    pub fn overflow(&self) -> Account {
        lock(&self.overflow).account
    }

    /// Bytes of memory, the heap included.
    #[must_use]
    pub fn size(&self) -> usize {
        let tables: usize = self.shards.iter().map(|shard| lock(shard).size()).sum();
        size_of::<Self>() + tables
    }
}

#[cfg(test)]
mod tests {
    use super::{Limit, Limiter};
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::time::{Duration, Instant};

    /// A digest of a small number: what the callers of the limiter bring.
    fn digest(n: u64) -> u64 {
        let x = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    #[test]
    fn everybody_has_a_bucket_of_their_own() {
        let start = Instant::now();
        let limiter = Limiter::new(start, Limiter::KEYS, Limit::default());
        let limit = Limit::default();
        let granted = |key| {
            (0..300)
                .filter(|_| limiter.take(key, &limit, start).allowed)
                .count()
        };
        assert_eq!(granted(digest(1)), 200);
        assert_eq!(granted(digest(2)), 200);
        let refused = limiter.take(digest(1), &limit, start);
        assert_eq!(refused.retry_after, Duration::from_millis(10));
        assert_eq!(refused.reset, Duration::from_secs(2));
        assert_eq!(limiter.remaining(digest(1), &limit, start), 0);
        assert_eq!(limiter.remaining(digest(3), &limit, start), 200);
        let busiest = limiter.busiest(1);
        assert_eq!(
            (busiest[0].key, busiest[0].granted, busiest[0].refused),
            (digest(1), 200, 101)
        );
    }

    #[test]
    fn pitfall_5_keys_that_come_and_go_get_no_fresh_bucket() {
        let limit = Limit {
            rate: 1,
            burst_size: 2,
            ..Limit::default()
        };
        let start = Instant::now();
        let limiter = Limiter::new(start, 1024, limit);
        let keys = 3 * 1024;
        let mut granted: HashMap<u64, u32> = HashMap::new();
        // Ten rounds in a second: each key asks for ten and may have two, and one that arrives.
        for round in 0..10 {
            let now = start + round * Duration::from_millis(100);
            for key in (0..keys).map(digest) {
                let allowed = limiter.take(key, &limit, now).allowed;
                *granted.entry(key).or_default() += u32::from(allowed);
            }
        }
        let overflow = limiter.overflow();
        let total: u32 = granted.values().sum();
        assert!(overflow.granted <= 3, "{overflow:?}");
        assert!(
            overflow.refused > 0,
            "the table was never full: {overflow:?}"
        );
        let beyond: u32 = granted.values().map(|n| n.saturating_sub(3)).sum();
        assert_eq!(beyond, 0, "{total} granted in all");
    }

    #[test]
    fn a_million_keys_stay_within_sixteen_mebibytes_and_the_limit() {
        let limit = Limit {
            rate: 1,
            burst_size: 1,
            ..Limit::default()
        };
        let start = Instant::now();
        let limiter = Limiter::new(start, Limiter::KEYS, limit);
        let keys = 1_000_000u32;
        let granted = (0..keys)
            .map(|n| {
                limiter.take(
                    digest(u64::from(n)),
                    &limit,
                    start + n * Duration::from_nanos(100),
                )
            })
            .filter(|grant| grant.allowed)
            .count();
        let overflow = limiter.overflow();
        assert!(limiter.size() < 16 << 20, "{} bytes", limiter.size());
        // Within the tenth of a second nobody's debt is paid: all in the table had their one call.
        let known = limiter.busiest(usize::MAX);
        assert!(
            known.len() >= Limiter::KEYS,
            "only {} keys found a place",
            known.len()
        );
        assert_eq!(overflow.granted, 1);
        assert_eq!(granted as u64, known.len() as u64 + overflow.granted);
        assert_eq!(overflow.refused, u64::from(keys) - granted as u64);
    }

    proptest! {
        #[test]
        fn nobody_is_granted_more_than_a_bucket_without_a_table_would(
            steps in prop::collection::vec((0u64..120, 0u64..40), 1..600),
            rate in 1u32..200, burst_size in 1u32..4, slow in 1u64..2000,
        ) {
            // Two limits with different ticks in one table of one set a shard.
            let limits = [
                Limit { rate, burst_size, refill_interval: Duration::from_millis(10) },
                Limit { rate, burst_size, refill_interval: Duration::from_millis(slow) },
            ];
            let start = Instant::now();
            let limiter = Limiter::new(start, 1, limits[0]);
            let mut alone: HashMap<u64, super::Bucket> = HashMap::new();
            let mut now = Duration::ZERO;
            for (key, gap) in steps {
                now += Duration::from_millis(gap);
                let limit = &limits[usize::from(key % 2 == 0)];
                // All in one shard, so that places run short.
                let digest = digest(key) >> 4;
                let before = limiter.overflow();
                let grant = limiter.take(digest, limit, start + now);
                if limiter.overflow() == before {
                    let bucket = alone.entry(key).or_default();
                    let expected = bucket.take(super::nanos(now), limit);
                    prop_assert_eq!(grant.allowed, expected.is_ok());
                    prop_assert_eq!(grant.retry_after, expected.err().unwrap_or_default());
                }
            }
        }
    }
}
