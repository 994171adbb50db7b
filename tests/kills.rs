//! Workers that are killed all the time under load, with spares beside them: calls that may be made
//! twice never fail, and a call with an effect is made once at most and told truly.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, signal, until};
use support::history::History;
use support::mcp::{Session, modern_call, response};

const CLIENTS: usize = 20;
const SPAN: Duration = Duration::from_secs(6);
const EVERY: Duration = Duration::from_millis(200);

/// A client of either era.
enum Client<'d> {
    Legacy(Session),
    Modern(&'d Daemon),
}

impl<'d> Client<'d> {
    fn open(daemon: &'d Daemon, number: usize) -> Self {
        match number % 2 {
            0 => Self::Legacy(Session::open(daemon)),
            _ => Self::Modern(daemon),
        }
    }

    fn call(&self, tool: &str, arguments: &Value) -> Value {
        match self {
            Self::Legacy(session) => session.call(tool, arguments),
            Self::Modern(daemon) => {
                response(modern_call(daemon.address(), &json!(1), tool, arguments))
            }
        }
    }
}

/// Kills one worker after the other, any of those that are ready; returns how many.
fn kill(daemon: &Daemon, end: Instant) -> usize {
    let mut kills = 0;
    while Instant::now() < end {
        let workers = daemon.server().workers;
        let ready: Vec<u32> = workers
            .iter()
            .filter(|w| w.state == "ready" || w.state == "busy")
            .map(|w| w.pid)
            .collect();
        if ready.len() > 1 {
            signal(ready[kills * 7 % ready.len()], Signal::SIGKILL);
            kills += 1;
        }
        thread::sleep(EVERY);
    }
    kills
}

#[test]
fn workers_killed_all_the_time_cost_no_retry_safe_call_and_double_no_effect() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}concurrency = 4\npool = {{ min_size = 8, max_size = 12 }}\n\
         retry_safe = [\"echo\", \"slow\"]\n",
        chaos(&["--log", ledger.to_str().unwrap()])
    ));
    daemon.until("the pool is full", |s| s.ready >= 8);
    let pid = daemon.pid();
    let (history, safe) = (History::default(), AtomicUsize::new(0));
    let end = Instant::now() + SPAN;
    let kills = thread::scope(|scope| {
        let killer = scope.spawn(|| kill(&daemon, end));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (daemon, history, safe) = (&daemon, &history, &safe);
                scope.spawn(move || {
                    let client = Client::open(daemon, number);
                    for round in (0..).take_while(|_| Instant::now() < end) {
                        let id = format!("{number}-{round}");
                        match round % 4 {
                            0 => {
                                let answer = client.call("echo", &json!({"text": id}));
                                let text = &answer["result"]["content"][0]["text"];
                                assert_eq!(text, &json!(id), "{answer}");
                            }
                            // Long enough to be there when its worker dies.
                            1 => {
                                let arguments = json!({"ms": 20});
                                let answer = client.call("slow", &arguments);
                                assert!(answer.get("result").is_some(), "{answer}");
                            }
                            _ => {
                                history.invoke(&id);
                                // Before the effect or behind it, so that deaths hit either.
                                let when = if round % 4 == 2 { "before" } else { "after" };
                                let arguments = json!({"id": id, "ms": 20, "when": when});
                                history.answered(&id, &client.call("effect", &arguments));
                                continue;
                            }
                        }
                        safe.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        killer.join().unwrap()
    });
    let tally = history
        .check(&ledger)
        .unwrap_or_else(|breaches| panic!("{breaches:#?}"));
    let server = daemon.server();
    println!(
        "{kills} kills, {} retry-safe calls, {} calls with an effect, {tally:?}, {} retried",
        safe.load(Ordering::Relaxed),
        tally.ok + tally.fail + tally.unknown,
        server.counters.retried
    );
    assert!(kills >= 15, "{kills} kills");
    assert_eq!(tally.fail, 0, "nothing was refused: {tally:?}");
    let (done, all) = (tally.unknown_done, tally.unknown);
    assert!(0 < done && done < all, "no kill hit a call: {tally:?}");
    assert!(server.counters.retried > 0, "no kill hit a retry-safe call");
    assert_eq!(daemon.status().pid, pid);
    until("all who died are replaced", || {
        (daemon.server().ready >= 8).then_some(())
    });
}
