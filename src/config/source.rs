//! Places in configuration files, and the report in which errors are gathered. It knows no keys.

use super::{ConfigError, Errors};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

/// Errors kept; nobody corrects more in one go, and a file of rubbish must not grow without bound.
const MOST_ERRORS: usize = 100;

/// Columns are not counted on lines longer than this: a file that is one enormous line would be
/// walked once per error.
const LONGEST_LINE: usize = 1000;

/// Where something was written.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) file: Rc<str>,
    pub(super) line: Option<usize>,
    pub(super) column: Option<usize>,
}

impl Place {
    /// A file as a whole, or something that is no file, such as the command line.
    pub(super) fn whole(file: &str) -> Self {
        Self {
            file: Rc::from(file),
            line: None,
            column: None,
        }
    }
}

/// The text of one file, able to say in which line an offset is.
pub(super) struct Source<'t> {
    file: Rc<str>,
    text: &'t str,
    lines: Vec<usize>,
}

impl<'t> Source<'t> {
    pub(super) fn new(file: &str, text: &'t str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Self {
            file: Rc::from(file),
            text,
            lines: lines.collect(),
        }
    }

    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    pub(super) fn slice(&self, span: Range<usize>) -> &'t str {
        self.text.get(span).unwrap_or_default()
    }

    /// Whether the offset is in the line of a table's header.
    pub(super) fn is_header(&self, offset: usize) -> bool {
        let before = self.text.get(..offset).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        line.trim_start().starts_with('[')
    }

    pub(super) fn whole(&self) -> Place {
        Place {
            file: Rc::clone(&self.file),
            line: None,
            column: None,
        }
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        // An error at the end of the file belongs to the last line that has text.
        let offset = offset.min(self.text.trim_end().len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.slice(start..offset);
        let column = (before.len() <= LONGEST_LINE).then(|| before.chars().count() + 1);
        Place {
            file: Rc::clone(&self.file),
            line: Some(line),
            column,
        }
    }
}

/// Gathers the errors of all files, and the keys that were asked for while reading them.
#[derive(Default)]
pub(super) struct Report {
    errors: RefCell<Vec<ConfigError>>,
    left_out: Cell<usize>,
    keys: RefCell<BTreeSet<String>>,
}

impl Report {
    pub(super) fn add(&self, place: &Place, key: &str, message: impl Into<String>) {
        if self.is_full() {
            self.left_out.set(self.left_out.get() + 1);
            return;
        }
        self.errors.borrow_mut().push(ConfigError {
            file: place.file.to_string(),
            line: place.line,
            column: place.column,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// Whether further errors are only counted, so that their wording is no use.
    pub(super) fn is_full(&self) -> bool {
        self.errors.borrow().len() >= MOST_ERRORS
    }

    /// Remembers that the reader knows this key, such as `servers.NAME.pool.min_size`.
    pub(super) fn know(&self, key: String) {
        self.keys.borrow_mut().insert(key);
    }

    /// The known keys in order.
    pub(super) fn known(&self) -> Vec<String> {
        self.keys.borrow().iter().cloned().collect()
    }

    /// The value if nothing is wrong, otherwise all errors, file by file in the order the files
    /// were read, each file's by line.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Errors> {
        let mut errors = self.errors.into_inner();
        if errors.is_empty() {
            return Ok(value);
        }
        let mut files: Vec<String> = Vec::new();
        for error in &errors {
            if !files.contains(&error.file) {
                files.push(error.file.clone());
            }
        }
        errors.sort_by_key(|error| {
            let file = files.iter().position(|file| *file == error.file);
            (file, error.line, error.column)
        });
        if self.left_out.get() > 0 {
            errors.push(ConfigError {
                file: errors
                    .last()
                    .map(|last| last.file.clone())
                    .unwrap_or_default(),
                line: None,
                column: None,
                key: String::new(),
                message: format!("{} more errors; correct these first", self.left_out.get()),
            });
        }
        Err(Errors(errors))
    }
}
