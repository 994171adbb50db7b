//! What reaching a rung of the restart ladder does to a server. When one is reached is the business
//! of `policy/restart`; nothing here ends a worker that serves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::member::{Member, Phase};
use super::server::Server;
use crate::config;
use crate::observe::event::{Event, emit};
use crate::policy::restart::Rung;

/// Acts on the rung that was reached after `failures` in a row. `refused`: the last worker was no
/// crash, it answered and would not be opened.
pub(super) fn climb(server: &Arc<Server>, rung: Rung, failures: u32, refused: bool) {
    emit(&Event::RungReached {
        server: server.name().to_owned(),
        rung: rung.number(),
        what: what(rung, server.config().env_pass.is_empty()),
        failures,
    });
    if rung == Rung::Whole {
        server.begin_anew(refused);
    }
}

fn what(rung: Rung, passes_nothing: bool) -> &'static str {
    match (rung, passes_nothing) {
        (Rung::Restart, _) => "another worker is started",
        (Rung::Clean, false) => {
            "the next workers start without the variables of env_pass, in new directories"
        }
        (Rung::Clean, true) => {
            "the next workers start in new directories; env_pass is empty, nothing can be left out"
        }
        (Rung::Whole, _) => "what is left of its workers is ended, and it is started anew",
        (Rung::Degraded, _) => {
            "it is tried less and less often, up to every 30 s, and at once when a call arrives"
        }
    }
}

impl Server {
    /// Ends every worker that is left, none of which serves, so that nothing an old one holds is in
    /// the way of a new one.
    fn begin_anew(&self, refused: bool) {
        let left: Vec<Arc<Member>> = {
            let roster = self.roster();
            if roster.members.values().any(|m| m.phase() == Phase::Ready) {
                return;
            }
            // One that drains may have calls that will still be answered; their deadlines end it.
            let idle = roster.members.values().filter(|m| m.leases() == 0);
            idle.filter(|m| m.phase() != Phase::Gone).cloned().collect()
        };
        for member in left {
            log::info!(
                "server {}: worker {} is ended, {:.1} s old",
                self.name(),
                member.id(),
                member.age().as_secs_f32()
            );
            member.worker.kill();
        }
        if refused && self.config().era == config::Era::Auto {
            self.forget_eras();
        }
    }

    /// The program may be another one now and speak another era: the next worker is asked.
    fn forget_eras(&self) {
        self.standing().send_modify(|s| {
            s.legacy = None;
            s.modern = None;
            s.mixed = false;
        });
        self.no_reinitialize.store(false, Ordering::Relaxed);
    }
}
