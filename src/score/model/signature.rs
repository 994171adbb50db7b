//! Key signatures and meters.

use super::pitch::{from_fifths, spelled};
use super::{Beat, Step};

/// The mode a key signature is said to be in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// Major, also called Ionian.
    Major,
    /// Minor, also called Aeolian.
    Minor,
    /// Dorian.
    Dorian,
    /// Phrygian.
    Phrygian,
    /// Lydian.
    Lydian,
    /// Mixolydian.
    Mixolydian,
    /// Locrian.
    Locrian,
}

impl Mode {
    const ALL: [Self; 7] = [
        Self::Major,
        Self::Minor,
        Self::Dorian,
        Self::Phrygian,
        Self::Lydian,
        Self::Mixolydian,
        Self::Locrian,
    ];

    /// Its name in lower case, as MusicXML and ABC write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Major => "major",
            Self::Minor => "minor",
            Self::Dorian => "dorian",
            Self::Phrygian => "phrygian",
            Self::Lydian => "lydian",
            Self::Mixolydian => "mixolydian",
            Self::Locrian => "locrian",
        }
    }

    /// The mode of a name; only its first three letters count, as ABC has it (`m` alone is minor).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let short = name.get(..3).unwrap_or(&name);
        match short {
            "m" => Some(Self::Minor),
            "ion" => Some(Self::Major),
            "aeo" => Some(Self::Minor),
            _ if short.len() == 3 => Self::ALL
                .into_iter()
                .find(|mode| mode.name().starts_with(short)),
            _ => None,
        }
    }

    /// Fifths between the tonic and the tonic of the major key with the same signature.
    #[must_use]
    pub const fn fifths(self) -> i32 {
        match self {
            Self::Lydian => -1,
            Self::Major => 0,
            Self::Mixolydian => 1,
            Self::Dorian => 2,
            Self::Minor => 3,
            Self::Phrygian => 4,
            Self::Locrian => 5,
        }
    }
}

/// The accidentals in force from a point on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KeySignature {
    fifths: i8,
    mode: Option<Mode>,
    alters: [i8; 7],
}

impl KeySignature {
    /// The most sharps or flats a signature may have.
    pub const MAX_FIFTHS: i32 = 7;

    /// `fifths` sharps (negative: flats), in the order of fifths; `None` beyond seven.
    #[must_use]
    pub fn new(fifths: i32, mode: Option<Mode>) -> Option<Self> {
        if fifths.abs() > Self::MAX_FIFTHS {
            return None;
        }
        let mut alters = [0; 7];
        for step in Step::ALL {
            // F is sharpened first (place -1), B flattened first (place 5).
            alters[step as usize] = if step.fifths() + 1 < fifths {
                1
            } else {
                -i8::from(5 - step.fifths() < -fifths)
            };
        }
        Some(Self {
            fifths: i8::try_from(fifths).ok()?,
            mode,
            alters,
        })
    }

    /// No sharps, no flats, no claim about the mode.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            fifths: 0,
            mode: None,
            alters: [0; 7],
        }
    }

    /// Puts `alter` on one letter, beyond what the circle of fifths gives; `None` beyond double accidentals.
    #[must_use]
    pub fn with(mut self, step: Step, alter: i32) -> Option<Self> {
        let alter = i8::try_from(alter).ok().filter(|alter| alter.abs() <= 2)?;
        self.alters[step as usize] = alter;
        Some(self)
    }

    /// Sharps (negative: flats) of the regular signature it starts from.
    #[must_use]
    pub fn fifths(&self) -> i32 {
        i32::from(self.fifths)
    }

    /// Its mode, if it was named.
    #[must_use]
    pub const fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// The alteration it puts on a letter.
    #[must_use]
    pub fn alter(&self, step: Step) -> i32 {
        i32::from(self.alters[step as usize])
    }

    /// The letters that differ from the regular signature, with their alterations.
    pub fn exceptions(&self) -> impl Iterator<Item = (Step, i32)> + '_ {
        let regular = Self::new(self.fifths(), None).map_or([0; 7], |key| key.alters);
        Step::ALL
            .into_iter()
            .filter(move |step| regular[*step as usize] != self.alters[*step as usize])
            .map(|step| (step, self.alter(step)))
    }

    /// The tonic of its mode (major when none is named), e.g. `F#`.
    #[must_use]
    pub fn tonic(&self) -> String {
        let mode = self.mode.unwrap_or(Mode::Major);
        let (step, alter) = from_fifths(self.fifths() + mode.fifths());
        spelled(step, alter)
    }

    /// For a reader: `D dorian`, or `2 sharps` where no mode was named.
    #[must_use]
    pub fn name(&self) -> String {
        let plain = match (self.mode, self.fifths) {
            (Some(mode), _) => format!("{} {}", self.tonic(), mode.name()),
            (None, 0) => "no sharps or flats".to_owned(),
            (None, 1) => "1 sharp".to_owned(),
            (None, -1) => "1 flat".to_owned(),
            (None, count) if count > 0 => format!("{count} sharps"),
            (None, count) => format!("{} flats", -count),
        };
        let more: Vec<_> = self
            .exceptions()
            .map(|(step, alter)| match alter {
                0 => format!("{} natural", step.letter()),
                _ => spelled(step, alter),
            })
            .collect();
        if more.is_empty() {
            plain
        } else {
            format!("{plain} with {}", more.join(", "))
        }
    }

    /// The signature moved by `interval`; `None` beyond seven sharps or flats.
    #[must_use]
    pub fn transposed(&self, interval: super::Interval) -> Option<Self> {
        let mut moved = Self::new(self.fifths() + interval.fifths(), self.mode)?;
        for (step, alter) in self.exceptions() {
            let (target, crossed) = step.raised(interval.steps());
            let natural = target.semitones() + 12 * crossed;
            let sound = step.semitones() + alter + interval.semitones();
            moved = moved.with(target, sound - natural)?;
        }
        Some(moved)
    }
}

/// How the beats of a measure are counted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Meter {
    /// No meter: measures are as long as what they hold.
    Free,
    /// Beats of one unit, possibly in groups: `3/4`, or `2+3/8`.
    Beats {
        /// The groups of beats; one for a plain meter.
        groups: Vec<u8>,
        /// The note that counts as one beat: 4 is a quarter.
        unit: u8,
    },
}

impl Meter {
    /// A meter of `groups` beats of `unit` (a power of two up to 128); `None` for what cannot be one.
    #[must_use]
    pub fn new(groups: Vec<u8>, unit: u8) -> Option<Self> {
        let sane = unit.is_power_of_two() && !groups.is_empty() && groups.len() <= 16;
        (sane && groups.iter().all(|beats| *beats > 0)).then_some(Self::Beats { groups, unit })
    }

    /// How long a full measure is; `None` where there is no meter.
    #[must_use]
    pub fn length(&self) -> Option<Beat> {
        match self {
            Self::Free => None,
            Self::Beats { groups, unit } => {
                let beats: i64 = groups.iter().map(|beats| i64::from(*beats)).sum();
                Beat::new(4 * beats, i64::from(*unit))
            }
        }
    }

    /// Its usual name: `3/4`, `2+3/8`, or `none`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Free => "none".to_owned(),
            Self::Beats { groups, unit } => {
                let groups: Vec<_> = groups.iter().map(u8::to_string).collect();
                format!("{}/{unit}", groups.join("+"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Interval;
    use super::*;

    fn accidentals(key: &KeySignature) -> String {
        Step::ALL
            .into_iter()
            .filter(|step| key.alter(*step) != 0)
            .map(|step| spelled(step, key.alter(step)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn signatures_follow_the_circle_of_fifths() {
        let shown = |fifths| accidentals(&KeySignature::new(fifths, None).unwrap());
        assert_eq!(shown(0), "");
        assert_eq!(shown(1), "F#");
        assert_eq!(shown(3), "C# F# G#");
        assert_eq!(shown(7), "C# D# E# F# G# A# B#");
        assert_eq!(shown(-1), "Bb");
        assert_eq!(shown(-4), "Db Eb Ab Bb");
        assert_eq!(shown(-7), "Cb Db Eb Fb Gb Ab Bb");
        assert_eq!(KeySignature::new(8, None), None);
    }

    #[test]
    fn keys_are_named_by_their_mode() {
        let name = |fifths, mode| KeySignature::new(fifths, mode).unwrap().name();
        assert_eq!(name(3, Some(Mode::Minor)), "F# minor");
        assert_eq!(name(0, Some(Mode::Dorian)), "D dorian");
        assert_eq!(name(-2, None), "2 flats");
        let odd = KeySignature::none()
            .with(Step::F, 1)
            .and_then(|key| key.with(Step::B, -1));
        assert_eq!(odd.unwrap().name(), "no sharps or flats with F#, Bb");
    }

    #[test]
    fn exceptions_move_with_the_key() {
        let odd = KeySignature::new(0, Some(Mode::Minor))
            .unwrap()
            .with(Step::G, 1)
            .unwrap();
        let up = odd.transposed(Interval::named("M2").unwrap()).unwrap();
        assert_eq!(up.name(), "B minor with A#");
        let down = up.transposed(Interval::named("-M2").unwrap());
        assert_eq!(down, Some(odd));
    }

    #[test]
    fn modes_are_known_by_three_letters() {
        assert_eq!(Mode::from_name("Mixolydian"), Some(Mode::Mixolydian));
        assert_eq!(Mode::from_name("m"), Some(Mode::Minor));
        assert_eq!(Mode::from_name("AEOLIAN"), Some(Mode::Minor));
        assert_eq!(Mode::from_name("mi"), None);
        assert_eq!(Mode::from_name("xyz"), None);
    }

    #[test]
    fn meters_add_their_groups() {
        let length = |groups: &[u8], unit| Meter::new(groups.to_vec(), unit).unwrap().length();
        assert_eq!(length(&[3], 4), Some(Beat::whole(3)));
        assert_eq!(length(&[2, 3], 8), Beat::new(5, 2));
        assert_eq!(Meter::new(vec![3], 3), None);
        assert_eq!(Meter::new(vec![0], 4), None);
    }
}
