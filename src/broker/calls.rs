//! The calls in flight at one worker, by the id they have on its wire. Wire ids are integers of
//! the daemon's own, so that clients may choose equal ids; the client's own id and progress token
//! are put back on the way up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::lane::Lease;
use super::listen::Listen;
use super::session::Session;
use super::stream::Stream;

/// A call of a client.
#[derive(Debug)]
pub struct ClientCall {
    /// The client's id, raw JSON.
    pub id: Bytes,
    /// The client's progress token, raw JSON.
    pub token: Option<Bytes>,
    /// Where its messages go.
    pub stream: Arc<Stream>,
    /// The legacy session it belongs to.
    pub session: Option<Arc<Session>>,
    /// Whether it asked for log messages (modern era).
    pub wants_logs: bool,
    /// Whether its answer lists tools, whose header rules are remembered.
    pub lists_tools: bool,
    /// When it was accepted.
    pub accepted: Instant,
}

/// What stands behind an id on a worker's wire.
#[derive(Debug)]
pub(super) enum Entry {
    /// A call of a client, with its place at the worker.
    Client(ClientCall, Lease),
    /// A call whose client does not want the answer any more; the place stays taken until the
    /// worker answers or the grace is over.
    Cancelled { _lease: Lease },
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

    /// Clients' calls with their wire ids.
    pub(super) fn clients(&self) -> impl Iterator<Item = (u64, &ClientCall)> {
        self.entries.iter().filter_map(|(wire, e)| match e {
            Entry::Client(call, _) => Some((*wire, call)),
            Entry::Cancelled { .. } | Entry::Own(_) | Entry::Listen(_) => None,
        })
    }

    /// Replaces a client's call by its cancelled shadow and returns it.
    pub(super) fn cancel(&mut self, wire: u64) -> Option<ClientCall> {
        match self.entries.remove(&wire)? {
            Entry::Client(call, lease) => {
                self.entries
                    .insert(wire, Entry::Cancelled { _lease: lease });
                Some(call)
            }
            other => {
                self.entries.insert(wire, other);
                None
            }
        }
    }

    /// Takes nothing more and returns what is left.
    pub(super) fn close(&mut self) -> Vec<(u64, Entry)> {
        self.closed = true;
        self.entries.drain().collect()
    }
}
