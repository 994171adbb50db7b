//! Starts that cannot work, each with one clear line and its exit code, and ends that lose nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, until};
use support::mcp::{self, Session, modern_call};
use tempfile::TempDir;

/// Runs the daemon until it ends by itself, as these must.
fn run(arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mainstayd"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let over = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until("it ends by itself", || child.try_wait().unwrap())
    }));
    if over.is_err() {
        support::daemon::signal(pid, nix::sys::signal::Signal::SIGTERM);
    }
    child.wait_with_output().unwrap()
}

/// The only line on stderr, and the exit code.
fn one_line(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    let said: Vec<&str> = text.lines().collect();
    assert_eq!(said.len(), 1, "{text}");
    (output.status.code().unwrap(), said[0].to_owned())
}

/// A configuration that would work.
fn good(dir: &TempDir) -> String {
    let file = dir.path().join("good.toml");
    let text = format!(
        "[listen]\nhttp = \"127.0.0.1:0\"\n[servers.a]\n{}",
        chaos(&[])
    );
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

#[test]
fn a_port_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let state = path(dir.path(), "state");
    let (code, line) = one_line(&[
        "--config",
        &good(&dir),
        "--listen",
        &address,
        "--state-dir",
        &state,
    ]);
    assert_eq!(code, 71);
    for part in [
        "cannot listen on",
        address.as_str(),
        "has this port",
        "--listen",
    ] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn an_address_that_is_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    let state = path(dir.path(), "state");
    let (code, line) = one_line(&[
        "--config",
        &good(&dir),
        "--listen",
        "192.0.2.1:80",
        "--state-dir",
        &state,
    ]);
    assert_eq!(code, 71);
    assert!(line.contains("cannot listen on 192.0.2.1:80"), "{line}");
}

#[test]
fn a_state_directory_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let config = good(&dir);
    // Neither a file, nor below one, nor where not even root may write.
    for state in [
        path(dir.path(), "file"),
        path(&file, "state"),
        "/proc/mainstay".to_owned(),
    ] {
        let (code, line) = one_line(&["--config", &config, "--state-dir", &state]);
        assert_eq!(code, 73, "{line}");
        assert!(
            line.contains(&state) && line.contains("--state-dir"),
            "{line}"
        );
    }
}

#[test]
fn a_second_daemon_on_the_same_state() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}pool = {{ min_size = 1 }}\n",
        chaos(&[])
    ));
    let before = daemon.processes();
    let dir = tempfile::tempdir().unwrap();
    let state = path(daemon.dir(), "state");
    let (code, line) = one_line(&["--config", &good(&dir), "--state-dir", &state]);
    assert_eq!(code, 71);
    assert!(
        line.contains("another mainstayd uses") && line.contains(&state),
        "{line}"
    );
    let session = Session::open(&daemon);
    assert_eq!(
        session.text("echo", &json!({"text": "unharmed"})),
        "unharmed"
    );
    let after = daemon.processes();
    assert!(!before.is_empty() && before.iter().all(|pid| after.contains(pid)));
}

#[test]
fn an_admin_socket_that_cannot_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("c.toml");
    let text = format!(
        "[listen]\nhttp = \"127.0.0.1:0\"\n[admin]\nsocket = \"/proc/mainstay/s\"\n[servers.a]\n{}",
        chaos(&[])
    );
    fs::write(&config, text).unwrap();
    let state = path(dir.path(), "state");
    let (code, line) = one_line(&[
        "--config",
        &config.display().to_string(),
        "--state-dir",
        &state,
    ]);
    assert_eq!(code, 73, "{line}");
    assert!(line.contains("/proc/mainstay"), "{line}");
}

#[test]
fn a_bad_configuration_shows_all_its_errors_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("bad.toml");
    fs::write(
        &config,
        "[listen]\nhttp = \"nowhere\"\n\n[servers.a]\ncomand = [\"x\"]\nconcurrency = 0\n\
         state = \"nobody\"\npool = { min_size = 9, max_size = 2 }\n",
    )
    .unwrap();
    let config = config.display().to_string();
    let state = path(dir.path(), "state");
    let started = run(&["--config", &config, "--state-dir", &state]);
    let checked = run(&["check", "--config", &config, "--state-dir", &state]);
    for output in [&started, &checked] {
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(output.stdout, b"");
    }
    assert_eq!(started.stderr, checked.stderr);
    let text = String::from_utf8(started.stderr).unwrap();
    for (line, key) in [
        (2, "http"),
        (5, "comand"),
        (6, "concurrency"),
        (7, "state"),
        (8, "pool"),
    ] {
        let place = format!("{config}:{line}");
        assert!(
            text.lines().any(|l| l.contains(&place) && l.contains(key)),
            "{place} {key}\n{text}"
        );
    }
    assert!(!Path::new(&state).exists(), "nothing was started");
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.toml");
    fs::write(&broken, "[listen\n").unwrap();
    for file in [
        path(dir.path(), "missing.toml"),
        dir.path().display().to_string(),
        broken.display().to_string(),
    ] {
        for words in [vec!["--config", &file], vec!["check", "--config", &file]] {
            let output = run(&words);
            assert_eq!(output.status.code(), Some(78), "{file}");
            assert!(String::from_utf8_lossy(&output.stderr).contains(&file));
        }
    }
}

#[test]
fn check_says_that_a_good_one_is_good_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = path(dir.path(), "state");
    let config = good(&dir);
    let output = run(&["check", "--config", &config, "--state-dir", &state]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"the configuration is good\n");
    assert_eq!(output.stderr, b"");
    let printed = run(&[
        "check",
        "--print",
        "--config",
        &config,
        "--state-dir",
        &state,
    ]);
    assert_eq!(printed.status.code(), Some(0));
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(
        text.contains("[servers.a]") && text.contains("chaosworker"),
        "{text}"
    );
    assert!(!Path::new(&state).exists());
}

#[test]
fn a_command_line_that_is_wrong() {
    for arguments in [
        &["--no-such-flag"][..],
        &["--listen", "nonsense"],
        &["--config"],
        &["nonsense"],
        &["check", "--no-such-flag"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert_ne!(output.stderr, b"", "{arguments:?}");
    }
    for arguments in ["--help", "--version"] {
        let output = run(&[arguments]);
        assert_eq!(output.status.code(), Some(0), "{arguments}");
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn sigterm_delivers_what_is_under_way_and_refuses_what_is_new() {
    for (era, twice) in [("legacy", false), ("modern", false), ("legacy", true)] {
        let mut daemon = Daemon::ready(&format!(
            "[servers.a]\n{}pool = {{ min_size = 1, max_size = 2 }}\n",
            chaos(&[])
        ));
        let session = Session::open(&daemon);
        let address = daemon.address();
        let mut standalone = session.get(None);
        standalone.event().unwrap();
        let slow = json!({"ms": 1_500});
        let answer = std::thread::scope(|scope| {
            let call = scope.spawn(|| match era {
                "legacy" => mcp::response(session.start(&json!("slow"), "slow", &slow)),
                _ => modern_call(address, &json!("slow"), "slow", &slow).json(),
            });
            daemon.until("it is in flight", |s| s.in_flight == 1);
            daemon.terminate();
            until("it drains", || {
                (daemon.log().contains("event=daemon_stopping")).then_some(())
            });
            if twice {
                // A second signal changes nothing.
                daemon.terminate();
            }
            call.join().unwrap()
        });
        assert_eq!(answer["id"], "slow");
        assert_eq!(mcp::text(&answer), "slept", "{era}");
        standalone.wait_for_end();
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
        daemon.stop();
    }
}

#[test]
fn a_call_that_arrives_while_draining_is_told_to_come_back() {
    let mut daemon = Daemon::ready(&format!(
        "[servers.a]\n{}pool = {{ min_size = 1, max_size = 2 }}\n",
        chaos(&[])
    ));
    let session = Session::open(&daemon);
    let body = json!({"jsonrpc": "2.0", "id": "new", "method": "tools/call", "params": {"name": "echo", "arguments": {}}}).to_string();
    // The head is on its way before the signal, so the connection is in use and stays.
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Type: application/json\r\n\
         Mcp-Session-Id: {}\r\nContent-Length: {}\r\n\r\n",
        session.id,
        body.len()
    );
    let mut late = std::net::TcpStream::connect(daemon.address()).unwrap();
    std::io::Write::write_all(&mut late, head.as_bytes()).unwrap();
    let mut slow = session.start(&json!("slow"), "slow", &json!({"ms": 1_500}));
    slow.event().unwrap();
    daemon.until("it is in flight", |s| s.in_flight == 1);
    until("both connections are open", || {
        (daemon.status().connections >= 2).then_some(())
    });
    daemon.terminate();
    until("it drains", || {
        daemon.log().contains("event=daemon_stopping").then_some(())
    });
    std::io::Write::write_all(&mut late, body.as_bytes()).unwrap();
    let mut text = String::new();
    late.set_read_timeout(Some(support::http::PATIENCE))
        .unwrap();
    std::io::Read::read_to_string(&mut late, &mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let answer: Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!("new"), &json!(-31007))
    );
    assert_eq!(answer["error"]["data"]["reason"], "draining");
    assert_eq!(answer["error"]["data"]["retryable"], true);
    assert!(answer["error"]["data"]["retryAfterMs"].is_u64());
    assert_eq!(mcp::text(&mcp::response(slow)), "slept");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn the_built_in_score_server_needs_no_configuration_of_its_own() {
    let daemon = Daemon::ready("[servers.music]\nbuiltin = \"score\"\n");
    let session = Session::open(&daemon);
    assert_eq!(session.result["protocolVersion"], mcp::LATEST);
    let tools = mcp::response(session.request(&json!(1), "tools/list", &json!({})));
    let tools = tools["result"]["tools"].as_array().unwrap().len();
    assert!(tools >= 5);
    let modern = mcp::modern(daemon.address(), &json!(1), "tools/list", &json!({}));
    assert_eq!(modern.status, 200);
    assert_eq!(
        modern.json()["result"]["tools"].as_array().unwrap().len(),
        tools
    );
    assert_eq!(daemon.server().era, "mixed");
}
