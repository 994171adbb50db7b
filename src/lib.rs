//! mainstay keeps MCP servers up.
//!
//! A tour, in the order a call travels:
//!
//! * [`front`] accepts HTTP, speaks both protocol eras and turns every verdict into an answer;
//! * [`broker`] decides each call: which worker of a server gets it, or why nobody does;
//! * [`worker`] owns one worker process: launch, framing, supervision, stop;
//! * [`mcp`] is the protocol as pure functions over bytes, [`policy`] the pure decisions;
//! * [`sys`] is Linux, [`config`] the configuration, [`observe`] events and metrics;
//! * [`admin`] is the Unix-socket API behind `mainstayctl`;
//! * [`score`] is the built-in default server, a worker like any other;
//! * [`heartbeat`] tells the service manager that every vital part moves;
//! * [`manual`] writes what a command line says of itself;
//! * [`daemon`] wires the parts and awaits them; [`doors`] opens its sockets, [`announcer`] tells the
//!   service manager how it does.

pub mod admin;
pub mod announcer;
pub mod broker;
pub mod config;
pub mod daemon;
pub mod doors;
pub mod exit;
pub mod fault;
pub mod front;
pub mod heartbeat;
pub mod manual;
pub mod mcp;
pub mod observe;
pub mod overview;
pub mod policy;
pub mod post_stop;
pub mod record;
pub mod reload;
pub mod score;
pub mod sys;
pub mod worker;
