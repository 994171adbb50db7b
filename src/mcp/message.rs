//! Messages that the daemon itself sends: to workers (handshake, probes, cancels) and to clients
//! (errors, empty results). All are single lines without their newline.

use super::era::{MODERN, Version};
use serde_json::{Value, json};

/// Name and version under which the daemon introduces itself.
fn identity() -> Value {
    json!({"name": "mainstay", "title": "mainstay", "version": env!("CARGO_PKG_VERSION")})
}

/// `initialize` as sent to a warm worker that no client owns yet: no capabilities, so that a
/// worker shared by many does not ask one of them.
#[must_use]
pub fn initialize(id: u64) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": {
        "protocolVersion": Version::LATEST.as_str(), "capabilities": {}, "clientInfo": identity()}})
    .to_string()
}

/// `server/discover`, the modern era's sign of life.
#[must_use]
pub fn discover(id: u64) -> String {
    modern_request(id, "server/discover", json!({}))
}

/// A modern request of the daemon's own.
#[must_use]
pub fn modern_request(id: u64, method: &str, mut params: Value) -> String {
    if let Some(object) = params.as_object_mut() {
        object.insert(
            "_meta".to_owned(),
            json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": identity(),
            }),
        );
    }
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// A request without parameters, such as `ping`.
#[must_use]
pub fn request(id: u64, method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#)
}

/// A request of the legacy era with parameters.
#[must_use]
pub fn request_with(id: u64, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// A notification without parameters.
#[must_use]
pub fn notification(method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#)
}

/// `notifications/cancelled` for a request that was sent as `id`.
#[must_use]
pub fn cancelled(id: u64, reason: &str) -> String {
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
           "params": {"requestId": id, "reason": reason}})
    .to_string()
}

/// A successful answer; `id` and `result` are raw JSON.
#[must_use]
pub fn result(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// An error answer; `id` is raw JSON, `null` where the request's is unknown.
#[must_use]
pub fn error(id: &str, code: i32, message: &str, data: Option<&Value>) -> String {
    let message = Value::from(message);
    match data {
        Some(data) => format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message},"data":{data}}}}}"#
        ),
        None => {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#
            )
        }
    }
}
