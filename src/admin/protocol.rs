//! What is said on the admin socket: one JSON object per line, each way.
//!
//! ```text
//! -> {"v":1,"command":"status"}
//! <- {"v":1,"ok":{"version":"0.1.0", ...}}
//! <- {"v":1,"error":{"code":"unknown_command","message":"..."}}
//! ```
//!
//! A line may be followed by others on the same connection; answers come in order. `v` changes
//! only when an old reader would misread; new commands, new arguments beside `command` and new
//! fields of an answer do not change it, so readers ignore fields they do not know. It knows
//! nothing of sockets.

use crate::broker::snapshot::Snapshot;
use serde::{Deserialize, Serialize};

/// The version of this protocol.
pub const VERSION: u32 = 1;
/// Longest request line in bytes, newline included.
pub const REQUEST_LIMIT: usize = 64 * 1024;
/// Longest answer a client reads, in bytes: some hundred thousand workers.
pub const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// What the daemon looks like right now; answered with a [`Snapshot`].
    Status,
}

/// Why a request was not answered. Codes are for programs and stay, messages are for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One of [`code`].
    pub code: String,
    /// What was wrong and what to do, in one sentence.
    pub message: String,
}

/// The codes of a [`Failure`].
pub mod code {
    /// The line is no JSON object with `v` and `command`.
    pub const MALFORMED: &str = "malformed_request";
    /// The line exceeds the limit; the connection is closed.
    pub const TOO_LARGE: &str = "request_too_large";
    /// `v` is not a version this daemon speaks.
    pub const VERSION: &str = "unsupported_version";
    /// This daemon has no such command.
    pub const UNKNOWN: &str = "unknown_command";
    /// The peer is neither the daemon's user nor root; the connection is closed.
    pub const DENIED: &str = "permission_denied";
    /// Too many admin connections are open; the connection is closed.
    pub const BUSY: &str = "too_many_connections";
    /// The answer could not be made.
    pub const INTERNAL: &str = "internal_error";
}

#[derive(Serialize)]
struct Request {
    v: u32,
    #[serde(flatten)]
    command: Command,
}

#[derive(Deserialize)]
struct Head {
    v: u32,
    command: String,
}

#[derive(Serialize, Deserialize)]
struct Answer<T> {
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// The line that asks for `command`.
#[must_use]
pub fn request(command: Command) -> String {
    encode(&Request {
        v: VERSION,
        command,
    })
    .unwrap_or_default()
}

/// Reads a request line.
///
/// # Errors
/// If it is malformed, of another version, or asks for what this daemon does not have.
pub fn parse_request(line: &[u8]) -> Result<Command, Failure> {
    let head: Head = serde_json::from_slice(line).map_err(|error| {
        let example = "{\"v\":1,\"command\":\"status\"}";
        failure(
            code::MALFORMED,
            format!("cannot read the request: {error}; send {example}"),
        )
    })?;
    if head.v != VERSION {
        return Err(failure(
            code::VERSION,
            format!(
                "this mainstayd speaks version {VERSION} of the admin protocol, not {}; use the \
                 mainstayctl of the same package",
                head.v
            ),
        ));
    }
    serde_json::from_slice(line).map_err(|error| {
        failure(
            code::UNKNOWN,
            format!(
                "this mainstayd {} cannot do {:?}: {error}",
                env!("CARGO_PKG_VERSION"),
                crate::observe::escape::escape(&head.command, 40)
            ),
        )
    })
}

/// The line that answers with `value`.
#[must_use]
pub fn answer(value: &impl Serialize) -> String {
    encode(&Answer {
        v: VERSION,
        ok: Some(value),
        error: None,
    })
    .unwrap_or_else(|error| refuse(&failure(code::INTERNAL, error.to_string())))
}

/// The line that says why there is no answer.
#[must_use]
pub fn refuse(failure: &Failure) -> String {
    encode(&Answer::<()> {
        v: VERSION,
        ok: None,
        error: Some(failure.clone()),
    })
    .unwrap_or_default()
}

/// Makes a [`Failure`].
pub fn failure(code: &str, message: impl Into<String>) -> Failure {
    Failure {
        code: code.to_owned(),
        message: message.into(),
    }
}

/// Reads the answer to [`Command::Status`]: the snapshot, or the daemon's reason.
///
/// # Errors
/// If the line is no answer of this version.
pub fn parse_status(line: &[u8]) -> Result<Result<Snapshot, Failure>, serde_json::Error> {
    let answer: Answer<Snapshot> = serde_json::from_slice(line)?;
    match (answer.v, answer.ok, answer.error) {
        (VERSION, Some(snapshot), None) => Ok(Ok(snapshot)),
        (_, None, Some(failure)) => Ok(Err(failure)),
        (version, _, _) => Err(serde::de::Error::custom(format!(
            "an answer of version {version} with neither or both of `ok` and `error`"
        ))),
    }
}

fn encode(value: &impl Serialize) -> serde_json::Result<String> {
    let mut line = serde_json::to_string(value)?;
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_the_line_that_is_documented() {
        let line = request(Command::Status);
        assert_eq!(line, "{\"v\":1,\"command\":\"status\"}\n");
        assert_eq!(parse_request(line.as_bytes()), Ok(Command::Status));
    }

    #[test]
    fn arguments_of_a_newer_client_do_not_disturb() {
        let line = br#"{"v":1,"command":"status","servers":["music"]}"#;
        assert_eq!(parse_request(line), Ok(Command::Status));
    }

    #[test]
    fn what_cannot_be_answered_says_why() {
        let cases: [(&[u8], &str); 8] = [
            (b"", code::MALFORMED),
            (b"\xff\xfe", code::MALFORMED),
            (b"[1]", code::MALFORMED),
            (br#"{"v":1}"#, code::MALFORMED),
            (br#"{"v":-1,"command":"status"}"#, code::MALFORMED),
            (br#"{"v":1,"command":"status"} x"#, code::MALFORMED),
            (br#"{"v":2,"command":"status"}"#, code::VERSION),
            (br#"{"v":1,"command":"explode"}"#, code::UNKNOWN),
        ];
        for (line, code) in cases {
            let failure = parse_request(line).unwrap_err();
            assert_eq!(failure.code, code, "{failure:?}");
            assert_eq!(refuse(&failure).lines().count(), 1, "{failure:?}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_not_followed() {
        let line = "[".repeat(REQUEST_LIMIT);
        assert_eq!(
            parse_request(line.as_bytes()).unwrap_err().code,
            code::MALFORMED
        );
    }

    #[test]
    fn an_answer_is_one_or_the_other() {
        let failure = failure(code::BUSY, "later");
        assert_eq!(
            parse_status(refuse(&failure).as_bytes()).unwrap(),
            Err(failure)
        );
        assert!(parse_status(br#"{"v":1}"#).is_err());
        assert!(parse_status(br#"{"v":1,"ok":{}}"#).is_err());
    }
}
