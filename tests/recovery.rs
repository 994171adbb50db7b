//! A server whose workers cannot start: it is tried again without end and without a spin, callers
//! are held for a short outage and then told why, and once it is repaired it serves again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use mainstay::broker::snapshot::ServerStatus;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, chaosworker, signal, until};
use support::mcp::{self, Session, modern_call};
use tempfile::TempDir;

/// Two attempts a rung, the first 100 ms and the others 200 ms apart: 2, 4 and 6 failures lead to
/// the rungs 2, 3 and 4.
const QUICK_LADDER: &str = "recovery = { max_restart_attempts = 2, restart_delay = \"200ms\" }\n";
const ONE: &str = "pool = { min_size = 1, max_size = 2 }\n";

/// Most starts there can have been after so long: the delays of the quick ladder, all of them cut
/// to their half by chance, each start failing in no time.
fn most_starts(elapsed: Duration) -> u64 {
    let mut starts = 1;
    let mut at = 0;
    let millis = elapsed.as_millis();
    for failures in 1u32.. {
        let cap = if failures < 6 { 200 } else { 30_000 };
        at += (100 << (failures - 1).min(20)).min(cap) / 2;
        if at > millis {
            break;
        }
        starts += 1;
    }
    starts
}

/// A worker that dies at its start as long as the file of this name is there.
fn while_there(file: &Path) -> String {
    chaos(&["--die-while", file.to_str().unwrap()])
}

/// A program, as a package manager puts it there: complete, or not at all.
fn install(path: &Path, script: &str) {
    let new = path.with_extension("new");
    fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, path).unwrap();
}

fn until_rung(daemon: &Daemon, rung: u32) {
    let told = format!("rung={rung}");
    until("the rung is reached", || {
        let log = daemon.log();
        let mut events = log.lines().filter(|l| l.contains("event=rung_reached"));
        events.any(|l| l.contains(&told)).then_some(())
    });
}

/// The rungs that were told, in their order.
fn rungs(daemon: &Daemon) -> Vec<u32> {
    let log = daemon.log();
    let events = log.lines().filter(|l| l.contains("event=rung_reached"));
    let number = |l: &str| l.split("rung=").nth(1)?.split(' ').next()?.parse().ok();
    events.filter_map(number).collect()
}

/// Waits until nobody starts, the last failure is a second old and the pace allows the next try in
/// a while only.
fn until_it_rests(daemon: &Daemon) -> ServerStatus {
    let mut deaths = (0, Instant::now());
    daemon.until("the next try is a while away", |s| {
        if deaths.0 != s.counters.deaths {
            deaths = (s.counters.deaths, Instant::now());
        }
        let next = s.last_failure.as_ref().and_then(|f| f.retry_in_ms);
        let is_old = deaths.1.elapsed() > Duration::from_secs(1);
        s.starting == 0 && is_old && next.is_some_and(|ms| ms > 1_200)
    })
}

/// A handshake; its answer.
fn hello(daemon: &Daemon) -> Value {
    let hello = mcp::initialize(mcp::LATEST).to_string();
    mcp::post(daemon.address(), "/mcp", &[], &hello).json()
}

/// The error of a refused call names the exit, the last words and when to come back.
fn assert_told(answer: &Value, parts: &[&str]) {
    let error = &answer["error"];
    assert_eq!(error["code"], -31003, "{answer}");
    assert_eq!(error["data"]["reason"], "overloaded", "{answer}");
    assert!(
        error["data"]["retryAfterMs"].as_u64().unwrap() > 0,
        "{answer}"
    );
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

/// The call had its own try: it was over before the next one by the pace was due.
fn assert_before_its_time(before: &ServerStatus, start: Instant) {
    let due = before.last_failure.as_ref().unwrap().retry_in_ms.unwrap();
    assert!(
        start.elapsed() < Duration::from_millis(due),
        "no try for the call"
    );
}

/// After the repair: the next call is served, by the first start there is from now on.
fn assert_back_by_a_call(daemon: &Daemon, before: &ServerStatus) -> Session {
    let start = Instant::now();
    let session = Session::open(daemon);
    assert_eq!(session.text("echo", &json!({"text": "x"})), "x");
    assert_before_its_time(before, start);
    eprintln!("served {} ms after the repair", start.elapsed().as_millis());
    let after = daemon.server();
    assert_eq!(
        after.counters.deaths, before.counters.deaths,
        "no try failed"
    );
    session
}

/// After the repair: it comes up though nobody calls.
fn assert_back_by_itself(daemon: &Daemon) {
    let start = Instant::now();
    while daemon.health().0 != 200 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{}",
            daemon.log()
        );
        sleep(Duration::from_millis(20));
    }
    eprintln!(
        "by itself {} ms after the repair",
        start.elapsed().as_millis()
    );
}

fn in_a_directory() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fault");
    (dir, file)
}

#[test]
fn a_crash_loop_has_no_spin_and_no_end_and_is_over_when_it_is_repaired() {
    let (dir, fault) = in_a_directory();
    fs::write(&fault, "").unwrap();
    let start = Instant::now();
    let servers = format!("[servers.a]\n{}{ONE}{QUICK_LADDER}", while_there(&fault));
    let daemon = Daemon::start_in(dir, "", &servers);
    until_rung(&daemon, 4);
    assert_eq!(rungs(&daemon), [2, 3, 4]);
    let now = until_it_rests(&daemon);
    assert!(now.counters.starts >= 6, "{now:#?}");
    assert!(
        now.counters.starts <= most_starts(start.elapsed()),
        "{now:#?}"
    );

    // Whoever looks is told what it is.
    let reason = now.reason.unwrap();
    for part in [
        "exited with status 1",
        "installation looks broken: every start failed within",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
    let failure = now.last_failure.unwrap();
    assert!(failure.stderr.concat().contains("is not repaired yet"));
    let (status, health) = daemon.health();
    assert_eq!(status, 503);
    let shown = health.to_string();
    assert!(
        shown.contains("looks broken") && shown.contains("is not repaired yet"),
        "{shown}"
    );

    // A call gets one try, and the reason when that fails, too.
    let told = [
        "exited with status 1",
        "looks broken",
        "is not repaired yet",
    ];
    for call in 1..=2 {
        let before = until_it_rests(&daemon);
        let start = Instant::now();
        match call {
            1 => assert_told(&hello(&daemon), &told),
            _ => {
                let answer = modern_call(daemon.address(), &json!(1), "echo", &json!({}));
                assert_told(&answer.json(), &told);
            }
        }
        assert_before_its_time(&before, start);
        let after = until_it_rests(&daemon).counters.starts;
        assert_eq!(after, before.counters.starts + 1);
    }

    let before = until_it_rests(&daemon);
    fs::remove_file(&fault).unwrap();
    assert_back_by_a_call(&daemon, &before);
    assert_eq!(rungs(&daemon), [2, 3, 4], "no rung is told twice");
}

#[test]
fn a_server_that_nobody_calls_comes_back_by_itself() {
    let (dir, fault) = in_a_directory();
    fs::write(&fault, "").unwrap();
    let servers = format!("[servers.a]\n{}{ONE}{QUICK_LADDER}", while_there(&fault));
    let daemon = Daemon::start_in(dir, "", &servers);
    until_rung(&daemon, 4);
    fs::remove_file(&fault).unwrap();
    assert_back_by_itself(&daemon);
}

#[test]
fn a_program_that_is_not_there_is_looked_for_again() {
    for wanted in [true, false] {
        let (dir, program) = in_a_directory();
        let servers = format!(
            "[servers.a]\ncommand = [{:?}]\n{ONE}{QUICK_LADDER}",
            program.display().to_string()
        );
        let daemon = Daemon::start_in(dir, "", &servers);
        until_rung(&daemon, 4);
        assert_eq!(rungs(&daemon), [2, 3, 4]);
        let before = until_it_rests(&daemon);
        let reason = before.reason.clone().unwrap();
        assert!(reason.contains("looks broken"), "{reason}");
        assert_told(&hello(&daemon), &["command not found", "looks broken"]);
        let before = until_it_rests(&daemon);
        install(&program, &format!("exec {}", chaosworker().display()));
        if wanted {
            assert_back_by_a_call(&daemon, &before);
        } else {
            assert_back_by_itself(&daemon);
        }
    }
}

#[test]
fn a_call_is_held_for_a_short_outage_and_told_of_a_long_one() {
    for attempts in [1_000, 3] {
        let (dir, fault) = in_a_directory();
        let servers = format!(
            "[servers.a]\n{}pool = {{ min_size = 1, max_size = 1 }}\n\
             recovery = {{ max_restart_attempts = {attempts}, restart_delay = \"100ms\" }}\n",
            while_there(&fault)
        );
        let daemon = Daemon::start_in(dir, "", &servers).until_healthy();
        let session = Session::open(&daemon);
        assert_eq!(session.text("echo", &json!({"text": "before"})), "before");
        let starts = daemon
            .until("nobody starts", |s| s.starting == 0)
            .counters
            .starts;
        fs::write(&fault, "").unwrap();
        for worker in daemon.server().workers {
            signal(worker.pid, Signal::SIGKILL);
        }
        let failing = daemon.until("starts fail", |s| {
            s.ready == 0 && s.counters.starts > starts
        });
        assert!(failing.counters.deaths > 0);
        thread::scope(|scope| {
            let call = scope.spawn(|| session.call("echo", &json!({"text": "held"})));
            if attempts == 3 {
                assert_told(
                    &call.join().unwrap(),
                    &["exited with status 1", "is not repaired yet"],
                );
                let told = daemon.server();
                assert!(told.counters.starts >= starts + 3, "{told:#?}");
                return;
            }
            daemon.until("it waits through failures", |s| {
                s.queued == 1 && s.counters.starts > failing.counters.starts + 2
            });
            assert!(!call.is_finished());
            fs::remove_file(&fault).unwrap();
            assert_eq!(mcp::text(&call.join().unwrap()), "held");
        });
    }
}

#[test]
fn a_worker_that_served_is_replaced_at_once() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}pool = {{ min_size = 1, max_size = 1 }}\n",
        chaos(&[])
    ));
    let session = Session::open(&daemon);
    for death in 1..=5 {
        assert_eq!(session.text("echo", &json!({"text": "x"})), "x");
        let victim = daemon
            .until("it is idle", |s| s.ready == 1 && s.in_flight == 0)
            .workers[0]
            .clone();
        let start = Instant::now();
        signal(victim.pid, Signal::SIGKILL);
        let after = daemon.until("another one is there", |s| {
            s.counters.deaths == death && s.ready == 1 && s.last_failure.is_some()
        });
        eprintln!("replaced after {} ms", start.elapsed().as_millis());
        let failure = after.last_failure.unwrap();
        assert_eq!((failure.in_a_row, failure.retry_in_ms), (0, None));
    }
    assert_eq!(rungs(&daemon), [0; 0]);
}

/// The environment of the worker that answers.
fn environment(session: &Session) -> Value {
    serde_json::from_str(&session.text("env", &json!({}))).unwrap()
}

#[test]
fn a_poisoned_environment_is_left_out_on_the_second_rung() {
    let (dir, program) = in_a_directory();
    let worker = chaosworker().display().to_string();
    let script =
        format!("test -z \"$POISON\" || {{ echo \"POISON is set\" >&2; exit 3; }}\nexec {worker}");
    install(&program, &script);
    let servers = format!(
        "[servers.a]\ncommand = [{:?}]\nenv = {{ OWN = \"kept\" }}\nenv_pass = [\"POISON\"]\n\
         pool = {{ min_size = 1, max_size = 1 }}\n{QUICK_LADDER}",
        program.display().to_string()
    );
    let daemon = Daemon::start_as(dir, "", &servers, &[("POISON", "x")]).until_healthy();
    let session = Session::open(&daemon);
    let env = environment(&session);
    assert_eq!(
        (&env["OWN"], &env["POISON"]),
        (&json!("kept"), &Value::Null)
    );
    assert_eq!(rungs(&daemon), [2]);
    let now = daemon.server();
    assert_eq!(
        now.counters.deaths, 2,
        "two tries with it, then one without"
    );
    let reason = now.reason.unwrap();
    assert!(
        reason.contains("without the variables of env_pass"),
        "{reason}"
    );
    let said = daemon.log();
    assert!(
        said.contains("start without the variables of env_pass"),
        "{said}"
    );
}

#[test]
fn an_environment_that_is_needed_is_back_on_the_higher_rungs() {
    let (dir, program) = in_a_directory();
    let fault = dir.path().join("really");
    fs::write(&fault, "").unwrap();
    let script = format!(
        "test -n \"$TOKEN\" || exit 4\ntest ! -e {} || exit 5\nexec {}",
        fault.display(),
        chaosworker().display()
    );
    install(&program, &script);
    let servers = format!(
        "[servers.a]\ncommand = [{:?}]\nenv_pass = [\"TOKEN\"]\n{ONE}{QUICK_LADDER}",
        program.display().to_string()
    );
    let daemon = Daemon::start_as(dir, "", &servers, &[("TOKEN", "t")]);
    until_rung(&daemon, 4);
    let ends = |code: u32| {
        daemon
            .log()
            .matches(&format!("with status {code} "))
            .count()
    };
    assert!(ends(4) == 2, "none was started without: {}", daemon.log());
    let before = until_it_rests(&daemon);
    fs::remove_file(&fault).unwrap();
    let session = assert_back_by_a_call(&daemon, &before);
    assert_eq!(environment(&session)["TOKEN"], "t");
}

#[test]
fn a_program_that_speaks_another_era_now_is_asked_again() {
    let (dir, program) = in_a_directory();
    let speak = |era: &str| {
        let worker = chaosworker().display().to_string();
        install(&program, &format!("exec {worker} --era {era}"));
    };
    speak("legacy");
    let servers = format!(
        "[servers.a]\ncommand = [{:?}]\n{ONE}{QUICK_LADDER}",
        program.display().to_string()
    );
    let daemon = Daemon::start_in(dir, "", &servers).until_healthy();
    daemon.until("one serves", |s| s.era == "legacy" && s.starting == 0);
    speak("modern");
    for worker in daemon.server().workers {
        signal(worker.pid, Signal::SIGKILL);
    }
    daemon.until("the other era is found", |s| {
        s.era == "modern" && s.ready > 0
    });
    let answer = modern_call(daemon.address(), &json!(1), "echo", &json!({"text": "x"}));
    assert_eq!(mcp::text(&answer.json()), "x");
}

#[test]
fn what_a_worker_left_in_its_directory_is_not_what_the_next_one_finds() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}pool = {{ min_size = 1, max_size = 1 }}\n",
        chaos(&["--poison-scratch"])
    ));
    let session = Session::open(&daemon);
    let home = |env: &Value| PathBuf::from(env["HOME"].as_str().unwrap());
    let old = home(&environment(&session));
    session.call("create", &json!({"id": "a", "value": "v"}));
    fs::write(old.join("poison"), "truncat").unwrap();
    let pid = daemon.server().workers[0].pid;
    signal(pid, Signal::SIGKILL);
    daemon.until("another one is there", |s| {
        s.ready == 1 && s.counters.deaths == 1
    });
    let new = home(&environment(&session));
    assert_ne!(old, new);
    assert_eq!(
        fs::read_dir(&new).unwrap().count(),
        0,
        "it begins with nothing"
    );
    until("the old one is gone", || (!old.exists()).then_some(()));
}
