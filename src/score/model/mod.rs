//! What a score is, exactly: rational time and spelled pitches.
//!
//! Owns the notation model both readers fill and both writers and every analysis read. Knows no
//! file format, no protocol and no limits but those of its own number types.

mod beat;
mod interval;
mod measure;
mod pitch;
mod score;
mod signature;

pub use beat::Beat;
pub use interval::Interval;
pub use measure::{BarStyle, Event, Measure, Note, Sign, Tuplet};
pub use pitch::{Pitch, Step};
pub(crate) use pitch::{from_fifths, spelled};
pub use score::{Part, Score, Sounding, Summary};
pub use signature::{KeySignature, Meter, Mode};
