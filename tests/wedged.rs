//! Calls of one tool that do not come back: thirty of them hold up no other tool of the server and no
//! other server, and none of the thirty is lost.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, until};
use support::mcp::{LATEST, Session, modern_call, response};

const WEDGED: usize = 30;
const CALLERS: usize = 4;
const CALLS: usize = 25;

/// Thirty calls of `tool` with their time, while others call others. Returns how many were answered
/// and how many were told that their time is over.
fn others_go_on(concurrency: &str, tool: &str, arguments: &Value) -> (usize, usize) {
    let command = chaos(&[]);
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{command}{concurrency}default = true\n\
         pool = {{ min_size = 5, max_size = 20, acquire_timeout = \"30s\" }}\n\
         [servers.a.tools.{tool}]\ncall_timeout = \"6s\"\n\
         [servers.b]\n{command}pool = {{ min_size = 1 }}\n"
    ));
    daemon.until("the pool is full", |s| s.ready >= 5);
    let pending = AtomicUsize::new(0);
    thread::scope(|scope| {
        let wedged: Vec<_> = (0..WEDGED)
            .map(|_| {
                let (daemon, pending) = (&daemon, &pending);
                scope.spawn(move || {
                    pending.fetch_add(1, Ordering::Relaxed);
                    let answer = modern_call(daemon.address(), &json!(1), tool, arguments);
                    let answer = response(answer);
                    pending.fetch_sub(1, Ordering::Relaxed);
                    answer
                })
            })
            .collect();
        until("all thirty are there", || {
            let server = daemon.server();
            (server.in_flight + server.queued >= WEDGED).then_some(())
        });
        // Until it has shown that it does not come back, a call looks like any other.
        thread::sleep(std::time::Duration::from_millis(400));
        let callers: Vec<_> = (0..CALLERS)
            .flat_map(|_| ["/servers/a/mcp", "/servers/b/mcp"])
            .map(|path| {
                let daemon = &daemon;
                scope.spawn(move || {
                    let session = Session::open_at(daemon, path, LATEST);
                    for call in 0..CALLS {
                        let text = call.to_string();
                        assert_eq!(session.text("echo", &json!({"text": text})), text);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.join().unwrap();
        }
        let left = pending.load(Ordering::Relaxed);
        assert_eq!(left, WEDGED, "others waited until some of the thirty ended");
        let (mut answered, mut expired) = (0, 0);
        for call in wedged {
            let answer = call.join().unwrap();
            match answer["error"]["code"].as_i64() {
                None if answer["result"]["isError"] != true => answered += 1,
                Some(-31004) => expired += 1,
                _ => panic!("neither answered nor over time: {answer}"),
            }
        }
        daemon.until("all places are free again", |s| {
            s.in_flight == 0 && s.queued == 0 && s.ready >= 5
        });
        (answered, expired)
    })
}

#[test]
fn thirty_wedged_calls_at_one_call_a_worker_hold_up_nobody() {
    let arguments = json!({"ms": 4000});
    let (answered, expired) = others_go_on("concurrency = 1\n", "wedge", &arguments);
    assert!(answered > 0 && expired > 0, "{answered} and {expired}");
}

#[test]
fn thirty_wedged_calls_at_eight_calls_a_worker_hold_up_nobody() {
    let (answered, expired) = others_go_on("", "wedge", &json!({"ms": 4000}));
    assert!(answered > 0 && expired > 0, "{answered} and {expired}");
}

#[test]
fn thirty_calls_that_hang_hold_up_nobody() {
    for concurrency in ["concurrency = 1\n", ""] {
        assert_eq!(others_go_on(concurrency, "hang", &json!({})), (0, WEDGED));
    }
}
