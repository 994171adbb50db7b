//! The scores the server keeps, by id.
//!
//! Owns the limits on how many and how large. A full library refuses; it never forgets.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::model::Score;

/// How much the server keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The most scores, at least 1 to be of use.
    pub max_scores: usize,
    /// The most note heads in all scores together; what bounds the memory.
    pub max_notes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_scores: 1_000,
            max_notes: 2_000_000,
        }
    }
}

/// What became of a score that was put in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stored {
    /// It is new.
    New,
    /// The same score was there under the same id.
    Same,
}

/// Scores by id, in the order of their ids.
#[derive(Debug)]
pub(super) struct Library {
    options: Options,
    scores: BTreeMap<String, Score>,
    notes: usize,
}

impl Library {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            scores: BTreeMap::new(),
            notes: 0,
        }
    }

    /// Stores `score` unless the id is taken by another one or the library is full.
    pub(super) fn put(&mut self, id: &str, score: Score) -> Result<Stored, String> {
        let count = self.scores.len();
        let notes = self.notes + weight(&score);
        match self.scores.entry(id.to_owned()) {
            Entry::Occupied(there) if *there.get() == score => Ok(Stored::Same),
            Entry::Occupied(_) => Err(format!(
                "score {id:?} already exists with other content; nothing was changed; delete it first or choose another id"
            )),
            Entry::Vacant(_) if count >= self.options.max_scores => Err(format!(
                "the library is full: it holds {count} scores, its limit; delete one first"
            )),
            Entry::Vacant(_) if notes > self.options.max_notes => Err(format!(
                "the library is full: with {id:?} it would hold {notes} notes, its limit is {}; delete a score first",
                self.options.max_notes
            )),
            Entry::Vacant(free) => {
                free.insert(score);
                self.notes = notes;
                Ok(Stored::New)
            }
        }
    }

    /// The score of an id.
    pub(super) fn get(&self, id: &str) -> Option<&Score> {
        self.scores.get(id)
    }

    /// Every score, sorted by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Score)> {
        self.scores.iter().map(|(id, score)| (id.as_str(), score))
    }

    /// Removes one score; whether there was one.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let Some(score) = self.scores.remove(id) else {
            return false;
        };
        self.notes -= weight(&score);
        true
    }

    /// Removes every score; how many there were.
    pub(super) fn clear(&mut self) -> usize {
        let count = self.scores.len();
        self.scores.clear();
        self.notes = 0;
        count
    }

    /// Scores kept.
    pub(super) fn len(&self) -> usize {
        self.scores.len()
    }
}

/// What a score counts against the library's limit: everything it keeps, rests and graces too.
fn weight(score: &Score) -> usize {
    let measures = score.parts.iter().flat_map(|part| &part.measures);
    measures
        .map(|measure| {
            1 + measure
                .events()
                .map(|event| event.notes.len().max(1))
                .sum::<usize>()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::abc;

    fn tune(notes: &str) -> Score {
        abc::read(&format!("K:C\n{notes}|\n")).unwrap()
    }

    #[test]
    fn a_full_library_refuses_and_forgets_nothing() {
        let mut library = Library::new(Options {
            max_scores: 2,
            max_notes: 19,
        });
        assert_eq!(library.put("a", tune("CDE")), Ok(Stored::New));
        assert_eq!(library.put("b", tune("CDE")), Ok(Stored::New));
        assert!(
            library
                .put("c", tune("CDE"))
                .unwrap_err()
                .contains("2 scores")
        );
        assert_eq!(library.put("a", tune("CDE")), Ok(Stored::Same));
        assert!(
            library
                .put("a", tune("CDF"))
                .unwrap_err()
                .contains("already exists")
        );
        assert!(library.remove("b"));
        assert!(!library.remove("b"));
        assert!(
            library
                .put("c", tune("CDEFGABcdefgabc'"))
                .unwrap_err()
                .contains("notes")
        );
        assert_eq!(library.put("c", tune("C")), Ok(Stored::New));
        assert_eq!(
            library.iter().map(|(id, _)| id).collect::<Vec<_>>(),
            ["a", "c"]
        );
        assert_eq!(library.clear(), 2);
        assert_eq!(library.put("c", tune("CDEFGABcdefgabc'")), Ok(Stored::New));
    }
}
