//! One value of a configuration file, read as the type that is wanted. Whatever does not fit is
//! reported with what was found, what is wanted, and an example. It knows no keys.

use super::source::{Place, Report, Source};
use super::suggest::nearest;
use super::value::{format_size, format_span, parse_size, parse_span};
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::de::DeValue;

/// Found text is quoted up to this many characters; a message stays a line.
const LONGEST_QUOTE: usize = 60;

/// A value with its place and its full key.
pub(super) struct Item<'s> {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: &'s DeValue<'s>,
    pub(super) source: &'s Source<'s>,
    pub(super) report: &'s Report,
}

impl<'s> Item<'s> {
    /// Reports something about this value.
    pub(super) fn wrong(&self, message: impl Into<String>) {
        self.report.add(&self.place, &self.key, message);
    }

    fn wants(&self, wanted: &str) {
        self.wrong(format!("wants {wanted}; found {}", found(self.value)));
    }

    /// A string without NUL bytes, which no path, argument or variable can have. `example` is TOML.
    pub(super) fn text(&self, example: &str) -> Option<&'s str> {
        let DeValue::String(text) = self.value else {
            self.wants(&format!("a string, such as {example}"));
            return None;
        };
        if text.contains('\0') {
            self.wrong(
                "contains a NUL byte, which the operating system does not accept; remove it",
            );
            return None;
        }
        Some(text)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        let flag = self.value.as_bool();
        if flag.is_none() {
            self.wants("true or false (without quotes)");
        }
        flag
    }

    /// A whole number in the range.
    pub(super) fn count(&self, range: &RangeInclusive<u64>) -> Option<u64> {
        let (low, high) = (range.start(), range.end());
        let wanted = match *high {
            u64::MAX => format!("a whole number, at least {low} (without quotes)"),
            _ => format!("a whole number from {low} to {high} (without quotes)"),
        };
        let DeValue::Integer(integer) = self.value else {
            self.wants(&wanted);
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.wants(&wanted);
        }
        number
    }

    /// A size in bytes in the range; a bare integer is bytes.
    pub(super) fn size(&self, range: &RangeInclusive<u64>) -> Option<u64> {
        let bytes = match self.value {
            DeValue::String(text) => match parse_size(text) {
                Ok(bytes) => bytes,
                Err(why) => {
                    self.wrong(format!("{} {why}", quoted(text)));
                    return None;
                }
            },
            DeValue::Integer(integer) if !integer.as_str().starts_with('-') => {
                // Only digits: what does not parse is too large, and out of range.
                u64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(u64::MAX)
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.wants("a size, such as \"4M\"");
                return None;
            }
        };
        if !range.contains(&bytes) {
            let (low, high) = (format_size(*range.start()), format_size(*range.end()));
            self.wrong(format!(
                "wants a size from \"{low}\" to \"{high}\"; found {}",
                found(self.value)
            ));
            return None;
        }
        Some(bytes)
    }

    /// A time span, possibly zero.
    pub(super) fn span(&self) -> Option<Duration> {
        match self.value {
            DeValue::String(text) => match parse_span(text) {
                Ok(span) => Some(span),
                Err(why) => {
                    self.wrong(format!("{} {why}", quoted(text)));
                    None
                }
            },
            DeValue::Integer(integer) if !integer.as_str().starts_with('-') => {
                self.wrong(format!(
                    "wants a time span with its unit; found the integer {integer}; write \
                     \"{integer}s\" for seconds (ms, s, m, h, d)"
                ));
                None
            }
            DeValue::Float(float) => {
                let instead = seconds(float.as_str()).map_or_else(String::new, |span| {
                    format!("; write \"{}\" (ms, s, m, h, d)", format_span(span))
                });
                self.wrong(format!(
                    "wants a time span with its unit; found the number {}{instead}",
                    cut(float.as_str())
                ));
                None
            }
            DeValue::Integer(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.wants("a time span, such as \"30s\"");
                None
            }
        }
    }

    /// One of some names.
    pub(super) fn choice<T: Copy>(&self, names: &[(&str, T)]) -> Option<T> {
        let all: Vec<String> = names
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let wanted = format!("one of {}", all.join(", "));
        let DeValue::String(text) = self.value else {
            self.wants(&wanted);
            return None;
        };
        let chosen = names.iter().find(|(name, _)| *name == text.as_ref());
        if chosen.is_none() {
            let near = nearest(text, names.iter().map(|(name, _)| *name));
            let hint = near
                .map(|near| format!("; did you mean \"{near}\"?"))
                .unwrap_or_default();
            self.wrong(format!("wants {wanted}; found {}{hint}", found(self.value)));
        }
        chosen.map(|(_, value)| *value)
    }

    /// Any whole number that fits 64 bits with its sign.
    pub(super) fn integer(&self) -> Option<i64> {
        let number = match self.value {
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            _ => None,
        };
        if number.is_none() {
            self.wants("a whole number (without quotes)");
        }
        number
    }

    /// The elements of an array of strings; `example` is TOML.
    pub(super) fn items(&self, example: &str) -> Option<Vec<Item<'s>>> {
        self.list(&format!("a list of strings, such as {example}"))
    }

    /// The elements of an array.
    pub(super) fn list(&self, wanted: &str) -> Option<Vec<Item<'s>>> {
        let DeValue::Array(array) = self.value else {
            self.wants(wanted);
            return None;
        };
        let items = array.iter().enumerate().map(|(index, element)| Item {
            key: format!("{}[{index}]", self.key),
            place: self.source.place(element.span().start),
            value: element.get_ref(),
            ..*self
        });
        Some(items.collect())
    }

    /// A list of strings; `None` if any of them is wrong, all of them reported.
    pub(super) fn texts(&self, example: &str) -> Option<Vec<String>> {
        let items = self.items(example)?;
        let texts: Vec<_> = items.iter().map(|item| item.text("\"text\"")).collect();
        texts
            .into_iter()
            .map(|text| text.map(ToOwned::to_owned))
            .collect()
    }
}

/// A number as seconds, if it is at least a millisecond and not for ever.
fn seconds(text: &str) -> Option<Duration> {
    let number = text.parse().ok().filter(|number: &f64| *number < 1e9)?;
    let span = Duration::try_from_secs_f64(number).ok()?;
    let whole = Duration::from_millis(u64::try_from(span.as_millis()).ok()?);
    (!whole.is_zero()).then_some(whole)
}

/// What was found, for the end of a sentence.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", quoted(text)),
        DeValue::Integer(integer) => format!("the integer {}", cut(&integer.to_string())),
        DeValue::Float(float) => format!("the number {}", cut(&float.to_string())),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(array) if array.iter().any(|element| element.get_ref().is_table()) => {
            "a list of tables".to_owned()
        }
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The text in quotes, without control characters and cut short.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", cut(text).escape_debug())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
