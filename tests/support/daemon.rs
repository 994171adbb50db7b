//! The real `mainstayd` as a child: started on a free port with a state directory of its own,
//! ended by SIGTERM when dropped. A daemon that does not exit with 0, or leaves a process or a
//! scratch directory behind, fails the test that used it.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use mainstay::admin::client::Client;
use mainstay::broker::snapshot::{ServerStatus, Snapshot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::http::{self, PATIENCE, Response};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    address: SocketAddr,
    dir: TempDir,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    ended: bool,
}

/// Path of the scripted worker, which cargo builds with the tests; or what the environment names in
/// its place, to see whether tests notice.
pub(crate) fn chaosworker() -> PathBuf {
    if let Some(other) = std::env::var_os("MAINSTAY_TEST_WORKER") {
        return other.into();
    }
    let daemon = Path::new(env!("CARGO_BIN_EXE_mainstayd"));
    let path = daemon.with_file_name("examples").join("chaosworker");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/chaosworker");
    let age = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    let files = fs::read_dir(&source).unwrap().flatten();
    let newest = files.filter_map(|file| age(&file.path())).max();
    assert!(newest.is_some(), "no source in {}", source.display());
    assert!(
        age(&path) >= newest,
        "{} is missing or older than its source; `cargo test --test NAME` does not build it: run \
         `cargo build --examples` first",
        path.display()
    );
    path
}

/// The `command = [...]` line of a server whose workers are chaosworkers with these arguments.
pub(crate) fn chaos(arguments: &[&str]) -> String {
    let program = chaosworker();
    let mut line = format!("command = [{:?}", program.display().to_string());
    for argument in arguments {
        write!(line, ", {argument:?}").unwrap();
    }
    line + "]\n"
}

/// Waits until `condition` gives something, for at most [`PATIENCE`].
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(LOOK);
    }
}

/// Processes whose environment or command line names `dir`, zombies left out.
pub(crate) fn processes_of(dir: &Path) -> Vec<u32> {
    let needle = dir.display().to_string().into_bytes();
    let names =
        |path: PathBuf| fs::read(path).is_ok_and(|b| b.windows(needle.len()).any(|w| w == needle));
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_str().and_then(|n| n.parse().ok());
        if let Some(pid) = pid.filter(|pid| *pid != std::process::id()) {
            if names(entry.path().join("environ")) || names(entry.path().join("cmdline")) {
                found.push(pid);
            }
        }
    }
    found
}

/// A program of this tree, in `dir`: where the tree was built may be closed to other users.
pub(crate) fn within_reach(program: &str, dir: &Path) -> PathBuf {
    let path = dir.join(Path::new(program).file_name().unwrap());
    fs::hard_link(program, &path)
        .or_else(|_| fs::copy(program, &path).map(drop))
        .unwrap();
    path
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

impl Daemon {
    /// A daemon with these `[servers.*]` tables (and any others but `[listen]` and `[admin]`),
    /// once it listens. Without a word about `rate_limit` there is none: tests call fast.
    pub(crate) fn start(servers: &str) -> Self {
        Self::start_with("", servers)
    }

    /// The same with more lines for `[listen]`.
    pub(crate) fn start_with(listen: &str, servers: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), listen, servers)
    }

    /// The same in a directory that the test has prepared.
    pub(crate) fn start_in(dir: TempDir, listen: &str, servers: &str) -> Self {
        Self::start_as(dir, listen, servers, &[])
    }

    /// The same with variables in its environment.
    pub(crate) fn start_as(
        dir: TempDir,
        listen: &str,
        servers: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        Self::launch(dir, listen, servers, |daemon| {
            daemon.envs(environment.iter().copied());
        })
    }

    /// The same with any change to its command. One whose stderr goes elsewhere has no log here.
    pub(crate) fn launch(
        dir: TempDir,
        listen: &str,
        servers: &str,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let program = Command::new(env!("CARGO_BIN_EXE_mainstayd"));
        Self::spawn(dir, ("", listen, servers), program, change)
    }

    /// The same, started in this control group, which it takes for its own.
    pub(crate) fn start_below(cgroup: &Path, dir: TempDir, servers: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]);
        shell.arg(cgroup.join("cgroup.procs"));
        shell.arg(env!("CARGO_BIN_EXE_mainstayd"));
        Self::spawn(dir, ("cgroup = \"own\"\n", "", servers), shell, |_| {})
    }

    /// The same as `nobody` where the test is root: with no privileges, as a packaged daemon.
    pub(crate) fn start_unprivileged(dir: TempDir, servers: &str) -> Self {
        const NOBODY: u32 = 65534;
        let mut program = Command::new(within_reach(env!("CARGO_BIN_EXE_mainstayd"), dir.path()));
        if nix::unistd::Uid::effective().is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            program.uid(NOBODY).gid(NOBODY);
        }
        Self::spawn(dir, ("", "", servers), program, |_| {})
    }

    /// `command` is the daemon, or something that becomes it. The lines are for the top, for
    /// `[listen]` and for the rest of the configuration.
    fn spawn(
        dir: TempDir,
        (top, listen, servers): (&str, &str, &str),
        mut command: Command,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let config = dir.path().join("mainstay.toml");
        let limit = match servers.contains("rate_limit") {
            true => "",
            false => "[rate_limit]\nrate = 0\n",
        };
        let text = format!(
            "{top}[listen]\nhttp = \"127.0.0.1:0\"\n{listen}\n[admin]\nsocket = {:?}\n{limit}{servers}",
            dir.path().join("admin.sock").display().to_string()
        );
        fs::write(&config, text).unwrap();
        command
            .arg("--config")
            .arg(&config)
            .arg("--state-dir")
            .arg(dir.path().join("state"))
            .env_remove("MAINSTAY_LOG")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let copy = Arc::clone(&log);
        let reader = child.stderr.take().map(|stderr| {
            thread::spawn(move || {
                let stderr = BufReader::new(stderr);
                for line in stderr.split(b'\n').map_while(Result::ok) {
                    let mut log = copy.lock().unwrap();
                    log.push_str(&String::from_utf8_lossy(&line));
                    log.push('\n');
                }
            })
        });
        let mut daemon = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            dir,
            log,
            reader,
            ended: false,
        };
        daemon.address = until("the daemon listens", || {
            let over = daemon.child.try_wait().unwrap();
            assert_eq!(over, None, "the daemon ended:\n{}", daemon.log());
            let snapshot = daemon.client().status().ok()?;
            snapshot.listen.parse().ok()
        });
        daemon
    }

    /// A daemon whose `/health` says 200.
    pub(crate) fn ready(servers: &str) -> Self {
        Self::start(servers).until_healthy()
    }

    /// Waits until `/health` says 200.
    pub(crate) fn until_healthy(self) -> Self {
        until("/health says 200", || {
            (self.health().0 == 200).then_some(())
        });
        self
    }

    /// An operator at its admin socket.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.dir.path().join("admin.sock"), PATIENCE)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory that holds its configuration and its state.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        let length = || self.log.lock().unwrap().len();
        // A thread of its own writes the log, so that it can be behind what `/health` says.
        for _ in 0..20 {
            let before = length();
            thread::sleep(Duration::from_millis(60));
            if length() == before {
                break;
            }
        }
        self.log.lock().unwrap().clone()
    }

    /// What `mainstayctl status` would show.
    pub(crate) fn status(&self) -> Snapshot {
        self.client().status().unwrap()
    }

    /// The same of its only, or its default, server.
    pub(crate) fn server(&self) -> ServerStatus {
        self.named(|s| s.default)
    }

    fn named(&self, which: impl Fn(&ServerStatus) -> bool) -> ServerStatus {
        self.status()
            .servers
            .into_iter()
            .find(|s| which(s))
            .unwrap()
    }

    /// Waits until the default server looks like this.
    pub(crate) fn until(
        &self,
        what: &str,
        mut condition: impl FnMut(&ServerStatus) -> bool,
    ) -> ServerStatus {
        let mut last = None;
        let start = Instant::now();
        loop {
            let now = self.server();
            if condition(&now) {
                return now;
            }
            last = Some(now).or(last);
            assert!(
                start.elapsed() < PATIENCE,
                "waited in vain until {what}: {last:#?}\n{}",
                self.log()
            );
            sleep(LOOK);
        }
    }

    /// GET of a view.
    pub(crate) fn get(&self, path: &str) -> Response {
        http::send(self.address, "GET", path, &[], None)
    }

    /// Status and body of `/health`.
    pub(crate) fn health(&self) -> (u16, Value) {
        let answer = self.get("/health");
        (answer.status, answer.json())
    }

    /// The value of one series of `/metrics`.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let page = self.get("/metrics").text();
        let line = page
            .lines()
            .find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is not in\n{page}"))
            .parse()
            .unwrap()
    }

    /// Open file descriptors of the daemon. Nobody but root may see them; for others there are none.
    pub(crate) fn descriptors(&self) -> Vec<String> {
        let path = format!("/proc/{}/fd", self.pid());
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries.flatten(),
            Err(error) => {
                eprintln!("not looked at, only root may: {path}: {error}");
                return Vec::new();
            }
        };
        entries
            .filter_map(|e| Some(fs::read_link(e.path()).ok()?.display().to_string()))
            .collect()
    }

    /// Worker processes, and whatever else was started below the state directory.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found = processes_of(&self.dir.path().join("state").join("scratch"));
        found.retain(|pid| *pid != self.pid());
        found
    }

    /// Asks it to end, without waiting for it.
    pub(crate) fn terminate(&self) {
        signal(self.pid(), Signal::SIGTERM);
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = until("the daemon has ended", || self.child.try_wait().unwrap());
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.ended = true;
        status
    }

    /// Ends it, checks that it was an orderly end that leaves nothing, and returns its log.
    pub(crate) fn stop(mut self) -> String {
        self.finish();
        self.log()
    }

    fn finish(&mut self) {
        if !self.ended {
            self.terminate();
            let status = self.wait();
            assert_eq!(status.code(), Some(0), "{}", self.log());
        }
        let left = self.processes();
        assert!(
            left.is_empty(),
            "processes {left:?} are left\n{}",
            self.log()
        );
        let scratch = self.dir.path().join("state").join("scratch");
        let left: Vec<_> = fs::read_dir(scratch).into_iter().flatten().collect();
        assert!(left.is_empty(), "scratch is left: {left:?}\n{}", self.log());
        let log = self.log();
        assert!(!log.contains("panicked"), "a task panicked:\n{log}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !thread::panicking() {
            return self.finish();
        }
        // A failed test says what the daemon saw and leaves nothing behind either.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in self.processes() {
            let _ = kill(
                Pid::from_raw(i32::try_from(pid).unwrap_or(0)),
                Signal::SIGKILL,
            );
        }
        eprintln!("log of the daemon:\n{}", self.log());
    }
}
