//! A server with a `url`: mainstay as the client of an MCP server over HTTP. The upstream is
//! another mainstayd with scripted workers, or a script of HTTP answers where it must misbehave.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use support::daemon::{Daemon, chaos};
use support::mcp::{Session, messages, modern_call, response, text};

/// `[servers.far]` at this address.
fn far(address: impl std::fmt::Display, more: &str) -> String {
    format!("[servers.far]\nurl = \"http://{address}/mcp\"\n{more}")
}

fn near_server(more: &str) -> String {
    format!("[servers.near]\n{}{more}", chaos(&[]))
}

#[test]
fn a_call_passes_through_in_both_eras() {
    let upstream = Daemon::ready(&near_server(""));
    let daemon = Daemon::ready(&far(upstream.address(), ""));
    let session = Session::open(&daemon);
    assert_eq!(session.text("echo", &json!({"text": "legacy"})), "legacy");
    let answer = modern_call(
        daemon.address(),
        &json!("a"),
        "echo",
        &json!({"text": "modern"}),
    );
    let answer = response(answer);
    assert_eq!(answer["id"], "a");
    assert_eq!(text(&answer), "modern");
    let steps = json!({"name": "progress", "arguments": {"steps": 3, "ms": 5},
        "_meta": {"progressToken": "p"}});
    let progress = messages(session.request(&json!(9), "tools/call", &steps));
    assert_eq!(progress.len(), 4, "{progress:?}");
}
