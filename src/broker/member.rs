//! A worker as a member of a server: the process, the calls in flight at it, whose it is. Frames
//! from it are routed in `route`; when it is started or retired is the server's decision.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::calls::Calls;
use super::expiry::Deadlines;
use super::lane::LeaseCount;
use super::server::Server;
use super::session::Session;
use super::snapshot::WorkerStatus;
use super::stats::Stats;
use crate::config;
use crate::mcp::era::Era;
use crate::sys::cgroup::Group;
use crate::worker::actor::Worker;

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

/// The member.
#[derive(Debug)]
pub struct Member {
    pub(super) worker: Arc<Worker>,
    pub(super) server: Weak<Server>,
    pub(super) stats: Arc<Stats>,
    pub(super) deadlines: Arc<Deadlines>,
    pub(super) leases: LeaseCount,
    calls: Mutex<Calls>,
    locked: AtomicU8,
    phase: AtomicU8,
    session: Mutex<Weak<Session>>,
    started: Instant,
    pub(super) served: AtomicU64,
    /// Bytes it had when it was ready and had served nobody; 0 is not known.
    pub(super) baseline: AtomicU64,
    /// Bytes it loses with each call; 0: it does not leak, as far as is known.
    pub(super) leak: AtomicU64,
    pub(super) recent: Mutex<super::wear::Recent>,
    answered: AtomicU64,
    last_answer_ms: AtomicU64,
    pinned_until: Mutex<Option<Instant>>,
    condemned: AtomicBool,
    blamed: Mutex<Option<Instant>>,
    alone: AtomicBool,
    suspect: AtomicBool,
    /// What it was started by.
    config: Arc<config::Server>,
    /// Started without the variables of `env_pass`.
    bare: bool,
    pub(super) junk: Mutex<super::route::Junk>,
}

impl Member {
    /// `config`: what it was started by; `bare`: without the variables of `env_pass`.
    pub(super) fn new(
        worker: Arc<Worker>,
        server: &Arc<Server>,
        config: Arc<config::Server>,
        bare: bool,
        now: Instant,
    ) -> Arc<Self> {
        Arc::new(Self {
            worker,
            server: Arc::downgrade(server),
            stats: Arc::clone(server.stats()),
            deadlines: Arc::clone(server.deadlines()),
            leases: LeaseCount::new(0),
            calls: Mutex::new(Calls::new(server.life())),
            locked: AtomicU8::new(Locked::Fresh as u8),
            phase: AtomicU8::new(Phase::Starting as u8),
            session: Mutex::default(),
            started: now,
            served: AtomicU64::new(0),
            baseline: AtomicU64::new(0),
            leak: AtomicU64::new(0),
            recent: Mutex::default(),
            answered: AtomicU64::new(0),
            last_answer_ms: AtomicU64::new(0),
            pinned_until: Mutex::default(),
            condemned: AtomicBool::new(false),
            blamed: Mutex::default(),
            alone: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            config,
            bare,
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

    /// A call that it was given at `begun` failed now. True if that is news: all calls that a process had
    /// when one of them failed are one failure. Calls at an upstream fail each for itself.
    pub(super) fn blame(&self, begun: Instant, now: Instant) -> bool {
        let mut blamed = self.blamed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.worker.pid != 0 && blamed.is_some_and(|at| begun <= at);
        if !known {
            *blamed = Some(now);
        }
        !known
    }

    /// When it answered a client before; `now` is remembered for the next time.
    pub(super) fn last_answer(&self, now: Instant) -> Instant {
        let millis = now.saturating_duration_since(self.started).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        let before = self.last_answer_ms.swap(millis, Ordering::Relaxed);
        self.started + Duration::from_millis(before)
    }

    /// It answered a client's call.
    pub(super) fn count_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if self.is_suspect() {
            self.suspect.store(false, Ordering::Relaxed);
        }
    }

    /// Whether the configuration has changed since its start in a way that takes another worker.
    pub(super) fn is_outdated(&self, now: &Arc<config::Server>) -> bool {
        !Arc::ptr_eq(&self.config, now) && !self.config.has_same_workers(now)
    }

    /// Whether it runs without the variables of `env_pass`.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.bare
    }

    /// It gave no sign of life while idle, but stays until there is another one.
    pub(super) fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
    }

    /// Whether that is so and it has answered no client since.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// Whether one call has it for itself. Changed under the lane's lock only.
    pub(super) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed)
    }

    pub(super) fn set_alone(&self, alone: bool) {
        self.alone.store(alone, Ordering::Relaxed);
    }

    /// It is stuck and being ended; its successor need not wait for that.
    pub(super) fn condemn(&self) {
        self.condemned.store(true, Ordering::Relaxed);
    }

    /// Whether it was.
    #[must_use]
    pub fn is_condemned(&self) -> bool {
        self.condemned.load(Ordering::Relaxed)
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

    /// Whether it can serve requests of this era.
    #[must_use]
    pub fn serves(&self, era: Era) -> bool {
        match self.locked() {
            Locked::Mixed => true,
            Locked::Modern => era == Era::Modern,
            Locked::Legacy | Locked::Fresh => era == Era::Legacy,
        }
    }

    /// Its cgroup, if it has one.
    #[must_use]
    pub fn group(&self) -> Option<&Group> {
        self.worker.group()
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
            memory_bytes: self.memory(),
            leak_bytes_a_call: self.leak(),
            processes: self.group().and_then(Group::pids_current),
        }
    }
}

/// Raw JSON as owned bytes.
#[must_use]
pub fn owned(raw: &RawValue) -> Bytes {
    Bytes::copy_from_slice(raw.get().as_bytes())
}
