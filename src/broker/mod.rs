//! The broker decides each call (being written).
pub mod snapshot;
