//! The pool when it is under pressure: nobody who could serve is taken away too early, waiters do
//! not start a worker each, and one tool that hangs does not take every worker.

mod support;

use std::collections::BTreeSet;
use std::thread;
use std::time::Instant;

use mainstay::broker::snapshot::ServerStatus;
use nix::sys::signal::Signal;
use serde_json::json;
use support::daemon::{Daemon, chaos, signal};
use support::http::PATIENCE;
use support::mcp::{self, Session};

fn serving(status: &ServerStatus) -> usize {
    let serves =
        |w: &&mainstay::broker::snapshot::WorkerStatus| w.state == "ready" || w.state == "busy";
    status.workers.iter().filter(serves).count()
}

fn ids(status: &ServerStatus) -> BTreeSet<u64> {
    status.workers.iter().map(|w| w.id).collect()
}

fn echo(session: &Session) {
    assert_eq!(session.text("echo", &json!({"text": "x"})), "x");
}

#[test]
fn pitfall_4_the_last_worker_that_gives_no_sign_of_life_stays_until_there_is_another() {
    for size in 1..=3 {
        let daemon = Daemon::start(&format!(
            "[servers.a]\n{}start_timeout = \"1s\"\n\
             pool = {{ min_size = {size}, max_size = 3, health_check_interval = \"200ms\" }}\n",
            chaos(&["--start-delay", "200"])
        ));
        let before = daemon.until("all are ready", |s| s.ready == size && s.starting == 0);
        for worker in &before.workers {
            signal(worker.pid, Signal::SIGSTOP);
        }
        let mut least = size;
        let after = daemon.until("all are others", |s| {
            least = least.min(serving(s));
            assert!(least > 0, "nobody serves: {s:#?}");
            s.ready >= size && ids(s).is_disjoint(&ids(&before))
        });
        assert_eq!(after.counters.deaths, 0, "they were asked to go");
        echo(&Session::open(&daemon));
        println!("{size} workers: never below {least}");
    }
}

#[test]
fn one_that_answers_again_in_time_is_not_lost_with_its_calls() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}concurrency = 1\nstart_timeout = \"1s\"\n\
         pool = {{ min_size = 1, max_size = 1, health_check_interval = \"200ms\" }}\n",
        chaos(&["--start-delay", "700"])
    ));
    let session = Session::open(&daemon);
    let old = daemon
        .until("it is idle", |s| s.ready == 1 && s.starting == 0)
        .workers[0]
        .clone();
    signal(old.pid, Signal::SIGSTOP);
    daemon.until("its successor starts", |s| s.starting == 1);
    signal(old.pid, Signal::SIGCONT);
    // It has answered, so it is believed again: what it works on is waited for.
    echo(&session);
    let call = session.start(&json!("long"), "slow", &json!({"ms": 1_500}));
    assert_eq!(mcp::text(&mcp::response(call)), "slept");
    let after = daemon.until("it has gone", |s| s.ready == 1 && !ids(s).contains(&old.id));
    assert_eq!(after.counters.calls["lost"], 0);
}

#[test]
fn replacing_under_load_takes_nobody_away_before_the_successor_is_there() {
    for size in 1..=3 {
        let daemon = Daemon::start(&format!(
            "[servers.a]\n{}concurrency = 2\n\
             pool = {{ min_size = {size}, max_size = {size}, max_calls = 10 }}\n",
            chaos(&["--start-delay", "100"])
        ));
        daemon.until("all are ready", |s| s.ready == size && s.starting == 0);
        let session = Session::open(&daemon);
        let begun = Instant::now();
        thread::scope(|scope| {
            let calls: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        while daemon.server().counters.recycled < 4 {
                            assert!(begun.elapsed() < PATIENCE);
                            echo(&session);
                        }
                    })
                })
                .collect();
            while calls.iter().any(|c| !c.is_finished()) {
                let now = daemon.server();
                assert!(serving(&now) >= size, "{now:#?}");
            }
        });
        let after = daemon.server();
        assert_eq!(
            (after.counters.deaths, after.counters.calls["lost"]),
            (0, 0)
        );
    }
}

#[test]
fn a_successor_that_fails_is_no_reason_to_recycle_nobody_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let fault = dir.path().join("fault");
    let command = chaos(&["--die-while", fault.to_str().unwrap()]);
    let servers =
        format!("[servers.a]\n{command}pool = {{ min_size = 1, max_size = 1, max_calls = 2 }}\n");
    let daemon = Daemon::start_in(dir, "", &servers).until_healthy();
    let session = Session::open(&daemon);
    let old = daemon.until("it is idle", |s| s.starting == 0).workers[0].id;
    std::fs::write(&fault, "").unwrap();
    echo(&session);
    echo(&session);
    let failed = daemon.until("successors fail", |s| s.counters.deaths >= 2);
    assert_eq!(ids(&failed), BTreeSet::from([old]), "it serves on");
    echo(&session);
    std::fs::remove_file(&fault).unwrap();
    daemon.until("it is replaced after all", |s| {
        s.ready == 1 && !ids(s).contains(&old)
    });
    echo(&session);
}

#[test]
fn pitfall_7_fifty_waiters_start_no_fifty_workers() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}concurrency = 1\npool = {{ min_size = 1, max_size = 20 }}\n",
        chaos(&["--start-delay", "2000"])
    ));
    let session = Session::open(&daemon);
    let before = daemon.server().counters.starts;
    for round in 0..2 {
        thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    assert_eq!(session.text("slow", &json!({"ms": 5})), "slept");
                });
            }
        });
        let after = daemon.server();
        assert_eq!(after.counters.calls["ok"], 50 * (round + 1));
        let starts = after.counters.starts - before;
        println!("{starts} starts for {} calls", 50 * (round + 1));
        assert!(starts <= 3, "{starts} starts");
    }
}

#[test]
fn a_tool_that_hangs_does_not_take_every_worker() {
    let chaos = chaos(&[]);
    let pool =
        "concurrency = 1\npool = { min_size = 4, max_size = 4, acquire_timeout = \"60s\" }\n";
    let daemon = Daemon::ready(&format!(
        "[servers.a]\ndefault = true\n{chaos}{pool}\n[servers.b]\n{chaos}{pool}"
    ));
    daemon.until("all are ready", |s| s.ready == 4);
    let session = Session::open(&daemon);
    let other = Session::open_at(&daemon, "/servers/b/mcp", mcp::LATEST);
    let hanging: Vec<_> = (0..30)
        .map(|n| session.start(&json!(format!("h{n}")), "slow", &json!({"ms": 1_500})))
        .collect();
    let full = daemon.until("all of them hang", |s| s.in_flight + s.queued == 30);
    assert_eq!(full.in_flight, 3, "one worker is left for others");
    for _ in 0..10 {
        echo(&session);
        echo(&other);
    }
    let still = daemon.server();
    assert!(still.queued > 0, "the calls that hang hang still");
    // They are answered all the same, each once.
    thread::scope(|scope| {
        for (n, call) in hanging.into_iter().enumerate() {
            scope.spawn(move || {
                let answer = mcp::response(call);
                assert_eq!(answer["id"], format!("h{n}"));
                assert_eq!(mcp::text(&answer), "slept");
            });
        }
    });
    assert_eq!(daemon.server().counters.calls["ok"], 40);
}

#[test]
fn calls_of_a_tool_that_hangs_wait_within_the_bounds_of_the_queue() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}concurrency = 1\nqueue_size = 8\n\
         pool = {{ min_size = 4, max_size = 4, acquire_timeout = \"60s\" }}\n",
        chaos(&[])
    ));
    daemon.until("all are ready", |s| s.ready == 4);
    let session = Session::open(&daemon);
    let hanging: Vec<_> = (0..30)
        .map(|n| session.start(&json!(n), "slow", &json!({"ms": 3_000})))
        .collect();
    let full = daemon.until("the others are refused", |s| {
        s.in_flight + s.queued < 30 && s.counters.refusals["overloaded"] >= 21
    });
    // A quarter of the queue is kept for other tools, as of the workers.
    assert_eq!((full.in_flight, full.queued), (3, 6), "{full:#?}");
    thread::scope(|scope| {
        let others: Vec<_> = (0..3).map(|_| scope.spawn(|| echo(&session))).collect();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
    // What waits aside is in the queue all the same: two of the others fit beside them.
    let other = json!({"steps": 1, "ms": 1_000});
    let others: Vec<_> = (0..4)
        .map(|n| session.start(&json!(format!("o{n}")), "progress", &other))
        .collect();
    let full = daemon.until("one does not fit", |s| {
        s.counters.refusals["overloaded"] >= 22
    });
    assert_eq!((full.in_flight, full.queued), (4, 8), "{full:#?}");
    let answers = others.into_iter().map(mcp::response);
    assert_eq!(
        answers
            .filter(|answer| answer.get("result").is_some())
            .count(),
        3
    );
    let answers = hanging.into_iter().map(mcp::response);
    let served = answers.filter(|answer| answer.get("result").is_some());
    assert_eq!(served.count(), 9);
}

#[test]
fn the_worker_of_a_session_is_all_its_own() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}state = \"session\"\nconcurrency = 4\npool = {{ min_size = 1, max_size = 2 }}\n",
        chaos(&[])
    ));
    let session = Session::open(&daemon);
    let calls: Vec<_> = (0..4)
        .map(|n| session.start(&json!(n), "slow", &json!({"ms": 1_000})))
        .collect();
    let full = daemon.until("all are at it", |s| s.in_flight == 4);
    assert_eq!(full.queued, 0);
    for call in calls {
        assert_eq!(mcp::text(&mcp::response(call)), "slept");
    }
}
