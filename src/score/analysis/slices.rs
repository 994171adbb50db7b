//! A score cut wherever a note begins or ends.

use std::collections::BTreeMap;

use crate::score::model::{Beat, Pitch, Score};

/// What sounds between two neighbouring cuts; never silence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slice {
    /// Where it begins, from the start of the score.
    pub onset: Beat,
    /// How long it lasts.
    pub length: Beat,
    /// Each written pitch once, from the lowest up.
    pub pitches: Vec<Pitch>,
}

/// All slices of `score` in time order, handed to `each` one by one.
pub fn slices(score: &Score, mut each: impl FnMut(Slice)) {
    let sounding = score.soundings();
    let mut changes = Vec::with_capacity(2 * sounding.len());
    for note in &sounding {
        changes.push((note.onset, 1_i32, note.pitch));
        changes.push((note.end, -1, note.pitch));
    }
    changes.sort_by_key(|(time, ..)| *time);
    // Keyed by sound, then by spelling, so that iterating goes from the lowest pitch up.
    let mut active: BTreeMap<(i32, i32), (Pitch, i32)> = BTreeMap::new();
    let mut changes = changes.into_iter().peekable();
    while let Some((now, change, pitch)) = changes.next() {
        let key = (pitch.midi(), pitch.staff_place());
        active.entry(key).or_insert((pitch, 0)).1 += change;
        let Some((next, ..)) = changes.peek() else {
            return;
        };
        if *next == now {
            continue;
        }
        active.retain(|_, (_, count)| *count > 0);
        let Some(length) = next.minus(now) else {
            continue;
        };
        if !active.is_empty() {
            each(Slice {
                onset: now,
                length,
                pitches: active.values().map(|(pitch, _)| *pitch).collect(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::abc;

    fn cut(source: &str) -> Vec<String> {
        let mut all = Vec::new();
        slices(&abc::read(source).unwrap(), |slice| {
            let names: Vec<_> = slice.pitches.iter().map(Pitch::to_string).collect();
            all.push(format!(
                "{}+{} {}",
                slice.onset.quarters(),
                slice.length.quarters(),
                names.join(" ")
            ));
        });
        all
    }

    #[test]
    fn every_onset_and_end_cuts_all_parts() {
        let all = cut("L:1/4\nM:4/4\nK:C\nV:1\nc2 z d|\nV:2\nC3 z|\n");
        assert_eq!(all, ["0+2 C4 C5", "2+1 C4", "3+1 D5"]);
    }

    #[test]
    fn a_repeated_note_is_cut_and_a_unison_is_one() {
        let all = cut("L:1/4\nM:2/4\nK:C\nV:1\ncc|\nV:2\nc2|\n");
        assert_eq!(all, ["0+1 C5", "1+1 C5"]);
    }
}
