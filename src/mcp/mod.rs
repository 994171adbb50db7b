//! The Model Context Protocol as pure functions over bytes: framing, the JSON-RPC envelope, the
//! few fields a proxy may rewrite, eras, headers, error codes, server-sent events.
//!
//! Bodies pass through untouched: the envelope is parsed over `RawValue`, and what must change
//! (ids, progress tokens) is spliced into the original bytes. Nothing here does I/O, keeps a clock
//! or knows that workers are processes.

pub mod code;
pub mod envelope;
pub mod era;
pub mod event_reader;
pub mod frame;
pub mod header;
pub mod message;
pub mod params;
pub mod splice;
pub mod sse;
pub mod tool_headers;
