//! Asks on the admin socket, blocking, with a deadline: the side of `mainstayctl`. It knows
//! nothing of how an answer is shown.

use super::protocol::{self, ANSWER_LIMIT, Command, Failure};
use crate::broker::snapshot::Snapshot;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What to do when nobody answers.
const REMEDY: &str = "is mainstayd running? see `systemctl status mainstay`, or pass --socket PATH";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket, or nobody behind it.
    #[error("cannot reach mainstayd at {path}: {error}; {REMEDY}")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// The socket is not for this user.
    #[error(
        "cannot reach mainstayd at {path}: {error}; run mainstayctl as root or as the user \
         mainstayd runs as, for example with sudo"
    )]
    Forbidden {
        /// The socket.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// It answers, but not in time.
    #[error("mainstayd at {path} gave no answer within {seconds} s; see `journalctl -u mainstay`")]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// It closed the connection, or said something else than an answer.
    #[error(
        "mainstayd at {path} gave no answer that can be read: {reason}; are mainstayd and \
         mainstayctl of the same version?"
    )]
    Unreadable {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It refused.
    #[error("mainstayd at {path} refused: {} ({})", failure.message, failure.code)]
    Refused {
        /// The socket.
        path: PathBuf,
        /// Its reason.
        failure: Failure,
    },
}

/// Asks one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    patience: Duration,
}

impl Client {
    /// A client of the daemon at `path` that waits `patience` for a whole answer. Nothing is
    /// connected yet.
    #[must_use]
    pub fn new(path: &Path, patience: Duration) -> Self {
        Self {
            path: path.to_owned(),
            patience,
        }
    }

    /// What the daemon looks like right now.
    ///
    /// # Errors
    /// If nobody answers in time, or what comes is a refusal or no answer.
    pub fn status(&self) -> Result<Snapshot, ClientError> {
        let line = self.ask(Command::Status)?;
        match protocol::parse_status(&line) {
            Ok(Ok(snapshot)) => Ok(snapshot),
            Ok(Err(failure)) => Err(ClientError::Refused {
                path: self.path.clone(),
                failure,
            }),
            Err(error) => Err(self.unreadable(error)),
        }
    }

    /// Sends a command and returns the line that answers it.
    fn ask(&self, command: Command) -> Result<Vec<u8>, ClientError> {
        let mut stream = UnixStream::connect(&self.path).map_err(|error| {
            let path = self.path.clone();
            if error.kind() == io::ErrorKind::PermissionDenied {
                ClientError::Forbidden { path, error }
            } else {
                ClientError::Unreachable { path, error }
            }
        })?;
        let deadline = Instant::now() + self.patience;
        stream
            .set_write_timeout(Some(self.patience))
            .map_err(|error| self.broken(&error))?;
        // A daemon that turns us away has closed before it reads: its reason is still readable.
        let sent = stream.write_all(protocol::request(command).as_bytes());
        let line = self.read_line(&mut stream, deadline);
        match (sent, line) {
            (_, Ok(line)) => Ok(line),
            (Err(error), Err(_)) => Err(self.broken(&error)),
            (Ok(()), Err(error)) => Err(error),
        }
    }

    fn read_line(
        &self,
        stream: &mut UnixStream,
        deadline: Instant,
    ) -> Result<Vec<u8>, ClientError> {
        let mut line = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.silent());
            }
            stream
                .set_read_timeout(Some(left))
                .map_err(|error| self.broken(&error))?;
            let read = match stream.read(&mut chunk) {
                Ok(read) => chunk.get(..read).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken(&error)),
            };
            if read.is_empty() {
                return Err(self.unreadable("it closed the connection before a whole line"));
            }
            if let Some(end) = memchr::memchr(b'\n', read) {
                line.extend_from_slice(read.get(..end).unwrap_or_default());
                return Ok(line);
            }
            line.extend_from_slice(read);
            if line.len() > ANSWER_LIMIT {
                return Err(self.unreadable(format!("more than {ANSWER_LIMIT} bytes in one line")));
            }
        }
    }

    fn broken(&self, error: &io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.silent(),
            _ => self.unreadable(error),
        }
    }

    fn silent(&self) -> ClientError {
        ClientError::Silent {
            path: self.path.clone(),
            seconds: self.patience.as_secs(),
        }
    }

    fn unreadable(&self, reason: impl ToString) -> ClientError {
        ClientError::Unreadable {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }
}
