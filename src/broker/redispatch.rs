//! Calls whose worker is gone: made again where that is harmless, behind the client's back; else the
//! client is told that nobody knows whether the call took effect. An unsafe call is never made twice.

use std::sync::Arc;
use std::time::Instant;

use super::call::{Call, Parts};
use super::member::Member;
use super::server::Server;
use super::stats::bump;
use crate::mcp::era::Era;
use crate::observe::event::{Event, emit};
use crate::policy::refusal::Refusal;

/// Requests that change nothing, whatever the server.
const READS: [&str; 9] = [
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "server/discover",
    "ping",
];

impl Server {
    /// Whether a call may be made twice without harm.
    #[must_use]
    pub fn is_retry_safe(&self, parts: &Parts) -> bool {
        let Some(tool) = &parts.tool else {
            return READS.contains(&parts.method.as_str());
        };
        let quoted = serde_json::to_vec(tool).unwrap_or_default();
        let configured = self.rules().of(Some(&quoted)).retry_safe;
        configured.unwrap_or_else(|| self.rules().is_annotated_safe(tool))
    }

    /// Deals with the calls that were in flight at `member` when it `what` (such as `exited with
    /// status 1`). Returns how many there were.
    pub(super) fn lose(self: &Arc<Self>, member: &Arc<Member>, what: &str) -> usize {
        let lost = member.ended();
        let count = lost.len();
        let now = Instant::now();
        let mut again = 0;
        for call in lost {
            again += usize::from(self.lose_one(member, call, what, now));
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
        what: &str,
        now: Instant,
    ) -> bool {
        let parts = call.parts();
        let safe = self.is_retry_safe(&parts) && now < call.deadline();
        if !safe {
            let refusal = Refusal::worker_lost(format!(
                "the worker (pid {}) {what} while it worked on this call; whether the call took effect is not known",
                member.worker.pid
            ));
            call.refuse(self.stats(), &refusal);
            return false;
        }
        if !call.flight().leave() {
            call.cancel(self.stats());
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
