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
