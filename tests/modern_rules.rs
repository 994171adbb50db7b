//! The modern era (2026-07-28) over the wire: the ladder of checks step by step, the status map,
//! the form of the answer, cancelling by going away, subscriptions, and what becomes of a client
//! whose server is of the other era.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, until};
use support::http::{self, Response};
use support::mcp::{self, ACCEPT, JSON, MODERN, Session, modern, modern_call, with_meta};

const POOL: &str = "pool = { min_size = 1, max_size = 2 }\n";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

fn daemon(arguments: &[&str]) -> Daemon {
    Daemon::ready(&format!("[servers.a]\n{}{POOL}", chaos(arguments)))
}

fn daemon_with_ledger(server: &str) -> (Daemon, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let command = chaos(&["--log", ledger.to_str().unwrap()]);
    let servers = format!("[servers.a]\n{command}{server}");
    (Daemon::start_in(dir, "", &servers).until_healthy(), ledger)
}

fn lines_with(ledger: &Path, word: &str) -> usize {
    let text = fs::read_to_string(ledger).unwrap_or_default();
    text.lines().filter(|line| line.contains(word)).count()
}

/// Status and code of an error; the id must be the request's.
fn error_of(answer: Response, id: &Value) -> (u16, i64) {
    let status = answer.status;
    assert_eq!(answer.header("mcp-session-id"), None);
    let body = answer.json();
    assert_eq!(&body["id"], id, "{body}");
    let code = body["error"]["code"].as_i64();
    (status, code.unwrap_or_else(|| panic!("no code in {body}")))
}

/// A body that passes every check, to be spoilt by the tests.
fn good(id: &Value) -> Value {
    let params = with_meta(json!({"name": "echo", "arguments": {"text": "x"}}));
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

const HEADERS: [(&str, &str); 5] = [
    ACCEPT,
    JSON,
    ("MCP-Protocol-Version", MODERN),
    ("Mcp-Method", "tools/call"),
    ("Mcp-Name", "echo"),
];

/// The good headers, with one replaced, or left out if `value` is empty.
fn with<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut headers = HEADERS.to_vec();
    headers.retain(|(n, _)| *n != name);
    headers.extend((!value.is_empty()).then_some((name, value)));
    headers
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one table, read beside the specification"
)]
fn each_step_of_the_ladder_has_its_status_and_code() {
    let daemon = daemon(&[]);
    let id = json!(5);
    let body = good(&id);
    let post = |headers: &[(&str, &str)], body: &str| {
        http::send(
            daemon.address(),
            "POST",
            "/mcp",
            headers,
            Some(body.as_bytes()),
        )
    };
    let text = body.to_string();
    let ok = post(&HEADERS, &text);
    assert_eq!(
        (ok.status, ok.header("content-type")),
        (200, Some("application/json"))
    );

    // 1: Host and Origin.
    for (name, value) in [("Host", "evil.example"), ("Origin", "http://evil.example")] {
        assert_eq!(post(&with(name, value), &text).status, 403, "{name}");
    }
    // 2: the method. GET and DELETE have only the header to tell the era.
    for method in ["GET", "DELETE", "PUT"] {
        let answer = http::send(daemon.address(), method, "/mcp", &HEADERS, None);
        assert_eq!(answer.status, 405, "{method}");
        assert!(!answer.header("allow").unwrap().contains("GET"));
    }
    // 3, and the media type.
    for accept in ["application/json", "text/event-stream", ""] {
        assert_eq!(
            post(&with("Accept", accept), &text).status,
            406,
            "{accept:?}"
        );
    }
    assert_eq!(post(&with("Content-Type", "text/plain"), &text).status, 415);
    // 4 and 5.
    for (bad, code) in [("{", -32700), ("", -32700), ("[]", -32600), ("7", -32600)] {
        assert_eq!(
            error_of(post(&HEADERS, bad), &Value::Null),
            (400, code),
            "{bad:?}"
        );
    }
    let batch = format!("[{text}]");
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    for bad in [batch.as_str(), response] {
        assert_eq!(
            error_of(post(&HEADERS, bad), &Value::Null),
            (400, -32600),
            "{bad:?}"
        );
    }
    // 6: whatever has no id is a notification.
    let note =
        json!({"jsonrpc": "2.0", "method": "notifications/x", "params": with_meta(json!({}))});
    let answer = post(&with("Mcp-Method", "notifications/x"), &note.to_string());
    assert_eq!((answer.status, answer.text().as_str()), (202, ""));
    // 7: no routing header twice.
    for (name, value) in &HEADERS[2..] {
        let mut twice = HEADERS.to_vec();
        twice.push((name, value));
        assert_eq!(
            error_of(post(&twice, &text), &id),
            (400, -32020),
            "{name} twice"
        );
    }
    // 8: the metadata and its required keys.
    let mut without = vec![];
    for key in [VERSION, CAPABILITIES] {
        let mut spoilt = body.clone();
        spoilt["params"]["_meta"]
            .as_object_mut()
            .unwrap()
            .remove(key);
        without.push(spoilt.clone());
        spoilt["params"]["_meta"][key] = json!(7);
        without.push(spoilt);
    }
    let mut bare = body.clone();
    bare["params"].as_object_mut().unwrap().remove("_meta");
    without.push(bare);
    let mut empty = body.clone();
    empty.as_object_mut().unwrap().remove("params");
    without.push(empty);
    for spoilt in without {
        let answer = post(&HEADERS, &spoilt.to_string());
        assert_eq!(error_of(answer, &id), (400, -32602), "{spoilt}");
    }
    // 9 and 10: the header equals the metadata, then the version is supported.
    let mut future = body.clone();
    future["params"]["_meta"][VERSION] = json!("2099-01-01");
    let future = future.to_string();
    for header in [MODERN, "", "2025-11-25"] {
        let answer = post(&with("MCP-Protocol-Version", header), &future);
        assert_eq!(error_of(answer, &id), (400, -32020), "{header:?}");
    }
    for header in ["", "2099-01-01"] {
        let answer = post(&with("MCP-Protocol-Version", header), &text);
        assert_eq!(error_of(answer, &id), (400, -32020), "{header:?}");
    }
    let answer = post(&with("MCP-Protocol-Version", "2099-01-01"), &future);
    let status = answer.status;
    let error = answer.json()["error"].clone();
    assert_eq!((status, &error["code"]), (400, &json!(-32022)));
    assert_eq!(
        error["data"],
        json!({"supported": [MODERN], "requested": "2099-01-01"})
    );
    // 11: method and name.
    for (name, value) in [
        ("Mcp-Method", ""),
        ("Mcp-Method", "tools/list"),
        ("Mcp-Method", "TOOLS/CALL"),
        ("Mcp-Name", ""),
        ("Mcp-Name", "Echo"),
        ("Mcp-Name", "slow"),
        ("Mcp-Name", "=?base64?!!!?="),
        ("Mcp-Name", "=?base64?c2xvdw==?="),
    ] {
        assert_eq!(
            error_of(post(&with(name, value), &text), &id),
            (400, -32020),
            "{name}: {value}"
        );
    }
    for value in ["=?base64?ZWNobw==?=", "  echo\t"] {
        assert_eq!(
            post(&with("Mcp-Name", value), &text).status,
            200,
            "{value:?}"
        );
    }
    let lower: Vec<_> = HEADERS
        .iter()
        .map(|(n, v)| (n.to_ascii_lowercase(), *v))
        .collect();
    let lower: Vec<_> = lower.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    assert_eq!(
        post(&lower, &text).status,
        200,
        "names are case-insensitive"
    );
    // 13: what the era has removed.
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
    ] {
        let answer = modern(
            daemon.address(),
            &id,
            method,
            &json!({"uri": "chaos://state"}),
        );
        assert_eq!(error_of(answer, &id), (404, -32601), "{method}");
    }
    assert_eq!(lower.len(), HEADERS.len());
    assert_eq!(
        daemon.server().counters.calls["ok"],
        4,
        "only the good ones were calls"
    );
}

#[test]
fn names_that_no_header_can_hold_are_encoded() {
    let daemon = daemon(&[]);
    let uri = "chaos://caf\u{e9}";
    let params = with_meta(json!({"uri": uri}));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": params});
    let read = |name: &str| {
        let headers = [
            ("MCP-Protocol-Version", MODERN),
            ("Mcp-Method", "resources/read"),
            ("Mcp-Name", name),
        ];
        mcp::post(daemon.address(), "/mcp", &headers, &body.to_string())
    };
    let answer = read("=?base64?Y2hhb3M6Ly9jYWbDqQ==?=");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["result"]["contents"][0]["uri"], uri);
    assert_eq!(error_of(read("chaos://cafe"), &json!(1)), (400, -32020));
}

#[test]
fn mirrored_arguments_must_equal_their_headers() {
    let daemon = daemon(&[]);
    let post = |arguments: &Value, more: &[(&str, &str)]| {
        let params = with_meta(json!({"name": "mirrored", "arguments": arguments}));
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let mut headers = vec![
            ("MCP-Protocol-Version", MODERN),
            ("Mcp-Method", "tools/call"),
            ("Mcp-Name", "mirrored"),
        ];
        headers.extend_from_slice(more);
        mcp::post(daemon.address(), "/mcp", &headers, &body.to_string())
    };
    let region = ("Mcp-Param-Region", "north");
    // The daemon reads the tools of a worker when it is ready.
    let wrong = [("Mcp-Param-Region", "south")];
    until("the rules are known", || {
        (post(&json!({"region": "north"}), &wrong).status == 400).then_some(())
    });
    let all = json!({"region": "north", "count": 7, "flag": true});
    let given = [region, ("mcp-param-count", "7"), ("Mcp-Param-Flag", "true")];
    let good: [(&Value, &[(&str, &str)]); 8] = [
        (&all, &given),
        (
            &json!({"region": "north"}),
            &[("MCP-PARAM-REGION", " north ")],
        ),
        (
            &json!({"region": "north"}),
            &[("Mcp-Param-Region", "=?base64?bm9ydGg=?=")],
        ),
        (
            &json!({"region": "\u{e9}"}),
            &[("Mcp-Param-Region", "=?base64?w6k=?=")],
        ),
        (&json!({"region": null}), &[]),
        (&json!({}), &[]),
        (&json!({"count": 7}), &[("Mcp-Param-Count", "7.0")]),
        (
            &json!({"other": "x"}),
            &[("Mcp-Param-Other", "not a rule of this tool")],
        ),
    ];
    for (arguments, headers) in good {
        let answer = post(arguments, headers);
        assert_eq!(answer.status, 200, "{arguments} {headers:?}");
        let said: Value = serde_json::from_str(&mcp::text(&answer.json())).unwrap();
        assert_eq!(&said, arguments);
    }
    let bad: [(&Value, &[(&str, &str)]); 9] = [
        (&all, &given[..2]),
        (&json!({"region": "north"}), &[]),
        (
            &json!({"region": "north"}),
            &[("Mcp-Param-Region", "North")],
        ),
        (&json!({"region": "north"}), &[region, region]),
        (&json!({}), &[region]),
        (&json!({"region": null}), &[("Mcp-Param-Region", "null")]),
        (&json!({"count": 7}), &[("Mcp-Param-Count", "8")]),
        (&json!({"count": 7}), &[("Mcp-Param-Count", "seven")]),
        (
            &json!({"region": "x"}),
            &[("Mcp-Param-Region", "=?base64?///?=")],
        ),
    ];
    for (arguments, headers) in bad {
        let answer = post(arguments, headers);
        assert_eq!(
            error_of(answer, &json!(1)),
            (400, -32020),
            "{arguments} {headers:?}"
        );
    }
}

#[test]
fn errors_of_workers_get_the_status_of_their_code() {
    let daemon = daemon(&[]);
    for (error, status) in [
        (json!({"code": -32700, "message": ""}), 400),
        (json!({"code": -32600, "message": ""}), 400),
        (json!({"code": -32602, "message": ""}), 400),
        (json!({"code": -32020, "message": ""}), 400),
        (
            json!({"code": -32021, "message": "", "data": {"requiredCapabilities": {}}}),
            400,
        ),
        (json!({"code": -32022, "message": ""}), 400),
        (json!({"code": -32601, "message": ""}), 404),
        (json!({"code": -32603, "message": ""}), 200),
        (json!({"code": -32002, "message": ""}), 200),
        (json!({"code": -31003, "message": ""}), 200),
        (json!({"code": 7, "message": "", "x": [1.0]}), 200),
    ] {
        let answer = modern(daemon.address(), &json!("e"), "bytes/error", &error);
        assert_eq!(answer.status, status, "{error}");
        let said = answer.json();
        assert_eq!(said["error"]["code"], error["code"]);
        assert_eq!(said["id"], "e");
        // A legacy client gets every error as an answer.
        let legacy = Session::open(&daemon).request(&json!(1), "bytes/error", &error);
        assert_eq!(mcp::response(legacy)["error"], error);
    }
    let unknown = modern(daemon.address(), &json!(1), "no/such/method", &json!({}));
    assert_eq!(error_of(unknown, &json!(1)), (404, -32601));
    let unknown = modern_call(daemon.address(), &json!(1), "no-such-tool", &json!({}));
    assert_eq!(error_of(unknown, &json!(1)), (400, -32602));
}

#[test]
fn the_first_message_decides_between_json_and_a_stream() {
    let daemon = Daemon::start_with(
        "keepalive_interval = \"100ms\"",
        &format!("[servers.a]\n{}{POOL}", chaos(&[])),
    )
    .until_healthy();
    let quick = modern_call(daemon.address(), &json!(0), "echo", &json!({"text": "x"}));
    assert_eq!(quick.header("content-type"), Some("application/json"));
    assert_eq!(quick.json()["result"]["resultType"], "complete");

    let params = json!({"name": "progress", "arguments": {"steps": 2, "ms": 1}, "_meta": {"progressToken": "p"}});
    let stream = modern(daemon.address(), &json!("s"), "tools/call", &params);
    assert!(stream.is_stream());
    let events = stream.events();
    assert!(
        events.iter().all(|e| e.id.is_none() && e.retry.is_none()),
        "{events:?}"
    );
    let steps: Vec<_> = events
        .iter()
        .map(|e| e.json()["params"]["progress"].clone())
        .collect();
    assert_eq!(steps, [json!(1), json!(2), Value::Null]);
    assert_eq!(events[0].json()["params"]["progressToken"], "p");
    assert_eq!(events[2].json()["id"], "s");

    let mut silent = modern_call(daemon.address(), &json!(1), "slow", &json!({"ms": 500}));
    assert!(silent.is_stream(), "after the first silence");
    assert!(silent.block().unwrap().starts_with(':'));
    assert_eq!(mcp::text(&mcp::response(silent)), "slept");

    // Log messages only for whom asked.
    let log = json!({"name": "log", "arguments": {"lines": 1}});
    assert!(!modern(daemon.address(), &json!(2), "tools/call", &log).is_stream());
    let mut wanted = log.clone();
    wanted["_meta"] = json!({"io.modelcontextprotocol/logLevel": "info"});
    let events = modern(daemon.address(), &json!(3), "tools/call", &wanted).events();
    assert_eq!(events[0].json()["method"], "notifications/message");
    assert_eq!(events.len(), 2);
}

#[test]
fn sessions_are_ignored_and_never_made() {
    let daemon = daemon(&[]);
    let mut headers = HEADERS.to_vec();
    headers.extend([
        ("Mcp-Session-Id", "no such session"),
        ("Last-Event-ID", "0-0"),
    ]);
    let body = good(&json!(1)).to_string();
    let answer = http::send(
        daemon.address(),
        "POST",
        "/mcp",
        &headers,
        Some(body.as_bytes()),
    );
    assert_eq!(
        (answer.status, answer.header("mcp-session-id")),
        (200, None)
    );
    let answer = modern(daemon.address(), &json!(1), "server/discover", &json!({}));
    assert_eq!(
        (answer.status, answer.header("mcp-session-id")),
        (200, None)
    );
    let found = answer.json()["result"].clone();
    assert_eq!(found["supportedVersions"], json!([MODERN]));
    assert_eq!(daemon.server().sessions, 0);
}

#[test]
fn the_body_alone_makes_a_request_modern() {
    let daemon = daemon(&[]);
    // Without the header: a modern request that lacks one, not a legacy one without a session.
    let body = good(&json!(1)).to_string();
    let answer = mcp::post(daemon.address(), "/mcp", &[], &body);
    assert_eq!(error_of(answer, &json!(1)), (400, -32020));
    // The key elsewhere than in the metadata means nothing.
    let params = json!({"name": "echo", "arguments": {VERSION: MODERN, "text": "legacy"}});
    let session = Session::open(&daemon);
    let answer = mcp::response(session.request(&json!(1), "tools/call", &params));
    assert_eq!(mcp::text(&answer), "legacy");
}

#[test]
fn going_away_cancels() {
    let (daemon, ledger) =
        daemon_with_ledger("concurrency = 2\npool = { min_size = 1, max_size = 1 }\n");
    // Not yet answered at all: the request is written and the connection dropped.
    let params = with_meta(json!({"name": "slow", "arguments": {"ms": 600_000}}));
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let bytes = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Type: application/json\r\n\
         MCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: slow\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let send = || {
        let mut stream = std::net::TcpStream::connect(daemon.address()).unwrap();
        std::io::Write::write_all(&mut stream, bytes.as_bytes()).unwrap();
        stream
    };
    let silent = send();
    daemon.until("it is in flight", |s| s.in_flight == 1);
    drop(silent);
    until("the worker was told", || {
        (lines_with(&ledger, "cancelled") == 1).then_some(())
    });
    // As a stream.
    let params = json!({"name": "progress", "arguments": {"steps": 600_000, "ms": 1}, "_meta": {"progressToken": 1}});
    let mut stream = modern(daemon.address(), &json!(1), "tools/call", &params);
    stream.event().unwrap();
    stream.hang_up();
    until("the worker was told", || {
        (lines_with(&ledger, "cancelled") == 2).then_some(())
    });
    // One that waits for a place loses its place in the queue and never reaches the worker.
    // (A cancelled call keeps its place at the worker for a moment.)
    daemon.until("both places are free again", |s| s.in_flight == 0);
    let held = [send(), send()];
    daemon.until("both places are taken", |s| s.in_flight == 2);
    let waiting = send();
    daemon.until("one waits", |s| s.queued == 1);
    drop(waiting);
    daemon.until("nobody waits", |s| s.queued == 0);
    // Both that are held have come to the worker; in flight they are before.
    until("the worker has four calls", || {
        (lines_with(&ledger, "\"tool\"") == 4).then_some(())
    });
    drop(held);
    daemon.until("all are counted", |s| s.counters.calls["cancelled"] >= 4);
    until("told again", || {
        (lines_with(&ledger, "cancelled") == 4).then_some(())
    });
    assert_eq!(lines_with(&ledger, "\"tool\""), 4);
}

#[test]
fn a_subscription_hears_every_worker_of_the_pool() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}era = \"modern\"\nconcurrency = 1\npool = {{ min_size = 2, max_size = 2 }}\n",
        chaos(&["--era", "modern"])
    ));
    daemon.until("two workers are ready", |s| s.ready == 2);
    let wanted = json!({"notifications": {"toolsListChanged": true}});
    let id = json!("my subscription");
    // Acknowledged as a stream at once, and the client need not accept anything else.
    let body = json!({"jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": with_meta(wanted.clone())});
    let headers = [
        ("Accept", "text/event-stream"),
        JSON,
        ("MCP-Protocol-Version", MODERN),
        ("Mcp-Method", "subscriptions/listen"),
    ];
    let body = body.to_string();
    let mut news = http::send(
        daemon.address(),
        "POST",
        "/mcp",
        &headers,
        Some(body.as_bytes()),
    );
    assert_eq!((news.status, news.is_stream()), (200, true));
    let first = news.event().unwrap();
    assert_eq!(first.id, None);
    let first = first.json();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["_meta"][SUBSCRIPTION], id);
    assert_eq!(first["params"]["notifications"], wanted["notifications"]);
    // One worker tells, then, while it is busy, the other one.
    let change = || modern_call(daemon.address(), &json!(1), "list_changed", &json!({})).json();
    change();
    let one = news.event().unwrap().json();
    assert_eq!(one["method"], "notifications/tools/list_changed");
    assert_eq!(one["params"]["_meta"][SUBSCRIPTION], id);
    let params = json!({"name": "progress", "arguments": {"steps": 600_000, "ms": 1}, "_meta": {"progressToken": 0}});
    let mut held = modern(daemon.address(), &json!(9), "tools/call", &params);
    held.event().unwrap();
    change();
    assert_eq!(news.event().unwrap().json(), one);
    let calls: Vec<_> = daemon.server().workers.iter().map(|w| w.calls).collect();
    assert_eq!(calls.len(), 2);
    assert!(!calls.contains(&0), "both were asked: {calls:?}");
    // A worker that dies takes nothing with it, and its successor joins.
    let before = daemon.server();
    for worker in &before.workers {
        support::daemon::signal(worker.pid, nix::sys::signal::Signal::SIGKILL);
    }
    let fresh = |s: &mainstay::broker::snapshot::ServerStatus| {
        s.ready == 2
            && s.workers
                .iter()
                .all(|w| before.workers.iter().all(|b| b.id != w.id))
    };
    daemon.until("two new workers are ready", fresh);
    change();
    assert_eq!(
        news.event().unwrap().json(),
        one,
        "and no second acknowledgement"
    );
    let lost = mcp::messages(held).pop().unwrap().json();
    assert_eq!(lost["error"]["code"], -31005, "{lost}");
    // The daemon ends it politely.
    daemon.terminate();
    let last = news.event().unwrap().json();
    assert_eq!(last["id"], id);
    assert_eq!(last["result"]["resultType"], "complete");
    assert_eq!(last["result"]["_meta"][SUBSCRIPTION], id);
    assert_eq!(news.event(), None);
}

#[test]
fn a_legacy_only_server_makes_the_client_fall_back() {
    let daemon = daemon(&["--era", "legacy"]);
    for (method, params) in [
        ("server/discover", json!({})),
        (
            "tools/call",
            json!({"name": "echo", "arguments": {"text": "x"}}),
        ),
        ("subscriptions/listen", json!({"notifications": {}})),
    ] {
        let answer = modern(daemon.address(), &json!(1), method, &params);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(error_of(answer, &json!(1)), (400, -32000), "{method}");
    }
    // Not even a version that nobody knows may look like a modern error here.
    let mut body = good(&json!(1));
    body["params"]["_meta"][VERSION] = json!("2099-01-01");
    let mut headers = HEADERS.to_vec();
    headers[2] = ("MCP-Protocol-Version", "2099-01-01");
    let body = body.to_string();
    let answer = http::send(
        daemon.address(),
        "POST",
        "/mcp",
        &headers,
        Some(body.as_bytes()),
    );
    assert_eq!(error_of(answer, &json!(1)), (400, -32000));
    let session = Session::open(&daemon);
    assert_eq!(session.text("echo", &json!({"text": "legacy"})), "legacy");
}

#[test]
fn a_worker_locked_by_its_first_message_serves_both_eras_in_two_pools() {
    let daemon = daemon(&["--era", "lock"]);
    let answer = modern_call(daemon.address(), &json!(1), "echo", &json!({"text": "m"}));
    assert_eq!(mcp::text(&answer.json()), "m");
    let session = Session::open(&daemon);
    assert_eq!(session.text("echo", &json!({"text": "l"})), "l");
    let status = daemon.until("both eras are known", |s| s.era == "legacy+modern");
    let mut eras: Vec<_> = status.workers.iter().map(|w| w.era.as_str()).collect();
    eras.sort_unstable();
    eras.dedup();
    assert_eq!(eras, ["legacy", "modern"]);
}
