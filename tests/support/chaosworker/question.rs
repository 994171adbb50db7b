//! Questions to the client in the middle of a call.

use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::{Value, json};

use super::call::Call;
use super::worker::Worker;
use super::{locked, text};

impl Worker {
    /// Legacy: a request of ours, its answer as text. Modern: `input_required`, which only the
    /// process that sent it can continue.
    pub(crate) fn ask(&self, call: &Call) -> Option<Value> {
        let (method, params) = match call.tool.as_str() {
            "ask_sampling" => (
                "sampling/createMessage",
                json!({"messages": [{"role": "user", "content": {"type": "text", "text": "Say something"}}], "maxTokens": 100}),
            ),
            "ask_roots" => ("roots/list", json!({})),
            _ => (
                "elicitation/create",
                json!({"message": "What is your name?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}),
            ),
        };
        if call.modern {
            let state = format!("{}", std::process::id());
            return match call.params["requestState"].as_str() {
                None => Some(json!({
                    "resultType": "input_required", "requestState": state,
                    "inputRequests": {"ask": {"method": method, "params": params}},
                })),
                Some(given) if given == state => {
                    Some(text(call.params["inputResponses"]["ask"].to_string()))
                }
                Some(_) => {
                    let data = json!({"reason": "invalid_request_state"});
                    self.error(&call.id, -32602, "not my request state", data);
                    None
                }
            };
        }
        let number = self.next_ask.fetch_add(1, Ordering::Relaxed);
        let id = format!("ask-{number}");
        let (sender, answer) = channel();
        locked(&self.asked).insert(id.clone(), sender);
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        let answer = answer
            .recv_timeout(Duration::from_secs(60))
            .unwrap_or_else(|_| json!({"error": "no answer"}));
        let said = answer
            .get("result")
            .or_else(|| answer.get("error"))
            .cloned()
            .unwrap_or_default();
        Some(text(said.to_string()))
    }
}
