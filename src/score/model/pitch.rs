//! A spelled pitch: F sharp is not G flat.

use std::fmt;

/// One of the seven letters; its place counts up from C.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Step {
    /// The letter C.
    C,
    /// The letter D.
    D,
    /// The letter E.
    E,
    /// The letter F.
    F,
    /// The letter G.
    G,
    /// The letter A.
    A,
    /// The letter B.
    B,
}

impl Step {
    /// All letters, from C up.
    pub const ALL: [Self; 7] = [
        Self::C,
        Self::D,
        Self::E,
        Self::F,
        Self::G,
        Self::A,
        Self::B,
    ];

    /// The letter written as `letter`, in either case.
    #[must_use]
    pub fn from_letter(letter: char) -> Option<Self> {
        let letter = letter.to_ascii_uppercase();
        Self::ALL.into_iter().find(|step| step.letter() == letter)
    }

    /// Its capital letter.
    #[must_use]
    pub const fn letter(self) -> char {
        ['C', 'D', 'E', 'F', 'G', 'A', 'B'][self as usize]
    }

    /// Semitones above C of the natural note.
    #[must_use]
    pub const fn semitones(self) -> i32 {
        [0, 2, 4, 5, 7, 9, 11][self as usize]
    }

    /// Its place on the line of fifths, C being 0, G 1, F -1.
    #[must_use]
    pub const fn fifths(self) -> i32 {
        [0, 2, 4, -1, 1, 3, 5][self as usize]
    }

    /// The letter `steps` above (negative: below) and how many octaves were crossed.
    #[must_use]
    pub fn raised(self, steps: i32) -> (Self, i32) {
        let place = self as i32 + steps;
        let letter = usize::try_from(place.rem_euclid(7)).unwrap_or(0);
        (Self::ALL[letter], place.div_euclid(7))
    }
}

/// A written pitch in scientific octaves (C4 is middle C).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pitch {
    step: Step,
    alter: i8,
    octave: i8,
}

impl Pitch {
    /// The most sharps or flats one note may carry.
    pub const MAX_ALTER: i32 = 2;
    /// The highest octave a score may use; the lowest is 0. Both are those of MusicXML.
    pub const MAX_OCTAVE: i32 = 9;

    /// The pitch, or `None` beyond double accidentals or octaves 0 to 9.
    #[must_use]
    pub fn new(step: Step, alter: i32, octave: i32) -> Option<Self> {
        let fits = alter.abs() <= Self::MAX_ALTER && (0..=Self::MAX_OCTAVE).contains(&octave);
        fits.then_some(Self {
            step,
            alter: i8::try_from(alter).ok()?,
            octave: i8::try_from(octave).ok()?,
        })
    }

    /// Its letter.
    #[must_use]
    pub const fn step(self) -> Step {
        self.step
    }

    /// Its sharps (positive) or flats (negative), in semitones.
    #[must_use]
    pub fn alter(self) -> i32 {
        i32::from(self.alter)
    }

    /// Its octave.
    #[must_use]
    pub fn octave(self) -> i32 {
        i32::from(self.octave)
    }

    /// Its MIDI number; middle C is 60.
    #[must_use]
    pub fn midi(self) -> i32 {
        12 * (self.octave() + 1) + self.step.semitones() + self.alter()
    }

    /// Its pitch class: 0 is C, 11 is B.
    #[must_use]
    pub fn class(self) -> usize {
        usize::try_from(self.midi().rem_euclid(12)).unwrap_or(0)
    }

    /// Letters above C0: what a staff shows, accidentals apart.
    #[must_use]
    pub fn staff_place(self) -> i32 {
        7 * self.octave() + self.step as i32
    }

    /// Its name without the octave, e.g. `F#`.
    #[must_use]
    pub fn class_name(self) -> String {
        spelled(self.step, self.alter())
    }
}

impl fmt::Display for Pitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.class_name(), self.octave)
    }
}

/// A letter with its accidentals, `#` and `b`.
pub(crate) fn spelled(step: Step, alter: i32) -> String {
    let mark = if alter < 0 { "b" } else { "#" };
    let count = usize::try_from(alter.abs()).unwrap_or(0);
    format!("{}{}", step.letter(), mark.repeat(count))
}

/// The spelling that stands `fifths` fifths above C: 6 is F#, -6 is Gb.
pub(crate) fn from_fifths(fifths: i32) -> (Step, i32) {
    // The naturals are the places -1 (F) to 5 (B); each further round of seven adds one accidental.
    let alter = (fifths + 1).div_euclid(7);
    let place = fifths - 7 * alter;
    let step = Step::ALL
        .into_iter()
        .find(|step| step.fifths() == place)
        .unwrap_or(Step::C);
    (step, alter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_and_sound_are_two_things() {
        let sharp = Pitch::new(Step::F, 1, 4).unwrap();
        let flat = Pitch::new(Step::G, -1, 4).unwrap();
        assert_eq!(sharp.midi(), 66);
        assert_eq!(flat.midi(), 66);
        assert_ne!(sharp, flat);
        assert_eq!(sharp.to_string(), "F#4");
        assert_eq!(flat.to_string(), "Gb4");
        assert_eq!(Pitch::new(Step::B, 1, 3).unwrap().class(), 0);
    }

    #[test]
    fn limits_are_refused() {
        assert_eq!(Pitch::new(Step::C, 3, 4), None);
        assert_eq!(Pitch::new(Step::C, 0, 10), None);
        assert_eq!(Pitch::new(Step::C, 0, -1), None);
    }

    #[test]
    fn the_line_of_fifths_runs_both_ways() {
        let names: Vec<_> = (-8..=8)
            .map(|fifths| {
                let (step, alter) = from_fifths(fifths);
                spelled(step, alter)
            })
            .collect();
        let expected = "Fb Cb Gb Db Ab Eb Bb F C G D A E B F# C# G#";
        assert_eq!(names.join(" "), expected);
    }
}
