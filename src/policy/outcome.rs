//! How a call ended, and what that says about the server and about the tool. One table: a round
//! trip that was completed proves that the server is reachable, whatever the answer was.

use super::breaker::Verdict;
use std::time::Duration;

/// JSON-RPC: the receiver failed.
const INTERNAL_ERROR: i64 = -32603;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A result came.
    Result {
        /// The tool says that it failed.
        is_error: bool,
        /// The configured predicate found an error hidden in a success.
        predicate_failed: bool,
    },
    /// A JSON-RPC error came from the worker.
    RpcError {
        /// Its code.
        code: i64,
        /// Whether the code is one of those that are the caller's own fault.
        caller_fault: bool,
    },
    /// The worker exited or closed its end; the upstream could not be connected to, reset the
    /// connection, or answered 502, 503 or 504.
    WorkerGone,
    /// The call's time was over while a worker had it.
    Expired,
    /// What came was no answer: a broken or oversize frame, a wrong id.
    Malformed,
    /// The upstream is busy: 429, or its equivalent.
    Declined {
        /// When it wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
    /// It never reached a worker.
    Unsent,
    /// Its client cancelled it.
    Cancelled,
    /// A guard of ours refused it.
    Refused,
}

impl Outcome {
    /// What it says about the server.
    #[must_use]
    pub fn of_server(self) -> Verdict {
        match self {
            Self::RpcError {
                code: INTERNAL_ERROR,
                caller_fault: false,
            } => Verdict::Weak,
            Self::Result { .. } | Self::RpcError { .. } => Verdict::Success,
            Self::WorkerGone | Self::Expired | Self::Malformed => Verdict::Failure,
            Self::Declined { retry_after } => Verdict::Busy { retry_after },
            Self::Unsent | Self::Cancelled | Self::Refused => Verdict::Excluded,
        }
    }

    /// What it says about the tool, for a tool with a breaker of its own.
    #[must_use]
    pub fn of_tool(self) -> Verdict {
        match self {
            Self::Result {
                is_error,
                predicate_failed,
            } => {
                if is_error || predicate_failed {
                    Verdict::Failure
                } else {
                    Verdict::Success
                }
            }
            Self::RpcError {
                caller_fault: false,
                ..
            }
            | Self::Expired => Verdict::Failure,
            Self::RpcError { .. }
            | Self::WorkerGone
            | Self::Malformed
            | Self::Declined { .. }
            | Self::Unsent
            | Self::Cancelled
            | Self::Refused => Verdict::Excluded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;
    use crate::policy::breaker::Verdict::{self, Busy, Excluded, Failure, Success, Weak};
    use std::time::Duration;

    const fn result(is_error: bool, predicate_failed: bool) -> Outcome {
        Outcome::Result {
            is_error,
            predicate_failed,
        }
    }

    const fn error(code: i64, caller_fault: bool) -> Outcome {
        Outcome::RpcError { code, caller_fault }
    }

    const AFTER: Option<Duration> = Some(Duration::from_secs(7));

    /// Outcome, server breaker, tool breaker.
    const TABLE: [(Outcome, Verdict, Verdict); 18] = [
        (result(false, false), Success, Success),
        (result(true, false), Success, Failure),
        (result(false, true), Success, Failure),
        (result(true, true), Success, Failure),
        (error(-32601, true), Success, Excluded),
        (error(-32602, true), Success, Excluded),
        (error(-32600, true), Success, Excluded),
        (error(-32603, false), Weak, Failure),
        // An operator may call any code the caller's fault, and take -32602 off that list.
        (error(-32603, true), Success, Excluded),
        (error(-32602, false), Success, Failure),
        (error(-32002, false), Success, Failure),
        (Outcome::WorkerGone, Failure, Excluded),
        (Outcome::Expired, Failure, Failure),
        (Outcome::Malformed, Failure, Excluded),
        (
            Outcome::Declined { retry_after: AFTER },
            Busy { retry_after: AFTER },
            Excluded,
        ),
        (Outcome::Unsent, Excluded, Excluded),
        (Outcome::Cancelled, Excluded, Excluded),
        (Outcome::Refused, Excluded, Excluded),
    ];

    #[test]
    fn the_outcome_table_holds_row_by_row() {
        for (outcome, server, tool) in TABLE {
            assert_eq!(outcome.of_server(), server, "{outcome:?}, server");
            assert_eq!(outcome.of_tool(), tool, "{outcome:?}, tool");
        }
    }
}
