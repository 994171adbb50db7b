//! Calls whose worker is gone: made again where that is harmless, behind the client's back; else the
//! client is told that nobody knows whether the call took effect. An unsafe call is never made twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::{Call, Parts};
use super::member::Member;
use super::server::Server;
use super::stats::bump;
use crate::mcp::era::Era;
use crate::observe::event::{Event, emit};
use crate::policy::outcome::Outcome;
use crate::policy::refusal::Refusal;
use crate::policy::retry::{self, Attempt, Decision, Known, Safety, Why};
use crate::worker::actor::End;
use crate::worker::loss::{Fate, Loss};

/// First pause before a call that did not reach its upstream is made again; it doubles.
const UNSENT: Duration = Duration::from_millis(50);
/// When a client may come back to an upstream that cannot be reached or declines.
const AGAIN: Duration = Duration::from_secs(1);

impl Server {
    /// Whether a call may be made twice without harm.
    #[must_use]
    pub fn is_retry_safe(&self, parts: &Parts) -> bool {
        self.safety(parts) == Safety::Safe
    }

    fn safety(&self, parts: &Parts) -> Safety {
        let tool = parts.tool.as_deref().unwrap_or_default();
        let quoted = serde_json::to_vec(tool).unwrap_or_default();
        let known = Known {
            method: &parts.method,
            tool: self.rules().of(Some(&quoted)).retry_safe,
            listed: false,
            read_only: self.rules().is_annotated_safe(tool),
            idempotent: false,
            trusted: self.rules().trusts_annotations(),
        };
        known.safety()
    }

    /// Deals with the calls that were in flight at `member` when it ended. Returns their ids on
    /// its wire.
    pub(super) fn lose(self: &Arc<Self>, member: &Arc<Member>, end: &End) -> Vec<u64> {
        let lost = member.ended();
        let calls = lost.iter().map(|(wire, _)| *wire).collect();
        let now = Instant::now();
        let mut again = Vec::new();
        let mut seen = BTreeSet::new();
        // What the daemon ended itself, or an outsider killed, was not killed by a call. One that needed
        // more memory than there is may well have been.
        let suspicious = !end.asked && (!end.killed || end.oom);
        for (wire, mut call) in lost {
            let parts = call.parts();
            // One death is one failure of the server, however many calls it has cost.
            if member.blame(call.begun(), now) && !end.asked {
                call.settle(Outcome::WorkerGone);
            }
            if suspicious && seen.insert((parts.tool.clone(), parts.arguments.clone())) {
                self.suspect(&parts, (member.id(), wire), now);
            }
            if self.lose_one(member, call, &parts, &end.what, now) {
                again.push(wire);
            }
        }
        if !again.is_empty() {
            emit(&Event::CallsRetried {
                server: self.name().to_owned(),
                worker: member.id(),
                calls: again,
            });
        }
        calls
    }

    /// Deals with one call that an upstream will not answer; the upstream itself goes on.
    pub(super) fn lose_at_upstream(
        self: &Arc<Self>,
        member: &Arc<Member>,
        mut call: Box<Call>,
        loss: &Loss,
    ) {
        let now = Instant::now();
        let parts = call.parts();
        match loss.fate {
            Fate::Declined { retry_after } => {
                call.settle(Outcome::Declined { retry_after });
                let refusal = Refusal::overloaded(
                    format!("the upstream {}", loss.what),
                    retry_after.unwrap_or(AGAIN),
                );
                call.refuse(&refusal);
            }
            Fate::Unsent => {
                call.settle(Outcome::WorkerGone);
                self.lose_unsent(member, call, loss);
            }
            // It answered, and so it can be reached. A session that is always forgotten is no use.
            Fate::Forgotten if call.sent() < self.config().retry.attempts => {
                call.settle(Outcome::Unsent);
                self.resend(member, call, now);
            }
            Fate::Forgotten => {
                call.settle(Outcome::Malformed);
                call.refuse(&Refusal::overloaded(
                    format!("the upstream {}", loss.what),
                    AGAIN,
                ));
            }
            Fate::Unknown => {
                call.settle(Outcome::WorkerGone);
                self.lose_one(member, call, &parts, &loss.what, now);
            }
            Fate::Garbled => {
                call.settle(Outcome::Malformed);
                self.lose_one(member, call, &parts, &loss.what, now);
            }
        }
    }

    /// The call never reached the upstream: making it again is harmless, but not at once, since
    /// whatever kept it from arriving is most likely still there.
    fn lose_unsent(self: &Arc<Self>, member: &Arc<Member>, mut call: Box<Call>, loss: &Loss) {
        let attempts = self.config().retry.attempts;
        let pause = UNSENT.saturating_mul(1 << call.sent().min(6));
        if call.sent() >= attempts || call.deadline() <= Instant::now() + pause {
            let refusal = Refusal::overloaded(
                format!(
                    "the upstream {}; the call did not reach it ({} attempts)",
                    loss.what,
                    call.sent()
                ),
                AGAIN,
            );
            return call.refuse(&refusal);
        }
        bump(&self.stats().retried);
        call.forget_preference();
        let (server, era) = (Arc::clone(self), era_of(member, &call));
        if !call.flight().leave() {
            return call.cancel();
        }
        tokio::spawn(async move {
            let flight = Arc::clone(call.flight());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = flight.cancelled() => return call.cancel(),
            }
            match server.admit(&mut call, Instant::now()) {
                Ok(()) => server.send(era, call),
                Err(refusal) => call.refuse(&refusal),
            }
        });
    }

    fn lose_one(
        self: &Arc<Self>,
        member: &Arc<Member>,
        mut call: Box<Call>,
        parts: &Parts,
        what: &str,
        now: Instant,
    ) -> bool {
        let attempt = Attempt {
            sent: call.sent(),
            safety: self.safety(parts),
            deadline: call.deadline(),
        };
        let settings = self.config().retry;
        let decision = retry::decide(&attempt, &settings, &mut self.guards().budget(), now);
        if let Decision::GiveUp(why) = decision {
            call.refuse(&lost(&member.worker.seat(), what, attempt, why));
            return false;
        }
        self.resend(member, call, now)
    }

    /// Sends a call once more, if its client still wants it and the guards let it through.
    fn resend(self: &Arc<Self>, member: &Arc<Member>, mut call: Box<Call>, now: Instant) -> bool {
        if !call.flight().leave() {
            call.cancel();
            return false;
        }
        if let Err(refusal) = self.admit(&mut call, now) {
            call.refuse(&refusal);
            return false;
        }
        bump(&self.stats().retried);
        call.forget_preference();
        let era = era_of(member, &call);
        self.send(era, call);
        true
    }
}

/// The era a call is made in: its client's.
fn era_of(member: &Member, call: &Call) -> Era {
    if member.serves(Era::Modern) && call.session().is_none() {
        Era::Modern
    } else {
        Era::Legacy
    }
}

/// What the client is told of a call that is not made again. One that may be made twice may be
/// repeated by the client, too.
fn lost(seat: &str, what: &str, attempt: Attempt, why: Why) -> Refusal {
    let worker = format!("the worker ({seat})");
    let unknown = format!(
        "{worker} {what} while it worked on this call; whether the call took effect is not known"
    );
    match why {
        Why::Unsafe => Refusal::worker_lost(unknown),
        Why::Deadline => Refusal::deadline_exceeded(
            format!("{worker} {what} while it worked on this call, and its time is over"),
            true,
        ),
        Why::Attempts => Refusal {
            retry_after: Some(Duration::from_secs(1)),
            ..Refusal::worker_lost(format!("{unknown}; it was sent {} times", attempt.sent))
        },
        Why::Budget => Refusal {
            retry_after: Some(Duration::from_secs(1)),
            ..Refusal::worker_lost(format!(
                "{unknown}; too many calls are being repeated already"
            ))
        },
    }
}
