//! One voice of an ABC tune while it is being read.

use crate::score::model::{
    BarStyle, Beat, Event, KeySignature, Measure, Meter, Note, Part, Pitch, Sign, Step, Tuplet,
};
use crate::score::source::{MAX_LAYERS, MAX_MEASURES};

use super::bar::Bar;

/// How far a written accidental reaches (`%%propagate-accidentals`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Propagation {
    /// Its own note only.
    Not,
    /// Later notes of the bar in the same octave.
    Octave,
    /// Later notes of the bar in every octave: the default of ABC 2.1.
    Letter,
}

/// What a voice starts with.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) key: KeySignature,
    pub(super) meter: Meter,
    pub(super) unit: Beat,
    pub(super) octave: i32,
    pub(super) propagation: Propagation,
}

/// A tuplet that still wants notes.
#[derive(Clone, Copy, Debug)]
struct OpenTuplet {
    ratio: Tuplet,
    left: u32,
}

/// The measures read so far and everything that decides what the next note means.
#[derive(Debug)]
pub(super) struct Voice {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) setting: Setting,
    measures: Vec<Measure>,
    current: Measure,
    layer: usize,
    position: Beat,
    accidentals: Vec<(Step, i32, i32)>,
    ties: Vec<Vec<Pitch>>,
    tuplet: Option<OpenTuplet>,
    broken: Option<(i64, i64)>,
}

impl Voice {
    pub(super) fn new(id: String, name: String, setting: Setting) -> Self {
        let mut current = Measure::empty();
        current.signs = vec![
            (Beat::ZERO, Sign::Meter(setting.meter.clone())),
            (Beat::ZERO, Sign::Key(setting.key.clone())),
        ];
        Self {
            id,
            name,
            setting,
            measures: Vec::new(),
            current,
            layer: 0,
            position: Beat::ZERO,
            accidentals: Vec::new(),
            ties: vec![Vec::new()],
            tuplet: None,
            broken: None,
        }
    }

    /// Changes the key from here on.
    pub(super) fn set_key(&mut self, key: KeySignature) {
        if key != self.setting.key {
            self.setting.key = key.clone();
            self.sign(Sign::Key(key));
        }
    }

    /// Changes the meter from here on.
    pub(super) fn set_meter(&mut self, meter: Meter) {
        if meter != self.setting.meter {
            self.setting.meter = meter.clone();
            self.sign(Sign::Meter(meter));
        }
    }

    fn sign(&mut self, sign: Sign) {
        let here = self.position;
        let same_kind = |old: &Sign| std::mem::discriminant(old) == std::mem::discriminant(&sign);
        self.current
            .signs
            .retain(|(place, old)| *place != here || !same_kind(old));
        self.current.signs.push((here, sign));
    }

    /// The pitch of a written note: its own accidental, else that of a tie, the bar or the key.
    pub(super) fn pitch(
        &mut self,
        step: Step,
        written_octave: i32,
        accidental: Option<i32>,
    ) -> Result<Pitch, String> {
        let octave = written_octave + self.setting.octave;
        if let Some(alter) = accidental {
            self.accidentals
                .retain(|(old, place, _)| *old != step || *place != octave);
            self.accidentals.push((step, octave, alter));
        }
        let tied = self.ties[self.layer]
            .iter()
            .find(|pitch| pitch.step() == step && pitch.octave() == octave)
            .map(|pitch| pitch.alter());
        let in_bar = self
            .accidentals
            .iter()
            .rev()
            .find(|(old, place, _)| match self.setting.propagation {
                Propagation::Not => false,
                Propagation::Octave => *old == step && *place == octave,
                Propagation::Letter => *old == step,
            })
            .map(|(_, _, alter)| *alter);
        let alter = accidental
            .or(tied)
            .or(in_bar)
            .unwrap_or_else(|| self.setting.key.alter(step));
        Pitch::new(step, alter, octave).ok_or_else(|| {
            "the note lies outside octaves 0 to 9 or needs a triple accidental".into()
        })
    }

    /// Adds notes, or a rest when there are none, of `written` quarters before tuplets and dots.
    pub(super) fn place(&mut self, notes: Vec<Note>, written: Beat) -> Result<(), String> {
        let mut length = Some(written);
        let mut ratio = None;
        if let Some(mut open) = self.tuplet.take() {
            length = length.and_then(|length| {
                length.scaled(i64::from(open.ratio.normal), i64::from(open.ratio.actual))
            });
            ratio = Some(open.ratio);
            open.left -= 1;
            self.tuplet = (open.left > 0).then_some(open);
        }
        if let Some((above, below)) = self.broken.take() {
            length = length.and_then(|length| length.scaled(above, below));
        }
        let length = length.ok_or("the note's length is too fine")?;
        let end = self
            .position
            .plus(length)
            .ok_or("the measure is too long")?;
        self.ties[self.layer] = tied(&notes);
        self.current.layers[self.layer].push(Event {
            onset: self.position,
            length,
            notes,
            grace: false,
            tuplet: ratio,
        });
        self.position = end;
        self.current.length = self.current.length.max(end);
        Ok(())
    }

    /// Adds a grace note before the next note.
    pub(super) fn grace(&mut self, notes: Vec<Note>) {
        self.current.layers[self.layer].push(Event {
            onset: self.position,
            length: Beat::ZERO,
            notes,
            grace: true,
            tuplet: None,
        });
    }

    /// Adds `count` whole measures of rest.
    pub(super) fn rest_measures(&mut self, count: u32) -> Result<(), String> {
        let length = self.setting.meter.length();
        let length = length.ok_or("a rest of whole measures needs a meter")?;
        if !self.position.is_zero() {
            return Err("a rest of whole measures must begin a measure".into());
        }
        (self.tuplet, self.broken) = (None, None);
        for index in 0..count {
            if index > 0 {
                self.close()?;
            }
            self.place(Vec::new(), length)?;
        }
        Ok(())
    }

    /// Begins a tuplet that covers the next `count` notes.
    pub(super) fn begin_tuplet(&mut self, ratio: Tuplet, count: u32) {
        self.tuplet = (count > 0).then_some(OpenTuplet { ratio, left: count });
    }

    /// Lengthens the last note and shortens the next (`>`), or the other way round (`<`).
    pub(super) fn break_rhythm(&mut self, marks: u32, last_is_longer: bool) -> Result<(), String> {
        if marks > 3 {
            return Err("more than three broken rhythm marks stand together".into());
        }
        let part = 1 << marks;
        let long = (2 * part - 1, part);
        let short = (1, part);
        let (last, next) = if last_is_longer {
            (long, short)
        } else {
            (short, long)
        };
        let event = self.current.layers[self.layer]
            .iter_mut()
            .rfind(|event| !event.grace)
            .ok_or("a broken rhythm mark needs a note before it in the same bar")?;
        event.length = event
            .length
            .scaled(last.0, last.1)
            .ok_or("the note's length is too fine")?;
        self.position = event
            .onset
            .plus(event.length)
            .ok_or("the measure is too long")?;
        self.settle_length()?;
        self.broken = Some(next);
        Ok(())
    }

    /// Ties every note of the last chord to the next.
    pub(super) fn tie(&mut self) -> Result<(), String> {
        let here = self.current.layers[self.layer].iter_mut();
        let before = self.measures.last_mut().into_iter();
        let before = before.flat_map(|measure| measure.layers.iter_mut().take(1).flatten());
        let event = before
            .chain(here)
            .rfind(|event| !event.grace)
            .filter(|event| !event.notes.is_empty())
            .ok_or("a tie needs a note before it")?;
        for note in &mut event.notes {
            note.tied = true;
        }
        self.ties[self.layer] = tied(&event.notes);
        Ok(())
    }

    /// Goes back to the start of the bar for another strand of music.
    pub(super) fn overlay(&mut self) -> Result<(), String> {
        self.layer += 1;
        if self.layer >= MAX_LAYERS {
            return Err(format!("a bar has more than {MAX_LAYERS} overlays"));
        }
        if self.current.layers.len() <= self.layer {
            self.current.layers.push(Vec::new());
        }
        if self.ties.len() <= self.layer {
            self.ties.push(Vec::new());
        }
        self.position = Beat::ZERO;
        self.accidentals.clear();
        (self.tuplet, self.broken) = (None, None);
        Ok(())
    }

    /// Ends the measure at a bar line, if there is anything in it, and notes repeats and endings.
    pub(super) fn bar(&mut self, bar: &Bar) -> Result<(), String> {
        if bar.line {
            if !self.current.length.is_zero() {
                self.close()?;
            }
            if let Some(last) = self.measures.last_mut() {
                last.closes_repeat |= bar.closes;
                if bar.style != BarStyle::Regular {
                    last.style = bar.style;
                }
            }
            self.current.opens_repeat |= bar.opens;
        }
        if bar.ending.is_some() {
            self.current.ending.clone_from(&bar.ending);
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        if self.measures.len() >= MAX_MEASURES {
            return Err(format!("a voice has more than {MAX_MEASURES} measures"));
        }
        let mut done = std::mem::replace(&mut self.current, Measure::empty());
        done.signs.sort_by_key(|(place, _)| *place);
        self.measures.push(done);
        (self.layer, self.position) = (0, Beat::ZERO);
        self.accidentals.clear();
        Ok(())
    }

    fn settle_length(&mut self) -> Result<(), String> {
        let mut longest = Beat::ZERO;
        for event in self.current.events() {
            let end = event.onset.plus(event.length);
            longest = longest.max(end.ok_or("the measure is too long")?);
        }
        self.current.length = longest;
        Ok(())
    }

    /// The finished part.
    pub(super) fn finish(mut self) -> Result<Part, String> {
        if !self.current.length.is_zero() {
            self.close()?;
        }
        Ok(Part {
            name: self.name,
            measures: self.measures,
        })
    }
}

fn tied(notes: &[Note]) -> Vec<Pitch> {
    let tied = notes.iter().filter(|note| note.tied);
    tied.map(|note| note.pitch).collect()
}
