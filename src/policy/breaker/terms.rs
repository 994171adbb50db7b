//! What goes into a breaker and comes out of it: plain data, without a rule.

use std::sync::Arc;
use std::time::Duration;

/// Whether calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// They do, and are counted.
    Closed,
    /// They are refused until its wait is over.
    Open,
    /// A few are let through as probes, the others are refused.
    HalfOpen,
}

impl State {
    /// Its name in views and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The breaker.
    Auto,
    /// An operator: no call passes.
    ForcedOpen,
    /// An operator: every call passes. Outcomes are counted, and judged when this is over.
    ForcedClosed,
    /// Nobody: the breaker moves and reports as it would, and every call passes.
    Shadow,
}

impl Mode {
    /// Its name in views and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
            Self::Shadow => "shadow",
        }
    }
}

/// What a call's outcome says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was served.
    Success,
    /// It was not.
    Failure,
    /// It failed, but whoever failed was there: half a failure in the window, a passed probe.
    Weak,
    /// It was turned away for being too much: a failure in the window, but none in a row. A
    /// probe is neither passed nor failed by it, and the next one waits.
    Busy {
        /// When the other side wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
    /// It says nothing.
    Excluded,
}

/// One admitted call. It must be settled or given back; a probe that is neither is taken back at
/// its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(super) generation: u64,
    pub(super) probe: Option<u64>,
}

impl Ticket {
    /// Whether the call holds one of the few permits of a half-open breaker.
    #[must_use]
    pub fn is_probe(self) -> bool {
        self.probe.is_some()
    }
}

/// A call that was not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When the next call may be admitted, by what is known now; at least a millisecond.
    pub retry_after: Duration,
    /// Why the breaker is not closed.
    pub reason: Arc<str>,
}

/// The answer to a call that asks, and what changed because it asked.
#[derive(Clone, Debug)]
#[must_use]
pub struct Admission {
    /// Whether the call may go on.
    pub verdict: Result<Ticket, Refused>,
    /// A wait or a forced mode was over.
    pub transition: Option<Transition>,
}

/// A change to report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state now; the same as before if only a forced mode has ended.
    pub to: State,
    /// Why, with the numbers.
    pub reason: String,
    /// Time to the next probe, if it is open now.
    pub retry_in: Option<Duration>,
    /// The forced mode that ended by itself just now.
    pub ended: Option<Ended>,
}

/// A forced mode whose time was over. The mode is `Auto` now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub mode: Mode,
    /// Who had set it.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// What a breaker looks like right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Whether calls pass.
    pub state: State,
    /// Who decides.
    pub mode: Mode,
    /// Why it is not closed, or why it was forced.
    pub reason: Option<String>,
    /// Who forced it.
    pub author: Option<String>,
    /// Time until a forced mode ends.
    pub expires_in: Option<Duration>,
    /// Time until it lets a probe through; `None` unless it is open and this is known.
    pub retry_in: Option<Duration>,
    /// Failures in a row.
    pub failures_in_a_row: u32,
    /// Calls in the window.
    pub window_calls: u32,
    /// Of these, failures, rounded up.
    pub window_failures: u32,
    /// Times it has opened by itself.
    pub trips: u64,
}
