//! What the daemon looks like right now, as plain data: the one source of `/health`,
//! `mainstayctl status` and the gauges of `/metrics`. Taking a snapshot reads counters and short
//! locks only; it touches no worker. It knows nothing of HTTP or of the admin socket.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whoever can tell what the daemon looks like right now. Called by every scrape and every
/// `mainstayctl status`, from async tasks: an implementation reads counters and short locks, and
/// never waits.
pub trait View: Send + Sync {
    /// The present state.
    fn snapshot(&self) -> Snapshot;
}

/// How well a server, or the daemon as a whole, serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Calls are served.
    Ok,
    /// Calls are served, but something is missing; the reason is given beside it.
    Degraded,
    /// No worker has been ready yet; calls wait.
    Starting,
    /// No worker is ready and the last attempt failed; calls wait or are refused.
    Down,
}

/// The daemon and everything it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of the daemon.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// Worst state that matters: `ok` if all servers are, `down` if the default server is.
    pub health: Health,
    /// `starting`, `serving` or `draining`.
    pub phase: String,
    /// Address of the HTTP listener.
    pub listen: String,
    /// Open HTTP connections.
    pub connections: u64,
    /// Resident memory of the daemon in bytes; `None` where procfs cannot tell.
    pub memory_bytes: Option<u64>,
    /// Records of the log that were dropped because its reader did not read.
    #[serde(default)]
    pub log_records_dropped: u64,
    /// The servers, by name.
    pub servers: Vec<ServerStatus>,
    /// The configuration in force and how reloads went.
    #[serde(default)]
    pub configuration: ConfigurationStatus,
    /// What the daemon has of the machine; `None` from a daemon too old to say.
    #[serde(default)]
    pub host: Option<Host>,
}

/// The configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// Seconds since it was put into force.
    pub age_seconds: u64,
    /// Reloads that were accepted.
    pub accepted: u64,
    /// Reloads that were refused.
    pub rejected: u64,
    /// The last reload; `None` if there was none.
    pub last: Option<ReloadStatus>,
    /// Keys that were changed and take a restart.
    pub restart: Vec<String>,
    /// What reloads have begun and is not over yet, one sentence each.
    pub pending: Vec<String>,
}

/// One reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// Seconds ago.
    pub seconds_ago: u64,
    /// Whether its configuration is in force since.
    pub accepted: bool,
    /// What it changed, or the first error.
    pub what: String,
}

/// What the daemon found of the machine when it started: what protects it and its workers, and what
/// it has to do without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its user.
    pub uid: u32,
    /// Whether a service manager started it.
    pub service: bool,
    /// Version of landlock in the kernel; `None` without.
    pub landlock: Option<u32>,
    /// Servers whose workers run without a fence, by name.
    pub unfenced: Vec<String>,
    /// How it stands with control groups, one clause.
    pub cgroup: String,
    /// What to do to stand better with them; `None` if nothing is missing.
    pub cgroup_advice: Option<String>,
    /// Whether the kernel tells of memory pressure (PSI).
    pub pressure: bool,
    /// Milliseconds within which the service manager wants a sign of life; `None` if it does not ask.
    pub watchdog_ms: Option<u64>,
    /// Descriptors that the daemon may have open.
    pub open_files: u64,
}

/// One `[servers.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Name in the configuration.
    pub name: String,
    /// Whether it is also served at `/mcp`.
    pub default: bool,
    /// How well it serves.
    pub health: Health,
    /// Why it is not `ok`, in one sentence.
    pub reason: Option<String>,
    /// Eras its workers serve: `legacy`, `modern`, `mixed`, `legacy+modern` or `unknown`.
    pub era: String,
    /// Scope of its workers' state: `none`, `session` or `shared`.
    pub state: String,
    /// Configured lower bound of the pool.
    pub min_size: usize,
    /// Configured upper bound of the pool.
    pub max_size: usize,
    /// Workers that may take calls.
    pub ready: usize,
    /// Ready workers with at least one call in flight.
    pub busy: usize,
    /// Workers on their way up.
    pub starting: usize,
    /// Calls in flight at workers.
    pub in_flight: usize,
    /// Calls that wait for a worker.
    pub queued: usize,
    /// Open legacy sessions.
    pub sessions: usize,
    /// Lifetime counters.
    pub counters: Counters,
    /// How long its calls took.
    #[serde(default)]
    pub durations: DurationHistogram,
    /// The last time a worker failed to start or died.
    pub last_failure: Option<Failure>,
    /// The workers.
    pub workers: Vec<WorkerStatus>,
    /// Its breakers: its own first, then those of tools that have one.
    #[serde(default)]
    pub breakers: Vec<BreakerStatus>,
    /// Calls that are not sent to any worker because they have killed some.
    #[serde(default)]
    pub quarantine: Vec<Quarantined>,
    /// Why it refuses the less important calls; `None` if it takes all.
    #[serde(default)]
    pub pressure: Option<String>,
    /// Whether an operator lets it take no new calls (`mainstayctl drain`).
    #[serde(default)]
    pub drained: bool,
    /// How long it did not serve the last time it came back, in milliseconds; `None` if it always
    /// served since its start.
    #[serde(default)]
    pub recovered_after_ms: Option<u64>,
}

/// One breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerStatus {
    /// The tool it is for; `None`: the whole server.
    pub tool: Option<String>,
    /// `closed`, `open` or `half_open`.
    pub state: String,
    /// `auto`, `forced_open`, `forced_closed` or `shadow`.
    pub mode: String,
    /// Why it is not closed, or why it was forced, in one sentence.
    pub reason: Option<String>,
    /// Who forced it.
    pub author: Option<String>,
    /// Milliseconds until a forced mode ends.
    pub expires_in_ms: Option<u64>,
    /// Milliseconds until it lets a probe through; `None` unless open.
    pub retry_in_ms: Option<u64>,
    /// Failures in a row.
    pub failures_in_a_row: u32,
    /// Calls in the window.
    pub window_calls: u32,
    /// Of these, failures.
    pub window_failures: u32,
    /// Times it has opened.
    pub trips: u64,
}

impl BreakerStatus {
    /// Whether it refuses calls now: all of them, or while it probes most of them.
    #[must_use]
    pub fn refuses(&self) -> bool {
        match self.mode.as_str() {
            "forced_open" => true,
            "forced_closed" | "shadow" => false,
            _ => self.state != "closed",
        }
    }
}

/// One call that has killed workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The tool.
    pub tool: String,
    /// Digest of tool and arguments, 16 hexadecimal digits.
    pub digest: String,
    /// Workers it was at when they died.
    pub crashes: u32,
    /// Calls refused because of it.
    pub refused: u64,
    /// Milliseconds until it is forgotten.
    pub expires_in_ms: u64,
}

/// One bucket of the limiter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitStatus {
    /// Who: a token's name, `anonymous@ADDRESS`, or `(everybody else)` for the overflow bucket.
    pub principal: String,
    /// The server, where the limit is one server's.
    pub server: Option<String>,
    /// The tool, where the limit is one tool's.
    pub tool: Option<String>,
    /// Calls a second.
    pub rate: u32,
    /// Calls at once.
    pub burst_size: u32,
    /// Calls that are left now.
    pub remaining: u32,
    /// Calls granted.
    pub granted: u64,
    /// Calls refused.
    pub refused: u64,
}

/// Lifetime counters of one server. All only ever grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Calls by outcome: `ok`, `error` (a JSON-RPC error of the worker), `cancelled`, `lost`,
    /// `expired` (its time was over), `refused`.
    pub calls: BTreeMap<String, u64>,
    /// Refusals by reason, in the words of the error data (`overloaded`, `draining`, ...).
    pub refusals: BTreeMap<String, u64>,
    /// Workers started.
    pub starts: u64,
    /// Workers that ended although nobody asked them to, failed starts included.
    pub deaths: u64,
    /// Workers replaced by age or number of calls.
    pub recycled: u64,
    /// Lines on a worker's stdout that were no JSON-RPC message.
    pub junk_lines: u64,
    /// Frames dropped because they were larger than the limit.
    pub oversize_frames: u64,
    /// Messages of workers that nobody could be given: late, unknown id, not attributable, or
    /// dropped because their reader was too slow.
    pub unrouted: u64,
    /// Calls sent to another worker because the first one was lost, without the client knowing.
    #[serde(default)]
    pub retried: u64,
    /// Workers replaced because a call's deadline found them stuck.
    #[serde(default)]
    pub condemned: u64,
    /// Workers killed for want of memory, by the guard or by the kernel.
    #[serde(default)]
    pub memory_kills: u64,
}

/// How long calls took, from acceptance to the last byte of the answer. Everything in it only
/// ever grows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurationHistogram {
    /// Calls per bucket, not cumulated: one number for each of [`Self::BOUNDS_MICROS`] and a last
    /// one for the calls above them. Empty where nothing was measured.
    pub buckets: Vec<u64>,
    /// All calls measured.
    pub count: u64,
    /// Their durations added up, in microseconds. An integer, so that it survives JSON unchanged.
    pub sum_micros: u64,
}

impl DurationHistogram {
    /// Upper bounds (inclusive) of the buckets in microseconds: 1 ms to 60 s, about 2.5 steps a
    /// decade. Sixteen series per server are what a page can afford; 60 s is where the TypeScript
    /// SDK gives up on a request.
    pub const BOUNDS_MICROS: [u64; 15] = [
        1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
    ];
}

/// How a worker failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Seconds ago.
    pub seconds_ago: u64,
    /// What happened, in one sentence, such as `exited with status 1 before it was ready`.
    pub what: String,
    /// The last lines the worker wrote to stderr, oldest first, bounded.
    pub stderr: Vec<String>,
    /// Failed starts in a row.
    pub in_a_row: u32,
    /// Milliseconds until the next attempt; `None` if one is under way or none is needed.
    pub retry_in_ms: Option<u64>,
}

/// One worker: a process, or a session at an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Number of the worker, unique within the life of the daemon.
    pub id: u64,
    /// Process id; 0 for an upstream session, which has no process here.
    pub pid: u32,
    /// `starting`, `ready`, `busy`, `draining` or `stopping`.
    pub state: String,
    /// Era it is locked to: `legacy`, `modern` or `mixed`.
    pub era: String,
    /// Whether it belongs to one session.
    pub bound: bool,
    /// Seconds since its start.
    pub age_seconds: u64,
    /// Calls it has been given.
    pub calls: u64,
    /// Calls it is working on.
    pub in_flight: usize,
    /// Memory in bytes: of the worker with all it started where its control group tells, page cache
    /// left out, else what the process has resident; `None` where neither can be told.
    pub memory_bytes: Option<u64>,
    /// Bytes it loses with each call, if it leaks.
    #[serde(default)]
    pub leak_bytes_a_call: Option<u64>,
    /// Processes and threads of the worker with all it started; `None` where no control group
    /// counts them.
    #[serde(default)]
    pub processes: Option<u64>,
}
