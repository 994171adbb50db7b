//! What is said to a worker, and what becomes of its calls when it says nothing more: sending,
//! cancelling, asking on the daemon's own account, and the end. Frames that come back are `route`'s
//! business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::call::Call;
use super::calls::{Entry, Reply};
use super::handshake;
use super::lane::Lease;
use super::listen::Listen;
use super::member::{Member, NoAnswer};
use super::session::Session;
use crate::mcp::envelope::{self, Message};
use crate::mcp::message;
use crate::mcp::splice::{Edit, range_of, splice};
use crate::worker::stdin::SendError;

/// How long a cancelled call keeps its place at least: most workers answer a cancel or stop
/// working, some do neither.
const CANCEL_GRACE: Duration = Duration::from_secs(2);
/// How long a worker may take to show that it is free again after a cancel.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

impl Member {
    /// Sends a client's request, with its id and its progress token replaced. Gives the call back
    /// if the worker takes nothing.
    pub(super) fn begin(
        self: &Arc<Self>,
        mut call: Box<Call>,
        lease: Lease,
    ) -> Result<(), (SendError, Option<Box<Call>>)> {
        self.note_call(&call);
        call.begin(Instant::now());
        let request = call.request();
        let (message, id) = (request.message.clone(), request.id.clone());
        let token = request.token.clone();
        let (flight, deadline) = (Arc::clone(call.flight()), call.deadline());
        // The table's lock is held until the flight knows: were the worker to die in between, the call
        // would be elsewhere already. It must be free when a lease is dropped, so what is left
        // over comes out of the block.
        let entered = {
            let mut calls = self.calls();
            match calls.insert(Entry::Client(call, lease)) {
                Ok(wire) if flight.arrive(self, wire) => Ok(wire),
                Ok(wire) => Err((true, calls.remove(wire))),
                Err(entry) => Err((false, Some(entry))),
            }
        };
        let wire = match entered {
            Ok(wire) => wire,
            Err((true, Some(Entry::Client(mut call, _lease)))) => {
                call.cancel();
                return Ok(());
            }
            Err((_, Some(Entry::Client(call, _lease)))) => {
                return Err((SendError::Closed, Some(call)));
            }
            Err(_) => return Err((SendError::Closed, None)),
        };
        self.deadlines.note(deadline);
        let number = wire.to_string();
        let with = number.as_bytes();
        let id = Edit { range: id, with };
        let frame = match token {
            None => splice(&message, &mut [id], true),
            Some(token) => splice(&message, &mut [id, Edit { range: token, with }], true),
        };
        let Err(error) = self.worker.stdin.send(frame) else {
            return Ok(());
        };
        let entry = self.calls().remove(wire);
        match entry {
            Some(Entry::Client(call, _lease)) => Err((error, Some(call))),
            // Its end was noticed meanwhile and the call has been told.
            _ => Err((error, None)),
        }
    }

    /// Opens a listen; `None` if the worker takes nothing.
    pub(super) fn begin_listen(&self, listen: &Arc<Listen>) -> Option<u64> {
        let message = listen.message();
        let Ok(Message::Request { id, .. }) = envelope::parse(message) else {
            return None;
        };
        let wire = self
            .calls()
            .insert(Entry::Listen(Arc::clone(listen)))
            .ok()?;
        let number = wire.to_string();
        let edit = Edit {
            range: range_of(message, id),
            with: number.as_bytes(),
        };
        let frame = splice(message, &mut [edit], true);
        if self.worker.stdin.send(frame).is_err() {
            self.calls().remove(wire);
            return None;
        }
        Some(wire)
    }

    pub(super) fn end_listen(&self, wire: u64) {
        if self.calls().remove(wire).is_some() {
            self.tell(&message::cancelled(wire, "the subscriber is gone"));
        }
    }

    /// Cancels a client's call: the worker is told, a late answer is dropped. The place is free
    /// again when the worker answers, or shows after a grace that it is not busy; a worker that
    /// shows neither is judged when the call's time is over.
    pub(super) fn cancel(self: &Arc<Self>, wire: u64, reason: &str) {
        let forsaken = {
            let mut calls = self.calls();
            let until = match calls.get(wire) {
                Some(Entry::Client(call, _)) => Some(call.deadline()),
                _ => None,
            };
            calls.forsake(wire, until)
        };
        let Some(mut call) = forsaken else {
            return;
        };
        call.cancel();
        self.tell(&message::cancelled(wire, reason));
        let member = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(CANCEL_GRACE).await;
            let waits = member.calls().get(wire).is_some();
            if waits && handshake::is_alive(&member, SIGN_OF_LIFE).await.is_ok() {
                member.free(wire);
            }
        });
    }

    /// Gives the place of a forsaken call back.
    pub(super) fn free(&self, wire: u64) {
        // Dropped outside the lock: the lease looks for its next user.
        let place = {
            let mut calls = self.calls();
            match calls.get(wire) {
                Some(Entry::Forsaken { .. }) => calls.remove(wire),
                _ => None,
            }
        };
        drop(place);
    }

    /// The newest call in flight of `session` with this raw client id.
    pub(super) fn find(&self, session: &Arc<Session>, id: &[u8]) -> Option<u64> {
        self.calls()
            .clients()
            .filter(|(_, call)| {
                call.id() == id && call.session().is_some_and(|s| Arc::ptr_eq(s, session))
            })
            .map(|(wire, _)| wire)
            .max()
    }

    /// Writes a frame that needs no answer. A worker that takes none is dying or full; either way
    /// there is nobody to tell.
    pub(super) fn tell(&self, line: &str) {
        let mut frame = Vec::with_capacity(line.len() + 1);
        frame.extend_from_slice(line.as_bytes());
        frame.push(b'\n');
        if let Err(error) = self.worker.stdin.send(frame) {
            log::debug!("worker {} was not told something: {error}", self.id());
        }
    }

    /// A request of the daemon's own; `build` gets the id to use.
    pub(super) async fn ask(
        &self,
        build: impl FnOnce(u64) -> String,
        patience: Duration,
    ) -> Result<Reply, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let wire = self
            .calls()
            .insert(Entry::Own(answer))
            .map_err(|_| NoAnswer::Ended)?;
        self.tell(&build(wire));
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(NoAnswer::Ended),
            Err(_) => {
                self.calls().remove(wire);
                Err(NoAnswer::Silent(patience))
            }
        }
    }

    /// The process is gone: takes all calls in flight out, their places freed. Listens are told
    /// here; what becomes of clients' calls is the caller's to decide.
    pub(super) fn ended(&self) -> Vec<(u64, Box<Call>)> {
        let entries = self.calls().close();
        let mut lost = Vec::new();
        for (wire, entry) in entries {
            match entry {
                Entry::Client(call, _lease) => lost.push((wire, call)),
                Entry::Listen(listen) => listen.leg_ended(self.id(), None),
                Entry::Own(_) | Entry::Forsaken { .. } => {}
            }
        }
        lost
    }
}
