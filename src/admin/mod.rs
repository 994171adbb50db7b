//! The Unix-socket API behind `mainstayctl`: what is said ([`protocol`]), who listens
//! ([`server`]) and answers ([`operator`]), who asks ([`client`]) and where they meet ([`path`]).
//! It shows what the broker's snapshot holds, hands on what an operator wants, and decides nothing.

mod author;
pub mod client;
pub mod operator;
pub mod path;
pub mod protocol;
pub mod server;
