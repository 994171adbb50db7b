//! What an operator can change: the real admin socket and the real `mainstayctl` around a control
//! that writes down what it is told. Every command, what it says, its refusals, its JSON.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mainstay::admin::operator::Operator;
use mainstay::admin::protocol::{self, code};
use mainstay::admin::server::{Socket, bind, serve};
use mainstay::broker::control::{BreakerMode, Control, Impossible};
use mainstay::broker::reload::{Answer, Rejected, Reload, Reloaded};
use mainstay::broker::snapshot::{LimitStatus, Snapshot, View};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A broker that knows the server `music` with its tool `render`, worker 3 and two bad calls.
#[derive(Default)]
struct Broker {
    empty: bool,
    told: Mutex<Vec<String>>,
}

impl Broker {
    fn note(&self, what: String) {
        self.told.lock().unwrap().push(what);
    }
}

fn known(server: &str) -> Result<(), Impossible> {
    match server {
        "music" => Ok(()),
        _ => Err(Impossible(format!("there is no server {server}"))),
    }
}

impl View for Broker {
    fn snapshot(&self) -> Snapshot {
        let mut snapshot: Snapshot =
            serde_json::from_str(include_str!("support/status.json")).unwrap();
        if self.empty {
            snapshot.servers.clear();
        }
        snapshot
    }
}

impl Reload for Broker {
    fn reload(&self, check: bool, author: &str) -> Answer {
        self.note(format!("reload {check} {author}"));
        let answer = match self.empty {
            true => Err(Rejected(vec!["a.toml:1: x".into(), "a.toml:2: y".into()])),
            false => Ok(Reloaded {
                checked: check,
                added: vec!["weather".to_owned()],
                ..Reloaded::default()
            }),
        };
        Box::pin(async { answer })
    }
}

impl Control for Broker {
    fn set_breaker(
        &self,
        server: &str,
        tool: Option<&str>,
        mode: BreakerMode,
        expires: Option<Duration>,
        author: &str,
        reason: &str,
    ) -> Result<(), Impossible> {
        known(server)?;
        if !matches!(tool, None | Some("render")) {
            let tool = tool.unwrap_or_default();
            return Err(Impossible(format!(
                "tool {tool} of {server} has no breaker"
            )));
        }
        self.note(format!(
            "{server} {tool:?} {mode:?} {expires:?} {author}: {reason}"
        ));
        Ok(())
    }

    fn recycle(&self, worker: u64) -> Result<String, Impossible> {
        match worker {
            3 => Ok("music".to_owned()),
            other => Err(Impossible(format!("there is no worker {other}"))),
        }
    }

    fn drain(&self, server: &str, on: bool) -> Result<usize, Impossible> {
        known(server)?;
        self.note(format!("drain {server} {on}"));
        Ok(3)
    }

    fn clear_quarantine(&self, server: &str, digest: Option<&str>) -> Result<usize, Impossible> {
        known(server)?;
        match digest {
            None => Ok(2),
            Some("00f1e2d3c4b5a697") => Ok(1),
            Some(other) => Err(Impossible(format!(
                "no call of {server} has digest {other}"
            ))),
        }
    }

    fn limits(&self, most: usize) -> Vec<LimitStatus> {
        let bucket = |number: usize| LimitStatus {
            principal: format!("user{number}"),
            server: None,
            tool: None,
            rate: 100,
            burst_size: 200,
            remaining: 17,
            granted: 183,
            refused: 0,
        };
        let all = if self.empty { 0 } else { 100 };
        (0..all).take(most).map(bucket).collect()
    }
}

/// A daemon reduced to its admin socket.
struct Daemon {
    broker: Arc<Broker>,
    path: PathBuf,
    _runtime: Runtime,
    _dir: TempDir,
}

impl Daemon {
    fn start() -> Self {
        Self::around(Broker::default())
    }

    fn around(broker: Broker) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("mainstay.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(async { bind(&path) }).unwrap();
        let broker = Arc::new(broker);
        let control = Arc::clone(&broker) as Arc<dyn Control>;
        let view = Arc::clone(&broker) as Arc<dyn View>;
        let reload = Arc::clone(&broker) as Arc<dyn Reload>;
        let operator = Operator::new(view, control, reload);
        runtime.spawn(serve(
            Socket::Own(listener),
            operator,
            std::future::pending(),
        ));
        Self {
            broker,
            path,
            _runtime: runtime,
            _dir: dir,
        }
    }

    fn ctl(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstayctl"));
        command.env_clear().arg("--socket").arg(&self.path);
        command.args(args).output().unwrap()
    }

    /// What a command that is done says.
    fn done(&self, args: &[&str]) -> String {
        let output = self.ctl(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit status of a command that is not done, and what it says about it.
    fn failed(&self, args: &[&str]) -> (i32, String) {
        let output = self.ctl(args);
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), message)
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.done(args)).unwrap()
    }

    /// The answer to a line.
    fn line(&self, line: &str) -> Value {
        let mut stream = UnixStream::connect(&self.path).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.broker.told.lock().unwrap())
    }
}

/// Who this test is for a peer: its user, and the name if it has one here.
fn myself() -> String {
    let uid = nix::unistd::getuid();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let with = format!(":x:{uid}:");
    let name = passwd.lines().find_map(|line| line.split_once(&with));
    match name {
        Some((name, _)) => format!("user {uid} ({name})"),
        None => format!("user {uid}"),
    }
}

#[test]
fn a_breaker_is_set_for_a_time_with_author_and_reason() {
    let daemon = Daemon::start();
    let me = myself();
    let said = daemon.done(&[
        "breaker",
        "open",
        "music",
        "--for",
        "10m",
        "--reason",
        " the upstream moves ",
    ]);
    assert_eq!(
        said,
        format!(
            "the breaker of music is forced open: every call is refused with breaker_open\n\
             set by {me}, for 10m, then it decides by itself\n"
        )
    );
    assert_eq!(
        daemon.told(),
        [format!(
            "music None Open Some(600s) {me}: the upstream moves"
        )]
    );
}

#[test]
fn without_a_time_a_mode_stays_and_says_so() {
    let daemon = Daemon::start();
    for (word, mode) in [("open", "Open"), ("close", "Closed"), ("shadow", "Shadow")] {
        let said = daemon.done(&["breaker", word, "music/render", "--reason", "x"]);
        let until = "until somebody runs `mainstayctl breaker auto music/render`\n";
        assert!(said.ends_with(until), "{said}");
        let told = daemon.told();
        let wanted = format!("music Some(\"render\") {mode} None ");
        assert!(told[0].starts_with(&wanted), "{told:?}");
    }
    let said = daemon.done(&["breaker", "auto", "music/render"]);
    assert!(said.contains("of music/render decides by itself"), "{said}");
    let told = daemon.told();
    assert!(
        told[0].starts_with("music Some(\"render\") Auto None "),
        "{told:?}"
    );
    assert!(told[0].ends_with(": no reason given"), "{told:?}");
}

#[test]
fn worker_drain_and_quarantine_say_what_is_so_now() {
    let daemon = Daemon::start();
    let recycled = daemon.done(&["worker", "recycle", "3"]);
    assert!(
        recycled.starts_with("worker 3 of music is being replaced: "),
        "{recycled}"
    );
    assert_eq!(
        daemon.done(&["drain", "music"]),
        "music takes no new calls; 3 calls are in flight and may finish; take it back with \
         `mainstayctl drain music --undo`\n"
    );
    assert_eq!(
        daemon.done(&["drain", "music", "--undo"]),
        "music takes calls again\n"
    );
    assert_eq!(daemon.told(), ["drain music true", "drain music false"]);
    assert_eq!(
        daemon.done(&["quarantine", "clear", "music"]),
        "2 quarantined calls of music may be sent to workers again\n"
    );
    assert_eq!(
        daemon.done(&["quarantine", "clear", "music", "00f1e2d3c4b5a697"]),
        "1 quarantined call of music may be sent to workers again\n"
    );
}

#[test]
fn what_cannot_be_done_is_told_with_exit_status_1() {
    let daemon = Daemon::start();
    for (args, why) in [
        (
            &["breaker", "open", "nope", "--reason", "x"][..],
            "there is no server nope",
        ),
        (
            &["breaker", "auto", "music/nope"],
            "tool nope of music has no breaker",
        ),
        (&["worker", "recycle", "99"], "there is no worker 99"),
        (&["drain", "nope"], "there is no server nope"),
        (&["drain", "nope", "--undo"], "there is no server nope"),
        (&["quarantine", "clear", "nope"], "there is no server nope"),
        (
            &["quarantine", "clear", "music", "ff"],
            "no call of music has digest ff",
        ),
    ] {
        assert_eq!(
            daemon.failed(args),
            (1, format!("mainstayctl: {why}\n")),
            "{args:?}"
        );
    }
    assert!(daemon.told().is_empty());
}

#[test]
fn a_wrong_command_line_reaches_no_daemon() {
    let daemon = Daemon::start();
    for args in [
        &["breaker", "open", "music"][..],
        &["breaker", "close", "music", "--reason", " "],
        &["breaker", "open", "music", "--reason", "x", "--for", "10"],
        &["worker", "recycle", "music"],
        &["drain"],
        &["quarantine", "clear"],
        &["limits", "--most", "0"],
    ] {
        assert_eq!(daemon.failed(args).0, 64, "{args:?}");
    }
    assert!(daemon.told().is_empty());
}

#[test]
fn the_lists_are_tables_for_people() {
    let daemon = Daemon::start();
    for (args, head, row) in [
        (
            &["workers"][..],
            "SERVER  WORKER   PID  ",
            "music        3  4711  busy ",
        ),
        (
            &["breakers"],
            "SERVER  TOOL    STATE ",
            "github  -       open ",
        ),
        (
            &["quarantine"],
            "SERVER  TOOL          DIGEST ",
            "music   import_score  00f1e2d3c4b5a697 ",
        ),
        (
            &["limits"],
            "PRINCIPAL  SERVER  TOOL ",
            "user49     -       -     100/s    200    17 ",
        ),
    ] {
        let page = daemon.done(args);
        assert!(page.starts_with(head), "{page}");
        assert!(page.contains(row), "{page}");
        assert!(!page.contains("user50"), "{page}");
    }
}

#[test]
fn the_lists_are_json_for_programs() {
    let daemon = Daemon::start();
    let workers = daemon.json(&["workers", "--json"]);
    assert_eq!(workers[0]["server"], "music");
    assert_eq!(workers[0]["id"], 3);
    let breakers = daemon.json(&["breakers", "--json"]);
    assert_eq!(
        breakers[2],
        json!({
            "server": "github", "tool": null, "state": "open", "mode": "auto",
            "reason": "5 failures in a row", "author": null, "expires_in_ms": null,
            "retry_in_ms": 1250, "failures_in_a_row": 5, "window_calls": 5,
            "window_failures": 5, "trips": 1
        })
    );
    let quarantine = daemon.json(&["quarantine", "--json"]);
    assert_eq!(quarantine[0]["digest"], "00f1e2d3c4b5a697");
    assert_eq!(quarantine[0]["server"], "music");
    let limits = daemon.json(&["limits", "--json", "--most", "2"]);
    assert_eq!(limits.as_array().unwrap().len(), 2);
    assert_eq!(limits[1]["principal"], "user1");
}

#[test]
fn an_empty_list_is_a_sentence_or_an_empty_array() {
    let broker = Broker {
        empty: true,
        ..Broker::default()
    };
    let daemon = Daemon::around(broker);
    for list in ["workers", "breakers", "quarantine", "limits"] {
        let page = daemon.done(&[list]);
        assert!(
            page.starts_with("no ") && page.lines().count() == 1,
            "{page}"
        );
        assert_eq!(daemon.json(&[list, "--json"]), json!([]), "{list}");
    }
}

#[test]
fn wrong_arguments_on_the_wire_are_told_from_unknown_commands() {
    let daemon = Daemon::start();
    for (line, wanted) in [
        (
            r#"{"v":1,"command":"drain","server":"music"}"#,
            code::ARGUMENTS,
        ),
        (
            r#"{"v":1,"command":"breaker","server":"music","mode":"open"}"#,
            code::ARGUMENTS,
        ),
        (
            r#"{"v":1,"command":"recycle","worker":-1}"#,
            code::ARGUMENTS,
        ),
        (
            r#"{"v":1,"command":"recycle","worker":99}"#,
            code::IMPOSSIBLE,
        ),
        (
            r#"{"v":1,"command":"explode","server":"music"}"#,
            code::UNKNOWN,
        ),
    ] {
        let answer = daemon.line(line);
        assert_eq!(answer["error"]["code"], wanted, "{line}: {answer}");
        assert_eq!(answer["v"], protocol::VERSION);
    }
    assert!(daemon.told().is_empty());
    let drained = daemon.line(r#"{"v":1,"command":"drain","server":"music","on":true}"#);
    assert_eq!(drained, json!({"v": 1, "ok": {"in_flight": 3}}));
}

#[test]
fn without_a_daemon_every_command_says_so() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("nothing.sock");
    for args in [
        &["workers"][..],
        &["breakers"],
        &["limits"],
        &["quarantine"],
        &["quarantine", "clear", "music"],
        &["breaker", "open", "music", "--reason", "x"],
        &["worker", "recycle", "3"],
        &["drain", "music"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstayctl"));
        let output = command.arg("--socket").arg(&socket).args(args).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(69), "{args:?}: {output:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains("is mainstayd running?"), "{message}");
    }
}

/// The commands of the README are commands of the tool.
#[test]
fn the_documented_commands_exist() {
    let section = include_str!("../README.md").split("\n## Steering it\n");
    let section = section.last().unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut seen = 0;
    for row in rows {
        let line = row.split('`').next().unwrap();
        let words = line.split(' ');
        let words = words.take_while(|word| word.bytes().all(|b| b.is_ascii_lowercase()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstayctl"));
        let output = command.args(words).arg("--help").output().unwrap();
        let help = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        for option in line.split(' ').filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{line}: {help}");
        }
        seen += 1;
    }
    assert_eq!(seen, 13);
}

#[test]
fn a_reload_says_what_it_did_and_a_refused_one_why() {
    let daemon = Daemon::start();
    assert_eq!(
        daemon.done(&["reload"]),
        "reloaded; the new configuration is in force:\n  added: weather\n"
    );
    assert_eq!(
        daemon.done(&["reload", "--check"]),
        "the configuration is good; a reload would do this:\n  added: weather\n"
    );
    let me = myself();
    assert_eq!(
        daemon.told(),
        [format!("reload false {me}"), format!("reload true {me}")]
    );
    let daemon = Daemon::around(Broker {
        empty: true,
        ..Broker::default()
    });
    let (status, message) = daemon.failed(&["reload"]);
    assert_eq!(status, 1);
    assert!(
        message.contains("2 errors\n  a.toml:1: x\n  a.toml:2: y\n"),
        "{message}"
    );
}
