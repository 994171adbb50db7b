//! Servers that heal are found again long before the wait of their breaker is over: an upstream behind
//! a network that swallows everything, whose other victims notice nothing; one that everybody comes
//! back to at once; a worker that lives and did not answer calls.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mainstay::broker::snapshot::BreakerStatus;
use serde_json::json;
use support::daemon::{Daemon, chaos, until};
use support::http::PATIENCE;
use support::mcp::{LATEST, Session, modern_call, response};
use support::toxic::{Proxy, Toxic};

fn breaker(daemon: &Daemon) -> BreakerStatus {
    let breakers = daemon.server().breakers;
    breakers.into_iter().find(|b| b.tool.is_none()).unwrap()
}

#[test]
fn a_black_hole_is_left_alone_and_found_again_when_it_heals() {
    let near = Daemon::ready(&format!(
        "[servers.near]\n{}pool = {{ min_size = 1, max_size = 2 }}\n",
        chaos(&[])
    ));
    let proxy = Proxy::start(near.address());
    let daemon = Daemon::ready(&format!(
        "[servers.far]\nurl = \"http://{}/mcp\"\nera = \"modern\"\ncall_timeout = \"300ms\"\n\
         default = true\nbreaker = {{ recovery_timeout = \"60s\" }}\n\
         [servers.other]\n{}pool = {{ min_size = 1, max_size = 1 }}\n",
        proxy.address(),
        chaos(&[])
    ));
    let far = || {
        let arguments = json!({"text": "far"});
        response(modern_call(daemon.address(), &json!(1), "echo", &arguments))
    };
    let served = || far().get("result").map(|_| ());
    until("far is served", served);
    let (over, others) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (to_open, wait, to_serve) = thread::scope(|scope| {
        let other = scope.spawn(|| {
            let session = Session::open_at(&daemon, "/servers/other/mcp", LATEST);
            let start = Instant::now();
            while !over.load(Ordering::Relaxed) && start.elapsed() < 3 * PATIENCE {
                let text = others.fetch_add(1, Ordering::Relaxed).to_string();
                assert_eq!(session.text("echo", &json!({"text": text})), text);
                thread::sleep(Duration::from_millis(10));
            }
        });
        proxy.set(Toxic::BlackHole);
        let start = Instant::now();
        let mut lost = 0;
        let refused = until("the breaker refuses", || {
            let answer = far();
            let data = answer["error"]["data"].clone();
            lost += usize::from(data["reason"] == "deadline_exceeded");
            (data["reason"] == "breaker_open").then_some(data)
        });
        let to_open = start.elapsed();
        assert!(lost <= 10, "{lost} calls were lost before it opened");
        assert!(refused["retryAfterMs"].as_u64().unwrap() > 0, "{refused}");
        // Calls that try it in vain make it wait for longer and longer.
        let wait = until("the breaker waits for long", || {
            let _ = far();
            breaker(&daemon).retry_in_ms.filter(|ms| *ms >= 4000)
        });
        let before = others.load(Ordering::Relaxed);
        until("others are served meanwhile", || {
            (others.load(Ordering::Relaxed) > before + 3).then_some(())
        });
        proxy.heal();
        let start = Instant::now();
        until("far is served again", served);
        let to_serve = start.elapsed();
        over.store(true, Ordering::Relaxed);
        other.join().unwrap();
        (to_open, Duration::from_millis(wait), to_serve)
    });
    println!(
        "open after {to_open:.2?}, served {to_serve:.2?} after healing, its own wait was {wait:?}"
    );
    let log = daemon.log();
    assert!(log.contains("an active probe was answered"), "{log}");
    assert!(to_serve < wait, "nobody looked before the wait was over");
    until("the breaker is closed again", || {
        let _ = far();
        (breaker(&daemon).state == "closed").then_some(())
    });
    let serving = daemon.status();
    let other = serving.servers.iter().find(|s| s.name == "other").unwrap();
    let calls = other.counters.calls.iter().filter(|(_, count)| **count > 0);
    let outcomes: Vec<_> = calls.map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, ["ok"], "of other");
}

#[test]
fn callers_that_come_all_at_once_when_it_heals_do_not_open_it_again() {
    let near = Daemon::ready(&format!(
        "[servers.near]\n{}concurrency = 4\npool = {{ min_size = 1, max_size = 1 }}\n",
        chaos(&[])
    ));
    let proxy = Proxy::start(near.address());
    let daemon = Daemon::ready(&format!(
        "[servers.far]\nurl = \"http://{}/mcp\"\nera = \"modern\"\ncall_timeout = \"5s\"\n",
        proxy.address(),
    ));
    let call = || {
        let arguments = json!({"ms": 50});
        response(modern_call(daemon.address(), &json!(1), "slow", &arguments))
    };
    until("far is served", || call().get("result").map(|_| ()));
    proxy.set(Toxic::Reset);
    until("the breaker opens", || {
        let _ = call();
        (breaker(&daemon).state == "open").then_some(())
    });
    let trips = breaker(&daemon).trips;
    proxy.heal();
    // Each comes back until it is served, when it is told to, and twice as many wait all the time as
    // the upstream can take.
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let start = Instant::now();
                loop {
                    let answer = call();
                    if answer.get("result").is_some() {
                        return;
                    }
                    let data = &answer["error"]["data"];
                    let hint = data["retryAfterMs"].as_u64();
                    let hint = hint.unwrap_or_else(|| panic!("no hint: {answer}"));
                    assert!(start.elapsed() < Duration::from_secs(30), "{answer}");
                    thread::sleep(Duration::from_millis(hint));
                }
            });
        }
    });
    let now = breaker(&daemon);
    assert_eq!(
        (now.state.as_str(), now.trips),
        ("closed", trips),
        "{now:?}"
    );
}

#[test]
fn a_worker_that_lives_is_asked_while_the_breaker_waits() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}state = \"shared\"\ncall_timeout = \"100ms\"\n",
        chaos(&[])
    ));
    let starts = daemon.server().counters.starts;
    let session = Session::open(&daemon);
    // Each probe fails, so that the breaker wants to wait longer than the patrol does.
    until("it was asked for a sign of life", || {
        let _ = session.call("hang", &json!({}));
        let told = daemon.log().contains("an active probe was answered");
        told.then_some(())
    });
    until("it serves", || {
        let answer = session.call("echo", &json!({"text": "again"}));
        answer.get("result").map(|_| ())
    });
    assert_eq!(daemon.server().counters.starts, starts, "the worker stayed");
}
