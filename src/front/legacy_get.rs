//! GET and DELETE in the legacy era: the standalone stream, resumption by `Last-Event-ID`, and
//! the end of a session.

use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName};

use super::answer::{self, Answer, Fault};
use super::body::{Events, Hold};
use super::context::Context;
use super::exchange;
use super::legacy;
use crate::broker::principal::Principal;
use crate::broker::server::Server;
use crate::mcp::code;
use crate::mcp::sse::EventId;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Answers a GET. The newest reader of a stream wins: a half-dead connection must not lock a
/// client out.
pub fn get(
    context: &Context,
    server: &Arc<Server>,
    caller: &Principal,
    headers: &HeaderMap,
) -> Answer {
    if !exchange::accepts_events(headers) {
        return answer::fault(
            Fault::NotAcceptable,
            "null",
            code::INVALID_REQUEST,
            "Not Acceptable: the client must accept text/event-stream",
        );
    }
    let session = match legacy::session(server, caller, headers) {
        Ok(session) => session,
        Err(answer) => return answer,
    };
    session.touch();
    let (stream, after) = match headers.get(LAST_EVENT_ID) {
        None => {
            let stream = Arc::clone(session.standalone());
            let after = stream.read_up_to();
            (stream, after)
        }
        Some(id) => {
            let id = id.to_str().ok().and_then(EventId::parse);
            let found = id.and_then(|id| Some((session.stream(id.stream)?, id.seq)));
            match found.filter(|(stream, seq)| stream.has_reached(*seq)) {
                Some(found) => found,
                // Never 404: that would tell the client that its session is gone.
                None => {
                    return answer::fault(
                        Fault::BadRequest,
                        "null",
                        code::LEGACY_FALLBACK,
                        "Bad Request: Last-Event-ID names no event of this session that is still kept",
                    );
                }
            }
        }
    };
    let reader = stream.attach();
    let standalone = stream.number == 0;
    let terms = context.terms();
    let keepalive = terms.listen.keepalive_interval;
    let mut events = Events::new(stream, reader, after, keepalive).resumable();
    if session.version().has_priming() {
        events = events.primed(terms.listen.retry);
    }
    if standalone {
        events = events.holding(Hold::Session(session));
    }
    answer::events(events)
}

/// Answers a DELETE: the session is over.
pub fn delete(server: &Arc<Server>, caller: &Principal, headers: &HeaderMap) -> Answer {
    match legacy::session(server, caller, headers) {
        Ok(session) => {
            server.shared().sessions.close(&session);
            answer::done()
        }
        Err(answer) => answer,
    }
}
