//! The scripted worker itself, without a daemon: each misbehaviour is what its name says. A test
//! about a failing worker proves nothing if the worker does not fail.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemon::{chaosworker, processes_of, signal, until};
use tempfile::TempDir;

/// A worker with its pipes, in a home of its own, which its offspring is found by.
struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    errors: Option<ChildStderr>,
    home: TempDir,
    next: u64,
}

impl Worker {
    fn start(arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    fn start_in(home: TempDir, arguments: &[&str]) -> Self {
        let mut child = Command::new(chaosworker())
            .args(arguments)
            .env("HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            errors: child.stderr.take(),
            child,
            home,
            next: 0,
        }
    }

    fn send(&mut self, tool: &str, arguments: &Value) -> u64 {
        let params = json!({"name": tool, "arguments": arguments});
        self.request("tools/call", &params)
    }

    fn request(&mut self, method: &str, params: &Value) -> u64 {
        self.next += 1;
        let frame = json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params});
        // It may be dead already, which is what the test looks at next.
        let _ = writeln!(self.input.as_mut().unwrap(), "{frame}");
        self.next
    }

    /// The next line as bytes, its end included; empty at the end.
    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.output.read_until(b'\n', &mut line).unwrap();
        line
    }

    fn frame(&mut self) -> Value {
        let line = self.line();
        serde_json::from_slice(&line).unwrap_or_else(|error| {
            panic!("{error} in {:?}", String::from_utf8_lossy(&line));
        })
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let id = self.send(tool, arguments);
        let answer = self.frame();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    fn text(&mut self, tool: &str, arguments: &Value) -> String {
        let answer = self.call(tool, arguments);
        let text = answer["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("no text in {answer}"))
            .to_owned()
    }

    fn end(&mut self) -> ExitStatus {
        until("the worker ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in processes_of(self.home.path()) {
            signal(pid, Signal::SIGKILL);
        }
    }
}

fn echo(worker: &mut Worker) {
    assert_eq!(worker.text("echo", &json!({"text": "x"})), "x");
}

#[test]
fn an_unknown_option_is_no_option() {
    assert_eq!(Worker::start(&["--log-file", "x"]).end().code(), Some(64));
}

#[test]
fn it_dies_when_it_is_told_to() {
    for (arguments, code) in [
        (json!({"when": "before", "code": 3}), 3),
        (json!({"when": "after", "code": 4}), 4),
    ] {
        let mut worker = Worker::start(&[]);
        worker.send("exit", &arguments);
        assert_eq!(worker.line(), b"");
        assert_eq!(worker.end().code(), Some(code));
    }
    let mut worker = Worker::start(&[]);
    assert_eq!(
        worker.text("exit", &json!({"when": "answered", "code": 5})),
        "bye"
    );
    assert_eq!(worker.end().code(), Some(5));
    assert_eq!(
        Worker::start(&["--die-at-start", "6"]).end().code(),
        Some(6)
    );
    let mut worker = Worker::start(&["--die-on", "initialize"]);
    echo(&mut worker);
    worker.request("initialize", &json!({}));
    assert_eq!(worker.end().code(), Some(3));
}

#[test]
fn it_dies_only_while_the_fault_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let fault = dir.path().join("fault");
    std::fs::write(&fault, "").unwrap();
    let arguments = ["--die-while", fault.to_str().unwrap()];
    assert_eq!(Worker::start(&arguments).end().code(), Some(1));
    std::fs::remove_file(&fault).unwrap();
    echo(&mut Worker::start(&arguments));
}

#[test]
fn a_hang_concerns_its_call_and_a_wedge_concerns_all() {
    let mut worker = Worker::start(&[]);
    worker.send("hang", &json!({}));
    echo(&mut worker);
    let wedge = worker.send("wedge", &json!({"ms": 50, "cpu": true}));
    let behind = worker.send("echo", &json!({"text": "behind"}));
    assert_eq!(worker.frame()["id"], wedge);
    assert_eq!(worker.frame()["id"], behind);
    // Twenty times the work for ten times the notes at least.
    let mut cost = |notes: u64| {
        let since = std::time::Instant::now();
        worker.text("wedge_growing", &json!({"notes": notes}));
        since.elapsed()
    };
    let (few, many) = (cost(100), cost(400));
    assert!(many.as_millis() > 400, "{few:?}, then {many:?}");
}

#[test]
fn it_writes_what_is_no_frame() {
    let mut worker = Worker::start(&[]);
    for (kind, line) in [
        ("text", &b"no frame\n"[..]),
        ("invalid_utf8", b"\xff\xfe\xc3( no frame\n"),
        ("nul", b"\0no frame\0\n"),
        ("cr", b"no frame\r\n"),
        ("lone_cr", b"\rno frame\r\r\n"),
        ("bom", b"\xef\xbb\xbfno frame\n"),
        ("escape", b"\x1b[31mno frame\x1b[0m\n"),
    ] {
        worker.send("garbage", &json!({"kind": kind}));
        assert_eq!(worker.line(), line, "{kind}");
        assert_eq!(worker.frame()["result"]["content"][0]["text"], "written");
        let id = worker.send("garbage", &json!({"kind": kind, "answer": true}));
        let answer = worker.line();
        assert!(String::from_utf8_lossy(&answer).contains(&format!("\"id\":{id}")));
        assert_eq!(
            std::str::from_utf8(&answer).is_err(),
            kind == "invalid_utf8"
        );
    }
    worker.send("line", &json!({"bytes": 1_000_000}));
    assert_eq!(worker.line().len(), 1_000_001);
    assert_eq!(worker.frame()["result"]["content"][0]["text"], "written");
    worker.send("line", &json!({"bytes": 1000, "newline": false}));
    let glued = worker.line();
    assert!(glued.starts_with(&[b'x'; 1000]) && glued.ends_with(b"}\n"));
    assert_eq!(
        worker.text("huge", &json!({"bytes": 300_000})).len(),
        300_000
    );
    worker.send("partial", &json!({}));
    assert!(worker.line().ends_with(b"{\"con"));
    assert_eq!(worker.end().code(), Some(0));
}

#[test]
fn a_line_of_a_gibibyte_is_not_held() {
    let mut worker = Worker::start(&[]);
    worker.send("line", &json!({"bytes": 1 << 30}));
    let mut left = (1 << 30) + 1;
    while left > 0 {
        let read = worker.output.fill_buf().unwrap().len().min(left);
        assert!(read > 0, "{left} bytes are missing");
        worker.output.consume(read);
        left -= read;
    }
    assert_eq!(worker.frame()["result"]["content"][0]["text"], "written");
    let status = worker.text("limits", &json!({}));
    let status: Value = serde_json::from_str(&status).unwrap();
    let peak = status["status"].as_str().unwrap();
    let peak = peak.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 100_000, "{kib} KiB resident");
}

#[test]
fn it_refuses_after_some_calls() {
    let mut worker = Worker::start(&["--refuse-after", "2"]);
    echo(&mut worker);
    echo(&mut worker);
    assert_eq!(worker.call("echo", &json!({}))["result"]["isError"], true);
    let mut worker = Worker::start(&["--refuse-after", "0", "--refuse-as", "rpc"]);
    assert_eq!(worker.call("echo", &json!({}))["error"]["code"], -32000);
}

#[test]
fn it_fails_in_each_of_the_ways() {
    let mut worker = Worker::start(&[]);
    let mut fail = |arguments: Value| worker.call("fail", &arguments);
    assert!(
        fail(json!({"kind": "soft"}))["result"]
            .get("isError")
            .is_none()
    );
    assert_eq!(fail(json!({"kind": "tool"}))["result"]["isError"], true);
    assert_eq!(
        fail(json!({"kind": "empty"}))["result"],
        json!({"content": []})
    );
    assert_eq!(fail(json!({"kind": "rpc"}))["error"]["code"], -32603);
    assert_eq!(
        fail(json!({"kind": "rpc", "code": -32042}))["error"]["code"],
        -32042
    );
}

#[test]
fn memory_grows_and_stays() {
    let mut worker = Worker::start(&[]);
    let pid = worker.child.id();
    let resident = || {
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    worker.text("leak", &json!({"bytes": 8 << 20}));
    assert!(resident() > 8 << 20);
    worker.send("bomb", &json!({"bytes_per_s": 64 << 20, "limit": 24 << 20}));
    until("the bomb has grown", || {
        (resident() > 32 << 20).then_some(())
    });
    echo(&mut worker);
}

#[test]
fn what_it_ignores_does_not_end_it() {
    let mut worker = Worker::start(&["--ignore", "eof,int,term"]);
    echo(&mut worker);
    let pid = worker.child.id();
    signal(pid, Signal::SIGINT);
    signal(pid, Signal::SIGTERM);
    let slow = worker.send("slow", &json!({"ms": 200}));
    worker.input = None;
    assert_eq!(
        worker.frame()["id"],
        slow,
        "the input has ended, the worker has not"
    );
    assert_eq!(worker.child.try_wait().unwrap(), None);
    signal(pid, Signal::SIGKILL);
    assert_eq!(worker.end().signal(), Some(9));
    let mut polite = Worker::start(&[]);
    polite.send("slow", &json!({"ms": 60_000}));
    polite.input = None;
    assert_eq!(polite.end().code(), Some(0));
}

#[test]
fn stderr_is_flooded_in_lines_or_in_one() {
    for (arguments, lines) in [
        (&["--stderr-flood", "10000000"][..], true),
        (&["--stderr-flood", "10000000", "--no-newline"], false),
    ] {
        let mut worker = Worker::start(arguments);
        let mut errors = worker.errors.take().unwrap();
        let mut bytes = vec![0; 200_000];
        std::io::Read::read_exact(&mut errors, &mut bytes).unwrap();
        assert_eq!(bytes.contains(&b'\n'), lines);
        echo(&mut worker);
    }
}

/// Process ids and sessions of the living processes of a worker.
fn family(home: &Path) -> BTreeSet<(u32, i32)> {
    let session = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split(' ');
        Some((pid, fields.nth(4)?.parse().ok()?))
    };
    processes_of(home).into_iter().filter_map(session).collect()
}

#[test]
fn its_offspring_is_where_it_says() {
    let mut worker = Worker::start(&["--daemonise"]);
    echo(&mut worker);
    let pid = worker.child.id();
    // A process that becomes another program has no environment to be found by for a moment.
    let family_of = until("the whole family is found", || {
        Some(family(worker.home.path())).filter(|found| found.len() == 2)
    });
    let sessions: BTreeSet<i32> = family_of.iter().map(|(_, session)| *session).collect();
    assert_eq!(sessions.len(), 2, "{family_of:?}");
    let told: Value = serde_json::from_str(&worker.text("pid", &json!({}))).unwrap();
    let orphan = told["children"][0].as_u64().unwrap();
    assert!(
        family_of
            .iter()
            .any(|(p, _)| u64::from(*p) == orphan && *p != pid)
    );
    let told = worker.text("fork_bomb", &json!({"limit": 5}));
    assert_eq!(told, r#"{"refused":null,"started":5}"#);
    until("the whole family is found", || {
        (family(worker.home.path()).len() == 7).then_some(())
    });
}

#[test]
fn wrappers_stand_above_it() {
    let mut worker = Worker::start(&["--wrap", "2"]);
    let told: Value = serde_json::from_str(&worker.text("pid", &json!({}))).unwrap();
    assert_ne!(told["pid"], worker.child.id());
    // Wrapper, shell, wrapper, shell, worker.
    until("all five are found", || {
        (processes_of(worker.home.path()).len() == 5).then_some(())
    });
    worker.send("exit", &json!({"code": 7}));
    assert_eq!(worker.end().code(), Some(7));
}

#[test]
fn the_store_forgets_races_and_is_poisoned() {
    let mut worker = Worker::start(&["--cap", "2"]);
    for id in ["a", "b", "c"] {
        worker.text("create", &json!({"id": id, "value": id}));
    }
    assert_eq!(worker.text("list", &json!({})), r#"{"b":"b","c":"c"}"#);
    assert_eq!(
        worker.call("create", &json!({"id": "c"}))["result"]["isError"],
        true
    );
    assert_eq!(
        worker.text("delete", &json!({"id": "*"})),
        r#"{"deleted_count":2}"#
    );
    let once = worker.text("random_create", &json!({"id": "r"}));
    assert_ne!(worker.text("random_create", &json!({"id": "r"})), once);
    worker.text("history", &json!({"value": "one"}));
    assert_eq!(
        worker.text("history", &json!({"value": "two"})),
        r#"["one","two"]"#
    );

    let mut worker = Worker::start(&["--ttl", "0"]);
    worker.text("create", &json!({"id": "a"}));
    assert_eq!(worker.text("list", &json!({})), "{}");

    let mut worker = Worker::start(&["--create-race"]);
    for _ in 0..3 {
        worker.send("create", &json!({"id": "a", "ms": 300}));
    }
    let won = (0..3).filter(|_| worker.frame()["result"].get("isError").is_none());
    assert!(won.count() > 1);

    let home = tempfile::tempdir().unwrap();
    let path = home.path().to_owned();
    let mut worker = Worker::start_in(home, &["--poison-scratch"]);
    worker.text("create", &json!({"id": "whole"}));
    worker.send("create", &json!({"id": "half", "crash": "half_written"}));
    assert_eq!(worker.end().code(), Some(9));
    let again = tempfile::tempdir().unwrap();
    std::fs::rename(path.join("cache-half"), again.path().join("cache-half")).unwrap();
    let mut worker = Worker::start_in(again, &["--poison-scratch"]);
    assert!(
        worker
            .text("create", &json!({"id": "half"}))
            .contains("truncated")
    );
    worker.text("create", &json!({"id": "other"}));
}

#[test]
fn effects_are_recorded_on_the_right_side_of_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let lines = || {
        std::fs::read_to_string(&ledger)
            .unwrap_or_default()
            .lines()
            .count()
    };
    for (crash, answered, effects) in [
        ("before_effect", false, 0),
        ("after_effect", false, 1),
        ("after_answer", true, 2),
    ] {
        let mut worker = Worker::start(&["--log", ledger.to_str().unwrap()]);
        worker.send(
            "effect",
            &json!({"id": crash, "crash": crash, "when": "after", "ms": 1}),
        );
        assert_eq!(worker.line().is_empty(), !answered, "{crash}");
        worker.end();
        assert_eq!(lines(), effects, "{crash}");
    }
}

#[test]
fn tools_tell_their_hints() {
    let mut worker = Worker::start(&[]);
    worker.request("tools/list", &json!({}));
    let tools = worker.frame()["result"]["tools"].clone();
    let hints = |name: &str| {
        let tool = tools.as_array().unwrap().iter().find(|t| t["name"] == name);
        tool.unwrap()["annotations"].clone()
    };
    assert_eq!(hints("effect_read_only")["readOnlyHint"], true);
    assert_eq!(hints("effect_idempotent")["idempotentHint"], true);
    assert_eq!(hints("effect")["destructiveHint"], true);
    assert_eq!(hints("counter"), Value::Null);
}

#[test]
fn health_probes_lie_or_leak() {
    let mut worker = Worker::start(&["--health", "lie"]);
    assert_eq!(
        worker.text("health_check", &json!({})),
        r#"{"status":"unhealthy"}"#
    );
    let mut worker = Worker::start(&["--health", "leak"]);
    for _ in 0..3 {
        worker.text("health_check", &json!({}));
    }
    assert_eq!(std::fs::read_dir(worker.home.path()).unwrap().count(), 3);
}

#[test]
fn it_stops_reading_and_it_relays_lies() {
    let mut worker = Worker::start(&["--stop-reading-after", "1"]);
    echo(&mut worker);
    let mut input = worker.input.take().unwrap();
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(&input, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    let full = input.write_all(&vec![b'x'; 4 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);

    let command = chaosworker().display().to_string();
    let mut worker = Worker::start(&["--relay", &command, "--lie", "truth=lie"]);
    assert_eq!(
        worker.text("echo", &json!({"text": "the truth"})),
        "the lie"
    );
}
