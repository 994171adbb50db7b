//! Workers that cannot start, die, lie, flood or fall silent. The daemon stays up, says what is
//! wrong in the worker's own words, refuses in a way no client breaks on, and recovers by itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, chaosworker, signal, until};
use support::mcp::{self, Session, initialize, modern_call};

const QUICK: &str = "recovery = { restart_delay = \"100ms\", max_restart_attempts = 1 }\n\
                     start_timeout = \"300ms\"\npool = { min_size = 1, max_size = 2 }\n";

/// One chaosworker that takes many calls at a time.
fn daemon(server: &str) -> Daemon {
    Daemon::ready(&format!("[servers.a]\n{}{server}", chaos(&[])))
}

/// One worker, and a breaker that leaves it alone: here calls fail on purpose, one after the other.
const ONE: &str = "pool = { min_size = 1, max_size = 1 }
breaker = { failure_threshold = 1000, success_rate = 0 }
";

fn pid(session: &Session) -> u32 {
    let told: Value = serde_json::from_str(&session.text("pid", &json!({}))).unwrap();
    u32::try_from(told["pid"].as_u64().unwrap()).unwrap()
}

fn script(path: &Path, text: &str) {
    // Renamed into place: a script that is open for writing cannot be executed.
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, path).unwrap();
}

/// The worker was lost with the call: nobody knows what it did.
fn assert_lost(answer: &Value) {
    let error = &answer["error"];
    assert_eq!(error["code"], -31005, "{answer}");
    let data = json!({"reason": "worker_lost", "retryAfterMs": null, "retryable": false});
    assert_eq!(error["data"], data, "{answer}");
}

/// The daemon serves nobody, and says so everywhere in these words.
fn assert_down(daemon: &Daemon, words: &[&str]) {
    let has_all = |text: &str| words.iter().all(|word| text.contains(word));
    let body = until("/health tells what is wrong", || {
        let (status, body) = daemon.health();
        (status == 503 && body["status"] == "down" && has_all(&body.to_string())).then_some(body)
    });
    assert!(
        body["servers"]["broken"]["last_failure"]["in_a_row"].as_u64() > Some(0),
        "{body}"
    );
    assert_eq!(daemon.get("/readyz").status, 503);
    assert_eq!(daemon.get("/servers/broken/health").status, 503);
    assert_eq!(daemon.get("/livez").status, 200, "the daemon itself lives");
    let status = serde_json::to_string(&daemon.server()).unwrap();
    assert!(has_all(&status), "{status}");
    // Both eras: a typed refusal in a 200 which repeats the reason.
    let hello = initialize(mcp::LATEST).to_string();
    let legacy = mcp::post(daemon.address(), "/mcp", &[], &hello);
    let modern = modern_call(daemon.address(), &json!(0), "echo", &json!({}));
    for answer in [legacy, modern] {
        assert_eq!(
            (answer.status, answer.header("mcp-session-id")),
            (200, None)
        );
        let answer = answer.json();
        assert_eq!(answer["id"], 0);
        let error = &answer["error"];
        assert_eq!(error["code"], -31003, "{answer}");
        assert_eq!(error["data"]["reason"], "overloaded");
        assert_eq!(error["data"]["retryable"], true);
        assert!(error["data"]["retryAfterMs"].is_u64(), "{answer}");
        assert!(has_all(error["message"].as_str().unwrap()), "{answer}");
    }
    // A good server beside it is not touched.
    let good = Session::open_at(daemon, "/servers/good/mcp", mcp::LATEST);
    assert_eq!(good.text("echo", &json!({"text": "fine"})), "fine");
}

fn beside_a_good_one(command: &str) -> Daemon {
    Daemon::start(&format!(
        "[servers.broken]\n{command}default = true\n{QUICK}\
         [servers.good]\n{}pool = {{ min_size = 1 }}\n",
        chaos(&[])
    ))
}

fn broken_by(shell: &str) -> Daemon {
    beside_a_good_one(&format!("command = [\"sh\", \"-c\", {shell:?}]\n"))
}

#[test]
fn a_command_that_is_missing() {
    let daemon = beside_a_good_one("command = [\"/nonexistent/server\", \"x\"]\n");
    assert_down(&daemon, &["exited with status 127: command not found"]);
}

#[test]
fn a_command_that_is_not_executable() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server");
    fs::write(&file, "#!/bin/sh\n").unwrap();
    let daemon = beside_a_good_one(&format!("command = [{:?}]\n", file.display().to_string()));
    assert_down(
        &daemon,
        &["exited with status 126: command found but not executable"],
    );
}

#[test]
fn a_worker_that_exits_at_once_with_its_last_words() {
    let daemon = broken_by("echo first >&2; echo 'ModuleNotFoundError: no spam' >&2; exit 3");
    let words = [
        "exited with status 3 before it was ready",
        "ModuleNotFoundError: no spam",
    ];
    assert_down(&daemon, &words);
    let (_, body) = daemon.health();
    let stderr = &body["servers"]["broken"]["last_failure"]["stderr"];
    assert_eq!(stderr, &json!(["first", "ModuleNotFoundError: no spam"]));
    let starts = daemon.server().counters.starts;
    daemon.until("it is tried again", |s| s.counters.starts > starts);
}

#[test]
fn a_worker_that_exits_cleanly_without_a_word() {
    assert_down(
        &broken_by("exit 0"),
        &["exited with status 0 before it was ready"],
    );
}

#[test]
fn a_worker_that_is_killed_at_its_start() {
    assert_down(&broken_by("kill -SEGV $$"), &["killed by SIGSEGV"]);
}

#[test]
fn a_worker_that_never_answers() {
    let daemon = broken_by("echo loading >&2; exec sleep 1000");
    assert_down(&daemon, &["did not answer within 0.3 s", "loading"]);
}

#[test]
fn a_worker_that_only_prints_junk() {
    let daemon = broken_by("while :; do echo 'no frame'; sleep 0.01; done");
    assert_down(&daemon, &["did not answer within 0.3 s"]);
    assert!(daemon.metric("mainstay_junk_lines_total{server=\"broken\"}") > 1.0);
}

#[test]
fn a_worker_that_answers_nonsense() {
    let daemon = broken_by(
        "while read -r line; do echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}'; echo '[]'; echo '{'; done",
    );
    assert_down(&daemon, &["did not answer within 0.3 s"]);
    assert!(daemon.metric("mainstay_unrouted_messages_total{server=\"broken\"}") >= 1.0);
    assert!(daemon.metric("mainstay_junk_lines_total{server=\"broken\"}") >= 2.0);
}

#[test]
fn a_repaired_command_serves_within_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server");
    let daemon = beside_a_good_one(&format!("command = [{:?}]\n", file.display().to_string()));
    assert_down(&daemon, &["command not found"]);
    script(&file, "#!/bin/sh\necho still broken >&2\nexit 1\n");
    let hello = initialize(mcp::LATEST).to_string();
    let ask = || mcp::post(daemon.address(), "/mcp", &[], &hello).json();
    until("the new failure is told", || {
        ask()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("still broken")
            .then_some(())
    });
    script(
        &file,
        &format!("#!/bin/sh\nexec {}\n", chaosworker().display()),
    );
    let repaired = std::time::Instant::now();
    // A client that asks is reason enough to try before the long backoff is over.
    until("a session is opened", || ask().get("result").map(|_| ()));
    assert!(
        repaired.elapsed().as_secs() < 10,
        "{:?}",
        repaired.elapsed()
    );
    assert_eq!(
        Session::open(&daemon).text("echo", &json!({"text": "up"})),
        "up"
    );
    daemon.until("its health is good", |s| s.ready >= 1);
    assert_eq!(daemon.health().0, 200);
}

#[test]
fn banners_blank_lines_and_junk_do_no_harm() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}{ONE}",
        chaos(&["--banner", "--junk-start", "3"])
    ));
    let session = Session::open(&daemon);
    assert_eq!(session.text("junk", &json!({"lines": 500})), "junk");
    assert_eq!(session.text("echo", &json!({"text": "x"})), "x");
    // One banner; its empty lines count for nothing.
    let junk = daemon.metric("mainstay_junk_lines_total{server=\"a\"}");
    assert!((junk - 504.0).abs() < 0.5, "{junk}");
    let told = daemon.log().matches("event=worker_junk").count();
    assert!((1..=2).contains(&told), "told {told} times");
}

#[test]
fn a_kill_in_the_middle_of_a_call_is_told_and_the_next_call_works() {
    let daemon = daemon(ONE);
    let session = Session::open(&daemon);
    for round in 1..=3 {
        let victim = pid(&session);
        let slow = session.start(&json!("slow"), "slow", &json!({"ms": 600_000}));
        daemon.until("it is at work", |s| s.in_flight == 1);
        signal(victim, Signal::SIGKILL);
        let answer = mcp::response(slow);
        assert_lost(&answer);
        assert_eq!(answer["id"], "slow");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("killed by SIGKILL") && message.contains(&victim.to_string()));
        assert_eq!(session.text("echo", &json!({"text": "next"})), "next");
        assert_ne!(pid(&session), victim);
        assert_eq!(daemon.server().counters.calls["lost"], round);
    }
    let modern = std::thread::scope(|scope| {
        let call = scope
            .spawn(|| modern_call(daemon.address(), &json!(1), "slow", &json!({"ms": 600_000})));
        daemon.until("it is at work", |s| s.in_flight == 1);
        signal(daemon.server().workers[0].pid, Signal::SIGKILL);
        call.join().unwrap()
    });
    assert_eq!(modern.status, 200);
    assert_lost(&modern.json());
    // What the dead ones had on disk goes with them, not with the daemon.
    let root = daemon.dir().join("state/scratch");
    until("only the living worker has a scratch directory", || {
        let left = std::fs::read_dir(&root).unwrap().count();
        (left == daemon.server().workers.len()).then_some(())
    });
}

#[test]
fn whatever_way_a_worker_dies_its_call_ends() {
    let daemon = daemon(ONE);
    let session = Session::open(&daemon);
    for (tool, arguments) in [
        ("exit", json!({"code": 0})),
        ("exit", json!({"code": 9, "when": "before"})),
        ("partial", json!({})),
        ("close_stdout", json!({})),
    ] {
        let deaths = daemon.server().counters.deaths;
        assert_lost(&session.call(tool, &arguments));
        assert_eq!(session.text("echo", &json!({"text": tool})), tool);
        daemon.until("it was counted", |s| s.counters.deaths == deaths + 1);
    }
}

#[test]
fn an_answer_beyond_the_limit_costs_its_call_alone() {
    let daemon = daemon(&format!("max_message_bytes = 100000\n{ONE}"));
    let session = Session::open(&daemon);
    let big = session.text("huge", &json!({"bytes": 90_000}));
    assert_eq!(big.len(), 90_000);
    let huge = session.start(&json!("huge"), "huge", &json!({"bytes": 5_000_000}));
    daemon.until("it is counted", |s| s.counters.oversize_frames == 1);
    assert_eq!(
        session.text("echo", &json!({"text": "meanwhile"})),
        "meanwhile"
    );
    let answer = mcp::response(huge);
    assert_eq!(answer["id"], "huge");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("100000"), "{answer}");
    let data = json!({"reason": "answer_too_large", "retryAfterMs": null, "retryable": false});
    assert_eq!(
        (&answer["error"]["code"], &answer["error"]["data"]),
        (&json!(-31010), &data)
    );
    assert_eq!(daemon.server().counters.deaths, 0);
    assert_eq!(daemon.server().in_flight, 0);
}

#[test]
fn a_worker_that_does_not_read_blocks_only_itself() {
    let daemon = Daemon::ready(
        &format!(
            "[servers.a]\n{}{ONE}write_queue_bytes = 4194304\n[servers.good]\n{}{ONE}",
            chaos(&[]),
            chaos(&[])
        )
        .replacen(
            "[servers.a]\n",
            "[servers.a]\ndefault = true\nconcurrency = 100\n",
            1,
        ),
    );
    let session = Session::open(&daemon);
    assert_eq!(
        session.text("stop_reading", &json!({"ms": 3_000})),
        "not reading"
    );
    let large = "x".repeat(1 << 20);
    let calls: Vec<_> = (0..12)
        .map(|n| session.start(&json!(n), "echo", &json!({"text": large})))
        .collect();
    let good = Session::open_at(&daemon, "/servers/good/mcp", mcp::LATEST);
    assert_eq!(good.text("echo", &json!({"text": "fine"})), "fine");
    let (mut served, mut refused) = (0, 0);
    for (n, call) in calls.into_iter().enumerate() {
        let answer = mcp::response(call);
        assert_eq!(answer["id"], n);
        if answer.get("result").is_some() {
            assert_eq!(mcp::text(&answer), large);
            served += 1;
        } else {
            assert_eq!(answer["error"]["code"], -31003, "{answer}");
            assert_eq!(answer["error"]["data"]["retryable"], true);
            refused += 1;
        }
    }
    // What fits into the queue is served once the worker reads again; the rest is told at once.
    assert!(
        served >= 4 && refused >= 4,
        "{served} served, {refused} refused"
    );
    assert_eq!(
        session.text("echo", &json!({"text": "reads again"})),
        "reads again"
    );
}

#[test]
fn pitfall_9_a_flood_of_stderr_hangs_nothing() {
    let daemon = daemon(ONE);
    let session = Session::open(&daemon);
    for (bytes, newline) in [(8_u64 << 20, true), (1 << 30, false)] {
        let flood = json!({"bytes": bytes, "newline": newline});
        assert_eq!(session.text("stderr", &flood), "written");
    }
    assert_eq!(session.text("echo", &json!({"text": "x"})), "x");
    assert!(
        daemon.log().len() < 4 << 20,
        "{} bytes of log",
        daemon.log().len()
    );
}

#[test]
fn answers_nobody_asked_for_reach_nobody() {
    let daemon = daemon(ONE);
    let session = Session::open(&daemon);
    let unrouted = || daemon.server().counters.unrouted;
    let mut wrong = session.start(&json!("w"), "wrong_id", &json!({}));
    wrong.event().unwrap();
    daemon.until("it is counted", |s| s.counters.unrouted == 1);
    let before = unrouted();
    assert_eq!(session.text("duplicate_id", &json!({})), "first");
    daemon.until("the second answer is counted", |s| {
        s.counters.unrouted == before + 1
    });
    assert_eq!(session.text("echo", &json!({"text": "mine"})), "mine");
    // Result and error in one frame: no message at all, so its call goes on waiting.
    let junk = daemon.server().counters.junk_lines;
    let mut both = session.start(&json!("b"), "both", &json!({}));
    both.event().unwrap();
    daemon.until("it is counted", |s| s.counters.junk_lines == junk + 1);
    // A late answer to a cancelled call is dropped.
    let mut late = session.start(&json!("l"), "late", &json!({"ms": 300}));
    late.event().unwrap();
    session.notify("notifications/cancelled", &json!({"requestId": "l"}));
    for id in ["w", "b"] {
        session.notify("notifications/cancelled", &json!({"requestId": id}));
    }
    let after = daemon.until("all are cancelled", |s| s.counters.calls["cancelled"] == 3);
    assert_eq!(after.counters.deaths, 0);
    let quick = session.start(&json!("l"), "slow", &json!({"ms": 600}));
    assert_eq!(
        mcp::text(&mcp::response(quick)),
        "slept",
        "not the late answer of the same id"
    );
    assert_eq!(session.text("echo", &json!({"text": "x"})), "x");
}

#[test]
fn half_an_answer_hurts_only_its_own_call() {
    let daemon = daemon(ONE);
    let session = Session::open(&daemon);
    let mut half = session.start(&json!("half"), "partial", &json!({"exit": false}));
    half.event().unwrap();
    daemon.until("it is at work", |s| s.in_flight == 1);
    // The next frame ends the broken line; both together are junk.
    let broken = session.start(&json!("next"), "echo", &json!({"text": "glued"}));
    daemon.until("it is counted", |s| s.counters.junk_lines == 1);
    assert_eq!(session.text("echo", &json!({"text": "whole"})), "whole");
    for id in ["half", "next"] {
        session.notify("notifications/cancelled", &json!({"requestId": id}));
    }
    daemon.until("both are cancelled", |s| s.counters.calls["cancelled"] == 2);
    broken.wait_for_end();
    half.wait_for_end();
}

#[test]
fn children_that_a_worker_leaves_behind_are_killed() {
    let daemon = daemon(ONE);
    let session = Session::open(&daemon);
    for group in [false, true] {
        session.call("fork", &json!({"group": group}));
    }
    let told: Value = serde_json::from_str(&session.text("pid", &json!({}))).unwrap();
    let children: Vec<u64> = told["children"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    assert_eq!(children.len(), 2);
    signal(pid(&session), Signal::SIGKILL);
    until("the children are gone", || {
        let alive = |pid: &u64| daemon.processes().contains(&u32::try_from(*pid).unwrap());
        (!children.iter().any(alive)).then_some(())
    });
    assert_eq!(session.text("echo", &json!({"text": "x"})), "x");
}
