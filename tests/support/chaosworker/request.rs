//! What comes in: messages told apart, eras kept, requests answered that are no calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::call::Call;
use super::catalog::{capabilities, listing, server_info};
use super::worker::{Era, Worker};
use super::{die, locked};

const MODERN: &str = "2026-07-28";
const LEGACY: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
pub(crate) const SUBSCRIPTION_KEY: &str = "io.modelcontextprotocol/subscriptionId";

impl Worker {
    pub(crate) fn receive(self: &Arc<Self>, line: &[u8]) {
        if self.mirror(line).is_some() {
            return;
        }
        let Ok(frame) = serde_json::from_slice::<Value>(line) else {
            return self.error(&Value::Null, -32700, "Parse error", Value::Null);
        };
        let id = frame.get("id").cloned();
        let params = frame.get("params").cloned().unwrap_or_else(|| json!({}));
        match (frame.get("method").and_then(Value::as_str), id) {
            (Some(method), Some(id)) => self.request(method, id, params),
            (Some("notifications/cancelled"), None) => {
                let request = &params["requestId"];
                locked(&self.listening).retain(|id| id != request);
                self.log(&json!({"pid": std::process::id(), "cancelled": request}));
                if !self.options.has("--ignore-cancel") {
                    locked(&self.cancelled).insert(request.to_string());
                }
            }
            (Some(_), None) => {}
            (None, Some(id)) => {
                if let Some(asked) = id.as_str().and_then(|id| locked(&self.asked).remove(id)) {
                    let _ = asked.send(frame);
                }
            }
            (None, None) => self.error(&Value::Null, -32600, "Invalid Request", Value::Null),
        }
    }

    fn request(self: &Arc<Self>, method: &str, id: Value, params: Value) {
        let version = params["_meta"][VERSION_KEY].as_str();
        if method == "server/discover" && self.options.has("--silent-discover") {
            return;
        }
        let mortal = method == "server/discover" && self.options.has("--die-on-discover");
        if mortal || self.options.value("--die-on") == Some(method) {
            die(3);
        }
        let looks_modern = version.is_some() || method == "server/discover";
        let era = {
            let mut era = locked(&self.era);
            if *era == Era::Lock {
                *era = if looks_modern {
                    Era::Modern
                } else {
                    Era::Legacy
                };
            }
            *era
        };
        let locks = self.options.value("--era") == Some("lock");
        let unsupported = || json!({"supported": [MODERN], "requested": params["protocolVersion"]});
        match era {
            Era::Modern if method == "initialize" => {
                return self.error(&id, -32022, "Unsupported protocol version", unsupported());
            }
            Era::Modern if version.is_none() => {
                return self.error(&id, -32602, "_meta names no protocol version", Value::Null);
            }
            Era::Legacy if locks && looks_modern => {
                return self.error(&id, -32600, "the legacy era was chosen", Value::Null);
            }
            Era::Legacy | Era::Modern | Era::Both | Era::Lock => {}
        }
        let modern = looks_modern && era != Era::Legacy;
        match method {
            "tools/call" => self.call(Call {
                tool: params["name"].as_str().unwrap_or_default().to_owned(),
                arguments: params["arguments"].clone(),
                id,
                modern,
                params,
            }),
            _ if modern => self.modern_request(method, &id, &params),
            _ => self.legacy_request(method, &id, &params),
        }
    }

    fn legacy_request(&self, method: &str, id: &Value, params: &Value) {
        let result = match method {
            "initialize" => {
                let client = &params["clientInfo"]["name"];
                self.log(&json!({"pid": std::process::id(), "initialize": client}));
                let again = self.initialised.swap(true, Ordering::Relaxed);
                if again && self.options.has("--reject-reinit") {
                    return self.error(id, -32600, "already initialized", Value::Null);
                }
                let asked = params["protocolVersion"].as_str().unwrap_or_default();
                let version = if LEGACY.contains(&asked) {
                    asked
                } else {
                    LEGACY[0]
                };
                json!({"protocolVersion": version, "capabilities": capabilities(), "serverInfo": server_info()})
            }
            "ping" | "logging/setLevel" => json!({}),
            "resources/subscribe" => {
                locked(&self.subscribed)
                    .insert(params["uri"].as_str().unwrap_or_default().to_owned());
                json!({})
            }
            "resources/unsubscribe" => {
                locked(&self.subscribed).remove(params["uri"].as_str().unwrap_or_default());
                json!({})
            }
            _ => match listing(method, params) {
                Some(result) => result,
                None => return self.error(id, -32601, "Method not found", Value::Null),
            },
        };
        self.result(id, false, result);
    }

    fn modern_request(&self, method: &str, id: &Value, params: &Value) {
        let mut result = match method {
            "server/discover" => json!({
                "supportedVersions": [MODERN], "capabilities": capabilities(),
                "_meta": {"io.modelcontextprotocol/serverInfo": server_info()},
            }),
            "subscriptions/listen" => {
                locked(&self.listening).push(id.clone());
                let wanted = params["notifications"].clone();
                let meta = json!({SUBSCRIPTION_KEY: id});
                return self.notify(
                    "notifications/subscriptions/acknowledged",
                    json!({"notifications": wanted, "_meta": meta}),
                );
            }
            _ => match listing(method, params) {
                Some(result) => result,
                None => return self.error(id, -32601, "Method not found", Value::Null),
            },
        };
        result["ttlMs"] = 0.into();
        result["cacheScope"] = "private".into();
        self.result(id, true, result);
    }
}
