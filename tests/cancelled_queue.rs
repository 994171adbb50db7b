//! Calls that wait for a worker and that nobody wants any more: none is ever sent to one, and the
//! queue has room again at once.

mod support;

use serde_json::{Value, json};
use support::daemon::{Daemon, until};
use support::http::Response;
use support::ledger::Ledger;
use support::mcp::{Session, modern_begun};

const CALLS: u64 = 100;

/// One place, which is taken for as long as the test likes.
fn busy() -> (Daemon, Ledger, Session, Response) {
    let ledger = Ledger::new();
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}concurrency = 1\nqueue_size = {CALLS}\n\
         pool = {{ min_size = 1, max_size = 1, acquire_timeout = \"25s\" }}\n",
        ledger.chaos(&[])
    ));
    let session = Session::open(&daemon);
    let busy = session.start(&json!("busy"), "slow", &json!({"ms": 600_000}));
    until("the only place is taken", || {
        (ledger.executed("slow") == 1).then_some(())
    });
    (daemon, ledger, session, busy)
}

fn effect(number: u64) -> Value {
    json!({"id": number.to_string()})
}

/// The queue is empty while the place is still taken; whoever comes next is served; of the others
/// nothing has happened.
fn assert_none_was_sent(daemon: &Daemon, ledger: &Ledger, session: &Session) {
    let now = daemon.until("the queue is empty", |s| s.queued == 0);
    assert_eq!(now.in_flight, 1, "its worker is busy all the time");
    daemon.until("all are counted", |s| {
        s.counters.calls["cancelled"] == CALLS
    });
    let next = session.start(&json!("next"), "effect", &json!({"id": "next"}));
    daemon.until("the next one waits, alone", |s| s.queued == 1);
    session.notify("notifications/cancelled", &json!({"requestId": "busy"}));
    assert!(support::mcp::response(next).get("result").is_some());
    assert_eq!(ledger.executed("effect"), 1, "{:?}", ledger.entries());
    let after = daemon.server().counters;
    assert_eq!((after.calls["ok"], after.deaths), (1, 0));
}

#[test]
fn pitfall_6_queued_calls_that_legacy_clients_cancel_are_not_run() {
    let (daemon, ledger, session, busy) = busy();
    let calls: Vec<_> = (0..CALLS)
        .map(|n| session.start(&json!(n), "effect", &effect(n)))
        .collect();
    daemon.until("all wait", |s| s.queued == 100);
    for id in 0..CALLS {
        session.notify("notifications/cancelled", &json!({"requestId": id}));
    }
    assert_none_was_sent(&daemon, &ledger, &session);
    for call in calls {
        call.wait_for_end();
    }
    busy.wait_for_end();
}

#[test]
fn pitfall_6_queued_calls_whose_modern_clients_go_away_are_not_run() {
    let (daemon, ledger, session, busy) = busy();
    let clients: Vec<_> = (0..CALLS)
        .map(|n| modern_begun(daemon.address(), "effect", &effect(n)))
        .collect();
    daemon.until("all wait", |s| s.queued == 100);
    drop(clients);
    assert_none_was_sent(&daemon, &ledger, &session);
    busy.wait_for_end();
}
