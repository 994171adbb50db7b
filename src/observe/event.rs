//! Every state change the daemon reports, as one enum. An event knows its name, how serious it
//! is, its sentence and its fields; it does not know who reads it. The log is the first reader,
//! a native journald sink will be the next. Counting is not done here: the broker counts.

use super::escape::escape;
use super::sentence::sentence;
use log::{Level, Record};
use std::time::Duration;

/// Target of all events in the log, so that a filter can name them.
pub const TARGET: &str = "mainstay";
/// Bytes of a worker's own words that an event carries.
const SAMPLE_LIMIT: usize = 200;

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
        /// Calls it took with it.
        in_flight: usize,
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
}

impl Event {
    /// A stable name for filters and message ids.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::DaemonStarted { .. } => "daemon_started",
            Self::DaemonStopping { .. } => "daemon_stopping",
            Self::WorkerStarted { .. } => "worker_started",
            Self::WorkerReady { .. } => "worker_ready",
            Self::WorkerExited { .. } => "worker_exited",
            Self::WorkerRecycled { .. } => "worker_recycled",
            Self::WorkerJunk { .. } => "worker_junk",
            Self::OversizeFrame { .. } => "oversize_frame",
            Self::ServerUp { .. } => "server_up",
            Self::ServerDown { .. } => "server_down",
            Self::EraFound { .. } => "era_found",
            Self::SessionsEvicted { .. } => "sessions_evicted",
            Self::CallsRefused { .. } => "calls_refused",
        }
    }

    /// How serious it is: an error needs somebody, a warning may, the rest is the normal life.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::ServerDown { .. } => Level::Error,
            Self::WorkerExited {
                expected: false, ..
            }
            | Self::WorkerJunk { .. }
            | Self::OversizeFrame { .. }
            | Self::SessionsEvicted { .. }
            | Self::CallsRefused { .. } => Level::Warn,
            Self::DaemonStarted { .. }
            | Self::DaemonStopping { .. }
            | Self::WorkerReady { .. }
            | Self::WorkerRecycled { .. }
            | Self::ServerUp { .. }
            | Self::EraFound { .. } => Level::Info,
            Self::WorkerStarted { .. } | Self::WorkerExited { .. } => Level::Debug,
        }
    }

    /// One plain sentence with the numbers. Text of strangers in it is escaped and bounded.
    #[must_use]
    pub fn message(&self) -> String {
        sentence(self)
    }

    /// The server it is about, and the number and process id of the worker, where it is about one.
    #[must_use]
    pub fn subject(&self) -> (Option<&str>, Option<u64>, Option<u32>) {
        match self {
            Self::DaemonStarted { .. } | Self::DaemonStopping { .. } => (None, None, None),
            Self::WorkerStarted {
                server,
                worker,
                pid,
                ..
            }
            | Self::WorkerReady {
                server,
                worker,
                pid,
                ..
            }
            | Self::WorkerExited {
                server,
                worker,
                pid,
                ..
            } => (Some(server), Some(*worker), Some(*pid)),
            Self::WorkerRecycled { server, worker, .. }
            | Self::WorkerJunk { server, worker, .. }
            | Self::OversizeFrame { server, worker, .. } => (Some(server), Some(*worker), None),
            Self::ServerUp { server, .. }
            | Self::ServerDown { server, .. }
            | Self::EraFound { server, .. }
            | Self::SessionsEvicted { server, .. }
            | Self::CallsRefused { server, .. } => (Some(server), None, None),
        }
    }

    /// What a machine needs of it, as keys and values: the name, the subject, the rest.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("event", self.name().to_owned())];
        let (server, worker, pid) = self.subject();
        fields.extend(server.map(|server| ("server", server.to_owned())));
        fields.extend(worker.map(|worker| ("worker", worker.to_string())));
        fields.extend(pid.map(|pid| ("pid", pid.to_string())));
        let mut add = |key, value: &dyn ToString| fields.push((key, value.to_string()));
        match self {
            Self::DaemonStarted { version, listen } => {
                add("version", version);
                add("listen", listen);
            }
            Self::DaemonStopping { cause, in_flight } => {
                add("cause", cause);
                add("in_flight", in_flight);
            }
            Self::WorkerStarted { era, .. } | Self::EraFound { era, .. } => add("era", era),
            Self::WorkerReady { era, took, .. } => {
                add("era", era);
                add("took_ms", &took.as_millis());
            }
            Self::WorkerExited {
                expected,
                in_flight,
                what,
                ..
            } => {
                add("expected", expected);
                add("in_flight", in_flight);
                add("what", &cut(what));
            }
            Self::WorkerRecycled { reason, .. } => add("reason", &cut(reason)),
            Self::WorkerJunk { count, .. } => add("count", count),
            Self::OversizeFrame { bytes, limit, .. } => {
                add("bytes", bytes);
                add("limit", limit);
            }
            Self::ServerUp { after, .. } => add("after_ms", &after.as_millis()),
            Self::ServerDown {
                reason, retry_in, ..
            } => {
                add("reason", &cut(reason));
                if let Some(wait) = retry_in {
                    add("retry_in_ms", &wait.as_millis());
                }
            }
            Self::SessionsEvicted { count, reason, .. } => {
                add("count", count);
                add("reason", &cut(reason));
            }
            Self::CallsRefused { count, reason, .. } => {
                add("count", count);
                add("reason", &cut(reason));
            }
        }
        fields
    }
}

/// Tells the log about a state change. Costs one comparison where its level is filtered out.
pub fn emit(event: &Event) {
    let level = event.level();
    if !log::log_enabled!(target: TARGET, level) {
        return;
    }
    let fields = event.fields();
    log::logger().log(
        &Record::builder()
            .level(level)
            .target(TARGET)
            .args(format_args!("{}", event.message()))
            .key_values(&fields)
            .build(),
    );
}

/// The words of a stranger, fit to stand in a sentence.
pub(super) fn cut(text: &str) -> std::borrow::Cow<'_, str> {
    escape(text, SAMPLE_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(expected: bool, what: &str, in_flight: usize) -> Event {
        let (server, what) = ("music".to_owned(), what.to_owned());
        Event::WorkerExited {
            server,
            worker: 3,
            pid: 4711,
            expected,
            what,
            in_flight,
        }
    }

    #[test]
    fn a_death_is_a_warning_with_its_numbers() {
        let event = exited(false, "was killed by SIGKILL", 2);
        assert_eq!(event.level(), Level::Warn);
        assert_eq!(
            event.message(),
            "worker 3 of music (pid 4711) was killed by SIGKILL with 2 calls in flight"
        );
        let wanted = [
            ("event", "worker_exited"),
            ("server", "music"),
            ("worker", "3"),
            ("pid", "4711"),
            ("expected", "false"),
            ("in_flight", "2"),
            ("what", "was killed by SIGKILL"),
        ];
        assert_eq!(
            event.fields(),
            wanted.map(|(key, value)| (key, value.to_owned()))
        );
    }

    #[test]
    fn an_end_that_was_asked_for_is_no_news() {
        let event = exited(true, "exited with status 0", 0);
        assert_eq!(event.level(), Level::Debug);
        assert_eq!(
            event.message(),
            "worker 3 of music (pid 4711) exited with status 0 as asked"
        );
    }

    #[test]
    fn a_server_that_is_down_says_when_it_is_tried_again() {
        let down = |retry_in| Event::ServerDown {
            server: "github".to_owned(),
            reason: "exited with status 1".to_owned(),
            retry_in,
        };
        assert_eq!(
            down(Some(Duration::from_millis(1500))).message(),
            "server github is down: exited with status 1; the next attempt is in 1.50 s"
        );
        assert!(
            down(None)
                .message()
                .ends_with("; the next attempt is under way")
        );
        assert!(
            down(None)
                .fields()
                .iter()
                .all(|(key, _)| *key != "retry_in_ms")
        );
    }

    #[test]
    fn words_of_a_worker_are_escaped_and_bounded() {
        let event = Event::WorkerJunk {
            server: "music".to_owned(),
            worker: 3,
            count: 9,
            sample: format!("hello\n<0>{}", "x".repeat(1 << 20)),
        };
        let message = event.message();
        assert!(message.contains(": hello\\n<0>xxx"), "{message}");
        assert!(message.len() < 400, "{}", message.len());
    }
}
