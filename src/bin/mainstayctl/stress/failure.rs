//! Why a call is not good: a kind to count by, and an example of it.

use std::fmt::Display;
use std::time::Duration;

use serde_json::Value;

/// Bytes of a message that are kept.
const EXAMPLE_LIMIT: usize = 300;

/// One call that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What is counted: a few words, few of them.
    pub(crate) kind: String,
    pub(crate) example: String,
    /// How long the server asked to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// The session does not exist any more.
    pub(crate) session_lost: bool,
}

impl Failure {
    pub(crate) fn new(kind: &str, example: impl Display) -> Self {
        let mut example = example.to_string();
        if let Some((cut, _)) = example.char_indices().find(|(at, _)| *at >= EXAMPLE_LIMIT) {
            example.truncate(cut);
            example.push_str("...");
        }
        Self {
            kind: kind.to_owned(),
            example,
            retry_after: None,
            session_lost: false,
        }
    }

    /// A JSON-RPC error, by the reason the daemon gives, else by its code.
    pub(crate) fn error(error: &Value) -> Self {
        let message = error["message"].as_str().unwrap_or_default();
        let code = error["code"].as_i64().unwrap_or_default();
        let kind = match error["data"]["reason"].as_str() {
            Some(reason) if (-31_099..=-31_000).contains(&code) => reason.to_owned(),
            _ => format!("error {code}"),
        };
        let wait = error["data"]["retryAfterMs"].as_u64();
        Self {
            retry_after: wait.map(Duration::from_millis),
            ..Self::new(&kind, message)
        }
    }

    /// An HTTP status that is no answer.
    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self {
            session_lost: status == 404,
            ..Self::new(&format!("HTTP {status}"), body)
        }
    }

    pub(crate) fn connection(error: impl Display) -> Self {
        Self::new("connection", error)
    }

    pub(crate) fn unreadable(what: impl Display) -> Self {
        Self::new("unreadable answer", what)
    }

    pub(crate) fn wrong(what: impl Display) -> Self {
        Self::new("wrong answer", what)
    }

    pub(crate) fn deadline(limit: Duration) -> Self {
        Self::new("no answer", format!("none within {} s", limit.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_are_counted_by_reason_or_code() {
        let data = json!({"reason": "overloaded", "retryAfterMs": 250, "retryable": true});
        let refusal = Failure::error(&json!({"code": -31003, "message": "full", "data": data}));
        assert_eq!(
            (refusal.kind.as_str(), refusal.example.as_str()),
            ("overloaded", "full")
        );
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(250)));
        // What a server invents is not taken for the daemon's word.
        let other = Failure::error(&json!({"code": -32000, "data": {"reason": "overloaded"}}));
        assert_eq!(other.kind, "error -32000");
    }

    #[test]
    fn examples_are_short() {
        assert_eq!(Failure::wrong("ä".repeat(4000)).example.len(), 303);
    }
}
