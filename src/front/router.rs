//! Paths and methods: which server a request is for, and the views.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, HeaderValue, VARY,
};
use hyper::{Method, Request};

use super::answer::{self, Answer, Fault, SESSION_HEADER};
use super::auth::Denied;
use super::context::Context;
use super::exchange::{self, VERSION_HEADER};
use super::origin::Stopped;
use super::{health, legacy, legacy_get, metrics, modern};
use crate::broker::principal::Principal;
use crate::broker::server::Server;
use crate::mcp::code;
use crate::mcp::era::{self, Era};

/// Headers that scripts of other origins may read.
const EXPOSED: &str = "Mcp-Session-Id, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate";

/// Answers any request; `stranger` is whoever is at the other end of the connection.
pub async fn handle(
    context: &Context,
    stranger: &Arc<Principal>,
    request: Request<Incoming>,
) -> Answer {
    // Whether the process lives is no secret, and probes call it by any name.
    if request.uri().path() == "/livez" && *request.method() == Method::GET {
        return answer::report(health::live());
    }
    let terms = context.terms();
    let authority = request.uri().authority().map(|a| a.as_str());
    let target_checked = terms.gate.check_target(authority);
    let origin = match target_checked.and_then(|()| terms.gate.check(request.headers())) {
        Ok(origin) => origin.map(ToOwned::to_owned),
        Err(stopped) => return forbidden(&stopped),
    };
    if let Some(view) = view(context, &request) {
        return view;
    }
    let mut answer = match target(context, &request) {
        Ok(server) => endpoint(context, &server, stranger, request).await,
        Err(answer) => answer,
    };
    if let Some(origin) = origin.and_then(|o| HeaderValue::from_str(&o).ok()) {
        let headers = answer.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    answer
}

/// The views are for monitoring: no limits, but for allowed hosts only, since they quote what
/// workers wrote.
fn view(context: &Context, request: &Request<Incoming>) -> Option<Answer> {
    let path = request.uri().path();
    if path.ends_with("/mcp") || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let snapshot = || context.view.snapshot();
    match path {
        "/health" | "/healthz" => Some(answer::report(health::health(&snapshot()))),
        "/readyz" => Some(answer::report(health::ready(&snapshot()))),
        "/metrics" => Some(answer::metrics(metrics::page(&snapshot()))),
        _ => {
            let name = path.strip_prefix("/servers/")?.strip_suffix("/health")?;
            health::server(&snapshot(), name).map(answer::report)
        }
    }
}

fn unauthorized(denied: Denied) -> Answer {
    let text = match denied {
        Denied::Missing => {
            "Unauthorized: send a token in the header \"Authorization: Bearer TOKEN\""
        }
        Denied::Unknown => "Unauthorized: the token in the header Authorization is not known here",
    };
    answer::unauthorized(denied == Denied::Unknown, text)
}

fn forbidden(stopped: &Stopped) -> Answer {
    let text = match stopped {
        Stopped::Host(host) => format!(
            "Forbidden: Host \"{host}\" is not served here; add it to listen.allowed_hosts if it should be"
        ),
        Stopped::Origin(origin) => format!(
            "Forbidden: Origin \"{origin}\" may not call this server; add it to listen.allowed_origins if it should"
        ),
    };
    answer::fault(Fault::Forbidden, "null", code::INVALID_REQUEST, &text)
}

#[expect(
    clippy::result_large_err,
    reason = "an answer is what the caller returns at once"
)]
fn target(context: &Context, request: &Request<Incoming>) -> Result<Arc<Server>, Answer> {
    let path = request.uri().path();
    let found = match path {
        "/mcp" => context.catalog.default_server(),
        _ => path
            .strip_prefix("/servers/")
            .and_then(|p| p.strip_suffix("/mcp"))
            .and_then(|name| context.catalog.named(name)),
    };
    let found = found.map(|server| {
        let id = request.headers().get(SESSION_HEADER);
        let id = id.and_then(|id| id.to_str().ok());
        match id.and_then(|id| context.catalog.of_session(id, &server, path == "/mcp")) {
            Some(other) => other,
            None => server,
        }
    });
    found.ok_or_else(|| {
        answer::fault(
            Fault::NotFound,
            "null",
            code::INVALID_REQUEST,
            &format!(
                "Not Found: there is /mcp, /servers/NAME/mcp with NAME one of {}, /health and /metrics",
                context.catalog.names().join(", ")
            ),
        )
    })
}

async fn endpoint(
    context: &Context,
    server: &Arc<Server>,
    stranger: &Arc<Principal>,
    request: Request<Incoming>,
) -> Answer {
    let method = request.method().clone();
    let caller = match context.terms().auth.caller(request.headers(), stranger) {
        Ok(caller) => caller,
        // Browsers ask whether they may send a token without sending it.
        Err(_) if method == Method::OPTIONS => Arc::clone(stranger),
        Err(denied) => return unauthorized(denied),
    };
    if method == Method::POST {
        return post(context, server, &caller, request).await;
    }
    let headers = request.headers();
    let version = headers.get(VERSION_HEADER).and_then(|v| v.to_str().ok());
    let modern = version.is_some_and(|v| era::era_of(v.trim()) == Era::Modern);
    match method {
        Method::GET if !modern => legacy_get::get(context, server, &caller, headers),
        Method::DELETE if !modern => legacy_get::delete(server, &caller, headers),
        Method::OPTIONS => {
            let mut answer = answer::preflight();
            let headers = answer.headers_mut();
            headers.insert(
                ACCESS_CONTROL_ALLOW_METHODS,
                HeaderValue::from_static("GET, POST, DELETE, OPTIONS"),
            );
            headers.insert(
                ACCESS_CONTROL_ALLOW_HEADERS,
                request
                    .headers()
                    .get("access-control-request-headers")
                    .cloned()
                    .unwrap_or(HeaderValue::from_static("content-type")),
            );
            answer
        }
        _ => {
            let mut answer = answer::fault(
                Fault::Method,
                "null",
                code::INVALID_REQUEST,
                "Method Not Allowed",
            );
            let allowed = if modern {
                "POST, OPTIONS"
            } else {
                "GET, POST, DELETE, OPTIONS"
            };
            answer
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allowed));
            answer
        }
    }
}

async fn post(
    context: &Context,
    server: &Arc<Server>,
    caller: &Arc<Principal>,
    request: Request<Incoming>,
) -> Answer {
    let (parts, body) = request.into_parts();
    if let Err(answer) = exchange::check_types(&parts.headers) {
        return answer;
    }
    let body = match exchange::read(body, context.terms().listen.max_body_bytes).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    match exchange::era_of(&parts.headers, &body) {
        Era::Modern => modern::post(context, server, caller, &parts.headers, body).await,
        Era::Legacy => legacy::post(context, server, caller, &parts.headers, body).await,
    }
}
