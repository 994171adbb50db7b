//! A service manager for one daemon: hands sockets over by name, hears what it is told, and keeps
//! the log. What is left of the daemon is killed when it is dropped.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt as _, FdMapping};
use mainstay::admin::client::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::daemon::{chaos, until, within_reach};
use super::http::PATIENCE;

/// How a daemon is to be started.
pub(crate) struct Unit<'u> {
    /// Its `[servers.*]` tables, or anything else.
    pub(crate) config: String,
    /// Sockets with their names, in the order they are handed over.
    pub(crate) sockets: Vec<(&'u str, OwnedFd)>,
    /// Variables beside those of the hand-over.
    pub(crate) environment: Vec<(&'u str, String)>,
    /// The user it runs as, if not that of the test, who may not reach the worker of the default either.
    pub(crate) user: Option<u32>,
}

impl Default for Unit<'_> {
    fn default() -> Self {
        Self {
            config: format!(
                "[servers.a]\n{}[servers.a.pool]\nmin_size = 1\n",
                chaos(&[])
            ),
            sockets: Vec::new(),
            environment: Vec::new(),
            user: None,
        }
    }
}

/// The manager and its daemon.
pub(crate) struct ServiceManager {
    dir: TempDir,
    socket: UnixDatagram,
    heard: Vec<String>,
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl ServiceManager {
    /// Starts the daemon. Its own listener, if it needs one, is on any free port.
    pub(crate) fn start(unit: Unit<'_>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let config = dir.path().join("mainstay.toml");
        let text = format!(
            "cgroup = \"off\"\n[listen]\nhttp = \"127.0.0.1:0\"\n[admin]\nsocket = {:?}\n{}",
            dir.path().join("admin.sock").display().to_string(),
            unit.config
        );
        fs::write(&config, text).unwrap();
        let notify = dir.path().join("notify");
        let socket = UnixDatagram::bind(&notify).unwrap();
        fs::set_permissions(&notify, fs::Permissions::from_mode(0o777)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();

        // The shell's number is that of the daemon which it becomes.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "export LISTEN_PID=$$ WATCHDOG_PID=$$; exec \"$@\"",
            "sh",
        ]);
        let daemon = env!("CARGO_BIN_EXE_mainstayd");
        command.arg(match unit.user {
            Some(_) => within_reach(daemon, dir.path()),
            None => PathBuf::from(daemon),
        });
        command.arg("--config").arg(&config);
        command.arg("--state-dir").arg(dir.path().join("state"));
        command.env_remove("MAINSTAY_LOG").env_remove("RUST_LOG");
        command.env("NOTIFY_SOCKET", &notify);
        if !unit.sockets.is_empty() {
            let names: Vec<_> = unit.sockets.iter().map(|(name, _)| *name).collect();
            command.env("LISTEN_FDS", names.len().to_string());
            command.env("LISTEN_FDNAMES", names.join(":"));
        }
        command.envs(unit.environment);
        if let Some(user) = unit.user {
            command.uid(user).gid(user);
        }
        let place = |(at, (_, parent_fd)): (usize, (&str, OwnedFd))| FdMapping {
            parent_fd,
            child_fd: 3 + i32::try_from(at).unwrap(),
        };
        let mappings = unit.sockets.into_iter().enumerate().map(place).collect();
        command.fd_mappings(mappings).unwrap();
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It holds copies of the sockets.
        drop(command);
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let copy = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = copy.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self {
            dir,
            socket,
            heard: Vec::new(),
            child,
            log,
            reader: Some(reader),
        }
    }

    /// All that was said since the last call, each message once.
    pub(crate) fn listen(&mut self) -> Vec<String> {
        let mut new = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            new.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        self.heard.extend(new.iter().cloned());
        new
    }

    /// Waits for a message that begins like this, and returns it.
    pub(crate) fn hear(&mut self, start: &str) -> String {
        let from = self.heard.len();
        let begun = Instant::now();
        loop {
            self.listen();
            let found = self.heard[from..].iter().find(|m| m.starts_with(start));
            if let Some(found) = found {
                return found.clone();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "waited in vain for {start}: {:#?}\n{}",
                self.heard,
                self.log()
            );
        }
    }

    /// The first message of all that begins like this.
    pub(crate) fn hear_now(&self, start: &str) -> String {
        let found = self.heard.iter().find(|m| m.starts_with(start));
        found
            .cloned()
            .unwrap_or_else(|| panic!("no {start} in {:#?}", self.heard))
    }

    /// All messages so far, of which these are the first fields.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let first = |message: &String| message.split(['=', '\n']).next().map(str::len);
        let heard = self.heard.iter();
        heard.map(|m| &m[..first(m).unwrap_or(0)]).collect()
    }

    /// An operator at the socket that the daemon made itself.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.dir.path().join("admin.sock"), PATIENCE)
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        let length = || self.log.lock().unwrap().len();
        // A thread of its own writes the log, so that it can be behind what the manager hears.
        for _ in 0..20 {
            let before = length();
            std::thread::sleep(Duration::from_millis(60));
            if length() == before {
                break;
            }
        }
        self.log.lock().unwrap().clone()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = until("the daemon has ended", || self.child.try_wait().unwrap());
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.listen();
        status
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) -> Self {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        self
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let left = super::daemon::processes_of(&self.dir.path().join("state").join("scratch"));
        for pid in left {
            let _ = kill(
                Pid::from_raw(i32::try_from(pid).unwrap_or(0)),
                Signal::SIGKILL,
            );
        }
        if std::thread::panicking() {
            eprintln!("heard: {:#?}\nlog:\n{}", self.heard, self.log());
        }
    }
}

/// A path for a socket that everybody may connect to.
pub(crate) fn open_path(dir: &Path, name: &str) -> PathBuf {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
    dir.join(name)
}
