//! The one verdict of every step that says no. It carries when to come back; how it looks on the
//! wire is the front's business.

use std::time::Duration;

/// Why a call was not served. Codes and names are frozen once released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The bucket of the principal, or of the principal and the tool, is empty.
    RateLimited,
    /// The breaker of the server or of the tool is open.
    BreakerOpen,
    /// No worker came free in time, the queue is full, or the worker does not read.
    Overloaded,
    /// The call's time was over, while it waited or while a worker had it.
    DeadlineExceeded,
    /// The worker is gone after the call was sent to it: outcome unknown.
    WorkerLost,
    /// This very call has cost several workers their life and is not sent to another.
    Quarantined,
    /// The daemon takes no new calls.
    Draining,
    /// The worker's answer was larger than allowed and discarded: the call was executed.
    AnswerTooLarge,
}

impl Reason {
    /// Every reason, for counters.
    pub const ALL: [Self; 8] = [
        Self::RateLimited,
        Self::BreakerOpen,
        Self::Overloaded,
        Self::DeadlineExceeded,
        Self::WorkerLost,
        Self::Quarantined,
        Self::Draining,
        Self::AnswerTooLarge,
    ];

    /// `data.reason` of the JSON-RPC error.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::BreakerOpen => "breaker_open",
            Self::Overloaded => "overloaded",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::WorkerLost => "worker_lost",
            Self::Quarantined => "quarantined",
            Self::Draining => "draining",
            Self::AnswerTooLarge => "answer_too_large",
        }
    }

    /// Code of the JSON-RPC error.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::RateLimited => -31001,
            Self::BreakerOpen => -31002,
            Self::Overloaded => -31003,
            Self::DeadlineExceeded => -31004,
            Self::WorkerLost => -31005,
            Self::Quarantined => -31006,
            Self::Draining => -31007,
            Self::AnswerTooLarge => -31010,
        }
    }
}

/// A call that was refused or lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// One sentence for the log and for whoever reads the error.
    pub detail: String,
    /// When to try again. `None` means: not executed is not certain, do not repeat blindly.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// The principal has made too many calls; the next is possible after `retry_after`.
    pub fn rate_limited(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            reason: Reason::RateLimited,
            detail: detail.into(),
            retry_after: Some(retry_after),
        }
    }

    /// The breaker is open; it lets a probe through after `retry_after`.
    pub fn breaker_open(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            reason: Reason::BreakerOpen,
            detail: detail.into(),
            retry_after: Some(retry_after),
        }
    }

    /// The call's time is over. `harmless`: it was never sent to a worker, or may be made twice.
    pub fn deadline_exceeded(detail: impl Into<String>, harmless: bool) -> Self {
        Self {
            reason: Reason::DeadlineExceeded,
            detail: detail.into(),
            retry_after: harmless.then_some(Duration::ZERO),
        }
    }

    /// The call has cost workers their life before.
    pub fn quarantined(detail: impl Into<String>) -> Self {
        Self {
            reason: Reason::Quarantined,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// The call was never sent to a worker, so it may be repeated after `retry_after`.
    pub fn overloaded(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            reason: Reason::Overloaded,
            detail: detail.into(),
            retry_after: Some(retry_after),
        }
    }

    /// The worker took the call with it.
    pub fn worker_lost(detail: impl Into<String>) -> Self {
        Self {
            reason: Reason::WorkerLost,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// The call was executed, but its answer cannot be delivered.
    pub fn answer_too_large(detail: impl Into<String>) -> Self {
        Self {
            reason: Reason::AnswerTooLarge,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// The daemon is stopping.
    pub fn draining() -> Self {
        Self {
            reason: Reason::Draining,
            detail: "mainstay is stopping and takes no new calls".to_owned(),
            retry_after: Some(Duration::from_secs(2)),
        }
    }
}
