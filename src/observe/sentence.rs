//! Each event as one plain sentence with its numbers, for people who read logs. Whoever reads with
//! a program takes the fields; the wording may change.

use super::event::{Event, cut};
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
        Event::WorkerStarted {
            server,
            worker,
            pid,
            era,
        } => {
            format!("worker {worker} of {server} was started as pid {pid} for the {era} era")
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
                "worker {worker} of {server} (pid {pid}) {}{lost}{asked}",
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

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// `1 call`, `2 calls`.
pub(super) fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
