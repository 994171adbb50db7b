//! Which revision of the protocol a request speaks.
//!
//! Every request decides for itself, so both eras may share one process. Knows no tool and no score.

use serde_json::{Map, Value, json};

use super::rpc::{Failure, INVALID_PARAMS, UNSUPPORTED_VERSION};

/// The revisions with a handshake, oldest first.
const LEGACY: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];
/// The stateless revision.
pub(super) const MODERN: &str = "2026-07-28";
/// The key of a request's `_meta` that names its revision.
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
/// The key of a request's `_meta` that says what its client can do.
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

/// The era of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Era {
    /// With handshake, up to 2025-11-25.
    Legacy,
    /// Stateless, 2026-07-28.
    Modern,
}

/// Judges a request by its method and the `_meta` of its parameters.
pub(super) fn of(method: &str, params: &Map<String, Value>) -> Result<Era, Failure> {
    let meta = params.get("_meta").and_then(Value::as_object);
    let version = meta.and_then(|meta| meta.get(VERSION_KEY));
    let capabilities = meta.and_then(|meta| meta.get(CAPABILITIES_KEY));
    let discovers = method == "server/discover";
    let legacy_version = version
        .and_then(Value::as_str)
        .is_some_and(|version| LEGACY.contains(&version));
    if !discovers && (legacy_version || (version.is_none() && capabilities.is_none())) {
        return Ok(Era::Legacy);
    }
    let Some(version) = version.and_then(Value::as_str) else {
        return Err(Failure::new(
            INVALID_PARAMS,
            format!("params._meta needs the string {VERSION_KEY:?}"),
        ));
    };
    if !capabilities.is_some_and(Value::is_object) {
        return Err(Failure::new(
            INVALID_PARAMS,
            format!("params._meta needs the object {CAPABILITIES_KEY:?}"),
        ));
    }
    if version != MODERN {
        let what = format!("protocol version {version:?} is not served without a handshake");
        let data = json!({ "supported": [MODERN], "requested": version });
        return Err(Failure::new(UNSUPPORTED_VERSION, what).with(data));
    }
    Ok(Era::Modern)
}

/// The revision a handshake ends with: the one asked for, else the latest with a handshake.
pub(super) fn negotiate(asked: &str) -> &'static str {
    let known = LEGACY.into_iter().find(|version| *version == asked);
    known.unwrap_or(LEGACY[LEGACY.len() - 1])
}
