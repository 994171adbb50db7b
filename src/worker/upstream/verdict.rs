//! What it means that an upstream refused a message by its HTTP status: an answer, a lost session,
//! or a lost request. Pure.

use std::time::Duration;

use serde_json::value::RawValue;

use crate::mcp::code;
use crate::mcp::envelope::{self, Message, Outcome};
use crate::mcp::message;
use crate::mcp::splice::splice;
use crate::worker::loss::{Fate, Loss};

/// A refusal. Statuses from 200 to 299 never get here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused<'a> {
    /// Id and method of the request; a notification has none.
    pub(super) request: Option<(u64, &'a str)>,
    /// Whether the message named a session.
    pub(super) in_session: bool,
    /// The HTTP status.
    pub(super) status: u16,
    /// Its usual name.
    pub(super) phrase: &'a str,
    /// `Location`, of a redirect.
    pub(super) location: Option<&'a str>,
    /// `Retry-After`.
    pub(super) retry_after: Option<&'a str>,
    /// The body, or its head if it is long.
    pub(super) body: &'a [u8],
}

/// What it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is an answer to the request; the frame.
    Answer(Vec<u8>),
    /// The upstream does not know the session any more, and did not execute the message.
    SessionGone,
    /// The message is lost.
    Lost(Loss),
}

/// A longer wait is not waited for by anybody.
const LONGEST_WAIT: u64 = 24 * 3600;

/// Judges a refusal.
pub(super) fn judge(refused: &Refused<'_>) -> Verdict {
    let Refused { status, phrase, .. } = *refused;
    let lost = |fate, what: String| Verdict::Lost(Loss { fate, what });
    let declined = |what: String| {
        let retry_after = refused.retry_after.and_then(|t| t.trim().parse().ok());
        let retry_after = retry_after.map(|s: u64| Duration::from_secs(s.min(LONGEST_WAIT)));
        lost(Fate::Declined { retry_after }, what)
    };
    let answered = format!("answered {status} {phrase}");
    match status {
        300..=399 => {
            let to = refused.location.unwrap_or("nowhere");
            let what = format!("{answered}, a redirect to {to}, which mainstay does not follow");
            return lost(Fate::Garbled, what);
        }
        401 | 403 => {
            let what = "check its bearer_file or bearer_credential, and what the token may do";
            return declined(format!("{answered}: {what}"));
        }
        429 => return declined(answered),
        503 if refused.retry_after.is_some() => return declined(answered),
        _ => {}
    }
    let error = error_in(refused.body);
    let is_own = |id: &Option<&str>| {
        let own = refused.request.map(|(id, _)| id.to_string());
        own.is_some() && id.map(ToOwned::to_owned) == own
    };
    let own = error.as_ref().is_some_and(|(id, _)| is_own(id));
    if refused.in_session && is_session_gone(refused, error, own) {
        return Verdict::SessionGone;
    }
    let is_clients = (400..=499).contains(&status);
    match (refused.request, error) {
        (Some((id, _)), Some((_, error))) if own || is_clients => {
            let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{}}}"#, error.get());
            Verdict::Answer(splice(line.as_bytes(), &mut [], false))
        }
        // Servers of the legacy era refuse what they do not know in many ways.
        (Some((id, "server/discover")), None) if is_clients => {
            let line = message::error(&id.to_string(), code::LEGACY_FALLBACK, &answered, None);
            Verdict::Answer(line.into_bytes())
        }
        _ if is_clients => lost(Fate::Garbled, format!("{answered} without an MCP error")),
        _ => lost(Fate::Unknown, answered),
    }
}

/// The error in a body, with the id it names.
fn error_in(body: &[u8]) -> Option<(Option<&str>, &RawValue)> {
    match envelope::parse(body).ok()? {
        Message::Response {
            id,
            outcome: Outcome::Error(error),
        } => Some((id.map(RawValue::get), error)),
        Message::Response { .. } | Message::Request { .. } | Message::Notification { .. } => None,
    }
}

/// 404 is what the specification wants. Some servers say 400 instead, and name no request; and
/// nothing but a lost session makes a ping the client's fault.
fn is_session_gone(
    refused: &Refused<'_>,
    error: Option<(Option<&str>, &RawValue)>,
    own: bool,
) -> bool {
    let code = error.and_then(|(_, error)| envelope::error_code(error));
    match (refused.status, refused.request) {
        (404, _) => !(own && code == Some(i64::from(code::METHOD_NOT_FOUND))),
        (400..=499, Some((_, "ping"))) => true,
        (400, _) => error
            .is_some_and(|(_, error)| !own && error.get().to_ascii_lowercase().contains("session")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Refused, Verdict, judge};
    use crate::worker::loss::{Fate, Loss};
    use std::time::Duration;

    const CALL: Refused<'_> = Refused {
        request: Some((7, "tools/call")),
        in_session: true,
        status: 400,
        phrase: "Phrase",
        location: None,
        retry_after: None,
        body: b"",
    };
    const OWN: &[u8] = br#"{"jsonrpc":"2.0","id":7,"error":{"code":-32020,"message":"m"}}"#;
    const NOBODYS: &[u8] =
        br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: no valid Session id"}}"#;
    const UNKNOWN_METHOD: &[u8] =
        br#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"m"}}"#;

    fn fate(refused: &Refused<'_>) -> Fate {
        match judge(refused) {
            Verdict::Lost(Loss { fate, .. }) => fate,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_error_with_the_id_of_the_request_is_an_answer() {
        for status in [400, 404, 500] {
            let refused = Refused {
                status,
                body: OWN,
                in_session: false,
                ..CALL
            };
            assert_eq!(judge(&refused), Verdict::Answer(OWN.to_vec()), "{status}");
        }
        let unnamed = Refused {
            body: b"{\"jsonrpc\":\"2.0\",\"id\":\"server-error\",\n\"error\":{\"code\":1,\n\"message\":\"m\"}}",
            ..CALL
        };
        let wanted = br#"{"jsonrpc":"2.0","id":7,"error":{"code":1, "message":"m"}}"#;
        assert_eq!(judge(&unnamed), Verdict::Answer(wanted.to_vec()));
    }

    #[test]
    fn a_session_is_gone_however_that_is_said() {
        let gone = |refused: Refused<'_>| judge(&refused) == Verdict::SessionGone;
        assert!(gone(Refused {
            status: 404,
            ..CALL
        }));
        assert!(gone(Refused {
            status: 404,
            body: OWN,
            ..CALL
        }));
        assert!(gone(Refused {
            status: 404,
            request: None,
            ..CALL
        }));
        assert!(gone(Refused {
            body: NOBODYS,
            ..CALL
        }));
        assert!(gone(Refused {
            request: Some((7, "ping")),
            body: OWN,
            ..CALL
        }));
        assert!(!gone(Refused {
            status: 404,
            body: UNKNOWN_METHOD,
            ..CALL
        }));
        assert!(!gone(Refused { body: OWN, ..CALL }));
        assert!(!gone(Refused {
            status: 404,
            in_session: false,
            ..CALL
        }));
        assert!(!gone(Refused {
            status: 500,
            ..CALL
        }));
    }

    #[test]
    fn the_fate_of_a_request_follows_from_the_status() {
        let with = |status, retry_after| Refused {
            status,
            retry_after,
            in_session: false,
            ..CALL
        };
        let declined = |seconds: Option<u64>| Fate::Declined {
            retry_after: seconds.map(Duration::from_secs),
        };
        assert_eq!(fate(&with(429, None)), declined(None));
        assert_eq!(fate(&with(429, Some(" 7"))), declined(Some(7)));
        assert_eq!(fate(&with(503, Some("2"))), declined(Some(2)));
        let date = "Wed, 21 Oct 2026 07:28:00 GMT";
        assert_eq!(fate(&with(503, Some(date))), declined(None));
        assert_eq!(fate(&with(401, None)), declined(None));
        for status in [500, 502, 503, 504, 599] {
            assert_eq!(fate(&with(status, None)), Fate::Unknown, "{status}");
        }
        for status in [302, 400, 404, 418] {
            assert_eq!(fate(&with(status, None)), Fate::Garbled, "{status}");
        }
    }

    #[test]
    fn a_redirect_says_where_it_wanted_to_go() {
        let redirect = Refused {
            status: 307,
            location: Some("http://evil/"),
            body: OWN,
            ..CALL
        };
        let Verdict::Lost(loss) = judge(&redirect) else {
            panic!("a redirect is no answer");
        };
        assert!(
            loss.what.contains("redirect to http://evil/"),
            "{}",
            loss.what
        );
    }

    #[test]
    fn any_refusal_of_discover_means_the_legacy_era() {
        let discover = Refused {
            request: Some((7, "server/discover")),
            status: 405,
            in_session: false,
            body: b"<html>",
            ..CALL
        };
        let Verdict::Answer(answer) = judge(&discover) else {
            panic!("a refusal is an answer");
        };
        assert!(String::from_utf8(answer).unwrap().contains("-32000"));
        assert_eq!(
            fate(&Refused {
                status: 502,
                ..discover
            }),
            Fate::Unknown
        );
    }
}
