//! `mainstayctl stress` against real daemons: what it measures is real, its verdict follows from it,
//! and it can say FAIL.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, signal};
use support::mcp::Session;

fn socket(daemon: &Daemon) -> PathBuf {
    daemon.dir().join("admin.sock")
}

fn command(socket: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstayctl"));
    command
        .env_clear()
        .arg("--socket")
        .arg(socket)
        .arg("stress");
    command.args(arguments.split(' '));
    command
}

/// Exit status and report.
fn stress(daemon: &Daemon, arguments: &str) -> (i32, Value) {
    let arguments = format!("{arguments} --json");
    report(&command(&socket(daemon), &arguments).output().unwrap())
}

fn report(output: &Output) -> (i32, Value) {
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), report)
}

#[test]
fn a_server_that_is_left_alone_passes_and_is_left_as_it_was() {
    let daemon = Daemon::ready("");
    let (code, report) = stress(&daemon, "--duration 2s --users 10 --chaos none");
    assert_eq!(
        (code, &report["verdict"]),
        (0, &json!("PASS")),
        "{report:#}"
    );
    assert_eq!(report["calls"], report["good"]);
    assert_eq!(report["reasons"], json!([]));
    assert_eq!(report["server"], "score");
    assert_eq!(report["eras"], json!(["legacy", "modern"]));
    assert_eq!(report["kills"], 0);
    assert_eq!(report["failures"], json!([]));
    for name in ["p50", "p90", "p99", "max"] {
        assert!(
            report["latency_seconds"][name].as_f64().unwrap() > 0.0,
            "{report:#}"
        );
    }
    for name in ["daemon_peak", "workers_peak"] {
        assert!(
            report["memory_bytes"][name].as_u64().unwrap() > 1 << 20,
            "{report:#}"
        );
    }
    // The daemon saw the calls, and more: sessions and what was taken away again.
    let server = daemon.server();
    assert!(server.counters.calls["ok"] >= report["calls"].as_u64().unwrap());
    assert_eq!(server.sessions, 0);
    let scores = Session::open(&daemon).text("list_scores", &json!({}));
    assert_eq!(scores, r#"{"count":0,"scores":[]}"#);
}

#[test]
fn every_kill_is_followed_by_a_recovery() {
    let daemon = Daemon::ready("");
    let first = daemon.server().workers[0].pid;
    let (code, report) = stress(&daemon, "--duration 6s --users 10 --kill-every 500ms");
    let kills = report["kills"].as_u64().unwrap();
    assert!(kills >= 3, "{report:#}");
    assert_eq!(
        daemon.server().counters.deaths,
        kills,
        "nobody else was killed"
    );
    assert_ne!(daemon.server().workers[0].pid, first);
    let recovery = &report["recovery_seconds"];
    assert_eq!(
        (&recovery["count"], &recovery["missing"]),
        (&json!(kills), &json!(0))
    );
    let number = |name: &str| recovery[name].as_f64().unwrap();
    assert!(
        0.0 < number("min") && number("min") <= number("p50"),
        "{recovery}"
    );
    assert!(
        number("p50") <= number("max") && number("max") < 60.0,
        "{recovery}"
    );
    // A worker that dies takes its scores and its calls with it, so that this is near the limit:
    // the verdict must be that of the figures, whichever that is.
    let good = report["success"].as_f64().unwrap() >= 0.995
        && report["latency_seconds"]["p99"].as_f64().unwrap() <= 0.5;
    assert_eq!(report["verdict"] == "PASS", good, "{report:#}");
    assert_eq!(code == 0, good);
    assert!(report["success"].as_f64().unwrap() > 0.9, "{report:#}");
}

#[test]
fn a_server_that_never_runs_fails_with_nothing_good() {
    let daemon = Daemon::start("[servers.dead]\ncommand = [\"/bin/false\"]\n");
    let (code, report) = stress(&daemon, "--duration 2s --users 5");
    assert_eq!(
        (code, &report["verdict"]),
        (1, &json!("FAIL")),
        "{report:#}"
    );
    assert_eq!(
        (&report["good"], &report["success"]),
        (&json!(0), &json!(0.0))
    );
    assert!(report["calls"].as_u64().unwrap() > 0, "{report:#}");
    let first = report["first_error"].as_str().unwrap();
    assert!(first.contains("exited with status 1"), "{first}");
    let output = command(&socket(&daemon), "--duration 1s --users 2")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(" 0.00 % good"), "{text}");
    assert!(
        text.contains("verdict   FAIL: no call was answered well"),
        "{text}"
    );
}

#[test]
fn a_server_that_lies_fails() {
    let score = format!("{} score", env!("CARGO_BIN_EXE_mainstayd"));
    let command = chaos(&["--relay", &score, "--lie", "D major=B minor"]);
    let daemon = Daemon::ready(&format!(
        "[servers.liar]\n{command}pool = {{ min_size = 1 }}\nstate = \"shared\"\n"
    ));
    let (code, report) = stress(&daemon, "--duration 2s --users 10 --chaos none");
    assert_eq!(
        (code, &report["verdict"]),
        (1, &json!("FAIL")),
        "{report:#}"
    );
    let failed = &report["failures"][0];
    assert_eq!(failed["kind"], "wrong answer", "{report:#}");
    let example = "key_analysis: key is \"B minor\", not \"D major\"";
    assert_eq!(failed["example"], example);
    // The other melodies are analysed truly.
    assert!(report["good"].as_u64().unwrap() > 0);
}

#[test]
fn another_server_is_asked_what_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let command = chaos(&["--log", ledger.to_str().unwrap()]);
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{command}pool = {{ min_size = 2 }}\n"
    ));
    let (code, report) = stress(&daemon, "--duration 2s --users 10 --chaos none");
    assert_eq!(code, 0, "{report:#}");
    let load = report["load"].as_str().unwrap();
    assert!(load.contains("echo") && !load.contains("delete"), "{load}");
    let ledger = std::fs::read_to_string(&ledger).unwrap();
    assert!(ledger.contains("\"tool\":\"echo\""), "{ledger}");
    for tool in ["delete", "effect", "exit", "fork"] {
        assert!(!ledger.contains(&format!("\"tool\":\"{tool}\"")), "{tool}");
    }
}

#[test]
fn without_a_daemon_it_says_what_to_do() {
    let output = command(Path::new("/nonexistent"), "--duration 1s")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(69));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("--chaos none") && told.contains("--socket"),
        "{told}"
    );
    for wrong in [
        "--hours 0",
        "--users 0",
        "--duration soon",
        "--url https://a/mcp",
    ] {
        let output = command(Path::new("/nonexistent"), wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{wrong}");
    }
}

#[test]
fn workers_of_another_daemon_are_not_killed() {
    let (target, bystander) = (Daemon::ready(""), Daemon::ready(""));
    let url = format!("--duration 1s --url http://{}/mcp", target.address());
    let output = command(&socket(&bystander), &url).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains(&bystander.address().to_string()), "{told}");
    let calm = format!("{url} --users 3 --chaos none");
    let (code, report) = stress(&bystander, &calm);
    assert_eq!((code, &report["server"]), (0, &Value::Null), "{report:#}");
    assert_eq!(bystander.server().counters.calls["ok"], 0);
}

#[test]
fn an_interrupted_run_reports_and_does_not_pass() {
    let daemon = Daemon::ready("");
    let mut command = command(&socket(&daemon), "--hours 1 --users 5 --chaos none --json");
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    daemon.until("calls are made", |s| {
        s.counters.calls.get("ok").is_some_and(|calls| *calls > 50)
    });
    signal(child.id(), Signal::SIGINT);
    let (code, report) = report(&child.wait_with_output().unwrap());
    assert_eq!(
        (code, &report["verdict"]),
        (1, &json!("FAIL")),
        "{report:#}"
    );
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["reasons"], json!(["it was interrupted"]));
    assert!(report["good"].as_u64().unwrap() > 0);
}
