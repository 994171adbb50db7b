//! A place in one line of ABC.

use crate::score::source::SourceError;

/// Reads one line character by character and knows where it is.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `text`, which begins at `column` (from 1) of `line`.
    pub(super) fn new(text: &'a str, line: usize, column: usize) -> Self {
        Self {
            rest: text,
            line,
            column,
        }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    pub(super) fn column(&self) -> usize {
        self.column
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// The character after the next one.
    pub(super) fn peek_second(&self) -> Option<char> {
        self.rest.chars().nth(1)
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.rest = &self.rest[letter.len_utf8()..];
        self.column += 1;
        Some(letter)
    }

    /// Steps over `letter` if it comes next.
    pub(super) fn eat(&mut self, letter: char) -> bool {
        let here = self.peek() == Some(letter);
        if here {
            self.next();
        }
        here
    }

    /// Steps over the characters that satisfy `keep` and returns them.
    pub(super) fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|letter| !keep(letter));
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.column += taken.chars().count();
        self.rest = rest;
        taken
    }

    /// Steps over everything up to and including `end`; `None` (and no step) if the line lacks it.
    pub(super) fn take_through(&mut self, end: char) -> Option<&'a str> {
        let at = self.rest.find(end)?;
        let taken = &self.rest[..at];
        self.column += taken.chars().count() + 1;
        self.rest = &self.rest[at + end.len_utf8()..];
        Some(taken)
    }

    /// A decimal number of at most six digits, if one comes next.
    pub(super) fn number(&mut self) -> Result<Option<u32>, SourceError> {
        let column = self.column;
        let digits = self.take_while(|letter| letter.is_ascii_digit());
        if digits.is_empty() {
            return Ok(None);
        }
        match digits.parse() {
            Ok(number) if digits.len() <= 6 => Ok(Some(number)),
            _ => Err(SourceError::at(
                self.line,
                column,
                "a number has more than six digits",
            )),
        }
    }

    /// An error at the next character.
    pub(super) fn error(&self, what: impl Into<String>) -> SourceError {
        SourceError::at(self.line, self.column, what)
    }
}
