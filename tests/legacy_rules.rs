//! The legacy era (2025-03-26 .. 2025-11-25) over the wire: every status, code and header of the
//! specification's transport chapter, and that a lost connection loses no answer.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, until};
use support::http::{self, Response};
use support::mcp::{self, ACCEPT, JSON, LATEST, Session, initialize};

/// Two servers of plain chaosworkers; `a` is the default.
fn daemon() -> Daemon {
    let command = chaos(&[]);
    Daemon::ready(&format!(
        "[servers.a]\n{command}default = true\npool = {{ min_size = 1, max_size = 2 }}\n\
         [servers.b]\n{command}pool = {{ min_size = 1, max_size = 2 }}\n"
    ))
}

/// The same with a ledger of what the workers of the only server did.
fn daemon_with_ledger() -> (Daemon, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let command = chaos(&["--log", ledger.to_str().unwrap()]);
    let servers = format!("[servers.a]\n{command}pool = {{ min_size = 1, max_size = 2 }}\n");
    (Daemon::start_in(dir, "", &servers).until_healthy(), ledger)
}

/// Status, `Content-Type`-less: the code and id of the JSON-RPC error in the body.
fn error_of(answer: Response) -> (u16, i64, Value) {
    let status = answer.status;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(body["jsonrpc"], "2.0", "{body}");
    assert!(body["error"]["message"].is_string(), "{body}");
    let code = body["error"]["code"].as_i64();
    let code = code.unwrap_or_else(|| panic!("no code in {body}"));
    (status, code, body["id"].clone())
}

#[test]
fn types_and_sizes_are_checked_before_anything_else() {
    let daemon = Daemon::start_with(
        "max_body_bytes = 10000",
        &format!("[servers.a]\n{}pool = {{ min_size = 1 }}\n", chaos(&[])),
    )
    .until_healthy();
    let body = initialize(LATEST).to_string();
    let post = |headers: &[(&str, &str)], body: &str| {
        http::send(
            daemon.address(),
            "POST",
            "/mcp",
            headers,
            Some(body.as_bytes()),
        )
    };
    for accept in [
        "application/json",
        "text/event-stream",
        "text/html",
        "",
        "application/json, text/event-stream;q=0",
        "application/json, text/event-streams",
    ] {
        let answer = post(&[("Accept", accept), JSON], &body);
        assert_eq!(error_of(answer), (406, -32600, Value::Null), "{accept:?}");
    }
    assert_eq!(post(&[JSON], &body).status, 406, "no Accept at all");
    for accept in [
        "*/*",
        "application/json,text/event-stream",
        "TEXT/Event-Stream; charset=utf-8 , Application/JSON;q=0.1",
        "application/*, text/*",
    ] {
        assert_eq!(
            post(&[("Accept", accept), JSON], &body).status,
            200,
            "{accept:?}"
        );
    }
    let lines = [
        ("Accept", "text/event-stream"),
        ("Accept", "application/json"),
        JSON,
    ];
    assert_eq!(post(&lines, &body).status, 200, "a list in two lines");
    for kind in [
        "text/plain",
        "application/jsonx",
        "application/x-www-form-urlencoded",
        "",
    ] {
        let answer = post(&[ACCEPT, ("Content-Type", kind)], &body);
        assert_eq!(error_of(answer), (415, -32600, Value::Null), "{kind:?}");
    }
    assert_eq!(post(&[ACCEPT], &body).status, 415, "no Content-Type at all");
    let parameters = ("Content-Type", "Application/JSON; charset=utf-8");
    assert_eq!(post(&[ACCEPT, parameters], &body).status, 200);

    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(10_000));
    let answer = post(&[ACCEPT, JSON], &large);
    assert_eq!(error_of(answer), (413, -32600, Value::Null));
    let chunked = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    let answer = http::send_raw(daemon.address(), chunked.as_bytes());
    assert_eq!(error_of(answer).0, 413, "a length that was not announced");
}

#[test]
fn a_body_far_beyond_the_limit_still_gets_its_413() {
    let daemon = daemon();
    let large = vec![b' '; 24 << 20];
    for _ in 0..5 {
        let answer = http::send(
            daemon.address(),
            "POST",
            "/mcp",
            &[ACCEPT, JSON],
            Some(&large),
        );
        assert_eq!(error_of(answer), (413, -32600, Value::Null));
    }
}

#[test]
fn bodies_that_are_no_message_are_told_apart() {
    let daemon = daemon();
    let session = Session::open(&daemon);
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let table = [
        ("", -32700),
        ("{", -32700),
        ("{\"jsonrpc\":\"2.0\",}", -32700),
        ("{\"a\":\"\u{1}\"}", -32700),
        ("nonsense", -32700),
        ("17", -32600),
        ("null", -32600),
        ("\"text\"", -32600),
        ("{}", -32600),
        ("[]", -32600),
        (r#"["2.0",1,"ping"]"#, -32600),
        (&format!("[{request}]"), -32600),
        (&format!(" \n[{request},{request}]"), -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (r#"{"id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#, -32600),
    ];
    for (body, code) in table {
        assert_eq!(
            error_of(session.post(body)),
            (400, code, Value::Null),
            "{body:?}"
        );
    }
    let deep = "[".repeat(100_000);
    assert_eq!(error_of(session.post(&deep)).1, -32700);
    let bytes = b"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}";
    let answer = http::send(
        daemon.address(),
        "POST",
        "/mcp",
        &[ACCEPT, JSON],
        Some(bytes),
    );
    assert_eq!(error_of(answer), (400, -32700, Value::Null), "not UTF-8");
}

#[test]
fn ids_come_back_byte_by_byte() {
    let daemon = daemon();
    for version in ["2025-11-25", "2025-06-18"] {
        let session = Session::open_at(&daemon, "/mcp", version);
        for id in [
            "0",
            "-7",
            "123456789012345678901234567890",
            "\"\"",
            "\"a b\"",
            r#""\u00e9\/\n""#,
            "\"\u{e9}\u{1f980}\"",
            "\"0\"",
        ] {
            for method in [
                r#""ping""#,
                r#""tools/call","params":{"name":"echo","arguments":{"text":"x"}}"#,
                r#""tools/call","params":{"name":"fail","arguments":{"kind":"rpc"}}"#,
                r#""no/such/method""#,
            ] {
                let answer = session.post(&format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":{method}}}"#
                ));
                assert_eq!(answer.status, 200);
                let text = if answer.is_stream() {
                    mcp::messages(answer).pop().unwrap().data
                } else {
                    answer.text()
                };
                assert!(
                    text.contains(&format!("\"id\":{id},"))
                        || text.contains(&format!("\"id\":{id}}}")),
                    "{id} {method} {text}"
                );
            }
        }
    }
}

#[test]
fn initialize_opens_a_session_and_is_never_part_of_one() {
    let daemon = daemon();
    for (asked, given) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2025-11-25"),
        ("2031-01-01", "2025-11-25"),
        ("nonsense", "2025-11-25"),
    ] {
        let session = Session::open_at(&daemon, "/mcp", asked);
        assert_eq!(session.result["protocolVersion"], given, "{asked}");
        assert_eq!(session.result["serverInfo"]["name"], "chaosworker");
        assert!(session.id.len() >= 32 && session.id.bytes().all(|b| b.is_ascii_graphic()));
    }
    let session = Session::open(&daemon);
    let again = session.post(&initialize(LATEST).to_string());
    assert_eq!(again.header("mcp-session-id"), None);
    assert_eq!(error_of(again), (400, -32600, json!(0)));
    assert_eq!(
        session.text("echo", &json!({"text": "unharmed"})),
        "unharmed"
    );
    let other = Session::open(&daemon);
    assert_ne!(session.id, other.id);
}

#[test]
fn the_session_header_decides_between_400_and_404() {
    let daemon = daemon();
    let session = Session::open(&daemon);
    let elsewhere = Session::open_at(&daemon, "/servers/b/mcp", LATEST);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let send = |method: &str, path: &str, id: Option<&str>| {
        let mut headers = vec![ACCEPT, JSON];
        headers.extend(id.map(|id| ("Mcp-Session-Id", id)));
        let body = (method == "POST").then_some(body.as_bytes());
        http::send(daemon.address(), method, path, &headers, body)
    };
    for method in ["POST", "GET", "DELETE"] {
        let missing = error_of(send(method, "/mcp", None));
        assert_eq!((missing.0, missing.1), (400, -32000), "{method}");
        for unknown in [
            "0123456789abcdef0123456789abcdef",
            "x",
            "",
            elsewhere.id.as_str(),
        ] {
            let answer = error_of(send(method, "/mcp", Some(unknown)));
            assert_eq!((answer.0, answer.1), (404, -32001), "{method} {unknown:?}");
        }
    }
    // A notification for a session that is gone tells the client so, too.
    let gone = [("Mcp-Session-Id", "gone")];
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(mcp::post(daemon.address(), "/mcp", &gone, note).status, 404);

    assert_eq!(send("POST", "/mcp", Some(&session.id)).status, 200);
    assert_eq!(
        send("POST", "/servers/a/mcp", Some(&session.id)).status,
        200,
        "the default server has two paths"
    );
    assert_eq!(elsewhere.text("echo", &json!({"text": "b"})), "b");
    for path in [
        "/",
        "/mcp/",
        "/servers/c/mcp",
        "/servers/a",
        "/servers//mcp",
    ] {
        assert_eq!(send("POST", path, None).status, 404, "{path}");
    }

    assert_eq!(session.delete(), 200);
    assert_eq!(session.delete(), 404);
    let after = error_of(session.post(body));
    assert_eq!((after.0, after.1), (404, -32001));
    assert_eq!(session.get(None).status, 404);
    assert_eq!(daemon.server().sessions, 0);
}

#[test]
fn the_version_header_must_name_a_revision_of_the_era() {
    let daemon = daemon();
    let session = Session::open(&daemon);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let post = |version: &str| {
        let headers = [
            ("Mcp-Session-Id", session.id.as_str()),
            ("MCP-Protocol-Version", version),
        ];
        mcp::post(daemon.address(), "/mcp", &headers, body)
    };
    for good in ["2025-11-25", "2025-06-18", "2025-03-26"] {
        assert_eq!(post(good).status, 200, "{good}");
    }
    for bad in ["2024-11-05", "2099-01-01", "1.0", "x"] {
        let answer = post(bad);
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.json()["error"]["code"].is_i64(), "{bad}");
    }
    let absent = [("Mcp-Session-Id", session.id.as_str())];
    assert_eq!(
        mcp::post(daemon.address(), "/mcp", &absent, body).status,
        200
    );
    // initialize itself is not checked: its body says what is asked for.
    let early = [("MCP-Protocol-Version", "2024-11-05")];
    let hello = initialize(LATEST).to_string();
    assert_eq!(
        mcp::post(daemon.address(), "/mcp", &early, &hello).status,
        200
    );
}

#[test]
fn notifications_and_responses_are_taken_without_a_word() {
    let daemon = daemon();
    let session = Session::open(&daemon);
    for body in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/no-such-thing","params":[1]}"#,
        r#"{"jsonrpc":"2.0","id":12345,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"nobody asked","error":{"code":1,"message":""}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":""}}"#,
    ] {
        let answer = session.post(body);
        assert_eq!((answer.status, answer.text().as_str()), (202, ""), "{body}");
    }
    assert_eq!(session.text("echo", &json!({"text": "alive"})), "alive");
}

#[test]
fn the_newest_clients_are_primed_at_once_and_older_ones_never() {
    let daemon = Daemon::start_with(
        "retry = \"1234ms\"",
        &format!("[servers.a]\n{}pool = {{ min_size = 1 }}\n", chaos(&[])),
    )
    .until_healthy();
    let session = Session::open(&daemon);
    // The call does not answer by itself in any time the test has.
    let mut answer = session.start(&json!(1), "slow", &json!({"ms": 600_000}));
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    let priming = answer.event().unwrap();
    assert_eq!((priming.retry, priming.data.as_str()), (Some(1234), ""));
    assert!(priming.id.is_some());

    let older = Session::open_at(&daemon, "/mcp", "2025-06-18");
    let quick = older.start(&json!(1), "echo", &json!({"text": "x"}));
    assert_eq!(quick.header("content-type"), Some("application/json"));
    assert_eq!(mcp::text(&quick.json()), "x");
    let params =
        json!({"name": "progress", "arguments": {"steps": 2}, "_meta": {"progressToken": 0}});
    let stream = older.request(&json!(2), "tools/call", &params);
    assert!(stream.is_stream());
    let events = stream.events();
    assert_eq!(events.len(), 3, "{events:?}");
    assert!(
        events
            .iter()
            .all(|e| e.retry.is_none() && !e.data.is_empty())
    );
    assert!(
        events[..2]
            .iter()
            .all(|e| e.json()["params"]["progressToken"] == 0)
    );
    assert_eq!(mcp::text(&events[2].json()), "done");
}

#[test]
fn a_silent_stream_is_kept_alive_by_comments() {
    let daemon = Daemon::start_with(
        "keepalive_interval = \"50ms\"",
        &format!("[servers.a]\n{}pool = {{ min_size = 1 }}\n", chaos(&[])),
    )
    .until_healthy();
    let slow = json!({"ms": 400});
    let session = Session::open(&daemon);
    let mut answer = session.start(&json!(1), "slow", &slow);
    assert!(answer.block().unwrap().starts_with("id: "));
    assert!(answer.block().unwrap().starts_with(':'));
    assert!(answer.block().unwrap().starts_with(':'));
    assert_eq!(mcp::text(&mcp::response(answer)), "slept");
    // Without a priming event the first silence makes it a stream.
    let older = Session::open_at(&daemon, "/mcp", "2025-06-18");
    let mut answer = older.start(&json!(1), "slow", &slow);
    assert!(answer.is_stream());
    assert!(answer.block().unwrap().starts_with(':'));
    assert_eq!(mcp::text(&mcp::response(answer)), "slept");
}

#[test]
fn the_newest_standalone_stream_wins() {
    let daemon = daemon();
    let session = Session::open(&daemon);
    let headers = [
        ("Accept", "application/json"),
        ("Mcp-Session-Id", session.id.as_str()),
    ];
    let answer = http::send(daemon.address(), "GET", "/mcp", &headers, None);
    assert_eq!(error_of(answer).0, 406);

    let mut first = session.get(None);
    assert_eq!(first.status, 200);
    assert_eq!(first.event().unwrap().data, "", "primed");
    let mut second = session.get(None);
    assert_eq!(second.event().unwrap().data, "", "primed");
    first.wait_for_end();
    session.call("list_changed", &json!({}));
    let news = second.event().unwrap().json();
    assert_eq!(news["method"], "notifications/tools/list_changed");
    assert!(news.get("id").is_none(), "no responses here");
    // What is told while nobody listens waits for the next one.
    second.hang_up();
    session.call("list_changed", &json!({}));
    let mut third = session.get(None);
    assert_eq!(third.event().unwrap().data, "");
    let news = third.event().unwrap().json();
    assert_eq!(news["method"], "notifications/tools/list_changed");
    assert_eq!(session.delete(), 200);
    third.wait_for_end();
}

#[test]
fn a_call_whose_connection_was_cut_is_answered_on_resumption() {
    let (daemon, ledger) = daemon_with_ledger();
    let session = Session::open(&daemon);
    let params = json!({
        "name": "progress", "arguments": {"steps": 4, "ms": 100}, "_meta": {"progressToken": "t"},
    });
    let mut answer = session.request(&json!("slow one"), "tools/call", &params);
    answer.event().unwrap();
    let seen = answer.event().unwrap();
    assert_eq!(seen.json()["params"]["progress"], 1);
    answer.hang_up();
    let rest = mcp::messages(session.get(seen.id.as_deref()));
    let steps: Vec<_> = rest
        .iter()
        .map(|e| e.json()["params"]["progress"].clone())
        .collect();
    assert_eq!(steps, [json!(2), json!(3), json!(4), Value::Null]);
    let last = rest.last().unwrap();
    assert_eq!(last.json()["id"], "slow one");
    assert_eq!(mcp::text(&last.json()), "done");
    // Again from the start, and from the answer itself: the same events under the same ids.
    let priming = seen.id.as_deref().unwrap().replace("-1", "-0");
    let mut all = mcp::messages(session.get(Some(&priming)));
    assert_eq!(all.remove(0), seen);
    assert_eq!(all, rest);
    assert_eq!(mcp::messages(session.get(last.id.as_deref())), []);
    let done = fs::read_to_string(ledger).unwrap();
    assert_eq!(done.matches("progress").count(), 1, "{done}");
    assert_eq!(
        done.matches("cancelled").count(),
        0,
        "a disconnect is no cancel"
    );
}

#[test]
fn an_event_id_that_is_not_of_this_session_is_400() {
    let daemon = daemon();
    let session = Session::open(&daemon);
    let mut busy = Session::open(&daemon).start(&json!(1), "slow", &json!({"ms": 600_000}));
    let foreign = busy.event().unwrap().id.unwrap();
    for id in [
        "",
        "x",
        "1",
        "-",
        "1-",
        "-1",
        "1-x",
        "0-99",
        "zz-0",
        "1-0-0",
        "9999999999999999999999-1",
        &foreign,
    ] {
        let answer = session.get(Some(id));
        assert_eq!(answer.status, 400, "{id:?}");
        assert!(answer.json()["error"]["code"].is_i64());
    }
    let mut own = session.start(&json!(1), "echo", &json!({"text": "mine"}));
    let own = own.event().unwrap().id.unwrap();
    assert_eq!(own, foreign, "ids name streams of their session only");
    let events = mcp::messages(session.get(Some(&own)));
    assert_eq!(mcp::text(&events[0].json()), "mine");
}

#[test]
fn a_disconnect_is_no_cancel_but_a_cancel_is() {
    let (daemon, ledger) = daemon_with_ledger();
    let session = Session::open(&daemon);
    let mut answer = session.start(&json!(7), "slow", &json!({"ms": 600_000}));
    answer.event().unwrap();
    answer.hang_up();
    let mut other = session.start(&json!("8"), "slow", &json!({"ms": 600_000}));
    other.event().unwrap();
    daemon.until("both calls are at work", |s| s.in_flight == 2);
    // Of another type, hence another request.
    session.notify("notifications/cancelled", &json!({"requestId": "7"}));
    session.notify("notifications/cancelled", &json!({"requestId": 8}));
    session.notify(
        "notifications/cancelled",
        &json!({"requestId": 7, "reason": "enough"}),
    );
    let cancelled = || {
        let text = fs::read_to_string(&ledger).unwrap();
        text.lines().filter(|l| l.contains("cancelled")).count()
    };
    until("the worker was told", || (cancelled() == 1).then_some(()));
    session.notify("notifications/cancelled", &json!({"requestId": "8"}));
    until("the worker was told again", || {
        (cancelled() == 2).then_some(())
    });
    let outcome = daemon.until("both are counted", |s| s.counters.calls["cancelled"] == 2);
    assert_eq!(outcome.counters.calls.get("lost"), Some(&0));
    assert_eq!(session.text("echo", &json!({"text": "next"})), "next");
}

#[test]
fn pings_of_clients_reach_no_worker() {
    let daemon = daemon();
    let session = Session::open(&daemon);
    let before = daemon.server().counters.calls;
    for version in ["2025-11-25", "2025-03-26"] {
        let session = Session::open_at(&daemon, "/mcp", version);
        let answer = session.request(&json!(0), "ping", &json!({}));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(
            answer.json(),
            json!({"jsonrpc": "2.0", "id": 0, "result": {}})
        );
    }
    assert_eq!(daemon.server().counters.calls, before);
    assert_eq!(session.text("echo", &json!({"text": "counted"})), "counted");
    assert_ne!(daemon.server().counters.calls, before);
}

#[test]
fn a_workers_questions_go_to_the_client_of_the_call() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}state = \"session\"\npool = {{ min_size = 1, max_size = 3 }}\n",
        chaos(&[])
    ));
    let (one, two) = (Session::open(&daemon), Session::open(&daemon));
    let mut streams = Vec::new();
    for session in [&one, &two] {
        // The ids of the call and of the question may be equal: they are two directions.
        let mut stream = session.start(&json!(1), "ask_roots", &json!({}));
        stream.event().unwrap();
        let question = stream.event().unwrap().json();
        assert_eq!(question["method"], "roots/list");
        streams.push((session, stream, question["id"].clone()));
    }
    streams.reverse();
    for (session, stream, id) in streams {
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"roots": [session.id]}});
        assert_eq!(session.post(&answer.to_string()).status, 202);
        let said = mcp::text(&mcp::response(stream));
        assert_eq!(said, json!({"roots": [session.id]}).to_string());
    }
}

#[test]
fn methods_of_http_that_are_not_offered_are_405() {
    let daemon = daemon();
    for method in ["PUT", "PATCH", "HEAD", "TRACE"] {
        let answer = http::send(daemon.address(), method, "/mcp", &[ACCEPT], None);
        assert_eq!(answer.status, 405, "{method}");
        let allow = answer.header("allow").unwrap_or_default();
        for offered in ["GET", "POST", "DELETE"] {
            assert!(allow.contains(offered), "{method}: {allow:?}");
        }
    }
}

#[test]
fn a_modern_only_server_tells_a_legacy_client_so() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}pool = {{ min_size = 1, max_size = 2 }}\n",
        chaos(&["--era", "modern"])
    ));
    let hello = initialize(LATEST).to_string();
    let answer = mcp::post(daemon.address(), "/mcp", &[], &hello);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("mcp-session-id"), None);
    let body = answer.json();
    assert_eq!(
        (&body["id"], &body["error"]["code"]),
        (&json!(0), &json!(-32022))
    );
    assert_eq!(body["error"]["data"]["supported"], json!(["2026-07-28"]));
}

#[test]
fn a_client_that_is_slow_to_send_is_not_waited_for() {
    let daemon = Daemon::start_with(
        "header_timeout = \"200ms\"",
        &format!("[servers.a]\n{}pool = {{ min_size = 1 }}\n", chaos(&[])),
    )
    .until_healthy();
    let mut slow = std::net::TcpStream::connect(daemon.address()).unwrap();
    std::io::Write::write_all(&mut slow, b"POST /mcp HTTP/1.1\r\nHost:").unwrap();
    slow.set_read_timeout(Some(http::PATIENCE)).unwrap();
    let mut rest = Vec::new();
    let read = std::io::Read::read_to_end(&mut slow, &mut rest);
    assert!(read.is_ok(), "closed by the daemon: {read:?}");
    assert_eq!(daemon.get("/livez").status, 200);
}
