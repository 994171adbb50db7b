//! What a reader of scores may be given, and how it says no.
//!
//! Owns the limits both readers share and the one error they answer with. Knows neither format.

use std::fmt;

/// The largest source text, in bytes.
pub const MAX_SOURCE_BYTES: usize = 1 << 20;
/// The most note heads (grace notes and rests count too) one score may have.
pub const MAX_NOTES: usize = 50_000;
/// The most measures one part may have.
pub const MAX_MEASURES: usize = 10_000;
/// The most parts one score may have.
pub const MAX_PARTS: usize = 64;
/// The most simultaneous strands inside one part.
pub const MAX_LAYERS: usize = 16;
/// The longest title, composer or part name kept, in characters.
pub const MAX_TEXT: usize = 200;

/// Why a source is no score: where, and what is wrong there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, as the rest of a sentence.
    pub what: String,
}

impl SourceError {
    /// An error at a place.
    #[must_use]
    pub fn at(line: usize, column: usize, what: impl Into<String>) -> Self {
        Self {
            line,
            column,
            what: what.into(),
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, column {}: {}",
            self.line, self.column, self.what
        )
    }
}

/// Trims a text field and cuts it to [`MAX_TEXT`] characters; `None` when nothing is left.
#[must_use]
pub fn text(raw: &str) -> Option<String> {
    let kept: String = raw
        .trim()
        .chars()
        .filter(|letter| !letter.is_control())
        .take(MAX_TEXT)
        .collect();
    (!kept.is_empty()).then_some(kept)
}

/// Counts what a source asks for, so that a small text cannot grow into a large score.
#[derive(Debug, Default)]
pub struct Budget {
    notes: usize,
}

impl Budget {
    /// Takes `count` note heads or rests.
    ///
    /// # Errors
    /// The rest of a sentence, once [`MAX_NOTES`] is passed.
    pub fn take(&mut self, count: usize) -> Result<(), String> {
        self.notes = self.notes.saturating_add(count);
        if self.notes > MAX_NOTES {
            return Err(format!(
                "the score has more than {MAX_NOTES} notes and rests"
            ));
        }
        Ok(())
    }
}
