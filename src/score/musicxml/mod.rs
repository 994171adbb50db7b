//! MusicXML, score-partwise, read and written.
//!
//! Owns the XML format. Reads what decides which notes sound when and how they are spelled; layout,
//! lyrics, directions and sound instructions are skipped. Pitches are those written: the transposition
//! of an instrument is not applied. Refused by name: score-timewise, compressed .mxl, entities.

mod measure;
mod reader;
mod tree;
mod writer;

pub use reader::read;
pub use writer::write;
