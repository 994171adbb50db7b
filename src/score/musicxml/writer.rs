//! A score as MusicXML 4.0, score-partwise.

use std::collections::HashSet;
use std::fmt::Write;

use crate::score::model::{
    BarStyle, Beat, Event, KeySignature, Measure, Meter, Part, Pitch, Score, Sign, Step,
};

/// The most divisions of a quarter written; a score that needs more is refused.
const MAX_DIVISIONS: i64 = 1_000_000;

/// Note types from the longest, with their lengths as a fraction of a quarter: numerator, denominator.
const TYPES: [(&str, i64, i64); 12] = [
    ("long", 16, 1),
    ("breve", 8, 1),
    ("whole", 4, 1),
    ("half", 2, 1),
    ("quarter", 1, 1),
    ("eighth", 1, 2),
    ("16th", 1, 4),
    ("32nd", 1, 8),
    ("64th", 1, 16),
    ("128th", 1, 32),
    ("256th", 1, 64),
    ("512th", 1, 128),
];

/// Writes `score`. Reading it back gives the same notes.
///
/// # Errors
/// A sentence, where the rhythms of the score have no common division fine enough.
pub fn write(score: &Score) -> Result<String, String> {
    let divisions =
        divisions(score).ok_or("the score mixes rhythms too fine for MusicXML's divisions")?;
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<score-partwise version=\"4.0\">\n",
    );
    if let Some(title) = &score.title {
        let _ = writeln!(
            out,
            "<work><work-title>{}</work-title></work>",
            escaped(title)
        );
    }
    if let Some(composer) = &score.composer {
        let composer = escaped(composer);
        let _ = writeln!(
            out,
            "<identification><creator type=\"composer\">{composer}</creator></identification>"
        );
    }
    out.push_str("<part-list>\n");
    for (index, part) in score.parts.iter().enumerate() {
        let (id, name) = (index + 1, escaped(&part.name));
        let _ = writeln!(
            out,
            "<score-part id=\"P{id}\"><part-name>{name}</part-name></score-part>"
        );
    }
    out.push_str("</part-list>\n");
    let starts = score.starts().unwrap_or_default();
    let first = if score.has_pickup() { 0 } else { 1 };
    for (index, part) in score.parts.iter().enumerate() {
        let _ = writeln!(out, "<part id=\"P{}\">", index + 1);
        let mut writer = PartWriter {
            out: &mut out,
            divisions,
            ties: HashSet::new(),
            in_ending: None,
        };
        for (number, measure) in part.measures.iter().enumerate() {
            let start = starts.get(number).copied().unwrap_or(Beat::ZERO);
            let clef = (number == 0).then(|| clef(part));
            let next = part.measures.get(number + 1);
            let implicit = number == 0 && first == 0;
            let implicit = if implicit { " implicit=\"yes\"" } else { "" };
            let _ = writeln!(
                writer.out,
                "<measure number=\"{}\"{implicit}>",
                number + first
            );
            writer.measure(measure, start, clef, next);
            writer.out.push_str("</measure>\n");
        }
        out.push_str("</part>\n");
    }
    out.push_str("</score-partwise>\n");
    Ok(out)
}

/// The common division of all rhythms.
fn divisions(score: &Score) -> Option<i64> {
    let measures = score.parts.iter().flat_map(|part| &part.measures);
    let mut common = 1_i64;
    for measure in measures {
        let signs = measure.signs.iter().map(|(place, _)| *place);
        let events = measure
            .events()
            .flat_map(|event| [event.onset, event.length]);
        for beat in signs.chain(events).chain([measure.length]) {
            let part = beat.denominator();
            if common % part != 0 {
                common = common.checked_mul(part / gcd(common, part))?;
            }
            if common > MAX_DIVISIONS {
                return None;
            }
        }
    }
    Some(common)
}

fn gcd(left: i64, right: i64) -> i64 {
    if right == 0 {
        left
    } else {
        gcd(right, left % right)
    }
}

/// A bass clef for parts that lie below middle C on average.
fn clef(part: &Part) -> &'static str {
    let notes = part
        .measures
        .iter()
        .flat_map(Measure::events)
        .flat_map(|event| &event.notes);
    let (sum, count) = notes.fold((0_i64, 0_i64), |(sum, count), note| {
        (sum + i64::from(note.pitch.midi()), count + 1)
    });
    if sum < 60 * count {
        "<clef><sign>F</sign><line>4</line></clef>"
    } else {
        "<clef><sign>G</sign><line>2</line></clef>"
    }
}

struct PartWriter<'a> {
    out: &'a mut String,
    divisions: i64,
    /// Ends of tied notes that a note still has to meet.
    ties: HashSet<(Beat, Pitch)>,
    /// The numbers of the ending that is open.
    in_ending: Option<String>,
}

impl PartWriter<'_> {
    fn measure(
        &mut self,
        measure: &Measure,
        start: Beat,
        clef: Option<&str>,
        next: Option<&Measure>,
    ) {
        self.left_bar(measure);
        if let Some(clef) = clef {
            let here = measure.signs.iter().filter(|(place, _)| place.is_zero());
            let signs: Vec<_> = here.map(|(_, sign)| sign).collect();
            let _ = write!(
                self.out,
                "<attributes><divisions>{}</divisions>",
                self.divisions
            );
            self.signs(&signs);
            let _ = writeln!(self.out, "{clef}</attributes>");
        }
        for (index, layer) in measure.layers.iter().enumerate() {
            if index > 0 {
                let _ = writeln!(
                    self.out,
                    "<backup>{}</backup>",
                    self.duration(measure.length)
                );
            }
            let signs: Vec<_> = measure
                .signs
                .iter()
                .filter(|(place, _)| index == 0 && (clef.is_none() || !place.is_zero()))
                .collect();
            self.layer(layer, &signs, measure.length, start, index + 1);
        }
        self.right_bar(measure, next);
    }

    fn left_bar(&mut self, measure: &Measure) {
        if !measure.opens_repeat && measure.ending.is_none() {
            return;
        }
        self.out.push_str("<barline location=\"left\">");
        if measure.opens_repeat {
            self.out.push_str("<bar-style>heavy-light</bar-style>");
        }
        if let Some(ending) = &measure.ending {
            let _ = write!(
                self.out,
                "<ending number=\"{}\" type=\"start\"/>",
                escaped(ending)
            );
            self.in_ending = Some(ending.clone());
        }
        if measure.opens_repeat {
            self.out.push_str("<repeat direction=\"forward\"/>");
        }
        self.out.push_str("</barline>\n");
    }

    fn right_bar(&mut self, measure: &Measure, next: Option<&Measure>) {
        let section_ends = measure.closes_repeat
            || measure.style != BarStyle::Regular
            || next.is_none_or(|next| next.ending.is_some() || next.opens_repeat);
        let ending = self.in_ending.take_if(|_| section_ends);
        let style = match measure.style {
            _ if measure.closes_repeat => Some("light-heavy"),
            BarStyle::Final => Some("light-heavy"),
            BarStyle::Double => Some("light-light"),
            BarStyle::Regular => None,
        };
        if style.is_none() && ending.is_none() {
            return;
        }
        self.out.push_str("<barline location=\"right\">");
        if let Some(style) = style {
            let _ = write!(self.out, "<bar-style>{style}</bar-style>");
        }
        if let Some(ending) = ending {
            let _ = write!(
                self.out,
                "<ending number=\"{}\" type=\"stop\"/>",
                escaped(&ending)
            );
        }
        if measure.closes_repeat {
            self.out.push_str("<repeat direction=\"backward\"/>");
        }
        self.out.push_str("</barline>\n");
    }

    fn layer(
        &mut self,
        layer: &[Event],
        signs: &[&(Beat, Sign)],
        end: Beat,
        start: Beat,
        voice: usize,
    ) {
        let mut now = Beat::ZERO;
        let mut signs = signs.iter().peekable();
        for event in layer {
            self.gap(now, event.onset, voice);
            while let Some((_, sign)) = signs.next_if(|(place, _)| *place <= event.onset) {
                self.out.push_str("<attributes>");
                self.signs(&[sign]);
                self.out.push_str("</attributes>\n");
            }
            self.event(event, start.plus(event.onset).unwrap_or(start), voice);
            now = event.onset.plus(event.length).unwrap_or(event.onset);
        }
        for (_, sign) in signs {
            self.out.push_str("<attributes>");
            self.signs(&[sign]);
            self.out.push_str("</attributes>\n");
        }
        self.gap(now, end, voice);
    }

    /// Keys before meters, as the schema has them.
    fn signs(&mut self, signs: &[&Sign]) {
        for sign in signs {
            if let Sign::Key(key) = sign {
                self.key(key);
            }
        }
        for sign in signs {
            if let Sign::Meter(meter) = sign {
                self.meter(meter);
            }
        }
    }

    fn key(&mut self, key: &KeySignature) {
        self.out.push_str("<key>");
        if key.exceptions().next().is_some() {
            for step in Step::ALL.into_iter().filter(|step| key.alter(*step) != 0) {
                let (letter, alter) = (step.letter(), key.alter(step));
                let _ = write!(
                    self.out,
                    "<key-step>{letter}</key-step><key-alter>{alter}</key-alter>"
                );
            }
        } else {
            let _ = write!(self.out, "<fifths>{}</fifths>", key.fifths());
            if let Some(mode) = key.mode() {
                let _ = write!(self.out, "<mode>{}</mode>", mode.name());
            }
        }
        self.out.push_str("</key>");
    }

    fn meter(&mut self, meter: &Meter) {
        match meter {
            Meter::Free => self.out.push_str("<time><senza-misura/></time>"),
            Meter::Beats { groups, unit } => {
                let groups: Vec<_> = groups.iter().map(u8::to_string).collect();
                let beats = groups.join("+");
                let _ = write!(
                    self.out,
                    "<time><beats>{beats}</beats><beat-type>{unit}</beat-type></time>"
                );
            }
        }
    }

    /// Fills silence nobody wrote with a rest that is not shown.
    fn gap(&mut self, from: Beat, to: Beat, voice: usize) {
        if let Some(gap) = to.minus(from).filter(|gap| *gap > Beat::ZERO) {
            let duration = self.duration(gap);
            let _ = writeln!(
                self.out,
                "<note print-object=\"no\"><rest/>{duration}<voice>{voice}</voice></note>"
            );
        }
    }

    fn event(&mut self, event: &Event, onset: Beat, voice: usize) {
        if event.notes.is_empty() {
            self.out.push_str("<note><rest/>");
            self.tail(event, voice, "", "");
        }
        for (index, note) in event.notes.iter().enumerate() {
            self.out.push_str("<note>");
            if event.grace {
                self.out.push_str("<grace/>");
            }
            if index > 0 {
                self.out.push_str("<chord/>");
            }
            let pitch = note.pitch;
            let _ = write!(self.out, "<pitch><step>{}</step>", pitch.step().letter());
            if pitch.alter() != 0 {
                let _ = write!(self.out, "<alter>{}</alter>", pitch.alter());
            }
            let _ = write!(self.out, "<octave>{}</octave></pitch>", pitch.octave());
            let stops = !event.grace && self.ties.remove(&(onset, pitch));
            let mut ties = (String::new(), String::new());
            for (kind, on) in [("stop", stops), ("start", note.tied)] {
                if on {
                    let _ = write!(ties.0, "<tie type=\"{kind}\"/>");
                    let _ = write!(ties.1, "<tied type=\"{kind}\"/>");
                }
            }
            if note.tied {
                if let Some(end) = onset.plus(event.length) {
                    self.ties.insert((end, pitch));
                }
            }
            self.tail(event, voice, &ties.0, &ties.1);
        }
    }

    /// What follows the pitch of a note: duration, ties, voice, type, tuplet, notations.
    fn tail(&mut self, event: &Event, voice: usize, ties: &str, tied: &str) {
        if !event.grace {
            let duration = self.duration(event.length);
            self.out.push_str(&duration);
        }
        let _ = write!(self.out, "{ties}<voice>{voice}</voice>");
        if event.grace {
            self.out.push_str("<type>eighth</type>");
        } else if let Some((name, dots)) = note_type(event) {
            let _ = write!(self.out, "<type>{name}</type>{}", "<dot/>".repeat(dots));
        }
        if let Some(tuplet) = event.tuplet {
            let _ = write!(
                self.out,
                "<time-modification><actual-notes>{}</actual-notes><normal-notes>{}</normal-notes></time-modification>",
                tuplet.actual, tuplet.normal
            );
        }
        if !tied.is_empty() {
            let _ = write!(self.out, "<notations>{tied}</notations>");
        }
        self.out.push_str("</note>\n");
    }

    fn duration(&self, length: Beat) -> String {
        let ticks = length.numerator() * (self.divisions / length.denominator());
        format!("<duration>{ticks}</duration>")
    }
}

/// The written type and dots of an event; `None` for a length no single note has.
fn note_type(event: &Event) -> Option<(&'static str, usize)> {
    let written = match event.tuplet {
        Some(tuplet) => event
            .length
            .scaled(i64::from(tuplet.actual), i64::from(tuplet.normal))?,
        None => event.length,
    };
    for (name, above, below) in TYPES {
        for dots in 0..=3_u32 {
            // n dots add 1/2 + 1/4 + ... : the note lasts (2^(n+1) - 1) / 2^n of itself.
            let part = 1_i64 << dots;
            if Beat::new(above * (2 * part - 1), below * part) == Some(written) {
                return Some((name, usize::try_from(dots).unwrap_or(0)));
            }
        }
    }
    None
}

/// Text as XML 1.0 can carry it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => {}
            _ if letter.is_control() => {}
            _ => out.push(letter),
        }
    }
    out
}
