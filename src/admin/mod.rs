//! The Unix-socket API behind `mainstayctl`: what is said ([`protocol`]), who answers
//! ([`server`]), who asks ([`client`]) and where they meet ([`path`]). It shows what the broker's
//! snapshot holds and decides nothing.

pub mod client;
pub mod path;
pub mod protocol;
pub mod server;
