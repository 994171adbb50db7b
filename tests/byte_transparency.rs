//! What a client sends reaches the worker, and what the worker sends reaches the client, byte by
//! byte: but for the members that the daemon must rewrite where clients share a worker. Arbitrary
//! JSON in the least canonical spelling goes through the real daemon to a worker that answers with
//! the very bytes of its `params`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use support::daemon::{Daemon, chaos};
use support::http::Response;
use support::mcp::{self, MODERN, Session};

fn daemon() -> Daemon {
    Daemon::ready(&format!(
        "[servers.a]\n{}pool = {{ min_size = 1, max_size = 1 }}\n",
        chaos(&[])
    ))
}

/// White space between tokens.
fn space() -> impl Strategy<Value = String> {
    "[ \t]{0,2}"
}

/// A string of JSON in every spelling: escapes that need not be, surrogate pairs, raw UTF-8.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ !#-\\[\\]-~]{0,12}",
        Just("\u{e9}\u{1f980}\u{2028}\u{7f}".to_owned()),
        Just("\\u00e9\\uD83E\\udd80\\u0000".to_owned()),
        Just("\\/\\\\\\\"\\b\\f\\n\\r\\t".to_owned()),
        Just("\\u000a".to_owned()),
        Just("data: id: event:".to_owned()),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// Any JSON value as a client or worker might spell it.
fn spelt() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        text(),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1.0".to_owned()),
        Just("-0".to_owned()),
        Just("1E+2".to_owned()),
        Just("0.1000000000000000055511151231257827".to_owned()),
        "(-?[1-9][0-9]{0,40})",
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec((space(), inner.clone(), space()), 0..5).prop_map(|items| {
                let items: Vec<_> = items.iter().map(|(a, v, b)| format!("{a}{v}{b}")).collect();
                format!("[{}]", items.join(","))
            }),
            members(inner).prop_map(|members| format!("{{{members}}}")),
        ]
    })
}

/// Members of an object; keys may repeat, and may be those that the daemon looks for elsewhere.
fn members(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let key = prop_oneof![
        text(),
        Just("\"id\"".to_owned()),
        Just("\"method\"".to_owned()),
        Just("\"result\"".to_owned()),
        Just("\"progressToken\"".to_owned()),
        Just("\"requestId\"".to_owned()),
        Just("\"jsonrpc\"".to_owned()),
    ];
    prop::collection::vec((space(), key, space(), value, space()), 0..5).prop_map(|members| {
        let members: Vec<_> = members
            .iter()
            .map(|(a, k, b, v, c)| format!("{a}{k}{b}:{v}{c}"))
            .collect();
        members.join(",")
    })
}

/// The one message of an answer, as it came.
fn raw(answer: Response) -> String {
    if answer.is_stream() {
        let mut messages = mcp::messages(answer);
        assert_eq!(messages.len(), 1);
        messages.remove(0).data
    } else {
        answer.text()
    }
}

fn run<S: Strategy>(
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let mut runner = TestRunner::new(Config {
        cases,
        max_shrink_iters: 20,
        failure_persistence: None,
        ..Config::default()
    });
    if let Err(error) = runner.run(strategy, test) {
        panic!("{error}");
    }
}

#[test]
fn params_results_and_errors_of_the_legacy_era_pass_untouched() {
    let daemon = daemon();
    let sessions = ["2025-11-25", "2025-06-18"].map(|v| Session::open_at(&daemon, "/mcp", v));
    let shape = (spelt(), space(), space(), 0..2usize, text());
    run(150, &shape, |(value, before, after, which, id)| {
        // Any value is a result, but an error is an object.
        let error = format!("{{{before}\"data\":{value},\"code\":-1.0e1}}");
        for (member, value) in [("result", &value), ("error", &error)] {
            let body = format!(
                "{before}{{\"params\":{value}{after},\"method\":\"bytes/{member}\",\"id\":{id},\"jsonrpc\":\"2.0\"}}{after}"
            );
            let answer = sessions[which].post(&body);
            prop_assert_eq!(answer.status, 200);
            let wanted = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{value}}}");
            prop_assert_eq!(raw(answer), wanted);
        }
        Ok(())
    });
}

#[test]
fn params_and_results_of_the_modern_era_pass_untouched() {
    let daemon = daemon();
    let meta = mcp::with_meta(json!({}))["_meta"].to_string();
    run(
        100,
        &(members(spelt()), spelt(), text()),
        |(members, extra, id)| {
            // What the daemon reads must be readable: no member twice at this level.
            let unique: serde_json::Result<std::collections::BTreeMap<String, Value>> =
                serde_json::from_str(&format!("{{{members}}}"));
            let repeated =
                unique.is_ok_and(|m| m.keys().any(|k| k == "progressToken" || k == "requestId"));
            let members = if repeated || members.is_empty() {
                "\"x\":1".to_owned()
            } else {
                members
            };
            let params = format!("{{ {members},\"extra\":{extra},\"_meta\" : {meta}}}");
            let body = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"bytes/result\",\"params\":{params}}}"
            );
            let headers = [
                ("MCP-Protocol-Version", MODERN),
                ("Mcp-Method", "bytes/result"),
            ];
            let answer = mcp::post(daemon.address(), "/mcp", &headers, &body);
            prop_assert_eq!(answer.status, 200);
            let wanted = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{params}}}");
            prop_assert_eq!(raw(answer), wanted);
            Ok(())
        },
    );
}

#[test]
fn only_the_listed_members_are_rewritten() {
    let daemon = daemon();
    let session = Session::open(&daemon);
    let body = |id: &str, token: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"bytes/result\",\"params\":{{\"a\" : 1.0,\
             \"progressToken\":{token},\"_meta\":{{\"x\":{token}, \"progressToken\": {token} ,\"y\":[{id}]}},\
             \"requestId\":{id}}}}}"
        )
    };
    let answer = raw(session.post(&body("\"i\\u0064\"", "\"t\"")));
    // The worker's view: its own token in the one place where it is one.
    let token =
        serde_json::from_str::<Value>(&answer).unwrap()["result"]["_meta"]["progressToken"].clone();
    assert!(token.is_u64(), "{answer}");
    let sent = body("\"i\\u0064\"", "\"t\"");
    let params = sent.split_once("\"params\":").unwrap().1;
    let params = params.replace(
        "\"progressToken\": \"t\"",
        &format!("\"progressToken\": {token}"),
    );
    let wanted = format!("{{\"jsonrpc\":\"2.0\",\"id\":\"i\\u0064\",\"result\":{params}");
    assert_eq!(answer, wanted);
    // And back: the client's own token, in the spelling it chose.
    for token in ["0", "\"\\u0074oken\"", "123456789012345678901234567890"] {
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"progress\",\
             \"arguments\":{{\"steps\":1}},\"_meta\":{{\"progressToken\":{token}}}}}}}"
        );
        let messages = mcp::messages(session.post(&body));
        let progress = &messages[0].data;
        assert!(
            progress.contains(&format!("\"progressToken\":{token}")),
            "{progress}"
        );
    }
}

#[test]
fn line_breaks_between_tokens_become_spaces_and_nothing_else_changes() {
    let daemon = daemon();
    let session = Session::open(&daemon);
    let params = "{\r\n  \"a\": [\n1.0,\r2 ],\n\"b\": \"\\n\"}";
    let body = format!(
        "{{\n\"jsonrpc\":\"2.0\",\"id\":1,\n\"method\":\"bytes/result\",\"params\":{params}\n}}\n"
    );
    let flat = params.replace(['\r', '\n'], " ");
    let wanted = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{flat}}}");
    assert_eq!(raw(session.post(&body)), wanted);
}

#[test]
fn a_large_message_passes_in_one_piece() {
    let daemon = daemon();
    let session = Session::open(&daemon);
    let params = format!("{{\"x\":\"{}\"}}", "\u{e9}\\u00e9 ".repeat(300_000));
    let body =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"bytes/result\",\"params\":{params}}}");
    let answer = raw(session.post(&body));
    assert_eq!(
        answer.len(),
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":}".len() + params.len()
    );
    assert!(answer.contains(&params));
}
