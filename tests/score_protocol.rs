//! The score server speaks MCP as the specification has it, in both eras, mixed in one process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where it fails"
)]

use std::io::Write;
use std::process::{Command, Stdio};

use mainstay::score::{Options, Server};
use serde_json::{Value, json};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

fn send(server: &mut Server, frame: &str) -> Option<Value> {
    let answer = server.handle(frame.as_bytes())?;
    assert!(!answer.contains(&b'\n'), "an answer is one line");
    Some(serde_json::from_slice(&answer).unwrap())
}

fn ask(method: &str, params: Value) -> Value {
    let frame = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
    let answer = send(&mut Server::new(Options::default()), &frame.to_string()).unwrap();
    assert_eq!(answer["id"], 7);
    assert_eq!(answer["jsonrpc"], "2.0");
    answer
}

fn modern(extra: Value) -> Value {
    let mut params = extra;
    params["_meta"] = json!({ VERSION: "2026-07-28", CAPABILITIES: {} });
    params
}

#[test]
fn the_handshake_echoes_known_versions_and_offers_the_latest_otherwise() {
    for (asked, given) in [
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2024-11-05", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
    ] {
        let result = &ask("initialize", json!({ "protocolVersion": asked }))["result"];
        assert_eq!(result["protocolVersion"], given, "{asked}");
        assert_eq!(result["serverInfo"]["name"], "mainstay-score");
        assert!(result["capabilities"]["tools"].is_object());
        assert!(result.get("resultType").is_none());
    }
    assert_eq!(ask("initialize", json!({}))["error"]["code"], -32602);
    assert_eq!(ask("ping", json!({}))["result"], json!({}));
}

#[test]
fn discovery_says_what_is_served_without_a_handshake() {
    let result = &ask("server/discover", modern(json!({})))["result"];
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["supportedVersions"], json!(["2026-07-28"]));
    assert!(result["capabilities"]["tools"].is_object());
    assert!(result["instructions"].is_string());
    assert!(result["ttlMs"].is_u64());
    assert_eq!(result["cacheScope"], "public");
    assert_eq!(
        result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "mainstay-score"
    );
}

#[test]
fn modern_requests_need_their_keys_and_a_served_version() {
    for meta in [
        json!({ CAPABILITIES: {} }),
        json!({ VERSION: "2026-07-28" }),
        json!({ VERSION: "2026-07-28", CAPABILITIES: null }),
        json!({ VERSION: 7, CAPABILITIES: {} }),
    ] {
        let answer = ask("tools/list", json!({ "_meta": meta }));
        assert_eq!(answer["error"]["code"], -32602, "{meta}");
    }
    assert_eq!(ask("server/discover", json!({}))["error"]["code"], -32602);
    let meta = json!({ VERSION: "2027-01-01", CAPABILITIES: {} });
    let error = &ask("tools/list", json!({ "_meta": meta }))["error"];
    assert_eq!(error["code"], -32022);
    assert_eq!(
        error["data"],
        json!({ "supported": ["2026-07-28"], "requested": "2027-01-01" })
    );
}

#[test]
fn results_carry_what_their_era_wants_and_nothing_else() {
    let list = &ask("tools/list", modern(json!({})))["result"];
    assert_eq!(list["resultType"], "complete");
    assert_eq!(list["cacheScope"], "public");
    assert!(list["ttlMs"].is_u64());
    let call = json!({ "name": "health_check", "arguments": {} });
    assert_eq!(
        ask("tools/call", modern(call.clone()))["result"]["resultType"],
        "complete"
    );

    let list = &ask("tools/list", json!({}))["result"];
    assert!(list.get("resultType").is_none() && list.get("ttlMs").is_none());
    assert!(
        ask("tools/call", call)["result"]
            .get("resultType")
            .is_none()
    );
    // A legacy version in _meta does not make a request modern.
    let meta = json!({ "_meta": { VERSION: "2025-11-25" } });
    assert!(
        ask("tools/list", meta)["result"]
            .get("resultType")
            .is_none()
    );
}

#[test]
fn removed_and_unknown_methods_are_not_found() {
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "prompts/list",
    ] {
        assert_eq!(
            ask(method, modern(json!({})))["error"]["code"],
            -32601,
            "{method}"
        );
    }
    for method in ["resources/list", "logging/setLevel", "nothing"] {
        assert_eq!(ask(method, json!({}))["error"]["code"], -32601, "{method}");
    }
}

#[test]
fn ids_come_back_byte_for_byte() {
    for id in [
        "0",
        "-5",
        "18446744073709551616",
        "\"\"",
        "\"a\\u0062\\u0001\"",
        "\"0\"",
    ] {
        let frame = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        let answer = Server::new(Options::default())
            .handle(frame.as_bytes())
            .unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(
            answer,
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
        );
    }
}

#[test]
fn what_is_no_request_gets_the_right_code_or_silence() {
    let mut server = Server::new(Options::default());
    for (frame, code) in [
        ("{", -32700),
        ("banner", -32700),
        ("\"text\"", -32600),
        ("[]", -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600),
        (r#"{"id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, -32600),
    ] {
        let answer = send(&mut server, frame).unwrap();
        assert_eq!(answer["error"]["code"], code, "{frame}");
        assert_eq!(answer["id"], Value::Null, "{frame}");
    }
    for frame in [
        "",
        "  \r",
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"nothing"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#,
    ] {
        assert_eq!(send(&mut server, frame), None, "{frame}");
    }
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}}}"#,
        "[".repeat(100_000)
    );
    assert_eq!(send(&mut server, &deep).unwrap()["error"]["code"], -32700);
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}{}}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(send(&mut server, &deep).unwrap()["error"]["code"], -32602);
}

#[test]
fn calls_name_a_tool_and_pass_an_object() {
    for params in [
        json!({}),
        json!({ "name": 5 }),
        json!({ "name": "no_such_tool", "arguments": {} }),
        json!({ "name": "health_check", "arguments": [] }),
        json!([]),
    ] {
        assert_eq!(
            ask("tools/call", params.clone())["error"]["code"],
            -32602,
            "{params}"
        );
    }
    assert_eq!(
        ask("tools/list", json!({ "cursor": "x" }))["error"]["code"],
        -32602
    );
    let without = ask("tools/call", json!({ "name": "health_check" }));
    assert_eq!(without["result"]["isError"], false);
}

#[test]
fn the_program_serves_both_eras_on_one_stdin_and_ends_with_it() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mainstayd"))
        .arg("score")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let import = json!({ "name": "import_score",
        "arguments": { "score_id": "a", "source": "ode_to_joy", "source_type": "corpus" } });
    let info = json!({ "name": "score_info", "arguments": { "score_id": "a" } });
    let frames = [
        json!({ "jsonrpc": "2.0", "id": 0, "method": "server/discover", "params": modern(json!({})) }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": { "protocolVersion": "2025-06-18", "capabilities": {} } }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": import }),
        json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": modern(info) }),
    ];
    let mut input: Vec<u8> = Vec::new();
    for frame in &frames {
        input.extend_from_slice(frame.to_string().as_bytes());
        input.push(b'\n');
    }
    // Dropping stdin ends the server.
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [json!(0), json!(1), json!(2), json!(3)]);
    assert_eq!(answers[1]["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(answers[3]["result"]["resultType"], "complete");
    assert_eq!(
        answers[3]["result"]["structuredContent"]["title"],
        "Ode to Joy"
    );
}

#[test]
fn a_subscription_is_acknowledged_with_its_own_id() {
    let params = modern(json!({ "notifications": { "toolsListChanged": true } }));
    let frame =
        json!({ "jsonrpc": "2.0", "id": "s", "method": "subscriptions/listen", "params": params });
    let mut server = Server::new(Options::default());
    let news = send(&mut server, &frame.to_string()).unwrap();
    assert_eq!(news["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(
        news["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        "s"
    );
    // The tools never change: nothing of what was asked for is promised.
    assert_eq!(news["params"]["notifications"], json!({}));
    let answer = ask("subscriptions/listen", json!({}));
    assert_eq!(
        answer["error"]["code"], -32601,
        "legacy has no subscriptions"
    );
}
