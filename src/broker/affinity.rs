//! Which worker minted a task id or a request state: later requests that carry it go there. Only
//! digests are kept, in a bounded table that forgets the oldest first.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Entries kept; a state is 100 bytes of table at most.
const CAPACITY: usize = 65_536;
/// Python's SDK seals a request state for 600 s; tasks are usually polled within an hour.
const LIFETIME: Duration = Duration::from_secs(3600);
/// A worker is not recycled this long after it minted something.
pub const PIN: Duration = Duration::from_secs(600);

/// The table.
#[derive(Debug, Default)]
pub struct Affinity {
    hasher: RandomState,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    owners: HashMap<u64, (u64, Instant)>,
    order: VecDeque<(u64, Instant)>,
}

impl Affinity {
    /// Remembers that `worker` minted `key` (raw JSON).
    pub fn remember(&self, key: &str, worker: u64, now: Instant) {
        let digest = self.hasher.hash_one(key);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.owners.insert(digest, (worker, now));
        table.order.push_back((digest, now));
        while table
            .order
            .front()
            .is_some_and(|(_, at)| now.saturating_duration_since(*at) > LIFETIME)
            || table.order.len() > CAPACITY
        {
            let Some((old, at)) = table.order.pop_front() else {
                break;
            };
            // A key minted again since then has a younger entry of its own.
            if table.owners.get(&old).is_some_and(|(_, last)| *last == at) {
                table.owners.remove(&old);
            }
        }
    }

    /// The worker that minted `key`.
    #[must_use]
    pub fn owner(&self, key: &str) -> Option<u64> {
        let digest = self.hasher.hash_one(key);
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.owners.get(&digest).map(|(worker, _)| *worker)
    }
}

#[cfg(test)]
mod tests {
    use super::{Affinity, CAPACITY, LIFETIME};
    use std::time::{Duration, Instant};

    #[test]
    fn the_oldest_is_forgotten_first_and_all_in_time() {
        let now = Instant::now();
        let affinity = Affinity::default();
        for n in 0..=CAPACITY {
            affinity.remember(&n.to_string(), 7, now);
        }
        assert_eq!(affinity.owner("0"), None);
        assert_eq!(affinity.owner("1"), Some(7));
        affinity.remember("new", 8, now + LIFETIME + Duration::from_secs(1));
        assert_eq!(affinity.owner("1"), None);
        assert_eq!(affinity.owner("new"), Some(8));
    }
}
