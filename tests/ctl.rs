//! `mainstayctl` and the admin socket, both real: the socket in a directory of its own, a fixed
//! view behind it, the tool as a process. And what a stranger on that socket can do: nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mainstay::admin::operator::Operator;
use mainstay::admin::protocol::{self, Command as Ask, REQUEST_LIMIT, code};
use mainstay::admin::server::{BindError, MAX_CONNECTIONS, Socket, bind, serve};
use mainstay::broker::control::{BreakerMode, Control, Impossible};
use mainstay::broker::reload::{Answer, Rejected, Reload};
use mainstay::broker::snapshot::{Health, LimitStatus, Snapshot, View};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

fn example() -> Snapshot {
    serde_json::from_str(include_str!("support/status.json")).unwrap()
}

struct Fixed(Snapshot);

impl View for Fixed {
    fn snapshot(&self) -> Snapshot {
        assert_ne!(self.0.phase, "panic", "a view with a fault");
        self.0.clone()
    }
}

/// Nothing to steer: tests/ctl_control.rs is about that.
struct Idle;

impl Control for Idle {
    fn set_breaker(
        &self,
        _: &str,
        _: Option<&str>,
        _: BreakerMode,
        _: Option<Duration>,
        _: &str,
        _: &str,
    ) -> Result<(), Impossible> {
        Err(Impossible("idle".to_owned()))
    }

    fn recycle(&self, _: u64) -> Result<String, Impossible> {
        Err(Impossible("idle".to_owned()))
    }

    fn drain(&self, _: &str, _: bool) -> Result<usize, Impossible> {
        Err(Impossible("idle".to_owned()))
    }

    fn clear_quarantine(&self, _: &str, _: Option<&str>) -> Result<usize, Impossible> {
        Err(Impossible("idle".to_owned()))
    }

    fn limits(&self, _: usize) -> Vec<LimitStatus> {
        Vec::new()
    }
}

impl Reload for Idle {
    fn reload(&self, _: bool, _: &str) -> Answer {
        Box::pin(async { Err(Rejected(vec!["idle".to_owned()])) })
    }
}

/// A daemon reduced to its admin socket.
struct Daemon {
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<()>>,
    runtime: Runtime,
    _dir: TempDir,
}

impl Daemon {
    fn showing(snapshot: Snapshot) -> Self {
        let dir = TempDir::new().unwrap();
        Self::at(dir.path().join("run/mainstay.sock"), dir, snapshot)
    }

    fn at(path: PathBuf, dir: TempDir, snapshot: Snapshot) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(async { bind(&path) }).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let view = Operator::new(Arc::new(Fixed(snapshot)), Arc::new(Idle), Arc::new(Idle));
        let task = runtime.spawn(serve(Socket::Own(listener), view, async {
            stopped.await.unwrap_or(())
        }));
        Self {
            path,
            stop: Some(stop),
            task: Some(task),
            runtime,
            _dir: dir,
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
    }

    /// Sends bytes as they are and returns the code of the failure that comes back.
    fn refusal(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        let mut line = Vec::new();
        BufReader::new(stream).read_until(b'\n', &mut line).unwrap();
        protocol::parse_status(&line).unwrap().unwrap_err().code
    }

    /// Ends it and waits for its end; its directory stays.
    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.runtime.block_on(self.task.take().unwrap()).unwrap();
    }
}

fn ctl(socket: Option<&Path>, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstayctl"));
    command.env_clear();
    if let Some(socket) = socket {
        command.arg("--socket").arg(socket);
    }
    command.args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn status_shows_the_page_without_colour_to_a_pipe() {
    let daemon = Daemon::showing(example());
    let output = ctl(Some(&daemon.path), &["status"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let page = text(&output.stdout);
    assert!(
        page.starts_with("mainstay 0.1.0  serving, degraded  pid 123  up 2h 13m  "),
        "{page}"
    );
    assert!(
        page.contains("stderr | ModuleNotFoundError: No module named 'github_mcp'"),
        "{page}"
    );
    assert!(!page.contains('\x1b'), "{page}");
}

#[test]
fn json_is_the_whole_snapshot() {
    let daemon = Daemon::showing(example());
    let output = ctl(Some(&daemon.path), &["status", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        serde_json::from_slice::<Snapshot>(&output.stdout).unwrap(),
        example()
    );
}

#[test]
fn a_snapshot_far_larger_than_a_socket_buffer_arrives_whole() {
    let mut large = example();
    let worker = large.servers[0].workers[0].clone();
    large.servers[0].workers = vec![worker; 20_000];
    let daemon = Daemon::showing(large.clone());
    let output = ctl(Some(&daemon.path), &["status", "--json"]);
    assert_eq!(
        serde_json::from_slice::<Snapshot>(&output.stdout).unwrap(),
        large
    );
}

#[test]
fn check_gives_a_verdict_and_plain_status_does_not() {
    let mut well = example();
    well.health = Health::Ok;
    let mut leaving = well.clone();
    leaving.phase = "draining".to_owned();
    for (snapshot, verdict) in [(well, 0), (leaving, 1), (example(), 1)] {
        let daemon = Daemon::showing(snapshot);
        assert_eq!(ctl(Some(&daemon.path), &["status"]).status.code(), Some(0));
        assert_eq!(
            ctl(Some(&daemon.path), &["status", "--check"])
                .status
                .code(),
            Some(verdict)
        );
    }
}

#[test]
fn the_socket_may_come_from_the_environment() {
    let daemon = Daemon::showing(example());
    let run = |variable: &str, value: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstayctl"));
        command
            .env_clear()
            .env(variable, value)
            .args(["status", "--json"])
            .output()
            .unwrap()
    };
    assert_eq!(run("MAINSTAY_SOCKET", &daemon.path).status.code(), Some(0));
    let system = ["/run/mainstay-control.sock", "/run/mainstay/mainstay.sock"];
    if system.iter().any(|path| Path::new(path).exists()) {
        return; // A daemon of this host comes first, as it should.
    }
    let dir = TempDir::new().unwrap();
    let user = Daemon::at(dir.path().join("mainstay/mainstay.sock"), dir, example());
    let runtime_dir = user.path.parent().and_then(Path::parent).unwrap();
    assert_eq!(run("XDG_RUNTIME_DIR", runtime_dir).status.code(), Some(0));
}

#[test]
fn without_a_daemon_it_says_what_to_do() {
    let dir = TempDir::new().unwrap();
    let stale = dir.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    for socket in [dir.path().join("nothing.sock"), stale] {
        let output = ctl(Some(&socket), &["status"]);
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        let message = text(&output.stderr);
        for part in [
            socket.to_str().unwrap(),
            "is mainstayd running?",
            "systemctl status mainstay",
            "--socket PATH",
        ] {
            assert!(message.contains(part), "{part} in {message}");
        }
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_daemon_that_says_nothing_or_nonsense_is_told_from_none() {
    for (answer, part) in [
        (&b""[..], "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "of the same version?"),
        (
            b"{\"v\":1,\"error\":{\"code\":\"x\",\"message\":\"not today\"}}\n",
            "refused: not today (x)",
        ),
    ] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut request = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut request)
                .unwrap();
            stream.write_all(answer).unwrap();
            request
        });
        let output = ctl(Some(&path), &["status"]);
        assert_eq!(daemon.join().unwrap(), protocol::request(Ask::Status));
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        assert!(text(&output.stderr).contains(part), "{part} in {output:?}");
    }
}

#[test]
fn command_lines() {
    let version = ctl(None, &["--version"]);
    assert_eq!(
        text(&version.stdout),
        concat!("mainstayctl ", env!("CARGO_PKG_VERSION"), "\n")
    );
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(ctl(None, &["--help"]).status.code(), Some(0));
    for wrong in [&["stauts"][..], &["status", "--jsno"], &[]] {
        assert_eq!(ctl(None, wrong).status.code(), Some(64), "{wrong:?}");
    }
}

#[test]
fn garbage_is_refused_and_harms_nobody() {
    let daemon = Daemon::showing(example());
    assert_eq!(daemon.refusal(b"GET / HTTP/1.1\r\n"), code::MALFORMED);
    assert_eq!(daemon.refusal(b"\n"), code::MALFORMED);
    assert_eq!(daemon.refusal(&[0, 159, 146, 150, b'\n']), code::MALFORMED);
    assert_eq!(
        daemon.refusal(b"{\"v\":9,\"command\":\"status\"}\n"),
        code::VERSION
    );
    assert_eq!(
        daemon.refusal(b"{\"v\":1,\"command\":\"stop\"}\n"),
        code::UNKNOWN
    );
    // One byte too much is refused before its line ends; the rest is not read.
    assert_eq!(
        daemon.refusal(&vec![b' '; REQUEST_LIMIT + 1]),
        code::TOO_LARGE
    );
    let mut longest = protocol::request(Ask::Status).trim_end().to_owned();
    longest.push_str(&" ".repeat(REQUEST_LIMIT - 1 - longest.len()));
    longest.push('\n');
    let mut stream = daemon.connect();
    stream.write_all(longest.as_bytes()).unwrap();
    assert_eq!(status_on(&mut stream), example());
}

/// Reads one answer.
fn status_on(stream: &mut UnixStream) -> Snapshot {
    let mut line = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut line).unwrap();
    protocol::parse_status(&line).unwrap().unwrap()
}

#[test]
fn one_connection_may_ask_again_even_after_a_mistake() {
    let daemon = Daemon::showing(example());
    let mut stream = daemon.connect();
    for _ in 0..3 {
        stream.write_all(b"nonsense\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains(code::MALFORMED), "{line}");
        stream
            .write_all(protocol::request(Ask::Status).as_bytes())
            .unwrap();
        assert_eq!(status_on(&mut stream), example());
    }
}

#[test]
fn half_requests_take_a_place_each_and_no_more() {
    let daemon = Daemon::showing(example());
    let mut stuck: Vec<UnixStream> = (0..MAX_CONNECTIONS).map(|_| daemon.connect()).collect();
    for stream in &mut stuck {
        stream.write_all(b"{\"v\":1,\"comm").unwrap();
    }
    let output = ctl(Some(&daemon.path), &["status"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(text(&output.stderr).contains(code::BUSY), "{output:?}");
    // A peer that finishes its request is still served, and one that leaves makes room.
    stuck[0].write_all(b"and\":\"status\"}\n").unwrap();
    assert_eq!(status_on(&mut stuck[0]), example());
    drop(stuck);
    eventually(|| ctl(Some(&daemon.path), &["status"]).status.code() == Some(0));
}

#[test]
fn a_fault_behind_the_socket_costs_one_connection() {
    let mut snapshot = example();
    snapshot.phase = "panic".to_owned();
    let daemon = Daemon::showing(snapshot);
    let mut stream = daemon.connect();
    stream
        .write_all(protocol::request(Ask::Status).as_bytes())
        .unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(daemon.refusal(b"x\n"), code::MALFORMED);
}

#[test]
fn the_socket_is_private_and_gone_after_the_daemon() {
    let mut daemon = Daemon::showing(example());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&daemon.path), 0o600);
    assert_eq!(mode(daemon.path.parent().unwrap()), 0o700);
    let open = daemon.connect();
    let began = Instant::now();
    daemon.stop();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "an idle peer holds the daemon"
    );
    assert!(!daemon.path.exists());
    drop(open);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_respected() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mainstay.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(UnixStream::connect(&path).is_err());
    let daemon = Daemon::at(path.clone(), dir, example());
    let second = daemon.runtime.block_on(async { bind(&path) }).unwrap_err();
    assert!(
        matches!(&second, BindError::Live(at) if *at == path),
        "{second}"
    );
    assert!(
        second.to_string().contains("another mainstayd answers at "),
        "{second}"
    );
    assert_eq!(ctl(Some(&path), &["status"]).status.code(), Some(0));
}

#[test]
fn what_is_no_socket_is_not_deleted() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("letter.txt");
    std::fs::write(&path, "dear reader").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = runtime.block_on(async { bind(&path) }).unwrap_err();
    assert!(
        matches!(&error, BindError::NotASocket(at) if *at == path),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear reader");
}

#[test]
fn the_socket_of_a_successor_survives_the_predecessor() {
    let mut daemon = Daemon::showing(example());
    std::fs::remove_file(&daemon.path).unwrap();
    let successor = UnixListener::bind(&daemon.path).unwrap();
    daemon.stop();
    assert!(daemon.path.exists());
    drop(successor);
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "not within five seconds");
        std::thread::sleep(Duration::from_millis(20));
    }
}
