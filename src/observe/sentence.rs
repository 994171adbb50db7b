//! Each event as one plain sentence with its numbers, for people who read logs. Whoever reads with
//! a program takes the fields; the wording may change.

use super::escape::escape;
use super::event::{CHANGES_LIMIT, Event, cut};
use std::time::Duration;

/// The sentence. Text of strangers in it is escaped and bounded.
#[expect(
    clippy::too_many_lines,
    reason = "one short arm per event; parts would hide some"
)]
pub(super) fn sentence(event: &Event) -> String {
    match event {
        Event::DaemonStarted { version, listen } => {
            format!("mainstayd {version} listens on {listen}")
        }
        Event::DaemonStopping { cause, in_flight } => {
            let calls = plural(*in_flight as u64, "call");
            format!("stopping on {cause}; {calls} in flight")
        }
        Event::ConfigReloaded {
            author,
            summary,
            restart,
        } => {
            let summary = escape(summary, CHANGES_LIMIT);
            let late = match restart.len() {
                0 => "",
                _ => "; RESTART mainstayd for what takes one",
            };
            format!("the configuration was reloaded by {author}: {summary}{late}")
        }
        Event::ConfigRejected {
            author,
            count,
            first,
        } => {
            let errors = plural(*count as u64, "error");
            let first = escape(first, CHANGES_LIMIT);
            format!(
                "the new configuration that {author} asked for is refused with {errors}, the old one \
                 stays in force: {first}"
            )
        }
        Event::WorkerStarted {
            server,
            worker,
            pid,
            era,
        } => {
            let seat = seat(*pid);
            format!("worker {worker} of {server} was started as {seat} for the {era} era")
        }
        Event::WorkerReady {
            server,
            worker,
            era,
            took,
            ..
        } => {
            format!(
                "worker {worker} of {server} is ready in the {era} era after {}",
                seconds(*took)
            )
        }
        Event::WorkerExited {
            server,
            worker,
            pid,
            what,
            in_flight,
            expected,
        } => {
            let calls = plural(*in_flight as u64, "call");
            let lost = if *in_flight > 0 {
                format!(" with {calls} in flight")
            } else {
                String::new()
            };
            let asked = if *expected { " as asked" } else { "" };
            format!(
                "worker {worker} of {server} ({}) {}{lost}{asked}",
                seat(*pid),
                cut(what)
            )
        }
        Event::WorkerRecycled {
            server,
            worker,
            reason,
        } => {
            format!(
                "worker {worker} of {server} is being replaced: it {}",
                cut(reason)
            )
        }
        Event::WorkerJunk {
            server,
            worker,
            count,
            sample,
        } => format!(
            "worker {worker} of {server} wrote {} of something else than \
                 JSON-RPC to stdout, the last one: {}",
            plural(*count, "line"),
            cut(sample)
        ),
        Event::OversizeFrame {
            server,
            worker,
            bytes,
            limit,
        } => format!(
            "a message of {bytes} bytes from worker {worker} of {server} was dropped: the \
                 limit is {limit} bytes"
        ),
        Event::ServerUp { server, after } => {
            format!("server {server} serves after {} without", seconds(*after))
        }
        Event::ServerDown {
            server,
            reason,
            retry_in,
        } => {
            let next = match retry_in {
                Some(wait) => format!("the next attempt is in {}", seconds(*wait)),
                None => "the next attempt is under way".to_owned(),
            };
            format!("server {server} is down: {}; {next}", cut(reason))
        }
        Event::EraFound { server, era } => format!("workers of {server} speak the {era} era"),
        Event::SessionsEvicted {
            server,
            count,
            reason,
        } => {
            format!(
                "{} of {server} ended: {}",
                plural(*count as u64, "session"),
                cut(reason)
            )
        }
        Event::BreakerChanged {
            server,
            tool,
            to,
            reason,
            retry_in,
            ..
        } => {
            let what = breaker(server, tool.as_deref());
            let next = match retry_in {
                Some(wait) => format!("; the next probe is in {}", seconds(*wait)),
                None => String::new(),
            };
            let to = to.replace('_', "-");
            format!("{what} is {to}: {}{next}", cut(reason))
        }
        Event::BreakerSet {
            server,
            tool,
            mode,
            author,
            reason,
            expires,
        } => {
            let what = breaker(server, tool.as_deref());
            let ends = match expires {
                Some(span) => format!(" for {}", seconds(*span)),
                None => String::new(),
            };
            let mode = mode.replace('_', " ");
            format!(
                "{what} was set to {mode}{ends} by {}: {}",
                cut(author),
                cut(reason)
            )
        }
        Event::WorkerStuck {
            server,
            worker,
            pid,
            method,
            after,
            in_flight,
        } => format!(
            "worker {worker} of {server} ({}) is stuck: {} had no answer after {} and the \
             cancel was ignored; it is replaced, {} in flight with it",
            seat(*pid),
            cut(method),
            seconds(*after),
            plural(*in_flight as u64, "other call")
        ),
        Event::CallsRetried {
            server,
            worker,
            count,
        } => format!(
            "{} of the dead worker {worker} of {server} go to another",
            plural(*count as u64, "call")
        ),
        Event::CallQuarantined {
            server,
            tool,
            digest,
            crashes,
            lasts,
        } => format!(
            "a call of {} at {server} was in flight when {crashes} workers died and is refused for \
             {}; see `mainstayctl quarantine` (digest {digest})",
            cut(tool),
            seconds(*lasts)
        ),
        Event::QuarantineCleared { server, count } => format!(
            "{} of {server} may be sent to workers again",
            plural(*count as u64, "quarantined call")
        ),
        Event::ShedStarted { server, reason } => format!(
            "server {server} refuses calls of class background: {}",
            cut(reason)
        ),
        Event::ShedEnded { server, after } => {
            format!(
                "server {server} takes all calls again after {}",
                seconds(*after)
            )
        }
        Event::MemorySoft {
            server,
            bytes,
            limit,
        } => format!(
            "the workers of {server} use {}, above the soft limit of {}: no growth, the fattest \
             idle one is recycled",
            mebibytes(*bytes),
            mebibytes(*limit)
        ),
        Event::MemoryHard {
            server,
            worker,
            pid,
            bytes,
            growth,
            limit,
            in_flight,
        } => format!(
            "worker {worker} of {server} (pid {pid}) is killed with {}, {} of it new, {} in \
             flight: the server is near its hard limit of {}",
            mebibytes(*bytes),
            mebibytes(*growth),
            plural(*in_flight as u64, "call"),
            mebibytes(*limit)
        ),
        Event::RungReached {
            server,
            rung,
            what,
            failures,
        } => format!("server {server} has failed {failures} times in a row; rung {rung}: {what}"),
        Event::ServerDrained {
            server,
            on,
            in_flight,
        } => {
            let calls = plural(*in_flight as u64, "call");
            if *on {
                format!("server {server} takes no new calls; {calls} in flight")
            } else {
                format!("server {server} takes calls again")
            }
        }
        Event::CallsRefused {
            server,
            reason,
            count,
        } => {
            format!(
                "{} of {server} refused: {}",
                plural(*count, "call"),
                cut(reason)
            )
        }
    }
}

fn breaker(server: &str, tool: Option<&str>) -> String {
    match tool {
        Some(tool) => format!("the breaker of tool {} of {server}", cut(tool)),
        None => format!("the breaker of {server}"),
    }
}

/// What a worker is. An upstream has no process here.
fn seat(pid: u32) -> String {
    match pid {
        0 => "an upstream session".to_owned(),
        pid => format!("pid {pid}"),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// `1 call`, `2 calls`.
pub(super) fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
