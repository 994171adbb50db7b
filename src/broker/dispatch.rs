//! Sending a call: a place at a worker, the frame, and what to say if there is none. The fast way
//! takes a free place without any await; a call that has to wait does so in a task of its own,
//! which its flight can cancel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::{Call, Request};
use super::flight::Flight;
use super::lane::{Lane, Lease, Want};
use super::server::Server;
use crate::mcp::era::Era;
use crate::mcp::params::Params;
use crate::policy::refusal::Refusal;
use crate::worker::stdin::SendError;

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

    /// Accepts a call and sends it to a worker; whatever happens to it, its stream ends with an
    /// answer, unless the flight is cancelled first.
    pub fn submit(self: &Arc<Self>, era: Era, request: Request) -> Arc<Flight> {
        let now = Instant::now();
        let mut call = Call::new(request, Arc::clone(self), now);
        let flight = Arc::clone(call.flight());
        self.guards().budget().deposit(now);
        match self.admit(&mut call, now) {
            Ok(()) => self.send(era, call),
            Err(refusal) => call.refuse(&refusal),
        }
        flight
    }

    /// Sends a call that every guard has let through, for the first time or again.
    pub(super) fn send(self: &Arc<Self>, era: Era, call: Box<Call>) {
        let own = call.session().and_then(|s| s.own_lane());
        let lane = Arc::clone(own.unwrap_or_else(|| self.lane(era)));
        let call = match lane.try_acquire(&want(&call)) {
            None => call,
            Some(lease) => match self.transmit(&lane, lease, call) {
                None => return,
                Some(again) => again,
            },
        };
        tokio::spawn(wait(Arc::clone(self), lane, call));
    }

    /// Writes the call to the leased worker. Gives it back if that one is gone and got nothing.
    fn transmit(&self, lane: &Arc<Lane>, lease: Lease, call: Box<Call>) -> Option<Box<Call>> {
        let member = Arc::clone(lease.member());
        let (error, call) = member.begin(call, lease).err()?;
        let mut call = call?;
        match error {
            SendError::Closed => {
                // Its end is not noticed yet. Idle as it looks, it would be chosen again.
                lane.remove(member.id());
                call.forget_preference();
                Some(call)
            }
            SendError::Full => {
                let refusal = Refusal::overloaded(error.to_string(), Duration::from_secs(1));
                call.refuse(&refusal);
                None
            }
        }
    }

    /// Cancels what the client of `session` knows by this raw id, in flight or queued.
    pub fn cancel(&self, session: &Arc<super::session::Session>, id: &[u8], reason: &str) {
        if session.cancel_queued(id, reason) {
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

fn want(call: &Call) -> Want {
    Want {
        prefer: call.request().prefer,
        deadline: Some(call.deadline()),
        principal: call.request().principal.key(),
        class: call.class(),
        bytes: call.request().message.len(),
        tool: call.tool_key(),
        alone: call.is_alone(),
    }
}

/// Waits for places until a worker has taken the call, or it has another outcome.
async fn wait(server: Arc<Server>, lane: Arc<Lane>, call: Box<Call>) {
    let (flight, session) = (Arc::clone(call.flight()), call.session().cloned());
    if let Some(session) = &session {
        session.queue(call.id(), &flight);
    }
    place(&server, &lane, call, &flight).await;
    if let Some(session) = &session {
        session.unqueue(&flight);
    }
}

async fn place(server: &Arc<Server>, lane: &Arc<Lane>, mut call: Box<Call>, flight: &Flight) {
    for _ in 0..ATTEMPTS {
        let wanted = want(&call);
        let lease = tokio::select! {
            lease = lane.acquire(&wanted) => lease,
            () = flight.cancelled() => return call.cancel(),
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(refusal) => return call.refuse(&refusal),
        };
        match server.transmit(lane, lease, call) {
            None => return,
            Some(again) => call = again,
        }
    }
    let refusal = Refusal::overloaded(
        format!("{ATTEMPTS} workers in a row ended before they could be sent this call"),
        Duration::from_secs(1),
    );
    call.refuse(&refusal);
}
