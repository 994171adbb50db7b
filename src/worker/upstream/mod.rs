//! A worker that is no process: an MCP server reached over Streamable HTTP, in both eras. One
//! worker is one session (legacy) or one context of connections (modern). Every frame becomes one
//! POST; what comes back becomes frames again. It knows the transport, not what calls mean.
//!
//! [`life`] owns the worker's task, `outbox` what waits to be sent, `outgoing` what a frame is to
//! the transport, `exchange` one POST and its answer, `verdict` what a refusal means, `standalone`
//! the GET stream, `context` what they share, `client` the connections.

mod client;
mod context;
mod credential;
mod exchange;
pub mod life;
pub mod outbox;
mod outgoing;
mod standalone;
mod tls;
mod verdict;

pub use life::{Life, start};
