//! What the unasked end of a worker means for its server: the pace of restarts at once, and, when
//! its last words are known, what operators and waiting callers are told.

use std::sync::Arc;
use std::time::Instant;

use super::ladder;
use super::server::{LastFailure, Server};
use super::stats::bump;
use crate::mcp::era::Era;
use crate::observe::event::{Event, emit};
use crate::policy::refusal::Refusal;
use crate::worker::sandbox::HINT;

/// Said, after what happened, when restarts will not help.
pub(super) const BROKEN: &str =
    "; the installation looks broken: every start failed within a second";

/// How a worker failed, in words that follow "the worker".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It never did any good: starting another at once would be no better.
    Start(String),
    /// The same: it answered, but refused to be opened in its era.
    Refused(String),
    /// It died after it had served.
    Death(String),
}

/// Counts the failure and lets it slow down the next start, or not.
pub(super) fn pace(server: &Arc<Server>, fault: &Fault) {
    bump(&server.stats().deaths);
    let now = Instant::now();
    let serving = server.is_serving();
    let (reached, failures) = {
        let mut roster = server.roster();
        let reached = match fault {
            Fault::Start(_) | Fault::Refused(_) => roster.restart.failed(now, serving, jitter()),
            Fault::Death(_) => {
                roster.restart.died(now);
                None
            }
        };
        (reached, roster.restart.failures(now))
    };
    if let Some(rung) = reached {
        ladder::climb(server, rung, failures, matches!(fault, Fault::Refused(_)));
    }
}

/// Tells the failure to whom it concerns. Callers that wait are refused once the outage is no
/// short one.
pub(super) fn report(server: &Arc<Server>, fault: Fault, stderr: Vec<String>) {
    let now = Instant::now();
    let (what, early) = match fault {
        Fault::Start(what) | Fault::Refused(what) => (what, true),
        Fault::Death(what) => (what, false),
    };
    let hint = fence_hint(early && server.is_fenced(), &stderr);
    let what = what + hint;
    let serving = server.is_serving();
    let (in_a_row, is_down, broken, retry, newly_down) = {
        let mut roster = server.roster();
        roster.last_failure = Some(LastFailure {
            at: now,
            what: what.clone(),
            stderr: stderr.clone(),
        });
        // Nobody misses a server in whose place the old one still serves.
        let missed = !server.is_coming();
        let newly = early && !serving && missed && roster.down_since.is_none();
        if newly {
            roster.down_since = Some(now);
        }
        let restart = &roster.restart;
        (
            restart.failures(now),
            restart.is_down(),
            restart.looks_broken(),
            restart.wait(now, false),
            newly,
        )
    };
    if newly_down {
        emit(&Event::ServerDown {
            server: server.name().to_owned(),
            reason: what.clone(),
            retry_in: Some(retry),
        });
    }
    if serving || !is_down {
        return;
    }
    let said = if stderr.is_empty() {
        String::new()
    } else {
        format!("; its last words: {}", stderr.join(" | "))
    };
    let broken = if broken { BROKEN } else { "" };
    let refusal = Refusal::overloaded(
        format!(
            "server {} has no worker: the last one {what} ({in_a_row} failures in a row){broken}{said}",
            server.name()
        ),
        retry,
    );
    server.standing().send_modify(|s| {
        s.failures += 1;
        s.down = Some(refusal.clone());
    });
    server.lane(Era::Legacy).refuse_waiters(&refusal);
    server.lane(Era::Modern).refuse_waiters(&refusal);
}

/// Said of a fenced worker that did not start and whose last words are those of one that was refused
/// a file. Whether it was the fence nobody can tell from here, but an operator has to think of it.
fn fence_hint(fenced: bool, stderr: &[String]) -> &'static str {
    const REFUSED: [&str; 4] = [
        "Permission denied",
        "permission denied",
        "EACCES",
        "PermissionError",
    ];
    let refused = |line: &String| REFUSED.iter().any(|words| line.contains(words));
    // The launcher says it itself.
    let said = |line: &String| line.contains(HINT);
    if fenced && stderr.iter().any(refused) && !stderr.iter().any(said) {
        HINT
    } else {
        ""
    }
}

/// A number in 0.0..=1.0 that spreads restarts.
fn jitter() -> f64 {
    let mut bytes = [0u8; 1];
    // Without randomness restarts are merely not spread.
    let _ = getrandom::fill(&mut bytes);
    f64::from(bytes[0]) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fenced_worker_that_was_refused_a_file_gets_the_hint() {
        let lines = |lines: &[&str]| -> Vec<String> {
            lines.iter().map(|line| (*line).to_owned()).collect()
        };
        let python = lines(&[
            "Traceback",
            "PermissionError: [Errno 13] Permission denied: '/x'",
        ]);
        let node = lines(&["Error: EACCES: permission denied, open '/x'"]);
        assert_eq!(fence_hint(true, &python), HINT);
        assert_eq!(fence_hint(true, &node), HINT);
        assert_eq!(fence_hint(false, &python), "");
        assert_eq!(fence_hint(true, &lines(&["Error: no such file"])), "");
        assert_eq!(fence_hint(true, &[]), "");
        let said = format!("cannot execute x: Permission denied{HINT}");
        assert_eq!(fence_hint(true, &[said]), "");
    }
}
