//! Finding out which eras a server speaks, whatever it does with a question it does not know.

mod support;

use serde_json::json;
use support::daemon::{Daemon, chaos, until};
use support::mcp::{self, Session, modern_call};

/// Served by sessions, and modern clients are told to fall back to them.
fn is_legacy_only(daemon: &Daemon) {
    let session = until("a session can be opened", || {
        let hello = mcp::initialize(mcp::LATEST).to_string();
        let answer = mcp::post(daemon.address(), "/mcp", &[], &hello);
        answer
            .header("mcp-session-id")
            .map(|_| Session::open(daemon))
    });
    assert_eq!(session.text("echo", &json!({"text": "hello"})), "hello");
    let answer = modern_call(daemon.address(), &json!(1), "echo", &json!({"text": "x"}));
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["code"], -32000);
    assert_eq!(daemon.server().era, "legacy");
}

#[test]
fn a_server_that_ignores_what_it_does_not_know_is_initialised_all_the_same() {
    let daemon = Daemon::start(&format!(
        "[servers.a]\n{}start_timeout = \"3s\"\npool = {{ min_size = 1 }}\n",
        chaos(&["--era", "legacy", "--silent-discover"])
    ));
    is_legacy_only(&daemon);
    assert_eq!(daemon.server().counters.deaths, 0);
}

#[test]
fn a_server_that_dies_of_an_unknown_request_is_not_asked_for_ever() {
    let daemon = Daemon::start(&format!(
        "[servers.a]\n{}pool = {{ min_size = 1 }}\n",
        chaos(&["--era", "legacy", "--die-on-discover"])
    ));
    is_legacy_only(&daemon);
}

#[test]
fn each_way_of_speaking_is_told_apart() {
    for (era, found) in [
        ("legacy", "legacy"),
        ("modern", "modern"),
        ("both", "mixed"),
        ("lock", "legacy+modern"),
    ] {
        let daemon = Daemon::start(&format!(
            "[servers.a]\n{}pool = {{ min_size = 1 }}\n",
            chaos(&["--era", era])
        ));
        daemon.until(found, |s| s.era == found);
    }
}
