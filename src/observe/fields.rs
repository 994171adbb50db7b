//! What an event says beside its name and its subject, as keys and values for programs. Keys stay.

use super::escape::escape;
use super::event::{CALLS_NAMED, CHANGES_LIMIT, Event, cut};

/// The fields, in a fixed order.
#[expect(
    clippy::too_many_lines,
    reason = "one short arm per event; parts would hide some"
)]
pub(super) fn rest(event: &Event) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    let mut add = |key, value: &dyn ToString| fields.push((key, value.to_string()));
    match event {
        Event::DaemonStarted { version, listen } => {
            add("version", version);
            add("listen", listen);
        }
        Event::DaemonStopping { cause, in_flight } => {
            add("cause", cause);
            add("in_flight", in_flight);
        }
        Event::ConfigReloaded {
            author,
            summary,
            restart,
        } => {
            add("author", &cut(author));
            add("summary", &escape(summary, CHANGES_LIMIT));
            if !restart.is_empty() {
                add("restart", &escape(&restart.join(","), CHANGES_LIMIT));
            }
        }
        Event::ConfigRejected {
            author,
            count,
            first,
        } => {
            add("author", &cut(author));
            add("count", count);
            add("first", &escape(first, CHANGES_LIMIT));
        }
        Event::WorkerStarted { era, .. } | Event::EraFound { era, .. } => add("era", era),
        Event::WorkerReady { era, took, .. } => {
            add("era", era);
            add("took_ms", &took.as_millis());
        }
        Event::WorkerExited {
            expected,
            calls,
            what,
            ..
        } => {
            add("expected", expected);
            add("in_flight", &calls.len());
            add("what", &cut(what));
            name_calls(calls, add);
        }
        Event::WorkerRecycled { reason, .. } => add("reason", &cut(reason)),
        Event::WorkerJunk { count, .. } => add("count", count),
        Event::OversizeFrame { bytes, limit, .. } => {
            add("bytes", bytes);
            add("limit", limit);
        }
        Event::ServerUp { after, .. } => add("after_ms", &after.as_millis()),
        Event::ServerDown {
            reason, retry_in, ..
        } => {
            add("reason", &cut(reason));
            if let Some(wait) = retry_in {
                add("retry_in_ms", &wait.as_millis());
            }
        }
        Event::SessionsEvicted { count, reason, .. } => {
            add("count", count);
            add("reason", &cut(reason));
        }
        Event::CallsRefused { count, reason, .. } => {
            add("count", count);
            add("reason", &cut(reason));
        }
        Event::BreakerChanged {
            tool,
            from,
            to,
            reason,
            retry_in,
            ..
        } => {
            if let Some(tool) = tool {
                add("tool", &cut(tool));
            }
            add("from", from);
            add("to", to);
            add("reason", &cut(reason));
            if let Some(wait) = retry_in {
                add("retry_in_ms", &wait.as_millis());
            }
        }
        Event::BreakerSet {
            tool,
            mode,
            author,
            reason,
            expires,
            ..
        } => {
            if let Some(tool) = tool {
                add("tool", &cut(tool));
            }
            add("mode", mode);
            add("author", &cut(author));
            add("reason", &cut(reason));
            if let Some(expires) = expires {
                add("expires_ms", &expires.as_millis());
            }
        }
        Event::WorkerStuck {
            method,
            after,
            call,
            others,
            ..
        } => {
            add("method", &cut(method));
            add("after_ms", &after.as_millis());
            add("in_flight", &others.len());
            add("call", call);
            name_calls(others, add);
        }
        Event::PartSilent {
            part, after, state, ..
        }
        | Event::WatchdogTriggered {
            part, after, state, ..
        } => {
            add("part", part);
            add("after_ms", &after.as_millis());
            add("state", state);
        }
        Event::PartStarved { part, after } => {
            add("part", part);
            add("after_ms", &after.as_millis());
        }
        Event::PartMoves { part } => add("part", part),
        Event::LogDropped { count } => add("count", count),
        Event::CallsRetried { calls, .. } => {
            add("count", &calls.len());
            name_calls(calls, add);
        }
        Event::QuarantineCleared { count, .. } => add("count", count),
        Event::CallQuarantined {
            call,
            tool,
            digest,
            crashes,
            lasts,
            ..
        } => {
            add("tool", &cut(tool));
            add("digest", digest);
            add("crashes", crashes);
            add("lasts_ms", &lasts.as_millis());
            add("call", call);
        }
        Event::ShedStarted { reason, .. } => add("reason", &cut(reason)),
        Event::ShedEnded { after, .. } => add("after_ms", &after.as_millis()),
        Event::MemorySoft {
            bytes,
            limit,
            stalled,
            ..
        } => {
            add("bytes", bytes);
            add("limit", limit);
            add("stalled", stalled);
        }
        Event::MemoryHard {
            bytes,
            growth,
            limit,
            stalled,
            bytes_a_call,
            calls,
            tools,
            ..
        } => {
            add("bytes", bytes);
            add("growth", growth);
            add("limit", limit);
            add("stalled", stalled);
            if let Some(bytes) = bytes_a_call {
                add("bytes_a_call", bytes);
            }
            add("in_flight", &calls.len());
            add("tools", &cut(tools));
            name_calls(calls, add);
        }
        Event::WorkerOom {
            bytes,
            limit,
            calls,
            tools,
            ..
        } => {
            if let Some(bytes) = bytes {
                add("bytes", bytes);
            }
            add("limit", limit);
            add("in_flight", &calls.len());
            add("tools", &cut(tools));
            name_calls(calls, add);
        }
        Event::LeakFound {
            bytes_a_call,
            tool,
            calls,
            bytes,
            ..
        } => {
            add("bytes_a_call", bytes_a_call);
            if let Some(tool) = tool {
                add("tool", &cut(tool));
            }
            add("count", calls);
            add("bytes", bytes);
        }
        Event::OwnMemory { level, what } => {
            add("level", level);
            add("what", what);
        }
        Event::RungReached {
            rung,
            what,
            failures,
            ..
        } => {
            add("rung", rung);
            add("what", what);
            add("failures", failures);
        }
        Event::ServerDrained { on, in_flight, .. } => {
            add("on", on);
            add("in_flight", in_flight);
        }
    }
    fields
}

/// One field a call, for the first of them.
fn name_calls(calls: &[u64], mut add: impl FnMut(&'static str, &dyn ToString)) {
    for call in calls.iter().take(CALLS_NAMED) {
        add("call", call);
    }
}

#[cfg(test)]
mod tests {
    use crate::observe::event::{CALLS_NAMED, Event};
    use log::Level;
    use std::time::Duration;

    fn exited(expected: bool, what: &str, in_flight: usize) -> Event {
        let (server, what) = ("music".to_owned(), what.to_owned());
        Event::WorkerExited {
            server,
            worker: 3,
            pid: 4711,
            expected,
            what,
            calls: (100..).take(in_flight).collect(),
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
            ("event", "worker_died"),
            ("server", "music"),
            ("worker", "3"),
            ("pid", "4711"),
            ("expected", "false"),
            ("in_flight", "2"),
            ("what", "was killed by SIGKILL"),
            ("call", "100"),
            ("call", "101"),
        ];
        assert_eq!(
            event.fields(),
            wanted.map(|(key, value)| (key, value.to_owned()))
        );
    }

    #[test]
    fn of_many_calls_only_some_are_named() {
        let fields = exited(false, "exited", 1000).fields();
        let named = fields.iter().filter(|(key, _)| *key == "call").count();
        assert_eq!(named, CALLS_NAMED);
        assert!(fields.contains(&("in_flight", "1000".to_owned())));
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
