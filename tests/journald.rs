//! The journal's own protocol, towards a journald of the test: what a record holds, that nothing in
//! it can forge another field, and that a reader that is slow, stopped or gone costs no call.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use log::{Level, Record};
use mainstay::observe::journald::datagram;
use mainstay::observe::kind::KINDS;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::daemon::{Daemon, chaos, chaosworker, signal, until};
use support::journald::{Entry, Journald, Stream, text};
use support::mcp::modern_call;
use tempfile::TempDir;

/// Workers that write this to stderr before they are chaosworkers.
fn talking(script: &str) -> String {
    let worker = chaosworker().display().to_string();
    let script = format!("{script}; exec {worker}");
    format!("[servers.music]\ncommand = [\"sh\", \"-c\", {script:?}]\n")
}

/// About 4 MB of lines a worker, of which 1000 pass its own limit at once.
const FLOOD: &str = "i=0; while [ $i -lt 1100 ]; do printf '%04000d\\n' $i >&2; i=$((i+1)); done";

struct Bed {
    journald: Option<Journald>,
    daemon: Daemon,
    stderr: UnixStream,
    socket: PathBuf,
    _sockets: TempDir,
}

/// A daemon that logs to the test's journald.
fn bed(servers: &str, change: impl FnOnce(&mut Command)) -> Bed {
    let sockets = tempfile::tempdir().unwrap();
    let socket = sockets.path().join("socket");
    let journald = Journald::listen(&socket);
    let mut stderr = None;
    let daemon = Daemon::launch(tempfile::tempdir().unwrap(), "", servers, |daemon| {
        stderr = Some(Stream::open().give(daemon, &socket));
        change(daemon);
    });
    Bed {
        journald: Some(journald),
        daemon: daemon.until_healthy(),
        stderr: stderr.unwrap(),
        socket,
        _sockets: sockets,
    }
}

fn id(name: &str) -> &'static str {
    let kind = KINDS.iter().find(|kind| kind.name == name);
    kind.unwrap().message_id
}

fn one_hundred_calls(daemon: &Daemon) {
    for number in 0..100 {
        let arguments = json!({"text": number.to_string()});
        let answer =
            support::mcp::response(modern_call(daemon.address(), &json!(1), "echo", &arguments));
        let text = &answer["result"]["content"][0]["text"];
        assert_eq!(text, &Value::from(number.to_string()), "{answer}");
    }
}

const DROPPED: &str = "mainstay_log_records_dropped_total";

#[test]
fn a_death_is_found_by_its_id_and_says_whom_it_is_about() {
    let pool = "pool = { min_size = 1, max_size = 1 }\n";
    let mut bed = bed(&format!("[servers.music]\n{}{pool}", chaos(&[])), |_| {});
    let mut journald = bed.journald.take().unwrap();
    let started = journald.until("the start", |e| e.is("MESSAGE_ID", id("daemon_started")));
    assert_eq!(started.get("PRIORITY"), "5", "{started:?}");
    assert_eq!(started.get("MAINSTAY_VERSION"), env!("CARGO_PKG_VERSION"));

    let victim = bed.daemon.server().workers.remove(0);
    signal(victim.pid, Signal::SIGKILL);
    let death = journald.until("the death", |e| e.is("MESSAGE_ID", id("worker_died")));
    let (pid, worker) = (victim.pid.to_string(), victim.id.to_string());
    for (name, value) in [
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "mainstayd"),
        ("SYSLOG_FACILITY", "3"),
        ("CODE_FILE", "src/broker/start.rs"),
        ("MAINSTAY_EVENT", "worker_died"),
        ("MAINSTAY_SERVER", "music"),
        ("MAINSTAY_WORKER", &worker),
        ("MAINSTAY_PID", &pid),
        ("OBJECT_PID", &pid),
        ("MAINSTAY_WHAT", "was killed by SIGKILL"),
        ("MAINSTAY_TRUNCATED", ""),
        ("TARGET", ""),
    ] {
        assert_eq!(death.get(name), value, "{name} of {death:?}");
    }
    assert!(death.get("CODE_LINE").parse::<u32>().unwrap() > 0);
    let message = format!("worker {worker} of music (pid {pid}) was killed by SIGKILL");
    assert_eq!(death.get("MESSAGE"), message);

    bed.daemon.stop();
    let last = journald.until("other lines", |e| e.is("MESSAGE", "stopped"));
    assert_eq!(
        (last.get("TARGET"), last.get("MESSAGE_ID")),
        ("mainstay::daemon", "")
    );
    assert_eq!(text(bed.stderr), "", "all goes one way");
}

#[test]
fn calls_in_flight_are_named_as_their_worker_knows_them() {
    let limits = "call_timeout = \"300ms\"\npool = { min_size = 1, max_size = 1 }\n";
    let servers = format!("[servers.music]\n{}concurrency = 4\n{limits}", chaos(&[]));
    let mut bed = bed(&servers, |_| {});
    let mut journald = bed.journald.take().unwrap();
    let address = bed.daemon.address();
    let begun = support::mcp::modern_begun(address, "wedge", &json!({"ms": 20000}));
    let stuck = journald.until("the end of its time", |e| {
        e.is("MESSAGE_ID", id("worker_stuck"))
    });
    drop(begun);
    let call: u64 = stuck.get("MAINSTAY_CALL").parse().unwrap();
    assert!(
        call > 0 && stuck.get("MAINSTAY_METHOD") == "wedge",
        "{stuck:?}"
    );
}

#[test]
fn a_worker_has_its_own_identifier_and_priorities() {
    let script = "echo '<3>bad' >&2; echo plain >&2; echo '<7>chatter' >&2; echo '<0>all' >&2";
    let mut bed = bed(&talking(script), |_| {});
    let mut journald = bed.journald.take().unwrap();
    for (line, priority) in [("bad", "3"), ("plain", "6"), ("all", "1")] {
        let entry = journald.until(line, |e| e.is("MESSAGE", line));
        for (name, value) in [
            ("PRIORITY", priority),
            ("SYSLOG_IDENTIFIER", "mainstay-music"),
            ("MAINSTAY_SERVER", "music"),
            ("CODE_FILE", ""),
            ("MESSAGE_ID", ""),
        ] {
            assert_eq!(entry.get(name), value, "{name} of {entry:?}");
        }
        assert!(!entry.get("MAINSTAY_WORKER").is_empty());
    }
    bed.daemon.stop();
    let seen = journald.drain(Duration::from_millis(50));
    assert!(
        !seen.iter().any(|e| e.is("MESSAGE", "chatter")),
        "debug is filtered out"
    );
}

#[test]
fn the_filter_holds_here_too() {
    let mut bed = bed(&talking("echo plain >&2"), |daemon| {
        daemon.env("MAINSTAY_LOG", "mainstay=debug,off");
    });
    let mut journald = bed.journald.take().unwrap();
    let started = journald.until("a debug record", |e| {
        e.is("MESSAGE_ID", id("worker_started"))
    });
    assert_eq!(started.get("PRIORITY"), "7");
    bed.daemon.stop();
    let seen = journald.drain(Duration::from_millis(50));
    let others: Vec<_> = seen
        .iter()
        .filter(|e| e.get("MAINSTAY_EVENT").is_empty())
        .collect();
    assert!(
        others
            .iter()
            .all(|e| e.get("TARGET").starts_with("mainstay")),
        "{others:?}"
    );
}

#[test]
fn a_journald_that_does_not_read_costs_no_call_and_is_told_what_it_missed() {
    let mut bed = bed(&talking(FLOOD), |_| {});
    until("records are dropped", || {
        (bed.daemon.metric(DROPPED) > 0.0).then_some(())
    });
    one_hundred_calls(&bed.daemon);
    let mut journald = bed.journald.take().unwrap();
    let told = journald.until("the count", |e| e.is("MESSAGE_ID", id("log_dropped")));
    assert_eq!(told.get("PRIORITY"), "4");
    // All of them are told in the end.
    until("the sums agree", || {
        let seen = journald.drain(Duration::from_millis(300));
        let told = seen
            .iter()
            .filter(|e| e.is("MESSAGE_ID", id("log_dropped")));
        let counts = told.map(|e| e.get("MAINSTAY_COUNT").parse::<f64>().unwrap());
        (counts.sum::<f64>() == bed.daemon.metric(DROPPED)).then_some(())
    });
    let started = journald.until("what is the daemon's own", |e| {
        e.is("MESSAGE_ID", id("daemon_started"))
    });
    assert_eq!(started.get("PRIORITY"), "5");
    bed.daemon.stop();
    assert_eq!(text(bed.stderr), "");
}

#[test]
fn a_daemon_ends_although_nobody_reads_its_log() {
    let bed = bed(&talking(FLOOD), |_| {});
    until("records are dropped", || {
        (bed.daemon.metric(DROPPED) > 0.0).then_some(())
    });
    bed.daemon.stop();
}

#[test]
fn the_end_waits_a_moment_for_a_journald_that_is_behind() {
    let lines = "i=0; while [ $i -lt 300 ]; do echo $i >&2; i=$((i+1)); done";
    let mut bed = bed(&talking(lines), |_| {});
    let mut journald = bed.journald.take().unwrap();
    bed.daemon.terminate();
    // Time enough for all but the log to end; much less than the end waits.
    std::thread::sleep(Duration::from_millis(150));
    journald.until("the last word", |e| e.is("MESSAGE", "stopped"));
    assert_eq!(bed.daemon.wait().code(), Some(0));
}

#[test]
fn what_happens_while_journald_is_away_is_there_when_it_is_back() {
    let mut bed = bed(&format!("[servers.music]\n{}", chaos(&[])), |_| {});
    drop(bed.journald.take());
    let victim = bed.daemon.server().workers.remove(0);
    signal(victim.pid, Signal::SIGKILL);
    bed.daemon
        .until("the death is counted", |s| s.counters.deaths > 0);
    one_hundred_calls(&bed.daemon);
    let mut journald = Journald::listen(&bed.socket);
    let pid = victim.pid.to_string();
    journald.until("the death", |e| {
        e.is("MESSAGE_ID", id("worker_died")) && e.is("OBJECT_PID", &pid)
    });
    assert_eq!(bed.daemon.metric(DROPPED), 0.0);
    bed.daemon.stop();
    journald.until("the end", |e| e.is("MESSAGE_ID", id("daemon_stopping")));
}

#[test]
fn without_the_socket_lines_go_to_the_stream() {
    let sockets = tempfile::tempdir().unwrap();
    let mut stderr = None;
    let servers = format!("[servers.music]\n{}", chaos(&[]));
    let daemon = Daemon::launch(tempfile::tempdir().unwrap(), "", &servers, |daemon| {
        stderr = Some(Stream::open().give(daemon, &sockets.path().join("nobody")));
    });
    daemon.until_healthy().stop();
    let log = text(stderr.unwrap());
    assert!(log.contains("<6>mainstayd "), "{log}");
    assert!(log.contains("<6>worker 1 of music is ready"), "{log}");
    assert!(log.ends_with("<6>mainstay::daemon: stopped\n"), "{log}");
}

#[test]
fn a_stderr_that_is_full_costs_no_call_and_no_orderly_end() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let servers = talking(FLOOD);
    let daemon = Daemon::launch(tempfile::tempdir().unwrap(), "", &servers, |daemon| {
        daemon.stderr(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
    });
    let daemon = daemon.until_healthy();
    until("records are dropped", || {
        (daemon.metric(DROPPED) > 0.0).then_some(())
    });
    one_hundred_calls(&daemon);
    daemon.stop();
    drop(ours);
}

#[test]
fn a_fatal_error_is_said_on_stderr_even_where_records_go_elsewhere() {
    let sockets = tempfile::tempdir().unwrap();
    let socket = sockets.path().join("socket");
    let mut journald = Journald::listen(&socket);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstayd"));
    let stderr = Stream::open().give(&mut command, &socket);
    command.arg("--state-dir").arg(sockets.path().join("state"));
    command.env("XDG_RUNTIME_DIR", sockets.path());
    command.arg("--config").arg(sockets.path().join("config"));
    let admin = sockets.path().join("admin").display().to_string();
    let config = format!(
        "[listen]\nhttp = \"{}\"\n[admin]\nsocket = {admin:?}\n[servers.music]\nbuiltin = \"score\"\n",
        taken.local_addr().unwrap()
    );
    std::fs::write(sockets.path().join("config"), config).unwrap();
    let status = command.status().unwrap();
    drop(command);
    assert_eq!(status.code(), Some(i32::from(mainstay::exit::OS)));
    let said = text(stderr);
    assert!(
        said.starts_with("<3>mainstayd: cannot listen on 127.0.0.1:"),
        "{said}"
    );
    journald.drain(Duration::from_millis(10));
}

/// What a record of the log becomes.
fn entry(message: &str, target: &str, fields: &[(&str, &str)]) -> Entry {
    let fields = fields.to_vec();
    let bytes = datagram(
        &Record::builder()
            .level(Level::Warn)
            .target(target)
            .args(format_args!("{message}"))
            .key_values(&fields)
            .build(),
    );
    assert!(bytes.len() < 200 << 10, "{} bytes", bytes.len());
    Entry::parse(&bytes)
}

#[test]
fn nothing_in_a_value_begins_another_field() {
    let forged = "x\nPRIORITY=0\nMESSAGE_ID=1\n\nMESSAGE\n\u{1}\0\0\0\0\0\0\0y";
    let entry = entry(forged, "mainstay", &[("sample", forged), ("tool", forged)]);
    assert_eq!(entry.get("PRIORITY"), "4");
    assert_eq!(entry.get("MESSAGE_ID"), "");
    assert_eq!(entry.get("MAINSTAY_SAMPLE"), forged);
    assert!(
        !entry.get("MESSAGE").contains(char::is_control),
        "{entry:?}"
    );
    assert!(
        entry.get("MESSAGE").starts_with("x\\nPRIORITY=0"),
        "{entry:?}"
    );
}

#[test]
fn a_name_is_one_that_journald_takes() {
    let long = "k".repeat(500);
    let keys = [
        ("_pid", "1"),
        ("a=b\nPRIORITY", "2"),
        (long.as_str(), "3"),
        ("", "4"),
    ];
    let entry = entry("m", "mainstay", &keys);
    assert_eq!(entry.get("MAINSTAY__PID"), "1");
    assert_eq!(entry.get("MAINSTAY_A_B_PRIORITY"), "2");
    assert_eq!(entry.get("PRIORITY"), "4");
}

#[test]
fn an_identifier_is_one_word_whatever_the_name_is() {
    let fields = [
        ("server", "a b\nPRIORITY=0/é"),
        ("priority", "99"),
        ("line", "said"),
    ];
    let entry = entry("ignored", "worker", &fields);
    assert_eq!(entry.get("SYSLOG_IDENTIFIER"), "mainstay-a_b_PRIORITY_0__");
    assert_eq!((entry.get("MESSAGE"), entry.get("PRIORITY")), ("said", "4"));
}

#[test]
fn what_is_cut_is_marked() {
    let long = "ä\n".repeat(1 << 19);
    let fields: Vec<(&str, &str)> = (0..1000).map(|_| ("key", long.as_str())).collect();
    let cut = entry(&long, "mainstay", &fields);
    assert_eq!(cut.get("MAINSTAY_TRUNCATED"), "1");
    assert!(
        cut.all("MAINSTAY_KEY")
            .iter()
            .all(|value| value.len() <= 1024)
    );
    assert_eq!(
        entry("short", "mainstay", &[]).get("MAINSTAY_TRUNCATED"),
        ""
    );
}

#[test]
fn why_a_breaker_opened_has_a_field_of_its_own() {
    let reason = |event| {
        entry(
            "m",
            "mainstay",
            &[("event", event), ("reason", "five in a row")],
        )
    };
    let opened = reason("breaker_opened");
    assert_eq!(opened.get("MAINSTAY_TRIP_REASON"), "five in a row");
    assert_eq!(opened.get("MAINSTAY_REASON"), "five in a row");
    assert_eq!(reason("breaker_closed").get("MAINSTAY_TRIP_REASON"), "");
}
