//! Lifetime counters of one server, written from every call and read by the views.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::snapshot::{Counters, DurationHistogram};
use crate::observe::metrics::CallDurations;
use crate::policy::refusal::{Reason, Refusal};

/// How a call ended, as counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A result.
    Ok,
    /// A JSON-RPC error of the worker.
    Error,
    /// Cancelled by the client.
    Cancelled,
    /// The worker died with it.
    Lost,
    /// Its time was over.
    Expired,
    /// Refused before it reached a worker.
    Refused,
}

impl Outcome {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Ok, "ok"),
        (Self::Error, "error"),
        (Self::Cancelled, "cancelled"),
        (Self::Lost, "lost"),
        (Self::Expired, "expired"),
        (Self::Refused, "refused"),
    ];
}

/// The counters.
#[derive(Debug, Default)]
pub struct Stats {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    refusals: [AtomicU64; Reason::ALL.len()],
    durations: CallDurations,
    /// Milliseconds of the last outage, and one; 0 before any.
    recovered: AtomicU64,
    /// Workers started.
    pub starts: AtomicU64,
    /// Workers that ended unasked.
    pub deaths: AtomicU64,
    /// Workers replaced by age or calls.
    pub recycled: AtomicU64,
    /// Lines of workers that were no messages.
    pub junk: AtomicU64,
    /// Frames over the limit.
    pub oversize: AtomicU64,
    /// Messages nobody could be given.
    pub unrouted: AtomicU64,
    /// Calls sent to another worker after the first one was lost.
    pub retried: AtomicU64,
    /// Workers replaced because a call's deadline found them stuck.
    pub condemned: AtomicU64,
    /// Workers killed for want of memory, by the guard or by the kernel.
    pub memory_kills: AtomicU64,
}

/// Adds one.
pub fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Stats {
    /// Counts the end of a call.
    pub fn finished(&self, outcome: Outcome, took: Duration) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            bump(counter);
        }
        self.durations.observe(took);
    }

    /// Counts a refusal.
    pub fn refused(&self, refusal: &Refusal) {
        if let Some(counter) = self.refusals.get(refusal.reason as usize) {
            bump(counter);
        }
        let outcome = match refusal.reason {
            Reason::WorkerLost => Outcome::Lost,
            Reason::AnswerTooLarge => Outcome::Error,
            Reason::DeadlineExceeded => Outcome::Expired,
            Reason::Overloaded
            | Reason::Draining
            | Reason::RateLimited
            | Reason::BreakerOpen
            | Reason::Quarantined => Outcome::Refused,
        };
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            bump(counter);
        }
    }

    /// All calls that have ended.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.outcomes
            .iter()
            .map(|c| c.load(Ordering::Relaxed))
            .sum()
    }

    /// The duration histogram.
    #[must_use]
    pub fn durations(&self) -> DurationHistogram {
        self.durations.snapshot()
    }

    /// Refusals since `seen`, which is brought up to date; those without any are left out.
    pub fn refusals_since(&self, seen: &mut [u64; Reason::ALL.len()]) -> Vec<(Reason, u64)> {
        let mut news = Vec::new();
        for ((reason, counter), seen) in Reason::ALL.iter().zip(&self.refusals).zip(seen) {
            let count = counter.load(Ordering::Relaxed);
            if count > *seen {
                news.push((*reason, count - *seen));
                *seen = count;
            }
        }
        news
    }

    /// How long half of the calls take at most, from the histogram; `None` before the first few.
    #[must_use]
    pub fn median(&self) -> Option<Duration> {
        let seen = self.durations();
        if seen.count < 20 {
            return None;
        }
        let mut below = 0;
        let at = seen.buckets.iter().position(|calls| {
            below += calls;
            below * 2 >= seen.count
        })?;
        let bound = DurationHistogram::BOUNDS_MICROS.get(at)?;
        Some(Duration::from_micros(*bound))
    }

    /// The server serves again after an outage. Its first start is none.
    pub fn recovered(&self, after: Duration) {
        if self.deaths.load(Ordering::Relaxed) > 0 {
            let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX - 1);
            self.recovered.store(millis + 1, Ordering::Relaxed);
        }
    }

    /// How long the last outage was, in milliseconds; `None` before any.
    #[must_use]
    pub fn recovered_after_ms(&self) -> Option<u64> {
        self.recovered.load(Ordering::Relaxed).checked_sub(1)
    }

    /// A copy for the views.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let read = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let calls = Outcome::ALL
            .iter()
            .zip(&self.outcomes)
            .map(|((_, name), c)| ((*name).to_owned(), read(c)))
            .collect::<BTreeMap<_, _>>();
        let refusals = Reason::ALL
            .iter()
            .zip(&self.refusals)
            .map(|(reason, c)| (reason.as_str().to_owned(), read(c)))
            .collect();
        Counters {
            calls,
            refusals,
            starts: read(&self.starts),
            deaths: read(&self.deaths),
            recycled: read(&self.recycled),
            junk_lines: read(&self.junk),
            oversize_frames: read(&self.oversize),
            unrouted: read(&self.unrouted),
            retried: read(&self.retried),
            condemned: read(&self.condemned),
            memory_kills: read(&self.memory_kills),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Stats};
    use crate::policy::refusal::Refusal;
    use std::time::Duration;

    #[test]
    fn each_outcome_has_its_own_counter() {
        let stats = Stats::default();
        for (n, (outcome, _)) in Outcome::ALL.iter().enumerate() {
            for _ in 0..=n {
                stats.finished(*outcome, Duration::ZERO);
            }
        }
        stats.refused(&Refusal::draining());
        stats.refused(&Refusal::worker_lost(""));
        let counters = stats.counters();
        assert_eq!(counters.calls["ok"], 1);
        assert_eq!(counters.calls["error"], 2);
        assert_eq!(counters.calls["cancelled"], 3);
        assert_eq!(counters.calls["lost"], 5);
        assert_eq!(counters.calls["expired"], 5);
        assert_eq!(counters.calls["refused"], 7);
        assert_eq!(counters.refusals["draining"], 1);
        assert_eq!(counters.refusals["worker_lost"], 1);
        assert_eq!(stats.calls(), 23);
    }
}
