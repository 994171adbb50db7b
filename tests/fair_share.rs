//! The queue before the workers, seen by those who wait in it: a flood of one principal does not
//! hold up another, the queue has bounds in calls and in bytes, and who is refused is told when to
//! come back, truthfully.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread::{self, Scope, ScopedJoinHandle, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::daemon::{Daemon, chaos};
use support::http::PATIENCE;
use support::mcp::{self, MODERN};
use tempfile::TempDir;

const ALICE: &str = "alice";
const BOB: &str = "bob";
const CAROL: &str = "carol";

/// A daemon with one worker that takes one call at a time, and three principals whose tokens are
/// their names; carol's calls matter least.
fn daemon(acquire_timeout: &str, queue: &str) -> Daemon {
    let dir = TempDir::new().unwrap();
    let ledger = dir.path().join("ledger");
    let mut servers = String::from("[rate_limit]\nrate = 0\n");
    for (name, class) in [(ALICE, "normal"), (BOB, "normal"), (CAROL, "background")] {
        let hash = Sha256::digest(name.as_bytes());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(
            servers,
            "[[principals]]\nname = {name:?}\ntoken_sha256 = {hash:?}\nclass = {class:?}\n"
        )
        .unwrap();
    }
    let command = chaos(&["--log", ledger.to_str().unwrap()]);
    let pool =
        format!("pool = {{ min_size = 1, max_size = 1, acquire_timeout = {acquire_timeout:?} }}\n");
    write!(
        servers,
        "[servers.a]\n{command}concurrency = 1\n{queue}{pool}"
    )
    .unwrap();
    Daemon::start_in(dir, "max_body_bytes = \"1M\"\n", &servers).until_healthy()
}

/// A call of `slow`; the whole answer. `fill` makes it large.
fn slow(daemon: &Daemon, who: &str, ms: u64, fill: &str) -> Value {
    let arguments = json!({"ms": ms, "who": who, "fill": fill});
    let params = mcp::with_meta(json!({"name": "slow", "arguments": arguments}));
    let body = json!({"jsonrpc": "2.0", "id": who, "method": "tools/call", "params": params});
    let token = format!("Bearer {who}");
    let headers = [
        ("MCP-Protocol-Version", MODERN),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "slow"),
        ("Authorization", token.as_str()),
    ];
    let answer = mcp::post(daemon.address(), "/mcp", &headers, &body.to_string());
    assert_eq!(answer.status, 200);
    let answer = mcp::response(answer);
    assert_eq!(answer["id"], who);
    answer
}

/// Whether the call was served; if not, it was refused as it should be.
fn served(answer: &Value) -> bool {
    if answer.get("error").is_none() {
        assert_eq!(mcp::text(answer), "slept");
        return true;
    }
    retry_after(answer);
    false
}

/// When the refused call may be made again.
fn retry_after(answer: &Value) -> Duration {
    let error = &answer["error"];
    assert_eq!(error["code"], -31003, "{answer}");
    assert_eq!(error["data"]["reason"], "overloaded", "{answer}");
    assert_eq!(error["data"]["retryable"], true, "{answer}");
    let millis = error["data"]["retryAfterMs"].as_u64().unwrap();
    assert!((10..=60_000).contains(&millis), "{answer}");
    Duration::from_millis(millis)
}

type Calls<'s> = Vec<ScopedJoinHandle<'s, bool>>;

/// So many calls at the same time.
fn flood<'s>(
    scope: &'s Scope<'s, '_>,
    daemon: &'s Daemon,
    who: &'static str,
    count: usize,
    ms: u64,
    fill: &'s str,
) -> Calls<'s> {
    let one = move || served(&slow(daemon, who, ms, fill));
    (0..count).map(|_| scope.spawn(one)).collect()
}

/// How many of them were served.
fn count(calls: Calls<'_>) -> usize {
    let outcomes = calls.into_iter().map(|call| call.join().unwrap());
    outcomes.filter(|served| *served).count()
}

/// Whose calls the worker got, in its order.
fn order(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("ledger")).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok());
    lines
        .filter_map(|l| Some(l["arguments"]["who"].as_str()?.to_owned()))
        .collect()
}

#[test]
fn a_flood_does_not_hold_up_another_principal() {
    let daemon = daemon("60s", "queue_size = 300\n");
    thread::scope(|scope| {
        let flood = flood(scope, &daemon, ALICE, 200, 20, "");
        daemon.until("most of them wait", |s| s.queued >= 150);
        for call in 0..10 {
            let before = order(daemon.dir()).len();
            assert!(daemon.server().queued >= 20, "the flood is over too soon");
            assert!(served(&slow(&daemon, BOB, 1, "")));
            let all = order(daemon.dir());
            let place = all.iter().rposition(|who| who == BOB).unwrap();
            // One is at the worker, one has its turn first, and some pass on the way.
            assert!(
                place - before <= 15,
                "call {call}: {} went first",
                place - before
            );
        }
        assert_eq!(count(flood), 200, "nobody is refused, the queue has room");
    });
}

#[test]
fn the_queue_is_bounded_in_calls_and_the_flooder_is_refused() {
    let daemon = daemon("60s", "queue_size = 20\n");
    thread::scope(|scope| {
        let flood = flood(scope, &daemon, ALICE, 100, 100, "");
        daemon.until("the queue is full", |s| s.queued == 20);
        for _ in 0..5 {
            assert!(daemon.server().queued <= 20);
            assert!(
                served(&slow(&daemon, BOB, 1, "")),
                "there is always room for one of bob's"
            );
        }
        let served = count(flood);
        assert!((16..100).contains(&served), "{served}");
        let refused = daemon.server().counters.refusals["overloaded"];
        assert_eq!(refused, 100 - served as u64);
        assert_eq!(
            order(daemon.dir()).len(),
            served + 5,
            "who was refused was not executed"
        );
    });
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    let daemon = daemon("60s", "queue_size = 1000\nqueue_bytes = \"1M\"\n");
    let fill = "x".repeat(100_000);
    thread::scope(|scope| {
        let busy = flood(scope, &daemon, BOB, 1, 2_000, "");
        daemon.until("the worker is busy", |s| s.in_flight == 1);
        let flood = flood(scope, &daemon, ALICE, 30, 1, &fill);
        daemon.until("those that do not fit are refused", |s| {
            assert!(s.queued <= 10, "{} wait", s.queued);
            s.queued + usize::try_from(s.counters.refusals["overloaded"]).unwrap() == 30
        });
        assert!(served(&slow(&daemon, BOB, 1, "")), "a small one fits");
        assert_eq!(count(flood), 10);
        assert_eq!(count(busy), 1);
    });
}

#[test]
fn what_matters_least_is_shed_first() {
    let daemon = daemon("60s", "queue_size = 6\n");
    thread::scope(|scope| {
        let busy = flood(scope, &daemon, BOB, 1, 2_000, "");
        daemon.until("the worker is busy", |s| s.in_flight == 1);
        let background = flood(scope, &daemon, CAROL, 6, 1, "");
        daemon.until("the queue is full", |s| s.queued == 6);
        let normal = flood(scope, &daemon, ALICE, 4, 1, "");
        daemon.until("four made room", |s| s.counters.refusals["overloaded"] == 4);
        assert!(
            !served(&slow(&daemon, CAROL, 1, "")),
            "and none of them gets back in"
        );
        assert_eq!((count(normal), count(background), count(busy)), (4, 2, 1));
        let order = order(daemon.dir());
        assert_eq!(order[1..5], [ALICE; 4], "what matters more goes first");
    });
}

#[test]
fn who_comes_back_when_told_gets_in() {
    let daemon = daemon("2s", "queue_size = 5\n");
    let start = Instant::now();
    thread::scope(|scope| {
        let obey = || {
            for tries in 1.. {
                let answer = slow(&daemon, ALICE, 20, "");
                if served(&answer) {
                    return tries;
                }
                assert!(start.elapsed() < PATIENCE, "not in after {tries} tries");
                // As retry libraries do it: not all at the same moment.
                let wait = retry_after(&answer);
                sleep(
                    wait + wait.mul_f64(f64::from(start.elapsed().subsec_micros() % 100) / 200.0),
                );
            }
            unreachable!()
        };
        let clients: Vec<_> = (0..40).map(|_| scope.spawn(obey)).collect();
        let tries: Vec<u32> = clients.into_iter().map(|c| c.join().unwrap()).collect();
        println!("tries: {tries:?}");
        assert!(tries.iter().any(|tries| *tries > 1), "nobody was refused");
    });
    assert_eq!(order(daemon.dir()).len(), 40);
}
