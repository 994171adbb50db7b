//! Asks on the admin socket, blocking, with a deadline: the side of `mainstayctl`. It knows
//! nothing of how an answer is shown.

use super::protocol::{
    self, ANSWER_LIMIT, BreakerSet, Cleared, Command, Drained, Failure, Faulty, Recycled, code,
};
use crate::broker::control::BreakerMode;
use crate::broker::reload::Reloaded;
use crate::broker::snapshot::{LimitStatus, Snapshot};
use crate::fault::Part;
use serde::de::DeserializeOwned;
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
    /// It understood and cannot do it: no such server or worker, or not in this state.
    #[error("{0}")]
    Impossible(String),
    /// The new configuration is refused; every error, one line each.
    #[error("the new configuration is refused: {}", .0.join("; "))]
    Rejected(Vec<String>),
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
        self.ask(Command::Status)
    }

    /// Makes a vital part of the daemon stand still; see
    /// [`Control::fault`](crate::broker::control::Control::fault).
    ///
    /// # Errors
    /// See [`Client::status`]; [`ClientError::Impossible`] if its build cannot.
    pub fn fault(&self, part: Part, time: Duration) -> Result<(), ClientError> {
        let for_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Faulty { .. } = self.ask(Command::Fault { part, for_ms })?;
        Ok(())
    }

    /// The buckets of the daemon's limiter, the busiest first, at most `most`.
    ///
    /// # Errors
    /// See [`Client::status`].
    pub fn limits(&self, most: usize) -> Result<Vec<LimitStatus>, ClientError> {
        self.ask(Command::Limits { most })
    }

    /// Sets a breaker; see [`Control::set_breaker`](crate::broker::control::Control::set_breaker).
    /// The time is rounded up to milliseconds. Returns who is recorded to have set it.
    ///
    /// # Errors
    /// See [`Client::status`]; [`ClientError::Impossible`] if there is no such breaker.
    pub fn set_breaker(
        &self,
        server: &str,
        tool: Option<&str>,
        mode: BreakerMode,
        expires: Option<Duration>,
        reason: Option<&str>,
    ) -> Result<String, ClientError> {
        let milliseconds = |time: Duration| {
            u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(protocol::FOR_MS_MOST)
        };
        let set: BreakerSet = self.ask(Command::Breaker {
            server: server.to_owned(),
            tool: tool.map(str::to_owned),
            mode,
            for_ms: expires.map(milliseconds),
            reason: reason.map(str::to_owned),
        })?;
        Ok(set.author)
    }

    /// Has a worker replaced and returns the name of its server.
    ///
    /// # Errors
    /// See [`Client::status`]; [`ClientError::Impossible`] if there is no such worker or it is on
    /// its way out.
    pub fn recycle(&self, worker: u64) -> Result<String, ClientError> {
        let recycled: Recycled = self.ask(Command::Recycle { worker })?;
        Ok(recycled.server)
    }

    /// Lets a server take no new calls (`on`), or take them again; returns how many are in flight.
    ///
    /// # Errors
    /// See [`Client::status`]; [`ClientError::Impossible`] if there is no such server.
    pub fn drain(&self, server: &str, on: bool) -> Result<usize, ClientError> {
        let server = server.to_owned();
        let drained: Drained = self.ask(Command::Drain { server, on })?;
        Ok(drained.in_flight)
    }

    /// Forgets quarantined calls, one by its digest or all; returns how many.
    ///
    /// # Errors
    /// See [`Client::status`]; [`ClientError::Impossible`] if there is no such server or digest.
    pub fn clear_quarantine(
        &self,
        server: &str,
        digest: Option<&str>,
    ) -> Result<usize, ClientError> {
        let cleared: Cleared = self.ask(Command::ClearQuarantine {
            server: server.to_owned(),
            digest: digest.map(str::to_owned),
        })?;
        Ok(cleared.cleared)
    }

    /// Has the daemon read its configuration again, or only check it and tell what would change.
    ///
    /// # Errors
    /// See [`Client::status`]; [`ClientError::Rejected`] if the configuration is refused.
    pub fn reload(&self, check: bool) -> Result<Reloaded, ClientError> {
        self.ask(Command::Reload { check })
    }

    fn ask<T: DeserializeOwned>(&self, command: Command) -> Result<T, ClientError> {
        let line = self.exchange(command)?;
        match protocol::parse_answer(&line) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) if failure.code == code::IMPOSSIBLE => {
                Err(ClientError::Impossible(failure.message))
            }
            Ok(Err(failure)) if failure.code == code::REJECTED => {
                let errors = failure.message.lines().map(ToOwned::to_owned);
                Err(ClientError::Rejected(errors.collect()))
            }
            Ok(Err(failure)) => Err(ClientError::Refused {
                path: self.path.clone(),
                failure,
            }),
            Err(error) => Err(self.unreadable(error)),
        }
    }

    /// Sends a command and returns the line that answers it.
    fn exchange(&self, command: Command) -> Result<Vec<u8>, ClientError> {
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
