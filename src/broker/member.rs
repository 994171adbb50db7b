//! A worker as a member of a server: the process, the calls in flight at it, whose it is. Frames
//! from it are routed in `route`; when it is started or retired is the server's decision.

use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::calls::{Calls, ClientCall, Entry, Reply};
use super::lane::{Lease, LeaseCount};
use super::listen::Listen;
use super::refused;
use super::server::Server;
use super::session::Session;
use super::snapshot::WorkerStatus;
use super::stats::{Outcome, Stats};
use crate::mcp::envelope::{self, Message};
use crate::mcp::era::Era;
use crate::mcp::message;
use crate::mcp::splice::{Edit, range_of, splice};
use crate::policy::refusal::Refusal;
use crate::sys;
use crate::worker::actor::Worker;
use crate::worker::stdin::SendError;

/// Which era a worker is locked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Locked {
    /// It has been sent nothing yet.
    Fresh,
    /// Handshake era.
    Legacy,
    /// Stateless era.
    Modern,
    /// Serves both.
    Mixed,
}

impl Locked {
    /// Name for logs and views.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Legacy => "legacy",
            Self::Modern => "modern",
            Self::Mixed => "mixed",
        }
    }
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not yet ready.
    Starting,
    /// Takes calls.
    Ready,
    /// Finishes its calls, takes no new ones.
    Draining,
    /// The process has ended; what it left behind is being cleaned up.
    Gone,
}

/// Why the daemon got no answer of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The time was over.
    #[error("it did not answer within {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// The process ended.
    #[error("it ended before it answered")]
    Ended,
    /// What should have been asked is no request.
    #[error("the request cannot be read")]
    Unreadable,
}

/// How long a cancelled call keeps its place: most workers answer a cancel, some never do.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// The member.
#[derive(Debug)]
pub struct Member {
    pub(super) worker: Arc<Worker>,
    pub(super) server: Weak<Server>,
    pub(super) stats: Arc<Stats>,
    pub(super) leases: LeaseCount,
    calls: Mutex<Calls>,
    locked: AtomicU8,
    phase: AtomicU8,
    session: Mutex<Weak<Session>>,
    started: Instant,
    served: AtomicU64,
    answered: AtomicU64,
    pinned_until: Mutex<Option<Instant>>,
    pub(super) junk: Mutex<super::route::Junk>,
}

impl Member {
    pub(super) fn new(worker: Arc<Worker>, server: &Arc<Server>, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            worker,
            server: Arc::downgrade(server),
            stats: Arc::clone(server.stats()),
            leases: LeaseCount::new(0),
            calls: Mutex::new(Calls::new(server.life())),
            locked: AtomicU8::new(Locked::Fresh as u8),
            phase: AtomicU8::new(Phase::Starting as u8),
            session: Mutex::default(),
            started: now,
            served: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            pinned_until: Mutex::default(),
            junk: Mutex::default(),
        })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.worker.id
    }

    /// Calls that hold a place at it.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.leases.load(Ordering::Relaxed)
    }

    /// Calls it has been given.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Whether it has answered any client.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed) > 0
    }

    /// Time since its start.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The era it is locked to.
    #[must_use]
    pub fn locked(&self) -> Locked {
        match self.locked.load(Ordering::Relaxed) {
            1 => Locked::Legacy,
            2 => Locked::Modern,
            3 => Locked::Mixed,
            _ => Locked::Fresh,
        }
    }

    pub(super) fn lock_to(&self, locked: Locked) {
        self.locked.store(locked as u8, Ordering::Relaxed);
    }

    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            2 => Phase::Draining,
            _ => Phase::Gone,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// The session that owns it, if one does.
    #[must_use]
    pub fn session(&self) -> Option<Arc<Session>> {
        self.session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade()
    }

    pub(super) fn bind(&self, session: &Arc<Session>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(session);
    }

    /// Keeps it from being recycled for a while: somebody will come back for what it minted.
    pub(super) fn pin(&self, until: Instant) {
        *self
            .pinned_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Whether it may be replaced without anybody losing something.
    #[must_use]
    pub fn is_pinned(&self, now: Instant) -> bool {
        self.pinned_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|until| now < until)
    }

    pub(super) fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a client's request, with its id at `id` and its progress token at `token` replaced.
    /// Gives the call back if the worker takes nothing.
    pub(super) fn begin(
        self: &Arc<Self>,
        call: ClientCall,
        lease: Lease,
        message: &[u8],
        id: Range<usize>,
        token: Option<Range<usize>>,
    ) -> Result<u64, (SendError, Option<ClientCall>)> {
        self.served.fetch_add(1, Ordering::Relaxed);
        // Bound first: the table's lock must be free when a lease is dropped.
        let entered = self.calls().insert(Entry::Client(call, lease));
        let wire = match entered {
            Ok(wire) => wire,
            Err(Entry::Client(call, _lease)) => return Err((SendError::Closed, Some(call))),
            Err(_) => return Err((SendError::Closed, None)),
        };
        let number = wire.to_string();
        let with = number.as_bytes();
        let id = Edit { range: id, with };
        let frame = match token {
            None => splice(message, &mut [id], true),
            Some(token) => splice(message, &mut [id, Edit { range: token, with }], true),
        };
        let Err(error) = self.worker.stdin.send(frame) else {
            return Ok(wire);
        };
        let entry = self.calls().remove(wire);
        match entry {
            Some(Entry::Client(call, _lease)) => Err((error, Some(call))),
            // Its end was noticed meanwhile and the call has been told.
            _ => Err((error, None)),
        }
    }

    /// Opens a listen; `None` if the worker takes nothing.
    pub(super) fn begin_listen(&self, listen: &Arc<Listen>) -> Option<u64> {
        let message = listen.message();
        let Ok(Message::Request { id, .. }) = envelope::parse(message) else {
            return None;
        };
        let wire = self
            .calls()
            .insert(Entry::Listen(Arc::clone(listen)))
            .ok()?;
        let number = wire.to_string();
        let edit = Edit {
            range: range_of(message, id),
            with: number.as_bytes(),
        };
        let frame = splice(message, &mut [edit], true);
        if self.worker.stdin.send(frame).is_err() {
            self.calls().remove(wire);
            return None;
        }
        Some(wire)
    }

    pub(super) fn end_listen(&self, wire: u64) {
        if self.calls().remove(wire).is_some() {
            self.tell(&message::cancelled(wire, "the subscriber is gone"));
        }
    }

    /// Cancels a client's call: the worker is told, a late answer is dropped.
    pub(super) fn cancel(self: &Arc<Self>, wire: u64, reason: &str) {
        let Some(call) = self.calls().cancel(wire) else {
            return;
        };
        self.stats
            .finished(Outcome::Cancelled, call.accepted.elapsed());
        // There will be no answer; whoever reads on would wait for ever.
        call.stream.close();
        self.tell(&message::cancelled(wire, reason));
        let member = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(CANCEL_GRACE).await;
            // Dropped outside the lock: the lease looks for its next user.
            let place = member.calls().remove(wire);
            drop(place);
        });
    }

    /// The newest call in flight of `session` with this raw client id.
    pub(super) fn find(&self, session: &Arc<Session>, id: &[u8]) -> Option<u64> {
        self.calls()
            .clients()
            .filter(|(_, call)| {
                call.id == id
                    && call
                        .session
                        .as_ref()
                        .is_some_and(|s| Arc::ptr_eq(s, session))
            })
            .map(|(wire, _)| wire)
            .max()
    }

    /// Writes a frame that needs no answer. A worker that takes none is dying or full; either way
    /// there is nobody to tell.
    pub(super) fn tell(&self, line: &str) {
        let mut frame = Vec::with_capacity(line.len() + 1);
        frame.extend_from_slice(line.as_bytes());
        frame.push(b'\n');
        if let Err(error) = self.worker.stdin.send(frame) {
            log::debug!("worker {} was not told something: {error}", self.id());
        }
    }

    /// A request of the daemon's own; `build` gets the id to use.
    pub(super) async fn ask(
        &self,
        build: impl FnOnce(u64) -> String,
        patience: Duration,
    ) -> Result<Reply, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let wire = self
            .calls()
            .insert(Entry::Own(answer))
            .map_err(|_| NoAnswer::Ended)?;
        self.tell(&build(wire));
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(NoAnswer::Ended),
            Err(_) => {
                self.calls().remove(wire);
                Err(NoAnswer::Silent(patience))
            }
        }
    }

    /// The process is gone: every call in flight gets its outcome. Returns how many there were.
    pub(super) fn ended(&self, what: &str) -> usize {
        let mut lost = 0;
        let entries = self.calls().close();
        for (_, entry) in entries {
            match entry {
                Entry::Client(call, _lease) => {
                    lost += 1;
                    let refusal = Refusal::worker_lost(format!(
                        "the worker ({}) {what} while it worked on this call; whether the call took effect is not known",
                        self.worker.seat()
                    ));
                    self.stats.refused(&refusal);
                    call.stream.finish(
                        refused::error(&call.id, &refusal),
                        Some(i64::from(refusal.reason.code())),
                    );
                }
                Entry::Listen(listen) => listen.leg_ended(self.id(), None),
                Entry::Own(_) | Entry::Cancelled { .. } => {}
            }
        }
        lost
    }

    pub(super) fn count_answer(&self, call: &ClientCall, ok: bool) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let outcome = if ok { Outcome::Ok } else { Outcome::Error };
        self.stats.finished(outcome, call.accepted.elapsed());
    }

    /// Whether it can serve requests of this era.
    #[must_use]
    pub fn serves(&self, era: Era) -> bool {
        match self.locked() {
            Locked::Mixed => true,
            Locked::Modern => era == Era::Modern,
            Locked::Legacy | Locked::Fresh => era == Era::Legacy,
        }
    }

    /// For the views.
    #[must_use]
    pub fn status(&self) -> WorkerStatus {
        let in_flight = self.leases();
        let state = match self.phase() {
            _ if self.worker.is_stopping() => "stopping",
            Phase::Starting => "starting",
            Phase::Draining => "draining",
            Phase::Gone => "gone",
            Phase::Ready if in_flight > 0 => "busy",
            Phase::Ready => "ready",
        };
        WorkerStatus {
            id: self.id(),
            pid: self.worker.pid,
            state: state.to_owned(),
            era: self.locked().as_str().to_owned(),
            bound: self.session().is_some(),
            age_seconds: self.age().as_secs(),
            calls: self.served(),
            in_flight,
            memory_bytes: sys::process::resident_bytes(self.worker.pid),
        }
    }
}

/// A call on its way; a modern client that goes away cancels it by dropping this.
#[derive(Debug)]
pub struct Sent {
    member: Arc<Member>,
    wire: u64,
}

impl Sent {
    pub(super) fn new(member: Arc<Member>, wire: u64) -> Self {
        Self { member, wire }
    }

    /// Cancels the call if it is still in flight.
    pub fn cancel(&self, reason: &str) {
        self.member.cancel(self.wire, reason);
    }
}

/// Raw JSON as owned bytes.
#[must_use]
pub fn owned(raw: &RawValue) -> Bytes {
    Bytes::copy_from_slice(raw.get().as_bytes())
}
