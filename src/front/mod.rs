//! (being written)

pub mod health;
pub mod metrics;
