//! `adaptive_concurrency`: a worker that takes one call at a time is found out, and the others wait in
//! the queue, where they can go to whoever comes free, instead of in its stdin.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;
use support::daemon::{Daemon, chaos};
use support::mcp::Session;

const CLIENTS: usize = 10;

/// A serial worker with eight places, and more callers than that; tells whether fewer were let at it
/// while others waited.
fn is_found_out(adaptive: bool) -> bool {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}concurrency = 8\nadaptive_concurrency = {adaptive}\n\
         pool = {{ min_size = 1, max_size = 1, acquire_timeout = \"2s\" }}\n\
         breaker = {{ failure_threshold = 1000, success_rate = 0 }}\n",
        chaos(&["--serial"])
    ));
    let done = AtomicBool::new(false);
    let mut found = false;
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let session = Session::open(&daemon);
                while !done.load(Ordering::Relaxed) {
                    let _ = session.call("slow", &json!({"ms": 100}));
                }
            });
        }
        daemon.until("all places are taken", |s| s.in_flight == 8);
        // Enough for every cut there can be, were it adaptive; only without it the time is used up.
        let enough = daemon.server().counters.calls["ok"] + 100;
        daemon.until("it is found out, or nothing is to be found", |s| {
            found = s.in_flight <= 3 && s.queued > 0;
            found || s.counters.calls["ok"] > enough
        });
        done.store(true, Ordering::Relaxed);
    });
    found
}

#[test]
fn a_worker_that_takes_one_call_at_a_time_gets_fewer() {
    assert!(is_found_out(true));
    assert!(
        !is_found_out(false),
        "eight means eight unless it is asked for"
    );
}
