//! The built-in server: a small real music-notation MCP server over stdio.
//!
//! A tour, in the order a call travels:
//!
//! * [`run`] reads frames from one stream and writes answers to another;
//! * [`Server`] takes one frame and gives at most one back: JSON-RPC, both protocol eras, tools;
//! * `library` keeps the scores, in memory only, never more than it was told to;
//! * [`abc`] and [`musicxml`] read and write them, [`model`] is what they are, [`analysis`] what can
//!   be said about them, [`tunes`] the ones that come with the server.
//!
//! It is a worker like any other: it knows nothing of the daemon, keeps nothing on disk, opens no
//! file and no socket, and ends when its input ends. Its scores are lost with it on purpose, so that
//! the daemon has something real to restore. Nothing in it is random and no answer depends on what
//! was asked before, so the same calls give the same answers in every life.

pub mod abc;
pub mod analysis;
mod era;
mod library;
pub mod model;
pub mod musicxml;
mod rpc;
mod server;
pub mod source;
mod stdio;
mod tools;
pub mod tunes;

pub use library::Options;
pub use server::Server;
pub use stdio::run;
