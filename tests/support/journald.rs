//! A journald for tests: a datagram socket that reads only when it is asked to, and reads strictly.
//! Also a stderr that the daemon takes for the stream of this journald.

use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::http::PATIENCE;

/// One record, its fields in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry(pub(crate) Vec<(String, String)>);

impl Entry {
    /// Reads a datagram; panics where journald would not take it as it is meant.
    pub(crate) fn parse(datagram: &[u8]) -> Self {
        let mut fields = Vec::new();
        let mut rest = datagram;
        while !rest.is_empty() {
            let line = rest.iter().position(|b| *b == b'\n').unwrap();
            let (name, value);
            if let Some(at) = rest[..line].iter().position(|b| *b == b'=') {
                (name, value) = (&rest[..at], &rest[at + 1..line]);
                rest = &rest[line + 1..];
            } else {
                name = &rest[..line];
                let size: [u8; 8] = rest[line + 1..line + 9].try_into().unwrap();
                let end = line + 9 + usize::try_from(u64::from_le_bytes(size)).unwrap();
                value = &rest[line + 9..end];
                assert_eq!(rest[end], b'\n');
                rest = &rest[end + 1..];
            }
            let name = String::from_utf8(name.to_vec()).unwrap();
            let is_good = |c: char| matches!(c, 'A'..='Z' | '0'..='9' | '_');
            assert!(
                name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_uppercase()),
                "{name}"
            );
            assert!(name.chars().all(is_good), "{name}");
            fields.push((name, String::from_utf8(value.to_vec()).unwrap()));
        }
        Self(fields)
    }

    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.0.iter().filter(|(n, _)| n == name);
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of a field; empty if there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} stands there twice: {self:?}");
        all.first().copied().unwrap_or_default()
    }

    pub(crate) fn is(&self, name: &str, value: &str) -> bool {
        self.all(name).contains(&value)
    }
}

/// The socket, and what was read from it so far.
pub(crate) struct Journald {
    socket: UnixDatagram,
    path: PathBuf,
    seen: Vec<Entry>,
}

impl Journald {
    /// Listens at `path`; takes the place of a socket that is there.
    pub(crate) fn listen(path: &Path) -> Self {
        let _ = fs::remove_file(path);
        Self {
            socket: UnixDatagram::bind(path).unwrap(),
            path: path.to_owned(),
            seen: Vec::new(),
        }
    }

    /// Reads until a record comes that is like this; earlier ones count.
    pub(crate) fn until(&mut self, what: &str, like: impl Fn(&Entry) -> bool) -> Entry {
        let start = Instant::now();
        let mut looked = 0;
        loop {
            if let Some(found) = self.seen[looked..].iter().find(|e| like(e)) {
                return found.clone();
            }
            looked = self.seen.len();
            let left = PATIENCE.saturating_sub(start.elapsed());
            assert!(
                !left.is_zero() && self.read(left),
                "waited in vain for {what}: {:#?}",
                self.seen
                    .iter()
                    .map(|e| e.all("MESSAGE"))
                    .collect::<Vec<_>>()
            );
        }
    }

    /// Reads what comes until nothing has come for so long.
    pub(crate) fn drain(&mut self, silence: Duration) -> &[Entry] {
        while self.read(silence) {}
        &self.seen
    }

    fn read(&mut self, patience: Duration) -> bool {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = vec![0; 256 * 1024];
        match self.socket.recv(&mut buffer) {
            Ok(length) => self.seen.push(Entry::parse(&buffer[..length])),
            Err(_) => return false,
        }
        true
    }
}

/// A stderr that is a stream of journald, and its other end.
pub(crate) struct Stream {
    daemon: OwnedFd,
    reader: UnixStream,
}

impl Stream {
    pub(crate) fn open() -> Self {
        let (daemon, reader) = UnixStream::pair().unwrap();
        Self {
            daemon: daemon.into(),
            reader,
        }
    }

    /// Makes it the stderr of a daemon, whose journald is at `socket`. Returns the other end.
    pub(crate) fn give(self, daemon: &mut Command, socket: &Path) -> UnixStream {
        let file = fs::File::from(self.daemon);
        let meta = file.metadata().unwrap();
        daemon
            .env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()))
            .env("MAINSTAY_JOURNAL_SOCKET", socket)
            .stderr(Stdio::from(file));
        self.reader
    }
}

/// What was written to the other end; it ends with the last process that has it.
pub(crate) fn text(mut reader: UnixStream) -> String {
    reader.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
