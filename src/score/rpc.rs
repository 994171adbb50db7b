//! JSON-RPC 2.0: what a frame is, and how an answer looks.
//!
//! Ids pass as the bytes they came in. Knows no method and no protocol era.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The frame is no JSON.
pub(super) const PARSE_ERROR: i32 = -32700;
/// The frame is JSON, but no request.
pub(super) const INVALID_REQUEST: i32 = -32600;
/// Nobody here answers this method.
pub(super) const METHOD_NOT_FOUND: i32 = -32601;
/// The method's parameters are not what it takes.
pub(super) const INVALID_PARAMS: i32 = -32602;
/// The request names a protocol revision this server does not speak.
pub(super) const UNSUPPORTED_VERSION: i32 = -32022;

/// A request that cannot be answered with a result.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    code: i32,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl Failure {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    pub(super) fn with(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }
}

/// What a frame turned out to be.
#[derive(Debug)]
pub(super) enum Incoming<'a> {
    /// A request: it gets exactly one answer.
    Request {
        id: &'a RawValue,
        method: Cow<'a, str>,
        params: Option<&'a RawValue>,
    },
    /// A notification, a response or nothing at all: it gets none.
    Silent,
    /// Neither; the answer's id is null.
    Wrong(Failure),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// Tells a member that is null from one that is absent.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Reads one frame.
pub(super) fn read(frame: &[u8]) -> Incoming<'_> {
    let frame = frame
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(frame)
        .trim_ascii();
    if frame.is_empty() {
        return Incoming::Silent;
    }
    let whole: &RawValue = match serde_json::from_slice(frame) {
        Ok(whole) => whole,
        Err(error) => {
            return Incoming::Wrong(Failure::new(
                PARSE_ERROR,
                format!("the frame is no JSON: {error}"),
            ));
        }
    };
    let wrong = |what: &str| Incoming::Wrong(Failure::new(INVALID_REQUEST, what));
    if whole.get().starts_with('[') {
        return wrong("batches are not served; send one request a frame");
    }
    if !whole.get().starts_with('{') {
        return wrong("the frame is no JSON-RPC object");
    }
    let envelope: Envelope<'_> = match serde_json::from_str(whole.get()) {
        Ok(envelope) => envelope,
        Err(error) => return wrong(&format!("the frame is no JSON-RPC object: {error}")),
    };
    if envelope.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
        return wrong("jsonrpc must be \"2.0\"");
    }
    let Some(method) = envelope.method else {
        let answer = envelope.result.is_some() || envelope.error.is_some();
        return if answer {
            Incoming::Silent
        } else {
            wrong("a request needs a method")
        };
    };
    let Ok(method) = serde_json::from_str::<Name<'_>>(method.get()) else {
        return wrong("method must be a string");
    };
    match envelope.id {
        None => Incoming::Silent,
        Some(id) if is_id(id.get()) => Incoming::Request {
            id,
            method: method.0,
            params: envelope.params,
        },
        Some(_) => wrong("id must be a string or an integer"),
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A string or an integer; not null, no fraction.
fn is_id(raw: &str) -> bool {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    raw.starts_with('"') || digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// An answer with a result.
pub(super) fn success(id: &RawValue, result: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answer<'a, T> {
        jsonrpc: &'static str,
        id: &'a RawValue,
        result: &'a T,
    }
    let jsonrpc = "2.0";
    serde_json::to_vec(&Answer {
        jsonrpc,
        id,
        result,
    })
    .unwrap_or_default()
}

/// The first message of a subscription to nothing (MCP 2026-07-28): a notification that carries
/// the id of the request.
pub(super) fn acknowledgement(id: &RawValue) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{}}},"notifications":{{}}}}}}"#,
        id.get()
    )
    .into_bytes()
}

/// An answer with an error; without an id that could be read its id is null.
pub(super) fn failure(id: Option<&RawValue>, error: &Failure) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answer<'a> {
        jsonrpc: &'static str,
        id: Option<&'a RawValue>,
        error: &'a Failure,
    }
    let jsonrpc = "2.0";
    serde_json::to_vec(&Answer { jsonrpc, id, error }).unwrap_or_default()
}
