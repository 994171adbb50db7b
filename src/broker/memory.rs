//! Keeps the memory of a server's workers within its limits: measures them once a second and does
//! what `policy/memory.rs` says. It counts each worker's own process; what that starts besides is
//! for control groups to count.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::member::{Member, Phase};
use super::server::Server;
use super::stats::bump;
use crate::observe::event::{Event, emit};
use crate::policy::memory::{Guard, Keep, Offender, Sample, Stall};
use crate::sys;

/// How often workers are measured.
pub(super) const LOOK: Duration = Duration::from_secs(1);

impl Server {
    /// Whether there is anything to measure.
    pub(super) fn has_processes(&self) -> bool {
        self.roster().members.values().any(|m| m.worker.pid != 0)
    }

    /// Measures all workers and acts on the verdict.
    pub(super) fn weigh(self: &Arc<Self>, guard: &mut Guard, now: Instant) {
        let members: Vec<Arc<Member>> = self.roster().members.values().cloned().collect();
        let samples: Vec<Sample> = members.iter().filter_map(|m| sample(m, now)).collect();
        let config = self.config();
        let keep = Keep {
            min_size: config.pool.min_size,
            min_serving: 1,
        };
        let verdict = guard.look(now, &samples, Stall::None, &config.memory, keep);
        if verdict.changed {
            let reason = verdict.pressure.then(|| {
                emit(&Event::MemorySoft {
                    server: self.name().to_owned(),
                    bytes: verdict.total,
                    limit: config.memory.soft_limit,
                });
                format!(
                    "the workers use {} MiB, above the soft limit of {} MiB",
                    verdict.total >> 20,
                    config.memory.soft_limit >> 20
                )
            });
            self.set_pressure(reason, now);
        }
        let find = |offender: Offender| {
            let found = members.iter().find(|m| m.id() == offender.worker);
            found.map(|member| (member, offender))
        };
        if let Some((member, offender)) = verdict.retire.and_then(find) {
            emit(&Event::WorkerRecycled {
                server: self.name().to_owned(),
                worker: member.id(),
                reason: format!(
                    "is the fattest with {} MiB and memory is short",
                    offender.bytes >> 20
                ),
            });
            bump(&self.stats().recycled);
            self.retire(member.id());
        }
        if let Some((member, offender)) = verdict.kill.and_then(find) {
            let suspects: Vec<_> = {
                let calls = member.calls();
                calls.clients().map(|(wire, c)| (wire, c.parts())).collect()
            };
            emit(&Event::MemoryHard {
                server: self.name().to_owned(),
                worker: member.id(),
                pid: member.worker.pid,
                bytes: offender.bytes,
                growth: offender.growth,
                limit: config.memory.hard_limit,
                calls: suspects.iter().map(|(wire, _)| *wire).collect(),
            });
            for (wire, parts) in suspects {
                self.suspect(&parts, (member.id(), wire), now);
            }
            member.enter(Phase::Draining);
            self.leave_lanes(member);
            member.worker.kill();
            self.wake();
        }
    }
}

/// A worker as it is now; `None` for what is no process, or none any more.
fn sample(member: &Arc<Member>, now: Instant) -> Option<Sample> {
    let bytes = match member.worker.pid {
        0 => return None,
        pid => sys::process::resident_bytes(pid)?,
    };
    let ready = member.phase() == Phase::Ready && !member.worker.is_stopping();
    if ready && member.served() == 0 {
        member.baseline.store(bytes, Ordering::Relaxed);
    }
    Some(Sample {
        worker: member.id(),
        bytes,
        baseline: member.baseline.load(Ordering::Relaxed),
        serving: ready,
        in_flight: member.leases(),
        pinned: member.is_pinned(now) || member.session().is_some(),
    })
}
