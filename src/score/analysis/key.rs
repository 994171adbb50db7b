//! Key finding after Krumhansl and Schmuckler.
//!
//! The profiles are the probe-tone ratings of Krumhansl and Kessler (Psychological Review 89, 1982);
//! the method correlates them with how long each pitch class sounds.

use crate::score::model::{Mode, Score, Sounding};

/// How well each degree fits a major key, from the tonic up in semitones.
const MAJOR: [f64; 12] = [
    6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88,
];
/// How well each degree fits a minor key.
const MINOR: [f64; 12] = [
    6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17,
];

/// One key and how well it fits.
#[derive(Clone, PartialEq, Debug)]
pub struct KeyGuess {
    /// The tonic, spelled near the score's own key signature.
    pub tonic: String,
    /// Major or minor.
    pub mode: Mode,
    /// Pearson's correlation of the score's pitch classes with the key's profile, -1 to 1.
    pub correlation: f64,
}

/// All 24 keys, best first. Ties stay in the order of their tonics from C up, major before minor.
///
/// # Errors
/// Where no key can be found: there are no pitched notes, or every pitch class sounds equally long.
pub fn guess_keys(score: &Score) -> Result<Vec<KeyGuess>, &'static str> {
    let sounding = score.soundings();
    if sounding.is_empty() {
        return Err("the score has no pitched notes, so it has no key");
    }
    let weights = weights(&sounding);
    let near = score.opening_fifths();
    let mut guesses = Vec::with_capacity(24);
    for tonic in 0..12 {
        for (mode, profile) in [(Mode::Major, &MAJOR), (Mode::Minor, &MINOR)] {
            let mut rotated = weights;
            rotated.rotate_left(tonic);
            let correlation = correlation(&rotated, profile)
                .ok_or("every pitch class sounds equally long, so no key stands out")?;
            guesses.push(KeyGuess {
                tonic: spell(tonic, mode, near),
                mode,
                correlation,
            });
        }
    }
    guesses.sort_by(|left, right| right.correlation.total_cmp(&left.correlation));
    Ok(guesses)
}

/// Quarters each pitch class sounds, tied notes at full length, grace notes not at all.
fn weights(sounding: &[Sounding]) -> [f64; 12] {
    let mut weights = [0.0; 12];
    for note in sounding {
        let length = note.end.minus(note.onset);
        weights[note.pitch.class()] += length.map_or(0.0, |length| length.quarters());
    }
    weights
}

/// Pearson's r; `None` where one side does not vary.
fn correlation(left: &[f64; 12], right: &[f64; 12]) -> Option<f64> {
    let mean = |values: &[f64; 12]| values.iter().sum::<f64>() / 12.0;
    let (left_mean, right_mean) = (mean(left), mean(right));
    let (mut both, mut left_square, mut right_square) = (0.0, 0.0, 0.0);
    for (x, y) in left.iter().zip(right) {
        let (x, y) = (x - left_mean, y - right_mean);
        both += x * y;
        left_square += x * x;
        right_square += y * y;
    }
    let spread = (left_square * right_square).sqrt();
    // Rounding can leave a trace of variance where there is none.
    let flat = left_square < 1e-12 * left_mean * left_mean;
    (spread > 0.0 && !flat).then(|| both / spread)
}

/// The name of pitch class `class` as a tonic, spelled so that its key signature is nearest to `near`.
fn spell(class: usize, mode: Mode, near: i32) -> String {
    let class = i32::try_from(class).unwrap_or(0);
    let place = (7 * class).rem_euclid(12);
    let tonic = [place - 12, place]
        .into_iter()
        .min_by_key(|tonic| {
            let signature = tonic - mode.fifths();
            // Beyond seven sharps or flats a key cannot be written; avoid it whatever is near.
            (
                signature.abs() > 7,
                (signature - near).abs(),
                signature.abs(),
            )
        })
        .unwrap_or(place);
    let (step, alter) = crate::score::model::from_fifths(tonic);
    crate::score::model::spelled(step, alter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::abc;

    fn best(source: &str) -> (String, Mode, f64) {
        let guesses = guess_keys(&abc::read(source).unwrap()).unwrap();
        assert_eq!(guesses.len(), 24);
        let best = &guesses[0];
        (best.tonic.clone(), best.mode, best.correlation)
    }

    #[test]
    fn scales_are_in_their_key() {
        let (tonic, mode, r) = best("L:1/4\nK:Eb\nEFGABcde|[GBe]4|E4|]\n");
        assert_eq!((tonic.as_str(), mode), ("Eb", Mode::Major));
        assert!(r > 0.8 && r < 1.0, "{r}");
        let (tonic, mode, _) = best("L:1/4\nK:C#m\nC E G c B ^B c2|C4|G2 C2|E4|]\n");
        assert_eq!((tonic.as_str(), mode), ("C#", Mode::Minor));
    }

    #[test]
    fn a_single_pitch_correlates_as_by_hand() {
        let guesses = guess_keys(&abc::read("L:1/4\nK:C\nCCCC|]\n").unwrap()).unwrap();
        for (mode, profile) in [(Mode::Major, MAJOR), (Mode::Minor, MINOR)] {
            // One class against a profile: r = (tonic's value - mean) / sqrt(11/12 * sum of squares).
            let mean = profile.iter().sum::<f64>() / 12.0;
            let squares: f64 = profile.iter().map(|x| (x - mean).powi(2)).sum();
            let expected = (profile[0] - mean) / (squares * 11.0 / 12.0).sqrt();
            let guess = guesses
                .iter()
                .find(|guess| guess.tonic == "C" && guess.mode == mode);
            let r = guess.unwrap().correlation;
            assert!((r - expected).abs() < 1e-12, "{mode:?} {r} {expected}");
        }
    }

    #[test]
    fn silence_and_flatness_have_no_key() {
        let silent = abc::read("L:1/4\nM:4/4\nK:C\nz4|z4|]\n").unwrap();
        assert!(guess_keys(&silent).is_err());
        let flat = abc::read("L:1/4\nK:C\nC^CD^DEF^FG^GA^AB|]\n").unwrap();
        assert!(guess_keys(&flat).is_err());
    }

    #[test]
    fn grace_notes_weigh_nothing_and_repeats_are_not_unfolded() {
        let plain = best("L:1/4\nK:G\nGABc|dBG2|]\n");
        assert_eq!(best("L:1/4\nK:G\n|:{^f}GABc|{e}dBG2:|\n"), plain);
    }
}
