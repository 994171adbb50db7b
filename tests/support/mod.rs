//! The real daemon and plain clients for tests that talk to it over the wire.
#![allow(
    dead_code,
    reason = "every test file is a crate of its own and uses another part of this"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

pub(crate) mod daemon;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod journald;
pub(crate) mod ledger;
pub(crate) mod mcp;
pub(crate) mod reload;
pub(crate) mod script;
pub(crate) mod service_manager;
pub(crate) mod toxic;
