//! The places of a lane under its lock: which worker has one for whom, and who waits. It decides;
//! telling the callers, outside the lock, is the lane's business.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{LaneBounds, LaneView, Lease};
use crate::broker::member::Member;
use crate::policy::bulkhead::Bulkhead;
use crate::policy::class::Class;
use crate::policy::codel::Pace;
use crate::policy::fair_queue::{Bounds, Cause, Entry, FairQueue, Fate, Pushed};
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

/// One part in so many of the queue's room is kept for tools that come back.
const KEPT: usize = 4;

#[derive(Debug)]
pub(super) struct Places {
    pub(super) members: Vec<Arc<Member>>,
    pub(super) queue: FairQueue<Waiter>,
    /// Those whose tool is at as many workers as it may be, by tool: they hold up nobody else.
    parked: BTreeMap<u64, FairQueue<Waiter>>,
    /// What may wait in all.
    room: Bounds,
    /// What all of these may hold; the rest of the queue's room is for other tools.
    parking: Bounds,
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
            room,
            parking: Bounds {
                count: room.count - room.count / KEPT,
                bytes: room.bytes - room.bytes / KEPT,
                ..room
            },
            bulkhead: Bulkhead::default(),
            in_flight: 0,
            seen: 0,
        }
    }

    /// Other bounds for who waits; see [`Lane::retune`](super::Lane::retune).
    pub(super) fn retune(&mut self, bounds: &LaneBounds) {
        let fresh = Self::new(bounds);
        (self.room, self.parking) = (fresh.room, fresh.parking);
        self.queue.set_pace(fresh.queue.pace());
        self.count_aside();
    }

    /// The worker with the fewest calls that has a place of this kind, of `limit` each.
    pub(super) fn choose(&self, seat: Seat, limit: usize, now: Instant) -> Option<Arc<Member>> {
        choose(&self.members, &self.bulkhead, seat, limit, now)
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
        self.queue.len() + self.parked.values().map(FairQueue::len).sum::<usize>()
    }

    /// Whether a call of this tool has somebody before it. Those who wait aside for another tool are
    /// not: no place that they could take is free.
    pub(super) fn must_wait(&self, tool: u64) -> bool {
        !self.queue.is_empty() || self.parked.contains_key(&tool)
    }

    pub(super) fn nobody_waits(&self) -> bool {
        self.queue.is_empty() && self.parked.is_empty()
    }

    /// Whether a worker has a place for an ordinary call, with `limit` calls a worker.
    pub(super) fn has_place(&self, limit: usize) -> bool {
        self.members.iter().any(|m| load(m) < limit)
    }

    /// Who is to be served next with `limit` calls a worker; those that are shed on the way are
    /// added to `shed`.
    pub(super) fn next(
        &mut self,
        limit: usize,
        now: Instant,
        shed: &mut Vec<(Waiter, Cause)>,
    ) -> Turn {
        if let Some(turn) = self.unpark(limit, now, shed) {
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
            match self.choose(entry.item.seat, most, now) {
                Some(member) => return Turn::Serve(entry.item, member),
                None => self.park(entry, now, shed),
            }
        }
    }

    /// Its tool is everywhere it may be: it waits aside, with the others of its tool, as fairly and
    /// within bounds.
    fn park(&mut self, entry: Entry<Waiter>, now: Instant, shed: &mut Vec<(Waiter, Cause)>) {
        let tool = entry.item.seat.tool;
        let others = self.parked.iter().filter(|(other, _)| **other != tool);
        let (count, bytes) = others.fold((0, 0), |(count, bytes), (_, queue)| {
            (count + queue.len(), bytes + queue.bytes())
        });
        let room = Bounds {
            count: self.parking.count.saturating_sub(count),
            bytes: self.parking.bytes.saturating_sub(bytes),
            ..self.parking
        };
        let pace = self.queue.pace();
        let aside = self.parked.entry(tool);
        let aside = aside.or_insert_with(|| FairQueue::new(room, pace));
        aside.set_bounds(room);
        match aside.push(now, entry) {
            Pushed::Queued(_) => {}
            Pushed::Displaced { victims, .. } => {
                shed.extend(victims.into_iter().map(|v| (v.item, Cause::NoRoom)));
            }
            Pushed::Refused { entry, .. } => shed.push((entry.item, Cause::NoRoom)),
        }
        self.count_aside();
    }

    fn unpark(
        &mut self,
        limit: usize,
        now: Instant,
        shed: &mut Vec<(Waiter, Cause)>,
    ) -> Option<Turn> {
        let mut turn = None;
        for aside in self.parked.values_mut() {
            aside.retain(|waiter| !waiter.grant.is_closed());
            let chosen = Cell::new(None);
            let fate = |waiter: &Waiter| {
                let found = choose(&self.members, &self.bulkhead, waiter.seat, limit, now);
                let fate = found.as_ref().map_or(Fate::Wait, |_| Fate::Serve);
                chosen.set(found);
                fate
            };
            let popped = aside.pop(now, fate);
            let gone = popped.shed.into_iter();
            shed.extend(gone.map(|(entry, cause)| (entry.item, cause)));
            if let (Some((entry, _)), Some(member)) = (popped.next, chosen.take()) {
                turn = Some(Turn::Serve(entry.item, member));
                break;
            }
        }
        self.parked.retain(|_, aside| !aside.is_empty());
        self.count_aside();
        turn
    }

    /// Those aside need the same room.
    fn count_aside(&mut self) {
        let aside = self.parked.values();
        let (count, bytes) = aside.fold((0, 0), |(count, bytes), queue| {
            (count + queue.len(), bytes + queue.bytes())
        });
        self.queue.set_bounds(Bounds {
            count: self.room.count.saturating_sub(count),
            bytes: self.room.bytes.saturating_sub(bytes),
            ..self.room
        });
    }

    /// Takes out everybody of one class who waits.
    pub(super) fn shed_class(&mut self, class: Class) -> Vec<Waiter> {
        let queues = self.parked.values_mut().chain([&mut self.queue]);
        let entries = queues.flat_map(|queue| queue.shed_class(class));
        entries.map(|entry| entry.item).collect()
    }

    /// Takes out everybody who waits.
    pub(super) fn drain(&mut self) -> Vec<Waiter> {
        let queues = self.parked.values_mut().chain([&mut self.queue]);
        let entries = queues.flat_map(FairQueue::drain);
        let all = entries.map(|entry| entry.item).collect();
        self.parked.clear();
        self.count_aside();
        all
    }

    pub(super) fn view(&self) -> LaneView {
        LaneView {
            members: self.members.len(),
            idle: self.members.iter().filter(|m| m.leases() == 0).count(),
            in_flight: self.in_flight,
            waiting: self.waiting(),
            longest_wait: {
                let now = Instant::now();
                let queues = self.parked.values().chain([&self.queue]);
                queues.filter_map(|queue| queue.oldest(now)).max()
            },
        }
    }
}

fn choose(
    members: &[Arc<Member>],
    bulkhead: &Bulkhead,
    seat: Seat,
    limit: usize,
    now: Instant,
) -> Option<Arc<Member>> {
    let limit = if seat.alone { 1 } else { limit };
    let least = members.iter().min_by_key(|m| load(m))?;
    if load(least) >= limit {
        return None;
    }
    let admits = |m: &Member| bulkhead.admits(seat.tool, m.id(), members.len(), now);
    if admits(least) {
        return Some(Arc::clone(least));
    }
    let admitted = members.iter().filter(|m| load(m) < limit && admits(m));
    admitted.min_by_key(|m| load(m)).map(Arc::clone)
}

/// Calls at a worker; one that has it for itself fills it.
fn load(member: &Member) -> usize {
    if member.is_alone() {
        usize::MAX
    } else {
        member.leases()
    }
}
