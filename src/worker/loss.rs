//! Why a request that was sent gets no answer, where the transport can tell: an upstream over HTTP
//! fails call by call, a process as a whole.

use std::time::Duration;

/// What happened to the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never reached the far side: no connection, no name, no TLS. Sending it again is harmless.
    Unsent,
    /// It may have been executed: connection reset, body cut off, 502 to 504, silence.
    Unknown,
    /// The far side declined it without executing it: 429, or 503 with `Retry-After`.
    Declined {
        /// When it may be tried again, if the far side said so.
        retry_after: Option<Duration>,
    },
    /// The far side does not know the session it was sent in, and did not look at it: another
    /// session may send it again without harm.
    Forgotten,
    /// It was answered with something that is no MCP.
    Garbled,
}

/// A lost request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// What happened to it.
    pub fate: Fate,
    /// The same in words that follow "the upstream".
    pub what: String,
}
