//! The calls in flight at one worker, by the id they have on its wire. Wire ids are integers of
//! the daemon's own, so that clients may choose equal ids; the client's own id and progress token
//! are put back on the way up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::call::Call;
use super::lane::Lease;
use super::listen::Listen;

/// What stands behind an id on a worker's wire.
#[derive(Debug)]
pub(super) enum Entry {
    /// A call of a client, with its place at the worker.
    Client(Box<Call>, Lease),
    /// A call whose client waits no longer, because it cancelled or its time was over. The place
    /// stays taken until the worker answers or is known to be free.
    Forsaken {
        /// The place.
        _lease: Lease,
        /// When the call's own time is over, if nobody has judged the worker by it yet.
        until: Option<Instant>,
    },
    /// A request of the daemon itself.
    Own(oneshot::Sender<Reply>),
    /// One leg of a subscription.
    Listen(Arc<Listen>),
}

/// A worker's answer to the daemon.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The `result`, raw JSON.
    Result(Bytes),
    /// The `error`, raw JSON.
    Error(Bytes),
}

/// A call whose time is over.
#[derive(Debug)]
pub(super) struct Expired {
    /// Its id on the wire.
    pub(super) wire: u64,
    /// The call, unless its client had cancelled it already.
    pub(super) call: Option<Box<Call>>,
}

/// The table of one worker.
#[derive(Debug)]
pub(super) struct Calls {
    next: u64,
    closed: bool,
    entries: HashMap<u64, Entry>,
}

impl Calls {
    /// Ids start at `life << 32`: answers to an earlier life of the daemon cannot be mistaken.
    /// Life has 16 bits, so that JavaScript workers can represent every id.
    pub(super) fn new(life: u16) -> Self {
        Self {
            next: u64::from(life) << 32,
            closed: false,
            entries: HashMap::new(),
        }
    }

    /// Enters a call; gives it back if the worker is gone.
    pub(super) fn insert(&mut self, entry: Entry) -> Result<u64, Entry> {
        if self.closed {
            return Err(entry);
        }
        self.next += 1;
        self.entries.insert(self.next, entry);
        Ok(self.next)
    }

    pub(super) fn remove(&mut self, wire: u64) -> Option<Entry> {
        self.entries.remove(&wire)
    }

    pub(super) fn get(&self, wire: u64) -> Option<&Entry> {
        self.entries.get(&wire)
    }

    pub(super) fn get_mut(&mut self, wire: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&wire)
    }

    /// Clients' calls with their wire ids.
    pub(super) fn clients(&self) -> impl Iterator<Item = (u64, &Call)> {
        self.entries.iter().filter_map(|(wire, e)| match e {
            Entry::Client(call, _) => Some((*wire, call.as_ref())),
            Entry::Forsaken { .. } | Entry::Own(_) | Entry::Listen(_) => None,
        })
    }

    /// Takes a client's call out; its place stays taken. `until` is when the worker is to be
    /// judged by it.
    pub(super) fn forsake(&mut self, wire: u64, until: Option<Instant>) -> Option<Box<Call>> {
        match self.entries.remove(&wire)? {
            Entry::Client(call, lease) => {
                if until.is_none() {
                    lease.timed_out();
                }
                let shadow = Entry::Forsaken {
                    _lease: lease,
                    until,
                };
                self.entries.insert(wire, shadow);
                Some(call)
            }
            other => {
                self.entries.insert(wire, other);
                None
            }
        }
    }

    /// Takes out the calls whose time is over, cancelled ones included; their places stay taken.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Expired> {
        let over: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| deadline(entry).is_some_and(|at| at <= now))
            .map(|(wire, _)| *wire)
            .collect();
        over.into_iter()
            .map(|wire| {
                if let Some(Entry::Forsaken { until, .. }) = self.entries.get_mut(&wire) {
                    *until = None;
                }
                let call = self.forsake(wire, None);
                Expired { wire, call }
            })
            .collect()
    }

    /// When the next call's time is over.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.entries.values().filter_map(deadline).min()
    }

    /// Takes nothing more and returns what is left.
    pub(super) fn close(&mut self) -> Vec<(u64, Entry)> {
        self.closed = true;
        self.entries.drain().collect()
    }
}

fn deadline(entry: &Entry) -> Option<Instant> {
    match entry {
        Entry::Client(call, _) => Some(call.deadline()),
        Entry::Forsaken { until, .. } => *until,
        Entry::Own(_) | Entry::Listen(_) => None,
    }
}
