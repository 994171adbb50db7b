//! The log: one line per record on stderr. Under systemd a line starts with its priority as `<N>`
//! and journald adds the time; elsewhere it starts with the time in UTC. Every line is escaped:
//! no text of a worker or a client can forge one. It knows nothing of events.

use super::escape::escape;
use log::kv::{Error as KvError, Key, Value, VisitSource};
use log::{Level, Record};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a line's message; journald cuts lines at 48 KiB.
const MESSAGE_LIMIT: usize = 16 * 1024;
/// Bytes of one value behind the message.
const VALUE_LIMIT: usize = 1024;
/// What is logged if nobody says otherwise.
const DEFAULT_FILTER: &str = "info";

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `<4>message`: journald reads the priority and knows the time.
    Journal,
    /// `2026-01-02T03:04:05.678Z WARN  mainstay: message`.
    Stream,
}

/// Sets up the log of this process. `filter` is the content of `MAINSTAY_LOG`, else of `RUST_LOG`
/// (`info`, `debug`, `mainstay::worker=trace,warn`); a part that cannot be read is said on stderr
/// and ignored.
///
/// # Errors
/// If the process has a logger already.
pub fn init(filter: Option<&str>, style: Style) -> Result<(), log::SetLoggerError> {
    let filter = filter.map(str::trim).filter(|text| !text.is_empty());
    env_logger::Builder::new()
        .parse_filters(filter.unwrap_or(DEFAULT_FILTER))
        .format(move |out, record| {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            writeln!(out, "{}", line(record, style, seconds, now.subsec_millis()))
        })
        .try_init()
}

/// The style for this process: [`Style::Journal`] if stderr is the stream that `journal_stream`
/// (the variable `JOURNAL_STREAM`, `DEVICE:INODE`, see systemd.exec(5)) names. The variable alone
/// does not say it: it is inherited by those whose stderr goes elsewhere.
#[must_use]
pub fn style(journal_stream: Option<&str>) -> Style {
    style_of(journal_stream, Path::new("/proc/self/fd/2"))
}

fn style_of(journal_stream: Option<&str>, stderr: &Path) -> Style {
    let named = journal_stream.and_then(|text| text.split_once(':'));
    match (named, std::fs::metadata(stderr)) {
        (Some((device, inode)), Ok(file))
            if device.parse() == Ok(file.dev()) && inode.parse() == Ok(file.ino()) =>
        {
            Style::Journal
        }
        _ => Style::Stream,
    }
}

/// One line without its newline. The time is in seconds since 1970 and milliseconds.
fn line(record: &Record<'_>, style: Style, seconds: i64, millis: u32) -> String {
    let mut line = match style {
        Style::Journal => format!("<{}>", priority(record.level())),
        Style::Stream => format!("{} {:<5} ", timestamp(seconds, millis), record.level()),
    };
    // Events come from one target; naming it before each would say nothing.
    if style == Style::Stream || record.target() != super::event::TARGET {
        line.push_str(&escape(record.target(), VALUE_LIMIT));
        line.push_str(": ");
    }
    line.push_str(&escape(&record.args().to_string(), MESSAGE_LIMIT));
    // The visitor below never fails.
    let _ = record.key_values().visit(&mut Fields(&mut line));
    line
}

/// Appends ` key=value` for each pair, quoted where a reader could not tell where it ends.
struct Fields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        let text = value.to_string();
        let text = escape(&text, VALUE_LIMIT);
        let key = escape(key.as_str(), VALUE_LIMIT);
        let plain = !text.is_empty() && !text.contains([' ', '"', '=']);
        // Writing to a String cannot fail.
        let _ = if plain {
            write!(self.0, " {key}={text}")
        } else {
            write!(self.0, " {key}=\"{}\"", text.replace('"', "\\\""))
        };
        Ok(())
    }
}

/// The syslog priority, see sd-daemon(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// RFC 3339 in UTC.
fn timestamp(seconds: i64, millis: u32) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01, by Howard Hinnant's `civil_from_days`:
/// years begin in March there, so that the leap day is the last one.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(style: Style, message: &str, fields: &[(&str, &str)]) -> String {
        let fields = fields.to_vec();
        line(
            &Record::builder()
                .level(Level::Warn)
                .target("mainstay")
                .args(format_args!("{message}"))
                .key_values(&fields)
                .build(),
            style,
            1_767_323_045,
            678,
        )
    }

    #[test]
    fn the_two_styles() {
        assert_eq!(
            write(
                Style::Stream,
                "it broke",
                &[("server", "music"), ("what", "a \"b\"")]
            ),
            "2026-01-02T03:04:05.678Z WARN  mainstay: it broke server=music what=\"a \\\"b\\\"\""
        );
        assert_eq!(
            write(Style::Journal, "it broke", &[("n", "")]),
            "<4>it broke n=\"\""
        );
    }

    #[test]
    fn nobody_forges_a_line() {
        let line = write(
            Style::Journal,
            "x\n<0>fake",
            &[("sample", "y\r\n<0>fake\x1b[2J")],
        );
        assert_eq!(line, "<4>x\\n<0>fake sample=y\\r\\n<0>fake\\u{1b}[2J");
    }

    #[test]
    fn a_line_is_bounded() {
        let long = "a".repeat(1 << 20);
        assert!(write(Style::Stream, &long, &[("k", &long)]).len() < 20 * 1024);
    }

    #[test]
    fn days_become_dates() {
        for (days, date) in [
            (-1, (1969, 12, 31)),
            (0, (1970, 1, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_454, (2026, 1, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), date, "day {days}");
        }
    }

    #[test]
    fn the_journal_is_recognised_by_its_inode_not_by_the_variable_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let meta = file.as_file().metadata().unwrap();
        let own = format!("{}:{}", meta.dev(), meta.ino());
        let other = format!("{}:{}", meta.dev(), meta.ino() + 1);
        assert_eq!(style_of(Some(&own), file.path()), Style::Journal);
        assert_eq!(style_of(Some(&other), file.path()), Style::Stream);
        assert_eq!(style_of(Some("garbage"), file.path()), Style::Stream);
        assert_eq!(style_of(None, file.path()), Style::Stream);
    }
}
