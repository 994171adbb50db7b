//! A hundred sessions at once on a pool of 5 to 20 workers, every one of them with the same ids:
//! each answer reaches the client that asked, and afterwards nothing is left of any of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::thread;

use serde_json::json;
use support::daemon::{Daemon, chaos};
use support::mcp::{self, Session};

const SESSIONS: usize = 100;
const ROUNDS: usize = 4;

/// What one client does; its ids and tokens are those of all the others.
fn client(daemon: &Daemon, number: usize) {
    let session = Session::open(daemon);
    for round in 0..ROUNDS {
        let own = format!("client {number} round {round}");
        let echo = session.start(&json!(1), "echo", &json!({"text": own}));
        let slow = session.start(&json!(2), "slow", &json!({"ms": 10 + number}));
        let steps = 1 + number % 7;
        let params = json!({
            "name": "progress", "arguments": {"steps": steps, "ms": 1},
            "_meta": {"progressToken": "token"},
        });
        let progress = mcp::messages(session.request(&json!("3"), "tools/call", &params));
        let seen: Vec<_> = progress
            .iter()
            .map(|e| e.json()["params"].clone())
            .filter(|p| p["progressToken"] == "token" && p["total"] == steps)
            .map(|p| p["progress"].as_u64().unwrap())
            .collect();
        let wanted: Vec<u64> = (1..=steps).map(|n| u64::try_from(n).unwrap()).collect();
        assert_eq!(seen, wanted, "{own}: {progress:?}");
        assert_eq!(progress.len(), steps + 1, "{own}");
        let done = progress.last().unwrap().json();
        assert_eq!(
            (&done["id"], mcp::text(&done).as_str()),
            (&json!("3"), "done")
        );
        let slept = mcp::response(slow);
        assert_eq!(
            (&slept["id"], mcp::text(&slept).as_str()),
            (&json!(2), "slept")
        );
        let said = mcp::response(echo);
        assert_eq!((&said["id"], mcp::text(&said)), (&json!(1), own));
    }
    assert_eq!(session.delete(), 200);
}

#[test]
fn a_hundred_sessions_get_their_own_answers_and_leave_nothing() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}state = \"none\"\nconcurrency = 8\n\
         pool = {{ min_size = 5, max_size = 20, acquire_timeout = \"30s\" }}\n",
        chaos(&[])
    ));
    daemon.until("the minimum is ready", |s| s.ready == 5 && s.starting == 0);
    let sockets = |daemon: &Daemon| {
        let all = daemon.descriptors();
        (
            all.len(),
            all.iter().filter(|d| d.starts_with("socket:")).count(),
        )
    };
    let before = sockets(&daemon);
    thread::scope(|scope| {
        for number in 0..SESSIONS {
            let daemon = &daemon;
            scope.spawn(move || client(daemon, number));
        }
    });
    let after = daemon.server();
    assert_eq!(after.sessions, 0, "sessions leak");
    assert!(
        after.workers.len() > 5 && after.workers.len() <= 20,
        "{} workers",
        after.workers.len()
    );
    let calls = u64::try_from(SESSIONS * ROUNDS * 3).unwrap();
    assert_eq!(after.counters.calls["ok"], calls);
    assert_eq!(
        after.counters.calls.values().sum::<u64>(),
        calls,
        "{:?}",
        after.counters
    );
    assert_eq!((after.counters.deaths, after.counters.unrouted), (0, 0));
    // Each worker costs its socket and its stderr; the rest is as before.
    let idle = daemon.until("all is quiet", |s| {
        let (all, socket) = sockets(&daemon);
        let more = s.workers.len() - 5;
        s.in_flight == 0
            && s.starting == 0
            // A pidfd, a socket and a pipe each; only the first two kinds are certain.
            && socket <= before.1 + more
            && all <= before.0 + 3 * more
            && daemon.status().connections == 0
    });
    assert_eq!(idle.queued, 0);
    let pids: Vec<u32> = idle.workers.iter().map(|w| w.pid).collect();
    assert_eq!(daemon.processes().len(), pids.len());
    let log = daemon.stop();
    assert!(!log.contains("ERROR"), "{log}");
}
