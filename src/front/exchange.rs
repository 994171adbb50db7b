//! What a POST brought, read once: its headers that matter, its body as one message. Rules that
//! both eras share are checked here, in the order of protocol 2026-07-28.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::answer::{self, Answer, Fault};
use crate::mcp::code;
use crate::mcp::era::{self, Era};
use crate::mcp::header;
use crate::mcp::params;

/// A request, the parts of its envelope found and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The whole message.
    pub body: &'a Bytes,
    /// Its id.
    pub id: &'a RawValue,
    /// What it asks for.
    pub method: &'a str,
    /// Its parameters.
    pub params: Option<&'a RawValue>,
}

/// The header that names the revision.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The header that mirrors `method`.
pub const METHOD_HEADER: HeaderName = HeaderName::from_static("mcp-method");
/// The header that mirrors `params.name` or `params.uri`.
pub const NAME_HEADER: HeaderName = HeaderName::from_static("mcp-name");

/// The key that makes a body modern.
const META_VERSION: &[u8] = b"\"io.modelcontextprotocol/protocolVersion\"";

/// Whether `Accept` names this type; several header lines count as one list.
fn accepts(headers: &HeaderMap, kind: &str, subtype: &str) -> bool {
    let mut lines = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok());
    let Some(first) = lines.next() else {
        return false;
    };
    match lines.next() {
        None => header::accepts(first, kind, subtype),
        Some(second) => {
            let all: Vec<&str> = [first, second].into_iter().chain(lines).collect();
            header::accepts(&all.join(","), kind, subtype)
        }
    }
}

/// Whether the client takes an event stream.
#[must_use]
pub fn accepts_events(headers: &HeaderMap) -> bool {
    accepts(headers, "text", "event-stream")
}

/// A POST must accept JSON and events; a subscription is answered with events alone.
///
/// # Errors
/// The 406 or 415.
#[expect(
    clippy::result_large_err,
    reason = "an answer is what the caller returns at once"
)]
pub fn check_types(headers: &HeaderMap) -> Result<(), Answer> {
    let events = accepts_events(headers);
    let listens = headers
        .get(METHOD_HEADER)
        .is_some_and(|m| m.as_bytes() == b"subscriptions/listen");
    if !(events && (listens || accepts(headers, "application", "json"))) {
        return Err(answer::fault(
            Fault::NotAcceptable,
            "null",
            code::INVALID_REQUEST,
            "Not Acceptable: the client must accept both application/json and text/event-stream",
        ));
    }
    let typed = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .is_some_and(header::is_json);
    if !typed {
        return Err(answer::fault(
            Fault::MediaType,
            "null",
            code::INVALID_REQUEST,
            "Unsupported Media Type: Content-Type must be application/json",
        ));
    }
    Ok(())
}

/// A body that takes longer than this is given up.
const SLOWEST: Duration = Duration::from_secs(60);

/// Reads the body, at most `limit` bytes of it.
///
/// # Errors
/// The 413, a 408 for a body that does not arrive, or a 400 for one that broke off.
pub async fn read(body: Incoming, limit: usize) -> Result<Bytes, Answer> {
    match timeout(SLOWEST, gather(body, limit)).await {
        Ok(read) => read,
        Err(_) => Err(answer::fault(
            Fault::Timeout,
            "null",
            code::PARSE_ERROR,
            "the request body did not arrive in time",
        )),
    }
}

async fn gather(mut body: Incoming, limit: usize) -> Result<Bytes, Answer> {
    let too_large = || {
        answer::fault(
            Fault::TooLarge,
            "null",
            code::INVALID_REQUEST,
            &format!("the request body is larger than {limit} bytes (listen.max_body_bytes)"),
        )
    };
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(too_large());
    }
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(answer::fault(
                Fault::BadRequest,
                "null",
                code::PARSE_ERROR,
                "the request body broke off",
            ));
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let so_far = first.as_ref().map_or(all.len(), Bytes::len);
        if so_far + data.len() > limit {
            return Err(too_large());
        }
        if first.is_none() && all.is_empty() {
            first = Some(data);
        } else {
            if let Some(first) = first.take() {
                all.reserve(usize::try_from(announced).unwrap_or(0));
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// The era of a request: modern if its header or its `_meta` names a version that is not legacy.
#[must_use]
pub fn era_of(headers: &HeaderMap, body: &[u8]) -> Era {
    let named = headers.get(VERSION_HEADER).and_then(|v| v.to_str().ok());
    if named.is_some_and(|v| era::era_of(v.trim()) == Era::Modern) {
        return Era::Modern;
    }
    if memchr::memmem::find(body, META_VERSION).is_none() {
        return Era::Legacy;
    }
    match in_meta(body) {
        Some(version) => era::era_of(&version),
        None => Era::Legacy,
    }
}

/// The version that `params._meta` names.
fn in_meta(body: &[u8]) -> Option<String> {
    use crate::mcp::envelope::{Message, parse};
    let (Ok(Message::Request { params: raw, .. }) | Ok(Message::Notification { params: raw, .. })) =
        parse(body)
    else {
        return None;
    };
    let meta = params::meta(&params::params(raw)?)?;
    params::text(meta.protocol_version)
}
