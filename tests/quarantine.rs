//! A call that was in flight when two workers died is sent to no third one, and only that call: the
//! one beside it is cleared by its answer, and what outsiders do to workers is no evidence.

mod support;

use mainstay::broker::snapshot::Quarantined;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemon::{Daemon, signal, until};
use support::ledger::Ledger;
use support::mcp::{self, Session, refusal, response};

/// One worker with eight places, and a breaker that leaves it alone: here workers die on purpose.
fn one(server: &str) -> (Daemon, Ledger) {
    let ledger = Ledger::new();
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}concurrency = 8\npool = {{ min_size = 1, max_size = 1 }}\n\
         breaker = {{ failure_threshold = 1000, success_rate = 0 }}\n{server}",
        ledger.chaos(&[])
    ));
    (daemon, ledger)
}

fn quarantined() -> (i64, String, bool) {
    (-31006, "quarantined".to_owned(), false)
}

fn lost() -> (i64, String, bool) {
    (-31005, "worker_lost".to_owned(), false)
}

/// A call that ends its worker.
fn deadly(number: u64) -> Value {
    json!({"code": 7, "number": number})
}

/// Makes the call until it is quarantined, which takes two workers.
fn make_deadly(session: &Session, number: u64) {
    for _ in 0..2 {
        let answer = session.call("exit", &deadly(number));
        assert_eq!(refusal(&answer), lost());
    }
    let answer = session.call("exit", &deadly(number));
    assert_eq!(refusal(&answer), quarantined(), "{answer}");
}

fn only(daemon: &Daemon) -> Quarantined {
    let mut all = daemon.server().quarantine;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn a_call_that_killed_two_workers_is_refused_and_shown() {
    let (daemon, ledger) = one("");
    let session = Session::open(&daemon);
    make_deadly(&session, 1);
    let found = only(&daemon);
    assert_eq!((found.tool.as_str(), found.crashes), ("exit", 2));
    assert_eq!(found.refused, 1);
    assert!(found.expires_in_ms > 500_000, "{found:?}");
    let answer = response(mcp::modern_call(
        daemon.address(),
        &json!(1),
        "exit",
        &deadly(1),
    ));
    assert_eq!(refusal(&answer), quarantined(), "in both eras");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains(&found.digest), "{message}");
    assert_eq!(ledger.executed("exit"), 2);
    // Another call of the same tool may do the same and is sent.
    assert_eq!(refusal(&session.call("exit", &deadly(2))), lost());
    assert_eq!(ledger.executed("exit"), 3);
    let log = daemon.log();
    assert_eq!(log.matches("event=poison_quarantined").count(), 1, "{log}");
}

#[test]
fn one_that_may_be_repeated_costs_two_workers_and_no_third() {
    let (daemon, ledger) = one("retry_safe = [\"exit\"]\nretry = { attempts = 10 }\n");
    let session = Session::open(&daemon);
    let answer = session.call("exit", &deadly(1));
    assert_eq!(refusal(&answer), quarantined());
    assert_eq!(ledger.executed("exit"), 2);
    assert_eq!(daemon.server().counters.deaths, 2);
}

#[test]
fn an_innocent_call_beside_it_is_answered_alone_and_cleared() {
    let (daemon, ledger) = one("retry_safe = [\"slow\"]\n");
    let session = Session::open(&daemon);
    let innocent = json!({"ms": 1500});
    let beside = session.start(&json!("i"), "slow", &innocent);
    until("it is executed", || {
        (ledger.executed("slow") == 1).then_some(())
    });
    assert_eq!(refusal(&session.call("exit", &deadly(1))), lost());
    until("it is executed again", || {
        (ledger.executed("slow") == 2).then_some(())
    });
    // Marked as it is, it has its worker for itself: another call of the session waits.
    let other = session.start(&json!("o"), "echo", &json!({"text": "x"}));
    daemon.until("the other one waits", |s| s.queued == 1 && s.in_flight == 1);
    assert_eq!(mcp::text(&response(beside)), "slept");
    assert_eq!(mcp::text(&response(other)), "x");
    // Cleared by its answer: the next death beside it is its first again.
    let again = session.start(&json!("a"), "slow", &innocent);
    daemon.until("it is at the worker", |s| s.in_flight == 1);
    assert_eq!(refusal(&session.call("exit", &deadly(2))), lost());
    assert_eq!(mcp::text(&response(again)), "slept");
    assert_eq!(daemon.server().quarantine, []);
}

#[test]
fn a_worker_killed_from_outside_is_no_evidence() {
    let (daemon, ledger) = one("");
    let session = Session::open(&daemon);
    for round in 1..=3 {
        let call = session.start(&json!(round), "slow", &json!({"ms": 600_000}));
        until("it is executed", || {
            (ledger.executed("slow") == round).then_some(())
        });
        let busy = daemon.server();
        let worker = busy.workers.iter().find(|w| w.in_flight == 1).unwrap();
        signal(worker.pid, Signal::SIGKILL);
        assert_eq!(refusal(&response(call)), lost());
    }
    assert_eq!(daemon.server().quarantine, []);
}

#[test]
fn an_operator_can_clear_one_call_or_all() {
    let (daemon, _ledger) = one("");
    let session = Session::open(&daemon);
    for number in 1..=3 {
        make_deadly(&session, number);
    }
    let found = daemon.server().quarantine;
    assert_eq!(found.len(), 3);
    let operator = daemon.client();
    let digest = Some(found[0].digest.as_str());
    assert_eq!(operator.clear_quarantine("a", digest).unwrap(), 1);
    assert!(operator.clear_quarantine("a", digest).is_err(), "twice");
    let passes = |n: &u64| refusal(&session.call("exit", &deadly(*n))) == lost();
    assert_eq!((1..=3).filter(passes).count(), 1);
    assert_eq!(operator.clear_quarantine("a", None).unwrap(), 2);
    assert_eq!(daemon.server().quarantine, []);
    assert_eq!((1..=3).filter(passes).count(), 3);
}

#[test]
fn a_call_that_two_workers_got_stuck_on_is_quarantined() {
    let (daemon, ledger) = one("[servers.a.tools.wedge]\ncall_timeout = \"200ms\"\n");
    let session = Session::open(&daemon);
    let wedge = json!({"ms": 600_000});
    for round in 1..=2 {
        let answer = session.call("wedge", &wedge);
        assert_eq!(answer["error"]["code"], -31004, "{answer}");
        daemon.until("the worker is given up", |s| s.counters.condemned == round);
        // The successor serves while the stuck worker is still being ended.
        assert_eq!(session.text("echo", &json!({"text": "x"})), "x");
    }
    assert_eq!(refusal(&session.call("wedge", &wedge)), quarantined());
    let found = only(&daemon);
    assert_eq!((found.tool.as_str(), found.crashes), ("wedge", 2));
    assert_eq!(ledger.executed("wedge"), 2);
}
