//! Naming triads and seventh chords.

use crate::score::model::{Pitch, Step};

/// What a set of pitches is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Quality {
    /// Major third, perfect fifth.
    Major,
    /// Minor third, perfect fifth.
    Minor,
    /// Minor third, diminished fifth.
    Diminished,
    /// Major third, augmented fifth.
    Augmented,
    /// Major triad, minor seventh.
    DominantSeventh,
    /// Major triad, major seventh.
    MajorSeventh,
    /// Minor triad, minor seventh.
    MinorSeventh,
    /// Diminished triad, minor seventh.
    HalfDiminishedSeventh,
    /// Diminished triad, diminished seventh.
    DiminishedSeventh,
    /// Minor triad, major seventh.
    MinorMajorSeventh,
    /// Augmented triad, major seventh.
    AugmentedMajorSeventh,
    /// One pitch class.
    Single,
    /// Two pitch classes.
    Interval,
    /// Anything else.
    Other,
}

/// Intervals above the root in semitones, the quality, its name and what a chord symbol adds.
const SHAPES: [(&[i32], Quality, &str); 11] = [
    (&[0, 4, 7], Quality::Major, ""),
    (&[0, 3, 7], Quality::Minor, "m"),
    (&[0, 3, 6], Quality::Diminished, "dim"),
    (&[0, 4, 8], Quality::Augmented, "aug"),
    (&[0, 4, 7, 10], Quality::DominantSeventh, "7"),
    (&[0, 4, 7, 11], Quality::MajorSeventh, "maj7"),
    (&[0, 3, 7, 10], Quality::MinorSeventh, "m7"),
    (&[0, 3, 6, 10], Quality::HalfDiminishedSeventh, "m7b5"),
    (&[0, 3, 6, 9], Quality::DiminishedSeventh, "dim7"),
    (&[0, 3, 7, 11], Quality::MinorMajorSeventh, "mM7"),
    (&[0, 4, 8, 11], Quality::AugmentedMajorSeventh, "augmaj7"),
];

impl Quality {
    /// Its name in an answer.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Major => "major",
            Self::Minor => "minor",
            Self::Diminished => "diminished",
            Self::Augmented => "augmented",
            Self::DominantSeventh => "dominant-seventh",
            Self::MajorSeventh => "major-seventh",
            Self::MinorSeventh => "minor-seventh",
            Self::HalfDiminishedSeventh => "half-diminished-seventh",
            Self::DiminishedSeventh => "diminished-seventh",
            Self::MinorMajorSeventh => "minor-major-seventh",
            Self::AugmentedMajorSeventh => "augmented-major-seventh",
            Self::Single => "single",
            Self::Interval => "interval",
            Self::Other => "other",
        }
    }
}

/// A set of pitches with its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chord {
    /// The root of a triad or seventh chord, without octave.
    pub root: Option<String>,
    /// What it is.
    pub quality: Quality,
    /// A chord symbol such as `F#m7/A`; for anything unnamed, its pitch names.
    pub symbol: String,
}

impl Chord {
    /// Names `pitches`, given from the lowest up. Spelling decides where it can (which note of a
    /// diminished seventh is the root); otherwise the sound does, the bass first.
    #[must_use]
    pub fn of(pitches: &[Pitch]) -> Self {
        let mut distinct: Vec<Pitch> = Vec::new();
        for pitch in pitches {
            let name = (pitch.step(), pitch.alter());
            if !distinct.iter().any(|old| (old.step(), old.alter()) == name) {
                distinct.push(*pitch);
            }
        }
        let mut classes: Vec<_> = distinct.iter().map(|pitch| pitch.class()).collect();
        classes.sort_unstable();
        classes.dedup();
        let unnamed = |quality| {
            let names: Vec<_> = distinct.iter().map(|pitch| pitch.class_name()).collect();
            Self {
                root: None,
                quality,
                symbol: names.join("-"),
            }
        };
        match classes.len() {
            0 | 1 => return unnamed(Quality::Single),
            2 => return unnamed(Quality::Interval),
            3 | 4 => {}
            _ => return unnamed(Quality::Other),
        }
        let in_thirds = distinct
            .iter()
            .filter(|root| stacks_in_thirds(**root, &distinct));
        let candidates = in_thirds.chain(&distinct);
        for root in candidates {
            if let Some((quality, suffix)) = shape_above(*root, &classes) {
                let name = root.class_name();
                let bass = distinct.first().map(|pitch| pitch.class_name());
                let over = bass.filter(|bass| *bass != name);
                let over = over.map_or(String::new(), |bass| format!("/{bass}"));
                return Self {
                    symbol: format!("{name}{suffix}{over}"),
                    root: Some(name),
                    quality,
                };
            }
        }
        unnamed(Quality::Other)
    }
}

/// Whether every pitch is written as a third, fifth or seventh above `root`.
fn stacks_in_thirds(root: Pitch, pitches: &[Pitch]) -> bool {
    let above = |step: Step| (step as i32 - root.step() as i32).rem_euclid(7);
    pitches
        .iter()
        .all(|pitch| matches!(above(pitch.step()), 0 | 2 | 4 | 6))
}

fn shape_above(root: Pitch, classes: &[usize]) -> Option<(Quality, &'static str)> {
    let root = i32::try_from(root.class()).ok()?;
    let mut above: Vec<i32> = classes
        .iter()
        .filter_map(|class| i32::try_from(*class).ok())
        .map(|class| (class - root).rem_euclid(12))
        .collect();
    above.sort_unstable();
    SHAPES
        .iter()
        .find(|(shape, ..)| *shape == above.as_slice())
        .map(|(_, quality, suffix)| (*quality, *suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::abc;
    use crate::score::analysis::slices;

    fn name(chord: &str) -> String {
        let score = abc::read(&format!("L:1\nK:C\n[{chord}]|]\n")).unwrap();
        let mut named = Vec::new();
        slices(&score, |slice| named.push(Chord::of(&slice.pitches)));
        let chord = named.remove(0);
        format!("{} {}", chord.symbol, chord.quality.name())
    }

    #[test]
    fn triads_and_sevenths_in_any_inversion() {
        for (chord, expected) in [
            ("CEG", "C major"),
            ("EGc", "C/E major"),
            ("A,CE", "Am minor"),
            ("B,DF", "Bdim diminished"),
            ("CE^G", "Caug augmented"),
            ("G,B,DF", "G7 dominant-seventh"),
            ("B,DFG", "G7/B dominant-seventh"),
            ("CEGB", "Cmaj7 major-seventh"),
            ("DFAc", "Dm7 minor-seventh"),
            ("B,DFA", "Bm7b5 half-diminished-seventh"),
            ("^G,B,DF", "G#dim7 diminished-seventh"),
            ("B,DF_A", "Bdim7 diminished-seventh"),
            ("DF_AB", "Bdim7/D diminished-seventh"),
            ("A,CE^G", "AmM7 minor-major-seventh"),
            ("C", "C single"),
            ("CGc", "C-G interval"),
            ("CDE", "C-D-E other"),
            ("CDEFG", "C-D-E-F-G other"),
        ] {
            assert_eq!(name(chord), expected, "[{chord}]");
        }
    }

    #[test]
    fn a_misspelled_chord_is_named_by_its_sound() {
        assert_eq!(name("C^DG"), "Cm minor");
    }
}
