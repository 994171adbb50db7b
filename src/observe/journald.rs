//! The native protocol of journald (systemd.io/JOURNAL_NATIVE_PROTOCOL): one record is one datagram
//! of fields. The only file that knows it. Whatever a field holds, it stays one field; a record is
//! bounded by being cut, far below what the socket takes, so nothing is passed as a file.

use super::backlog::Sent;
use super::escape::escape;
use super::line::{MESSAGE_LIMIT, VALUE_LIMIT, priority};
use super::logger::WORKER;
use log::Record;
use log::kv::{Error as KvError, Key, Value, VisitSource};
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// What the daemon's own records are found by: `journalctl -t`.
const IDENTIFIER: &str = "mainstayd";
/// The facility of daemons, see syslog(3).
const FACILITY: &str = "3";
/// Fields of one record that are looked at; no event has half as many.
const FIELDS_LIMIT: usize = 64;
/// Bytes of a field's name; journald takes no more.
const NAME_LIMIT: usize = 64;
/// How long one attempt waits for a journald that does not read.
const PATIENCE: Duration = Duration::from_millis(250);

/// The way to journald.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Journal {
    /// # Errors
    /// Nobody listens at `path`.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            socket: Some(connect(path)?),
        })
    }

    /// Sends one datagram; waits a moment for room. Connects again where the socket is another.
    pub(super) fn send(&mut self, datagram: &[u8]) -> Sent {
        let Some(socket) = &self.socket else {
            self.socket = connect(&self.path).ok();
            return match self.socket {
                Some(_) => Sent::Later,
                None => Sent::Apart,
            };
        };
        let Err(error) = socket.send(datagram) else {
            return Sent::Yes;
        };
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Sent::Later,
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::NotConnected
            | ErrorKind::NotFound
            | ErrorKind::BrokenPipe => {
                self.socket = None;
                Sent::Later
            }
            // Too large, or the kernel is out of memory: the next one may fare better.
            _ => Sent::Never,
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// A record as a datagram of less than 200 KiB. What had to be cut is marked by
/// `MAINSTAY_TRUNCATED=1`.
#[must_use]
pub fn datagram(record: &Record<'_>) -> Vec<u8> {
    let mut pairs = Pairs::default();
    // The visitor never fails.
    let _ = record.key_values().visit(&mut pairs);
    let is_worker = record.target() == WORKER;
    let mut out = Fields::default();

    let message = pairs
        .take("line")
        .unwrap_or_else(|| record.args().to_string());
    let message = out.cut(&message, MESSAGE_LIMIT).to_owned();
    out.add("MESSAGE", &escape(&message, usize::MAX));
    let priority = pairs.take("priority").filter(|text| is_priority(text));
    let level = || self::priority(record.level()).to_string();
    out.add("PRIORITY", &priority.unwrap_or_else(level));
    out.add("SYSLOG_FACILITY", FACILITY);
    match pairs.get("server").filter(|_| is_worker) {
        Some(server) => out.add("SYSLOG_IDENTIFIER", &identifier(server)),
        None => out.add("SYSLOG_IDENTIFIER", IDENTIFIER),
    }
    match pairs.take("message_id") {
        Some(id) => out.add("MESSAGE_ID", &id),
        None => out.add("TARGET", record.target()),
    }
    if let Some(file) = record.file().filter(|_| !is_worker) {
        out.add("CODE_FILE", file);
        let line = record.line().unwrap_or_default();
        out.add("CODE_LINE", &line.to_string());
    }
    let is_trip = pairs.get("event") == Some("breaker_opened");
    for (key, value) in &pairs.0 {
        let value = out.cut(value, VALUE_LIMIT);
        out.add(&name(key), value);
        match key.as_str() {
            // Whom it is about, not who says it.
            "pid" => out.add("OBJECT_PID", value),
            "reason" if is_trip => out.add("MAINSTAY_TRIP_REASON", value),
            _ => {}
        }
    }
    if out.truncated {
        out.add("MAINSTAY_TRUNCATED", "1");
    }
    out.bytes
}

/// The identifier of a server's workers, for `journalctl -t mainstay-NAME`. Any name becomes one
/// that is easy to type.
fn identifier(server: &str) -> String {
    let safe = |c: char| match c {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '-' | '.' => c,
        _ => '_',
    };
    let name: String = server.chars().take(NAME_LIMIT).map(safe).collect();
    format!("mainstay-{name}")
}

/// The field for a key: `MAINSTAY_` and the key in upper case, whatever the key is.
fn name(key: &str) -> String {
    let safe = |c: char| match c.to_ascii_uppercase() {
        c @ ('A'..='Z' | '0'..='9') => c,
        _ => '_',
    };
    let name = "MAINSTAY_".chars().chain(key.chars().map(safe));
    name.take(NAME_LIMIT).collect()
}

fn is_priority(text: &str) -> bool {
    matches!(text.as_bytes(), [b'0'..=b'7'])
}

/// Keys and values of a record, at most [`FIELDS_LIMIT`].
#[derive(Default)]
struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1)
    }
}

impl<'kvs> VisitSource<'kvs> for Pairs {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        if self.0.len() < FIELDS_LIMIT {
            self.0.push((key.as_str().to_owned(), value.to_string()));
        }
        Ok(())
    }
}

/// A datagram in the making.
#[derive(Default)]
struct Fields {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Fields {
    /// The beginning of `text` that fits, and remembers whether that is not all.
    fn cut<'t>(&mut self, text: &'t str, limit: usize) -> &'t str {
        if text.len() <= limit {
            return text;
        }
        self.truncated = true;
        let mut end = limit;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.get(..end).unwrap_or_default()
    }

    /// `NAME=value`, or with the length before the value where a line break is in it: it would
    /// begin another field.
    fn add(&mut self, name: &str, value: &str) {
        self.bytes.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.bytes.push(b'\n');
            let length = (value.len() as u64).to_le_bytes();
            self.bytes.extend_from_slice(&length);
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(b'\n');
    }
}
