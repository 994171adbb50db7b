//! A worker's stderr.
