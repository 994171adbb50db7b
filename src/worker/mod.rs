//! One worker: launch, framing, supervision, stop.
pub mod actor;
pub mod command;
pub mod launch;
pub mod loss;
pub mod process;
pub mod scratch;
pub mod stderr;
pub mod stdin;
