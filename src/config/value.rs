//! Sizes and time spans as a configuration writes them: a whole number and a unit, `"4M"`,
//! `"30s"`, `"1h30m"`. Parsing, and writing down again. It knows no keys and no ranges but the one
//! that keeps clock arithmetic from overflowing.

use std::time::Duration;

/// The longest span accepted. Far above any sensible timeout, far below what would overflow the
/// clock when it is added to now.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Units of sizes, largest first; powers of 1024 as in systemd.syntax(7).
const SIZES: [(&str, u64); 4] = [
    ("T", 1 << 40),
    ("G", 1 << 30),
    ("M", 1 << 20),
    ("K", 1 << 10),
];

/// Units of time in milliseconds, largest first.
const SPANS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a size: a whole number with `K`, `M`, `G` or `T` (`KiB`, `MiB`, ... mean the same), or
/// alone or with `B` for bytes.
///
/// # Errors
/// Why it is none, as the end of a sentence that starts with the text.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, unit) = split_number(text);
    let number = number(digits).map_err(|why| match why {
        NotNumber::Absent => "is no size; write a whole number and a unit, such as \"4M\"".into(),
        NotNumber::TooLarge => "is too large".to_owned(),
    })?;
    let name = unit.strip_suffix("iB").unwrap_or(unit);
    let factor = match (unit, SIZES.iter().find(|(known, _)| *known == name)) {
        ("" | "B", _) => 1,
        (_, Some((_, factor))) => *factor,
        (_, None) => {
            return Err(
                "has no known unit; write K, M, G or T (powers of 1024), such as \"4M\"".into(),
            );
        }
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| "is too large".to_owned())
}

/// Reads a span: whole numbers with `ms`, `s`, `m`, `h` or `d`, added up.
///
/// # Errors
/// Why it is none, as the end of a sentence that starts with the text.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let too_long = || "is too long; the most is \"365d\"".to_owned();
    let mut total = 0_u64;
    let mut rest = text;
    loop {
        let (digits, after) = split_number(rest);
        let number = number(digits).map_err(|why| match why {
            NotNumber::Absent => {
                "is no time span; write a whole number and a unit, such as \"30s\"".to_owned()
            }
            NotNumber::TooLarge => too_long(),
        })?;
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let unit = unit.trim_end();
        let Some((_, factor)) = SPANS.iter().find(|(known, _)| *known == unit) else {
            return Err(match unit {
                "" => format!("has no unit; write \"{text}s\" for seconds (ms, s, m, h, d)"),
                _ => "has no known unit; write ms, s, m, h or d, such as \"30s\"".to_owned(),
            });
        };
        total = number
            .checked_mul(*factor)
            .and_then(|part| total.checked_add(part))
            .filter(|total| Duration::from_millis(*total) <= LONGEST)
            .ok_or_else(too_long)?;
        if next.is_empty() {
            return Ok(Duration::from_millis(total));
        }
        rest = next;
    }
}

/// Writes a size with the largest unit that loses nothing.
pub(super) fn format_size(bytes: u64) -> String {
    let unit = SIZES
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes % factor == 0);
    unit.map_or_else(
        || bytes.to_string(),
        |(name, factor)| format!("{}{name}", bytes / factor),
    )
}

/// Writes a span in whole milliseconds or larger with the largest unit that loses nothing, but
/// days as hours: `"24h"` is how people say it.
#[must_use]
pub fn format_span(span: Duration) -> String {
    let milliseconds = span.as_millis();
    for (name, factor) in &SPANS[1..] {
        let factor = u128::from(*factor);
        if milliseconds >= factor && milliseconds % factor == 0 {
            return format!("{}{name}", milliseconds / factor);
        }
    }
    "0s".to_owned()
}

/// Why the digits are no number.
enum NotNumber {
    Absent,
    TooLarge,
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    (digits, rest.trim_start())
}

fn number(digits: &str) -> Result<u64, NotNumber> {
    if digits.is_empty() {
        return Err(NotNumber::Absent);
    }
    // Only digits are left, so the only thing that can be wrong is the size.
    digits.parse().map_err(|_| NotNumber::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        let table = [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("1K", 1024),
            ("4M", 4 << 20),
            ("4MiB", 4 << 20),
            ("4 M", 4 << 20),
            ("2G", 2 << 30),
            ("16777215T", 16_777_215 << 40),
        ];
        for (text, bytes) in table {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_why() {
        let table = [
            ("", "is no size"),
            ("M", "is no size"),
            ("-1M", "is no size"),
            (" 1M", "is no size"),
            ("1.5M", "has no known unit"),
            ("4MB", "has no known unit"),
            ("4m", "has no known unit"),
            ("4iB", "has no known unit"),
            ("4M ", "has no known unit"),
            ("16777216T", "is too large"),
            ("18446744073709551616", "is too large"),
            ("99999999999999999999999999T", "is too large"),
            ("٣M", "is no size"),
        ];
        for (text, why) in table {
            let error = parse_size(text).unwrap_err();
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }

    #[test]
    fn spans_add_up() {
        let table = [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1 h", 3_600_000),
            ("365d", 31_536_000_000),
        ];
        for (text, milliseconds) in table {
            assert_eq!(
                parse_span(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_span_says_why() {
        let table = [
            ("", "is no time span"),
            ("s", "is no time span"),
            ("-5s", "is no time span"),
            ("soon", "is no time span"),
            ("30", "has no unit; write \"30s\""),
            ("1h30", "has no unit"),
            ("1.5s", "has no known unit"),
            ("30sec", "has no known unit"),
            ("30S", "has no known unit"),
            ("366d", "is too long"),
            ("364d25h", "is too long"),
            ("18446744073709551615ms", "is too long"),
            ("18446744073709551616ms", "is too long"),
            ("213503982335d", "is too long"),
        ];
        for (text, why) in table {
            let error = parse_span(text).unwrap_err();
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for bytes in [
            0,
            1,
            1023,
            1024,
            1536,
            4 << 20,
            (4 << 20) + 1,
            3 << 40,
            u64::MAX,
        ] {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
        for milliseconds in [
            0, 1, 999, 1000, 1001, 60_000, 90_000, 86_400_000, 90_061_001,
        ] {
            let span = Duration::from_millis(milliseconds);
            assert_eq!(parse_span(&format_span(span)), Ok(span));
        }
        assert_eq!(format_size(4 << 20), "4M");
        assert_eq!(format_span(Duration::from_secs(24 * 3600)), "24h");
        assert_eq!(format_span(Duration::from_millis(1500)), "1500ms");
    }
}
