//! Breakers in the whole daemon: what opens them and what does not, that they let no more calls at a
//! sick server than they say, and that they find out by themselves when it is well.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::thread;

use mainstay::broker::snapshot::{BreakerStatus, ServerStatus};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemon::{Daemon, signal, until};
use support::ledger::Ledger;
use support::mcp::{self, Session, modern_begun, refusal, response};

/// One worker with 128 places; `breaker` and more of the server `a`.
fn one(server: &str) -> (Daemon, Ledger) {
    let ledger = Ledger::new();
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}default = true\nconcurrency = 128\n\
         pool = {{ min_size = 1, max_size = 1 }}\n{server}",
        ledger.chaos(&[])
    ));
    (daemon, ledger)
}

/// Opens at the first failure and is closed by the first good call.
const TOUCHY: &str =
    "breaker = { failure_threshold = 1, success_rate = 0, half_open_max_calls = 1 }\n";

fn open() -> (i64, String, bool) {
    (-31002, "breaker_open".to_owned(), true)
}

/// The breaker of the server, or of its tool.
fn breaker(status: &ServerStatus, tool: Option<&str>) -> BreakerStatus {
    let mut all = status.breakers.iter();
    all.find(|b| b.tool.as_deref() == tool).unwrap().clone()
}

fn state(daemon: &Daemon, tool: Option<&str>) -> String {
    breaker(&daemon.server(), tool).state
}

/// A call that its worker dies of; another one each time, or it would be quarantined.
fn die(session: &Session, number: usize) {
    let answer = session.call("exit", &json!({"code": 1, "number": number}));
    assert_eq!(answer["error"]["code"], -31005, "{answer}");
}

fn until_probing(daemon: &Daemon) {
    daemon.until("it tries again", |s| breaker(s, None).state == "half_open");
}

fn echo(session: &Session) -> Value {
    session.call("echo", &json!({"text": "x"}))
}

#[test]
fn pitfall_1_what_callers_and_tools_do_wrong_opens_nothing() {
    let other = support::daemon::chaos(&[]);
    let (daemon, _ledger) = one(&format!("[servers.b]\n{other}pool = {{ min_size = 1 }}\n"));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let session = Session::open(&daemon);
                for _ in 0..250 {
                    let tool = session.call("fail", &json!({"kind": "tool"}));
                    assert_eq!(tool["result"]["isError"], true, "{tool}");
                    let caller = session.call("no such tool", &json!({}));
                    assert_eq!(caller["error"]["code"], -32602, "{caller}");
                }
            });
        }
    });
    let before = breaker(&daemon.server(), None);
    assert_eq!((before.state.as_str(), before.trips), ("closed", 0));
    assert_eq!((before.failures_in_a_row, before.window_failures), (0, 0));
    let session = Session::open(&daemon);
    for number in 0..5 {
        die(&session, number);
    }
    let refused = echo(&session);
    assert_eq!(refusal(&refused), open());
    let data = &refused["error"]["data"];
    assert!(data["retryAfterMs"].as_u64() > Some(0), "{refused}");
    assert_eq!(breaker(&daemon.server(), None).trips, 1);
    let log = daemon.log();
    assert_eq!(log.matches("event=breaker_opened").count(), 1, "{log}");
    let beside = Session::open_at(&daemon, "/servers/b/mcp", mcp::LATEST);
    assert_eq!(mcp::text(&echo(&beside)), "x");
}

#[test]
fn it_closes_by_itself_with_the_first_good_probe() {
    let (daemon, ledger) = one(TOUCHY);
    let session = Session::open(&daemon);
    die(&session, 0);
    assert_eq!(refusal(&echo(&session)), open());
    let answer = until("a call is let through", || {
        let answer = echo(&session);
        answer.get("result").map(|_| answer.clone())
    });
    assert_eq!(mcp::text(&answer), "x");
    assert_eq!(state(&daemon, None), "closed");
    assert_eq!(ledger.executed("echo"), 1, "no refused call was sent");
    assert_eq!(mcp::text(&echo(&session)), "x");
    let log = daemon.log();
    let events = ["breaker_opened", "breaker_probing", "breaker_closed"];
    let at: Vec<_> = events.iter().map(|e| log.find(e)).collect();
    assert!(at[0].is_some() && at.is_sorted(), "{at:?}\n{log}");
}

#[test]
fn of_a_hundred_callers_no_more_than_it_says_reach_a_worker_that_is_on_probation() {
    let (daemon, ledger) =
        one("breaker = { failure_threshold = 1, success_rate = 0, half_open_max_calls = 3 }\n");
    let session = Session::open(&daemon);
    die(&session, 0);
    until_probing(&daemon);
    let calls: Vec<_> = (0..100)
        .map(|id| session.start(&json!(id), "hang", &json!({})))
        .collect();
    let now = daemon.until("all are refused or sent", |s| {
        s.counters.refusals["breaker_open"] + s.in_flight as u64 == 100
    });
    assert!((1..=3).contains(&now.in_flight), "{now:?}");
    until("they are executed", || {
        (ledger.executed("hang") == now.in_flight).then_some(())
    });
    drop(calls);
}

#[test]
fn pitfall_2_a_probe_that_never_tells_costs_no_permit() {
    let (daemon, ledger) = one(&format!(
        "{TOUCHY}[servers.a.tools.hang]\ncall_timeout = \"3s\"\n"
    ));
    let session = Session::open(&daemon);
    for (number, way) in ["cancelled", "disconnected", "expired"].iter().enumerate() {
        die(&session, number);
        until_probing(&daemon);
        let call = match *way {
            "disconnected" => Err(modern_begun(daemon.address(), "hang", &json!({}))),
            way => Ok(session.start(&json!(way), "hang", &json!({}))),
        };
        until("the probe is at the worker", || {
            (ledger.executed("hang") == number + 1).then_some(())
        });
        assert_eq!(refusal(&echo(&session)), open(), "the probe is out: {way}");
        match (call, *way) {
            (Ok(_), "cancelled") => {
                let which = json!({"requestId": "cancelled"});
                session.notify("notifications/cancelled", &which);
            }
            (Ok(call), _) => assert_eq!(response(call)["error"]["code"], -31004),
            (Err(client), _) => drop(client),
        }
        until("the next call is the next probe", || {
            echo(&session).get("result").map(|_| ())
        });
        assert_eq!(state(&daemon, None), "closed", "{way}");
    }
    let trips = breaker(&daemon.server(), None).trips;
    assert!(
        trips >= 4,
        "three deaths and the probe that expired: {trips}"
    );
}

#[test]
fn one_death_is_one_failure_however_many_calls_it_costs() {
    let (daemon, ledger) = one("breaker = { failure_threshold = 2, success_rate = 0 }\n");
    let session = Session::open(&daemon);
    for death in 1..=2 {
        let calls: Vec<_> = (0..8)
            .map(|id| session.start(&json!(id), "hang", &json!({})))
            .collect();
        until("all are executed", || {
            (ledger.executed("hang") == 8 * death).then_some(())
        });
        let now = daemon.server();
        assert_eq!(now.workers.len(), 1);
        signal(now.workers[0].pid, Signal::SIGKILL);
        for call in calls {
            assert_eq!(response(call)["error"]["code"], -31005);
        }
        let now = breaker(&daemon.server(), None);
        assert_eq!(now.failures_in_a_row as usize, death, "{now:?}");
        assert_eq!(now.state == "open", death == 2, "{now:?}");
    }
}

#[test]
fn a_tool_may_have_a_breaker_of_its_own() {
    let (daemon, ledger) =
        one("[servers.a.tools.fail]\nbreaker = { failure_threshold = 5, success_rate = 0 }\n");
    let session = Session::open(&daemon);
    let fails = json!({"kind": "tool"});
    for _ in 0..5 {
        assert_eq!(state(&daemon, Some("fail")), "closed");
        let answer = session.call("fail", &fails);
        assert_eq!(answer["result"]["isError"], true, "{answer}");
    }
    assert_eq!(state(&daemon, Some("fail")), "open");
    let refused = session.call("fail", &fails);
    assert_eq!(refusal(&refused), open());
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("of tool fail"), "{message}");
    assert_eq!(ledger.executed("fail"), 5);
    assert_eq!(mcp::text(&echo(&session)), "x", "other tools are served");
    assert_eq!(state(&daemon, None), "closed");
}

#[test]
fn an_error_inside_a_success_counts_where_the_operator_says_so() {
    let hidden = "failure = { pointer = \"/content/0/text/status\", equals = \"error\" }\n";
    for (failure, state_after) in [("", "closed"), (hidden, "open")] {
        let (daemon, _ledger) = one(&format!(
            "[servers.a.tools.fail]\nbreaker = {{ failure_threshold = 5, success_rate = 0 }}\n{failure}"
        ));
        let session = Session::open(&daemon);
        for _ in 0..5 {
            let answer = session.call("fail", &json!({"kind": "soft"}));
            assert_eq!(answer["result"]["isError"], Value::Null, "{answer}");
        }
        assert_eq!(state(&daemon, Some("fail")), state_after, "{failure}");
        assert_eq!(state(&daemon, None), "closed");
    }
}

#[test]
fn errors_that_are_the_callers_fault_are_those_the_operator_names() {
    let (daemon, _ledger) = one("failure.caller_codes = [-32000]\n\
         [servers.a.tools.fail]\nbreaker = { failure_threshold = 5, success_rate = 0 }\n");
    let session = Session::open(&daemon);
    for (code, state_after) in [(-32000, "closed"), (-32001, "open")] {
        for _ in 0..5 {
            let answer = session.call("fail", &json!({"kind": "rpc", "code": code}));
            assert_eq!(answer["error"]["code"], code, "{answer}");
        }
        assert_eq!(state(&daemon, Some("fail")), state_after, "{code}");
        assert_eq!(
            state(&daemon, None),
            "closed",
            "its answers show that it lives"
        );
    }
}
