//! The buckets of many keys in a table of fixed size. A key is a digest already: its bits spread
//! the keys over the table. A bucket with debt is never thrown out, so nobody gets a fresh one by
//! making others come and go; when there is no place for a new key, the table says so.
//!
//! Plain data: whoever shares a table puts it under a lock of its own.

use super::bucket::{Bucket, Limit};
use std::time::Duration;

/// Places a key may stand in. More make a set full more rarely and a look longer.
const WAYS: usize = 16;
/// Places for each key that is to fit in. With two, one key in a thousand finds its set taken when
/// all the others have debt.
const SPARE: usize = 2;

/// What a key has had so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The key.
    pub key: u64,
    /// Calls let through since the key came into the table.
    pub granted: u64,
    /// Calls refused since then.
    pub refused: u64,
}

/// How a bucket looks after it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The call may be made, and has cost a token.
    pub allowed: bool,
    /// Whole tokens left; `u32::MAX` without a limit.
    pub remaining: u32,
    /// How long until the next call can be let through; zero if this one was.
    pub retry_after: Duration,
    /// How long until the bucket is full, if nothing is taken.
    pub reset: Duration,
}

impl Grant {
    /// What a call without a limit gets.
    pub const UNLIMITED: Self = Self {
        allowed: true,
        remaining: u32::MAX,
        retry_after: Duration::ZERO,
        reset: Duration::ZERO,
    };

    /// Asks a bucket for a token.
    pub fn ask(bucket: &mut Bucket, now: u64, limit: &Limit) -> Self {
        let taken = bucket.take(now, limit);
        Self {
            allowed: taken.is_ok(),
            remaining: bucket.remaining(now, limit),
            retry_after: taken.err().unwrap_or_default(),
            reset: bucket.until_full(now, limit),
        }
    }
}

/// Keys and their buckets.
#[derive(Debug)]
pub struct Buckets {
    /// Sets of `WAYS` places. A place whose bucket was never used is free.
    keys: Box<[u64]>,
    full_at: Box<[u64]>,
    counts: Box<[[u64; 2]]>,
    /// The longest `refill_interval` seen: by then every limit's ticks have caught up.
    longest_tick: u64,
}

impl Buckets {
    /// A table in which this many keys fit; at least one set of places. Its memory is taken from
    /// the system as it is used.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let sets = (keys * SPARE).div_ceil(WAYS).max(1).next_power_of_two();
        let places = sets * WAYS;
        Self {
            keys: vec![0; places].into_boxed_slice(),
            full_at: vec![0; places].into_boxed_slice(),
            counts: vec![[0; 2]; places].into_boxed_slice(),
            longest_tick: 0,
        }
    }

    /// Bytes of memory, the heap included.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.keys)
            + size_of_val(&*self.full_at)
            + size_of_val(&*self.counts)
    }

    /// Asks the bucket of `key` for a token at `now`, in nanoseconds. `None`: the key is new and
    /// all its places belong to keys with debt.
    pub fn take(&mut self, key: u64, limit: &Limit, now: u64) -> Option<Grant> {
        self.longest_tick = self.longest_tick.max(limit.tick());
        let at = self.find(key).or_else(|| self.make_room(key, now))?;
        let mut bucket = Bucket::full_at(self.full_at[at]);
        let grant = Grant::ask(&mut bucket, now, limit);
        self.full_at[at] = bucket.is_full_at();
        self.counts[at][usize::from(!grant.allowed)] += 1;
        Some(grant)
    }

    /// The bucket of `key`; a full one if it is not in the table.
    #[must_use]
    pub fn bucket(&self, key: u64) -> Bucket {
        let at = self.find(key);
        at.map_or_else(Bucket::default, |at| Bucket::full_at(self.full_at[at]))
    }

    /// Every key in the table.
    pub fn accounts(&self) -> impl Iterator<Item = Account> {
        let used = (0..self.keys.len()).filter(|at| self.full_at[*at] != 0);
        used.map(|at| Account {
            key: self.keys[at],
            granted: self.counts[at][0],
            refused: self.counts[at][1],
        })
    }

    /// First place of the set of a key. The low bits choose the set, so whoever shards tables
    /// takes the high ones.
    fn set(&self, key: u64) -> usize {
        let sets = self.keys.len() / WAYS;
        // The number of sets is a power of two and fits: the mask leaves nothing to truncate.
        usize::try_from(key & (sets as u64 - 1)).unwrap_or_default() * WAYS
    }

    fn find(&self, key: u64) -> Option<usize> {
        let first = self.set(key);
        let set = first..first + WAYS;
        set.into_iter()
            .find(|at| self.keys[*at] == key && self.full_at[*at] != 0)
    }

    /// A place in the key's set: a free one, else that of the bucket that has been full for the
    /// longest.
    fn make_room(&mut self, key: u64, now: u64) -> Option<usize> {
        let first = self.set(key);
        let at = (first..first + WAYS).min_by_key(|at| self.full_at[*at])?;
        let full_at = self.full_at[at];
        if full_at != 0 && full_at.saturating_add(self.longest_tick) > now {
            return None;
        }
        self.keys[at] = key;
        self.full_at[at] = 0;
        self.counts[at] = [0; 2];
        Some(at)
    }
}
