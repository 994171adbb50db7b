//! A lane: workers that may serve the same callers, and who waits for one of them. It hands out
//! leases; a lease gives its place back when dropped. Callers wait in a queue that is fair between
//! principals (`policy/fair_queue`). It does not know what a call is.
//!
//! Taking a lease is on the path of every call, so it is a short critical section and not a
//! message to an actor: two task switches less per call. Whoever holds the lock never awaits.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use self::places::{Places, Seat, Turn, Waiter};
use super::current::Current;
use super::member::Member;
use crate::policy::class::Class;
use crate::policy::codel::Pace;
use crate::policy::concurrency::Concurrency;
use crate::policy::fair_queue::{Cause, Entry, Pushed, Ticket};
use crate::policy::refusal::Refusal;

pub use self::bounds::LaneBounds;

mod attend;
mod bounds;
mod places;

/// Nobody waits for longer than this, whatever he says.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Workers and waiters.
#[derive(Debug)]
pub struct Lane {
    bounds: Current<LaneBounds>,
    /// The longest anybody may wait; only ever longer, since some began under earlier bounds.
    longest: Current<Duration>,
    /// Tells the server's actor that more workers may be needed.
    pressure: Arc<Notify>,
    /// More workers could be started: worth telling when places run short.
    can_grow: AtomicBool,
    /// A worker may still come: worth waiting for longer than `acquire_timeout`.
    has_hope: AtomicBool,
    places: Mutex<Places>,
    /// Calls a worker takes at a time, as it is now.
    limit: AtomicUsize,
    /// Whether that is found out.
    adaptive: AtomicBool,
    finder: Mutex<Option<Concurrency>>,
}

/// What a lane looks like.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneView {
    /// Workers in it.
    pub members: usize,
    /// Of these, without a call.
    pub idle: usize,
    /// Calls in flight.
    pub in_flight: usize,
    /// Callers that wait.
    pub waiting: usize,
    /// How long the first of them has waited.
    pub longest_wait: Option<Duration>,
}

/// What a caller wants of a lane.
#[derive(Clone, Copy, Debug, Default)]
pub struct Want {
    /// The worker that holds what the call refers to; taken even beyond its concurrency, since no
    /// other can answer.
    pub prefer: Option<u64>,
    /// When the call's time is over.
    pub deadline: Option<Instant>,
    /// Digest of who calls.
    pub principal: u64,
    /// How much it matters.
    pub class: Class,
    /// Bytes it holds while it waits.
    pub bytes: usize,
    /// Digest of the tool; 0 for anything else.
    pub tool: u64,
    /// Wants a worker for itself as long as it lasts.
    pub alone: bool,
}

impl Want {
    fn seat(&self) -> Seat {
        Seat {
            tool: self.tool,
            alone: self.alone,
        }
    }
}

/// One place at a worker.
#[derive(Debug)]
pub struct Lease {
    lane: Arc<Lane>,
    member: Arc<Member>,
    seat: Seat,
    answered: bool,
}

impl Lease {
    /// The worker leased.
    #[must_use]
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// The worker has answered after the call had `waited` there behind others: its tool works.
    pub fn answered(mut self, waited: Duration) {
        self.answered = true;
        self.lane.observe(waited, self.member.leases(), false);
    }

    /// The call's time was over before the worker answered.
    pub(super) fn timed_out(&self) {
        self.lane
            .observe(Duration::ZERO, self.member.leases(), true);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.lane.release(&self.member, self.seat, self.answered);
    }
}

impl Lane {
    /// An empty lane; `pressure` is notified when places run short.
    #[must_use]
    pub fn new(bounds: &LaneBounds, pressure: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            places: Mutex::new(Places::new(bounds)),
            limit: AtomicUsize::new(bounds.concurrency),
            adaptive: AtomicBool::new(bounds.adaptive),
            finder: Mutex::new(bounds.finder()),
            bounds: Current::new(bounds.clone()),
            longest: Current::new(bounds.longest()),
            pressure,
            can_grow: AtomicBool::new(false),
            has_hope: AtomicBool::new(true),
        })
    }

    /// What the server's actor knows about the lane's future: whether workers could be started,
    /// and whether any is to be expected.
    pub fn expect(&self, can_grow: bool, has_hope: bool) {
        self.can_grow.store(can_grow, Ordering::Relaxed);
        self.has_hope.store(has_hope, Ordering::Relaxed);
    }

    /// Whether nobody is free and nobody is to be expected.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        !self.has_hope.load(Ordering::Relaxed) && self.view().idle == 0
    }

    /// Calls a worker takes at a time.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// A call has ended that waited so long at its worker behind others, of `in_flight` there. It
    /// says how many a worker can take, where that is to be found out.
    pub fn observe(&self, waited: Duration, in_flight: usize, timed_out: bool) {
        if !self.adaptive.load(Ordering::Relaxed) {
            return;
        }
        let mut finder = self.finder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(finder) = finder.as_mut() {
            finder.observe(Instant::now(), waited, in_flight, timed_out);
            self.limit.store(finder.limit(), Ordering::Relaxed);
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a worker that is ready.
    pub fn add(self: &Arc<Self>, member: Arc<Member>) {
        self.places().members.push(member);
        self.serve_waiters();
    }

    /// Takes a worker out; its leases stay valid.
    pub fn remove(self: &Arc<Self>, id: u64) {
        self.places().remove(id);
        // A tool that hung there may be let at another worker now.
        self.serve_waiters();
    }

    /// The workers, oldest first.
    #[must_use]
    pub fn members(&self) -> Vec<Arc<Member>> {
        self.places().members.clone()
    }

    /// Numbers for the pool law and the views.
    #[must_use]
    pub fn view(&self) -> LaneView {
        self.places().view()
    }

    /// The same for the server's actor, who decides by them: it is told again once more calls are
    /// in flight than now. `median` is how long its calls take, by which the queue judges waits.
    #[must_use]
    pub fn look(&self, median: Option<Duration>) -> LaneView {
        let mut places = self.places();
        places.seen = places.in_flight;
        let pace = Pace::scaled(median, self.bounds.get().acquire_timeout);
        places.queue.set_pace(pace);
        places.view()
    }

    /// A place, if one is free now.
    #[must_use]
    pub fn try_acquire(self: &Arc<Self>, want: &Want) -> Option<Lease> {
        let mut places = self.places();
        let preferred = want
            .prefer
            .and_then(|id| places.members.iter().find(|m| m.id() == id).cloned());
        let member = match preferred {
            Some(member) => member,
            None if places.must_wait(want.tool) => return None,
            None => places.choose(want.seat(), self.concurrency(), Instant::now())?,
        };
        Some(self.grant(&mut places, member, want.seat()))
    }

    /// A place, waiting for one if need be.
    ///
    /// # Errors
    /// The queue is full, or nothing came free in time.
    pub async fn acquire(self: &Arc<Self>, want: &Want) -> Result<Lease, Refusal> {
        match self.try_acquire(want) {
            Some(lease) => Ok(lease),
            None => self.wait(want, false).await,
        }
    }

    /// A worker without any call, taken out of the lane for good.
    ///
    /// # Errors
    /// As [`Lane::acquire`].
    pub async fn take(self: &Arc<Self>) -> Result<Arc<Member>, Refusal> {
        let free = {
            let mut places = self.places();
            let idle = places.members.iter().position(|m| m.leases() == 0);
            idle.map(|at| places.members.remove(at))
        };
        if let Some(member) = free {
            self.pressure.notify_one();
            return Ok(member);
        }
        let lease = self.wait(&Want::default(), true).await?;
        self.remove(lease.member.id());
        Ok(Arc::clone(&lease.member))
    }

    fn push(&self, want: &Want, whole: bool) -> Result<Waiting<'_>, Refusal> {
        let (grant, granted) = oneshot::channel();
        let now = Instant::now();
        let entry = Entry {
            principal: want.principal,
            class: want.class,
            bytes: want.bytes,
            deadline: want.deadline.unwrap_or(now + PATIENCE),
            item: Waiter {
                whole,
                seat: want.seat(),
                grant,
            },
        };
        let pushed = self.places().queue.push(now, entry);
        match pushed {
            Pushed::Queued(ticket) => Ok(Waiting::new(self, ticket, granted)),
            Pushed::Displaced {
                ticket,
                victims,
                retry_after,
            } => {
                for victim in victims {
                    tell(victim.item, &full(retry_after));
                }
                Ok(Waiting::new(self, ticket, granted))
            }
            Pushed::Refused { retry_after, .. } => Err(full(retry_after)),
        }
    }

    async fn wait(self: &Arc<Self>, want: &Want, whole: bool) -> Result<Lease, Refusal> {
        let mut waiting = self.push(want, whole)?;
        self.pressure.notify_one();
        // A worker may have come free between the attempt and the queue.
        self.serve_waiters();
        let start = Instant::now();
        let left = || {
            want.deadline
                .map(|d| d.saturating_duration_since(Instant::now()))
        };
        loop {
            let (most, hold) = {
                let bounds = self.bounds.get();
                (bounds.acquire_timeout, bounds.hold)
            };
            let patience = left().map_or(most, |l| l.min(most));
            match tokio::time::timeout(patience, &mut waiting.granted).await {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(_)) => return Err(Refusal::draining()),
                Err(_) if left() == Some(Duration::ZERO) => break,
                Err(_) if start.elapsed() < hold && self.is_short_outage() => {}
                Err(_) => break,
            }
        }
        waiting.granted.close();
        let waited = start.elapsed().as_secs_f64();
        // A grant that crossed the deadline is as good as any.
        match waiting.granted.try_recv() {
            Ok(outcome) => outcome,
            Err(_) if left() == Some(Duration::ZERO) => Err(late()),
            Err(_) => Err(Refusal::overloaded(
                format!("no worker came free within {waited:.1} s"),
                self.places().queue.retry_after(),
            )),
        }
    }

    /// Nobody serves, but somebody may soon.
    fn is_short_outage(&self) -> bool {
        self.has_hope.load(Ordering::Relaxed) && self.places().members.is_empty()
    }

    /// Refuses everybody who waits: the outage is no short one.
    pub fn refuse_waiters(&self, refusal: &Refusal) {
        let waiters = self.places().drain();
        for waiter in waiters {
            tell(waiter, refusal);
        }
    }

    /// Refuses those of one class who wait.
    pub fn shed(&self, class: Class, refusal: &Refusal) {
        let shed = self.places().shed_class(class);
        for waiter in shed {
            tell(waiter, refusal);
        }
    }

    fn grant(self: &Arc<Self>, places: &mut Places, member: Arc<Member>, seat: Seat) -> Lease {
        places.take(seat, &member);
        // Less than one worker's worth of places is left: time for a spare, if the actor may start
        // one and has not seen as many calls already. Waking it for each would cost as much as
        // the call.
        let concurrency = self.concurrency();
        let short = places.in_flight + concurrency > places.members.len() * concurrency;
        if short && self.can_grow.load(Ordering::Relaxed) && places.in_flight > places.seen {
            places.seen = places.in_flight;
            self.pressure.notify_one();
        }
        Lease {
            lane: Arc::clone(self),
            member,
            seat,
            answered: false,
        }
    }

    fn release(self: &Arc<Self>, member: &Arc<Member>, seat: Seat, answered: bool) {
        let wanted = {
            let mut places = self.places();
            places.give(seat, member, answered, Instant::now());
            !places.nobody_waits()
        };
        if wanted {
            self.serve_waiters();
        }
    }

    /// Gives free places to waiters, in their order. Grants are sent outside the lock: a grant
    /// nobody takes comes back as a dropped lease.
    fn serve_waiters(self: &Arc<Self>) {
        loop {
            let mut shed = Vec::new();
            let (served, retry_after) = {
                let mut places = self.places();
                let turn = places.next(self.concurrency(), Instant::now(), &mut shed);
                let served = match turn {
                    Turn::Nobody => None,
                    Turn::Serve(waiter, member) => {
                        if waiter.whole {
                            places.members.retain(|m| m.id() != member.id());
                        }
                        let lease = self.grant(&mut places, member, waiter.seat);
                        Some((waiter, lease))
                    }
                };
                (served, places.queue.retry_after())
            };
            for (waiter, cause) in shed {
                match cause {
                    Cause::Gone => {}
                    Cause::Expired => tell(waiter, &late()),
                    Cause::Standing => tell(waiter, &standing(retry_after)),
                    Cause::NoRoom => tell(waiter, &full(retry_after)),
                }
            }
            let Some((waiter, lease)) = served else {
                return;
            };
            let whole = waiter.whole;
            if let Err(Ok(lease)) = waiter.grant.send(Ok(lease)) {
                if whole {
                    self.places().members.push(Arc::clone(&lease.member));
                }
            }
        }
    }
}

/// A place in the queue; leaves it when dropped.
struct Waiting<'l> {
    lane: &'l Lane,
    ticket: Ticket,
    granted: oneshot::Receiver<Result<Lease, Refusal>>,
}

impl<'l> Waiting<'l> {
    fn new(
        lane: &'l Lane,
        ticket: Ticket,
        granted: oneshot::Receiver<Result<Lease, Refusal>>,
    ) -> Self {
        Self {
            lane,
            ticket,
            granted,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let entry = self.lane.places().queue.remove(self.ticket);
        drop(entry);
    }
}

fn tell(waiter: Waiter, refusal: &Refusal) {
    // A caller that is gone does not mind.
    let _ = waiter.grant.send(Err(refusal.clone()));
}

fn full(retry_after: Duration) -> Refusal {
    Refusal::overloaded(
        "too many calls wait for a worker already (queue_size, queue_bytes)",
        retry_after,
    )
}

fn standing(retry_after: Duration) -> Refusal {
    Refusal::overloaded(
        "calls have been waiting for too long for a while, and this one for longest",
        retry_after,
    )
}

fn late() -> Refusal {
    Refusal::deadline_exceeded(
        "no worker came free before the call's time (call_timeout) was over",
        true,
    )
}

/// Leases of one worker; changed under the lane's lock only, read by anybody.
pub(super) type LeaseCount = AtomicUsize;
