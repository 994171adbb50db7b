//! One measure of one part: events in layers, signs, and the bar line that ends it.

use super::{Beat, KeySignature, Meter, Pitch};

/// One written note head.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Note {
    /// What it sounds, in written pitch.
    pub pitch: Pitch,
    /// Whether it is tied to a note of the same pitch that starts where it ends.
    pub tied: bool,
}

/// `actual` notes in the time of `normal`: a triplet is 3 in 2.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tuplet {
    /// Notes written.
    pub actual: u16,
    /// Notes of the same kind that would fill the time.
    pub normal: u16,
}

/// A note, a chord, a rest or a grace note.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// Where it starts, from the start of its measure.
    pub onset: Beat,
    /// How long it sounds, tuplets reckoned in; zero for a grace note.
    pub length: Beat,
    /// Its note heads; none for a rest.
    pub notes: Vec<Note>,
    /// Whether it takes no time of its own.
    pub grace: bool,
    /// The tuplet it is written in.
    pub tuplet: Option<Tuplet>,
}

/// A change of key or meter inside a part.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Sign {
    /// A key signature from here on.
    Key(KeySignature),
    /// A meter from here on.
    Meter(Meter),
}

/// How a measure's last bar line is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum BarStyle {
    /// One thin line.
    #[default]
    Regular,
    /// Two thin lines.
    Double,
    /// A thin and a thick line.
    Final,
}

/// One measure. Each layer holds events in time order that do not overlap; gaps are silence.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Measure {
    /// How long it really is, whatever the meter says.
    pub length: Beat,
    /// Simultaneous strands of music; the first always exists.
    pub layers: Vec<Vec<Event>>,
    /// Key and meter changes with their places from the start of the measure, in time order.
    pub signs: Vec<(Beat, Sign)>,
    /// Whether a repeated section begins here.
    pub opens_repeat: bool,
    /// Whether a repeated section ends here.
    pub closes_repeat: bool,
    /// The numbers of the ending that begins here, e.g. `1` or `1,2`.
    pub ending: Option<String>,
    /// Its closing bar line.
    pub style: BarStyle,
}

impl Measure {
    /// A measure with nothing in it yet.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            length: Beat::ZERO,
            layers: vec![Vec::new()],
            signs: Vec::new(),
            opens_repeat: false,
            closes_repeat: false,
            ending: None,
            style: BarStyle::Regular,
        }
    }

    /// Every event, layer by layer.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.layers.iter().flatten()
    }
}
