//! What can be said about a score: its key and its chords.
//!
//! Pure functions of the notes, without history: the same score always gets the same answer.

mod chord;
mod key;
mod slices;

pub use chord::{Chord, Quality};
pub use key::{KeyGuess, guess_keys};
pub use slices::{Slice, slices};
