//! Each event as one plain sentence with its numbers, for people who read logs. Whoever reads with
//! a program takes the fields; the wording may change.

use super::event::{Event, cut};
use std::fmt::Write;
use std::time::Duration;

/// The sentence. Text of strangers in it is escaped and bounded.
pub(super) fn sentence(event: &Event) -> String {
    match event {
        Event::DaemonStarted { version, listen } => {
            format!("mainstayd {version} listens on {listen}")
        }
        Event::DaemonStopping { cause, in_flight } => {
            format!("stopping on {cause}; {in_flight} calls in flight")
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
            let mut text = format!("worker {worker} of {server} (pid {pid}) {}", cut(what));
            if *in_flight > 0 {
                // Writing to a String cannot fail.
                let _ = write!(text, " with {in_flight} calls in flight");
            }
            text.push_str(if *expected { " as asked" } else { "" });
            text
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
            "worker {worker} of {server} wrote {count} lines to stdout that are no JSON-RPC \
                 messages, the last one: {}",
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
            format!("{count} sessions of {server} were ended: {}", cut(reason))
        }
        Event::CallsRefused {
            server,
            reason,
            count,
        } => {
            format!("{count} calls of {server} were refused: {}", cut(reason))
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
