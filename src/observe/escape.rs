//! Text of strangers made safe to print: one line, no control characters, bounded. What a worker
//! or a client wrote must not forge a log line, colour a terminal or fill a disk. It does not
//! know what the text means.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` on one line of at most about `limit` bytes: control characters and the characters that
/// turn the writing direction are spelled out (`\n`, `\u{1b}`), and what exceeds the limit is
/// replaced by `...`.
#[must_use]
pub fn escape(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit && !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len().min(limit) + 8);
    for character in text.chars() {
        if line.len() + character.len_utf8() > limit {
            line.push_str("...");
            break;
        }
        if is_unsafe(character) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
    Cow::Owned(line)
}

/// Control characters, the line and paragraph separators, and the marks that reorder text.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_text_is_borrowed() {
        assert!(matches!(
            escape("Ärger mit E♭", 100),
            Cow::Borrowed("Ärger mit E♭")
        ));
    }

    #[test]
    fn a_line_cannot_be_forged() {
        assert_eq!(
            escape("a\n<0>b\r\x1b[31m\u{85}\u{2028}\u{202e}", 100),
            "a\\n<0>b\\r\\u{1b}[31m\\u{85}\\u{2028}\\u{202e}"
        );
    }

    #[test]
    fn text_is_cut_at_a_character() {
        assert_eq!(escape("ääää", 5), "ää...");
        assert_eq!(escape("abcde", 5), "abcde");
        assert!(escape(&"\n".repeat(1000), 64).len() < 64 + 16);
    }
}
