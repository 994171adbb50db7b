//! The history checker: it passes what is right and turns red at each breach of its rules. And with a
//! real daemon whose workers die around their effects.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use nix::sys::signal::Signal;
use serde_json::json;
use support::daemon::{Daemon, chaos, signal};
use support::history::{History, Tally};
use support::mcp::Session;

/// A checker whose calls `a` (ok, told "1"), `b` (fail) and `c` (unknown) meet this ledger.
fn checked(ledger: &str) -> Result<Tally, Vec<String>> {
    let history = History::default();
    for id in ["a", "b", "c"] {
        history.invoke(id);
    }
    history.ok("a", "1");
    history.fail("b");
    history.unknown("c");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    std::fs::write(&path, ledger).unwrap();
    history.check(&path)
}

const A: &str = "{\"effect\":\"a\",\"value\":\"1\"}\n";
const C: &str = "{\"effect\":\"c\",\"value\":\"2\"}\n";

#[test]
fn what_is_right_passes() {
    let tally = |unknown_done| Tally {
        ok: 1,
        fail: 1,
        unknown: 1,
        unknown_done,
    };
    assert_eq!(checked(A), Ok(tally(0)));
    assert_eq!(
        checked(&format!("{A}{{\"tool\":\"echo\"}}\n{C}")),
        Ok(tally(1))
    );
}

#[test]
fn each_breach_turns_it_red() {
    let b = "{\"effect\":\"b\",\"value\":\"3\"}\n";
    let stranger = "{\"effect\":\"d\",\"value\":\"4\"}\n";
    let other = "{\"effect\":\"a\",\"value\":\"9\"}\n";
    for (ledger, complaint) in [
        (String::new(), "a: told ok, and not done"),
        (other.to_owned(), "a: told 1, done [\"9\"]"),
        (format!("{A}{A}"), "a: done 2 times"),
        (format!("{A}{C}{C}"), "c: done 2 times"),
        (
            format!("{A}{b}"),
            "b: told that it was not executed, and done",
        ),
        (format!("{A}{stranger}"), "d: done, and nobody asked for it"),
    ] {
        let breaches = checked(&ledger).unwrap_err();
        assert_eq!(breaches.len(), 1, "{breaches:?}");
        assert!(breaches[0].starts_with(complaint), "{breaches:?}");
    }
}

#[test]
fn effects_of_workers_that_die_around_them_are_told_truly() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let command = chaos(&["--log", ledger.to_str().unwrap()]);
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{command}concurrency = 1\npool = {{ min_size = 4 }}\n\
         breaker = {{ failure_threshold = 1000, success_rate = 0 }}\n"
    ));
    // One call a worker: no call dies of another one's crash.
    let history = History::default();
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (daemon, history) = (&daemon, &history);
            scope.spawn(move || {
                let session = Session::open(daemon);
                for (round, crash) in ["", "after_effect", "before_effect", "after_answer", ""]
                    .iter()
                    .enumerate()
                {
                    let id = format!("{client}-{round}");
                    history.invoke(&id);
                    let arguments = json!({"id": id, "ms": 5, "crash": crash});
                    history.answered(&id, &session.call("effect", &arguments));
                }
            });
        }
        let killed = daemon.until("a call is at work", |s| s.in_flight > 0);
        if let Some(worker) = killed.workers.iter().find(|w| w.in_flight > 0) {
            signal(worker.pid, Signal::SIGKILL);
        }
    });
    let tally = history
        .check(&ledger)
        .unwrap_or_else(|breaches| panic!("{breaches:#?}"));
    assert_eq!(tally.ok + tally.fail + tally.unknown, 20);
    assert!(tally.unknown > 0 && tally.unknown_done > 0, "{tally:?}");
}
