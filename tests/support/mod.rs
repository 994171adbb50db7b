//! The real daemon and plain clients for tests that talk to it over the wire.
#![allow(
    dead_code,
    reason = "every test file is a crate of its own and uses another part of this"
)]

pub(crate) mod daemon;
pub(crate) mod http;
pub(crate) mod mcp;
