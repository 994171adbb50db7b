//! What is said on the admin socket: one JSON object per line, each way.
//!
//! ```text
//! -> {"v":1,"command":"status"}
//! <- {"v":1,"ok":{"version":"0.1.0", ...}}
//! -> {"v":1,"command":"drain","server":"music","on":true}
//! <- {"v":1,"ok":{"in_flight":3}}
//! <- {"v":1,"error":{"code":"unknown_command","message":"..."}}
//! ```
//!
//! A line may be followed by others on the same connection; answers come in order. `v` changes
//! only when an old reader would misread; new commands, new arguments beside `command` and new
//! fields of an answer do not change it, so readers ignore fields they do not know. It knows
//! nothing of sockets.

use crate::broker::control::BreakerMode;
use crate::broker::snapshot::Snapshot;
use crate::fault::{LONGEST, Part};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of this protocol.
pub const VERSION: u32 = 1;
/// Longest request line in bytes, newline included.
pub const REQUEST_LIMIT: usize = 64 * 1024;
/// Longest answer a client reads, in bytes: some hundred thousand workers.
pub const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// Longest reason of a breaker mode in bytes: it stands in one line of the log.
pub const REASON_LIMIT: usize = 500;
/// Most buckets of the limiter in one answer.
pub const LIMITS_MOST: usize = 10_000;
/// Longest time a breaker can be forced for, in milliseconds: a year.
pub const FOR_MS_MOST: u64 = 365 * 24 * 3600 * 1000;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// What the daemon looks like right now; answered with a [`Snapshot`].
    Status,
    /// The buckets of the limiter, the busiest first; answered with a list of
    /// [`LimitStatus`](crate::broker::snapshot::LimitStatus).
    Limits {
        /// How many, at most [`LIMITS_MOST`].
        most: usize,
    },
    /// Sets the mode of a breaker; answered with [`BreakerSet`].
    Breaker {
        /// Its server.
        server: String,
        /// Its tool; absent: the server's own breaker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tool: Option<String>,
        /// What it is to do.
        mode: BreakerMode,
        /// Milliseconds until it decides by itself again; absent: it stays.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
        /// Why, for the log and for whoever looks at it next; may be absent for `auto` only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Replaces a worker; answered with [`Recycled`].
    Recycle {
        /// Its number.
        worker: u64,
    },
    /// Lets a server take no new calls, or take them again; answered with [`Drained`].
    Drain {
        /// Its name.
        server: String,
        /// Whether new calls are refused.
        on: bool,
    },
    /// Forgets quarantined calls; answered with [`Cleared`].
    ClearQuarantine {
        /// Their server.
        server: String,
        /// The digest of one; absent: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
    },
    /// Reads the configuration again and puts it into force; answered with
    /// [`Reloaded`](crate::broker::reload::Reloaded).
    Reload {
        /// Only tell what would change.
        #[serde(default)]
        check: bool,
    },
    /// Makes a part of the daemon stand still, if its build can; answered with [`Faulty`].
    Fault {
        /// Which.
        part: Part,
        /// For how many milliseconds, at most [`LONGEST`].
        for_ms: u64,
    },
}

/// The answer to [`Command::Breaker`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerSet {
    /// Who is recorded to have set it.
    pub author: String,
}

/// The answer to [`Command::Recycle`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recycled {
    /// The worker's server.
    pub server: String,
}

/// The answer to [`Command::Drain`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Calls in flight, which go on.
    pub in_flight: usize,
}

/// The answer to [`Command::Fault`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faulty {
    /// For how many milliseconds.
    pub for_ms: u64,
}

/// The answer to [`Command::ClearQuarantine`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleared {
    /// How many calls were forgotten.
    pub cleared: usize,
}

impl Command {
    /// The word of every command on the wire, so that a command that is not known is told from one
    /// with wrong arguments.
    pub const NAMES: [&str; 8] = [
        "status",
        "limits",
        "breaker",
        "recycle",
        "drain",
        "clear_quarantine",
        "reload",
        "fault",
    ];

    /// What is wrong with the arguments although they can be read, and what to do.
    fn fault(&self) -> Option<String> {
        match self {
            Self::Limits { most } if *most == 0 || *most > LIMITS_MOST => {
                Some(format!("`most` is from 1 to {LIMITS_MOST}"))
            }
            Self::Breaker {
                for_ms: Some(time), ..
            } if *time == 0 || *time > FOR_MS_MOST => Some(format!(
                "`for_ms` is from 1 to {FOR_MS_MOST} (a year); leave it out for a mode that stays"
            )),
            Self::Fault { for_ms, .. }
                if *for_ms == 0 || u128::from(*for_ms) > LONGEST.as_millis() =>
            {
                Some(format!("`for_ms` is from 1 to {}", LONGEST.as_millis()))
            }
            Self::Breaker { reason, mode, .. } => reason_fault(reason.as_deref(), *mode),
            _ => None,
        }
    }
}

fn reason_fault(reason: Option<&str>, mode: BreakerMode) -> Option<String> {
    match reason {
        None if mode == BreakerMode::Auto => None,
        Some(text) if !text.trim().is_empty() && text.len() <= REASON_LIMIT => None,
        Some(text) if text.len() > REASON_LIMIT => {
            Some(format!("`reason` is at most {REASON_LIMIT} bytes long"))
        }
        _ => Some("say why in `reason`: others read it when calls are refused".to_owned()),
    }
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
    /// The arguments of the command are missing, of the wrong kind or out of range.
    pub const ARGUMENTS: &str = "bad_arguments";
    /// It cannot be done: there is no such server, tool, worker or call, or not in this state.
    pub const IMPOSSIBLE: &str = "impossible";
    /// The new configuration is refused; the message has one error a line.
    pub const REJECTED: &str = "configuration_rejected";
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
    let name = crate::observe::escape::escape(&head.command, 40);
    if !Command::NAMES.contains(&head.command.as_str()) {
        return Err(failure(
            code::UNKNOWN,
            format!(
                "this mainstayd {} cannot do {name:?}; it knows {}",
                env!("CARGO_PKG_VERSION"),
                Command::NAMES.join(", ")
            ),
        ));
    }
    let wrong = |what: String| {
        failure(
            code::ARGUMENTS,
            format!("the arguments of {name} are wrong: {what}"),
        )
    };
    let command: Command =
        serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
    command.fault().map_or(Ok(command), |what| Err(wrong(what)))
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

/// Reads an answer: what was asked for, or the daemon's reason.
///
/// # Errors
/// If the line is no answer of this version, or one to something else.
pub fn parse_answer<T: DeserializeOwned>(
    line: &[u8],
) -> Result<Result<T, Failure>, serde_json::Error> {
    let answer: Answer<T> = serde_json::from_slice(line)?;
    match (answer.v, answer.ok, answer.error) {
        (VERSION, Some(value), None) => Ok(Ok(value)),
        (_, None, Some(failure)) => Ok(Err(failure)),
        (version, _, _) => Err(serde::de::Error::custom(format!(
            "an answer of version {version} with neither or both of `ok` and `error`"
        ))),
    }
}

/// Reads the answer to [`Command::Status`]: the snapshot, or the daemon's reason.
///
/// # Errors
/// If the line is no answer of this version.
pub fn parse_status(line: &[u8]) -> Result<Result<Snapshot, Failure>, serde_json::Error> {
    parse_answer(line)
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

    fn commands() -> [Command; 7] {
        let server = "music".to_owned();
        [
            Command::Status,
            Command::Limits { most: 50 },
            Command::Breaker {
                server: server.clone(),
                tool: None,
                mode: BreakerMode::Open,
                for_ms: Some(600_000),
                reason: Some("upstream is moved".to_owned()),
            },
            Command::Recycle { worker: 3 },
            Command::Drain {
                server: server.clone(),
                on: true,
            },
            Command::ClearQuarantine {
                server,
                digest: None,
            },
            Command::Reload { check: true },
        ]
    }

    #[test]
    fn every_command_is_read_back_under_its_name() {
        for (command, name) in commands().into_iter().zip(Command::NAMES) {
            let line = request(command.clone());
            assert!(line.contains(&format!("\"command\":\"{name}\"")), "{line}");
            assert_eq!(parse_request(line.as_bytes()), Ok(command), "{line}");
        }
    }

    #[test]
    fn the_wire_is_stable() {
        let [_, _, breaker, ..] = commands();
        assert_eq!(
            request(breaker),
            "{\"v\":1,\"command\":\"breaker\",\"server\":\"music\",\"mode\":\"open\",\
             \"for_ms\":600000,\"reason\":\"upstream is moved\"}\n"
        );
    }

    #[test]
    fn wrong_arguments_say_what_to_do() {
        let long = format!(
            r#""command":"breaker","server":"m","mode":"open","reason":"{}""#,
            "x".repeat(REASON_LIMIT + 1)
        );
        let breaker = r#""command":"breaker","server":"m","mode":"open""#;
        let with = |more: &str| format!("{breaker},{more}");
        for (line, part) in [
            (r#""command":"drain","server":"m""#.to_owned(), "`on`"),
            (r#""command":"recycle","worker":"3""#.to_owned(), "u64"),
            (
                r#""command":"limits","most":0"#.to_owned(),
                "from 1 to 10000",
            ),
            (
                r#""command":"breaker","server":"m","mode":"opne""#.to_owned(),
                "`open`",
            ),
            (breaker.to_owned(), "say why in `reason`"),
            (with(r#""reason":" ""#), "say why in `reason`"),
            (with(r#""reason":"x","for_ms":0"#), "leave it out"),
            (with(r#""reason":"x","for_ms":31536000001"#), "leave it out"),
            (long, "at most 500 bytes"),
        ] {
            let failure = parse_request(format!("{{\"v\":1,{line}}}").as_bytes()).unwrap_err();
            assert_eq!(failure.code, code::ARGUMENTS, "{failure:?}");
            assert!(failure.message.contains(part), "{part} in {failure:?}");
        }
        let auto = br#"{"v":1,"command":"breaker","server":"m","mode":"auto"}"#;
        assert!(parse_request(auto).is_ok());
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
