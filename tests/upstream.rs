//! A server with a `url`: mainstay as the client of an MCP server over HTTP, in both eras. The
//! upstream is another mainstayd with scripted workers, often with a broken network before it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, until};
use support::mcp::{self, Session, messages, modern, modern_call, response, text};
use support::toxic::{Proxy, Toxic};

/// `[servers.far]` at this address.
fn far(address: impl Display, more: &str) -> String {
    format!("[servers.far]\nurl = \"http://{address}/mcp\"\n{more}")
}

/// One session at the upstream, and nobody who looks whether it lives.
const ONLY: &str = "pool = { max_size = 1, health_check_interval = \"1h\" }\n";

/// A daemon with chaosworkers, and where they write what they did.
fn upstream() -> (Daemon, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let command = chaos(&["--log", ledger.to_str().unwrap()]);
    let servers = format!("[servers.near]\n{command}pool = {{ min_size = 1, max_size = 2 }}\n");
    (Daemon::start_in(dir, "", &servers).until_healthy(), ledger)
}

fn lines_with(ledger: &Path, word: &str) -> usize {
    let text = fs::read_to_string(ledger).unwrap_or_default();
    text.lines().filter(|line| line.contains(word)).count()
}

/// Calls until an answer is no error; how the calls before it fared is not this test's business.
fn until_served(session: &Session) {
    until("a call is served", || {
        let answer = session.call("echo", &json!({"text": "again"}));
        (answer.get("result").is_some()).then(|| assert_eq!(text(&answer), "again"))
    });
}

#[test]
fn both_eras_pass_through_with_all_that_belongs_to_a_call() {
    let (near, _) = upstream();
    let daemon = Daemon::ready(&far(near.address(), ""));
    assert_eq!(
        daemon.until("its era is known", |s| s.era != "unknown").era,
        "mixed"
    );

    let session = Session::open(&daemon);
    assert_eq!(session.text("echo", &json!({"text": "legacy"})), "legacy");
    let tools = response(session.request(&json!("t"), "tools/list", &json!({})));
    assert!(tools["result"]["tools"].as_array().unwrap().len() > 20);
    let error = session.call("fail", &json!({"kind": "rpc"}));
    assert!(error["error"]["code"].is_i64(), "{error}");
    assert_eq!(
        session.call("fail", &json!({"kind": "tool"}))["result"]["isError"],
        true
    );
    let steps = json!({"name": "progress", "arguments": {"steps": 3, "ms": 5},
        "_meta": {"progressToken": "mine"}});
    let progress = messages(session.request(&json!(9), "tools/call", &steps));
    assert_eq!(progress.len(), 4, "{progress:?}");
    assert_eq!(progress[0].json()["params"]["progressToken"], "mine");

    let address = daemon.address();
    let answer = response(modern_call(
        address,
        &json!("a"),
        "echo",
        &json!({"text": "modern"}),
    ));
    assert_eq!(
        (&answer["id"], text(&answer).as_str()),
        (&json!("a"), "modern")
    );
    let progress = messages(modern(address, &json!(10), "tools/call", &steps));
    assert_eq!(progress.len(), 4, "{progress:?}");
    let unknown = modern(address, &json!(1), "no/such", &json!({}));
    assert_eq!(unknown.status, 404, "the upstream's 404 is an answer");
    assert_eq!(unknown.json()["error"]["code"], -32601);
    assert_eq!(
        daemon.server().counters.deaths,
        0,
        "nobody took that for a lost session"
    );
}

#[test]
fn arguments_are_mirrored_in_headers_for_the_upstream() {
    let (near, _) = upstream();
    let daemon = Daemon::ready(&far(near.address(), "era = \"modern\"\n"));
    let arguments = json!({"region": "Z\u{fc}rich", "count": 7, "flag": true});
    let params = json!({"name": "mirrored", "arguments": arguments});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": mcp::with_meta(params)});
    let headers = [
        ("MCP-Protocol-Version", mcp::MODERN),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "mirrored"),
        ("Mcp-Param-Region", "=?base64?WsO8cmljaA==?="),
        ("Mcp-Param-Count", "7"),
        ("Mcp-Param-Flag", "true"),
    ];
    // The upstream refuses with -32020 what does not mirror, and so do we before we know the tools.
    until("the call is mirrored", || {
        let answer = mcp::post(daemon.address(), "/mcp", &headers, &body.to_string());
        let answer = response(answer);
        answer.get("result").is_some().then_some(())
    });
}

#[test]
fn a_cancel_arrives_in_the_way_of_each_era() {
    let (near, ledger) = upstream();
    let daemon = Daemon::ready(&far(near.address(), ""));
    let session = Session::open(&daemon);
    let slow = json!({"ms": 60_000});
    let call = session.start(&json!(1), "slow", &slow);
    until("the call is in flight", || {
        (lines_with(&ledger, "slow") == 1).then_some(())
    });
    session.notify("notifications/cancelled", &json!({"requestId": 1}));
    until("the worker is told", || {
        (lines_with(&ledger, "cancelled") == 1).then_some(())
    });
    drop(call);

    // With progress the head of the answer comes at once, and there is something to hang up on.
    let steps = json!({"name": "progress", "arguments": {"steps": 6000, "ms": 10},
        "_meta": {"progressToken": 1}});
    let mut call = modern(daemon.address(), &json!(2), "tools/call", &steps);
    assert!(call.event().is_some());
    call.hang_up();
    until("the worker is told", || {
        (lines_with(&ledger, "cancelled") == 2).then_some(())
    });
}

#[test]
fn a_session_outlives_the_upstream_it_is_for() {
    let (near, _) = upstream();
    let proxy = Proxy::start(near.address());
    let daemon = Daemon::ready(&far(proxy.address(), ONLY));
    let session = Session::open(&daemon);
    assert_eq!(session.text("echo", &json!({"text": "before"})), "before");
    let worker = daemon.server().workers[0].id;

    let (other, ledger) = upstream();
    proxy.retarget(other.address());
    drop(near);
    // The standalone stream finds out, without any call.
    daemon.until("another session is open at the upstream", |s| {
        s.workers
            .iter()
            .any(|w| w.id != worker && w.state == "ready")
    });
    until_served(&session);
    assert!(lines_with(&ledger, "again") >= 1);
    assert_eq!(session.delete(), 200, "it was one session all the time");
}

#[test]
fn a_short_outage_delays_a_call_and_does_not_fail_it() {
    let (near, ledger) = upstream();
    let proxy = Proxy::start(near.address());
    let daemon = Daemon::ready(&far(proxy.address(), "era = \"modern\"\n"));
    // What is open is cut first, so that every call needs a new connection.
    proxy.set(Toxic::Reset);
    until("old connections are gone", || {
        let idle = near.status().connections;
        (idle == 0).then_some(())
    });
    proxy.set(Toxic::Refuse);
    until("connections are refused", || {
        std::net::TcpStream::connect(proxy.address())
            .is_err()
            .then_some(())
    });
    let address = daemon.address();
    let calls: Vec<_> = (0..20)
        .map(|n| {
            thread::spawn(move || {
                response(modern_call(
                    address,
                    &json!(n),
                    "echo",
                    &json!({"text": "kept"}),
                ))
            })
        })
        .collect();
    daemon.until("all calls are in flight", |s| s.in_flight == 20);
    proxy.heal();
    for call in calls {
        assert_eq!(text(&call.join().unwrap()), "kept");
    }
    assert_eq!(lines_with(&ledger, "kept"), 20, "each was made once");
}

#[test]
fn a_broken_connection_is_an_unknown_outcome() {
    let (near, ledger) = upstream();
    let proxy = Proxy::start(near.address());
    let daemon = Daemon::ready(&far(proxy.address(), "era = \"modern\"\n"));
    let address = daemon.address();
    let call = thread::spawn(move || {
        response(modern_call(
            address,
            &json!(1),
            "slow",
            &json!({"ms": 60_000}),
        ))
    });
    until("the call is in flight", || {
        (lines_with(&ledger, "slow") == 1).then_some(())
    });
    proxy.set(Toxic::Reset);
    let answer = call.join().unwrap();
    assert_eq!(answer["error"]["code"], -31005, "{answer}");
    assert_eq!(answer["error"]["data"]["retryable"], false);
    proxy.heal();
    until("a call is served", || {
        let answer = response(modern_call(
            address,
            &json!(2),
            "echo",
            &json!({"text": "x"}),
        ));
        answer.get("result").map(|_| ())
    });
    assert_eq!(lines_with(&ledger, "slow"), 1, "it was not made again");
}

#[test]
fn a_call_that_may_be_made_twice_survives_a_broken_connection() {
    let (near, ledger) = upstream();
    let proxy = Proxy::start(near.address());
    let more = "era = \"modern\"\nretry_safe = [\"slow\"]\n";
    let daemon = Daemon::ready(&far(proxy.address(), more));
    let address = daemon.address();
    let slow = json!({"ms": 1000});
    let call = thread::spawn(move || response(modern_call(address, &json!(1), "slow", &slow)));
    until("the call is in flight", || {
        (lines_with(&ledger, "slow") == 1).then_some(())
    });
    proxy.cut();
    let answer = call.join().unwrap();
    assert!(answer.get("result").is_some(), "{answer}");
    assert_eq!(lines_with(&ledger, "slow"), 2, "it was made again");
}

#[test]
fn a_black_hole_opens_its_own_breaker_and_heals() {
    let (near, _) = upstream();
    let proxy = Proxy::start(near.address());
    let more = format!(
        "era = \"modern\"\ncall_timeout = \"300ms\"\ndefault = true\n\
         [servers.other]\n{}pool = {{ min_size = 1, max_size = 1 }}\n",
        chaos(&[])
    );
    let daemon = Daemon::ready(&far(proxy.address(), &more));
    let other = Session::open_at(&daemon, "/servers/other/mcp", mcp::LATEST);
    let far = || modern_call(daemon.address(), &json!(1), "echo", &json!({"text": "x"}));
    until("far is served", || {
        response(far()).get("result").map(|_| ())
    });
    proxy.set(Toxic::BlackHole);
    let reason = || response(far())["error"]["data"]["reason"].clone();
    // At once: after a moment the silent worker is out of service, and nothing is sent any more.
    let reasons: Vec<Value> = thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(reason)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(reasons.contains(&json!("deadline_exceeded")), "{reasons:?}");
    assert_eq!(reason(), "breaker_open");
    assert_eq!(other.text("echo", &json!({"text": "other"})), "other");
    proxy.heal();
    until("far is served again", || {
        response(far()).get("result").map(|_| ())
    });
}

#[test]
fn an_answer_cut_off_in_the_middle_is_lost() {
    let (near, _) = upstream();
    let proxy = Proxy::start(near.address());
    let daemon = Daemon::ready(&far(proxy.address(), "era = \"modern\"\n"));
    proxy.set(Toxic::Limit(20_000));
    let answer = modern_call(
        daemon.address(),
        &json!(1),
        "huge",
        &json!({"bytes": 100_000}),
    );
    let answer = response(answer);
    assert_eq!(answer["error"]["code"], -31005, "{answer}");
}

#[test]
fn a_black_hole_ends_with_the_response_timeout() {
    let (near, _) = upstream();
    let proxy = Proxy::start(near.address());
    let more = "era = \"modern\"\n[servers.far.upstream]\nresponse_timeout = \"1s\"\n";
    let daemon = Daemon::ready(&far(proxy.address(), more));
    proxy.set(Toxic::BlackHole);
    let echo = json!({"text": "x"});
    let answer = response(modern_call(daemon.address(), &json!(1), "echo", &echo));
    assert_eq!(answer["error"]["code"], -31005, "{answer}");
    let said = answer["error"]["message"].as_str().unwrap();
    assert!(said.contains("did not answer within 1 s"), "{said}");
    proxy.heal();
    until("a call is served", || {
        let answer = response(modern_call(daemon.address(), &json!(2), "echo", &echo));
        answer.get("result").map(|_| ())
    });
}

#[test]
fn slow_networks_are_waited_for() {
    let (near, _) = upstream();
    let proxy = Proxy::start(near.address());
    let daemon = Daemon::ready(&far(proxy.address(), ""));
    let session = Session::open(&daemon);
    proxy.set(Toxic::Latency(Duration::from_millis(100)));
    assert_eq!(session.text("echo", &json!({"text": "late"})), "late");
    proxy.set(Toxic::Slow(100_000));
    let size = session.text("huge", &json!({"bytes": 50_000})).len();
    assert!(size >= 50_000);
}

#[test]
fn an_upstream_that_is_down_is_said_to_be_and_comes_back() {
    let (near, _) = upstream();
    let proxy = Proxy::start(near.address());
    proxy.set(Toxic::Refuse);
    let more = "recovery = { max_restart_attempts = 1 }\n[servers.far.upstream]\nconnect_timeout = \"200ms\"\n";
    let daemon = Daemon::start(&far(proxy.address(), more));
    let down = daemon.until("it is down", |s| s.last_failure.is_some());
    let why = format!("{down:?}");
    assert!(
        why.contains("cannot be reached") && why.contains("refused"),
        "{why}"
    );
    proxy.heal();
    let daemon = daemon.until_healthy();
    assert_eq!(
        Session::open(&daemon).text("echo", &json!({"text": "up"})),
        "up"
    );
}

#[test]
fn subscriptions_pass_through() {
    let (near, _) = upstream();
    let proxy = Proxy::start(near.address());
    let daemon = Daemon::ready(&far(proxy.address(), &format!("era = \"modern\"\n{ONLY}")));
    let filter = json!({"notifications": {"toolsListChanged": true}});
    let mut listen = modern(
        daemon.address(),
        &json!("l"),
        "subscriptions/listen",
        &filter,
    );
    let first = listen.event().unwrap().json();
    assert_eq!(
        first["method"], "notifications/subscriptions/acknowledged",
        "{first}"
    );
    let made: Value = response(modern_call(
        daemon.address(),
        &json!(2),
        "list_changed",
        &json!({}),
    ));
    assert!(made.get("result").is_some(), "{made}");
    let news = listen.event().unwrap().json();
    assert_eq!(news["method"], "notifications/tools/list_changed", "{news}");
    // A break is not noticed by the client.
    proxy.cut();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Until it is subscribed again the news is for nobody.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                response(modern_call(
                    daemon.address(),
                    &json!(3),
                    "list_changed",
                    &json!({}),
                ));
            }
        });
        let news = listen.event().map(|event| event.json());
        over.store(true, Ordering::Relaxed);
        assert_eq!(news.unwrap()["method"], "notifications/tools/list_changed");
    });
    listen.hang_up();
}

#[test]
fn requests_of_the_upstream_reach_the_client_and_its_answer_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let servers = format!(
        "[servers.near]\n{}state = \"session\"\npool = {{ min_size = 1, max_size = 4 }}\n",
        chaos(&[])
    );
    let near = Daemon::start_in(dir, "", &servers).until_healthy();
    let daemon = Daemon::ready(&far(near.address(), "state = \"session\"\n"));
    let session = Session::open(&daemon);
    let mut call = session.start(&json!(1), "ask_roots", &json!({}));
    let asked = loop {
        let event = call.event().unwrap();
        if !event.data.is_empty() {
            break event.json();
        }
    };
    assert_eq!(asked["method"], "roots/list", "{asked}");
    let roots = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": [{"uri": "file:///here"}]}});
    assert_eq!(session.post(&roots.to_string()).status, 202);
    let answer = response(call);
    assert!(text(&answer).contains("file:///here"), "{answer}");
}
