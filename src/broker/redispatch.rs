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

/// When a declined call may be made again if the upstream does not say.
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

    /// Deals with the calls that were in flight at `member` when it ended. Returns how many there
    /// were.
    pub(super) fn lose(self: &Arc<Self>, member: &Arc<Member>, end: &End) -> usize {
        let lost = member.ended();
        let count = lost.len();
        let now = Instant::now();
        let mut again = 0;
        let mut seen = BTreeSet::new();
        // What the daemon ended itself, or an outsider killed, was not killed by a call.
        let suspicious = !end.asked && !end.killed;
        for mut call in lost {
            let parts = call.parts();
            // One death is one failure of the server, however many calls it has cost.
            if member.blame() && !end.asked {
                call.settle(Outcome::WorkerGone);
            }
            if suspicious && seen.insert((parts.tool.clone(), parts.arguments.clone())) {
                self.suspect(&parts, now);
            }
            again += usize::from(self.lose_one(member, call, &parts, &end.what, now));
        }
        if again > 0 {
            emit(&Event::CallsRetried {
                server: self.name().to_owned(),
                worker: member.id(),
                count: again,
            });
        }
        count
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
            call.refuse(&lost(member.worker.pid, what, attempt, why));
            return false;
        }
        self.resend(member, call, now)
    }

    /// Deals with a call that an upstream did not answer, at a worker that may live on.
    pub(super) fn miss(self: &Arc<Self>, member: &Arc<Member>, mut call: Box<Call>, loss: &Loss) {
        let now = Instant::now();
        let attempts = self.config().retry.attempts;
        let said = format!("the upstream {}", loss.what);
        match loss.fate {
            // Nothing has happened, so nothing is repeated: only its deadline ends it.
            Fate::Unsent => {
                call.settle(Outcome::WorkerGone);
                call.recall();
                self.resend(member, call, now);
            }
            // It answered, and so it can be reached. A session that is always forgotten is no use.
            Fate::Forgotten if call.sent() < attempts => {
                call.settle(Outcome::Unsent);
                self.resend(member, call, now);
            }
            Fate::Forgotten => {
                call.settle(Outcome::Malformed);
                call.refuse(&Refusal::overloaded(said, AGAIN));
            }
            Fate::Declined { retry_after } => {
                call.settle(Outcome::Declined { retry_after });
                let after = retry_after.unwrap_or(AGAIN);
                call.refuse(&Refusal::overloaded(said, after));
            }
            Fate::Unknown => {
                call.settle(Outcome::WorkerGone);
                let parts = call.parts();
                self.lose_one(member, call, &parts, &loss.what, now);
            }
            Fate::Garbled => {
                call.settle(Outcome::Malformed);
                call.refuse(&Refusal::worker_lost(format!(
                    "{said}; whether the call took effect is not known"
                )));
            }
        }
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
        let era = if member.serves(Era::Modern) && call.session().is_none() {
            Era::Modern
        } else {
            Era::Legacy
        };
        self.send(era, call);
        true
    }
}

/// What the client is told of a call that is not made again. One that may be made twice may be
/// repeated by the client, too.
fn lost(pid: u32, what: &str, attempt: Attempt, why: Why) -> Refusal {
    let worker = match pid {
        0 => "the upstream".to_owned(),
        pid => format!("the worker (pid {pid})"),
    };
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
