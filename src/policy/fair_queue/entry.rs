//! What goes into a fair queue and what comes out of it. Plain data.

use std::time::{Duration, Instant};

use crate::policy::class::Class;

/// What a queue holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Entries.
    pub count: usize,
    /// Bytes of all entries together.
    pub bytes: usize,
    /// What refused callers are told while nothing is known about how fast the queue moves.
    pub usual_wait: Duration,
}

/// Something that waits.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// Digest of who it belongs to.
    pub principal: u64,
    /// How much it matters.
    pub class: Class,
    /// What it costs in memory while it waits.
    pub bytes: usize,
    /// When it is of no use any more.
    pub deadline: Instant,
    /// What waits.
    pub item: T,
}

/// Names an entry while it waits; afterwards it names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(super) at: usize,
    pub(super) number: u64,
}

/// Which bound left no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Too many wait.
    Count,
    /// Too many bytes wait, or this entry alone has more than may.
    Bytes,
}

/// What became of a push.
#[derive(Debug)]
#[must_use]
pub enum Pushed<T> {
    /// It waits.
    Queued(Ticket),
    /// It waits, and others had to go: of lower classes first, else the newest of the longest flow.
    Displaced {
        /// Of the entry that waits.
        ticket: Ticket,
        /// Who had to go; at least one.
        victims: Vec<Entry<T>>,
        /// When they may try again.
        retry_after: Duration,
    },
    /// No room, and nobody with more than this principal has.
    Refused {
        /// The entry.
        entry: Entry<T>,
        /// Why.
        why: Full,
        /// When to try again.
        retry_after: Duration,
    },
}

/// What whoever holds the places says about the entry that is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There is a place for it.
    Serve,
    /// There is none for this one yet. It stays first, and nobody overtakes it.
    Wait,
    /// Nobody waits for it any more.
    Gone,
}

/// Why an entry left without being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its deadline has passed.
    Expired,
    /// Nobody waits for it.
    Gone,
    /// The queue stands, and this one has waited for too long.
    Standing,
    /// There is no room where it would have to wait on.
    NoRoom,
}

/// What a pop found.
#[derive(Debug)]
#[must_use]
pub struct Popped<T> {
    /// Who is next, and how long it has waited.
    pub next: Option<(Entry<T>, Duration)>,
    /// Who left on the way. Empty as a rule, and then not allocated.
    pub shed: Vec<(Entry<T>, Cause)>,
}

/// One principal's share of a queue, for the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowView {
    /// Digest of the principal.
    pub principal: u64,
    /// Which class.
    pub class: Class,
    /// Entries.
    pub waiting: usize,
    /// Bytes of them.
    pub bytes: usize,
}
