//! What a checked configuration says, as plain data with its defaults. Whoever holds a [`Config`]
//! that [`load`](super::load) returned may rely on every range given here. It knows nothing of
//! TOML.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::guards::{Auth, Failure, Principal, Tool};
use super::upstream::{self, Upstream};
use crate::policy::bucket::Limit;
use crate::policy::{breaker, memory, retry};

/// Everything `mainstayd` is told by its configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[listen]`: the HTTP listener.
    pub listen: Listen,
    /// `[admin]`: the Unix socket of `mainstayctl`.
    pub admin: Admin,
    /// `state_dir`: where the daemon keeps its files; absolute.
    pub state_dir: PathBuf,
    /// `cgroup`: which control group the daemon may take for its own.
    pub cgroup: Cgroup,
    /// `[sessions]`: bounds on sessions and streams.
    pub sessions: Sessions,
    /// `[rate_limit]`: what each principal may do, over all servers.
    pub rate_limit: Limit,
    /// `[auth]`.
    pub auth: Auth,
    /// `[[principals]]`, in the order of the file, names unique.
    pub principals: Vec<Principal>,
    /// `[servers.NAME]`, sorted by name, never empty; exactly one has `default` set.
    pub servers: Vec<Server>,
}

/// Which control group the daemon may take for its own, to put itself and each worker into a part
/// of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cgroup {
    /// The one that systemd has delegated to it.
    #[default]
    Auto,
    /// The one it was started in, with all processes that are in it.
    Own,
    /// None.
    Off,
}

impl Cgroup {
    /// Every choice with its name in the configuration.
    pub(super) const NAMES: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("own", Self::Own), ("off", Self::Off)];

    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Own => "own",
            Self::Off => "off",
        }
    }
}

/// `[listen]`: the HTTP listener and what it accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// Address and port; port 0 lets the kernel choose.
    pub http: SocketAddr,
    /// Open connections, 1 to 1,000,000.
    pub max_connections: usize,
    /// Largest request body in bytes, at least 1.
    pub max_body_bytes: usize,
    /// How long a client may take to send its request headers; never zero.
    pub header_timeout: Duration,
    /// How often an idle event stream gets a comment line; never zero.
    pub keepalive_interval: Duration,
    /// When a client should reconnect a lost event stream (the `retry` field); never zero.
    pub retry: Duration,
    /// `Host` values accepted, in lower case, `name` or `name:port`. Empty means: the loopback
    /// names and the listen address.
    pub allowed_hosts: Vec<String>,
    /// `Origin` values accepted, in lower case, such as `https://app.example`. Empty means:
    /// loopback origins only.
    pub allowed_origins: Vec<String>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
            max_connections: 10_000,
            max_body_bytes: 4 << 20,
            header_timeout: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(15),
            // Long enough to cover a restart of the daemon without socket activation.
            retry: Duration::from_secs(4),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
        }
    }
}

/// `[admin]`: where `mainstayctl` reaches the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Path of the Unix socket; absolute, at most 107 bytes (`sun_path` of unix(7)).
    pub socket: PathBuf,
}

/// `[sessions]`: bounds on what clients may make the daemon remember.
#[derive(Clone, Debug, PartialEq)]
pub struct Sessions {
    /// Open legacy sessions, 1 to 10,000,000.
    pub max: usize,
    /// A session without a request for this long is closed; never zero.
    pub idle_timeout: Duration,
    /// Bytes of events kept per stream for `Last-Event-ID`, at least 1.
    pub stream_buffer_bytes: usize,
    /// How long a finished stream can still be resumed; never zero.
    pub stream_retention: Duration,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            max: 10_000,
            idle_timeout: Duration::from_secs(24 * 3600),
            stream_buffer_bytes: 1 << 20,
            stream_retention: Duration::from_secs(5 * 60),
        }
    }
}

/// One `[servers.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Its name: 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// Whether it is also served at `/mcp`.
    pub default: bool,
    /// What its workers run.
    pub program: Program,
    /// Environment variables set for its workers.
    pub env: BTreeMap<String, String>,
    /// Variables handed on from the daemon's own environment, beside the fixed allow-list.
    pub env_pass: Vec<String>,
    /// Working directory of its workers, absolute; `None` means their private scratch directory.
    pub cwd: Option<PathBuf>,
    /// Which protocol eras its workers speak.
    pub era: Era,
    /// Whom the in-memory state of a worker belongs to.
    pub state: State,
    /// Calls in flight per worker, 1 to 10,000.
    pub concurrency: usize,
    /// How many workers, and how long each lives.
    pub pool: Pool,
    /// How failed workers are started again.
    pub recovery: Recovery,
    /// How long a worker may take to be ready; never zero.
    pub start_timeout: Duration,
    /// Grace after closing stdin, and again after SIGTERM; never zero.
    pub stop_grace: Duration,
    /// Largest message a worker may send, in bytes, at least 1024.
    pub max_message_bytes: usize,
    /// Bytes that may wait for a worker that does not read; at least `listen.max_body_bytes`.
    pub write_queue_bytes: usize,
    /// Calls that may wait for a worker, 1 to 1,000,000.
    pub queue_size: usize,
    /// Bytes of calls that may wait; at least `listen.max_body_bytes`.
    pub queue_bytes: usize,
    /// How long a call may take from its acceptance to its answer; never zero. Progress
    /// notifications give it this long again.
    pub call_timeout: Duration,
    /// How long a call may take with all its progress; at least `call_timeout`.
    pub max_call_timeout: Duration,
    /// Tools whose calls may be made twice without harm.
    pub retry_safe: BTreeSet<String>,
    /// Whether to believe `readOnlyHint` and `idempotentHint`.
    pub trust_annotations: bool,
    /// Find out how many calls the workers take at a time, instead of `concurrency` alone.
    pub adaptive_concurrency: bool,
    /// When calls are not sent to this server at all.
    pub breaker: breaker::Settings,
    /// Memory of its workers.
    pub memory: memory::Limits,
    /// Retries the client never sees.
    pub retry: retry::Settings,
    /// What each principal may do at this server; beside the principal's own limit.
    pub rate_limit: Option<Limit>,
    /// Which answers are failures.
    pub failure: Failure,
    /// What is special about single tools, by name.
    pub tools: BTreeMap<String, Tool>,
    /// Resource limits of each worker process.
    pub limits: Rlimits,
    /// What its workers may reach of the host.
    pub sandbox: Sandbox,
}

impl Server {
    /// A server with this name and program and otherwise the defaults, which depend on the
    /// program: the built-in score server speaks both eras in one process and keeps its scores in
    /// memory for all clients, of an unknown program nothing is assumed.
    #[must_use]
    pub fn new(name: &str, program: Program) -> Self {
        let (era, state) = match program {
            Program::BuiltinScore => (Era::Mixed, State::Shared),
            Program::Command(_) | Program::Upstream(_) => (Era::Auto, State::None),
        };
        let is_upstream = matches!(program, Program::Upstream(_));
        // Its annotations are ours, and tested.
        let trust_annotations = matches!(program, Program::BuiltinScore);
        let pool = match state {
            State::Shared => Pool {
                min_size: 1,
                max_size: 1,
                ..Pool::default()
            },
            State::None | State::Session => Pool::default(),
        };
        let mut server = Self {
            name: name.to_owned(),
            default: false,
            program,
            env: BTreeMap::new(),
            env_pass: Vec::new(),
            cwd: None,
            era,
            state,
            concurrency: 8,
            pool,
            recovery: Recovery::default(),
            start_timeout: Duration::from_secs(30),
            stop_grace: Duration::from_secs(2),
            max_message_bytes: 16 << 20,
            write_queue_bytes: 32 << 20,
            queue_size: 1024,
            queue_bytes: 64 << 20,
            call_timeout: Duration::from_secs(300),
            max_call_timeout: Duration::from_secs(3600),
            retry_safe: BTreeSet::new(),
            trust_annotations,
            adaptive_concurrency: false,
            breaker: breaker::Settings::default(),
            memory: memory::Limits::default(),
            retry: retry::Settings::default(),
            rate_limit: None,
            failure: Failure::default(),
            tools: BTreeMap::new(),
            limits: Rlimits::default(),
            sandbox: Sandbox::default(),
        };
        if is_upstream {
            upstream::adapt(&mut server);
        }
        server
    }
}

/// What the workers of a server run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// `command = ["program", "argument"]`: never empty, nor is its first element.
    Command(Vec<String>),
    /// `builtin = "score"`: the score server that is part of the daemon.
    BuiltinScore,
    /// `url = "https://..."`: nothing; the server runs elsewhere and is reached over HTTP.
    Upstream(Box<Upstream>),
}

/// Which protocol eras the workers of a server speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Found out with the first workers.
    Auto,
    /// 2025-03-26 to 2025-11-25: handshake and sessions.
    Legacy,
    /// 2026-07-28: stateless.
    Modern,
    /// One process serves both eras, freely mixed.
    Mixed,
}

impl Era {
    /// Every era with its name in the configuration.
    pub(super) const NAMES: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("legacy", Self::Legacy),
        ("modern", Self::Modern),
        ("mixed", Self::Mixed),
    ];

    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Legacy => "legacy",
            Self::Modern => "modern",
            Self::Mixed => "mixed",
        }
    }
}

/// Whom the in-memory state of a server's workers belongs to (its scope).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// To nobody: any worker may serve any call.
    None,
    /// To one session: a worker serves one session only.
    Session,
    /// To all: one worker serves everybody.
    Shared,
}

impl State {
    /// Every scope with its name in the configuration.
    pub(super) const NAMES: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("session", Self::Session),
        ("shared", Self::Shared),
    ];

    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Session => "session",
            Self::Shared => "shared",
        }
    }
}

/// `[pool]` and `[servers.NAME.pool]`: how many workers, and how long each lives.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Workers kept ready, 0 to `max_size`.
    pub min_size: usize,
    /// Workers at most, 1 to 10,000; 1 where the state is shared.
    pub max_size: usize,
    /// How often an idle worker is asked whether it lives; never zero.
    pub health_check_interval: Duration,
    /// How long a call may wait for a worker; never zero.
    pub acquire_timeout: Duration,
    /// A worker is replaced at this age; `None` (`"0s"`) is never.
    pub max_age: Option<Duration>,
    /// A worker is replaced after this many calls; `None` (`0`) is never.
    pub max_calls: Option<u64>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            min_size: 5,
            max_size: 20,
            health_check_interval: Duration::from_secs(30),
            acquire_timeout: Duration::from_secs(5),
            max_age: None,
            max_calls: None,
        }
    }
}

/// `[recovery]` and `[servers.NAME.recovery]`: how failed workers are started again.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovery {
    /// Cap of the backoff between the first attempts; never zero.
    pub restart_delay: Duration,
    /// Attempts per rung of the restart ladder, at least 1; afterwards it slows down, it never
    /// gives up.
    pub max_restart_attempts: u32,
    /// How often the pool is looked over for what no event told; never zero.
    pub check_interval: Duration,
    /// How long a call is held while no worker serves but one is to be expected; below the time-out
    /// of clients, which is 60 s for most.
    pub hold: Duration,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            restart_delay: Duration::from_secs(5),
            max_restart_attempts: 3,
            check_interval: Duration::from_secs(30),
            hold: Duration::from_secs(45),
        }
    }
}

/// `[limits]` and `[servers.NAME.limits]`: what each worker may have. The first three are kept by
/// each of its processes (setrlimit(2)), the others by its control group, where it has one.
#[derive(Clone, Debug, PartialEq)]
pub struct Rlimits {
    /// `RLIMIT_NOFILE`, at least 16.
    pub open_files: u64,
    /// `RLIMIT_CORE` in bytes.
    pub core_bytes: u64,
    /// `RLIMIT_NPROC`, counted per user; `None` (`0`) leaves it alone.
    pub processes: Option<u64>,
    /// Bytes of memory of a worker with all it starts, at most `memory.hard_limit`.
    pub memory: u64,
    /// Processes and threads of a worker with all it starts; `None` (`0`) is no limit.
    pub pids: Option<u64>,
    /// Share of the CPU of a worker with all it starts, 1 to 10,000.
    pub cpu_weight: u64,
}

impl Default for Rlimits {
    fn default() -> Self {
        Self {
            open_files: 1024,
            core_bytes: 0,
            processes: None,
            memory: worker_memory(&memory::Limits::default()),
            pids: Some(512),
            cpu_weight: 100,
        }
    }
}

/// `[servers.NAME.sandbox]`: what the workers of a server may reach of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Whether they are fenced in with landlock(7).
    pub landlock: Landlock,
    /// Open for reading and executing beside the usual; absolute.
    pub read_paths: Vec<PathBuf>,
    /// Open for writing too; absolute.
    pub write_paths: Vec<PathBuf>,
}

/// Whether workers are fenced in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Landlock {
    /// Where a service manager started the daemon: there workers have no business in anybody's
    /// files. A daemon started in a shell runs programs of its user on files of its user.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Landlock {
    /// Every value with its name in the configuration.
    pub(super) const NAMES: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)];

    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }

    /// Whether workers are fenced in; `service` is whether a service manager started the daemon.
    #[must_use]
    pub const fn applies(self, service: bool) -> bool {
        match self {
            Self::Auto => service,
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// What one worker may use unless somebody says otherwise: from the soft limit on, one alone cannot
/// pass the hard one. Never so little that no interpreter would start.
pub(super) fn worker_memory(server: &memory::Limits) -> u64 {
    const LEAST: u64 = 256 << 20;
    let between = server.hard_limit.saturating_sub(server.soft_limit);
    between.max(LEAST).min(server.hard_limit)
}
