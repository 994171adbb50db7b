//! What was measured so far. However long a run is, its memory does not grow.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::histogram::Histogram;

/// Kinds of failures told apart; the rest are counted together.
const KINDS_MOST: usize = 20;
/// Faults nobody has recovered from yet; there is no need to remember more of them.
const OPEN_MOST: usize = 10_000;

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) count: u64,
    /// The first one.
    pub(crate) example: String,
}

/// The measurements.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) calls: u64,
    pub(crate) good: u64,
    /// How long calls took, good or not.
    pub(crate) latency: Histogram,
    pub(crate) failures: BTreeMap<String, Kind>,
    pub(crate) kills: u64,
    /// From a fault to the first good answer to a call begun after it.
    pub(crate) recovery: Histogram,
    /// When faults happened that no good answer has followed yet, in their order.
    open: VecDeque<Instant>,
    /// Most memory the daemon was seen with, in bytes.
    pub(crate) daemon_peak: Option<u64>,
    /// Most memory all workers of the server were seen with, in bytes.
    pub(crate) workers_peak: Option<u64>,
}

impl Figures {
    /// Faults without a recovery.
    pub(crate) fn unrecovered(&self) -> usize {
        self.open.len()
    }

    /// From 0 to 1; 0 where there were no calls.
    #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
    pub(crate) fn success(&self) -> f64 {
        self.good as f64 / self.calls.max(1) as f64
    }

    fn call(&mut self, begun: Instant, ended: Instant, outcome: Result<(), &Failure>) {
        self.calls += 1;
        self.latency.record(ended.saturating_duration_since(begun));
        match outcome {
            Ok(()) => {
                self.good += 1;
                while self.open.front().is_some_and(|fault| *fault < begun) {
                    if let Some(fault) = self.open.pop_front() {
                        self.recovery.record(ended.saturating_duration_since(fault));
                    }
                }
            }
            Err(failure) => {
                let known = self.failures.contains_key(&failure.kind);
                let name = if known || self.failures.len() < KINDS_MOST {
                    failure.kind.as_str()
                } else {
                    "other"
                };
                let kind = self.failures.entry(name.to_owned()).or_insert(Kind {
                    count: 0,
                    example: failure.example.clone(),
                });
                kind.count += 1;
            }
        }
    }
}

/// The measurements, shared by all users.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    figures: Mutex<Figures>,
}

impl Tally {
    /// To be held shortly.
    pub(crate) fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call is over.
    pub(crate) fn call(&self, begun: Instant, outcome: Result<(), &Failure>) {
        self.figures().call(begun, Instant::now(), outcome);
    }

    /// Something was broken, and is so from now on.
    pub(crate) fn fault(&self) {
        let mut figures = self.figures();
        figures.kills += 1;
        if figures.open.len() < OPEN_MOST {
            figures.open.push_back(Instant::now());
        }
    }

    /// Memory as the daemon tells it.
    pub(crate) fn memory(&self, daemon: Option<u64>, workers: Option<u64>) {
        let mut figures = self.figures();
        figures.daemon_peak = figures.daemon_peak.max(daemon);
        figures.workers_peak = figures.workers_peak.max(workers);
    }

    /// How long the oldest fault has been without a recovery.
    pub(crate) fn waiting(&self) -> Option<Duration> {
        self.figures().open.front().map(Instant::elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_begun_after_the_fault_shows_that_it_is_over() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut figures = Figures::default();
        figures.open.extend([at(10), at(20)]);
        figures.call(at(5), at(30), Ok(()));
        figures.call(at(12), at(31), Err(&Failure::wrong("no")));
        assert_eq!(figures.unrecovered(), 2);
        figures.call(at(15), at(40), Ok(()));
        assert_eq!(figures.unrecovered(), 1);
        figures.call(at(25), at(50), Ok(()));
        assert_eq!(figures.unrecovered(), 0);
        let recovery = &figures.recovery;
        assert_eq!(recovery.max(), Some(Duration::from_millis(30)));
        assert_eq!(recovery.count(), 2);
        assert!((figures.success() - 0.75).abs() < 1e-9);
        assert_eq!(figures.failures["wrong answer"].example, "no");
    }

    #[test]
    fn kinds_do_not_grow_without_bound() {
        let mut figures = Figures::default();
        let now = Instant::now();
        for code in 0..1000 {
            figures.call(now, now, Err(&Failure::new(&format!("error {code}"), "")));
        }
        assert_eq!(figures.failures.len(), KINDS_MOST + 1);
        assert_eq!(figures.failures["other"].count, 1000 - KINDS_MOST as u64);
    }
}
