//! What a frame is to the transport: whether it waits for an answer, and which headers mirror it.
//! Pure.

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::mcp::envelope::{self, Message};
use crate::mcp::header;
use crate::mcp::params::{self, Params};
use crate::mcp::tool_headers::ToolHeaders;

/// The revision a request speaks.
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// A frame, read.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The message without its newline.
    pub(super) body: Bytes,
    pub(super) kind: Kind,
}

/// What the transport does with a message.
#[derive(Debug)]
pub(super) enum Kind {
    /// Sent; an answer is waited for.
    Request(Asked),
    /// Ends the handshake: nothing overtakes it, and then the session is open.
    Initialized,
    /// The request with this id is not wanted any more.
    Cancel(u64),
    /// Sent, without an answer: other notifications, and answers to what the server asked.
    Told,
}

/// A request.
#[derive(Debug)]
pub(super) struct Asked {
    /// Its id, an integer of the daemon's own.
    pub(super) id: u64,
    pub(super) method: String,
    /// The mirrored headers of a modern request; `None` for a legacy one.
    pub(super) modern: Option<HeaderMap>,
}

/// Reads a frame; `None` if it is no message with an id of the daemon's.
pub(super) fn read(frame: Vec<u8>, rules: &ToolHeaders) -> Option<Outgoing> {
    let kind = match envelope::parse(frame.trim_ascii()).ok()? {
        Message::Request { id, method, params } => {
            let params = params::params(params).unwrap_or_default();
            Kind::Request(Asked {
                id: id.get().parse().ok()?,
                modern: mirrored(&method, &params, rules),
                method: method.into_owned(),
            })
        }
        Message::Notification { method, params } => match &*method {
            "notifications/initialized" => Kind::Initialized,
            "notifications/cancelled" => params::params(params)
                .and_then(|p| p.request_id?.get().parse().ok())
                .map_or(Kind::Told, Kind::Cancel),
            _ => Kind::Told,
        },
        Message::Response { .. } => Kind::Told,
    };
    let mut body = Bytes::from(frame);
    body.truncate(body.trim_ascii_end().len());
    Some(Outgoing { body, kind })
}

/// The headers that mirror a modern request; `None` if it names no version and so is a legacy one.
fn mirrored(method: &str, params: &Params<'_>, rules: &ToolHeaders) -> Option<HeaderMap> {
    let version = params::text(params::meta(params)?.protocol_version)?;
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, text: &str| {
        // What is encoded is visible ASCII.
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    set(PROTOCOL_VERSION, &header::encode(&version));
    set(METHOD, &header::encode(method));
    let name = match method {
        "tools/call" | "prompts/get" => params::text(params.name),
        "resources/read" => params::text(params.uri),
        _ => None,
    };
    let Some(name) = name else {
        return Some(headers);
    };
    set(NAME, &header::encode(&name));
    let rules = rules.of(&name).filter(|_| method == "tools/call");
    if let Some(rules) = rules {
        let arguments: Value = params
            .arguments
            .map(RawValue::get)
            .and_then(|a| serde_json::from_str(a).ok())
            .unwrap_or_default();
        for rule in rules.iter() {
            let argument = rule
                .path
                .iter()
                .try_fold(&arguments, |value, key| value.get(key));
            let value = argument.and_then(header::mirror);
            let name = HeaderName::from_bytes(rule.header.as_bytes()).ok();
            if let (Some(name), Some(value)) = (name, value) {
                set(name, &value);
            }
        }
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::{Kind, read};
    use crate::mcp::tool_headers::ToolHeaders;
    use serde_json::json;
    use serde_json::value::to_raw_value;

    #[test]
    fn a_modern_call_is_mirrored_in_headers() {
        let rules = ToolHeaders::default();
        let schema = json!({"properties": {"region": {"x-mcp-header": "Region"},
            "deep": {"properties": {"count": {"x-mcp-header": "Count"}}},
            "none": {"x-mcp-header": "None"}}});
        let list = json!({"tools": [{"name": "m\u{fc}sli", "inputSchema": schema}]});
        rules.learn(&to_raw_value(&list).unwrap());
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": "m\u{fc}sli",
            "arguments": {"region": " eu", "deep": {"count": 3}, "none": null},
            "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}});
        let out = read(format!("{call}\n").into_bytes(), &rules).unwrap();
        assert_eq!(out.body, call.to_string());
        let Kind::Request(asked) = out.kind else {
            panic!("{out:?}");
        };
        let headers = asked.modern.unwrap();
        let mut got: Vec<_> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.to_str().unwrap()))
            .collect();
        got.sort_unstable();
        let wanted = [
            ("mcp-method", "tools/call"),
            ("mcp-name", "=?base64?bcO8c2xp?="),
            ("mcp-param-count", "3"),
            ("mcp-param-region", "=?base64?IGV1?="),
            ("mcp-protocol-version", "2026-07-28"),
        ];
        assert_eq!(got, wanted);
    }

    #[test]
    fn what_waits_for_an_answer_is_told_from_what_does_not() {
        let kind = |text: &str| read(text.as_bytes().to_vec(), &ToolHeaders::default());
        let request = kind(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).unwrap();
        assert!(matches!(request.kind, Kind::Request(a) if a.id == 1 && a.modern.is_none()));
        let cancel =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}"#;
        assert!(matches!(kind(cancel).unwrap().kind, Kind::Cancel(9)));
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert!(matches!(kind(initialized).unwrap().kind, Kind::Initialized));
        let answer = kind("{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"result\":{}}\n").unwrap();
        assert!(matches!(answer.kind, Kind::Told));
        assert!(kind("[]").is_none());
    }
}
