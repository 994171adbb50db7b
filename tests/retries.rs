//! Worker dies with calls in flight: what may be made twice is made again and its client never knows,
//! within its deadline, a number of attempts and a budget; everything else is told the truth. Short
//! outages are waited out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemon::{Daemon, signal, until};
use support::history::History;
use support::http::Response;
use support::ledger::Ledger;
use support::mcp::{self, Session, modern, refusal, response};

/// A breaker that leaves the server alone: here workers die on purpose.
const CALM: &str = "breaker = { failure_threshold = 1000, success_rate = 0 }\n";

/// One worker, sixteen calls at once.
fn one(arguments: &[&str], server: &str) -> (Daemon, Ledger) {
    let ledger = Ledger::new();
    let command = ledger.chaos(arguments);
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{command}{CALM}concurrency = 16\npool.min_size = 1\npool.max_size = 1\n{server}"
    ));
    (daemon, ledger)
}

fn lost() -> (i64, String, bool) {
    (-31005, "worker_lost".to_owned(), false)
}

/// The same where the client may repeat what the daemon does not repeat any more.
fn given_up() -> (i64, String, bool) {
    (-31005, "worker_lost".to_owned(), true)
}

/// Waits until so many calls are at the only worker, and kills it from outside.
fn kill_with(daemon: &Daemon, calls: usize) {
    let status = daemon.until("the calls are at the worker", |s| s.in_flight == calls);
    signal(status.workers[0].pid, Signal::SIGKILL);
}

/// The one answer of a legacy stream that begins with a priming event.
fn primed(answer: Response) -> Value {
    assert!(answer.is_stream());
    let events = answer.events();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0].data, "", "no priming event");
    events[1].json()
}

/// A `slow` call of each era at a worker that is lost while it works on them.
fn slow_at_a_lost_worker(server: &str, lose: impl Fn(&Daemon, &Session)) -> [Value; 2] {
    let (daemon, ledger) = one(&[], server);
    let session = Session::open(&daemon);
    let slow = json!({"name": "slow", "arguments": {"ms": 700}});
    let answers = thread::scope(|scope| {
        let of_modern = scope.spawn(|| {
            let answer = modern(daemon.address(), &json!("m"), "tools/call", &slow);
            response(answer)
        });
        let of_legacy = session.request(&json!("l"), "tools/call", &slow);
        until("both are executed", || {
            (ledger.executed("slow") == 2).then_some(())
        });
        lose(&daemon, &session);
        [primed(of_legacy), of_modern.join().unwrap()]
    });
    let again = daemon.server().counters.retried;
    assert_eq!(ledger.executed("slow"), 2 + usize::try_from(again).unwrap());
    answers
}

fn killed(daemon: &Daemon, _: &Session) {
    kill_with(daemon, 2);
}

fn exits(_: &Daemon, session: &Session) {
    let own = session.call("exit", &json!({"code": 1}));
    assert_eq!(
        refusal(&own),
        lost(),
        "the one that did it may not be repeated"
    );
}

#[test]
fn a_tool_that_may_be_repeated_is_answered_in_both_eras() {
    for (server, lose) in [
        ("retry_safe = [\"slow\"]\n", killed as fn(&Daemon, &Session)),
        ("[servers.a.tools.slow]\nretry_safe = true\n", exits),
        ("trust_annotations = true\n", killed),
    ] {
        let answers = slow_at_a_lost_worker(server, lose);
        for (answer, id) in answers.iter().zip(["l", "m"]) {
            assert_eq!(
                (mcp::text(answer).as_str(), &answer["id"]),
                ("slept", &json!(id))
            );
        }
    }
}

#[test]
fn a_tool_that_nobody_vouches_for_is_not_repeated() {
    for (server, lose) in [
        ("", killed as fn(&Daemon, &Session)),
        ("trust_annotations = false\n", exits),
        (
            "trust_annotations = true\n[servers.a.tools.slow]\nretry_safe = false\n",
            killed,
        ),
    ] {
        for answer in slow_at_a_lost_worker(server, lose) {
            assert_eq!(refusal(&answer), lost(), "{server}");
        }
    }
}

#[test]
fn methods_that_only_read_are_repeated() {
    let (daemon, _ledger) = one(&[], "");
    let session = Session::open(&daemon);
    let wedge = session.start(&json!("w"), "wedge", &json!({"ms": 600_000}));
    daemon.until("it is wedged", |s| s.in_flight == 1);
    let read = json!({"uri": "chaos://state"});
    let reads = [
        ("tools/list", json!({})),
        ("resources/read", read),
        ("prompts/list", json!({})),
    ];
    thread::scope(|scope| {
        let (daemon, session) = (&daemon, &session);
        let mut answers = Vec::new();
        for (method, params) in &reads {
            let id = json!(method);
            answers.push(scope.spawn(move || response(session.request(&id, method, params))));
            answers.push(
                scope.spawn(move || {
                    response(modern(daemon.address(), &json!(method), method, params))
                }),
            );
        }
        kill_with(daemon, 7);
        for answer in answers {
            let answer = answer.join().unwrap();
            assert!(answer["result"].is_object(), "{answer}");
        }
    });
    assert_eq!(refusal(&response(wedge)), lost());
    assert_eq!(daemon.server().counters.retried, 6);
}

#[test]
fn pitfall_19_an_unsafe_call_is_not_made_again_after_its_effect() {
    let (daemon, ledger) = one(&[], "");
    let session = Session::open(&daemon);
    let crash = json!({"id": "legacy", "crash": "after_effect"});
    assert_eq!(refusal(&session.call("effect", &crash)), lost());
    let killed = json!({"id": "modern", "ms": 600_000, "when": "after"});
    let answer = thread::scope(|scope| {
        let call = scope.spawn(|| {
            let params = json!({"name": "effect", "arguments": killed});
            response(modern(daemon.address(), &json!(1), "tools/call", &params))
        });
        until("the effect is there", || {
            (ledger.effects("modern") == 1).then_some(())
        });
        kill_with(&daemon, 1);
        call.join().unwrap()
    });
    assert_eq!(refusal(&answer), lost());
    // Whatever was made again has been made by now.
    assert_eq!(session.text("echo", &json!({"text": "x"})), "x");
    assert_eq!((ledger.effects("legacy"), ledger.effects("modern")), (1, 1));
    assert_eq!(daemon.server().counters.retried, 0);
}

#[test]
fn a_call_is_sent_no_more_often_than_attempts_says() {
    let (daemon, ledger) = one(&[], "retry_safe = [\"effect\"]\nretry = { attempts = 2 }\n");
    let session = Session::open(&daemon);
    let deadly = json!({"id": "x", "crash": "after_effect"});
    let answer = session.call("effect", &deadly);
    assert_eq!(refusal(&answer), given_up());
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("sent 2 times"), "{message}");
    assert_eq!(ledger.effects("x"), 2);
}

#[test]
fn retries_have_a_budget() {
    let (daemon, ledger) = one(
        &[],
        "retry_safe = [\"slow\"]\n\
         retry = { attempts = 3, budget_percent = 0, budget_per_second = 1 }\n",
    );
    let session = Session::open(&daemon);
    let calls: Vec<_> = (0..15)
        .map(|id| session.start(&json!(id), "slow", &json!({"ms": 1500})))
        .collect();
    until("all are executed", || {
        (ledger.executed("slow") == 15).then_some(())
    });
    kill_with(&daemon, 15);
    let answers: Vec<Value> = calls.into_iter().map(response).collect();
    let (fine, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.get("result").is_some());
    // One a second, over ten seconds.
    assert_eq!((fine.len(), refused.len()), (10, 5));
    for answer in refused {
        assert_eq!(refusal(answer), given_up());
        assert_eq!(answer["error"]["data"]["retryAfterMs"], 1000, "{answer}");
    }
    assert_eq!(ledger.executed("slow"), 25);
}

/// Workers that cannot start while the fault is there, once the first one has.
fn breakable(server: &str) -> (Daemon, Ledger, Fault) {
    let dir = tempfile::tempdir().unwrap();
    let fault = Fault {
        file: dir.path().join("fault"),
        _dir: dir,
    };
    let file = fault.file.display().to_string();
    let (daemon, ledger) = one(
        &["--die-while", &file],
        &format!("recovery.max_restart_attempts = 100\n{server}"),
    );
    (daemon, ledger, fault)
}

struct Fault {
    file: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Fault {
    fn begin(&self) {
        fs::write(&self.file, "").unwrap();
    }

    fn end(&self) {
        fs::remove_file(&self.file).unwrap();
    }
}

#[test]
fn a_call_is_not_made_again_when_its_time_is_over() {
    let (daemon, ledger, fault) = breakable("retry_safe = [\"slow\"]\ncall_timeout = \"2s\"\n");
    let session = Session::open(&daemon);
    let start = Instant::now();
    let call = session.start(&json!(1), "slow", &json!({"ms": 600_000}));
    until("it is executed", || {
        (ledger.executed("slow") == 1).then_some(())
    });
    fault.begin();
    kill_with(&daemon, 1);
    let late = (-31004, "deadline_exceeded".to_owned(), true);
    assert_eq!(refusal(&response(call)), late);
    assert!(start.elapsed() >= Duration::from_secs(2));
    fault.end();
    assert_eq!(session.text("echo", &json!({"text": "x"})), "x");
    assert_eq!(ledger.executed("slow"), 1);
}

#[test]
fn a_client_that_goes_away_cancels_the_second_attempt() {
    let (daemon, ledger, fault) = breakable("retry_safe = [\"slow\"]\n");
    let session = Session::open(&daemon);
    let client = mcp::modern_begun(daemon.address(), "slow", &json!({"ms": 600_000}));
    until("it is executed", || {
        (ledger.executed("slow") == 1).then_some(())
    });
    fault.begin();
    kill_with(&daemon, 1);
    daemon.until("it waits for another worker", |s| s.queued == 1);
    drop(client);
    daemon.until("it does not wait any more", |s| s.queued == 0);
    fault.end();
    assert_eq!(session.text("echo", &json!({"text": "x"})), "x");
    assert_eq!(ledger.executed("slow"), 1);
    assert_eq!(daemon.server().counters.calls["cancelled"], 1);
}

#[test]
fn a_short_outage_is_waited_out_by_all() {
    let ledger = Ledger::new();
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}{CALM}concurrency = 1\n\
         pool = {{ min_size = 1, max_size = 1, acquire_timeout = \"3s\" }}\n",
        ledger.chaos(&["--start-delay", "4000"])
    ));
    let session = Session::open(&daemon);
    let first = daemon.server().workers[0].pid;
    signal(first, Signal::SIGKILL);
    daemon.until("nobody serves", |s| s.ready == 0);
    let calls: Vec<_> = (0..20)
        .map(|n| session.start(&json!(n), "effect", &json!({"id": format!("e{n}")})))
        .collect();
    for call in calls {
        let answer = response(call);
        assert!(answer.get("result").is_some(), "{answer}");
    }
    assert!((0..20).all(|n| ledger.effects(&format!("e{n}")) == 1));
}

#[test]
fn calls_that_were_not_written_yet_go_to_the_next_worker() {
    let ledger = Ledger::new();
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}{CALM}concurrency = 1\npool = {{ min_size = 1, max_size = 1 }}\n",
        ledger.chaos(&[])
    ));
    let session = Session::open(&daemon);
    let busy = session.start(&json!("b"), "slow", &json!({"ms": 600_000}));
    daemon.until("the only place is taken", |s| s.in_flight == 1);
    let calls: Vec<_> = (0..20)
        .map(|n| session.start(&json!(n), "effect", &json!({"id": format!("e{n}")})))
        .collect();
    daemon.until("all wait", |s| s.queued == 20);
    kill_with(&daemon, 1);
    assert_eq!(refusal(&response(busy)), lost());
    for call in calls {
        let answer = response(call);
        assert!(answer.get("result").is_some(), "{answer}");
    }
    assert!((0..20).all(|n| ledger.effects(&format!("e{n}")) == 1));
}

#[test]
fn a_long_outage_is_waited_for_no_longer_than_hold_says() {
    let (daemon, ledger, fault) =
        breakable("pool.acquire_timeout = \"200ms\"\nrecovery.hold = \"1s\"\n");
    let session = Session::open(&daemon);
    fault.begin();
    signal(daemon.server().workers[0].pid, Signal::SIGKILL);
    daemon.until("nobody serves", |s| s.ready == 0);
    let start = Instant::now();
    let answer = session.call("effect", &json!({"id": "x"}));
    let held = start.elapsed();
    assert_eq!(
        refusal(&answer),
        (-31003, "overloaded".to_owned(), true),
        "after {held:?}"
    );
    assert!(held >= Duration::from_secs(1), "{held:?}");
    fault.end();
    assert_eq!(session.text("echo", &json!({"text": "x"})), "x");
    assert_eq!(ledger.effects("x"), 0);
}

#[test]
fn under_random_kills_safe_calls_succeed_and_unsafe_ones_are_told_truly() {
    let ledger = Ledger::new();
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}{CALM}concurrency = 4\npool = {{ min_size = 3, max_size = 4 }}\n\
         retry_safe = [\"slow\"]\nretry = {{ attempts = 20, budget_percent = 1000 }}\n",
        ledger.chaos(&[])
    ));
    let (history, over) = (History::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        for client in 0..6 {
            let (daemon, history, over) = (&daemon, &history, &over);
            scope.spawn(move || {
                let session = Session::open(daemon);
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let slept = session.call("slow", &json!({"ms": 10, "nonce": round}));
                    assert_eq!(mcp::text(&slept), "slept");
                    let id = format!("{client}-{round}");
                    history.invoke(&id);
                    let when = ["before", "after"][round % 2];
                    let arguments = json!({"id": id, "ms": 10, "when": when});
                    history.answered(&id, &session.call("effect", &arguments));
                }
            });
        }
        for _ in 0..20 {
            let now = daemon.until("a worker is busy", |s| s.busy > 0 && s.ready > 1);
            let busy = now.workers.iter().find(|w| w.state == "busy").unwrap();
            signal(busy.pid, Signal::SIGKILL);
            daemon.until("it is seen", |s| s.workers.iter().all(|w| w.id != busy.id));
        }
        over.store(true, Ordering::Relaxed);
    });
    let tally = history.check(&ledger.path());
    let tally = tally.unwrap_or_else(|breaches| panic!("{breaches:#?}"));
    assert!(tally.ok > 0 && tally.unknown > 0, "{tally:?}");
    assert_eq!(tally.fail, 0, "no call was refused: {tally:?}");
    assert!(daemon.server().counters.retried > 0);
}
