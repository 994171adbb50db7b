//! Sending a call: a place at a worker, the frame, and what to say if there is none. The fast way
//! takes a free place without any await; who has to wait does so in a task or future of its own.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::calls::ClientCall;
use super::lane::{Lane, Lease};
use super::member::Sent;
use super::refused;
use super::server::Server;
use super::session::Session;
use super::stats::Outcome;
use crate::mcp::era::Era;
use crate::mcp::params::Params;
use crate::policy::refusal::Refusal;
use crate::worker::stdin::SendError;

/// A request to be sent.
#[derive(Debug)]
pub struct Ask {
    /// The whole message.
    pub message: Bytes,
    /// Where its id stands.
    pub id: Range<usize>,
    /// Where its progress token stands.
    pub token: Option<Range<usize>>,
    /// The worker that minted what it refers to.
    pub prefer: Option<u64>,
    /// The rest.
    pub call: ClientCall,
}

/// Attempts to find a worker that takes the frame; each has died between lease and write.
const ATTEMPTS: usize = 5;

impl Server {
    /// The worker that minted the task or state these parameters refer to.
    #[must_use]
    pub fn minter(&self, params: &Params<'_>) -> Option<u64> {
        [params.request_state, params.task_id]
            .into_iter()
            .flatten()
            .find_map(|key| self.affinity().owner(key.get()))
    }

    /// Sends a modern call, waiting for a place if need be. Dropping the future gives the place
    /// in the queue back.
    ///
    /// # Errors
    /// The refusal, counted already.
    pub async fn submit(&self, ask: Ask) -> Result<Sent, Refusal> {
        let lane = self.lane(Era::Modern);
        let sent = send(lane, ask).await;
        sent.inspect_err(|refusal| self.stats().refused(refusal))
    }

    /// Sends a legacy call; whatever happens to it, its stream ends with an answer.
    pub fn submit_detached(self: &Arc<Self>, session: &Arc<Session>, ask: Ask) {
        let lane = session.own_lane().unwrap_or_else(|| self.lane(Era::Legacy));
        let ask = match lane.try_acquire(ask.prefer) {
            None => ask,
            Some(lease) => match transmit(lane, lease, ask) {
                Ok(_) => return,
                Err(Unsent::Again(ask)) => *ask,
                Err(Unsent::Refused(refusal, ask)) => return self.refuse(&ask.call, &refusal),
                Err(Unsent::Told) => return,
            },
        };
        let (server, session, lane) = (Arc::clone(self), Arc::clone(session), Arc::clone(lane));
        tokio::spawn(async move {
            let cancelled = session.queue(ask.call.id.clone());
            let (id, stream) = (ask.call.id.clone(), Arc::clone(&ask.call.stream));
            let accepted = ask.call.accepted;
            tokio::select! {
                sent = send(&lane, ask) => if let Err(refusal) = sent {
                    server.stats().refused(&refusal);
                    stream.finish(refused::error(&id, &refusal), Some(i64::from(refusal.reason.code())));
                },
                () = cancelled.notified() => {
                    server.stats().finished(Outcome::Cancelled, accepted.elapsed());
                    stream.close();
                }
            }
            session.unqueue(&cancelled);
        });
    }

    fn refuse(&self, call: &ClientCall, refusal: &Refusal) {
        self.stats().refused(refusal);
        call.stream.finish(
            refused::error(&call.id, refusal),
            Some(i64::from(refusal.reason.code())),
        );
    }

    /// Cancels what the client of `session` knows by this raw id, in flight or queued.
    pub fn cancel(&self, session: &Arc<Session>, id: &[u8], reason: &str) {
        if session.cancel_queued(id) {
            return;
        }
        // Not the lane's: a worker that is being replaced finishes its calls outside of it.
        let members: Vec<_> = self.roster().members.values().cloned().collect();
        for member in members {
            if let Some(wire) = member.find(session, id) {
                member.cancel(wire, reason);
                return;
            }
        }
    }
}

async fn send(lane: &Arc<Lane>, mut ask: Ask) -> Result<Sent, Refusal> {
    for _ in 0..ATTEMPTS {
        let lease = lane.acquire(ask.prefer).await?;
        ask = match transmit(lane, lease, ask) {
            Ok(sent) => return Ok(sent),
            Err(Unsent::Again(again)) => *again,
            Err(Unsent::Refused(refusal, _)) => return Err(refusal),
            Err(Unsent::Told) => {
                return Err(Refusal::worker_lost(
                    "the worker ended while it was written to",
                ));
            }
        };
    }
    Err(Refusal::overloaded(
        format!("{ATTEMPTS} workers in a row ended before they could be sent this call"),
        Duration::from_secs(1),
    ))
}

enum Unsent {
    /// The worker is gone and got nothing: another may be tried.
    Again(Box<Ask>),
    /// It is not to be tried again.
    Refused(Refusal, Box<Ask>),
    /// The worker's end was noticed meanwhile and the call has been told.
    Told,
}

fn transmit(lane: &Arc<Lane>, lease: Lease, ask: Ask) -> Result<Sent, Unsent> {
    let member = Arc::clone(lease.member());
    let Ask {
        message,
        id,
        token,
        prefer,
        call,
    } = ask;
    match member.begin(call, lease, &message, id.clone(), token.clone()) {
        Ok(wire) => Ok(Sent::new(member, wire)),
        Err((_, None)) => Err(Unsent::Told),
        Err((error, Some(call))) => {
            let ask = Box::new(Ask {
                message,
                id,
                token,
                prefer: prefer.filter(|_| error == SendError::Full),
                call,
            });
            Err(match error {
                SendError::Closed => {
                    // Its end is not noticed yet. Idle as it looks, it would be chosen again.
                    lane.remove(member.id());
                    Unsent::Again(ask)
                }
                SendError::Full => Unsent::Refused(
                    Refusal::overloaded(error.to_string(), Duration::from_secs(1)),
                    ask,
                ),
            })
        }
    }
}
