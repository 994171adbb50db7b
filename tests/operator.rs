//! An operator at work: the real `mainstayctl` steers a real daemon while clients call. What is
//! forced holds, what is taken back is gone, and nothing of it costs a call in flight.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, until};
use support::mcp::{Session, response};

/// A daemon with the server `a`, one worker of which serves four calls at once.
fn daemon(more: &str) -> Daemon {
    Daemon::ready(&format!(
        "[servers.a]\n{}era = \"legacy\"\nconcurrency = 4\npool = {{ min_size = 1, max_size = 2 }}\n{more}",
        chaos(&[])
    ))
}

/// Exit status and output of the tool.
fn ctl(daemon: &Daemon, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstayctl"));
    command.arg("--socket").arg(daemon.dir().join("admin.sock"));
    let output = command.args(args).output().unwrap();
    let text = if output.status.success() {
        output.stdout
    } else {
        output.stderr
    };
    let text = String::from_utf8(text).unwrap();
    (output.status.code().unwrap(), text)
}

/// The output of a command that is done.
fn done(daemon: &Daemon, args: &[&str]) -> String {
    let (status, text) = ctl(daemon, args);
    assert_eq!(status, 0, "{args:?}: {text}\n{}", daemon.log());
    text
}

fn list(daemon: &Daemon, what: &str) -> Value {
    serde_json::from_str(&done(daemon, &[what, "--json"])).unwrap()
}

fn echo(session: &Session) -> Value {
    session.call("echo", &json!({"text": "here"}))
}

fn passes(answer: &Value) -> bool {
    answer["result"]["content"][0]["text"] == "here"
}

/// `data.reason` of a refusal.
fn reason(answer: &Value) -> &str {
    answer["error"]["data"]["reason"]
        .as_str()
        .unwrap_or_default()
}

#[test]
fn a_forced_open_breaker_refuses_until_it_decides_again() {
    let daemon = daemon("");
    let session = Session::open(&daemon);
    assert!(passes(&echo(&session)));
    done(
        &daemon,
        &[
            "breaker", "open", "a", "--for", "1h", "--reason", "it moves",
        ],
    );
    let refused = echo(&session);
    assert_eq!(reason(&refused), "breaker_open", "{refused}");
    assert_eq!(refused["error"]["code"], -31002);
    assert!(
        refused["error"]["data"]["retryAfterMs"].as_u64() > Some(0),
        "{refused}"
    );
    let breaker = &list(&daemon, "breakers")[0];
    assert_eq!(breaker["mode"], "forced_open", "{breaker}");
    assert_eq!(breaker["reason"], "it moves");
    let uid = nix::unistd::getuid().to_string();
    let author = breaker["author"].as_str().unwrap();
    assert!(author.starts_with(&format!("user {uid}")), "{author}");
    assert!(
        breaker["expires_in_ms"].as_u64() > Some(3_500_000),
        "{breaker}"
    );
    assert!(daemon.log().contains("it moves"), "{}", daemon.log());
    let (status, health) = daemon.health();
    assert_eq!((status, &health["status"]), (200, &json!("degraded")));
    let why = health["servers"]["a"]["reason"].as_str().unwrap();
    assert!(why.contains("forced open: it moves"), "{why}");
    assert_eq!(
        daemon.metric("mainstay_breaker_state{server=\"a\",tool=\"\"}"),
        2.0
    );

    // It closes over the steps of its probes, each of which is a call that passes.
    done(&daemon, &["breaker", "auto", "a"]);
    until("the breaker is closed", || {
        assert!(passes(&echo(&session)));
        (list(&daemon, "breakers")[0]["state"] == "closed").then_some(())
    });
    assert_eq!(daemon.health().1["status"], "ok");
    assert_eq!(
        daemon.metric("mainstay_breaker_state{server=\"a\",tool=\"\"}"),
        0.0
    );
}

#[test]
fn a_forced_mode_ends_by_itself() {
    let daemon = daemon("");
    let session = Session::open(&daemon);
    done(
        &daemon,
        &["breaker", "open", "a", "--for", "400ms", "--reason", "x"],
    );
    assert_eq!(reason(&echo(&session)), "breaker_open");
    until("the mode is over", || passes(&echo(&session)).then_some(()));
    assert_eq!(list(&daemon, "breakers")[0]["mode"], "auto");
}

#[test]
fn recycling_a_worker_costs_no_call() {
    let daemon = daemon("");
    let session = Session::open(&daemon);
    let old = daemon.server().workers[0].clone();
    let slow = session.start(&json!("slow"), "slow", &json!({"ms": 700}));
    daemon.until("it is busy", |s| s.in_flight == 1);
    let said = done(&daemon, &["worker", "recycle", &old.id.to_string()]);
    assert!(
        said.starts_with(&format!("worker {} of a ", old.id)),
        "{said}"
    );
    let mut served = 0;
    daemon.until("its successor serves alone", |s| {
        assert!(passes(&echo(&session)));
        served += 1;
        s.ready > 0 && s.workers.iter().all(|w| w.id != old.id)
    });
    assert_eq!(response(slow)["result"]["content"][0]["text"], "slept");
    let after = daemon.server();
    assert_eq!(after.counters.calls["ok"], served + 1);
    assert_eq!(after.counters.deaths, 0);
    let (status, why) = ctl(&daemon, &["worker", "recycle", &old.id.to_string()]);
    assert_eq!(status, 1, "{why}");
}

#[test]
fn a_drained_server_finishes_what_it_has_and_takes_nothing_new() {
    let daemon = daemon("");
    let session = Session::open(&daemon);
    let slow = session.start(&json!("slow"), "slow", &json!({"ms": 700}));
    daemon.until("it is busy", |s| s.in_flight == 1);
    let said = done(&daemon, &["drain", "a"]);
    assert!(
        said.starts_with("a takes no new calls; 1 call is in flight"),
        "{said}"
    );
    let refused = echo(&session);
    assert_eq!(reason(&refused), "draining", "{refused}");
    assert!(
        refused["error"]["data"]["retryAfterMs"].is_u64(),
        "{refused}"
    );
    assert_eq!(response(slow)["result"]["content"][0]["text"], "slept");
    assert_eq!(reason(&echo(&session)), "draining");
    done(&daemon, &["drain", "a", "--undo"]);
    assert!(passes(&echo(&session)));
}

#[test]
fn a_quarantined_call_is_listed_and_can_be_let_go() {
    let daemon = daemon("");
    let session = Session::open(&daemon);
    let deadly = json!({"code": 7});
    until("the call is in quarantine", || {
        let answer = session.call("exit", &deadly);
        match reason(&answer) {
            "quarantined" => Some(()),
            "worker_lost" | "overloaded" => None,
            _ => panic!("{answer}"),
        }
    });
    let listed = list(&daemon, "quarantine");
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["tool"], "exit");
    assert!(passes(&echo(&session)), "another call is not concerned");
    let digest = listed[0]["digest"].as_str().unwrap();
    let (status, why) = ctl(&daemon, &["quarantine", "clear", "a", "0000000000000000"]);
    assert_eq!(status, 1, "{why}");
    done(&daemon, &["quarantine", "clear", "a", digest]);
    assert_eq!(list(&daemon, "quarantine"), json!([]));
    assert_eq!(reason(&session.call("exit", &deadly)), "worker_lost");
}

#[test]
fn the_limits_name_who_called() {
    // Slow to refill: a full bucket is forgotten.
    let daemon = daemon("[rate_limit]\nrate = 1\nburst_size = 50\n");
    let session = Session::open(&daemon);
    assert!(passes(&echo(&session)));
    let limits = list(&daemon, "limits");
    let mine = limits.as_array().unwrap().iter();
    let mine = mine.filter(|bucket| bucket["principal"] == "anonymous@127.0.0.1");
    assert!(mine.count() > 0, "{limits}");
}

#[test]
fn what_is_not_there_cannot_be_steered() {
    let daemon = daemon("");
    for args in [
        &["breaker", "open", "nope", "--reason", "x"][..],
        &["breaker", "open", "a/nope", "--reason", "x"],
        &["worker", "recycle", "4711"],
        &["drain", "nope"],
        &["quarantine", "clear", "nope"],
    ] {
        let (status, why) = ctl(&daemon, args);
        assert_eq!(status, 1, "{args:?}: {why}");
        assert!(why.contains("nope") || why.contains("4711"), "{why}");
    }
}
