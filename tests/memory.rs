//! The memory of a server's workers, with real processes that take what they want: above the soft
//! limit the fattest idle one goes and background is refused, near the hard limit the one that grew
//! is killed, and nobody else notices.

mod support;

use serde_json::json;
use support::daemon::{Daemon, chaos};
use support::mcp::Session;

const MIB: u64 = 1 << 20;

fn daemon(limits: &str) -> Daemon {
    Daemon::ready(&format!(
        "[servers.a]\n{}concurrency = 1\npool = {{ min_size = 2, max_size = 2 }}\n{limits}\n\
         [servers.a.tools.pid]\nclass = \"background\"\n",
        chaos(&[])
    ))
}

#[test]
fn above_the_soft_limit_the_fattest_goes_and_background_is_refused() {
    let daemon = daemon("memory = { soft_limit = \"150M\", hard_limit = \"2G\" }");
    let session = Session::open(&daemon);
    daemon.until("both are ready", |s| s.ready == 2);
    session.text("pid", &json!({}));
    session.text("leak", &json!({"bytes": 200 * MIB}));
    let fat = daemon.until("one is fat", |s| {
        s.workers.iter().any(|w| w.memory_bytes > Some(150 * MIB))
    });
    let fat = fat.workers.iter().max_by_key(|w| w.memory_bytes);
    let fat = fat.map(|w| w.id);
    daemon.until("memory is short", |s| s.pressure.is_some());
    let refused = session.call("pid", &json!({}));
    assert_eq!(
        refused["error"]["data"]["reason"], "overloaded",
        "{refused}"
    );
    assert!(
        refused["error"]["data"]["retryAfterMs"].is_u64(),
        "{refused}"
    );
    assert_eq!(session.text("echo", &json!({"text": "normal"})), "normal");
    let after = daemon.until("the fattest is replaced", |s| {
        s.ready == 2 && s.workers.iter().all(|w| Some(w.id) != fat)
    });
    assert!(after.counters.recycled >= 1, "{after:?}");
    assert_eq!(after.counters.deaths, 0, "politely: {after:?}");
    let log = daemon.log();
    for event in [
        "event=memory_soft",
        "event=shed_started",
        "event=worker_recycled",
    ] {
        assert!(log.contains(event), "{event} in\n{log}");
    }
}

#[test]
fn near_the_hard_limit_the_one_that_grew_is_killed_and_nobody_else() {
    let daemon = daemon("memory = { soft_limit = \"100M\", hard_limit = \"200M\" }");
    let pid = daemon.pid();
    let session = Session::open(&daemon);
    let before = daemon.until("both are ready", |s| s.ready == 2);
    // It keeps what it took, and works on: near the limit there is no waiting for its call.
    let bomb = session.start(
        &json!("bomb"),
        "leak",
        &json!({"bytes": 400 * MIB, "ms": 600_000}),
    );
    let after = daemon.until("one was killed and replaced", |s| {
        let old = |id| before.workers.iter().any(|w| w.id == id);
        s.ready == 2 && s.workers.iter().filter(|w| old(w.id)).count() == 1
    });
    drop(bomb);
    assert_eq!(session.text("echo", &json!({"text": "on"})), "on");
    assert_eq!(daemon.pid(), pid);
    let log = daemon.log();
    assert!(log.contains("event=memory_hard"), "{after:?}\n{log}");
}
