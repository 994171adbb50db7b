//! Keeps the memory of a server's workers within its limits: measures them once a second, and at once
//! when the kernel tells that they wait for memory, and does what `policy/memory.rs` says. A worker with
//! a control group is measured with all it has started, any other by its own process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::call::Parts;
use super::member::{Member, Phase};
use super::server::Server;
use super::stats::bump;
use super::wear::Wear;
use crate::observe::event::{Event, emit};
use crate::policy::memory::{Guard, Keep, Offender, Sample, Stall, Verdict};
use crate::sys::cgroup::Group;
use crate::sys::process::resident_bytes;
use crate::sys::psi::{Share, Threshold, Trigger};

/// How often workers are measured.
const LOOK: Duration = Duration::from_secs(1);
/// How often, while one that serves has been measured too rarely to be judged.
const CLOSE_LOOK: Duration = Duration::from_millis(50);
/// When the workers of a server lose time waiting for memory.
const WARN: Threshold = Threshold {
    share: Share::Some,
    stall: Duration::from_millis(150),
    window: Duration::from_secs(2),
};
/// When they get hardly anything done.
const KILL: Threshold = Threshold {
    share: Share::Full,
    stall: Duration::from_secs(1),
    window: Duration::from_secs(2),
};

/// What the guard remembers of one server.
pub(super) struct Watch {
    guard: Guard,
    pub(super) wear: BTreeMap<u64, Wear>,
    next: Instant,
    /// Why memory is short, while it is.
    short: Option<String>,
    triggers: Triggers,
}

/// The kernel's word on stalls.
enum Triggers {
    /// Not asked for yet.
    None,
    Armed(JoinSet<()>),
    /// The kernel will not tell.
    Refused,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            guard: Guard::default(),
            wear: BTreeMap::new(),
            next: now + LOOK,
            short: None,
            triggers: Triggers::None,
        }
    }

    /// When to measure next, if nothing happens.
    pub(super) fn next(&self) -> Instant {
        self.next
    }
}

impl Server {
    /// Whether there is anything to measure.
    pub(super) fn has_processes(&self) -> bool {
        self.roster().members.values().any(|m| m.worker.pid != 0)
    }

    /// Measures all workers if it is time or the kernel told of a stall, and acts on the verdict.
    pub(super) fn weigh(self: &Arc<Self>, watch: &mut Watch, now: Instant) {
        let stall = self.take_stall();
        if now < watch.next && stall == Stall::None {
            return;
        }
        if !self.has_processes() {
            watch.next = now + LOOK;
            return;
        }
        self.listen_for_stalls(watch);
        let members: Vec<Arc<Member>> = self.roster().members.values().cloned().collect();
        let samples: Vec<Sample> = members.iter().filter_map(|m| sample(m, now)).collect();
        let config = self.config();
        let keep = Keep {
            min_size: config.pool.min_size,
            min_serving: 1,
        };
        let guard = &mut watch.guard;
        let verdict = guard.look(now, &samples, stall, &config.memory, keep);
        if verdict.changed {
            watch.short = self.pressed(&verdict);
        }
        let find = |offender: Offender| {
            let found = members.iter().find(|m| m.id() == offender.worker);
            found.map(|member| (member, offender))
        };
        if let Some((member, offender)) = verdict.retire.and_then(find) {
            self.retire_fattest(member, offender);
        }
        if let Some((member, offender)) = verdict.kill.and_then(find) {
            self.kill_offender(member, offender, verdict.stalled, now);
        }
        let short = self.look_for_leaks(watch, &members, &samples, verdict.total, now);
        watch.next = now + if short { CLOSE_LOOK } else { LOOK };
    }

    /// Refuses the less important calls while memory is short, the workers' or the daemon's own.
    pub(super) fn press(&self, watch: &Watch, now: Instant) {
        let reason = watch.short.as_deref().or(self.own_shortage());
        if self.guards().is_shedding() != reason.is_some() {
            self.set_pressure(reason.map(ToOwned::to_owned), now);
        }
    }

    /// Why memory is short, if it is now.
    fn pressed(&self, verdict: &Verdict) -> Option<String> {
        if !verdict.pressure {
            return None;
        }
        let limit = self.config().memory.soft_limit;
        emit(&Event::MemorySoft {
            server: self.name().to_owned(),
            bytes: verdict.total,
            limit,
            stalled: verdict.stalled,
        });
        Some(match verdict.stalled {
            true => "the workers lose time waiting for memory".to_owned(),
            false => format!(
                "the workers use {} MiB, above the soft limit of {} MiB",
                verdict.total >> 20,
                limit >> 20
            ),
        })
    }

    fn retire_fattest(self: &Arc<Self>, member: &Arc<Member>, offender: Offender) {
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

    fn kill_offender(&self, member: &Arc<Member>, offender: Offender, stalled: bool, now: Instant) {
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
            limit: self.config().memory.hard_limit,
            stalled,
            bytes_a_call: member.leak(),
            calls: suspects.iter().map(|(wire, _)| *wire).collect(),
            tools: names(suspects.iter().map(|(_, parts)| parts)),
        });
        for (wire, parts) in suspects {
            self.suspect(&parts, (member.id(), wire), now);
        }
        bump(&self.stats().memory_kills);
        member.enter(Phase::Draining);
        self.leave_lanes(member);
        member.worker.kill();
        self.wake();
    }

    /// The kernel was faster than the guard.
    pub(super) fn tell_oom(&self, member: &Member, asked: bool) {
        if !asked {
            bump(&self.stats().memory_kills);
        }
        let had: Vec<_> = {
            let calls = member.calls();
            calls.clients().map(|(wire, c)| (wire, c.parts())).collect()
        };
        emit(&Event::WorkerOom {
            server: self.name().to_owned(),
            worker: member.id(),
            pid: member.worker.pid,
            bytes: member.group().and_then(Group::memory_peak),
            limit: self.config().limits.memory,
            calls: had.iter().map(|(wire, _)| *wire).collect(),
            tools: names(had.iter().map(|(_, parts)| parts)),
        });
    }

    /// Has the kernel tell of stalls, once the server has a control group to be told of.
    fn listen_for_stalls(self: &Arc<Self>, watch: &mut Watch) {
        if let Triggers::Armed(tasks) = &mut watch.triggers {
            if tasks.try_join_next().is_none() {
                return;
            }
            // The group was removed; the next worker makes it anew.
            watch.triggers = Triggers::None;
        }
        if matches!(watch.triggers, Triggers::Refused) {
            return;
        }
        let Some(file) = self.group().and_then(|group| group.pressure_file()) else {
            return;
        };
        let mut tasks = JoinSet::new();
        for (threshold, stall) in [(WARN, Stall::Some), (KILL, Stall::Full)] {
            let trigger = match Trigger::arm(&file, &threshold) {
                Ok(trigger) => trigger,
                Err(error) => {
                    log::warn!(
                        "server {}: the kernel will not tell when workers wait for memory ({}: \
                         {error}); limits are kept all the same",
                        self.name(),
                        file.display()
                    );
                    watch.triggers = Triggers::Refused;
                    return;
                }
            };
            let server = Arc::clone(self);
            tasks.spawn(async move {
                while trigger.fired().await.is_ok() {
                    server.stalls(stall);
                }
            });
        }
        watch.triggers = Triggers::Armed(tasks);
    }
}

impl Member {
    /// Bytes of memory it has now: of its control group, else of its process; `None` for what is no
    /// process, or none any more.
    pub(super) fn memory(&self) -> Option<u64> {
        let group = || self.group().and_then(Group::memory_used);
        match self.worker.pid {
            0 => None,
            pid => group().or_else(|| resident_bytes(pid)),
        }
    }

    /// Bytes it may have at most, where its control group holds it to that.
    pub(super) fn memory_limit(&self) -> Option<u64> {
        let server = self.server.upgrade()?;
        self.group()?.memory_current()?;
        Some(server.config().limits.memory)
    }

    /// What it has now is what it has without having served.
    pub(super) fn note_baseline(&self) {
        if let Some(bytes) = self.memory() {
            self.baseline.store(bytes, Ordering::Relaxed);
        }
    }
}

/// The tools of some calls, such as `echo, render (2)`.
fn names<'p>(calls: impl Iterator<Item = &'p Parts>) -> String {
    const MOST: usize = 5;
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for parts in calls {
        let name = parts.tool.as_ref().unwrap_or(&parts.method);
        *names.entry(name).or_default() += 1;
    }
    let rest = names.len().saturating_sub(MOST);
    let shown = names.into_iter().take(MOST);
    let mut words: Vec<String> = shown
        .map(|(name, count)| match count {
            1 => name.to_owned(),
            count => format!("{name} ({count})"),
        })
        .collect();
    if rest > 0 {
        words.push(format!("{rest} more"));
    }
    words.join(", ")
}

/// A worker as it is now; `None` for what is no process, or none any more.
fn sample(member: &Arc<Member>, now: Instant) -> Option<Sample> {
    let bytes = member.memory()?;
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
