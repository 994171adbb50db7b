//! The places of a lane under its lock: which worker has one for whom, and who waits. It decides;
//! telling the callers, outside the lock, is the lane's business.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{LaneBounds, LaneView, Lease};
use crate::broker::member::Member;
use crate::policy::bulkhead::Bulkhead;
use crate::policy::codel::Pace;
use crate::policy::fair_queue::{Bounds, Cause, FairQueue, Fate};
use crate::policy::refusal::Refusal;

/// What kind of place it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// Digest of the tool it is for; 0 for anything else.
    pub(super) tool: u64,
    /// Nobody else is at the worker meanwhile.
    pub(super) alone: bool,
}

/// Somebody who waits for a place.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Wants a worker without any call, to take it out of the lane.
    pub(super) whole: bool,
    pub(super) seat: Seat,
    pub(super) grant: oneshot::Sender<Result<Lease, Refusal>>,
}

#[derive(Debug)]
pub(super) struct Places {
    pub(super) members: Vec<Arc<Member>>,
    pub(super) queue: FairQueue<Waiter>,
    /// Those whose tool is at as many workers as it may be, by tool: they hold up nobody else.
    parked: BTreeMap<u64, VecDeque<Waiter>>,
    bulkhead: Bulkhead,
    pub(super) in_flight: usize,
    /// Calls in flight when the server's actor looked last.
    pub(super) seen: usize,
}

/// Who is next.
pub(super) enum Turn {
    /// This one, at that worker.
    Serve(Waiter, Arc<Member>),
    /// Nobody for now.
    Nobody,
}

impl Places {
    pub(super) fn new(bounds: &LaneBounds) -> Self {
        let room = Bounds {
            count: bounds.queue_size,
            bytes: bounds.queue_bytes,
            usual_wait: bounds.acquire_timeout,
        };
        Self {
            members: Vec::new(),
            queue: FairQueue::new(room, Pace::scaled(None, bounds.acquire_timeout)),
            parked: BTreeMap::new(),
            bulkhead: Bulkhead::default(),
            in_flight: 0,
            seen: 0,
        }
    }

    /// The worker with the fewest calls that has a place of this kind, of `limit` each.
    pub(super) fn choose(&self, seat: Seat, limit: usize, now: Instant) -> Option<Arc<Member>> {
        let limit = if seat.alone { 1 } else { limit };
        let least = self.members.iter().min_by_key(|m| load(m))?;
        if load(least) >= limit {
            return None;
        }
        let workers = self.members.len();
        let admits = |m: &Member| self.bulkhead.admits(seat.tool, m.id(), workers, now);
        if admits(least) {
            return Some(Arc::clone(least));
        }
        let admitted = self.members.iter().filter(|m| load(m) < limit && admits(m));
        admitted.min_by_key(|m| load(m)).map(Arc::clone)
    }

    /// Takes a place at `member`.
    pub(super) fn take(&mut self, seat: Seat, member: &Arc<Member>) {
        member.leases.fetch_add(1, Ordering::Relaxed);
        if seat.alone {
            member.set_alone(true);
        }
        self.in_flight += 1;
        self.bulkhead.took(seat.tool, member.id());
    }

    /// Gives it back.
    pub(super) fn give(&mut self, seat: Seat, member: &Member, answered: bool, now: Instant) {
        member.leases.fetch_sub(1, Ordering::Relaxed);
        if seat.alone {
            member.set_alone(false);
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        self.bulkhead.left(seat.tool, member.id(), answered, now);
    }

    /// Takes a worker out; what it still has is nobody else's matter.
    pub(super) fn remove(&mut self, id: u64) {
        self.members.retain(|m| m.id() != id);
        self.bulkhead.gone(id);
    }

    pub(super) fn waiting(&self) -> usize {
        let parked = self.parked.values().flatten();
        self.queue.len() + parked.filter(|w| !w.grant.is_closed()).count()
    }

    pub(super) fn nobody_waits(&self) -> bool {
        self.queue.is_empty() && self.parked.is_empty()
    }

    /// Who is to be served next with `limit` calls a worker; those that are shed on the way are
    /// added to `shed`.
    pub(super) fn next(
        &mut self,
        limit: usize,
        now: Instant,
        shed: &mut Vec<(Waiter, Cause)>,
    ) -> Turn {
        if let Some(turn) = self.unpark(limit, now) {
            return turn;
        }
        loop {
            let chosen = Cell::new(None);
            let free = self.members.iter().map(|m| load(m)).min();
            let fate = |waiter: &Waiter| {
                let most = if waiter.whole || waiter.seat.alone {
                    1
                } else {
                    limit
                };
                if waiter.grant.is_closed() {
                    Fate::Gone
                } else if free.is_none_or(|least| least >= most) {
                    Fate::Wait
                } else {
                    chosen.set(Some(most));
                    Fate::Serve
                }
            };
            let popped = self.queue.pop(now, fate);
            let gone = popped.shed.into_iter();
            shed.extend(gone.map(|(entry, cause)| (entry.item, cause)));
            let (Some((entry, _)), Some(most)) = (popped.next, chosen.get()) else {
                return Turn::Nobody;
            };
            let waiter = entry.item;
            match self.choose(waiter.seat, most, now) {
                Some(member) => return Turn::Serve(waiter, member),
                // Its tool is everywhere it may be: it waits aside.
                None => self
                    .parked
                    .entry(waiter.seat.tool)
                    .or_default()
                    .push_back(waiter),
            }
        }
    }

    fn unpark(&mut self, limit: usize, now: Instant) -> Option<Turn> {
        for queue in self.parked.values_mut() {
            queue.retain(|w| !w.grant.is_closed());
        }
        self.parked.retain(|_, queue| !queue.is_empty());
        let (tool, member) = self.parked.iter().find_map(|(tool, queue)| {
            let first = queue.front()?;
            Some((*tool, self.choose(first.seat, limit, now)?))
        })?;
        let waiter = self.parked.get_mut(&tool)?.pop_front()?;
        Some(Turn::Serve(waiter, member))
    }

    /// Takes out everybody who waits.
    pub(super) fn drain(&mut self) -> Vec<Waiter> {
        let parked = std::mem::take(&mut self.parked).into_values().flatten();
        let mut all: Vec<Waiter> = parked.collect();
        all.extend(self.queue.drain().into_iter().map(|entry| entry.item));
        all
    }

    pub(super) fn view(&self) -> LaneView {
        LaneView {
            members: self.members.len(),
            idle: self.members.iter().filter(|m| m.leases() == 0).count(),
            in_flight: self.in_flight,
            waiting: self.waiting(),
        }
    }
}

/// Calls at a worker; one that has it for itself fills it.
fn load(member: &Member) -> usize {
    if member.is_alone() {
        usize::MAX
    } else {
        member.leases()
    }
}
