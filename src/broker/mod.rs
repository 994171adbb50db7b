//! The broker decides each call: which worker of a server gets it, or why nobody does.
//!
//! [`server`] is one `[servers.NAME]`; [`supervise`] keeps its pool, `start` lives through one
//! worker's life, [`handshake`] opens it. A [`lane`] hands out places at workers, [`dispatch`]
//! sends calls, `route` finds the way back. [`session`] and [`stream`] are what clients of the
//! legacy era come back to. It knows nothing of HTTP.

pub mod affinity;
pub mod call;
pub mod calls;
pub mod catalog;
pub mod control;
pub mod current;
pub mod dispatch;
pub mod expiry;
pub mod flight;
pub mod guards;
pub mod handshake;
pub mod host;
mod ladder;
pub mod lane;
pub mod limits;
pub mod listen;
pub mod member;
mod memory;
pub mod open;
mod operate;
mod outage;
mod patrol;
pub mod principal;
mod rebind;
mod redispatch;
pub mod refused;
pub mod reload;
mod replace;
pub mod retune;
mod route;
mod rules;
pub mod server;
pub mod session;
pub mod sessions;
pub mod snapshot;
mod start;
pub mod stats;
pub mod status;
pub mod strain;
pub mod stream;
pub mod succession;
pub mod supervise;
mod wear;
mod wire;
