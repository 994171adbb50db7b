//! One worker process: started, observed until it has ended, signalled. It knows file
//! descriptors and process ids, not frames or calls, and takes no decision when to stop anything.
//!
//! Workers outlive the daemon by design, so nothing here ties their life to ours: no
//! `kill_on_drop`, no parent-death signal. Who starts a worker has to stop it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::exit;
use crate::sys::{process as proc, socket};
use crate::worker::command::LaunchSpec;

pub use crate::sys::process::Signal;

/// Wanted send buffer of both ends of a worker's stdio, in bytes. A socketpair with the default
/// buffer takes only 278 one-byte writes before it is full (measured); the kernel lowers this to
/// its `wmem_max`.
const STDIO_BUFFER: usize = 1 << 20;

/// A started worker process.
#[derive(Debug)]
pub struct Process {
    /// Process id of the worker; also its process group and session once it runs.
    pub pid: u32,
    /// Our end of the socket pair whose other end is the worker's stdin and stdout. Shutting down
    /// its write half is the worker's end of input; end of file here says that the worker and all
    /// who inherited its stdout are gone.
    pub stdio: UnixStream,
    /// Read end of the worker's stderr; must always be drained, a full pipe hangs the worker.
    pub stderr: pipe::Receiver,
    /// Tells when the worker has ended, and reaps it.
    pub exit: ExitWatch,
}

/// Why a worker could not be started at all. A missing or broken *worker command* is not seen
/// here but as exit status 127 or 126 of the process.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The server's command is an empty list.
    #[error("cannot start a worker of server {server}: its command is empty")]
    NoCommand {
        /// The server concerned.
        server: String,
    },
    /// No file descriptors for the worker's stdio or stderr.
    #[error("cannot start a worker of server {server}: no socket pair or pipe for its stdio")]
    Stdio {
        /// The server concerned.
        server: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The launcher itself could not be run: no memory, process limit, binary gone.
    #[error("cannot start a worker of server {server}: running {} failed", launcher.display())]
    Launcher {
        /// The server concerned.
        server: String,
        /// The binary that was to be run.
        launcher: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The binary to launch workers with: the running daemon itself, even if the file of that name was
/// replaced meanwhile by an upgrade.
#[must_use]
pub fn own_launcher() -> PathBuf {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return running.to_owned();
    }
    std::env::current_exe().unwrap_or_else(|_| running.to_owned())
}

/// Starts one worker. Must be called inside a tokio runtime with I/O enabled. Returns as soon as
/// the launcher runs; whether the worker's command could be executed shows in its exit status.
///
/// # Errors
/// See [`SpawnError`]; nothing is left behind.
pub fn spawn(spec: &LaunchSpec) -> Result<Process, SpawnError> {
    if spec.program.is_empty() {
        return Err(SpawnError::NoCommand {
            server: spec.server.clone(),
        });
    }
    let stdio_failed = |source| SpawnError::Stdio {
        server: spec.server.clone(),
        source,
    };
    let (stdio, stdin, stdout) = stdio_pair().map_err(stdio_failed)?;
    let (stderr_writer, stderr) = pipe::pipe().map_err(stdio_failed)?;
    let stderr_writer = stderr_writer.into_blocking_fd().map_err(stdio_failed)?;

    let launcher_failed = |source| SpawnError::Launcher {
        server: spec.server.clone(),
        launcher: spec.launcher.clone(),
        source,
    };
    let child = Command::new(&spec.launcher)
        .args(spec.launch_arguments())
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr_writer))
        .kill_on_drop(false)
        .spawn()
        .map_err(launcher_failed)?;
    let pid = child
        .id()
        .ok_or_else(|| launcher_failed(io::Error::other("the process has no id")))?;
    Ok(Process {
        pid,
        stdio,
        stderr,
        exit: ExitWatch { child },
    })
}

/// Our end, and the worker's end twice (stdin, stdout). All close on exec but for the copies the
/// child gets as 0 and 1.
fn stdio_pair() -> io::Result<(UnixStream, OwnedFd, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    for end in [&ours, &theirs] {
        socket::raise_send_buffer(end, STDIO_BUFFER);
    }
    ours.set_nonblocking(true)?;
    let stdin = OwnedFd::from(theirs);
    let stdout = stdin.try_clone()?;
    Ok((UnixStream::from_std(ours)?, stdin, stdout))
}

/// Waits for the end of one process and reaps it. Dropping it unfinished neither ends the process
/// nor leaves a zombie.
#[derive(Debug)]
pub struct ExitWatch {
    child: Child,
}

impl ExitWatch {
    /// Resolves once the process has ended; cancel safe, and again at once when called again.
    pub async fn wait(&mut self) -> ExitStatus {
        match self.child.wait().await {
            Ok(status) => status,
            Err(error) => {
                // Only ECHILD is possible: somebody else reaped it, so it is gone all the same.
                log::warn!(
                    "cannot read the exit status of process {:?}: {error}",
                    self.child.id()
                );
                ExitStatus::from_raw(0xff00)
            }
        }
    }
}

/// Sends `signal` to the process group of the worker with this `pid`, or to the worker alone while
/// its launcher has not yet made the group. `Ok(false)`: there is no such process any more.
///
/// # Errors
/// The kernel refused, such as `EPERM` for a worker which changed its user.
pub fn signal_group(pid: u32, signal: Signal) -> io::Result<bool> {
    proc::signal_group(pid, signal)
}

/// After the worker `pid` has exited: kills what is left of its process group and of its session
/// (`npx`, `uv` and `sh -c` leave grandchildren) and returns how many processes that were. Reads
/// the whole of /proc: milliseconds, so run it on a blocking thread.
#[must_use]
pub fn kill_leftovers(pid: u32) -> usize {
    proc::kill_leftovers(pid)
}

/// Whether SIGKILL ended the process.
#[must_use]
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(proc::KILL)
}

/// The exit status in words, for failure reports and logs.
#[must_use]
pub fn describe(status: ExitStatus) -> String {
    if let Some(signal) = status.signal() {
        let core = if status.core_dumped() {
            ", core dumped"
        } else {
            ""
        };
        return format!("was killed by {}{core}", proc::signal_name(signal));
    }
    let code = status.code().unwrap_or_default();
    let reason = match u8::try_from(code) {
        Ok(exit::LAUNCH_NOT_FOUND) => ": command not found",
        Ok(exit::LAUNCH_NOT_EXECUTABLE) => ": command found but not executable",
        Ok(exit::LAUNCH_NARROW) => ": its surroundings could not be set up",
        _ => "",
    };
    format!("exited with status {code}{reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_is_put_in_words() {
        assert_eq!(describe(ExitStatus::from_raw(9)), "was killed by SIGKILL");
        assert_eq!(
            describe(ExitStatus::from_raw(11 | 0x80)),
            "was killed by SIGSEGV, core dumped"
        );
        assert_eq!(
            describe(ExitStatus::from_raw(1 << 8)),
            "exited with status 1"
        );
        assert_eq!(
            describe(ExitStatus::from_raw(127 << 8)),
            "exited with status 127: command not found"
        );
        assert_eq!(
            describe(ExitStatus::from_raw(126 << 8)),
            "exited with status 126: command found but not executable"
        );
        assert_eq!(
            describe(ExitStatus::from_raw(34)),
            "was killed by signal 34"
        );
    }

    #[tokio::test]
    async fn an_empty_command_is_refused() {
        let spec = LaunchSpec {
            server: "music".into(),
            launcher: own_launcher(),
            program: Vec::new(),
            env: Vec::new(),
            cwd: None,
            scratch: "/nonexistent".into(),
            open_files: 64,
            core_bytes: 0,
            processes: None,
            fence: None,
            group: None,
        };
        assert!(matches!(spawn(&spec), Err(SpawnError::NoCommand { .. })));
    }
}
