//! One worker: launch, framing, supervision, stop. A process, or an upstream over HTTP.
pub mod actor;
pub mod command;
pub mod intake;
pub mod launch;
pub mod life;
pub mod loss;
pub mod process;
pub mod sandbox;
pub mod scratch;
pub mod stderr;
pub mod stdin;
pub mod upstream;
