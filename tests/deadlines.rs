//! When a call's time is over: the client is told, the worker is told, and only a worker that shows
//! no sign of life and works on nothing else is ended. Nobody else at that worker pays for it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::daemon::{Daemon, until};
use support::ledger::Ledger;
use support::mcp::{self, Session, refusal, response};

/// One worker that serves eight calls at once, and its ledger. Tools that are to answer get a long
/// time of their own.
fn one(arguments: &[&str], server: &str) -> (Daemon, Ledger) {
    let ledger = Ledger::new();
    let command = ledger.chaos(arguments);
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{command}concurrency = 8\npool.min_size = 1\npool.max_size = 1\n{server}"
    ));
    (daemon, ledger)
}

fn expired(retryable: bool) -> (i64, String, bool) {
    (-31004, "deadline_exceeded".to_owned(), retryable)
}

fn pid(session: &Session) -> Value {
    let text = session.text("pid", &json!({}));
    serde_json::from_str::<Value>(&text).unwrap()["pid"].clone()
}

#[test]
fn server_and_tool_say_how_long_a_call_may_take() {
    let (daemon, ledger) = one(
        &[],
        "call_timeout = \"1s\"\nretry_safe = [\"late\"]\n\
         [servers.a.tools.slow]\ncall_timeout = \"25s\"\n\
         [servers.a.tools.hang]\ncall_timeout = \"200ms\"\n",
    );
    let session = Session::open(&daemon);
    let slow = session.start(&json!("slow"), "slow", &json!({"ms": 1500}));
    for (tool, least, is_safe) in [("late", 1000, true), ("hang", 200, false)] {
        let start = Instant::now();
        let answer = session.call(tool, &json!({"ms": 600_000}));
        assert_eq!(refusal(&answer), expired(is_safe), "{tool}");
        assert!(start.elapsed() >= Duration::from_millis(least), "{tool}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("call_timeout"), "{message}");
        // The rule of the tool, and not that of the server, ended it.
        assert_eq!(message.contains("0.2 s"), tool == "hang", "{message}");
    }
    assert_eq!(mcp::text(&response(slow)), "slept");
    let modern = mcp::modern_call(daemon.address(), &json!(1), "hang", &json!({}));
    assert_eq!(refusal(&response(modern)), expired(false));
    until("the worker was told of each", || {
        (ledger.cancellations() == 3).then_some(())
    });
    assert_eq!(daemon.server().counters.calls["expired"], 3);
}

#[test]
fn progress_gives_a_call_more_time_but_not_for_ever() {
    let limits = |most: &str| format!("call_timeout = \"1s\"\nmax_call_timeout = \"{most}\"\n");
    for (steps, most, answered) in [(25, "30s", true), (600, "2s", false)] {
        let (daemon, _ledger) = one(&[], &limits(most));
        let session = Session::open(&daemon);
        let params = json!({
            "name": "progress", "arguments": {"steps": steps, "ms": 100},
            "_meta": {"progressToken": "p"},
        });
        let start = Instant::now();
        let events = mcp::messages(session.request(&json!(1), "tools/call", &params));
        let answer = events.last().unwrap().json();
        assert!(events.len() > 10, "{} messages", events.len());
        assert!(start.elapsed() >= Duration::from_secs(2));
        if answered {
            assert_eq!(mcp::text(&answer), "done");
        } else {
            assert_eq!(refusal(&answer), expired(false));
        }
    }
}

#[test]
fn a_worker_that_answers_within_the_grace_stays() {
    let (daemon, _ledger) = one(&[], "call_timeout = \"400ms\"\n");
    let session = Session::open(&daemon);
    let answer = session.call("late", &json!({"ms": 800}));
    assert_eq!(refusal(&answer), expired(false));
    // This one's sentence comes later than that of the first.
    assert_eq!(refusal(&session.call("hang", &json!({}))), expired(false));
    let after = daemon.until("the hanging call is judged", |s| s.counters.recycled > 0);
    assert_eq!((after.counters.recycled, after.counters.condemned), (1, 0));
    let log = daemon.log();
    assert!(log.contains("did not answer hang within"), "{log}");
    assert!(!log.contains("did not answer late within"), "{log}");
}

#[test]
fn a_stuck_worker_is_ended_with_all_that_belongs_to_it() {
    let (daemon, ledger) = one(
        &["--ignore", "eof,int,term"],
        "stop_grace = \"200ms\"\ncall_timeout = \"25s\"\nretry_safe = [\"slow\"]\n\
         [servers.a.tools.wedge]\ncall_timeout = \"300ms\"\n",
    );
    let session = Session::open(&daemon);
    let stuck = pid(&session).as_u64().unwrap();
    for group in [false, true] {
        session.call("fork", &json!({"group": group}));
    }
    let family = daemon.processes();
    assert_eq!(family.len(), 3, "{family:?}");
    let wedge = session.start(&json!("w"), "wedge", &json!({"ms": 600_000}));
    let safe = session.start(&json!("s"), "slow", &json!({"ms": 1}));
    let unsafe_one = session.start(&json!("u"), "effect", &json!({"id": "u"}));
    assert_eq!(refusal(&response(wedge)), expired(false));
    // What waited behind it follows the rules for calls of a dead worker.
    assert_eq!(mcp::text(&response(safe)), "slept");
    let lost = (-31005, "worker_lost".to_owned(), false);
    assert_eq!(refusal(&response(unsafe_one)), lost);
    assert_eq!(ledger.effects("u"), 0);
    until("the whole family is gone", || {
        let left = daemon.processes();
        (!family.iter().any(|pid| left.contains(pid))).then_some(())
    });
    let after = daemon.server();
    assert_eq!((after.counters.condemned, after.counters.retried), (1, 1));
    assert_eq!(after.counters.deaths, 0, "it was ended on purpose");
    assert!(daemon.log().contains("worker_stuck"), "{}", daemon.log());
    assert_ne!(pid(&session).as_u64().unwrap(), stuck);
}

#[test]
fn a_hanging_call_costs_others_nothing_and_its_worker_a_successor() {
    let (daemon, _ledger) = one(
        &["--start-delay", "300"],
        "call_timeout = \"25s\"\n[servers.a.tools.hang]\ncall_timeout = \"200ms\"\n",
    );
    let session = Session::open(&daemon);
    let first = pid(&session);
    let slow = session.start(&json!("slow"), "slow", &json!({"ms": 2500}));
    let hang = session.call("hang", &json!({}));
    assert_eq!(refusal(&hang), expired(false));
    let start = Instant::now();
    while pid(&session) == first {
        assert!(start.elapsed() < support::http::PATIENCE, "no successor");
        assert!(daemon.server().ready > 0, "the successor comes first");
    }
    assert_eq!(mcp::text(&response(slow)), "slept");
    daemon.until("the first one is gone", |s| s.workers.len() == 1);
    let after = daemon.server();
    let counters = (after.counters.condemned, after.counters.recycled);
    assert_eq!((counters, after.counters.deaths), ((0, 1), 0));
}

#[test]
fn what_is_kept_for_all_outlives_a_hanging_call() {
    let (daemon, _ledger) = one(
        &[],
        "state = \"shared\"\n[servers.a.tools.hang]\ncall_timeout = \"200ms\"\n",
    );
    let session = Session::open(&daemon);
    assert_eq!(session.text("counter", &json!({})), "1");
    assert_eq!(refusal(&session.call("hang", &json!({}))), expired(false));
    let after = daemon.until("its place is free again", |s| s.in_flight == 0);
    assert_eq!((after.counters.recycled, after.counters.condemned), (0, 0));
    assert_eq!(session.text("counter", &json!({})), "2");
}

#[test]
fn pitfall_8_a_busy_worker_is_never_called_dead() {
    let (daemon, _ledger) = one(
        &[],
        "start_timeout = \"1s\"\npool.health_check_interval = \"200ms\"\n",
    );
    let session = Session::open(&daemon);
    let before = pid(&session);
    // Nothing is read and nothing is answered meanwhile, pings neither.
    assert_eq!(session.text("wedge", &json!({"ms": 8000})), "wedged");
    assert_eq!(pid(&session), before);
    let after = daemon.server().counters;
    assert_eq!((after.deaths, after.recycled, after.condemned), (0, 0, 0));
    assert_eq!(after.starts, 1);
}

#[test]
fn a_call_behind_an_older_one_expires_and_the_older_one_is_answered() {
    let (daemon, _ledger) = one(
        &[],
        "call_timeout = \"300ms\"\n[servers.a.tools.wedge]\ncall_timeout = \"25s\"\n",
    );
    let session = Session::open(&daemon);
    let wedge = session.start(&json!("w"), "wedge", &json!({"ms": 4000}));
    let behind = session.call("echo", &json!({"text": "x"}));
    assert_eq!(refusal(&behind), expired(false));
    assert_eq!(mcp::text(&response(wedge)), "wedged");
    let after = daemon.server().counters;
    assert_eq!((after.condemned, after.deaths), (0, 0));
}

#[test]
fn a_call_that_expires_in_the_queue_reaches_no_worker() {
    let ledger = Ledger::new();
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}concurrency = 1\ncall_timeout = \"300ms\"\n\
         pool = {{ min_size = 1, max_size = 1, acquire_timeout = \"25s\" }}\n\
         [servers.a.tools.slow]\ncall_timeout = \"25s\"\n",
        ledger.chaos(&[])
    ));
    let session = Session::open(&daemon);
    let slow = session.start(&json!("slow"), "slow", &json!({"ms": 1500}));
    daemon.until("the only place is taken", |s| s.in_flight == 1);
    let queued = session.call("effect", &json!({"id": "queued"}));
    assert_eq!(refusal(&queued), expired(true));
    assert_eq!(daemon.server().queued, 0);
    assert_eq!(mcp::text(&response(slow)), "slept");
    // Calls that came later are served, and it was not.
    let later = session.call("slow", &json!({"ms": 1}));
    assert_eq!(mcp::text(&later), "slept");
    assert_eq!((ledger.executed("effect"), ledger.executed("slow")), (0, 2));
    assert_eq!(daemon.server().counters.condemned, 0);
}
