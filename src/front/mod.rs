//! The HTTP side: one listener, one endpoint per server for both protocol eras, and the views.
//!
//! [`listener`] accepts connections, [`router`] knows the paths, [`origin`] who may call from a
//! browser, [`auth`] who calls, [`limit`] how often they may, [`pace`] how slow a client may be.
//! [`legacy`] and [`modern`] are the two eras' rules, [`exchange`] what a request brought, [`answer`]
//! how everything looks in HTTP (the only file that knows status codes), [`body`] the
//! bytes of a response, event streams included. Which worker gets a call is the broker's affair.

pub mod answer;
pub mod auth;
pub mod body;
pub mod context;
pub mod exchange;
pub mod health;
pub mod legacy;
pub mod legacy_get;
pub mod limit;
pub mod listener;
pub mod metrics;
pub mod modern;
pub mod origin;
pub mod pace;
pub mod router;
