//! How outcomes look in HTTP. The only file that knows status codes.
//!
//! A request that could be parsed is refused with a JSON-RPC error in a 200: clients of both
//! official SDKs lose their session over a 429 or 503. Real statuses are left for what the
//! protocol demands and for what was never a call.

use bytes::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};

use super::body::{Body, Events};
use super::health::Report;
use super::limit::Told;
use crate::mcp::code::{self, ModernStatus, modern_status};
use crate::mcp::message;

/// A response of the front.
pub type Answer = Response<Body>;

/// The session header.
pub const SESSION_HEADER: HeaderName = HeaderName::from_static("mcp-session-id");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What was wrong with a request, where the protocol has a status for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No token where one is needed, or one that nobody has.
    Unauthorized,
    /// Host or Origin not allowed.
    Forbidden,
    /// No such path, server or session.
    NotFound,
    /// Method not offered here.
    Method,
    /// `Accept` lacks a type.
    NotAcceptable,
    /// The body did not arrive in time.
    Timeout,
    /// Body larger than the limit.
    TooLarge,
    /// Not `application/json`.
    MediaType,
    /// Everything else that is wrong with a request.
    BadRequest,
}

impl Fault {
    fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BadRequest => StatusCode::BAD_REQUEST,
        }
    }
}

fn with(status: StatusCode, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

/// One JSON-RPC message.
#[must_use]
pub fn json(message: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::full(message.into()));
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

/// The answer of a modern call, with the status its error code (if it is an error) asks for.
#[must_use]
pub fn modern(message: Bytes, error: Option<i64>) -> Answer {
    let mut answer = json(message);
    *answer.status_mut() = match error.map_or(ModernStatus::Ok, modern_status) {
        ModernStatus::Ok => StatusCode::OK,
        ModernStatus::BadRequest => StatusCode::BAD_REQUEST,
        ModernStatus::NotFound => StatusCode::NOT_FOUND,
    };
    answer
}

/// An event stream.
#[must_use]
pub fn events(events: Events) -> Answer {
    let mut answer = Response::new(Body::events(events));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    answer
}

/// A fault as a JSON-RPC error; `id` is the request's, raw, or `null`.
#[must_use]
pub fn fault(fault: Fault, id: &str, code: i32, message: &str) -> Answer {
    let mut answer = json(message::error(id, code, message, None).into_bytes());
    *answer.status_mut() = fault.status();
    answer
}

/// A modern error of the daemon's own, with its data and the status of its code.
#[must_use]
pub fn modern_error(
    id: &str,
    code: i32,
    message: &str,
    data: Option<&serde_json::Value>,
) -> Answer {
    let message = message::error(id, code, message, data);
    modern(message.into_bytes().into(), Some(i64::from(code)))
}

/// 401, with the scheme to use; `invalid`: there was a token, and it is not known.
#[must_use]
pub fn unauthorized(invalid: bool, message: &str) -> Answer {
    let mut answer = fault(Fault::Unauthorized, "null", code::INVALID_REQUEST, message);
    let challenge = match invalid {
        true => "Bearer error=\"invalid_token\"",
        false => "Bearer",
    };
    answer
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    answer
}

/// Adds to an answer what its caller may still do.
pub fn within_limits(answer: &mut Answer, told: Told) {
    let headers = answer.headers_mut();
    headers.insert(RATE_LIMIT_POLICY, told.policy);
    headers.insert(RATE_LIMIT, told.left);
    if let Some(after) = told.retry_after {
        headers.insert(RETRY_AFTER, after);
    }
}

/// 404 for a session that does not exist (any more), in the words SDKs know.
#[must_use]
pub fn session_not_found() -> Answer {
    fault(
        Fault::NotFound,
        "null",
        code::SESSION_NOT_FOUND,
        "Session not found",
    )
}

/// 202: a notification or a response was taken.
#[must_use]
pub fn accepted() -> Answer {
    with(StatusCode::ACCEPTED, Body::empty())
}

/// 200 without a body: a session was ended.
#[must_use]
pub fn done() -> Answer {
    with(StatusCode::OK, Body::empty())
}

/// 204 for a CORS preflight.
#[must_use]
pub fn preflight() -> Answer {
    with(StatusCode::NO_CONTENT, Body::empty())
}

/// A health report: 200 if able to serve, else 503.
#[must_use]
pub fn report(report: Report) -> Answer {
    let mut answer = json(report.body);
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !report.serving {
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// The metrics page.
#[must_use]
pub fn metrics(page: String) -> Answer {
    let mut answer = Response::new(Body::full(page.into()));
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static(super::metrics::CONTENT_TYPE),
    );
    answer
}
