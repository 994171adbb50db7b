//! The log of the process: what the filter lets through goes into the backlog as bytes, in the form
//! that suits the reader: records for journald if stderr is its stream, else lines on stderr. Whoever
//! logs never waits for whoever reads.

use super::backlog::{Backlog, Rank, Sent};
use super::event::{self, Event};
use super::journald;
use super::line::{self, Style};
use env_filter::Filter;
use log::{Log, Metadata, Record};
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

/// Target of the lines that workers write to stderr.
pub const WORKER: &str = "worker";
/// What is logged if nobody says otherwise.
const DEFAULT_FILTER: &str = "info";
/// How long the end of the process waits for what is not written yet.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Pause before a full stderr that must not be waited for is tried again.
const PAUSE: Duration = Duration::from_millis(20);

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The process has a logger already.
    #[error("the process has a logger already")]
    Twice,
    /// The thread that writes cannot be had, or stderr is closed.
    #[error("cannot write in a thread of its own: {0}")]
    System(#[from] io::Error),
}

#[derive(Debug)]
struct Logger {
    filter: Filter,
    form: Form,
    backlog: Backlog,
}

/// What a record looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// journald's own protocol.
    Native,
    /// Lines on stderr.
    Text(Style),
}

/// Sets up the log of this process. `filter` is the content of `MAINSTAY_LOG`, else of `RUST_LOG`
/// (`info`, `debug`, `mainstay::worker=trace,warn`); a part that cannot be read is said on stderr
/// and ignored. If stderr is the stream that `journal_stream` (the variable `JOURNAL_STREAM`) names,
/// records go to journald at `socket` by its own protocol; if nobody listens there, as lines with a
/// priority to stderr.
///
/// # Errors
/// See [`InitError`].
pub fn init(
    filter: Option<&str>,
    journal_stream: Option<&str>,
    socket: &Path,
) -> Result<(), InitError> {
    let filter = filter.map(str::trim).filter(|text| !text.is_empty());
    let filter = env_filter::Builder::new()
        .parse(filter.unwrap_or(DEFAULT_FILTER))
        .build();
    // Not `io::stderr()` itself: its lock would be held while a full pipe blocks the thread.
    let mut stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let style = style_of(journal_stream, &stderr);
    let journal = match style {
        Style::Journal => journald::Journal::connect(socket).ok(),
        Style::Stream => None,
    };
    let (form, backlog) = match journal {
        Some(mut journal) => (
            Form::Native,
            Backlog::start(|n| told(Form::Native, n), move |r| journal.send(r))?,
        ),
        None => {
            let tell = match style {
                Style::Journal => |n| told(Form::Text(Style::Journal), n),
                Style::Stream => |n| told(Form::Text(Style::Stream), n),
            };
            let write = move |line: &[u8]| write(&mut stderr, line);
            (Form::Text(style), Backlog::start(tell, write)?)
        }
    };
    let level = filter.filter();
    let logger = Logger {
        filter,
        form,
        backlog,
    };
    LOGGER.set(logger).map_err(|_| InitError::Twice)?;
    let logger = LOGGER.get().ok_or(InitError::Twice)?;
    log::set_logger(logger).map_err(|_| InitError::Twice)?;
    log::set_max_level(level);
    Ok(())
}

/// Records that were dropped because nobody read the log.
#[must_use]
pub fn dropped() -> u64 {
    LOGGER.get().map_or(0, |logger| logger.backlog.dropped())
}

/// Writes what is still to be written and then this line to stderr, as an error where that is
/// journald's stream; gives up after a second each.
pub fn last_words(line: &str) {
    log::logger().flush();
    let prefix = match LOGGER.get().map(|logger| logger.form) {
        Some(Form::Native | Form::Text(Style::Journal)) => "<3>",
        Some(Form::Text(Style::Stream)) | None => "",
    };
    let (said, heard) = mpsc::channel();
    let line = format!("{prefix}{line}\n");
    let say = move || {
        // Nobody is left to tell of a failure.
        let _ = io::stderr().write_all(line.as_bytes());
        let _ = said.send(());
    };
    if thread::Builder::new().spawn(say).is_ok() {
        let _ = heard.recv_timeout(LAST_WORDS);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.filter.matches(record) {
            let rank = match record.target() {
                WORKER => Rank::Worker,
                _ => Rank::Own,
            };
            self.backlog.push(self.form.encode(record), rank);
        }
    }

    fn flush(&self) {
        self.backlog.flush(LAST_WORDS);
    }
}

impl Form {
    fn encode(self, record: &Record<'_>) -> Vec<u8> {
        match self {
            Self::Native => journald::datagram(record),
            Self::Text(style) => line::now(record, style),
        }
    }
}

/// The record that says how many are missing.
fn told(form: Form, count: u64) -> Vec<u8> {
    event::as_record(&Event::LogDropped { count }, |record| form.encode(record))
}

/// Writes a whole line, however long the reader takes.
fn write(out: &mut impl io::Write, line: &[u8]) -> Sent {
    let mut rest = line;
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Sent::Never,
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody else made the terminal or pipe non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(_) => return Sent::Never,
        }
    }
    Sent::Yes
}

/// [`Style::Journal`] if `stderr` is the stream that `journal_stream` (`DEVICE:INODE`, see
/// systemd.exec(5)) names. The variable alone does not say it: it is inherited by those whose stderr
/// goes elsewhere.
fn style_of(journal_stream: Option<&str>, stderr: &File) -> Style {
    let named = journal_stream.and_then(|text| text.split_once(':'));
    match (named, stderr.metadata()) {
        (Some((device, inode)), Ok(file))
            if device.parse() == Ok(file.dev()) && inode.parse() == Ok(file.ino()) =>
        {
            Style::Journal
        }
        _ => Style::Stream,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_recognised_by_its_inode_not_by_the_variable_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let meta = file.as_file().metadata().unwrap();
        let own = format!("{}:{}", meta.dev(), meta.ino());
        let other = format!("{}:{}", meta.dev(), meta.ino() + 1);
        assert_eq!(style_of(Some(&own), file.as_file()), Style::Journal);
        assert_eq!(style_of(Some(&other), file.as_file()), Style::Stream);
        assert_eq!(style_of(Some("garbage"), file.as_file()), Style::Stream);
        assert_eq!(style_of(None, file.as_file()), Style::Stream);
    }
}
