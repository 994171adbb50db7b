//! Every state change the daemon reports, as one enum. An event knows its name, how serious it
//! is, its sentence and its fields; it does not know who reads it. Counting is not done here: the
//! broker counts.

use super::escape::escape;
use super::fields::rest;
use super::sentence::sentence;
use log::Record;
use std::panic::Location;
use std::time::Duration;

/// Target of all events in the log, so that a filter can name them.
pub const TARGET: &str = "mainstay";
/// Bytes of a worker's own words that an event carries.
const SAMPLE_LIMIT: usize = 200;
/// Bytes of what a reload has changed, or of what is wrong with a configuration.
pub(super) const CHANGES_LIMIT: usize = 1000;
/// Calls that an event names, by the ids that their worker knows them by; the others are counted.
pub(super) const CALLS_NAMED: usize = 16;

/// A state change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The daemon listens.
    DaemonStarted {
        /// Its version.
        version: String,
        /// Address of the HTTP listener.
        listen: String,
    },
    /// The daemon was asked to end and takes no new calls.
    DaemonStopping {
        /// Who asked, such as `SIGTERM`.
        cause: String,
        /// Calls it still waits for.
        in_flight: usize,
    },
    /// Another configuration is in force.
    ConfigReloaded {
        /// Who has asked for it.
        author: String,
        /// What has changed, in one line.
        summary: String,
        /// Keys that take a restart.
        restart: Vec<String>,
    },
    /// A new configuration was refused; the old one stays in force.
    ConfigRejected {
        /// Who has asked for it.
        author: String,
        /// How many errors it has.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// A worker process was started; it does not serve yet.
    WorkerStarted {
        /// Its server.
        server: String,
        /// Its number.
        worker: u64,
        /// Its process id.
        pid: u32,
        /// The era it is being opened in.
        era: String,
    },
    /// A worker may take calls.
    WorkerReady {
        /// Its server.
        server: String,
        /// Its number.
        worker: u64,
        /// Its process id.
        pid: u32,
        /// The era it serves.
        era: String,
        /// Time from its start.
        took: Duration,
    },
    /// A worker process ended.
    WorkerExited {
        /// Its server.
        server: String,
        /// Its number.
        worker: u64,
        /// Its process id.
        pid: u32,
        /// Whether the daemon had asked it to end.
        expected: bool,
        /// How it ended, such as `exited with status 1` or `was killed by SIGKILL`.
        what: String,
        /// Calls it took with it, by their ids on its wire.
        calls: Vec<u64>,
    },
    /// A worker is being replaced although it works.
    WorkerRecycled {
        /// Its server.
        server: String,
        /// Its number.
        worker: u64,
        /// Why, such as `has served 1000 calls`.
        reason: String,
    },
    /// A worker writes lines to stdout that are no JSON-RPC messages. Reported at a bounded rate.
    WorkerJunk {
        /// Its server.
        server: String,
        /// Its number.
        worker: u64,
        /// Lines since the last such event.
        count: u64,
        /// The last of them.
        sample: String,
    },
    /// A frame was dropped because it exceeds the limit.
    OversizeFrame {
        /// The worker's server.
        server: String,
        /// The worker's number.
        worker: u64,
        /// Bytes of the frame seen so far.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A server serves again, or for the first time.
    ServerUp {
        /// Its name.
        server: String,
        /// How long it had not served.
        after: Duration,
    },
    /// A server has no worker left that could serve.
    ServerDown {
        /// Its name.
        server: String,
        /// Why, in a few words.
        reason: String,
        /// Time to the next attempt; `None` if one is under way.
        retry_in: Option<Duration>,
    },
    /// The era of a server's workers is known.
    EraFound {
        /// Its name.
        server: String,
        /// `legacy`, `modern` or `mixed`.
        era: String,
    },
    /// Sessions were ended because of their age or their number.
    SessionsEvicted {
        /// Their server.
        server: String,
        /// How many.
        count: usize,
        /// Why, such as `idle for 1 h`.
        reason: String,
    },
    /// Calls were refused. Reported at a bounded rate.
    CallsRefused {
        /// Their server.
        server: String,
        /// The reason in the words of the error data, such as `overloaded`.
        reason: String,
        /// Calls since the last such event.
        count: u64,
    },
    /// A breaker changed its state.
    BreakerChanged {
        /// Its server.
        server: String,
        /// Its tool, if it is one tool's.
        tool: Option<String>,
        /// `closed`, `open` or `half_open`.
        from: &'static str,
        /// The same.
        to: &'static str,
        /// Why, with the numbers.
        reason: String,
        /// Time to the next probe, if it is open now.
        retry_in: Option<Duration>,
    },
    /// An operator set the mode of a breaker, or its time was over.
    BreakerSet {
        /// Its server.
        server: String,
        /// Its tool, if it is one tool's.
        tool: Option<String>,
        /// `auto`, `forced_open`, `forced_closed` or `shadow`.
        mode: &'static str,
        /// Who.
        author: String,
        /// Why.
        reason: String,
        /// When it ends by itself.
        expires: Option<Duration>,
    },
    /// A call's time was over and its worker did not react to the cancel: it is replaced.
    WorkerStuck {
        /// Its server.
        server: String,
        /// Its number.
        worker: u64,
        /// Its process id.
        pid: u32,
        /// What it was called for.
        method: String,
        /// How long ago.
        after: Duration,
        /// The call, by its id on the worker's wire.
        call: u64,
        /// Other calls it has.
        others: Vec<u64>,
    },
    /// Calls of a dead worker were sent to another one.
    CallsRetried {
        /// Their server.
        server: String,
        /// The dead worker's number.
        worker: u64,
        /// Which, by their ids on its wire.
        calls: Vec<u64>,
    },
    /// A call has cost so many workers their life that it is not sent to another.
    CallQuarantined {
        /// Its server.
        server: String,
        /// The worker that died last.
        worker: u64,
        /// The call's id on its wire.
        call: u64,
        /// The tool.
        tool: String,
        /// Digest of tool and arguments.
        digest: String,
        /// Workers.
        crashes: u32,
        /// Until it is forgotten.
        lasts: Duration,
    },
    /// An operator cleared quarantined calls.
    QuarantineCleared {
        /// Their server.
        server: String,
        /// How many.
        count: usize,
    },
    /// A server refuses the less important calls.
    ShedStarted {
        /// Its name.
        server: String,
        /// Why.
        reason: String,
    },
    /// It takes all calls again.
    ShedEnded {
        /// Its name.
        server: String,
        /// How long it lasted.
        after: Duration,
    },
    /// The workers of a server together are above the soft limit, or wait for memory.
    MemorySoft {
        /// The server.
        server: String,
        /// Their memory.
        bytes: u64,
        /// The limit.
        limit: u64,
        /// It is for the waiting, not for the limit.
        stalled: bool,
    },
    /// A worker is killed for the memory of all.
    MemoryHard {
        /// Its server.
        server: String,
        /// Its number.
        worker: u64,
        /// Its process id.
        pid: u32,
        /// Its memory.
        bytes: u64,
        /// How much of it came since it was ready.
        growth: u64,
        /// The server's hard limit.
        limit: u64,
        /// The workers get nothing done for want of memory: it is for that, not for the limit.
        stalled: bool,
        /// Bytes it loses with each call, if it leaks.
        bytes_a_call: Option<u64>,
        /// Calls it takes with it, by their ids on its wire.
        calls: Vec<u64>,
        /// Their tools, such as `echo, render (2)`.
        tools: String,
    },
    /// The kernel killed a worker for want of memory.
    WorkerOom {
        /// Its server.
        server: String,
        /// Its number.
        worker: u64,
        /// Its process id.
        pid: u32,
        /// The most memory it had; `None` where the kernel does not tell.
        bytes: Option<u64>,
        /// Its own limit.
        limit: u64,
        /// Calls it took with it, by their ids on its wire.
        calls: Vec<u64>,
        /// Their tools.
        tools: String,
    },
    /// A worker loses memory with each call. Told once a worker.
    LeakFound {
        /// Its server.
        server: String,
        /// Its number.
        worker: u64,
        /// Its process id.
        pid: u32,
        /// Bytes for each call, of the tool if it is one tool's.
        bytes_a_call: u64,
        /// The tool whose calls do it, if that could be told.
        tool: Option<String>,
        /// Calls it was seen over.
        calls: u64,
        /// Its memory.
        bytes: u64,
    },
    /// The daemon itself was told that memory is short, or it is over.
    OwnMemory {
        /// How far it goes now, from 0 (all is well) to 3.
        level: u8,
        /// What it does now.
        what: &'static str,
    },
    /// Restarts of a server go on more thoroughly, or more slowly.
    RungReached {
        /// Its name.
        server: String,
        /// The rung, from 1.
        rung: u32,
        /// What is done now.
        what: &'static str,
        /// Failures in a row.
        failures: u32,
    },
    /// An operator let a server take no new calls, or take them again.
    ServerDrained {
        /// Its name.
        server: String,
        /// Whether it takes none now.
        on: bool,
        /// Calls in flight.
        in_flight: usize,
    },
    /// A vital part of the daemon has not moved for half of the service manager's interval.
    PartSilent {
        /// Which.
        part: &'static str,
        /// For how long.
        after: Duration,
        /// The interval.
        interval: Duration,
        /// What else is silent, and what the threads do.
        state: String,
    },
    /// A vital part does not move; the service manager is asked to restart the daemon.
    WatchdogTriggered {
        /// Which.
        part: &'static str,
        /// For how long.
        after: Duration,
        /// The interval.
        interval: Duration,
        /// What else is silent, and what the threads do.
        state: String,
    },
    /// A vital part is silent, but so is the machine: no restart would help. Told at a bounded rate.
    PartStarved {
        /// Which.
        part: &'static str,
        /// For how long.
        after: Duration,
    },
    /// A part that was told to be silent moves again.
    PartMoves {
        /// Which.
        part: &'static str,
    },
    /// Records of the log were dropped because its reader did not read.
    LogDropped {
        /// How many.
        count: u64,
    },
}

impl Event {
    /// One plain sentence with the numbers. Text of strangers in it is escaped and bounded.
    #[must_use]
    pub fn message(&self) -> String {
        sentence(self)
    }

    /// What a machine needs of it, as keys and values: the name, the subject, the rest.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("event", self.name().to_owned())];
        let (server, worker, pid) = self.subject();
        fields.extend(server.map(|server| ("server", server.to_owned())));
        fields.extend(worker.map(|worker| ("worker", worker.to_string())));
        fields.extend(pid.filter(|p| *p > 0).map(|pid| ("pid", pid.to_string())));
        fields.extend(rest(self));
        fields
    }
}

/// Tells the log about a state change. Costs one comparison where its level is filtered out.
#[track_caller]
pub fn emit(event: &Event) {
    if log::log_enabled!(target: TARGET, event.level()) {
        as_record(event, |record| log::logger().log(record));
    }
}

/// Shows the event as a record of the log, said by the caller.
#[track_caller]
pub(super) fn as_record<T>(event: &Event, read: impl FnOnce(&Record<'_>) -> T) -> T {
    let place = Location::caller();
    let mut fields = event.fields();
    fields.push(("message_id", event.message_id().to_owned()));
    fields.push(("priority", event.priority().to_string()));
    read(
        &Record::builder()
            .level(event.level())
            .target(TARGET)
            .file_static(Some(place.file()))
            .line(Some(place.line()))
            .args(format_args!("{}", event.message()))
            .key_values(&fields)
            .build(),
    )
}

/// The words of a stranger, fit to stand in a sentence.
pub(super) fn cut(text: &str) -> std::borrow::Cow<'_, str> {
    escape(text, SAMPLE_LIMIT)
}
