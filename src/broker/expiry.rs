//! Calls whose time is over: the client is told, the worker is told, and a worker that reacts to
//! neither is replaced. A busy single-threaded worker is judged by the deadlines of its calls and by
//! nothing else; a ping alone never costs one its life.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::call::{Call, Parts};
use super::calls::Expired;
use super::handshake;
use super::member::{Member, Phase};
use super::server::Server;
use super::stats::bump;
use crate::config;
use crate::mcp::message;
use crate::observe::event::{Event, emit};
use crate::policy::outcome::Outcome;
use crate::policy::refusal::Refusal;

/// How long a worker may take to react to the cancel of a call whose time is over.
const GRACE: Duration = Duration::from_secs(1);
/// Nothing is due.
const NEVER: u64 = u64::MAX;

/// When the next call's time is over, over all workers of a server. Telling it of a call costs two
/// atomic reads, since timeouts are alike and the first deadline is mostly that of an older call.
#[derive(Debug)]
pub struct Deadlines {
    epoch: Instant,
    next: AtomicU64,
    wake: Arc<Notify>,
}

impl Deadlines {
    /// Nothing due; `wake` is notified when something is due earlier than was known.
    pub(super) fn new(epoch: Instant, wake: Arc<Notify>) -> Self {
        Self {
            epoch,
            next: AtomicU64::new(NEVER),
            wake,
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        u64::try_from(since.as_millis()).unwrap_or(NEVER)
    }

    /// A call's time is over then.
    pub(super) fn note(&self, deadline: Instant) {
        // Rounded up: waking early would find nothing due.
        let millis = self.millis(deadline).saturating_add(1);
        if millis < self.next.load(Ordering::Relaxed)
            && millis < self.next.fetch_min(millis, Ordering::Relaxed)
        {
            self.wake.notify_one();
        }
    }

    /// When to look, if ever.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.next.load(Ordering::Relaxed) {
            NEVER => None,
            millis => Some(self.epoch + Duration::from_millis(millis)),
        }
    }

    /// Forgets what is due: whoever calls this looks at all calls next and notes what it finds.
    fn clear(&self) {
        self.next.store(NEVER, Ordering::Relaxed);
    }
}

/// What becomes of a worker that has not answered a call in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sentence {
    /// It answered after all, or ended by itself.
    Acquitted,
    /// It lives and has perhaps stopped working on the call; others need what it has in memory.
    Kept,
    /// It lives; its successor is started, and it ends once its other calls are done.
    Retired,
    /// It shows no sign of life and works on nothing that is still wanted: it is ended.
    Condemned,
}

impl Server {
    /// Deals with every call whose time is over by `now`.
    pub(super) fn expire(self: &Arc<Self>, now: Instant) {
        if self.deadlines().next().is_none_or(|at| now < at) {
            return;
        }
        self.deadlines().clear();
        let members: Vec<Arc<Member>> = self.roster().members.values().cloned().collect();
        for member in members {
            let (expired, next) = {
                let mut calls = member.calls();
                (calls.expire(now), calls.next_deadline())
            };
            for one in expired {
                self.expired(&member, one, now);
            }
            if let Some(next) = next {
                self.deadlines().note(next);
            }
        }
    }

    fn expired(self: &Arc<Self>, member: &Arc<Member>, expired: Expired, now: Instant) {
        let Expired { wire, call } = expired;
        let (parts, after) = match call {
            Some(mut call) => {
                let parts = call.parts();
                // One stuck worker is one failure, however many calls it has.
                if member.blame(call.begun(), now) {
                    call.settle(Outcome::Expired);
                }
                self.tell_expired(&mut call, &parts, now);
                member.tell(&message::cancelled(wire, "its time is over"));
                (Some(parts), call.age(now))
            }
            None => (None, Duration::ZERO),
        };
        let (server, member) = (Arc::clone(self), Arc::clone(member));
        let method = match &parts {
            Some(parts) => parts.tool.clone().unwrap_or_else(|| parts.method.clone()),
            None => "a cancelled call".to_owned(),
        };
        tokio::spawn(async move {
            let sentence = server.judge(&member, wire).await;
            match sentence {
                Sentence::Acquitted | Sentence::Kept => member.free(wire),
                Sentence::Retired => {
                    let reason = format!(
                        "did not answer {method} within {:.1} s",
                        after.as_secs_f64()
                    );
                    // One is replaced at a time; another goes without a successor if it is not alone.
                    if !server.replace(&member, &reason) && server.is_served_without(&member) {
                        server.retire(member.id());
                    }
                    member.free(wire);
                }
                Sentence::Condemned => {
                    emit(&Event::WorkerStuck {
                        server: server.name().to_owned(),
                        worker: member.id(),
                        pid: member.worker.pid,
                        method,
                        after,
                        call: wire,
                        others: member.calls().clients().map(|(other, _)| other).collect(),
                    });
                    bump(&server.stats().condemned);
                    if let Some(parts) = &parts {
                        server.suspect(parts, (member.id(), wire), Instant::now());
                    }
                    server.condemn(&member);
                }
            }
        });
    }

    fn tell_expired(&self, call: &mut Call, parts: &Parts, now: Instant) {
        let refusal = Refusal::deadline_exceeded(
            format!(
                "no answer within {:.1} s (call_timeout); the worker was told to stop",
                call.age(now).as_secs_f64()
            ),
            self.is_retry_safe(parts),
        );
        call.refuse(&refusal);
    }

    /// Waits for the grace, asks for a sign of life, and decides.
    async fn judge(&self, member: &Arc<Member>, wire: u64) -> Sentence {
        let start = Instant::now();
        let alive = handshake::is_alive(member, GRACE).await.is_ok();
        tokio::time::sleep(GRACE.saturating_sub(start.elapsed())).await;
        let gone = member.phase() == Phase::Gone || member.worker.is_stopping();
        if gone || member.calls().get(wire).is_none() {
            return Sentence::Acquitted;
        }
        // Calls at an upstream know nothing of each other, and its silence is the breaker's business.
        if member.worker.pid == 0 {
            return Sentence::Kept;
        }
        let keeps_state =
            member.session().is_some() || self.config().state == config::State::Shared;
        // An older call may be what keeps it busy, and that one's time is not over.
        let busy = member.calls().clients().any(|(other, _)| other < wire);
        match (alive, busy) {
            (true, _) if keeps_state => Sentence::Kept,
            (false, true) if keeps_state => Sentence::Kept,
            (true, _) | (false, true) => Sentence::Retired,
            (false, false) => Sentence::Condemned,
        }
    }

    /// Whether another worker takes calls.
    fn is_served_without(&self, member: &Arc<Member>) -> bool {
        let roster = self.roster();
        let mut others = roster.members.values().filter(|m| m.id() != member.id());
        others.any(|m| m.phase() == Phase::Ready && m.session().is_none())
    }

    /// Ends a worker that is of no use any more: no new calls, a successor at once, and the stages
    /// of stopping. Its other calls are dealt with at its end.
    fn condemn(&self, member: &Arc<Member>) {
        member.enter(Phase::Draining);
        self.leave_lanes(member);
        member.condemn();
        self.pressure().notify_one();
        member.worker.stop();
    }
}
