//! The bounds of a lane, and how they change while callers wait.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Lane;
use crate::policy::concurrency::{Concurrency, Settings};

/// Bounds of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneBounds {
    /// Calls in flight per worker.
    pub concurrency: usize,
    /// Callers that may wait.
    pub queue_size: usize,
    /// Bytes of calls that may wait.
    pub queue_bytes: usize,
    /// How long a caller waits while at least one worker serves.
    pub acquire_timeout: Duration,
    /// How long a caller is held while none does, but one is to be expected.
    pub hold: Duration,
    /// Find out how many calls a worker takes at a time, up to `concurrency`.
    pub adaptive: bool,
}

impl LaneBounds {
    /// The longest wait that these bounds allow.
    pub(super) fn longest(&self) -> Duration {
        self.hold + 2 * self.acquire_timeout
    }

    /// Finds out what a worker can do, if that is wanted.
    pub(super) fn finder(&self) -> Option<Concurrency> {
        self.adaptive.then(|| {
            Concurrency::new(Settings {
                ceiling: self.concurrency,
                target: self.acquire_timeout / 10,
                pause: self.acquire_timeout / 5,
            })
        })
    }
}

impl Lane {
    /// Other bounds from now on. Nobody who waits is sent away: what is above a smaller queue
    /// drains, and who has begun to wait under a longer time-out may be told at the next one.
    pub fn retune(self: &Arc<Self>, bounds: &LaneBounds) {
        if *self.bounds.get() == *bounds {
            return;
        }
        self.longest.set(bounds.longest().max(*self.longest.get()));
        self.places().retune(bounds);
        {
            let mut finder = self.finder.lock().unwrap_or_else(PoisonError::into_inner);
            *finder = bounds.finder();
            self.adaptive.store(bounds.adaptive, Ordering::Relaxed);
            self.limit.store(bounds.concurrency, Ordering::Relaxed);
        }
        self.bounds.set(bounds.clone());
        // With more places at each worker somebody may have one now.
        self.serve_waiters();
    }
}
