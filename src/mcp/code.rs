//! JSON-RPC error codes: those of JSON-RPC 2.0, those of the MCP revisions, and mainstay's own.
//! Released codes are frozen; mainstay's lie outside -32768..-32000, which belongs to JSON-RPC.

/// Malformed JSON.
pub const PARSE_ERROR: i32 = -32700;
/// Not a JSON-RPC request object, or not allowed in this state.
pub const INVALID_REQUEST: i32 = -32600;
/// Unknown or, in the modern era, removed method.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// Bad parameters; in the modern era also missing `_meta` keys.
pub const INVALID_PARAMS: i32 = -32602;
/// The receiver failed.
pub const INTERNAL_ERROR: i32 = -32603;
/// The one 4xx body that makes a modern client fall back to `initialize`: any code that is not
/// of the modern set would do, this is the one SDKs were measured with.
pub const LEGACY_FALLBACK: i32 = -32000;
/// What SDKs send with the 404 for an unknown session.
pub const SESSION_NOT_FOUND: i32 = -32001;
/// MCP 2026-07-28: a mirrored header and the body disagree.
pub const HEADER_MISMATCH: i32 = -32020;
/// MCP 2026-07-28: the client lacks a capability the request needs.
pub const MISSING_CAPABILITY: i32 = -32021;
/// MCP 2026-07-28: unsupported protocol version.
pub const UNSUPPORTED_VERSION: i32 = -32022;

/// The HTTP status class a JSON-RPC error takes in the modern era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModernStatus {
    /// 200: the request was understood and its answer is an error.
    Ok,
    /// 400: the request itself is at fault.
    BadRequest,
    /// 404: no such method.
    NotFound,
}

/// Status map of MCP 2026-07-28, for the daemon's and for workers' errors alike.
#[must_use]
pub fn modern_status(code: i64) -> ModernStatus {
    match code {
        -32700 | -32600 | -32602 | -32022..=-32020 => ModernStatus::BadRequest,
        -32601 => ModernStatus::NotFound,
        _ => ModernStatus::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::{ModernStatus, modern_status};

    #[test]
    fn modern_errors_have_the_status_of_the_specification() {
        for code in [-32700, -32600, -32602, -32020, -32021, -32022] {
            assert_eq!(modern_status(code), ModernStatus::BadRequest, "{code}");
        }
        assert_eq!(modern_status(-32601), ModernStatus::NotFound);
        for code in [-32603, -32000, -31001, -32023, 7] {
            assert_eq!(modern_status(code), ModernStatus::Ok, "{code}");
        }
    }
}
