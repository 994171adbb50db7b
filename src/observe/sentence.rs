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
            calls,
            expected,
        } => {
            let lost = match calls.len() {
                0 => String::new(),
                count => format!(" with {} in flight", plural(count as u64, "call")),
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
            others,
            ..
        } => format!(
            "worker {worker} of {server} ({}) is stuck: {} had no answer after {} and the \
             cancel was ignored; it is replaced, {} in flight with it",
            seat(*pid),
            cut(method),
            seconds(*after),
            plural(others.len() as u64, "other call")
        ),
        Event::CallsRetried {
            server,
            worker,
            calls,
        } => format!(
            "{} of the dead worker {worker} of {server} go to another",
            plural(calls.len() as u64, "call")
        ),
        Event::CallQuarantined {
            server,
            tool,
            digest,
            crashes,
            lasts,
            ..
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
            stalled: true,
            ..
        } => format!(
            "the workers of {server} lose time waiting for memory, with {}: no growth, the fattest \
             idle one is recycled",
            mebibytes(*bytes)
        ),
        Event::MemorySoft {
            server,
            bytes,
            limit,
            stalled: false,
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
            stalled,
            bytes_a_call,
            calls,
            tools,
        } => {
            let leak = bytes_a_call.map_or_else(String::new, |bytes| {
                format!(", {} with each call", megabytes(bytes))
            });
            let why = match stalled {
                true => "the workers get nothing done for want of memory".to_owned(),
                false => format!("the server is near its hard limit of {}", mebibytes(*limit)),
            };
            format!(
                "worker {worker} of {server} (pid {pid}) is killed with {}, {} of it new{leak}, {}: {why}",
                mebibytes(*bytes),
                mebibytes(*growth),
                in_flight_of(calls.len(), tools)
            )
        }
        Event::WorkerOom {
            server,
            worker,
            pid,
            bytes,
            limit,
            calls,
            tools,
        } => {
            let bytes = bytes.map_or_else(String::new, |b| format!(" with {}", mebibytes(b)));
            format!(
                "worker {worker} of {server} (pid {pid}) was killed by the kernel for want of memory\
                 {bytes}, its limit being {}, {}",
                mebibytes(*limit),
                in_flight_of(calls.len(), tools)
            )
        }
        Event::LeakFound {
            server,
            worker,
            pid,
            bytes_a_call,
            tool,
            calls,
            bytes,
        } => {
            let tool = tool.as_deref();
            let of = tool.map_or_else(String::new, |tool| format!(" of {}", cut(tool)));
            format!(
                "worker {worker} of {server} (pid {pid}) leaks: {} a call{of}, seen over {calls} \
                 calls; it has {}",
                megabytes(*bytes_a_call),
                mebibytes(*bytes)
            )
        }
        Event::OwnMemory { level: 0, .. } => {
            "memory for the daemon is not short any more".to_owned()
        }
        Event::OwnMemory { level, what } => {
            format!("the daemon was told that memory is short (level {level}): {what}")
        }
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
        Event::PartSilent {
            part,
            after,
            interval,
            state,
        } => format!(
            "the {part} of mainstayd has not moved for {}; restarting it is due after {}; {state}",
            seconds(*after),
            seconds(*interval)
        ),
        Event::WatchdogTriggered {
            part, after, state, ..
        } => format!(
            "the {part} of mainstayd has not moved for {}: asking the service manager to restart \
             it; {state}",
            seconds(*after)
        ),
        Event::PartStarved { part, after } => format!(
            "the {part} of mainstayd has not moved for {}, but the machine gives it no time to",
            seconds(*after)
        ),
        Event::PartMoves { part } => format!("the {part} of mainstayd moves again"),
        Event::LogDropped { count } => format!(
            "{} of the log dropped: its reader did not read",
            plural(*count, "record")
        ),
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

/// `2 calls in flight (render, echo)`.
fn in_flight_of(in_flight: usize, tools: &str) -> String {
    let of = match tools {
        "" => String::new(),
        tools => format!(" ({})", cut(tools)),
    };
    format!("{} in flight{of}", plural(in_flight as u64, "call"))
}

/// With a digit for what is less than whole, such as a leak.
fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
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
