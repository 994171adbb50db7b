//! One `[servers.NAME]` as everybody sees it: its lanes, what is known of its eras, its roster of
//! workers, its counters. How the roster is kept is `supervise`'s business, how a call is sent
//! `dispatch`'s.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::affinity::Affinity;
use super::current::Current;
use super::expiry::Deadlines;
use super::guards::Guards;
use super::handshake::Opening;
use super::lane::{Lane, LaneBounds};
use super::limits::Limits;
use super::listen::Listen;
use super::member::Member;
use super::rules::Rules;
use super::session::Session;
use super::sessions::Sessions;
use super::stats::Stats;
use crate::config;
use crate::mcp::era::Era;
use crate::mcp::tool_headers::ToolHeaders;
use crate::policy::refusal::Refusal;
use crate::policy::restart::Restart;
use crate::sys::cgroup::{ServerGroup, Tree};

/// What all servers of a daemon share.
#[derive(Debug)]
pub struct Shared {
    /// Number of this life of the daemon, part of every wire id.
    pub life: u16,
    /// The binary that launches workers.
    pub launcher: PathBuf,
    /// Whether a service manager started the daemon, see [`config::Landlock::Auto`].
    pub is_service: bool,
    /// Where workers get their scratch directories.
    pub scratch_root: PathBuf,
    /// Most starts of one server at a time.
    pub start_cap: usize,
    /// The sessions.
    pub sessions: Sessions,
    /// Who may call how often.
    pub limits: Arc<Limits>,
    /// The daemon's cgroups; `None` where it has none.
    pub tree: Option<Tree>,
    /// Numbers workers.
    pub next_worker: std::sync::atomic::AtomicU64,
}

/// What is known of a server; `None` is "not yet".
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Whether its workers speak the legacy era.
    pub legacy: Option<bool>,
    /// Whether they speak the modern era.
    pub modern: Option<bool>,
    /// Whether one process speaks both.
    pub mixed: bool,
    /// Set after each start that failed for longer than a short outage.
    pub down: Option<Refusal>,
    /// Failed starts so far.
    pub failures: u64,
    /// The server takes no calls any more.
    pub stopping: bool,
}

/// The workers of a server, and how starting them goes.
#[derive(Debug)]
pub(super) struct Roster {
    pub members: BTreeMap<u64, Arc<Member>>,
    /// Workers on their way up, by number.
    pub starting: BTreeMap<u64, Opening>,
    pub restart: Restart,
    pub last_failure: Option<LastFailure>,
    /// The workers being replaced, until their successors are ready.
    pub replacing: Vec<Replacement>,
    /// What a start takes, lately.
    pub start_time: Option<Duration>,
    /// Since when each era has had more workers than needed.
    pub surplus_since: HashMap<Era, Instant>,
    pub down_since: Option<Instant>,
}

/// A worker that ends once its successor is ready, both by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replacement {
    pub old: u64,
    pub successor: u64,
}

impl Roster {
    /// A worker has ended, or was never started: a replacement it was part of is off.
    pub(super) fn gone(&mut self, id: u64) {
        self.starting.remove(&id);
        self.replacing.retain(|r| r.old != id && r.successor != id);
    }

    /// A worker is ready. Returns the one that it replaces, if any.
    pub(super) fn ready(&mut self, id: u64, took: Duration, now: Instant) -> Option<u64> {
        self.starting.remove(&id);
        self.restart.ready(now);
        self.start_time = Some(self.start_time.map_or(took, |mean| (mean * 3 + took) / 4));
        let at = self.replacing.iter().position(|r| r.successor == id)?;
        Some(self.replacing.swap_remove(at).old)
    }
}

/// The last failure, for the views.
#[derive(Clone, Debug)]
pub(super) struct LastFailure {
    pub at: Instant,
    pub what: String,
    pub stderr: Vec<String>,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    name: String,
    config: Current<config::Server>,
    shared: Arc<Shared>,
    group: Option<ServerGroup>,
    legacy: Arc<Lane>,
    modern: Arc<Lane>,
    pressure: Arc<Notify>,
    standing: watch::Sender<Standing>,
    initialized: Mutex<Option<Bytes>>,
    /// A warm worker refused to be initialised again: spares are then left untouched.
    pub(super) no_reinitialize: AtomicBool,
    /// A modern client has been here: the modern pool is worth its minimum.
    pub(super) modern_wanted: AtomicBool,
    /// Somebody looks after its breaker.
    pub(super) patrolling: AtomicBool,
    /// The worst stall told since the workers were measured, a `policy::memory::Stall`.
    pub(super) stall: AtomicU8,
    /// How short the daemon itself is of memory, a `policy::strain::Level`.
    pub(super) strain: AtomicU8,
    /// The worker that was told all subscriptions last; see `rebind`.
    pub(super) home_told: AtomicU64,
    affinity: Affinity,
    tool_headers: Arc<ToolHeaders>,
    rules: Current<Rules>,
    guards: Guards,
    /// Calls that have no outcome yet.
    pub(super) calls: AtomicUsize,
    /// See `succession`.
    pub(super) leaving: AtomicBool,
    pub(super) coming: AtomicBool,
    deadlines: Arc<Deadlines>,
    listens: Mutex<Vec<Weak<Listen>>>,
    stats: Arc<Stats>,
    roster: Mutex<Roster>,
}

impl Server {
    /// A server without workers; see `supervise`.
    #[must_use]
    pub fn new(config: config::Server, shared: Arc<Shared>) -> Arc<Self> {
        let pressure = Arc::new(Notify::new());
        let bounds = Self::bounds(&config);
        let standing = match config.era {
            config::Era::Auto => Standing::default(),
            era => Standing {
                legacy: Some(era != config::Era::Modern),
                modern: Some(era != config::Era::Legacy),
                mixed: era == config::Era::Mixed,
                ..Standing::default()
            },
        };
        let restart = Restart::new(
            config.recovery.restart_delay,
            config.recovery.max_restart_attempts,
        );
        Arc::new(Self {
            group: group(&config, &shared),
            legacy: Lane::new(&bounds, Arc::clone(&pressure)),
            modern: Lane::new(&bounds, Arc::clone(&pressure)),
            standing: watch::Sender::new(standing),
            initialized: Mutex::default(),
            no_reinitialize: AtomicBool::new(false),
            modern_wanted: AtomicBool::new(false),
            patrolling: AtomicBool::new(false),
            stall: AtomicU8::new(0),
            strain: AtomicU8::new(0),
            home_told: AtomicU64::new(0),
            affinity: Affinity::default(),
            tool_headers: Arc::default(),
            rules: Current::new(Rules::new(&config)),
            guards: Guards::new(&config),
            calls: AtomicUsize::new(0),
            leaving: AtomicBool::new(false),
            coming: AtomicBool::new(false),
            deadlines: Arc::new(Deadlines::new(Instant::now(), Arc::clone(&pressure))),
            listens: Mutex::default(),
            stats: Arc::default(),
            roster: Mutex::new(Roster {
                members: BTreeMap::new(),
                starting: BTreeMap::new(),
                restart,
                last_failure: None,
                replacing: Vec::new(),
                start_time: None,
                surplus_since: HashMap::new(),
                down_since: None,
            }),
            pressure,
            name: config.name.clone(),
            config: Current::new(config),
            shared,
        })
    }

    pub(super) fn bounds(config: &config::Server) -> LaneBounds {
        LaneBounds {
            concurrency: config.concurrency,
            queue_size: config.queue_size,
            queue_bytes: config.queue_bytes,
            acquire_timeout: config.pool.acquire_timeout,
            hold: config.recovery.hold,
            adaptive: config.adaptive_concurrency,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its configuration as it is now.
    #[must_use]
    pub fn config(&self) -> Arc<config::Server> {
        self.config.get()
    }

    pub(super) fn set_config(&self, config: config::Server) {
        self.config.set(config);
    }

    /// What it shares with the others.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The cgroup of all its workers; `None` for an upstream, and where the daemon has no cgroups.
    #[must_use]
    pub fn group(&self) -> Option<&ServerGroup> {
        self.group.as_ref()
    }

    pub(super) fn life(&self) -> u16 {
        self.shared.life
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Who minted what.
    #[must_use]
    pub fn affinity(&self) -> &Affinity {
        &self.affinity
    }

    /// Which arguments are mirrored in headers.
    #[must_use]
    pub fn tool_headers(&self) -> &Arc<ToolHeaders> {
        &self.tool_headers
    }

    /// What holds for its tools.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.get()
    }

    pub(super) fn set_rules(&self, rules: Rules) {
        self.rules.set(rules);
    }

    /// What stands before its workers.
    #[must_use]
    pub fn guards(&self) -> &Guards {
        &self.guards
    }

    /// Lets its actor look after it now.
    pub(super) fn wake(&self) {
        self.pressure.notify_one();
    }

    pub(super) fn deadlines(&self) -> &Arc<Deadlines> {
        &self.deadlines
    }

    /// Its legacy sessions.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.shared.sessions.of(self)
    }

    pub(super) fn pressure(&self) -> &Arc<Notify> {
        &self.pressure
    }

    pub(super) fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane that serves this era. One process for both eras means one lane.
    #[must_use]
    pub fn lane(&self, era: Era) -> &Arc<Lane> {
        match era {
            Era::Modern if !self.standing.borrow().mixed => &self.modern,
            Era::Modern | Era::Legacy => &self.legacy,
        }
    }

    /// Looks after who waits; whether nobody does for longer than anybody may.
    #[must_use]
    pub fn attend(&self) -> bool {
        let lanes = [&self.legacy, &self.modern].map(|lane| lane.attend());
        lanes == [true, true]
    }

    /// A lane for one session's own worker.
    #[must_use]
    pub fn session_lane(&self) -> Arc<Lane> {
        Lane::new(&Self::bounds(&self.config()), Arc::clone(&self.pressure))
    }

    pub(super) fn standing(&self) -> &watch::Sender<Standing> {
        &self.standing
    }

    /// Whether its workers speak this era, waiting until it is known.
    ///
    /// # Errors
    /// The server does not come up, or the daemon stops.
    pub async fn speaks(&self, era: Era) -> Result<bool, Refusal> {
        let answer = |s: &Standing| match era {
            Era::Legacy => s.legacy,
            Era::Modern => s.modern,
        };
        let seen = {
            let now = self.standing.borrow();
            if let Some(known) = answer(&now) {
                return Ok(known);
            }
            now.failures
        };
        self.pressure.notify_one();
        let mut news = self.standing.subscribe();
        let found = tokio::time::timeout(
            Duration::from_secs(45),
            news.wait_for(|s| {
                answer(s).is_some() || s.stopping || (s.down.is_some() && s.failures > seen)
            }),
        )
        .await;
        match found {
            Ok(Ok(s)) => match (answer(&s), &s.down) {
                (Some(known), _) => Ok(known),
                (None, Some(refusal)) => Err(refusal.clone()),
                (None, None) => Err(Refusal::draining()),
            },
            Ok(Err(_)) => Err(Refusal::draining()),
            Err(_) => Err(Refusal::overloaded(
                format!("no worker of server {} is ready yet", self.name()),
                Duration::from_secs(2),
            )),
        }
    }

    /// What a worker answered to `initialize`, raw JSON.
    #[must_use]
    pub fn initialized(&self) -> Option<Bytes> {
        self.initialized
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set_initialized(&self, result: Bytes) {
        *self
            .initialized
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(result);
    }

    /// Whether each legacy session has a worker of its own.
    #[must_use]
    pub fn binds_sessions(&self) -> bool {
        self.config().state == config::State::Session
    }

    /// A modern client came.
    pub fn want_modern(&self) {
        if !self.modern_wanted.load(Ordering::Relaxed)
            && !self.modern_wanted.swap(true, Ordering::Relaxed)
        {
            self.pressure.notify_one();
        }
    }

    /// Opens a listen at all modern workers, and at those to come.
    pub fn listen(&self, listen: &Arc<Listen>) {
        {
            let mut listens = self.listens.lock().unwrap_or_else(PoisonError::into_inner);
            listens.retain(|l| l.strong_count() > 0);
            listens.push(Arc::downgrade(listen));
        }
        for member in self.lane(Era::Modern).members() {
            listen.join(&member);
        }
    }

    pub(super) fn listens(&self) -> Vec<Arc<Listen>> {
        let listens = self.listens.lock().unwrap_or_else(PoisonError::into_inner);
        listens.iter().filter_map(Weak::upgrade).collect()
    }
}

fn group(config: &config::Server, shared: &Shared) -> Option<ServerGroup> {
    if matches!(config.program, config::Program::Upstream(_)) {
        return None;
    }
    let tree = shared.tree.as_ref()?;
    let group = tree.server(&config.name, config.memory.hard_limit);
    if let Err(error) = group.prepare() {
        // Each start of a worker tries again, and fails with these words.
        log::warn!("server {}: {error}", config.name);
    }
    Some(group)
}
