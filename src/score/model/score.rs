//! A whole score, and the questions every reader of one asks.

use std::collections::HashSet;

use super::{Beat, Interval, Measure, Meter, Pitch, Sign};

/// One part: a staff, a voice, a player.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Part {
    /// Its name; may be empty.
    pub name: String,
    /// Its measures in order.
    pub measures: Vec<Measure>,
}

/// A piece of music as written: repeats are not unfolded.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Score {
    /// Its title, if it has one.
    pub title: Option<String>,
    /// Its composer, if named.
    pub composer: Option<String>,
    /// Its parts, top down.
    pub parts: Vec<Part>,
}

/// One note head in the time of the whole score. Grace notes are not among them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sounding {
    /// Start, from the start of the score.
    pub onset: Beat,
    /// End, from the start of the score.
    pub end: Beat,
    /// What sounds.
    pub pitch: Pitch,
}

/// The counts of a score.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Parts.
    pub parts: usize,
    /// Measures of the longest part.
    pub measures: usize,
    /// Note heads as written: tied ones each, chords by their notes, grace notes left out.
    pub notes: usize,
    /// How long it lasts, repeats not unfolded.
    pub duration: Beat,
}

impl Score {
    /// Where each measure starts, and at the end the length of the score. Parts share bar lines: a
    /// measure is as long as its longest part makes it. `None` beyond what [`Beat`] can hold.
    #[must_use]
    pub fn starts(&self) -> Option<Vec<Beat>> {
        let count = self.measure_count();
        let mut starts = Vec::with_capacity(count + 1);
        let mut now = Beat::ZERO;
        starts.push(now);
        for index in 0..count {
            let longest = self
                .parts
                .iter()
                .filter_map(|part| part.measures.get(index))
                .map(|measure| measure.length)
                .max();
            now = now.plus(longest.unwrap_or(Beat::ZERO))?;
            starts.push(now);
        }
        Some(starts)
    }

    /// Measures of the longest part.
    #[must_use]
    pub fn measure_count(&self) -> usize {
        let counts = self.parts.iter().map(|part| part.measures.len());
        counts.max().unwrap_or(0)
    }

    /// Note heads as written, grace notes left out.
    #[must_use]
    pub fn note_count(&self) -> usize {
        self.measures()
            .flat_map(Measure::events)
            .filter(|event| !event.grace)
            .map(|event| event.notes.len())
            .sum()
    }

    /// Every note head with its time, part by part. A time beyond what [`Beat`] can hold is left out;
    /// readers refuse such scores.
    #[must_use]
    pub fn soundings(&self) -> Vec<Sounding> {
        let starts = self.starts().unwrap_or_default();
        let mut all = Vec::with_capacity(self.note_count());
        for part in &self.parts {
            for (measure, start) in part.measures.iter().zip(&starts) {
                for event in measure.events().filter(|event| !event.grace) {
                    let Some(onset) = start.plus(event.onset) else {
                        continue;
                    };
                    let Some(end) = onset.plus(event.length) else {
                        continue;
                    };
                    all.extend(event.notes.iter().map(|note| Sounding {
                        onset,
                        end,
                        pitch: note.pitch,
                    }));
                }
            }
        }
        all
    }

    /// Its counts.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let starts = self.starts().unwrap_or_default();
        Summary {
            parts: self.parts.len(),
            measures: self.measure_count(),
            notes: self.note_count(),
            duration: starts.last().copied().unwrap_or(Beat::ZERO),
        }
    }

    /// Key and meter changes in the order a reader of the score meets them.
    pub fn signs(&self) -> impl Iterator<Item = &Sign> {
        self.measures()
            .flat_map(|measure| &measure.signs)
            .map(|(_, sign)| sign)
    }

    /// Sharps of the first key signature, 0 without one.
    #[must_use]
    pub fn opening_fifths(&self) -> i32 {
        self.signs()
            .find_map(|sign| match sign {
                Sign::Key(key) => Some(key.fifths()),
                Sign::Meter(_) => None,
            })
            .unwrap_or(0)
    }

    /// Whether the first measure is a pick-up: shorter than its meter, with more to come.
    #[must_use]
    pub fn has_pickup(&self) -> bool {
        let Some(first) = self.parts.first().and_then(|part| part.measures.first()) else {
            return false;
        };
        let full = first.signs.iter().find_map(|(_, sign)| match sign {
            Sign::Meter(meter) => Meter::length(meter),
            Sign::Key(_) => None,
        });
        self.measure_count() > 1 && full.is_some_and(|full| first.length < full)
    }

    /// Drops ties that lead nowhere, so that `tied` always means what it says.
    pub fn settle_ties(&mut self) {
        let Some(starts) = self.starts() else { return };
        for part in &mut self.parts {
            let mut begun = HashSet::new();
            for (measure, start) in part.measures.iter().zip(&starts) {
                for event in measure.events().filter(|event| !event.grace) {
                    let onset = start.plus(event.onset);
                    begun.extend(event.notes.iter().map(|note| (onset, note.pitch)));
                }
            }
            for (measure, start) in part.measures.iter_mut().zip(&starts) {
                for event in measure.layers.iter_mut().flatten() {
                    let end = start
                        .plus(event.onset)
                        .and_then(|onset| onset.plus(event.length));
                    for note in &mut event.notes {
                        note.tied &= !event.grace && begun.contains(&(end, note.pitch));
                    }
                }
            }
        }
    }

    /// The score moved by `interval`, keys included. With `respell` a pitch or key that cannot be
    /// written takes its nearest simple spelling; without, it is an error that names it.
    ///
    /// # Errors
    /// The first pitch or key that cannot be written after the move.
    pub fn transposed(&self, interval: Interval, respell: bool) -> Result<Self, String> {
        let mut moved = self.clone();
        for measure in moved.parts.iter_mut().flat_map(|part| &mut part.measures) {
            for (_, sign) in &mut measure.signs {
                let Sign::Key(key) = sign else { continue };
                let there = key.transposed(interval).or_else(|| {
                    let simple = Interval::of_semitones(interval.semitones(), key.fifths());
                    simple
                        .filter(|_| respell)
                        .and_then(|simple| key.transposed(simple))
                });
                *key = there.ok_or_else(|| {
                    format!(
                        "the key {} would need more than seven sharps or flats",
                        key.name()
                    )
                })?;
            }
            let events = measure.layers.iter_mut().flatten();
            for note in events.flat_map(|event| &mut event.notes) {
                let there = if respell {
                    interval.from_respelled(note.pitch)
                } else {
                    interval.from(note.pitch)
                };
                note.pitch = there.ok_or_else(|| {
                    format!("the note {} would leave what can be written", note.pitch)
                })?;
            }
        }
        Ok(moved)
    }

    fn measures(&self) -> impl Iterator<Item = &Measure> {
        self.parts.iter().flat_map(|part| &part.measures)
    }
}
