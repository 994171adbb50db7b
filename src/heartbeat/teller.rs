//! Puts into the log what the heartbeat has found, on a thread of its own: the log may be what is
//! stuck, and here there is time to look at the threads of the process.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::observe::event::{Event, emit};
use crate::observe::pulse;
use crate::policy::liveness::Stuck;

/// Reports that may wait for the log; more are lost, the log being stuck anyway.
const WAITING: usize = 16;
/// Starvation is told this often: on a machine that is short of time the log is not the place to
/// spend it.
const STARVED_EVERY: Duration = Duration::from_secs(10);
/// Threads and servers named in a line.
const NAMED: usize = 24;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A part is silent for half of the interval.
    Silent,
    /// The service manager is being asked to restart the daemon.
    Triggered,
    /// The part that was told to be silent moves again.
    Moves,
    /// A part is silent because the machine is.
    Starved,
}

/// One finding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub(super) kind: Kind,
    pub(super) stuck: Stuck,
}

/// Where findings go. Sending allocates nothing and never waits.
#[derive(Debug)]
pub(super) struct Reports {
    queue: SyncSender<Report>,
    told: Arc<AtomicBool>,
}

impl Reports {
    pub(super) fn send(&self, report: Report) {
        let _ = self.queue.try_send(report);
    }

    /// From now on [`Self::is_told`] speaks of what is sent next.
    pub(super) fn forget_told(&self) {
        self.told.store(false, Ordering::Relaxed);
    }

    /// Whether the log has taken the reason of a restart.
    pub(super) fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }
}

/// Starts the thread. It ends when what is returned is dropped.
pub(super) fn start(interval: Duration) -> io::Result<Reports> {
    let (queue, reports) = sync_channel(WAITING);
    let told = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&told);
    let thread = std::thread::Builder::new().name("heartbeat-log".into());
    thread.spawn(move || run(&reports, interval, &done))?;
    Ok(Reports { queue, told })
}

fn run(reports: &Receiver<Report>, interval: Duration, told: &AtomicBool) {
    let mut starved: Option<Instant> = None;
    for Report { kind, stuck } in reports {
        let part = stuck.name;
        let after = stuck.silent_for;
        let event = match kind {
            Kind::Moves => Event::PartMoves { part },
            Kind::Silent => Event::PartSilent {
                part,
                after,
                interval,
                state: state(after),
            },
            Kind::Triggered => Event::WatchdogTriggered {
                part,
                after,
                interval,
                state: state(after),
            },
            Kind::Starved => {
                if starved.is_some_and(|at| at.elapsed() < STARVED_EVERY) {
                    continue;
                }
                starved = Some(Instant::now());
                Event::PartStarved { part, after }
            }
        };
        emit(&event);
        if kind == Kind::Triggered {
            log::logger().flush();
            told.store(true, Ordering::Relaxed);
        }
    }
}

/// What the process looks like: who is silent as long as the worst part, and what the threads do.
fn state(silent_for: Duration) -> String {
    let mut text = String::new();
    // Whoever is stuck for about as long may be the cause.
    let since = Instant::now().checked_sub(silent_for / 2);
    let servers = since.map_or_else(Vec::new, |since| pulse::SUPERVISORS.silent_since(since));
    let single = [
        ("acceptor", &pulse::ACCEPTOR),
        ("dispatcher", &pulse::DISPATCHER),
        ("timers", &pulse::TIMERS),
    ];
    let silent = |part: &pulse::Pulse| part.last().is_some_and(|last| Some(last) <= since);
    let mut names: Vec<String> = single
        .into_iter()
        .filter(|(_, part)| silent(part))
        .map(|(name, _)| name.to_owned())
        .collect();
    names.extend(
        servers
            .into_iter()
            .map(|name| format!("supervisor of {name}")),
    );
    names.truncate(NAMED);
    if names.is_empty() {
        text.push_str("no other part is");
    } else {
        let _ = write!(text, "silent: {}", names.join(", "));
    }
    let _ = write!(text, "; threads: {}", threads().join(", "));
    text
}

/// Each thread with what it does: R runs, S waits, D waits for a disk.
fn threads() -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return vec!["unknown".to_owned()];
    };
    let look = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(") ")?;
        let name = head.split_once('(')?.1;
        Some(format!("{name} {}", rest.split(' ').next()?))
    };
    let found = tasks.flatten().filter_map(look);
    found.take(NAMED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_names_the_threads_and_what_they_do() {
        let text = state(Duration::from_secs(1));
        // This thread runs, and has the name of the test.
        assert!(text.contains("; threads: "), "{text}");
        assert!(
            threads().iter().any(|thread| thread.ends_with(" R")),
            "{text}"
        );
    }

    #[test]
    fn a_log_that_is_stuck_holds_up_nobody() {
        let (queue, _reports) = sync_channel(WAITING);
        let reports = Reports {
            queue,
            told: Arc::default(),
        };
        let stuck = Stuck {
            name: "timers",
            silent_for: Duration::from_secs(3),
        };
        for _ in 0..10 * WAITING {
            let kind = Kind::Silent;
            reports.send(Report { kind, stuck });
        }
        assert!(!reports.is_told());
    }
}
