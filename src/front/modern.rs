//! POST in the modern era (2026-07-28): every request stands alone. The ladder of checks is that
//! of the specification, in the order in which the official SDK applies it; the answer is JSON or
//! a stream, decided by what the worker sends first. A client that goes away has cancelled.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::answer::{self, Answer, Fault};
use super::body::{Events, Hold};
use super::context::Context;
use super::exchange::{Asked, METHOD_HEADER, NAME_HEADER, VERSION_HEADER};
use super::legacy;
use super::limit;
use crate::broker::call::Request;
use crate::broker::lane::Want;
use crate::broker::listen::Listen;
use crate::broker::member::owned;
use crate::broker::principal::Principal;
use crate::broker::refused;
use crate::broker::server::Server;
use crate::broker::stream::{Next, Stream};
use crate::mcp::code;
use crate::mcp::envelope::{self, Message};
use crate::mcp::era::{Era, MODERN, removed_in_modern};
use crate::mcp::header;
use crate::mcp::params::{self, Meta, Params};
use crate::mcp::splice::range_of;
use crate::policy::refusal::Refusal;

/// Bytes of events kept for a reader that is slow; there is no resumption in this era.
const BUFFER: usize = 4 << 20;

/// Answers one POST whose Host, Origin, types and size passed.
pub async fn post(
    context: &Context,
    server: &Arc<Server>,
    caller: &Arc<Principal>,
    headers: &HeaderMap,
    body: Bytes,
) -> Answer {
    server.want_modern();
    let message = match envelope::parse(&body) {
        Ok(message) => message,
        Err(malformed) => return legacy::unreadable(malformed, &body),
    };
    let asked = match &message {
        Message::Request { id, method, params } => Asked {
            body: &body,
            id,
            method,
            params: *params,
        },
        // Cancelling is closing the connection; nothing else can be told without a session.
        Message::Notification { .. } => return answer::accepted(),
        Message::Response { .. } => {
            return answer::fault(
                Fault::BadRequest,
                "null",
                code::INVALID_REQUEST,
                "Invalid Request: the body must be one request or notification",
            );
        }
    };
    let answer = request(context, server, caller, headers, asked);
    limit::within(server, caller, asked, answer).await
}

async fn request(
    context: &Context,
    server: &Arc<Server>,
    caller: &Arc<Principal>,
    headers: &HeaderMap,
    asked: Asked<'_>,
) -> Answer {
    let Asked {
        body,
        id,
        method,
        params,
    } = asked;
    match server.speaks(Era::Modern).await {
        Ok(true) => {}
        Ok(false) => return fall_back(server, id),
        Err(refusal) => return refuse(server, id, &refusal),
    }
    let params = params::params(params).unwrap_or_default();
    let meta = match check(server, headers, id, method, &params) {
        Ok(meta) => meta,
        Err(answer) => return answer,
    };
    if context.draining.load(Ordering::Relaxed) {
        return refuse(server, id, &Refusal::draining());
    }
    if method == "subscriptions/listen" {
        return listen(context, server, caller, id, body).await;
    }
    let stream = Arc::new(Stream::new(0, BUFFER, false));
    let reader = stream.attach();
    let tool = (method == "tools/call").then_some(params.name).flatten();
    let request = Request {
        id: range_of(body, id),
        token: meta.progress_token.map(|t| range_of(body, t)),
        tool: tool.map(|t| range_of(body, t)),
        prefer: server.minter(&params),
        stream: Arc::clone(&stream),
        principal: Arc::clone(caller),
        session: None,
        wants_logs: meta.log_level.is_some(),
        lists_tools: method == "tools/list",
        message: body.clone(),
    };
    let flight = server.submit(Era::Modern, request);
    decide(context, stream, reader, Hold::Call(flight)).await
}

/// Chooses the form of the answer by what comes first: the answer itself is JSON; a notification,
/// or a silence so long that the connection needs a sign of life, is a stream. Dropping this
/// before it is done cancels the call.
async fn decide(context: &Context, stream: Arc<Stream>, reader: u64, hold: Hold) -> Answer {
    let keepalive = context.terms().listen.keepalive_interval;
    // Holds the call from here on: it is cancelled if the client goes away meanwhile.
    let events = Events::new(Arc::clone(&stream), reader, 0, keepalive).holding(hold);
    match timeout(keepalive, legacy::first(&stream, reader)).await {
        Ok(Next::Event {
            seq,
            data,
            last: true,
            error,
        }) => {
            drop(events.starting_with(seq, &Bytes::new(), true));
            answer::modern(data, error)
        }
        Ok(Next::Event { seq, data, .. }) => {
            answer::events(events.starting_with(seq, &data, false))
        }
        Ok(Next::End) | Err(_) => answer::events(events),
    }
}

async fn listen(
    context: &Context,
    server: &Arc<Server>,
    caller: &Principal,
    id: &RawValue,
    body: &Bytes,
) -> Answer {
    // At least one worker has to be there to acknowledge it.
    let ready = server.lane(Era::Modern).acquire(&Want::default()).await;
    if let Err(refusal) = ready {
        return refuse(server, id, &refusal);
    }
    drop(ready);
    let stream = Arc::new(Stream::new(0, BUFFER, false));
    let reader = stream.attach();
    let listen = Listen::new(owned(id), body.clone(), Arc::clone(&stream), caller);
    server.listen(&listen);
    decide(context, stream, reader, Hold::Listen(listen)).await
}

/// A server whose workers speak the legacy era only: the body is not a modern error, which makes
/// a client that can do both fall back to `initialize`.
fn fall_back(server: &Arc<Server>, id: &RawValue) -> Answer {
    answer::fault(
        Fault::BadRequest,
        id.get(),
        code::LEGACY_FALLBACK,
        &format!(
            "server {} speaks the legacy era of MCP only: send initialize",
            server.name()
        ),
    )
}

fn refuse(server: &Arc<Server>, id: &RawValue, refusal: &Refusal) -> Answer {
    server.stats().refused(refusal);
    answer::json(refused::error(id.get().as_bytes(), refusal))
}

/// Steps 7 to 13 of the ladder.
#[expect(
    clippy::result_large_err,
    reason = "an answer is what the caller returns at once"
)]
fn check<'a>(
    server: &Arc<Server>,
    headers: &HeaderMap,
    id: &RawValue,
    method: &str,
    params: &Params<'a>,
) -> Result<Meta<'a>, Answer> {
    let id = id.get();
    let mismatch = |text: &str| Err(answer::modern_error(id, code::HEADER_MISMATCH, text, None));
    for name in [&VERSION_HEADER, &METHOD_HEADER, &NAME_HEADER] {
        if headers.get_all(name).iter().count() > 1 {
            return mismatch(&format!(
                "Bad Request: header {name} is given more than once"
            ));
        }
    }
    let meta = params::meta(params).unwrap_or_default();
    let version = params::text(meta.protocol_version);
    let (Some(version), true) = (version, params::is_object(meta.client_capabilities)) else {
        return Err(answer::modern_error(
            id,
            code::INVALID_PARAMS,
            "Invalid params: _meta must have io.modelcontextprotocol/protocolVersion and \
             io.modelcontextprotocol/clientCapabilities",
            None,
        ));
    };
    let named = mirrored(headers, &VERSION_HEADER);
    if named.as_deref() != Some(version.as_str()) {
        return mismatch("Bad Request: header MCP-Protocol-Version and _meta disagree");
    }
    if version != MODERN {
        return Err(answer::modern_error(
            id,
            code::UNSUPPORTED_VERSION,
            "Unsupported protocol version",
            Some(&json!({"supported": [MODERN], "requested": version})),
        ));
    }
    if mirrored(headers, &METHOD_HEADER).as_deref() != Some(method) {
        return mismatch("Bad Request: header Mcp-Method and the body's method disagree");
    }
    let name = match method {
        "tools/call" | "prompts/get" => params::text(params.name),
        "resources/read" => params::text(params.uri),
        _ => None,
    };
    if name.is_some() && mirrored(headers, &NAME_HEADER) != name {
        return mismatch("Bad Request: header Mcp-Name and the body disagree");
    }
    if method == "tools/call" {
        if let Some(header) = name.and_then(|tool| wrong_param(server, headers, &tool, params)) {
            return mismatch(&format!(
                "Bad Request: header {header} and its argument disagree"
            ));
        }
    }
    if removed_in_modern(method) {
        return Err(answer::modern_error(
            id,
            code::METHOD_NOT_FOUND,
            &format!("Method not found: {method} is not part of {MODERN}"),
            None,
        ));
    }
    Ok(meta)
}

/// The decoded value of a header; a value that cannot be decoded matches nothing.
fn mirrored(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    header::decode(headers.get(name)?.as_bytes())
}

/// The first `Mcp-Param-*` header that does not mirror its argument.
fn wrong_param(
    server: &Arc<Server>,
    headers: &HeaderMap,
    tool: &str,
    params: &Params<'_>,
) -> Option<String> {
    let rules = server.tool_headers().of(tool)?;
    let arguments: Value = params
        .arguments
        .and_then(|a| serde_json::from_str(a.get()).ok())
        .unwrap_or_default();
    let wrong = rules.iter().find(|rule| {
        let argument = rule
            .path
            .iter()
            .try_fold(&arguments, |value, key| value.get(key));
        let mut values = headers.get_all(rule.header.as_str()).iter();
        let value = values.next();
        let decoded = value.map(|v| header::decode(v.as_bytes()));
        values.next().is_some()
            || matches!(decoded, Some(None))
            || !header::mirrors(decoded.flatten().as_deref(), argument)
    })?;
    Some(wrong.header.clone())
}
