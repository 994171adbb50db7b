//! ABC 2.1, read and written.
//!
//! Owns the text format: header and body fields, music code, voices. Sound rules follow the standard
//! (<http://abcnotation.com/wiki/abc:standard:v2.1>): accidentals last to the bar line in every octave
//! unless the source says otherwise. Lyrics, chord symbols, decorations and page layout do not change
//! the notes and are skipped; macros would change them and are refused.

mod bar;
mod cursor;
mod field;
mod music;
mod reader;
mod voice;
mod writer;

pub use reader::read;
pub use writer::write;
