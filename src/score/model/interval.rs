//! The distance between two spelled pitches.

use super::Pitch;

/// Semitones above the tonic of each degree of the major scale.
const MAJOR_SCALE: [i32; 7] = [0, 2, 4, 5, 7, 9, 11];
/// The widest interval accepted, in octaves: more cannot stay inside the octaves a score may use.
const MAX_OCTAVES: i32 = 9;

/// A spelled interval: letters and semitones, negative downwards. `M3` is 2 letters, 4 semitones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Interval {
    steps: i32,
    semitones: i32,
}

impl Interval {
    /// Reads a name such as `M3`, `-m2`, `P8`, `A4`, `dd5`: an optional sign, a quality (`P` perfect,
    /// `M` major, `m` minor, `A` augmented, `d` diminished, doubled at most) and a number from 1.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (sign, rest) = match name.as_bytes().first()? {
            b'-' => (-1, &name[1..]),
            b'+' => (1, &name[1..]),
            _ => (1, name),
        };
        let digits = rest.find(|letter: char| letter.is_ascii_digit())?;
        let (quality, number) = rest.split_at(digits);
        if number.len() > 2 || !number.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let steps = number.parse::<i32>().ok()?.checked_sub(1)?;
        if !(0..=7 * MAX_OCTAVES).contains(&steps) {
            return None;
        }
        let degree = usize::try_from(steps % 7).ok()?;
        let perfect = matches!(degree, 0 | 3 | 4);
        let shift = match (quality, perfect) {
            ("P", true) | ("M", false) => 0,
            ("m", false) => -1,
            ("A", _) => 1,
            ("AA", _) => 2,
            ("d", true) => -1,
            ("dd", true) | ("d", false) => -2,
            ("dd", false) => -3,
            _ => return None,
        };
        let semitones = MAJOR_SCALE[degree] + 12 * (steps / 7) + shift;
        // A diminished unison would point downwards while claiming to point up.
        (semitones >= 0).then_some(Self {
            steps: sign * steps,
            semitones: sign * semitones,
        })
    }

    /// The interval of `semitones` that moves a key signature of `fifths` to the one with the fewest
    /// accidentals; the sharper of two equal ones never wins over the nearer. `None` beyond nine octaves.
    #[must_use]
    pub fn of_semitones(semitones: i32, fifths: i32) -> Option<Self> {
        if semitones.abs() > 12 * MAX_OCTAVES {
            return None;
        }
        let near = (7 * semitones).rem_euclid(12);
        if near == 0 {
            // Whole octaves leave the spelling alone.
            return Some(Self::from_fifths(0, semitones));
        }
        let shift = [near - 12, near, near - 24, near + 12]
            .into_iter()
            .min_by_key(|shift| ((fifths + shift).abs(), shift.abs(), *shift))?;
        Some(Self::from_fifths(shift, semitones))
    }

    /// The interval of `semitones` that stands `shift` fifths up the line of fifths.
    fn from_fifths(shift: i32, semitones: i32) -> Self {
        // A fifth is 7 semitones and 4 letters; the octaves that remain are 12 and 7.
        let octaves = (semitones - 7 * shift) / 12;
        Self {
            steps: 4 * shift + 7 * octaves,
            semitones,
        }
    }

    /// Letters moved, positive upwards.
    #[must_use]
    pub const fn steps(self) -> i32 {
        self.steps
    }

    /// Semitones moved, positive upwards.
    #[must_use]
    pub const fn semitones(self) -> i32 {
        self.semitones
    }

    /// How far a key signature moves: sharps added, or (negative) flats.
    #[must_use]
    pub const fn fifths(self) -> i32 {
        7 * self.semitones - 12 * self.steps
    }

    /// The pitch this far from `pitch`; `None` where it would need more than a double accidental or
    /// leave the octaves a score may use.
    #[must_use]
    pub fn from(self, pitch: Pitch) -> Option<Pitch> {
        let (step, crossed) = pitch.step().raised(self.steps);
        let octave = pitch.octave() + crossed;
        let natural = 12 * (octave + 1) + step.semitones();
        Pitch::new(step, pitch.midi() + self.semitones - natural, octave)
    }

    /// As [`Interval::from`], but a pitch that would need more than a double accidental takes its
    /// nearest simple spelling instead.
    #[must_use]
    pub fn from_respelled(self, pitch: Pitch) -> Option<Pitch> {
        self.from(pitch).or_else(|| {
            let midi = pitch.midi() + self.semitones;
            let fifths = (7 * midi).rem_euclid(12);
            let near = if fifths > 6 { fifths - 12 } else { fifths };
            let (step, alter) = super::pitch::from_fifths(near);
            let octave = (midi - alter - step.semitones()).div_euclid(12) - 1;
            Pitch::new(step, alter, octave)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::*;

    fn move_by(name: &str, step: Step, alter: i32, octave: i32) -> String {
        let pitch = Pitch::new(step, alter, octave).unwrap();
        let interval = Interval::named(name).unwrap();
        interval
            .from(pitch)
            .map_or("-".into(), |pitch| pitch.to_string())
    }

    #[test]
    fn named_intervals_keep_their_spelling() {
        assert_eq!(move_by("M3", Step::B, 0, 3), "D#4");
        assert_eq!(move_by("d4", Step::B, 0, 3), "Eb4");
        assert_eq!(move_by("-m2", Step::C, 0, 4), "B3");
        assert_eq!(move_by("P8", Step::F, 1, 4), "F#5");
        assert_eq!(move_by("A4", Step::F, 0, 4), "B4");
        assert_eq!(move_by("M10", Step::C, 0, 4), "E5");
        assert_eq!(move_by("-P5", Step::C, 0, 4), "F3");
        assert_eq!(move_by("M2", Step::B, 2, 4), "-");
    }

    #[test]
    fn names_that_mean_nothing_are_refused() {
        for name in [
            "", "M", "3", "P3", "M5", "m4", "d1", "P0", "M+3", "M3x", "--m2", "P99", "é3",
        ] {
            assert_eq!(Interval::named(name), None, "{name}");
        }
    }

    #[test]
    fn semitones_choose_the_simplest_key() {
        // From C major up one semitone: D flat (five flats), not C sharp (seven sharps).
        let up = Interval::of_semitones(1, 0).unwrap();
        assert_eq!((up.steps(), up.fifths()), (1, -5));
        // From E major (four sharps) up one: F major, one flat.
        assert_eq!(Interval::of_semitones(1, 4).unwrap().fifths(), -5);
        // From D flat up one: D major.
        assert_eq!(Interval::of_semitones(1, -5).unwrap().fifths(), 7);
        for semitones in (-24..=24).filter(|semitones| semitones % 12 != 0) {
            for fifths in -7..=7 {
                let interval = Interval::of_semitones(semitones, fifths).unwrap();
                assert_eq!(interval.semitones(), semitones);
                assert!((fifths + interval.fifths()).abs() <= 6);
            }
        }
    }

    #[test]
    fn up_then_down_is_the_identity() {
        for name in [
            "m2", "M2", "m3", "M3", "P4", "A4", "d5", "P5", "m6", "M6", "m7", "M7", "P8",
        ] {
            let up = Interval::named(name).unwrap();
            let down = Interval::named(&format!("-{name}")).unwrap();
            for step in Step::ALL {
                let pitch = Pitch::new(step, 0, 4).unwrap();
                assert_eq!(up.from(pitch).and_then(|p| down.from(p)), Some(pitch));
            }
        }
    }
}
