//! A lane: workers that may serve the same callers, and who waits for one of them. It hands out
//! leases; a lease gives its place back when dropped, to the longest waiter first. It does not
//! know what a call is.
//!
//! Taking a lease is on the path of every call, so it is a short critical section and not a
//! message to an actor: two task switches less per call. Whoever holds the lock never awaits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::member::Member;
use crate::policy::refusal::Refusal;

/// Workers and waiters.
#[derive(Debug)]
pub struct Lane {
    concurrency: usize,
    queue_size: usize,
    acquire_timeout: Duration,
    hold: Duration,
    /// Tells the server's actor that more workers may be needed.
    pressure: Arc<Notify>,
    /// More workers could be started: worth telling when places run short.
    can_grow: AtomicBool,
    /// A worker may still come: worth waiting for longer than `acquire_timeout`.
    has_hope: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    members: Vec<Arc<Member>>,
    waiters: VecDeque<Waiter>,
    in_flight: usize,
    /// Calls in flight when the server's actor looked last.
    seen: usize,
}

#[derive(Debug)]
struct Waiter {
    /// Wants a worker without any call, to take it out of the lane.
    whole: bool,
    grant: oneshot::Sender<Result<Lease, Refusal>>,
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
}

/// What a caller wants of a lane.
#[derive(Clone, Copy, Debug, Default)]
pub struct Want {
    /// The worker that holds what the call refers to; taken even beyond its concurrency, since no
    /// other can answer.
    pub prefer: Option<u64>,
    /// When the call's time is over.
    pub deadline: Option<Instant>,
}

/// One place at a worker.
#[derive(Debug)]
pub struct Lease {
    lane: Arc<Lane>,
    member: Arc<Member>,
}

impl Lease {
    /// The worker leased.
    #[must_use]
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.lane.release(&self.member);
    }
}

/// Bounds of a lane.
#[derive(Clone, Debug)]
pub struct LaneBounds {
    /// Calls in flight per worker.
    pub concurrency: usize,
    /// Callers that may wait.
    pub queue_size: usize,
    /// How long a caller waits while at least one worker serves.
    pub acquire_timeout: Duration,
    /// How long a caller is held while none does, but one is to be expected.
    pub hold: Duration,
}

impl Lane {
    /// An empty lane; `pressure` is notified when places run short.
    #[must_use]
    pub fn new(bounds: &LaneBounds, pressure: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            concurrency: bounds.concurrency,
            queue_size: bounds.queue_size,
            acquire_timeout: bounds.acquire_timeout,
            hold: bounds.hold,
            pressure,
            can_grow: AtomicBool::new(false),
            has_hope: AtomicBool::new(true),
            state: Mutex::default(),
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a worker that is ready.
    pub fn add(self: &Arc<Self>, member: Arc<Member>) {
        self.state().members.push(member);
        self.serve_waiters();
    }

    /// Takes a worker out; its leases stay valid.
    pub fn remove(&self, id: u64) -> bool {
        let mut state = self.state();
        let before = state.members.len();
        state.members.retain(|m| m.id() != id);
        state.members.len() < before
    }

    /// The workers, oldest first.
    #[must_use]
    pub fn members(&self) -> Vec<Arc<Member>> {
        self.state().members.clone()
    }

    /// Numbers for the pool law and the views.
    #[must_use]
    pub fn view(&self) -> LaneView {
        Self::numbers(&self.state())
    }

    /// The same for the server's actor, who decides by them: it is told again once more calls are
    /// in flight than now.
    #[must_use]
    pub fn look(&self) -> LaneView {
        let mut state = self.state();
        state.seen = state.in_flight;
        Self::numbers(&state)
    }

    fn numbers(state: &State) -> LaneView {
        LaneView {
            members: state.members.len(),
            idle: state.members.iter().filter(|m| m.leases() == 0).count(),
            in_flight: state.in_flight,
            waiting: state
                .waiters
                .iter()
                .filter(|w| !w.grant.is_closed())
                .count(),
        }
    }

    /// A place, if one is free now.
    #[must_use]
    pub fn try_acquire(self: &Arc<Self>, want: &Want) -> Option<Lease> {
        let mut state = self.state();
        if let Some(member) = want
            .prefer
            .and_then(|id| state.members.iter().find(|m| m.id() == id))
        {
            let member = Arc::clone(member);
            return Some(self.grant(&mut state, member));
        }
        if !state.waiters.is_empty() {
            return None;
        }
        let member = Self::least_loaded(&state, self.concurrency)?;
        Some(self.grant(&mut state, member))
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
            let mut state = self.state();
            let idle = state.members.iter().position(|m| m.leases() == 0);
            idle.map(|at| state.members.remove(at))
        };
        if let Some(member) = free {
            self.pressure.notify_one();
            return Ok(member);
        }
        let lease = self.wait(&Want::default(), true).await?;
        self.remove(lease.member.id());
        Ok(Arc::clone(&lease.member))
    }

    async fn wait(self: &Arc<Self>, want: &Want, whole: bool) -> Result<Lease, Refusal> {
        let (grant, mut granted) = oneshot::channel();
        {
            let mut state = self.state();
            state.waiters.retain(|w| !w.grant.is_closed());
            if state.waiters.len() >= self.queue_size {
                return Err(Refusal::overloaded(
                    format!("{} calls wait for a worker already", self.queue_size),
                    self.acquire_timeout,
                ));
            }
            state.waiters.push_back(Waiter { whole, grant });
        }
        self.pressure.notify_one();
        // A worker may have come free between the attempt and the queue.
        self.serve_waiters();
        let start = Instant::now();
        let left = || {
            want.deadline
                .map(|d| d.saturating_duration_since(Instant::now()))
        };
        loop {
            let patience = left().map_or(self.acquire_timeout, |l| l.min(self.acquire_timeout));
            match tokio::time::timeout(patience, &mut granted).await {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(_)) => return Err(Refusal::draining()),
                Err(_) if left() == Some(Duration::ZERO) => break,
                Err(_) if start.elapsed() < self.hold && self.is_short_outage() => {}
                Err(_) => break,
            }
        }
        granted.close();
        // A grant that crossed the deadline is as good as any.
        match granted.try_recv() {
            Ok(outcome) => outcome,
            Err(_) if left() == Some(Duration::ZERO) => Err(Refusal::deadline_exceeded(
                format!(
                    "no worker came free within {:.1} s, and the call's time (call_timeout) is over",
                    start.elapsed().as_secs_f64()
                ),
                true,
            )),
            Err(_) => Err(Refusal::overloaded(
                format!(
                    "no worker came free within {:.1} s",
                    start.elapsed().as_secs_f64()
                ),
                self.acquire_timeout,
            )),
        }
    }

    /// Nobody serves, but somebody may soon.
    fn is_short_outage(&self) -> bool {
        self.has_hope.load(Ordering::Relaxed) && self.state().members.is_empty()
    }

    /// Refuses everybody who waits: the outage is no short one.
    pub fn refuse_waiters(&self, refusal: &Refusal) {
        let waiters = std::mem::take(&mut self.state().waiters);
        for waiter in waiters {
            // A caller that is gone does not mind.
            let _ = waiter.grant.send(Err(refusal.clone()));
        }
    }

    fn least_loaded(state: &State, concurrency: usize) -> Option<Arc<Member>> {
        let best = state.members.iter().min_by_key(|m| m.leases())?;
        (best.leases() < concurrency).then(|| Arc::clone(best))
    }

    fn grant(self: &Arc<Self>, state: &mut State, member: Arc<Member>) -> Lease {
        member.leases.fetch_add(1, Ordering::Relaxed);
        state.in_flight += 1;
        // Less than one worker's worth of places is left: time for a spare, if the actor may start
        // one and has not seen as many calls already. Waking it for each would cost as much as
        // the call.
        let short = state.in_flight + self.concurrency > state.members.len() * self.concurrency;
        if short && self.can_grow.load(Ordering::Relaxed) && state.in_flight > state.seen {
            state.seen = state.in_flight;
            self.pressure.notify_one();
        }
        Lease {
            lane: Arc::clone(self),
            member,
        }
    }

    fn release(self: &Arc<Self>, member: &Arc<Member>) {
        let wanted = {
            let mut state = self.state();
            member.leases.fetch_sub(1, Ordering::Relaxed);
            state.in_flight = state.in_flight.saturating_sub(1);
            !state.waiters.is_empty()
        };
        if wanted {
            self.serve_waiters();
        }
    }

    /// Gives free places to waiters, in their order. Grants are sent outside the lock: a grant
    /// nobody takes comes back as a dropped lease.
    fn serve_waiters(self: &Arc<Self>) {
        loop {
            let (waiter, lease) = {
                let mut state = self.state();
                while state.waiters.front().is_some_and(|w| w.grant.is_closed()) {
                    state.waiters.pop_front();
                }
                let Some(first) = state.waiters.front() else {
                    return;
                };
                let limit = if first.whole { 1 } else { self.concurrency };
                let Some(member) = Self::least_loaded(&state, limit) else {
                    return;
                };
                let Some(waiter) = state.waiters.pop_front() else {
                    return;
                };
                if waiter.whole {
                    state.members.retain(|m| m.id() != member.id());
                }
                (waiter, self.grant(&mut state, member))
            };
            let whole = waiter.whole;
            if let Err(Ok(lease)) = waiter.grant.send(Ok(lease)) {
                if whole {
                    self.state().members.push(Arc::clone(&lease.member));
                }
            }
        }
    }
}

/// Leases of one worker; changed under the lane's lock only, read by anybody.
pub(super) type LeaseCount = AtomicUsize;
