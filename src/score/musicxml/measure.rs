//! One measure of MusicXML: a cursor that notes move forward and `<backup>` moves back.

use super::tree::Element;
use crate::score::model::{
    BarStyle, Beat, Event, KeySignature, Measure, Meter, Mode, Note, Pitch, Sign, Step, Tuplet,
};
use crate::score::source::{Budget, MAX_LAYERS};

/// The finest division of a quarter accepted.
const MAX_DIVISIONS: i64 = 1_000_000;

/// What went wrong, and where in the source.
type Fault = (usize, String);

/// What carries over from one measure of a part to the next.
#[derive(Debug, Default)]
pub(super) struct PartReader {
    divisions: Option<i64>,
    meter: Option<Meter>,
    key: Option<KeySignature>,
    /// The names of the voices met so far; the place of a voice is its preferred layer.
    voices: Vec<String>,
}

/// The measure being filled.
struct Filling {
    measure: Measure,
    cursor: Beat,
    reach: Beat,
    /// Where the event is that `<chord/>` adds to: layer and place.
    last: Option<(usize, usize)>,
}

impl PartReader {
    /// Reads one `<measure>`.
    pub(super) fn measure(
        &mut self,
        element: &Element,
        budget: &mut Budget,
    ) -> Result<Measure, Fault> {
        let mut filling = Filling {
            measure: Measure::empty(),
            cursor: Beat::ZERO,
            reach: Beat::ZERO,
            last: None,
        };
        for child in &element.children {
            let fault = |what: String| (child.place, what);
            match child.name.as_str() {
                "note" => {
                    budget.take(1).map_err(fault)?;
                    self.note(child, &mut filling).map_err(fault)?;
                }
                "backup" => {
                    let back = self.duration(child).map_err(fault)?;
                    let to = filling.cursor.minus(back).filter(|to| *to >= Beat::ZERO);
                    filling.cursor = to.ok_or_else(|| fault("backup leaves its measure".into()))?;
                    filling.last = None;
                }
                "forward" => {
                    let on = self.duration(child).map_err(fault)?;
                    let to = filling.cursor.plus(on);
                    filling.move_to(to).map_err(fault)?;
                    filling.last = None;
                }
                "attributes" => self.attributes(child, &mut filling).map_err(fault)?,
                "barline" => barline(child, &mut filling.measure),
                _ => {}
            }
        }
        let mut measure = filling.measure;
        measure.signs.sort_by_key(|(place, _)| *place);
        // A measure without notes lasts as long as its meter says.
        let full = self.meter.as_ref().and_then(Meter::length);
        measure.length = if filling.reach.is_zero() {
            full.unwrap_or(Beat::whole(4))
        } else {
            filling.reach
        };
        Ok(measure)
    }

    fn attributes(&mut self, element: &Element, filling: &mut Filling) -> Result<(), String> {
        if let Some(divisions) = element.text_of("divisions") {
            let read = divisions.parse::<i64>().ok();
            let read = read.filter(|divisions| (1..=MAX_DIVISIONS).contains(divisions));
            self.divisions =
                Some(read.ok_or("divisions must be a whole number from 1 to 1000000")?);
        }
        let here = filling.cursor;
        if let Some(element) = element.child("key") {
            let key = key(element)?;
            if self.key.as_ref() != Some(&key) {
                self.key = Some(key.clone());
                filling.measure.signs.push((here, Sign::Key(key)));
            }
        }
        if let Some(element) = element.child("time") {
            let meter = meter(element)?;
            if self.meter.as_ref() != Some(&meter) {
                self.meter = Some(meter.clone());
                filling.measure.signs.push((here, Sign::Meter(meter)));
            }
        }
        Ok(())
    }

    fn note(&mut self, element: &Element, filling: &mut Filling) -> Result<(), String> {
        let grace = element.child("grace").is_some();
        let note = sounding(element)?;
        if element.child("chord").is_some() {
            return filling.add_to_chord(note);
        }
        let length = if grace {
            Beat::ZERO
        } else {
            self.duration(element)?
        };
        if length.is_zero() && !grace {
            return Err("duration must be above 0".into());
        }
        let voice = element.text_of("voice").unwrap_or("1");
        let preferred = match self.voices.iter().position(|known| known == voice) {
            Some(place) => place,
            None if self.voices.len() < MAX_LAYERS => {
                self.voices.push(voice.to_owned());
                self.voices.len() - 1
            }
            None => 0,
        };
        let onset = filling.cursor;
        filling.move_to(onset.plus(length))?;
        if grace && note.is_none() {
            return Err("a grace note needs a pitch".into());
        }
        filling.place(
            preferred,
            Event {
                onset,
                length,
                notes: note.into_iter().collect(),
                grace,
                tuplet: tuplet(element)?.filter(|_| !grace),
            },
        )
    }

    /// The `<duration>` of an element, in quarters.
    fn duration(&self, element: &Element) -> Result<Beat, String> {
        let wrong = || "duration must be a number of divisions, 0 or more".to_owned();
        let text = element
            .text_of("duration")
            .ok_or("the duration is missing")?;
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{part}");
        if digits.is_empty()
            || digits.len() > 12
            || !digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(wrong());
        }
        let above: i64 = digits.parse().map_err(|_| wrong())?;
        let below = (0..part.len()).try_fold(1_i64, |below, _| below.checked_mul(10));
        let divisions = self
            .divisions
            .ok_or("divisions are missing before the first duration")?;
        let below = below.and_then(|below| below.checked_mul(divisions));
        below
            .and_then(|below| Beat::new(above, below))
            .ok_or_else(|| "duration is too long or too fine".to_owned())
    }
}

impl Filling {
    fn move_to(&mut self, to: Option<Beat>) -> Result<(), String> {
        self.cursor = to.ok_or("the measure is too long")?;
        self.reach = self.reach.max(self.cursor);
        Ok(())
    }

    fn add_to_chord(&mut self, note: Option<Note>) -> Result<(), String> {
        let event = self
            .last
            .and_then(|(layer, place)| self.measure.layers.get_mut(layer)?.get_mut(place))
            .filter(|event| !event.notes.is_empty());
        let (Some(event), Some(note)) = (event, note) else {
            return Err("a chord note needs a pitch and a pitched note before it".into());
        };
        match event.notes.iter_mut().find(|old| old.pitch == note.pitch) {
            Some(same) => same.tied |= note.tied,
            None => event.notes.push(note),
        }
        Ok(())
    }

    /// Puts an event on its voice's layer, or on the first where it overlaps nothing.
    fn place(&mut self, preferred: usize, event: Event) -> Result<(), String> {
        let layers = &mut self.measure.layers;
        let free = |layer: &Vec<Event>| {
            let end = layer.last().map(|last| last.onset.plus(last.length));
            end.is_none_or(|end| end.is_some_and(|end| end <= event.onset))
        };
        while layers.len() <= preferred {
            layers.push(Vec::new());
        }
        let others = (0..layers.len()).filter(|index| *index != preferred);
        let mut choices = std::iter::once(preferred).chain(others);
        let chosen = choices
            .find(|index| free(&layers[*index]))
            .unwrap_or(layers.len());
        if chosen >= MAX_LAYERS {
            return Err(format!(
                "more than {MAX_LAYERS} voices sound at once in one part"
            ));
        }
        if chosen == layers.len() {
            layers.push(Vec::new());
        }
        layers[chosen].push(event);
        self.last = Some((chosen, layers[chosen].len() - 1));
        Ok(())
    }
}

/// The pitch of a note; `None` for a rest, for a cue and for percussion without pitch.
fn sounding(element: &Element) -> Result<Option<Note>, String> {
    let Some(pitch) = element.child("pitch") else {
        let silent = ["rest", "unpitched"]
            .iter()
            .any(|name| element.child(name).is_some());
        return if silent {
            Ok(None)
        } else {
            Err("the note has neither pitch nor rest".into())
        };
    };
    if element.child("cue").is_some() {
        return Ok(None);
    }
    let mut letters = pitch.text_of("step").unwrap_or_default().chars();
    let step = letters
        .next()
        .filter(char::is_ascii_uppercase)
        .and_then(Step::from_letter);
    let step = step.filter(|_| letters.next().is_none());
    let step = step.ok_or("step must be a letter from A to G")?;
    let alter = match pitch.text_of("alter") {
        None => 0,
        Some(alter) => whole(alter).ok_or("alter must be a whole number from -2 to 2")?,
    };
    let octave = pitch
        .text_of("octave")
        .and_then(|octave| octave.parse().ok());
    let octave = octave.ok_or("octave must be a number from 0 to 9")?;
    let pitch = Pitch::new(step, alter, octave);
    let pitch = pitch.ok_or("alter goes from -2 to 2 and octave from 0 to 9")?;
    let tied = element
        .all("tie")
        .any(|tie| tie.attribute("type") == Some("start"));
    Ok(Some(Note { pitch, tied }))
}

/// A whole number, also written as `1.0`.
fn whole(text: &str) -> Option<i32> {
    let (number, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let exact = fraction.bytes().all(|digit| digit == b'0');
    number.parse().ok().filter(|_| exact)
}

fn tuplet(element: &Element) -> Result<Option<Tuplet>, String> {
    let Some(ratio) = element.child("time-modification") else {
        return Ok(None);
    };
    let number = |name| {
        let number = ratio
            .text_of(name)
            .and_then(|number| number.parse::<u16>().ok());
        number.filter(|number| (1..=999).contains(number))
    };
    match (number("actual-notes"), number("normal-notes")) {
        (Some(actual), Some(normal)) if actual == normal => Ok(None),
        (Some(actual), Some(normal)) => Ok(Some(Tuplet { actual, normal })),
        _ => Err("time-modification needs actual-notes and normal-notes from 1 to 999".into()),
    }
}

fn key(element: &Element) -> Result<KeySignature, String> {
    if let Some(fifths) = element.text_of("fifths") {
        let mode = element.text_of("mode").and_then(Mode::from_name);
        let key = fifths
            .parse()
            .ok()
            .and_then(|fifths| KeySignature::new(fifths, mode));
        return key.ok_or_else(|| "fifths must be a whole number from -7 to 7".to_owned());
    }
    let mut key = KeySignature::none();
    for (step, alter) in element.all("key-step").zip(element.all("key-alter")) {
        let letter = step.text.trim().chars().next().and_then(Step::from_letter);
        let alter = whole(alter.text.trim());
        let changed = letter
            .zip(alter)
            .and_then(|(step, alter)| key.with(step, alter));
        key = changed.ok_or("key-step and key-alter must name a letter and -2 to 2")?;
    }
    Ok(key)
}

/// Several pairs of beats and beat types are put on the finest of their units.
fn meter(element: &Element) -> Result<Meter, String> {
    if element.child("senza-misura").is_some() {
        return Ok(Meter::Free);
    }
    let wrong = || "time needs beats such as 3 or 2+3 and a beat-type such as 4".to_owned();
    let mut pairs = Vec::new();
    for (beats, unit) in element.all("beats").zip(element.all("beat-type")) {
        let groups: Result<Vec<u8>, _> = beats
            .text
            .trim()
            .split('+')
            .map(|beats| beats.trim().parse())
            .collect();
        let unit: u8 = unit.text.trim().parse().map_err(|_| wrong())?;
        pairs.push((groups.map_err(|_| wrong())?, unit));
    }
    let finest = pairs.iter().map(|(_, unit)| *unit).max().unwrap_or(0);
    let mut groups = Vec::new();
    for (beats, unit) in pairs {
        if unit == 0 {
            return Err(wrong());
        }
        for beats in beats {
            groups.push(beats.checked_mul(finest / unit).ok_or_else(wrong)?);
        }
    }
    Meter::new(groups, finest).ok_or_else(wrong)
}

fn barline(element: &Element, measure: &mut Measure) {
    match element
        .child("repeat")
        .and_then(|repeat| repeat.attribute("direction"))
    {
        Some("forward") => measure.opens_repeat = true,
        Some("backward") => measure.closes_repeat = true,
        _ => {}
    }
    match element.text_of("bar-style") {
        Some("light-light") => measure.style = BarStyle::Double,
        Some("light-heavy") => measure.style = BarStyle::Final,
        _ => {}
    }
    if let Some(ending) = element.child("ending") {
        if ending.attribute("type") == Some("start") {
            let number = ending.attribute("number").unwrap_or("1");
            let number: String = number
                .chars()
                .filter(|letter| matches!(letter, '0'..='9' | ',' | '-'))
                .take(16)
                .collect();
            measure.ending = Some(if number.is_empty() {
                "1".into()
            } else {
                number
            });
        }
    }
}
