//! The pool: how many workers there are, who is served by which, and when one is replaced. No
//! replacement may cost anybody a call.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use mainstay::broker::snapshot::ServerStatus;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, signal, until};
use support::mcp::{self, Session, modern_call};

fn daemon(arguments: &[&str], server: &str) -> Daemon {
    Daemon::ready(&format!("[servers.a]\n{}{server}", chaos(arguments)))
}

/// Process id of the worker that serves this session's next call.
fn pid(session: &Session) -> u32 {
    let text = session.text("pid", &json!({}));
    let told: Value = serde_json::from_str(&text).unwrap();
    u32::try_from(told["pid"].as_u64().unwrap()).unwrap()
}

fn count(session: &Session) -> String {
    session.text("counter", &json!({}))
}

fn ids(status: &ServerStatus) -> BTreeSet<u64> {
    status.workers.iter().map(|w| w.id).collect()
}

fn refusal_of(answer: &Value) -> (i64, String) {
    let error = &answer["error"];
    assert!(error["data"]["retryAfterMs"].is_u64(), "{answer}");
    assert_eq!(error["data"]["retryable"], true, "{answer}");
    let reason = error["data"]["reason"].as_str().unwrap().to_owned();
    (error["code"].as_i64().unwrap(), reason)
}

#[test]
fn the_minimum_is_started_a_few_at_a_time_and_kept() {
    let cores = thread::available_parallelism().unwrap().get();
    let cap = (cores / 2).max(1);
    let daemon = Daemon::start(&format!(
        "[servers.a]\n{}era = \"legacy\"\npool = {{ min_size = 4, max_size = 6 }}\n",
        chaos(&["--start-delay", "50"])
    ));
    let mut seen = BTreeSet::new();
    daemon.until("the minimum is ready", |s| {
        assert!(s.starting <= cap, "{} start at a time", s.starting);
        seen.insert(s.starting);
        s.ready == 4
    });
    assert!(seen.contains(&1), "{seen:?}");
    let before = daemon.until("nobody starts", |s| s.starting == 0);
    assert_eq!(before.workers.len(), 4);
    let victim = &before.workers[0];
    signal(victim.pid, Signal::SIGKILL);
    let after = daemon.until("it is replaced", |s| {
        s.ready == 4 && !ids(s).contains(&victim.id)
    });
    assert_eq!(after.counters.deaths, 1);
    assert_eq!(
        ids(&before).intersection(&ids(&after)).count(),
        3,
        "the others were left alone"
    );
}

#[test]
fn recycling_costs_no_call() {
    let daemon = daemon(
        &[],
        "concurrency = 4\npool = { min_size = 2, max_size = 4, max_calls = 5 }\n",
    );
    let start = Instant::now();
    let clients: Vec<Session> = (0..3).map(|_| Session::open(&daemon)).collect();
    let served: u64 = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter()
            .map(|client| {
                scope.spawn(|| {
                    let mut served = 0;
                    while daemon.server().counters.recycled < 3 {
                        assert!(
                            start.elapsed() < support::http::PATIENCE,
                            "nothing is recycled"
                        );
                        let slow = json!({"ms": 10});
                        assert_eq!(client.text("slow", &slow), "slept");
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    let after = daemon.until("its successors are ready", |s| {
        s.starting == 0 && s.ready >= 2
    });
    assert_eq!(after.counters.deaths, 0);
    assert_eq!(after.counters.calls["ok"], served);
    for outcome in ["lost", "error", "refused"] {
        assert_eq!(
            after.counters.calls.get(outcome).copied().unwrap_or(0),
            0,
            "{outcome}"
        );
    }
}

#[test]
fn a_worker_grown_old_is_replaced() {
    let daemon = daemon(
        &[],
        "pool = { min_size = 1, max_size = 2, max_age = \"300ms\" }\n",
    );
    let session = Session::open(&daemon);
    let first = pid(&session);
    let start = Instant::now();
    while pid(&session) == first {
        assert!(start.elapsed() < support::http::PATIENCE);
    }
    assert_eq!(daemon.server().counters.deaths, 0);
}

#[test]
fn a_dead_silent_worker_is_replaced_when_idle_and_left_alone_when_busy() {
    let daemon = daemon(
        &[],
        "concurrency = 1\nstart_timeout = \"2s\"\n\
         pool = { min_size = 2, max_size = 2, health_check_interval = \"100ms\" }\n",
    );
    daemon.until("both are ready", |s| s.ready == 2);
    let session = Session::open(&daemon);
    let call = session.start(&json!(1), "slow", &json!({"ms": 300}));
    let status = daemon.until("one is busy", |s| s.busy == 1);
    let (busy, idle): (Vec<_>, Vec<_>) = status.workers.iter().partition(|w| w.state == "busy");
    for worker in &status.workers {
        signal(worker.pid, Signal::SIGSTOP);
    }
    let after = daemon.until("the idle one is replaced", |s| {
        s.ready == 2 && !ids(s).contains(&idle[0].id)
    });
    assert!(ids(&after).contains(&busy[0].id));
    signal(busy[0].pid, Signal::SIGCONT);
    assert_eq!(mcp::text(&mcp::response(call)), "slept");
}

#[test]
fn each_session_has_a_worker_of_its_own_and_spares_stay_warm() {
    let daemon = daemon(
        &[],
        "state = \"session\"\npool = { min_size = 2, max_size = 6 }\n",
    );
    let sessions: Vec<Session> = (0..4).map(|_| Session::open(&daemon)).collect();
    for round in ["1", "2"] {
        for session in &sessions {
            assert_eq!(count(session), round);
        }
    }
    let pids: BTreeSet<u32> = sessions.iter().map(pid).collect();
    assert_eq!(pids.len(), 4);
    let bound = |s: &ServerStatus| s.workers.iter().filter(|w| w.bound).count();
    let status = daemon.until("two spares are ready", |s| s.ready == 6);
    assert_eq!((bound(&status), status.sessions), (4, 4));
    // The house is full once the spares are taken: the next one waits, then is refused.
    let more = [Session::open(&daemon), Session::open(&daemon)];
    assert_eq!(
        daemon.until("the house is full", |s| bound(s) == 6).ready,
        6
    );
    for session in &more {
        assert_eq!(count(session), "1");
    }
    // A session that ends takes its worker with it and makes room.
    for session in &sessions {
        assert_eq!(session.delete(), 200);
    }
    daemon.until("two sessions and two spares", |s| {
        bound(s) == 2 && s.ready == 4
    });
    let alive: BTreeSet<u32> = daemon.server().workers.iter().map(|w| w.pid).collect();
    assert_eq!(
        alive.intersection(&pids).count(),
        0,
        "state of an ended session lives on"
    );
    assert_eq!(count(&Session::open(&daemon)), "1");
}

#[test]
fn a_full_house_refuses_a_session_and_says_when_to_return() {
    let daemon = daemon(
        &[],
        "state = \"session\"\npool = { min_size = 1, max_size = 1, acquire_timeout = \"200ms\" }\n",
    );
    let first = Session::open(&daemon);
    let hello = mcp::initialize(mcp::LATEST).to_string();
    let answer = mcp::post(daemon.address(), "/mcp", &[], &hello);
    assert_eq!(
        (answer.status, answer.header("mcp-session-id")),
        (200, None)
    );
    assert_eq!(
        refusal_of(&answer.json()),
        (-31003, "overloaded".to_owned())
    );
    assert_eq!(first.delete(), 200);
    assert_eq!(count(&Session::open(&daemon)), "1");
}

#[test]
fn a_full_house_takes_back_the_worker_of_the_session_idle_for_longest() {
    // Most clients never say that they are done.
    let daemon = daemon(
        &[],
        "state = \"session\"\npool = { min_size = 1, max_size = 2 }\n[sessions]\nidle_timeout = \"1s\"\n",
    );
    let gone = Session::open(&daemon);
    let listening = Session::open(&daemon);
    let stream = listening.get(None);
    let late = until("the session that nobody uses makes room", || {
        let hello = mcp::initialize(mcp::LATEST).to_string();
        let answer = mcp::post(daemon.address(), "/mcp", &[], &hello);
        answer.header("mcp-session-id").map(ToOwned::to_owned)
    });
    assert!(
        daemon.log().contains("all workers belong to sessions"),
        "it was not swept by its age alone: {}",
        daemon.log()
    );
    assert_eq!(gone.delete(), 404);
    assert_eq!(
        count(&listening),
        "1",
        "a session that is listened to stays"
    );
    assert!(!late.is_empty());
    drop(stream);
}

#[test]
fn a_worker_that_refuses_a_second_initialize_serves_all_the_same() {
    let daemon = daemon(
        &["--reject-reinit", "--era", "legacy"],
        "state = \"session\"\npool = { min_size = 2, max_size = 6 }\n",
    );
    let sessions: Vec<Session> = (0..3).map(|_| Session::open(&daemon)).collect();
    for session in &sessions {
        assert_eq!(session.result["serverInfo"]["name"], "chaosworker");
        assert_eq!(count(session), "1");
    }
    assert_eq!(daemon.server().counters.deaths, 0);
}

#[test]
fn a_session_survives_its_worker() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let command = chaos(&["--log", ledger.to_str().unwrap()]);
    let servers = format!(
        "[servers.a]\n{command}state = \"session\"\npool = {{ min_size = 1, max_size = 3 }}\n"
    );
    let daemon = Daemon::start_in(dir, "", &servers).until_healthy();
    let session = Session::open(&daemon);
    let (uri, level) = (json!({"uri": "chaos://state"}), json!({"level": "info"}));
    for (method, params) in [("resources/subscribe", &uri), ("logging/setLevel", &level)] {
        let answer = mcp::response(session.request(&json!(method), method, params));
        assert_eq!(answer["result"], json!({}));
    }
    let first = pid(&session);
    assert_eq!(count(&session), "1");
    signal(first, Signal::SIGKILL);
    // At once: the call waits for the new worker, or was sent to the dying one and says so.
    let answer = session.call("counter", &json!({}));
    let second = if answer.get("error").is_some() {
        assert_eq!(answer["error"]["code"], -31005);
        count(&session)
    } else {
        mcp::text(&answer)
    };
    assert_eq!(second, "1", "what the dead one had in memory is gone");
    let successor = pid(&session);
    assert_ne!(successor, first);
    // The new one was opened with the client's own words and knows what it subscribed to.
    let text = fs::read_to_string(&ledger).unwrap();
    let own = format!("{{\"initialize\":\"test\",\"pid\":{successor}}}");
    assert!(text.contains(&own), "{own} is not in\n{text}");
    let stream = session.start(&json!("u"), "update_resource", &uri);
    let news = mcp::messages(stream);
    assert_eq!(news[0].json()["method"], "notifications/resources/updated");
    // Another session is not touched by any of this.
    assert_eq!(daemon.server().sessions, 1);
}

#[test]
fn equal_ids_and_tokens_of_twenty_clients_never_mix() {
    let daemon = daemon(
        &[],
        "concurrency = 16\npool = { min_size = 2, max_size = 2 }\n",
    );
    let sessions: Vec<Session> = (0..20).map(|_| Session::open(&daemon)).collect();
    thread::scope(|scope| {
        for (number, session) in sessions.iter().enumerate() {
            let daemon = &daemon;
            scope.spawn(move || {
                for round in 0..3 {
                    let steps = number + 1;
                    let params = json!({
                        "name": "progress", "arguments": {"steps": steps, "ms": 2},
                        "_meta": {"progressToken": 1},
                    });
                    let answer = session.request(&json!(1), "tools/call", &params);
                    let events = mcp::messages(answer);
                    assert_eq!(events.len(), steps + 1, "client {number}");
                    for (index, event) in events[..steps].iter().enumerate() {
                        let progress = event.json()["params"].clone();
                        assert_eq!(progress["progressToken"], 1);
                        assert_eq!(progress["progress"], index + 1);
                        assert_eq!(progress["total"], steps, "progress of somebody else");
                    }
                    let own = format!("{number}/{round}");
                    let text = json!({"text": own});
                    let answer = mcp::response(session.start(&json!(1), "echo", &text));
                    assert_eq!(
                        (&answer["id"], mcp::text(&answer)),
                        (&json!(1), own.clone())
                    );
                    let modern = modern_call(daemon.address(), &json!(1), "echo", &text).json();
                    assert_eq!((&modern["id"], mcp::text(&modern)), (&json!(1), own));
                }
            });
        }
    });
    let after = daemon.server();
    assert_eq!(after.counters.unrouted, 0);
    assert_eq!(after.counters.calls["ok"], 20 * 3 * 3);
    assert_eq!(after.workers.len(), 2);
    assert!(after.workers.iter().all(|w| w.calls > 0), "both worked");
}

#[test]
fn equal_ids_of_one_session_are_answered_each() {
    let daemon = daemon(&[], "pool = { min_size = 1, max_size = 1 }\n");
    let session = Session::open(&daemon);
    let slow = session.start(&json!(1), "slow", &json!({"ms": 200}));
    let quick = session.start(&json!(1), "echo", &json!({"text": "quick"}));
    assert_eq!(mcp::text(&mcp::response(quick)), "quick");
    assert_eq!(mcp::text(&mcp::response(slow)), "slept");
}

#[test]
fn shared_state_has_one_worker_for_all() {
    let daemon = daemon(&[], "state = \"shared\"\n");
    let sessions: Vec<Session> = (0..3).map(|_| Session::open(&daemon)).collect();
    let counts: Vec<String> = sessions.iter().map(count).collect();
    assert_eq!(counts, ["1", "2", "3"]);
    let modern = modern_call(daemon.address(), &json!(1), "counter", &json!({})).json();
    assert_eq!(mcp::text(&modern), "4");
    assert_eq!(daemon.server().workers.len(), 1);
    signal(pid(&sessions[0]), Signal::SIGKILL);
    daemon.until("there is another one", |s| {
        s.ready == 1 && s.counters.deaths == 1
    });
    assert_eq!(count(&sessions[1]), "1");
    assert_eq!(daemon.server().sessions, 3, "no session died with it");
}

#[test]
fn who_waits_too_long_or_behind_too_many_is_refused() {
    let daemon = daemon(
        &[],
        "concurrency = 1\nqueue_size = 1\n\
         pool = { min_size = 1, max_size = 1, acquire_timeout = \"400ms\" }\n",
    );
    let session = Session::open(&daemon);
    let mut busy = session.start(&json!("busy"), "slow", &json!({"ms": 600_000}));
    busy.event().unwrap();
    daemon.until("the only place is taken", |s| s.in_flight == 1);
    let waiting = session.start(&json!("waits"), "echo", &json!({"text": "x"}));
    daemon.until("one waits", |s| s.queued == 1);
    // The queue is full, in both eras alike: HTTP 200 and a typed error.
    let refused = mcp::response(session.start(&json!("third"), "echo", &json!({})));
    assert_eq!(refusal_of(&refused), (-31003, "overloaded".to_owned()));
    let answer = modern_call(daemon.address(), &json!("fourth"), "echo", &json!({}));
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(
        (refusal_of(&answer).0, &answer["id"]),
        (-31003, &json!("fourth"))
    );
    // The first in the queue waits for its time-out, not longer.
    let start = Instant::now();
    let late = mcp::response(waiting);
    assert_eq!(
        (refusal_of(&late).0, &late["id"]),
        (-31003, &json!("waits"))
    );
    assert!(start.elapsed() < Duration::from_secs(10));
    session.notify("notifications/cancelled", &json!({"requestId": "busy"}));
    assert_eq!(daemon.server().counters.refusals["overloaded"], 3);
    // One that is cancelled in the queue never reaches the worker.
    let after = daemon.until("the cancel is counted", |s| {
        s.counters.calls["cancelled"] == 1
    });
    assert_eq!(after.ready, 1);
}

#[test]
fn a_dead_worker_among_living_ones_costs_no_call_that_it_was_not_given() {
    let daemon = daemon(&[], "pool = { min_size = 3, max_size = 3 }\n");
    let session = Session::open(&daemon);
    for round in 0..10 {
        let before = daemon.until("three are ready", |s| s.ready == 3);
        // The oldest is the one that is chosen when all are idle.
        signal(before.workers[0].pid, Signal::SIGKILL);
        for call in 0..10 {
            let answer = session.call("echo", &json!({"text": "x"}));
            // Written into the socket of a dying process: that cannot be told apart.
            let lost = answer["error"]["code"] == -31005;
            assert!(
                lost || answer.get("result").is_some(),
                "{round}/{call}: {answer}"
            );
        }
        daemon.until("its death is noticed", |s| s.counters.deaths == round + 1);
    }
}
