//! What the guards of a server are told: limits, failures, what is special about one tool, and who
//! the principals are. Plain data, as in `model`; the rules behind it are in `policy`.

use std::path::PathBuf;
use std::time::Duration;

use crate::policy::breaker;
use crate::policy::bucket::Limit;
use crate::policy::class::Class;

/// `[servers.NAME.failure]` and `[servers.NAME.tools.TOOL.failure]`: which answers are failures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failure {
    /// A result in which this JSON pointer (RFC 6901) finds a value is looked at. A string on the
    /// way that holds JSON is read as JSON, so `/content/0/text/status` works.
    pub pointer: Option<String>,
    /// The value that makes it a failure; `None`: any value but null and false.
    pub equals: Option<String>,
    /// JSON-RPC codes that are the caller's own fault; `None`: -32600, -32601 and -32602.
    pub caller_codes: Option<Vec<i64>>,
}

/// `[servers.NAME.tools.TOOL]`: what is special about one tool. `None` is "as the server has it".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tool {
    /// How long a call may take.
    pub call_timeout: Option<Duration>,
    /// Whether a call may be made twice without harm.
    pub retry_safe: Option<bool>,
    /// Limit per principal for this tool alone.
    pub rate_limit: Option<Limit>,
    /// How much its calls matter; the lower of this and the principal's counts.
    pub class: Option<Class>,
    /// A breaker for this tool alone, which counts failed results (`isError`, `failure`) too.
    pub breaker: Option<breaker::Settings>,
    /// Which answers are failures.
    pub failure: Option<Failure>,
}

/// `[auth]`: whether callers must say who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// Calls without a known bearer token are answered with 401. Off: they are made as
    /// `anonymous@ADDRESS`.
    pub required: bool,
}

/// One `[[principals]]`: somebody known by a bearer token.
#[derive(Clone, Debug, PartialEq)]
pub struct Principal {
    /// 1 to 64 of `A-Z a-z 0-9 _ - . @`.
    pub name: String,
    /// How much its calls matter.
    pub class: Class,
    /// Where the hashes of its tokens are.
    pub tokens: Tokens,
    /// Its limit in the place of `[rate_limit]`.
    pub rate_limit: Option<Limit>,
}

/// Where SHA-256 hashes of bearer tokens are, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// `token_sha256 = ["..."]`: here; secret enough, since tokens are random.
    Hashes(Vec<[u8; 32]>),
    /// `token_file = "/path"`: one a line.
    File(PathBuf),
    /// `token_credential = "NAME"`: one a line in the systemd credential of that name.
    Credential(String),
}
