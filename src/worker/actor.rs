//! The life of one worker process: reading its frames, noticing its death, stopping it. One task
//! owns all of this. It knows nothing of calls: what a frame means is its [`Inbox`]'s business.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::command::LaunchSpec;
use super::intake::Intake;
use super::loss::Loss;
use super::process::{self, ExitWatch, Process, Signal, SpawnError};
use super::scratch::Scratch;
use super::stderr::{self, Tail};
use super::stdin::Stdin;
use crate::mcp::frame::{Frame, FrameReader};
use crate::sys::cgroup::Group;

/// Receives what a worker writes. Called on the tasks of the worker, one at a time for each call:
/// must not block.
pub trait Inbox: Send + Sync {
    /// One line, not empty, without its end.
    fn frame(&self, line: &[u8]);
    /// A line larger than the limit began and is being discarded; this is its head.
    fn oversize(&self, head: &[u8]);
    /// The request with this id on the wire will get no answer. Processes never say so: their end
    /// tells.
    fn lost(&self, id: u64, loss: Loss);
}

/// Bounds of one worker.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Largest frame in bytes.
    pub max_message_bytes: usize,
    /// Bytes queued for a worker that does not read.
    pub write_queue_bytes: usize,
    /// Time given after closing stdin, and again after SIGTERM.
    pub stop_grace: Duration,
}

/// How far a worker is asked to go away; only ever grows.
const RUN: u8 = 0;
const POLITE: u8 = 1;
const KILL: u8 = 2;

/// The handle of a worker: send to it, stop it.
#[derive(Debug)]
pub struct Worker {
    /// Number, unique in this life of the daemon.
    pub id: u64,
    /// Process id; 0 for an upstream over HTTP, which has none here.
    pub pid: u32,
    /// Where its frames go.
    pub stdin: Intake,
    /// The last lines of its stderr, or the last losses of an upstream.
    pub tail: Tail,
    group: Option<Group>,
    wanted: AtomicU8,
    changed: Notify,
}

impl Worker {
    pub(super) fn new(
        id: u64,
        pid: u32,
        stdin: Intake,
        tail: Tail,
        group: Option<Group>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            pid,
            stdin,
            tail,
            group,
            wanted: AtomicU8::new(RUN),
            changed: Notify::new(),
        })
    }

    /// The cgroup that it and everything it started are in; `None` for an upstream, and where the
    /// daemon has no cgroups. It is removed when the worker has ended: what it is asked then is
    /// gone.
    #[must_use]
    pub fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// What it is, for sentences about it.
    #[must_use]
    pub fn seat(&self) -> String {
        match self.pid {
            0 => "an upstream session".to_owned(),
            pid => format!("pid {pid}"),
        }
    }

    /// Waits until somebody asks it to end, or to end faster; true if at once.
    pub(super) async fn asked(&self) -> bool {
        self.changed.notified().await;
        self.wanted.load(Ordering::Acquire) == KILL
    }

    /// Ends the worker: closes stdin, then SIGTERM, then SIGKILL, each after a grace.
    pub fn stop(&self) {
        self.want(POLITE);
    }

    /// Ends the worker at once, with SIGKILL to its whole group.
    pub fn kill(&self) {
        self.want(KILL);
    }

    /// Whether somebody asked it to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.wanted.load(Ordering::Acquire) != RUN
    }

    fn want(&self, level: u8) {
        if self.wanted.fetch_max(level, Ordering::AcqRel) < level {
            self.changed.notify_one();
        }
    }
}

/// How a worker ended.
#[derive(Clone, Debug)]
pub struct End {
    /// In words, such as `exited with status 1`.
    pub what: String,
    /// Whether somebody had asked for it.
    pub asked: bool,
    /// Whether SIGKILL ended it, which no program does to itself by a mistake: an operator, or the
    /// kernel for want of memory. Always of an upstream, whose end is no call's doing.
    pub killed: bool,
    /// Whether it was the kernel that killed it for want of memory, of the worker's own cgroup, of
    /// one above it or of the machine. Known only of a worker with a cgroup of its own.
    pub oom: bool,
}

/// The part of a worker that its task owns.
#[derive(Debug)]
pub struct Life {
    worker: Arc<Worker>,
    socket: Arc<UnixStream>,
    exit: ExitWatch,
    stderr: JoinHandle<()>,
    scratch: Scratch,
    bounds: Bounds,
}

/// Starts the process. Nothing is read before [`Life::run`].
///
/// # Errors
/// See [`SpawnError`].
pub fn start(
    id: u64,
    spec: &LaunchSpec,
    scratch: Scratch,
    bounds: Bounds,
) -> Result<(Arc<Worker>, Life), SpawnError> {
    let Process {
        pid,
        stdio,
        stderr,
        exit,
    } = process::spawn(spec)?;
    let socket = Arc::new(stdio);
    let (tail, stderr) = stderr::drain(stderr, Arc::from(spec.server.as_str()), id);
    let stdin = Stdin::new(Arc::clone(&socket), bounds.write_queue_bytes);
    let group = spec.group.clone();
    let worker = Worker::new(id, pid, Intake::Process(stdin), tail, group);
    let life = Life {
        worker: Arc::clone(&worker),
        socket,
        exit,
        stderr,
        scratch,
        bounds,
    };
    Ok((worker, life))
}

/// How long the rest of stderr may take once the process is gone.
const STDERR_REST: Duration = Duration::from_millis(500);

impl Life {
    /// Reads frames until the process is gone. Answers written before the end are delivered
    /// first; what the process leaves behind is the caller's to clean up, after whoever waits for
    /// the worker has been told.
    pub async fn run(mut self, inbox: &dyn Inbox) -> (End, Remains) {
        let mut frames = FrameReader::new(self.bounds.max_message_bytes);
        let mut eof = false;
        let mut stage = Stage::Running;
        let worker = Arc::clone(&self.worker);
        let flush = worker.stdin.flush();
        tokio::pin!(flush);
        let status = loop {
            tokio::select! {
                ready = self.socket.readable(), if !eof => {
                    eof = ready.is_err() || self.read(&mut frames, inbox);
                    if eof && matches!(stage, Stage::Running) {
                        // Without stdout it cannot serve; it gets the chance to exit by itself.
                        stage = self.advance(stage);
                    }
                }
                status = self.exit.wait() => break status,
                () = worker.changed.notified() => {
                    stage = self.advance(stage);
                }
                () = sleep_until(stage.until()), if stage.is_timed() => {
                    stage = self.advance(stage);
                }
                () = &mut flush => {}
            }
        };
        // What it wrote before its end is in the socket; a survivor of its group may go on writing.
        for _ in 0..4 {
            if eof || self.read(&mut frames, inbox) {
                break;
            }
        }
        if let Some(Frame::Line(line)) = frames.finish() {
            inbox.frame(line);
        }
        let asked = worker.is_stopping();
        worker.stdin.close();
        let killed = process::was_killed(status);
        // The counter began at 0 with the worker.
        let events = worker.group().and_then(Group::memory_events);
        let oom = killed && events.is_some_and(|events| events.oom_kill > 0);
        let end = End {
            what: match oom {
                true => "was killed by the kernel for want of memory".to_owned(),
                false => process::describe(status),
            },
            asked,
            killed,
            oom,
        };
        let remains = Remains {
            worker: Arc::clone(&worker),
            stderr: self.stderr,
            scratch: self.scratch,
        };
        (end, remains)
    }

    /// Reads all that is there; true at the end of the stream. A reset is an end: the worker died
    /// with input unread.
    fn read(&self, frames: &mut FrameReader, inbox: &dyn Inbox) -> bool {
        // A worker that writes without pause must not keep the task from noticing anything else.
        for _ in 0..16 {
            match self.socket.try_read_buf(frames.space()) {
                Ok(0) => return true,
                Ok(_) => {
                    while let Some(frame) = frames.next_frame() {
                        match frame {
                            Frame::Line(line) => inbox.frame(line),
                            Frame::Oversize(head) => inbox.oversize(head),
                        }
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
        false
    }

    /// The next stage of stopping: polite, firm, certain.
    fn advance(&self, stage: Stage) -> Stage {
        let next = Instant::now() + self.bounds.stop_grace;
        if self.worker.wanted.load(Ordering::Acquire) == KILL {
            self.kill();
            self.worker.stdin.close();
            return Stage::Killed;
        }
        match stage {
            Stage::Running => {
                self.worker.stdin.close();
                Stage::Closed(next)
            }
            Stage::Closed(_) => {
                self.signal(Signal::Terminate);
                Stage::Terminated(next)
            }
            Stage::Terminated(_) | Stage::Killed => {
                self.kill();
                Stage::Killed
            }
        }
    }

    /// The certain end. The process group besides: its launcher may not be in the cgroup yet.
    fn kill(&self) {
        if let Some(Err(error)) = self.worker.group().map(Group::kill) {
            log::warn!(
                "worker {} is killed without its control group: {error}",
                self.worker.id
            );
        }
        self.signal(Signal::Kill);
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = process::signal_group(self.worker.pid, signal) {
            log::warn!(
                "cannot send {signal:?} to worker {} (pid {}): {error}",
                self.worker.id,
                self.worker.pid
            );
        }
    }
}

/// What a process that has ended leaves behind.
#[derive(Debug)]
#[must_use]
pub struct Remains {
    worker: Arc<Worker>,
    stderr: JoinHandle<()>,
    scratch: Scratch,
}

impl Remains {
    /// Kills leftover processes, reads the rest of stderr for a moment, removes the scratch
    /// directory.
    pub async fn clean_up(self) {
        let worker = Arc::clone(&self.worker);
        let found = tokio::task::spawn_blocking(move || match worker.group() {
            Some(group) => empty(worker.id, group),
            None => process::kill_leftovers(worker.pid),
        });
        if let Ok(count @ 1..) = found.await {
            log::info!(
                "killed {count} processes that worker {} left behind",
                self.worker.id
            );
        }
        let mut stderr = self.stderr;
        if timeout(STDERR_REST, &mut stderr).await.is_err() {
            stderr.abort();
        }
        if let Err(error) = self.scratch.remove().await {
            log::warn!(
                "worker {}: its scratch directory is left behind: {error}",
                self.worker.id
            );
        }
    }
}

/// How long the processes of a cgroup may take to be gone once they were killed.
const EMPTYING: Duration = Duration::from_secs(5);

/// Kills what is left in the cgroup of a worker and removes it; returns how many processes that
/// were. Blocks.
fn empty(worker: u64, group: &Group) -> usize {
    let left = group.processes().len();
    let removed = group.kill().and_then(|_| group.remove(EMPTYING));
    let what = match removed {
        Ok(true) => return left,
        Ok(false) => format!("it is not empty after {} s", EMPTYING.as_secs()),
        Err(error) => error.to_string(),
    };
    log::warn!(
        "worker {worker}: its control group {} is left behind: {what}",
        group.path().display()
    );
    left
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Running,
    Closed(Instant),
    Terminated(Instant),
    Killed,
}

impl Stage {
    fn is_timed(self) -> bool {
        matches!(self, Self::Closed(_) | Self::Terminated(_))
    }

    fn until(self) -> Instant {
        match self {
            Self::Closed(at) | Self::Terminated(at) => at,
            Self::Running | Self::Killed => Instant::now(),
        }
    }
}
