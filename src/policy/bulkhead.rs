//! One tool whose calls do not come back must not take every worker. A tool may be at all but a
//! reserve of the workers; it may go beyond as long as its calls keep coming back, so a tool that
//! works is never held up. It counts calls; who waits and who is served is decided elsewhere.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A tool of which a call came back this recently works.
const FLOWING: Duration = Duration::from_millis(250);
/// One worker of this many is kept for other tools, but at least one.
const RESERVE: usize = 4;

/// Where the calls of each tool are. A tool is a digest; 0 is no tool, and never held up.
#[derive(Debug, Default)]
pub struct Bulkhead {
    tools: HashMap<u64, Tool>,
}

#[derive(Debug, Default)]
struct Tool {
    /// Workers with at least one of its calls, and how many.
    at: Vec<(u64, usize)>,
    answered: Option<Instant>,
}

impl Bulkhead {
    /// Whether `worker` may get a call of `tool`, of `workers` that there are.
    #[must_use]
    pub fn admits(&self, tool: u64, worker: u64, workers: usize, now: Instant) -> bool {
        let Some(found) = self.tools.get(&tool) else {
            return true;
        };
        let reserve = match workers {
            0 | 1 => 0,
            n => (n / RESERVE).max(1),
        };
        let flows = |t: Instant| now.saturating_duration_since(t) <= FLOWING;
        found.at.len() < workers.saturating_sub(reserve)
            || found.answered.is_some_and(flows)
            || found.at.iter().any(|(id, _)| *id == worker)
    }

    /// `worker` got a call of `tool`.
    pub fn took(&mut self, tool: u64, worker: u64) {
        if tool == 0 {
            return;
        }
        let at = &mut self.tools.entry(tool).or_default().at;
        match at.iter_mut().find(|(id, _)| *id == worker) {
            Some((_, calls)) => *calls += 1,
            None => at.push((worker, 1)),
        }
    }

    /// A call of `tool` has left `worker`, by its answer (`answered`) or otherwise.
    pub fn left(&mut self, tool: u64, worker: u64, answered: bool, now: Instant) {
        let Some(found) = self.tools.get_mut(&tool) else {
            return;
        };
        if answered {
            found.answered = Some(now);
        }
        if let Some(place) = found.at.iter().position(|(id, _)| *id == worker) {
            let calls = &mut found.at[place].1;
            *calls -= 1;
            if *calls == 0 {
                found.at.swap_remove(place);
            }
        }
        // A tool without a call needs no memory; its next burst has to prove itself again.
        if found.at.is_empty() {
            self.tools.remove(&tool);
        }
    }

    /// `worker` gets no calls any more: those it still has hold up nobody elsewhere.
    pub fn gone(&mut self, worker: u64) {
        self.tools.retain(|_, tool| {
            tool.at.retain(|(id, _)| *id != worker);
            !tool.at.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Bulkhead, FLOWING};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// Sends calls of `tool` to the first workers that admit one, `count` at most; returns how many
    /// found a worker without a call of it.
    fn spread(
        bulkhead: &mut Bulkhead,
        tool: u64,
        workers: usize,
        count: usize,
        now: Instant,
    ) -> usize {
        let mut taken = 0;
        for worker in 0..workers as u64 {
            if taken < count && bulkhead.admits(tool, worker, workers, now) {
                bulkhead.took(tool, worker);
                taken += 1;
            }
        }
        taken
    }

    #[test]
    fn thirty_wedged_calls_leave_a_quarter_of_the_workers() {
        let now = Instant::now();
        let mut bulkhead = Bulkhead::default();
        assert_eq!(spread(&mut bulkhead, 7, 20, 30, now), 15);
        let later = now + Duration::from_secs(60);
        assert!(!bulkhead.admits(7, 19, 20, later));
        assert!(bulkhead.admits(7, 0, 20, later), "where it is already");
        assert!(bulkhead.admits(8, 19, 20, later), "others are not held up");
    }

    #[test]
    fn a_tool_whose_calls_come_back_takes_all() {
        let now = Instant::now();
        let mut bulkhead = Bulkhead::default();
        assert_eq!(spread(&mut bulkhead, 7, 4, 4, now), 3);
        bulkhead.took(7, 0);
        bulkhead.left(7, 0, true, now);
        assert!(bulkhead.admits(7, 3, 4, now + FLOWING));
        assert!(!bulkhead.admits(7, 3, 4, now + FLOWING * 2));
    }

    #[test]
    fn an_end_without_answer_proves_nothing() {
        let now = Instant::now();
        let mut bulkhead = Bulkhead::default();
        spread(&mut bulkhead, 7, 4, 4, now);
        bulkhead.took(7, 0);
        bulkhead.left(7, 0, false, now);
        assert!(!bulkhead.admits(7, 3, 4, now));
    }

    #[test]
    fn what_hangs_at_a_worker_that_is_gone_holds_up_nobody() {
        let now = Instant::now();
        let mut bulkhead = Bulkhead::default();
        bulkhead.took(7, 0);
        assert!(!bulkhead.admits(7, 1, 1, now));
        bulkhead.gone(0);
        assert!(bulkhead.admits(7, 1, 1, now));
        bulkhead.took(7, 1);
        bulkhead.left(7, 0, false, now);
        assert!(!bulkhead.admits(7, 2, 1, now), "that one is still there");
    }

    #[test]
    fn a_single_worker_serves_everything() {
        let mut bulkhead = Bulkhead::default();
        bulkhead.took(7, 0);
        assert!(bulkhead.admits(7, 0, 1, Instant::now()));
        assert!(bulkhead.admits(0, 0, 1, Instant::now()));
    }

    proptest! {
        #[test]
        fn what_was_taken_and_left_is_forgotten(
            steps in proptest::collection::vec((1u64..5, 0u64..6), 0..60),
        ) {
            let now = Instant::now();
            let mut bulkhead = Bulkhead::default();
            for (tool, worker) in &steps {
                bulkhead.took(*tool, *worker);
            }
            for (tool, worker) in &steps {
                bulkhead.left(*tool, *worker, false, now);
            }
            prop_assert!(bulkhead.tools.is_empty());
        }
    }
}
