//! Workers start clean, alone and limited; their end is seen; what they leave is found.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mainstay::worker::command::{LaunchSpec, environment};
use mainstay::worker::process::{
    ExitWatch, Process, Signal, describe, kill_leftovers, signal_group, spawn,
};
use mainstay::worker::scratch::Scratch;
use mainstay::worker::stderr::drain;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

/// Far above what anything here takes; only a hang gets there.
const HANG: Duration = Duration::from_secs(20);

/// Process ids of the workers of a test.
#[derive(Default)]
struct Started(RefCell<Vec<u32>>);

/// A server with one scratch directory.
struct Bench {
    _state: TempDir,
    scratch: Scratch,
    started: Started,
}

/// A failed test leaves no process behind.
impl Drop for Started {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for pid in self.0.take() {
                let _ = signal_group(pid, Signal::Kill);
                std::thread::sleep(Duration::from_millis(50));
                let _ = kill_leftovers(pid);
            }
        }
    }
}

impl Bench {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(&state.path().join("scratch"), "music-1").unwrap();
        Self {
            _state: state,
            scratch,
            started: Started::default(),
        }
    }

    fn start(&self, spec: &LaunchSpec) -> Process {
        let process = spawn(spec).unwrap();
        self.started.0.borrow_mut().push(process.pid);
        process
    }

    fn spec(&self, program: &[&str]) -> LaunchSpec {
        let path = std::env::vars_os().filter(|(name, _)| name == "PATH");
        LaunchSpec {
            server: "music".into(),
            launcher: env!("CARGO_BIN_EXE_mainstayd").into(),
            program: program.iter().map(OsString::from).collect(),
            env: environment(path, &[], &BTreeMap::new(), self.scratch.path()),
            cwd: None,
            scratch: self.scratch.path().to_owned(),
            open_files: 77,
            core_bytes: 0,
            processes: None,
            fence: None,
            group: None,
        }
    }

    fn shell(&self, script: &str) -> LaunchSpec {
        self.spec(&["sh", "-c", script])
    }
}

/// What a worker that ends by itself wrote to stdout and stderr, and how it ended.
struct Outcome {
    stdout: String,
    stderr: String,
    ended: String,
}

async fn run(spec: &LaunchSpec) -> Outcome {
    let mut process = spawn(spec).unwrap();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let all = async {
        let (out, err, status) = tokio::join!(
            process.stdio.read_to_string(&mut stdout),
            process.stderr.read_to_string(&mut stderr),
            process.exit.wait(),
        );
        out.unwrap();
        err.unwrap();
        status
    };
    let status = timeout(HANG, all).await.expect("the worker ends");
    Outcome {
        stdout,
        stderr,
        ended: describe(status),
    }
}

async fn ended(exit: &mut ExitWatch) -> String {
    describe(timeout(HANG, exit.wait()).await.expect("the worker ends"))
}

async fn first_line(process: &mut Process) -> String {
    let mut line = String::new();
    let reading = BufReader::new(&mut process.stdio);
    timeout(HANG, reading.take(200).read_line(&mut line))
        .await
        .expect("a line comes")
        .unwrap();
    line.trim().to_owned()
}

/// Process state, group and session from /proc; `None` when it is gone.
fn stat(pid: u32) -> Option<(char, u32, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    Some((
        fields[0].chars().next()?,
        fields[2].parse().ok()?,
        fields[3].parse().ok()?,
    ))
}

/// Whether the process runs; one that is dead but not yet reaped by whoever inherited it does not.
fn lives(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, ..)| state != 'Z')
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < HANG, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The value of `Name: value` in /proc/self/status.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status
        .lines()
        .find(|line| line.split(':').next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in {status}"))
        .split_once(':')
        .unwrap()
        .1
        .trim()
}

#[tokio::test]
async fn the_environment_is_the_given_one_and_nothing_else() {
    let bench = Bench::new();
    // The test's own environment has more than that: CARGO_MANIFEST_DIR and others.
    assert!(std::env::vars_os().count() > 8);
    let outcome = run(&bench.spec(&["env"])).await;
    let names: BTreeSet<&str> = outcome
        .stdout
        .lines()
        .map(|line| line.split('=').next().unwrap())
        .collect();
    let allowed = [
        "HOME",
        "PATH",
        "PYTHONUNBUFFERED",
        "TMPDIR",
        "UV_CACHE_DIR",
        "XDG_CACHE_HOME",
        "npm_config_cache",
    ];
    assert_eq!(names, allowed.into());
    assert_eq!(outcome.stderr, "");
}

#[tokio::test]
async fn home_and_temporary_files_lie_in_the_scratch_directory() {
    let bench = Bench::new();
    let outcome =
        run(&bench.shell(r#"pwd; mktemp; cd && pwd && touch left && stat -c %a left"#)).await;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let scratch = bench.scratch.path();
    assert_eq!(lines.len(), 4, "{}", outcome.stderr);
    assert_eq!(Path::new(lines[0]), scratch);
    assert_eq!(
        Path::new(lines[1]).parent(),
        Some(scratch.join("tmp").as_path())
    );
    assert_eq!(Path::new(lines[2]), scratch.join("home"));
    assert_eq!(lines[3], "600");
}

#[tokio::test]
async fn a_worker_leads_its_own_session_and_is_limited() {
    let bench = Bench::new();
    let spec = bench.shell("cat /proc/$$/stat /proc/$$/oom_score_adj; ulimit -n; ulimit -Hn; ulimit -c; cat /proc/$$/status");
    let outcome = run(&spec).await;
    let mut lines = outcome.stdout.lines();
    let (start, fields) = lines.next().unwrap().rsplit_once(')').unwrap();
    let pid = start.split(' ').next().unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    assert_eq!((fields[2], fields[3]), (pid, pid), "group and session");
    let score: i32 = lines.next().unwrap().parse().unwrap();
    assert!(score >= 500, "out-of-memory score {score}");
    assert_eq!(lines.next(), Some("77"));
    assert_eq!(lines.next(), Some("77"));
    assert_eq!(lines.next(), Some("0"));
    assert_eq!(field(&outcome.stdout, "NoNewPrivs"), "1");
    assert_eq!(field(&outcome.stdout, "Umask"), "0077");
}

#[tokio::test]
async fn the_process_limit_is_set_when_given() {
    let bench = Bench::new();
    let spec = LaunchSpec {
        processes: Some(4321),
        ..bench.spec(&["cat", "/proc/self/limits"])
    };
    let outcome = run(&spec).await;
    let line = outcome
        .stdout
        .lines()
        .find(|line| line.starts_with("Max processes"))
        .unwrap();
    let numbers: Vec<&str> = line
        .split_whitespace()
        .filter(|word| word.parse::<u64>().is_ok())
        .collect();
    assert_eq!(numbers, ["4321", "4321"]);
}

/// A daemon has its sockets from the service manager, and what a careless shell left open for it.
#[tokio::test]
async fn a_worker_has_stdin_stdout_stderr_and_nothing_else_open() {
    let bench = Bench::new();
    let launcher = bench.scratch.path().join("launcher");
    let script = format!(
        "#!/bin/sh\nexec 3</etc/passwd 5>&2 9</\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_mainstayd")
    );
    fs::write(&launcher, script).unwrap();
    fs::set_permissions(&launcher, fs::Permissions::from_mode(0o700)).unwrap();
    let spec = LaunchSpec {
        launcher,
        // The shell's own listing is closed again when it looks.
        ..bench.shell("for fd in /proc/$$/fd/*; do [ -e $fd ] && echo ${fd##*/}; done; true")
    };
    let outcome = run(&spec).await;
    assert_eq!(outcome.stdout, "0\n1\n2\n", "{}", outcome.stderr);
}

/// A daemon started by `nohup` or as a shell's background job has signals ignored.
#[tokio::test]
async fn signals_are_default_whatever_the_daemon_inherited() {
    let bench = Bench::new();
    let launcher = bench.scratch.path().join("launcher");
    let script = format!(
        "#!/bin/sh\ntrap '' HUP INT QUIT TERM PIPE\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_mainstayd")
    );
    fs::write(&launcher, script).unwrap();
    fs::set_permissions(&launcher, fs::Permissions::from_mode(0o700)).unwrap();
    let spec = LaunchSpec {
        launcher,
        ..bench.spec(&["cat", "/proc/self/status"])
    };
    let outcome = run(&spec).await;
    // glibc's posix_spawn leaves its own two internal signals, 32 and 33, ignored.
    let internal = 0b11 << 31;
    for mask in ["SigIgn", "SigBlk", "SigCgt"] {
        let signals = u64::from_str_radix(field(&outcome.stdout, mask), 16).unwrap();
        assert_eq!(signals & !internal, 0, "{mask} {signals:x}");
    }
}

#[tokio::test]
async fn a_worker_holds_no_descriptor_but_its_three() {
    let bench = Bench::new();
    // What a daemon holds: other workers, sockets, files.
    let _listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _file = fs::File::open("/dev/null").unwrap();
    let other = Bench::new();
    let mut running = other.start(&other.spec(&["cat"]));
    let outcome = run(&bench.shell("ls /proc/$$/fd; exit 0")).await;
    let mut fds: Vec<&str> = outcome.stdout.lines().collect();
    // Where the shell itself keeps its script's place, if it does, is its own affair.
    fds.retain(|fd| fd.parse::<u32>().is_ok_and(|fd| fd < 10));
    assert_eq!(fds, ["0", "1", "2"]);
    running.stdio.shutdown().await.unwrap();
    assert_eq!(ended(&mut running.exit).await, "exited with status 0");
}

#[tokio::test]
async fn a_missing_command_is_told_from_a_broken_one() {
    let bench = Bench::new();
    let missing = run(&bench.spec(&["no-such-command-xyz"])).await;
    assert_eq!(missing.ended, "exited with status 127: command not found");
    assert!(
        missing
            .stderr
            .contains("command not found: no-such-command-xyz (looked in PATH="),
        "{}",
        missing.stderr
    );
    let missing = run(&bench.spec(&["./no/such/file"])).await;
    assert_eq!(missing.ended, "exited with status 127: command not found");

    let write = |name: &str, text: &str, mode| -> PathBuf {
        let path = bench.scratch.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let plain = write("plain", "#!/bin/sh\n", 0o600);
    let headless = write("headless", "#!/no/such/interpreter\n", 0o700);
    for (path, words) in [(plain, "Permission denied"), (headless, "interpreter")] {
        let broken = run(&bench.spec(&[path.to_str().unwrap()])).await;
        assert_eq!(
            broken.ended,
            "exited with status 126: command found but not executable"
        );
        assert!(broken.stderr.contains(words), "{}", broken.stderr);
        assert_eq!(broken.stderr.lines().count(), 1);
    }

    let spec = LaunchSpec {
        cwd: Some("/no/such/directory".into()),
        ..bench.spec(&["true"])
    };
    let lost = run(&spec).await;
    assert_eq!(
        lost.ended,
        "exited with status 111: its surroundings could not be set up"
    );
    assert!(
        lost.stderr
            .contains("change to the directory /no/such/directory"),
        "{}",
        lost.stderr
    );
}

#[tokio::test]
async fn the_exit_is_seen_again_and_survives_a_cancelled_wait() {
    let bench = Bench::new();
    let mut process = bench.start(&bench.shell("cat; exit 3"));
    let early = timeout(Duration::from_millis(20), process.exit.wait()).await;
    assert!(early.is_err(), "it still reads");
    process.stdio.shutdown().await.unwrap();
    assert_eq!(ended(&mut process.exit).await, "exited with status 3");
    assert_eq!(ended(&mut process.exit).await, "exited with status 3");
    assert_eq!(stat(process.pid), None, "a zombie was left");
    assert!(!signal_group(process.pid, Signal::Kill).unwrap());
}

#[tokio::test]
async fn large_frames_pass_both_ways() {
    let bench = Bench::new();
    let mut process = bench.start(&bench.spec(&["cat"]));
    let sent: Vec<u8> = (0..4u32 << 20)
        .map(|number| number.to_le_bytes()[1])
        .collect();
    let (mut reader, mut writer) = process.stdio.split();
    let mut received = Vec::new();
    let exchange = async {
        let write = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        tokio::join!(write, reader.read_to_end(&mut received))
            .1
            .unwrap();
    };
    timeout(HANG, exchange).await.expect("all comes back");
    assert!(
        received == sent,
        "{} of {} bytes came back",
        received.len(),
        sent.len()
    );
    assert_eq!(ended(&mut process.exit).await, "exited with status 0");
}

#[tokio::test]
async fn a_signal_reaches_a_worker_that_has_hardly_started() {
    let bench = Bench::new();
    for _ in 0..20 {
        let mut process = bench.start(&bench.spec(&["sleep", "1000"]));
        assert!(signal_group(process.pid, Signal::Kill).unwrap());
        assert_eq!(ended(&mut process.exit).await, "was killed by SIGKILL");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_11_a_worker_outlives_the_thread_that_started_it() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Handle::current();
    // A parent-death signal follows the thread that forked, not the process.
    let spec = bench.shell("echo up; exec sleep 1000");
    let mut process = std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            runtime.block_on(async {
                let mut process = spawn(&spec).unwrap();
                assert_eq!(first_line(&mut process).await, "up");
                process
            })
        });
        started.join().unwrap()
    });
    bench.started.0.borrow_mut().push(process.pid);
    // Whatever the kernel has to say about the end of the thread, it has said by the next exchange.
    for _ in 0..50 {
        assert!(lives(process.pid), "it died with the thread");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(signal_group(process.pid, Signal::Kill).unwrap());
    assert_eq!(ended(&mut process.exit).await, "was killed by SIGKILL");
}

#[tokio::test]
async fn pitfall_10_the_group_takes_its_grandchildren_along() {
    let bench = Bench::new();
    let mut process = bench.start(&bench.shell("sleep 1000 & echo $!; wait"));
    let grandchild: u32 = first_line(&mut process).await.parse().unwrap();
    assert!(lives(grandchild));
    assert!(signal_group(process.pid, Signal::Kill).unwrap());
    assert_eq!(ended(&mut process.exit).await, "was killed by SIGKILL");
    until("the grandchild is gone", || !lives(grandchild)).await;
}

#[tokio::test]
async fn pitfall_10_what_left_the_group_is_found_by_its_session() {
    let bench = Bench::new();
    // timeout(1) makes a process group of its own, as job control in a shell does.
    let mut process = bench.start(&bench.shell("timeout 1000 sleep 1000 & echo $!; cat"));
    let pid = process.pid;
    let stray: u32 = first_line(&mut process).await.parse().unwrap();
    until("the stray leads a group", || {
        stat(stray).is_some_and(|(_, group, _)| group == stray)
    })
    .await;
    assert_eq!(stat(stray).unwrap().2, pid, "session");
    assert_eq!(kill_leftovers(pid), 0, "its leader lives");
    assert!(lives(pid) && lives(stray));

    process.stdio.shutdown().await.unwrap();
    assert_eq!(ended(&mut process.exit).await, "exited with status 0");
    assert!(kill_leftovers(pid) >= 1);
    until("the stray is gone", || !lives(stray)).await;
    until("its child is gone too", || kill_leftovers(pid) == 0).await;
}

/// The most memory this process ever had.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let (number, _) = field(&status, "VmHWM").split_once(' ').unwrap();
    number.parse().unwrap()
}

#[tokio::test]
async fn a_flood_on_stderr_neither_blocks_nor_grows() {
    let bench = Bench::new();
    let mut process =
        bench.start(&bench.shell("head -c 67108864 /dev/zero | tr '\\0' e >&2; echo done"));
    let before = peak_kib();
    let (tail, task) = drain(process.stderr, "music".into(), 1);
    let mut line = String::new();
    let read = timeout(HANG, process.stdio.read_to_string(&mut line)).await;
    read.expect("stderr is drained").unwrap();
    assert_eq!(line, "done\n");
    timeout(HANG, task).await.expect("stderr ends").unwrap();
    let grown = peak_kib() - before;
    assert!(grown < 32 << 10, "grew by {grown} KiB");
    let lines = tail.lines();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].len() == 512 && lines[0].starts_with("eeee"));
    assert_eq!(ended(&mut process.exit).await, "exited with status 0");
}

#[tokio::test]
async fn the_last_words_of_a_dead_worker_can_be_reported() {
    let bench = Bench::new();
    let mut process = bench.start(&bench.shell("echo 'ImportError: no module' >&2; exit 1"));
    let (tail, task) = drain(process.stderr, "music".into(), 1);
    assert_eq!(ended(&mut process.exit).await, "exited with status 1");
    timeout(HANG, task).await.expect("stderr ends").unwrap();
    assert_eq!(tail.lines(), ["ImportError: no module"]);
}

#[tokio::test]
async fn nothing_is_left_on_disk() {
    let bench = Bench::new();
    let root = bench.scratch.path().parent().unwrap().to_owned();
    let outcome =
        run(&bench
            .shell("mkdir -p $HOME/a/b $TMPDIR/c; echo x > $HOME/a/b/file; ln -s / $TMPDIR/out"))
        .await;
    assert_eq!(outcome.ended, "exited with status 0");
    assert!(root.join("music-1/home/a/b/file").exists());
    bench.scratch.remove().await.unwrap();
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
}
