//! A score as ABC 2.1.

use std::fmt::Write;

use crate::score::model::{
    BarStyle, Beat, Event, KeySignature, Measure, Meter, Mode, Note, Part, Pitch, Score, Sign,
    Step, Tuplet,
};

/// Note lengths are written as multiples of an eighth.
const UNIT_PER_QUARTER: i64 = 2;
/// Measures on one line of text.
const MEASURES_PER_LINE: usize = 4;

/// Writes `score` as one tune. Reading it back gives the same notes.
#[must_use]
pub fn write(score: &Score) -> String {
    let mut out = String::from("%abc-2.1\nX:1\n");
    push_field(&mut out, 'T', score.title.as_deref().unwrap_or_default());
    if let Some(composer) = &score.composer {
        push_field(&mut out, 'C', composer);
    }
    let (meter, key) = opening(score.parts.first());
    push_field(&mut out, 'M', &meter_text(&meter));
    out.push_str("L:1/8\n");
    if score.parts.len() > 1 {
        for (index, part) in score.parts.iter().enumerate() {
            let name = part.name.replace(['"', '%', '\\'], "'");
            let _ = writeln!(out, "V:{} name=\"{name}\"", index + 1);
        }
    }
    push_field(&mut out, 'K', &key_text(&key));
    for (index, part) in score.parts.iter().enumerate() {
        if score.parts.len() > 1 {
            let _ = writeln!(out, "V:{}", index + 1);
        }
        let mut writer = PartWriter {
            out: &mut out,
            key: key.clone(),
            meter: meter.clone(),
            altered: Vec::new(),
            layer: 0,
            carried: Vec::new(),
        };
        writer.part(part);
    }
    out
}

/// A text field on one line; a percent sign would begin a comment.
fn push_field(out: &mut String, letter: char, value: &str) {
    let _ = writeln!(out, "{letter}:{}", value.replace('%', "\\%"));
}

/// The meter and key the first measure begins with.
fn opening(part: Option<&Part>) -> (Meter, KeySignature) {
    let mut opening = (Meter::Free, KeySignature::none());
    let first = part.and_then(|part| part.measures.first());
    for (place, sign) in first.into_iter().flat_map(|measure| &measure.signs) {
        match sign {
            Sign::Meter(meter) if place.is_zero() => opening.0 = meter.clone(),
            Sign::Key(key) if place.is_zero() => opening.1 = key.clone(),
            Sign::Meter(_) | Sign::Key(_) => {}
        }
    }
    opening
}

fn meter_text(meter: &Meter) -> String {
    match meter {
        Meter::Beats { groups, unit } if groups.len() > 1 => {
            let groups: Vec<_> = groups.iter().map(u8::to_string).collect();
            format!("({})/{unit}", groups.join("+"))
        }
        Meter::Beats { .. } | Meter::Free => meter.name(),
    }
}

fn key_text(key: &KeySignature) -> String {
    let mut text = match key.mode() {
        // `K:none` is the one way to write no sharps and no claim about a mode.
        None if key.fifths() == 0 => "none".to_owned(),
        None | Some(Mode::Major) => key.tonic(),
        Some(mode) => format!("{} {}", key.tonic(), mode.name()),
    };
    for (step, alter) in key.exceptions() {
        let letter = step.letter().to_ascii_lowercase();
        let _ = write!(text, " {}{letter}", accidental(alter));
    }
    text
}

const fn accidental(alter: i32) -> &'static str {
    match alter {
        -2 => "__",
        -1 => "_",
        1 => "^",
        2 => "^^",
        _ => "=",
    }
}

/// Writes one part and keeps what a reader would believe about keys and accidentals.
struct PartWriter<'a> {
    out: &'a mut String,
    key: KeySignature,
    meter: Meter,
    /// What each letter's last accidental of this bar was.
    altered: Vec<(Step, i32)>,
    /// The layer being written, and by layer the pitches its last event tied.
    layer: usize,
    carried: Vec<Vec<Pitch>>,
}

impl PartWriter<'_> {
    fn part(&mut self, part: &Part) {
        if part
            .measures
            .first()
            .is_some_and(|first| first.opens_repeat)
        {
            self.out.push_str("|: ");
        }
        for (index, measure) in part.measures.iter().enumerate() {
            self.measure(measure);
            let last = index + 1 == part.measures.len();
            let next_opens = part
                .measures
                .get(index + 1)
                .is_some_and(|next| next.opens_repeat);
            self.out.push_str(bar_line(measure, next_opens));
            let end_of_line = last || (index + 1) % MEASURES_PER_LINE == 0;
            self.out.push(if end_of_line { '\n' } else { ' ' });
        }
    }

    fn measure(&mut self, measure: &Measure) {
        if let Some(ending) = &measure.ending {
            let _ = write!(self.out, "[{ending} ");
        }
        for (index, layer) in measure.layers.iter().enumerate() {
            if index > 0 {
                self.out.push_str(" & ");
            }
            self.altered.clear();
            self.layer = index;
            if self.carried.len() <= index {
                self.carried.push(Vec::new());
            }
            let signs: &[_] = if index == 0 { &measure.signs } else { &[] };
            self.layer(layer, signs, measure.length);
        }
    }

    fn layer(&mut self, layer: &[Event], signs: &[(Beat, Sign)], end: Beat) {
        let mut now = Beat::ZERO;
        let mut signs = signs.iter().peekable();
        let mut left = 0;
        let mut index = 0;
        while let Some(event) = layer.get(index) {
            self.gap(now, event.onset);
            while let Some((_, sign)) = signs.next_if(|(place, _)| *place <= event.onset) {
                self.sign(sign);
            }
            if event.grace {
                let run = layer[index..]
                    .iter()
                    .take_while(|event| event.grace)
                    .count();
                self.graces(&layer[index..index + run]);
                index += run;
                continue;
            }
            if left == 0 {
                if let Some(tuplet) = event.tuplet {
                    left = run_of(&layer[index..], tuplet);
                    let _ = write!(self.out, "({}:{}:{left}", tuplet.actual, tuplet.normal);
                }
            }
            left = left.saturating_sub(1);
            self.event(event);
            now = event.onset.plus(event.length).unwrap_or(event.onset);
            index += 1;
        }
        for (_, sign) in signs {
            self.sign(sign);
        }
        self.gap(now, end);
    }

    /// Fills silence nobody wrote with an invisible rest.
    fn gap(&mut self, from: Beat, to: Beat) {
        if let Some(gap) = to.minus(from).filter(|gap| *gap > Beat::ZERO) {
            self.out.push('x');
            self.length(gap);
            self.out.push(' ');
        }
    }

    fn sign(&mut self, sign: &Sign) {
        match sign {
            Sign::Key(key) if *key != self.key => {
                let _ = write!(self.out, "[K:{}]", key_text(key));
                self.key = key.clone();
            }
            Sign::Meter(meter) if *meter != self.meter => {
                let _ = write!(self.out, "[M:{}]", meter_text(meter));
                self.meter = meter.clone();
            }
            Sign::Key(_) | Sign::Meter(_) => {}
        }
    }

    fn graces(&mut self, events: &[Event]) {
        self.out.push('{');
        for event in events {
            self.notes(&event.notes);
        }
        self.out.push('}');
    }

    fn event(&mut self, event: &Event) {
        let written = match event.tuplet {
            Some(tuplet) => event
                .length
                .scaled(i64::from(tuplet.actual), i64::from(tuplet.normal)),
            None => Some(event.length),
        };
        if event.notes.is_empty() {
            self.out.push('z');
        } else {
            self.notes(&event.notes);
        }
        self.length(written.unwrap_or(event.length));
        if all_tied(&event.notes) {
            self.out.push('-');
        }
        self.out.push(' ');
        let tied = event.notes.iter().filter(|note| note.tied);
        let tied = tied.map(|note| note.pitch).collect();
        if let Some(carried) = self.carried.get_mut(self.layer) {
            *carried = tied;
        }
    }

    fn notes(&mut self, notes: &[Note]) {
        if let [only] = notes {
            return self.pitch(only.pitch);
        }
        self.out.push('[');
        let one_by_one = !all_tied(notes);
        for note in notes {
            self.pitch(note.pitch);
            if note.tied && one_by_one {
                self.out.push('-');
            }
        }
        self.out.push(']');
    }

    fn pitch(&mut self, pitch: Pitch) {
        let step = pitch.step();
        let in_bar = self.altered.iter().find(|(letter, _)| *letter == step);
        let believed = in_bar.map_or_else(|| self.key.alter(step), |(_, alter)| *alter);
        // A reader may or may not carry a tied note's accidental over the bar line: say it.
        let carried = self.carried.get(self.layer).into_iter().flatten();
        let misled = carried
            .filter(|tied| tied.staff_place() == pitch.staff_place())
            .any(|tied| tied.alter() != pitch.alter());
        if misled || believed != pitch.alter() {
            self.out.push_str(accidental(pitch.alter()));
            self.altered.retain(|(letter, _)| *letter != step);
            self.altered.push((step, pitch.alter()));
        }
        let letter = step.letter();
        if pitch.octave() >= 5 {
            self.out.push(letter.to_ascii_lowercase());
            (5..pitch.octave()).for_each(|_| self.out.push('\''));
        } else {
            self.out.push(letter);
            (pitch.octave()..4).for_each(|_| self.out.push(','));
        }
    }

    /// A length after a note, as a multiple of the unit.
    fn length(&mut self, length: Beat) {
        let above = length.numerator() * UNIT_PER_QUARTER;
        let below = length.denominator();
        let (above, below) = match Beat::new(above, below) {
            Some(reduced) => (reduced.numerator(), reduced.denominator()),
            None => (above, below),
        };
        if above != 1 {
            let _ = write!(self.out, "{above}");
        }
        if below != 1 {
            let _ = write!(self.out, "/{below}");
        }
    }
}

/// Whether one tie after the whole chord says it all.
fn all_tied(notes: &[Note]) -> bool {
    !notes.is_empty() && notes.iter().all(|note| note.tied)
}

/// How many events from the first one make one tuplet: until they fill a whole number of the first
/// one's kind, else as many as share the ratio.
fn run_of(layer: &[Event], tuplet: Tuplet) -> usize {
    let mut filled = Beat::ZERO;
    let mut count = 0;
    let Some(first) = layer.first() else { return 1 };
    let goal = first.length.scaled(i64::from(tuplet.actual), 1);
    for event in layer.iter().take(99) {
        if event.tuplet != Some(tuplet) || event.grace {
            break;
        }
        count += 1;
        filled = filled.plus(event.length).unwrap_or(filled);
        if Some(filled) == goal {
            break;
        }
    }
    count.max(1)
}

fn bar_line(measure: &Measure, next_opens: bool) -> &'static str {
    match (measure.closes_repeat, next_opens, measure.style) {
        (true, true, _) => "::",
        (true, false, _) => ":|",
        (false, true, _) => "|:",
        (false, false, BarStyle::Final) => "|]",
        (false, false, BarStyle::Double) => "||",
        (false, false, BarStyle::Regular) => "|",
    }
}
