//! The values of the fields that change notes: `K:`, `M:`, `L:` and the options of `V:`.

use crate::score::model::{Beat, KeySignature, Meter, Mode, Step};

/// What a `K:` field says.
#[derive(Debug)]
pub(super) struct Key {
    /// The signature, unless the field only carries options such as a clef.
    pub(super) signature: Option<KeySignature>,
    /// Octaves to add to every note, if the field says so.
    pub(super) octave: Option<i32>,
}

/// Reads the value of a `K:` field.
pub(super) fn key(value: &str) -> Result<Key, String> {
    let octave = octave_option(value)?;
    let mut words = words(value)
        .into_iter()
        .filter(|word| !is_option(word))
        .peekable();
    let Some(first) = words.peek().cloned() else {
        // `K:` alone means no key; `K:clef=bass` says nothing about the key.
        let signature = value.trim().is_empty().then(KeySignature::none);
        return Ok(Key { signature, octave });
    };
    if first.eq_ignore_ascii_case("none") {
        words.next();
        let signature = with_accidentals(KeySignature::none(), words)?;
        return Ok(Key {
            signature: Some(signature),
            octave,
        });
    }
    // Highland pipes: no signature at all, or F sharp, C sharp and G natural.
    let pipes = match first.as_str() {
        "HP" => Some(0),
        "Hp" => Some(2),
        _ => None,
    };
    if let Some(fifths) = pipes {
        words.next();
        let base = KeySignature::new(fifths, None).ok_or("the pipes' key cannot be built")?;
        let signature = with_accidentals(base, words)?;
        return Ok(Key {
            signature: Some(signature),
            octave,
        });
    }
    words.next();
    let mut letters = first.chars();
    let tonic = letters
        .next()
        .filter(char::is_ascii_uppercase)
        .and_then(Step::from_letter)
        .ok_or_else(|| format!("{first:?} is no key: a key begins with a letter from A to G"))?;
    let mut rest = letters.as_str();
    let mut alter = 0;
    if let Some(after) = rest.strip_prefix('#') {
        (alter, rest) = (1, after);
    } else if let Some(after) = rest.strip_prefix('b') {
        (alter, rest) = (-1, after);
    }
    let mut explicit = false;
    let mut mode = Mode::Major;
    let mut name = rest.to_owned();
    if name.is_empty() {
        let next = words.peek().filter(|word| !is_accidental(word));
        name = next.cloned().unwrap_or_default();
        if !name.is_empty() {
            words.next();
        }
    }
    if name.eq_ignore_ascii_case("exp") {
        explicit = true;
    } else if !name.is_empty() {
        mode = Mode::from_name(&name).ok_or_else(|| format!("{name:?} is no mode"))?;
    }
    let base = if explicit {
        KeySignature::none()
    } else {
        let fifths = tonic.fifths() + 7 * alter - mode.fifths();
        KeySignature::new(fifths, Some(mode))
            .ok_or_else(|| format!("the key {first} needs more than seven sharps or flats"))?
    };
    let signature = with_accidentals(base, words)?;
    Ok(Key {
        signature: Some(signature),
        octave,
    })
}

/// Adds the accidentals that follow a key, e.g. `^f _b =c`.
fn with_accidentals(
    mut key: KeySignature,
    words: impl Iterator<Item = String>,
) -> Result<KeySignature, String> {
    for word in words {
        let letter = word.trim_start_matches(['^', '_', '=']);
        let marks = &word[..word.len() - letter.len()];
        let alter = match marks {
            "^" => 1,
            "^^" => 2,
            "_" => -1,
            "__" => -2,
            "=" => 0,
            _ => return Err(format!("{word:?} is no part of a key")),
        };
        let mut letters = letter.chars();
        let step = letters.next().and_then(Step::from_letter);
        let changed = step.filter(|_| letters.next().is_none());
        key = changed
            .and_then(|step| key.with(step, alter))
            .ok_or_else(|| format!("{word:?} is no accidental of a key"))?;
    }
    Ok(key)
}

fn is_accidental(word: &str) -> bool {
    word.starts_with(['^', '_', '='])
}

/// Clefs and `name=value` pairs, which follow a key or a voice's name.
fn is_option(word: &str) -> bool {
    const CLEFS: [&str; 6] = ["treble", "bass", "alto", "tenor", "perc", "mezzo"];
    word.contains('=') && !is_accidental(word) || CLEFS.iter().any(|clef| word.starts_with(clef))
}

/// Octaves that `octave=N` and a clef's `+8` or `-8` add; `None` when the value names neither.
pub(super) fn octave_option(value: &str) -> Result<Option<i32>, String> {
    let mut total = None;
    for word in words(value) {
        let shift = if let Some(number) = word.strip_prefix("octave=") {
            let octaves = number
                .parse::<i32>()
                .ok()
                .filter(|octaves| octaves.abs() <= 9);
            octaves.ok_or_else(|| format!("{word:?} is no octave shift from -9 to 9"))?
        } else if is_option(&word) && !word.starts_with("name=") && word.ends_with("-8") {
            -1
        } else if is_option(&word) && !word.starts_with("name=") && word.ends_with("+8") {
            1
        } else {
            continue;
        };
        total = Some(total.unwrap_or(0) + shift);
    }
    Ok(total)
}

/// The value of `name="..."` (or `nm=`) among a voice's options.
pub(super) fn name_option(value: &str) -> Option<String> {
    words(value).into_iter().find_map(|word| {
        let name = word
            .strip_prefix("name=")
            .or_else(|| word.strip_prefix("nm="))?;
        Some(name.trim_matches('"').to_owned())
    })
}

/// Splits at white space, but not inside double quotes.
fn words(value: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in value.chars() {
        quoted ^= letter == '"';
        if letter.is_whitespace() && !quoted {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Reads the value of an `M:` field: `C`, `C|`, `none`, `6/8`, `2+3/8`, `(2+3)/8`.
pub(super) fn meter(value: &str) -> Result<Meter, String> {
    let value = value.trim();
    let wrong = || format!("{value:?} is no meter; write e.g. 3/4, 2+3/8, C, C| or none");
    match value {
        "" | "none" => return Ok(Meter::Free),
        "C" => return Meter::new(vec![4], 4).ok_or_else(wrong),
        "C|" => return Meter::new(vec![2], 2).ok_or_else(wrong),
        _ => {}
    }
    let (groups, unit) = value.split_once('/').ok_or_else(wrong)?;
    let groups: Result<Vec<u8>, _> = groups
        .trim()
        .trim_start_matches('(')
        .trim_end_matches(')')
        .split('+')
        .map(|beats| beats.trim().parse::<u8>())
        .collect();
    let unit = unit.trim().parse::<u8>().map_err(|_| wrong())?;
    Meter::new(groups.map_err(|_| wrong())?, unit).ok_or_else(wrong)
}

/// Reads the value of an `L:` field, a fraction of a whole note, as quarters.
pub(super) fn unit_length(value: &str) -> Result<Beat, String> {
    let value = value.trim();
    let wrong = || format!("{value:?} is no note length; write e.g. 1/8");
    let (above, below) = value.split_once('/').unwrap_or((value, "1"));
    let above = above.trim().parse::<u16>().map_err(|_| wrong())?;
    let below = below.trim().parse::<u16>().map_err(|_| wrong())?;
    let sane = above > 0 && below.is_power_of_two() && below <= 512;
    let length = Beat::new(4 * i64::from(above), i64::from(below));
    length.filter(|_| sane).ok_or_else(wrong)
}

/// The note length a meter implies: a sixteenth below three quarters of a whole note, else an eighth.
pub(super) fn implied_unit(meter: &Meter) -> Option<Beat> {
    match meter.length() {
        Some(length) if length < Beat::whole(3) => Beat::new(1, 4),
        _ => Beat::new(1, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_name(value: &str) -> String {
        match key(value) {
            Ok(Key {
                signature: Some(signature),
                ..
            }) => signature.name(),
            Ok(_) => "unchanged".to_owned(),
            Err(what) => what,
        }
    }

    #[test]
    fn keys_in_all_their_spellings() {
        for (value, name) in [
            ("G", "G major"),
            ("F#m", "F# minor"),
            ("Bb", "Bb major"),
            ("D Dorian", "D dorian"),
            ("Amix", "A mixolydian"),
            ("A minor clef=bass", "A minor"),
            ("Gm octave=-1", "G minor"),
            ("none", "no sharps or flats"),
            ("", "no sharps or flats"),
            ("D Phr ^f", "D phrygian with F#"),
            ("D exp _b _e ^f", "no sharps or flats with Eb, F#, Bb"),
            ("Hp", "2 sharps"),
            ("clef=bass", "unchanged"),
            ("bass", "unchanged"),
        ] {
            assert_eq!(key_name(value), name, "K:{value}");
        }
    }

    #[test]
    fn bad_keys_are_named() {
        for value in ["H", "g", "G# maj", "C foo", "C maj ^h", "C maj ^fg"] {
            assert!(key(value).is_err(), "K:{value} was taken");
        }
    }

    #[test]
    fn octaves_come_from_clefs_and_options() {
        assert_eq!(octave_option("clef=treble-8"), Ok(Some(-1)));
        assert_eq!(octave_option("T1 clef=treble+8 octave=1"), Ok(Some(2)));
        assert_eq!(octave_option("bass"), Ok(None));
        assert!(octave_option("octave=99").is_err());
        assert_eq!(
            name_option("1 clef=alto name=\"First Viola\""),
            Some("First Viola".into())
        );
    }

    #[test]
    fn meters_and_lengths() {
        assert_eq!(meter("C|").unwrap().name(), "2/2");
        assert_eq!(meter("(2+3)/8").unwrap().name(), "2+3/8");
        assert!(meter("4").is_err());
        assert!(meter("4/0").is_err());
        assert_eq!(unit_length("1/16"), Ok(Beat::new(1, 4).unwrap()));
        assert!(unit_length("1/0").is_err());
        assert!(unit_length("0/8").is_err());
        assert_eq!(implied_unit(&meter("2/4").unwrap()), Beat::new(1, 4));
        assert_eq!(implied_unit(&meter("3/4").unwrap()), Beat::new(1, 2));
    }
}
