//! How the memory of each worker of a server grows with its calls, and the polite end of those that
//! leak, before the memory guard has to be less polite. What a leak is, and when it is too much, says
//! `policy/leak.rs`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::call::Call;
use super::member::{Member, Phase};
use super::memory::Watch;
use super::principal::fnv;
use super::server::Server;
use crate::config;
use crate::observe::event::{Event, emit};
use crate::policy::leak::{Leak, Leaker, Pool, Trend, due};
use crate::policy::memory::Sample;
use crate::policy::pool::recycle_token;

/// What a start takes until one has been measured.
const START: Duration = Duration::from_secs(2);

/// What is known of one worker.
#[derive(Debug, Default)]
pub(super) struct Wear {
    /// Over every look: it sees within seconds that a leak has begun.
    fast: Trend,
    /// Over a look each `memory.check_interval`: it sees what is lost in an hour.
    slow: Trend,
    /// When the slow one is told next, and what was called since the last time.
    due: Option<Instant>,
    since: Since,
    calls: u64,
    told: bool,
}

/// The tool of several looks: it counts only if all of them had the same.
#[derive(Debug, Default)]
enum Since {
    #[default]
    Nothing,
    Only(Arc<str>),
    Mixed,
}

impl Wear {
    fn add(&mut self, now: Instant, sample: &Sample, calls: u64, recent: Recent, every: Duration) {
        let tool = recent.tool();
        self.since = match (std::mem::take(&mut self.since), &recent) {
            (since, Recent::None) => since,
            (Since::Nothing, Recent::Only(_, name)) => Since::Only(Arc::clone(name)),
            (Since::Only(known), Recent::Only(_, name)) if known == *name => Since::Only(known),
            _ => Since::Mixed,
        };
        self.fast.add(now, calls, sample.bytes, tool);
        if self.due.is_none_or(|due| now >= due) {
            self.due = Some(now + every);
            let tool = match std::mem::take(&mut self.since) {
                Since::Only(name) => Some(name),
                Since::Nothing | Since::Mixed => None,
            };
            self.slow.add(now, calls, sample.bytes, tool);
        }
        self.calls = calls;
    }

    fn leak(&self) -> Option<Leak> {
        self.fast.leak().or_else(|| self.slow.leak())
    }
}

/// What the calls since the last look were of.
#[derive(Clone, Debug, Default)]
pub(super) enum Recent {
    /// There were none.
    #[default]
    None,
    /// All of one tool, by a digest of its raw name.
    Only(u64, Arc<str>),
    /// Of several, or of none.
    Mixed,
}

impl Recent {
    fn note(&mut self, raw: Option<&[u8]>) {
        let Some(raw) = raw else {
            *self = Self::Mixed;
            return;
        };
        let key = fnv(raw);
        match self {
            Self::None => {
                let name = serde_json::from_slice::<String>(raw);
                *self = name.map_or(Self::Mixed, |name| Self::Only(key, name.into()));
            }
            Self::Only(known, _) if *known == key => {}
            Self::Only(..) | Self::Mixed => *self = Self::Mixed,
        }
    }

    fn tool(&self) -> Option<Arc<str>> {
        match self {
            Self::Only(_, name) => Some(Arc::clone(name)),
            Self::None | Self::Mixed => None,
        }
    }

    /// What is still in flight is of the next look, too.
    fn take(&mut self, in_flight: usize) -> Self {
        match in_flight {
            0 => std::mem::take(self),
            _ => self.clone(),
        }
    }
}

impl Member {
    /// It gets this call.
    pub(super) fn note_call(&self, call: &Call) {
        self.served.fetch_add(1, Ordering::Relaxed);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.note(call.tool_name());
    }

    fn take_recent(&self) -> Recent {
        let in_flight = self.leases();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.take(in_flight)
    }

    /// Bytes it loses with each call, if it leaks.
    #[must_use]
    pub fn leak(&self) -> Option<u64> {
        Some(self.leak.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }
}

impl Server {
    /// Looks for leaks and replaces a worker that is due for it. Returns whether the next look should
    /// be soon: somebody serves who has not been looked at often enough.
    pub(super) fn look_for_leaks(
        self: &Arc<Self>,
        watch: &mut Watch,
        members: &[Arc<Member>],
        samples: &[Sample],
        total: u64,
        now: Instant,
    ) -> bool {
        let there = |worker: &u64| samples.iter().any(|sample| sample.worker == *worker);
        watch.wear.retain(|worker, _| there(worker));
        let every = self.config().memory.check_interval;
        let mut soon = false;
        let mut leakers = Vec::new();
        for sample in samples.iter().filter(|sample| sample.serving) {
            let Some(member) = members.iter().find(|m| m.id() == sample.worker) else {
                continue;
            };
            let wear = watch.wear.entry(sample.worker).or_default();
            let calls = member.served();
            soon |= calls > wear.calls && wear.fast.is_short();
            wear.add(now, sample, calls, member.take_recent(), every);
            let leak = wear.leak();
            let bytes = leak.as_ref().map_or(0, |leak| whole(leak.bytes_a_call));
            member.leak.store(bytes, Ordering::Relaxed);
            let Some(leak) = leak else {
                continue;
            };
            // A heap may settle at half as much again.
            if !wear.told && sample.growth() > sample.baseline / 2 {
                wear.told = true;
                self.tell_leak(member, &leak, sample);
            }
            if !sample.pinned {
                leakers.push(Leaker {
                    worker: sample.worker,
                    bytes: sample.bytes,
                    baseline: sample.baseline,
                    bytes_a_second: leak.bytes_a_second,
                    own_limit: member.memory_limit(),
                });
            }
        }
        // What others hold in memory is theirs: there it is only told.
        if self.config().state == config::State::None {
            self.replace_leaking(&leakers, members, total);
        }
        soon
    }

    fn tell_leak(&self, member: &Member, leak: &Leak, sample: &Sample) {
        let tool = leak.tool.as_ref();
        emit(&Event::LeakFound {
            server: self.name().to_owned(),
            worker: member.id(),
            pid: member.worker.pid,
            bytes_a_call: whole(tool.map_or(leak.bytes_a_call, |tool| tool.bytes_a_call)),
            tool: tool.map(|tool| tool.name.to_string()),
            calls: leak.calls,
            bytes: sample.bytes,
        });
    }

    fn replace_leaking(self: &Arc<Self>, leakers: &[Leaker], members: &[Arc<Member>], total: u64) {
        let (leakers, start_time) = {
            let roster = self.roster();
            let replaced = |l: &&Leaker| !roster.replacing.iter().any(|r| r.old == l.worker);
            let leakers: Vec<Leaker> = leakers.iter().filter(replaced).copied().collect();
            (leakers, roster.start_time.unwrap_or(START))
        };
        let pool = Pool {
            total,
            soft_limit: self.config().memory.soft_limit,
            start_time,
            at_a_time: recycle_token(self.config().pool.max_size),
        };
        let Some(found) = due(&leakers, &pool) else {
            return;
        };
        let member = members.iter().find(|m| m.id() == found.worker);
        let Some(member) = member.filter(|m| m.phase() == Phase::Ready) else {
            return;
        };
        let leak = member.leak().unwrap_or_default();
        let reason = format!(
            "leaks {} kB a call and has {} MiB, {} MiB of it new",
            leak / 1000,
            found.bytes >> 20,
            found.bytes.saturating_sub(found.baseline) >> 20
        );
        // If others are being replaced just now, the next look tries again.
        self.replace(member, &reason);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion that saturates"
)]
fn whole(bytes: f64) -> u64 {
    bytes.round() as u64
}

#[cfg(test)]
mod tests {
    use super::{Recent, Wear};
    use crate::policy::memory::Sample;
    use std::time::{Duration, Instant};

    fn taken(recent: &mut Recent, calls: &[Option<&str>], in_flight: usize) -> Option<String> {
        for call in calls {
            recent.note(call.map(str::as_bytes));
        }
        recent.take(in_flight).tool().map(|name| name.to_string())
    }

    #[test]
    fn one_tool_is_told_from_several() {
        let mut recent = Recent::default();
        let (a, b) = (Some("\"a\""), Some("\"b\""));
        assert_eq!(taken(&mut recent, &[], 0), None);
        assert_eq!(taken(&mut recent, &[a, a, a], 0).as_deref(), Some("a"));
        assert_eq!(taken(&mut recent, &[b], 1).as_deref(), Some("b"));
        assert_eq!(taken(&mut recent, &[a], 0), None, "b was still in flight");
        assert_eq!(taken(&mut recent, &[a], 0).as_deref(), Some("a"));
        assert_eq!(taken(&mut recent, &[a, None], 1), None);
        assert_eq!(taken(&mut recent, &[a], 0), None);
        assert_eq!(taken(&mut recent, &[Some("junk")], 0), None);
    }

    #[test]
    fn a_slow_leak_is_seen_over_a_longer_time() {
        const MIB: u64 = 1 << 20;
        let (mut wear, start) = (Wear::default(), Instant::now());
        let mut told = None;
        for second in 0..1200 {
            // 32 kB with each call, which is 160 kB a second, and a heap that breathes.
            let bytes = 70 * MIB + second * 160_000 + second % 7 * 3 * MIB;
            let sample = Sample {
                bytes,
                ..Sample::default()
            };
            let tool = Recent::Only(1, "render".into());
            let now = start + Duration::from_secs(second);
            wear.add(now, &sample, second * 5, tool, Duration::from_secs(10));
            assert_eq!(
                wear.fast.leak(),
                None,
                "{second} s: 19 MB in two minutes, with that noise"
            );
            told = told.or(wear.leak().map(|leak| (second, leak)));
        }
        let (second, leak) = told.unwrap();
        assert!((200..900).contains(&second), "{second}");
        assert!((30e3..34e3).contains(&leak.bytes_a_call), "{leak:?}");
        assert_eq!(
            leak.tool.map(|tool| tool.name.to_string()),
            Some("render".to_owned())
        );
    }
}
