//! POST in the legacy era (2025-03-26 .. 2025-11-25): sessions, and answers that survive a lost
//! connection. A client that disconnects has not cancelled: its call runs on and its events wait
//! for it. The rules are those of the specification's transport chapter.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::answer::{self, Answer, Fault, SESSION_HEADER};
use super::body::Events;
use super::context::Context;
use super::exchange::{Asked, VERSION_HEADER};
use super::limit;
use crate::broker::call::Request;
use crate::broker::member::owned;
use crate::broker::open::Opened;
use crate::broker::principal::Principal;
use crate::broker::refused;
use crate::broker::server::Server;
use crate::broker::session::Session;
use crate::broker::stream::{Next, Stream};
use crate::mcp::code;
use crate::mcp::envelope::{self, Malformed, Message};
use crate::mcp::era::{Era, Version};
use crate::mcp::message;
use crate::mcp::params;
use crate::mcp::splice::range_of;
use crate::policy::refusal::Refusal;

/// Answers one POST whose headers passed the shared checks.
pub async fn post(
    context: &Context,
    server: &Arc<Server>,
    caller: &Arc<Principal>,
    headers: &HeaderMap,
    body: Bytes,
) -> Answer {
    let message = match envelope::parse(&body) {
        Ok(message) => message,
        Err(malformed) => return unreadable(malformed, &body),
    };
    if let Message::Request { id, method, params } = &message {
        if method == "initialize" {
            let (body, params) = (&body, *params);
            let asked = Asked {
                body,
                id,
                method,
                params,
            };
            let id = id.get();
            if headers.contains_key(SESSION_HEADER) {
                return answer::fault(
                    Fault::BadRequest,
                    id,
                    code::INVALID_REQUEST,
                    "initialize must not be sent within a session",
                );
            }
            let wanted = params::params(params).unwrap_or_default();
            let opened = initialize(context, server, caller, id, body.clone(), &wanted);
            return limit::within(server, caller, asked, opened).await;
        }
    }
    let session = match session(server, caller, headers) {
        Ok(session) => session,
        Err(answer) => return answer,
    };
    session.touch();
    match message {
        Message::Notification { method, params } => {
            notification(server, &session, caller, &method, params, &body);
            answer::accepted()
        }
        Message::Response { id, .. } => {
            if let Some(id) = id {
                // An answer nobody waits for any more is taken and forgotten.
                let _ = session.answer(&body, id);
            }
            answer::accepted()
        }
        Message::Request { id, method, params } => {
            let (body, method) = (&body, method.as_ref());
            let asked = Asked {
                body,
                id,
                method,
                params,
            };
            let answer = request(context, server, &session, caller, asked);
            limit::within(server, caller, asked, answer).await
        }
    }
}

/// The answer to a body that is no single message. A batch was allowed in 2025-03-26 and may be
/// refused even there.
#[must_use]
pub fn unreadable(malformed: Malformed, body: &[u8]) -> Answer {
    let batch = body.trim_ascii_start().first() == Some(&b'[');
    let (code, text) = match malformed {
        Malformed::Json => (code::PARSE_ERROR, "Parse error: the body is not valid JSON"),
        Malformed::Envelope if batch => (
            code::INVALID_REQUEST,
            "Invalid Request: batches are not supported; send one message per POST",
        ),
        Malformed::Envelope => (
            code::INVALID_REQUEST,
            "Invalid Request: the body is not one JSON-RPC 2.0 message",
        ),
    };
    answer::fault(Fault::BadRequest, "null", code, text)
}

/// The session a request belongs to, its version header checked.
///
/// # Errors
/// 400 without a session header or with a version that is not served; 404 for a session that is
/// not known, and for nothing else: many clients never recover from a 404.
#[expect(
    clippy::result_large_err,
    reason = "an answer is what the caller returns at once"
)]
pub fn session(
    server: &Arc<Server>,
    caller: &Principal,
    headers: &HeaderMap,
) -> Result<Arc<Session>, Answer> {
    let Some(id) = headers.get(SESSION_HEADER) else {
        return Err(answer::fault(
            Fault::BadRequest,
            "null",
            code::LEGACY_FALLBACK,
            "Bad Request: Mcp-Session-Id header is required (send initialize first)",
        ));
    };
    let found = id
        .to_str()
        .ok()
        .and_then(|id| server.shared().sessions.find(id, server))
        // Whose it is instead is nobody's business.
        .filter(|session| session.belongs_to(caller));
    let Some(session) = found else {
        return Err(answer::session_not_found());
    };
    if let Some(version) = headers.get(VERSION_HEADER) {
        let known = version.to_str().ok().and_then(|v| Version::parse(v.trim()));
        if known.is_none() {
            return Err(answer::fault(
                Fault::BadRequest,
                "null",
                code::LEGACY_FALLBACK,
                "Bad Request: unsupported MCP-Protocol-Version (this session is of the legacy era: \
                 2025-03-26, 2025-06-18, 2025-11-25)",
            ));
        }
    }
    Ok(session)
}

async fn initialize(
    context: &Context,
    server: &Arc<Server>,
    caller: &Arc<Principal>,
    id: &str,
    body: Bytes,
    asked: &params::Params<'_>,
) -> Answer {
    let refuse = |refusal: Refusal| {
        server.stats().refused(&refusal);
        answer::json(refused::error(id.as_bytes(), &refusal))
    };
    if context.draining.load(Ordering::Relaxed) {
        return refuse(Refusal::draining());
    }
    let opened = server
        .open_session(caller, body.clone(), asked, context.terms().streams)
        .await;
    match opened {
        Err(refusal) => refuse(refusal),
        Ok(Opened::Error(error)) => {
            let error = String::from_utf8_lossy(&error);
            answer::json(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
        }
        Ok(Opened::Session(session, result)) => {
            let result = String::from_utf8_lossy(&result);
            let mut answer = answer::json(message::result(id, &result));
            if let Ok(value) = HeaderValue::from_str(session.id()) {
                answer.headers_mut().insert(SESSION_HEADER, value);
            }
            answer
        }
    }
}

/// Notifications are never answered with an error. Those that mean something to a worker go to
/// the session's own; on a shared one they would speak for everybody.
fn notification(
    server: &Arc<Server>,
    session: &Arc<Session>,
    caller: &Principal,
    method: &str,
    raw: Option<&RawValue>,
    body: &Bytes,
) {
    match method {
        "notifications/cancelled" => {
            let params = params::params(raw).unwrap_or_default();
            if let Some(id) = params.request_id {
                server.cancel(session, id.get().as_bytes(), "cancelled by the client");
            }
            return;
        }
        "notifications/initialized" if !session.is_initialized() => session.set_initialized(),
        _ if !limit::takes_notification(server, caller) => return,
        _ => {}
    }
    session.forward(body);
}

async fn request(
    context: &Context,
    server: &Arc<Server>,
    session: &Arc<Session>,
    caller: &Arc<Principal>,
    asked: Asked<'_>,
) -> Answer {
    let Asked {
        body,
        id,
        method,
        params,
    } = asked;
    if method == "ping" {
        return answer::json(message::result(id.get(), "{}"));
    }
    if context.draining.load(Ordering::Relaxed) {
        let refusal = Refusal::draining();
        server.stats().refused(&refusal);
        return answer::json(refused::error(id.get().as_bytes(), &refusal));
    }
    let params = params::params(params).unwrap_or_default();
    let mut prefer = server.minter(&params);
    if let Some(settled) = session_state(server, session, method, id, &params, &mut prefer) {
        return settled;
    }
    let token = params::meta(&params).and_then(|m| m.progress_token);
    let stream = session.open_stream();
    let reader = stream.attach();
    let tool = (method == "tools/call").then_some(params.name).flatten();
    let request = Request {
        id: range_of(body, id),
        token: token.map(|t| range_of(body, t)),
        tool: tool.map(|t| range_of(body, t)),
        prefer,
        stream: Arc::clone(&stream),
        principal: Arc::clone(caller),
        session: Some(Arc::clone(session)),
        wants_logs: false,
        lists_tools: method == "tools/list" && server.rules().trusts_annotations(),
        message: body.clone(),
    };
    // It goes on without its connection; only a cancel ends it.
    let _ = server.submit(Era::Legacy, request);
    let events = Events::new(
        Arc::clone(&stream),
        reader,
        0,
        context.terms().listen.keepalive_interval,
    )
    .resumable();
    if session.version().has_priming() {
        return answer::events(events.primed(context.terms().listen.retry));
    }
    late(&stream, reader, context, events).await
}

/// A client that cannot read a priming event gets JSON if the answer comes first, and a stream
/// from the first notification or the first long silence on.
async fn late(stream: &Arc<Stream>, reader: u64, context: &Context, events: Events) -> Answer {
    match timeout(
        context.terms().listen.keepalive_interval,
        first(stream, reader),
    )
    .await
    {
        Ok(Next::Event {
            data, last: true, ..
        }) => answer::json(data),
        Ok(Next::Event {
            seq, data, last, ..
        }) => answer::events(events.starting_with(seq, &data, last)),
        Ok(Next::End) | Err(_) => answer::events(events),
    }
}

/// Requests that are about the session rather than the server. A session that owns its worker
/// passes them on, and remembers them for the next worker; where workers are shared the daemon
/// keeps the state itself. `None`: to be sent to a worker.
fn session_state(
    server: &Arc<Server>,
    session: &Arc<Session>,
    method: &str,
    id: &RawValue,
    params: &params::Params<'_>,
    prefer: &mut Option<u64>,
) -> Option<Answer> {
    let own = session.own_lane().is_some();
    let empty = || answer::json(message::result(id.get(), "{}"));
    match method {
        // Of several clients on one worker, each would see the tasks of all.
        "tasks/list" if !own => Some(answer::json(message::error(
            id.get(),
            code::METHOD_NOT_FOUND,
            "tasks/list is not available where clients share workers (state = \"session\" gives each its own)",
            None,
        ))),
        "logging/setLevel" => {
            let level = params.level?;
            session.set_level(owned(level));
            (!own && logs(server)).then(empty)
        }
        "resources/subscribe" => {
            if !session.subscribe(params.uri?.get()) {
                let refusal = Refusal::overloaded(
                    "this session has too many subscriptions; end some first",
                    Duration::from_secs(60),
                );
                server.stats().refused(&refusal);
                return Some(answer::json(refused::error(id.get().as_bytes(), &refusal)));
            }
            if !own {
                *prefer = server.home().map(|m| m.id());
            }
            None
        }
        "resources/unsubscribe" => {
            let uri = params.uri?.get();
            session.unsubscribe(uri);
            if own {
                return None;
            }
            *prefer = server.home().map(|m| m.id());
            let others = server.sessions().iter().any(|s| s.is_subscribed(uri));
            others.then(empty)
        }
        _ => None,
    }
}

/// Whether the server's workers declared the `logging` capability.
fn logs(server: &Server) -> bool {
    #[derive(Deserialize)]
    struct Initialized<'a> {
        #[serde(borrow, default)]
        capabilities: Capabilities<'a>,
    }
    #[derive(Deserialize, Default)]
    struct Capabilities<'a> {
        #[serde(borrow, default)]
        logging: Option<&'a RawValue>,
    }
    server.initialized().is_some_and(|result| {
        serde_json::from_slice::<Initialized<'_>>(&result)
            .is_ok_and(|i| i.capabilities.logging.is_some())
    })
}

/// The next event of a stream for whoever has not decided on a form yet.
pub(super) async fn first(stream: &Stream, reader: u64) -> Next {
    poll_fn(|cx| stream.poll_next(reader, 0, cx)).await
}
