//! Where a call is, for whoever may cancel it: its client's connection, or the session that sent
//! it. A call moves from the queue to a worker, and after that worker's death to another one; its
//! flight stays the same.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::member::Member;

/// The place of one call.
#[derive(Debug, Default)]
pub struct Flight {
    place: Mutex<Place>,
    cancelled: Notify,
}

#[derive(Debug, Default)]
enum Place {
    /// On its way to a worker.
    #[default]
    Waiting,
    /// At this worker, under this id.
    At(Weak<Member>, u64),
    /// The client does not want it any more.
    Cancelled,
}

impl Flight {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call is about to be written to `member` as `wire`. False if it was cancelled meanwhile.
    pub(super) fn arrive(&self, member: &Arc<Member>, wire: u64) -> bool {
        let mut place = self.place();
        if matches!(*place, Place::Cancelled) {
            return false;
        }
        *place = Place::At(Arc::downgrade(member), wire);
        true
    }

    /// The call needs another worker. False if it was cancelled meanwhile.
    pub(super) fn leave(&self) -> bool {
        let mut place = self.place();
        if matches!(*place, Place::Cancelled) {
            return false;
        }
        *place = Place::Waiting;
        true
    }

    /// Cancels the call, wherever it is. One that has its answer does not mind.
    pub fn cancel(&self, reason: &str) {
        let was = std::mem::replace(&mut *self.place(), Place::Cancelled);
        match was {
            Place::At(member, wire) => {
                if let Some(member) = member.upgrade() {
                    member.cancel(wire, reason);
                }
            }
            Place::Waiting => self.cancelled.notify_one(),
            Place::Cancelled => {}
        }
    }

    /// Returns when the call is cancelled while it waits.
    pub(super) async fn cancelled(&self) {
        self.cancelled.notified().await;
    }
}
