//! Bar lines: `|`, `||`, `|:`, `:|`, `::`, `|]`, `[1` and their relatives.

use super::cursor::Cursor;
use crate::score::model::BarStyle;
use crate::score::source::SourceError;

/// One bar line with what it says about repeats.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bar {
    /// A repeated section ends at it.
    pub(super) closes: bool,
    /// A repeated section begins at it.
    pub(super) opens: bool,
    /// How it is drawn.
    pub(super) style: BarStyle,
    /// The ending that begins after it.
    pub(super) ending: Option<String>,
    /// Whether it is a line at all: `[1` alone is not.
    pub(super) line: bool,
}

/// Reads a bar line if one comes next.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Option<Bar>, SourceError> {
    let next = cursor.peek();
    let second = cursor.peek_second();
    let begins = match next {
        Some('|' | ':') => true,
        Some('[') => second == Some('|') || second.is_some_and(|letter| letter.is_ascii_digit()),
        Some('.') => second == Some('|'),
        _ => false,
    };
    if !begins {
        return Ok(None);
    }
    let start = cursor.error("a colon that is no part of a bar line");
    cursor.eat('.');
    let mut drawn = String::new();
    while let Some(letter) = cursor.peek() {
        let belongs = match letter {
            '|' | ':' => true,
            ']' => drawn.ends_with('|'),
            '[' => cursor.peek_second() == Some('|'),
            _ => false,
        };
        if !belongs {
            break;
        }
        drawn.push(letter);
        cursor.next();
    }
    let ending = ending(cursor, !drawn.is_empty());
    let line = drawn.contains('|') || drawn.starts_with("::");
    if !line && !drawn.is_empty() {
        return Err(start);
    }
    let style = if drawn.contains([']', '[']) {
        BarStyle::Final
    } else if drawn.contains("||") {
        BarStyle::Double
    } else {
        BarStyle::Regular
    };
    Ok(Some(Bar {
        closes: drawn.starts_with(':'),
        opens: drawn.ends_with(':'),
        style,
        ending,
        line,
    }))
}

/// Reads the numbers of an ending: right after a line, or in a bracket of its own.
fn ending(cursor: &mut Cursor<'_>, after_line: bool) -> Option<String> {
    let bracket = cursor.peek() == Some('[')
        && cursor
            .peek_second()
            .is_some_and(|letter| letter.is_ascii_digit());
    let bare = after_line && cursor.peek().is_some_and(|letter| letter.is_ascii_digit());
    if !bracket && !bare {
        return None;
    }
    cursor.eat('[');
    let numbers =
        cursor.take_while(|letter| letter.is_ascii_digit() || matches!(letter, ',' | '-'));
    let numbers = numbers.trim_end_matches([',', '-']);
    Some(numbers.chars().take(16).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(text: &str) -> Option<Bar> {
        read(&mut Cursor::new(text, 1, 1)).unwrap()
    }

    #[test]
    fn repeats_and_endings() {
        let show = |text| {
            let bar = bar(text).unwrap();
            (bar.closes, bar.opens, bar.style, bar.ending, bar.line)
        };
        use BarStyle::{Double, Final, Regular};
        assert_eq!(show("| c"), (false, false, Regular, None, true));
        assert_eq!(show("|:c"), (false, true, Regular, None, true));
        assert_eq!(
            show(":|2 c"),
            (true, false, Regular, Some("2".into()), true)
        );
        assert_eq!(show("::"), (true, true, Regular, None, true));
        assert_eq!(show(":||:"), (true, true, Double, None, true));
        assert_eq!(show("|]"), (false, false, Final, None, true));
        assert_eq!(
            show("[1,3 c"),
            (false, false, Regular, Some("1,3".into()), false)
        );
        assert_eq!(
            show("|[1 c"),
            (false, false, Regular, Some("1".into()), true)
        );
    }

    #[test]
    fn a_chord_or_field_after_a_line_is_left_alone() {
        for text in ["|[CEG]", "|[K:G]", "| [CEG]"] {
            let mut cursor = Cursor::new(text, 1, 1);
            assert!(read(&mut cursor).unwrap().is_some());
            assert!(cursor.rest().trim_start().starts_with('['), "{text}");
        }
        assert_eq!(bar("[CEG]"), None);
        assert!(read(&mut Cursor::new(": c", 1, 1)).is_err());
    }
}
