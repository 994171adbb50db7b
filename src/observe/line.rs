//! A log record as one line of text. Under systemd it starts with its priority as `<N>` and journald
//! adds the time; elsewhere it starts with the time in UTC. Every line is escaped: no text of a
//! worker or a client can forge one. It knows nothing of events.

use super::escape::escape;
use log::kv::{Error as KvError, Key, Value, VisitSource};
use log::{Level, Record};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a line's message; journald cuts lines at 48 KiB.
pub(super) const MESSAGE_LIMIT: usize = 16 * 1024;
/// Bytes of one value behind the message.
pub(super) const VALUE_LIMIT: usize = 1024;
/// Fields that only the journal has a place for; a line says the same in its own way.
const JOURNAL_ONLY: [&str; 3] = ["message_id", "priority", "line"];

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `<4>message`: journald reads the priority and knows the time.
    Journal,
    /// `2026-01-02T03:04:05.678Z WARN  mainstay: message`.
    Stream,
}

/// One line with its newline, said now.
pub(super) fn now(record: &Record<'_>, style: Style) -> Vec<u8> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut line = line(record, style, seconds, now.subsec_millis());
    line.push('\n');
    line.into_bytes()
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
        if JOURNAL_ONLY.contains(&key.as_str()) {
            return Ok(());
        }
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
pub(super) fn priority(level: Level) -> u8 {
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
            write(
                Style::Journal,
                "it broke",
                &[
                    ("n", ""),
                    ("message_id", "1"),
                    ("priority", "5"),
                    ("line", "x")
                ]
            ),
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
}
