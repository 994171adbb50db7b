//! Whether a call may be made again without its client knowing: only what provably had no effect,
//! or may have it twice, and never so often that retries become the load.

use super::window::Window;
use std::time::{Duration, Instant};

/// How long a call entitles to retries, and how long a retry is remembered.
const MEMORY: Duration = Duration::from_secs(10);

/// Methods that only read, whatever server answers them.
const READS: [&str; 9] = [
    "completion/complete",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "server/discover",
    "tools/list",
];

/// How often, and how many retries a server may cost in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Times one call is sent to a worker at most, at least 1.
    pub attempts: u32,
    /// Retries per 100 calls, 0 to 1000.
    pub budget_percent: u32,
    /// Retries a second that are allowed beside that.
    pub budget_per_second: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attempts: 3,
            budget_percent: 20,
            budget_per_second: 10,
        }
    }
}

/// Whether a call that may have been executed may be made once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// Twice does no harm.
    Safe,
    /// Twice may do harm, or nobody knows.
    Unsafe,
}

/// What is known about a call, by who says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The JSON-RPC method.
    pub method: &'a str,
    /// `retry_safe` of the tool in the configuration.
    pub tool: Option<bool>,
    /// Whether the tool is in the server's `retry_safe` list.
    pub listed: bool,
    /// `readOnlyHint` in the server's list of tools.
    pub read_only: bool,
    /// `idempotentHint` there.
    pub idempotent: bool,
    /// Whether the operator trusts these hints (`trust_annotations`).
    pub trusted: bool,
}

impl Known<'_> {
    /// The operator's word on the tool counts first, then the list, then hints that are trusted.
    #[must_use]
    pub fn safety(&self) -> Safety {
        let safe = if self.method == "tools/call" {
            let hinted = self.trusted && (self.read_only || self.idempotent);
            self.tool.unwrap_or(self.listed || hinted)
        } else {
            READS.contains(&self.method)
        };
        if safe { Safety::Safe } else { Safety::Unsafe }
    }
}

/// What all retries of a server together may cost: a share of its calls and a few a second, over
/// the last ten seconds.
#[derive(Clone, Debug)]
pub struct Budget {
    settings: Settings,
    /// Calls, retries.
    window: Window<2>,
}

impl Budget {
    /// One that has seen nothing yet. The few a second are there from the start.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            window: Window::new(MEMORY),
        }
    }

    /// Grants by other settings from now on; what was counted stays.
    pub fn retune(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// A call was made.
    pub fn deposit(&mut self, now: Instant) {
        self.window.add(now, [1, 0]);
    }

    /// Takes one retry; false if there is none left.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        let [calls, retries] = self.window.totals(now);
        let share = u64::from(self.settings.budget_percent).saturating_mul(calls);
        let floor = u64::from(self.settings.budget_per_second) * MEMORY.as_secs() * 100;
        let granted = (retries + 1).saturating_mul(100) <= share.saturating_add(floor);
        if granted {
            self.window.add(now, [0, 1]);
        }
        granted
    }
}

/// A call whose worker is lost.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Times it was written to a worker, in whole or in part.
    pub sent: u32,
    /// Whether it may be made twice.
    pub safety: Safety,
    /// When its time is over.
    pub deadline: Instant,
}

/// What to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Send it to another worker.
    Again,
    /// Tell its client.
    GiveUp(Why),
}

/// Why a call is not made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It may have had its effect, and must not have it twice.
    Unsafe,
    /// Its time is over.
    Deadline,
    /// It has been sent as often as a call may be.
    Attempts,
    /// The server's budget of retries is used up.
    Budget,
}

/// Decides, and takes a retry from the budget if the answer is `Again`. A call that never reached
/// a worker is no retry: it costs nothing, and only its deadline ends it.
pub fn decide(
    attempt: &Attempt,
    settings: &Settings,
    budget: &mut Budget,
    now: Instant,
) -> Decision {
    if attempt.sent > 0 && attempt.safety == Safety::Unsafe {
        // Before the deadline: its client must learn that the outcome is unknown.
        return Decision::GiveUp(Why::Unsafe);
    }
    if attempt.deadline <= now {
        return Decision::GiveUp(Why::Deadline);
    }
    if attempt.sent == 0 {
        return Decision::Again;
    }
    if attempt.sent >= settings.attempts {
        return Decision::GiveUp(Why::Attempts);
    }
    if budget.withdraw(now) {
        Decision::Again
    } else {
        Decision::GiveUp(Why::Budget)
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempt, Budget, Decision, Known, READS, Safety, Settings, Why, decide};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    const CALL: Known<'_> = Known {
        method: "tools/call",
        tool: None,
        listed: false,
        read_only: false,
        idempotent: false,
        trusted: false,
    };

    #[test]
    fn only_who_may_say_so_makes_a_tool_safe() {
        #[rustfmt::skip]
        let table = [
            (CALL, false),
            (Known { tool: Some(true), ..CALL }, true),
            (Known { listed: true, ..CALL }, true),
            (Known { tool: Some(false), listed: true, read_only: true, trusted: true, ..CALL }, false),
            (Known { read_only: true, idempotent: true, ..CALL }, false),
            (Known { trusted: true, ..CALL }, false),
            (Known { read_only: true, trusted: true, ..CALL }, true),
            (Known { idempotent: true, trusted: true, ..CALL }, true),
        ];
        for (known, safe) in table {
            assert_eq!(known.safety() == Safety::Safe, safe, "{known:?}");
        }
    }

    #[test]
    fn methods_that_read_are_safe_and_others_are_not() {
        let methods = |names: &[&'static str], safe| {
            for method in names {
                let known = Known { method, ..CALL };
                assert_eq!(known.safety() == Safety::Safe, safe, "{method}");
            }
        };
        methods(&READS, true);
        methods(
            &[
                "logging/setLevel",
                "resources/subscribe",
                "tasks/cancel",
                "x",
                "",
            ],
            false,
        );
    }

    const fn settings(attempts: u32, percent: u32, per_second: u32) -> Settings {
        Settings {
            attempts,
            budget_percent: percent,
            budget_per_second: per_second,
        }
    }

    #[test]
    fn pitfall_19_an_unsafe_call_is_not_made_again_once_it_was_sent() {
        use Decision::{Again, GiveUp};
        let now = Instant::now();
        let (later, over) = (now + Duration::from_secs(1), now);
        let (free, spent) = (settings(3, 0, 1), settings(3, 0, 0));
        let table = [
            (0, Safety::Unsafe, later, spent, Again),
            (0, Safety::Safe, later, spent, Again),
            (0, Safety::Unsafe, over, free, GiveUp(Why::Deadline)),
            (1, Safety::Unsafe, later, free, GiveUp(Why::Unsafe)),
            (1, Safety::Unsafe, over, free, GiveUp(Why::Unsafe)),
            (1, Safety::Safe, later, free, Again),
            (2, Safety::Safe, later, free, Again),
            (3, Safety::Safe, later, free, GiveUp(Why::Attempts)),
            (1, Safety::Safe, over, free, GiveUp(Why::Deadline)),
            (1, Safety::Safe, later, spent, GiveUp(Why::Budget)),
        ];
        for (sent, safety, deadline, settings, expected) in table {
            let attempt = Attempt {
                sent,
                safety,
                deadline,
            };
            let mut budget = Budget::new(settings);
            assert_eq!(
                decide(&attempt, &settings, &mut budget, now),
                expected,
                "{attempt:?}"
            );
        }
    }

    #[test]
    fn a_retry_that_is_not_made_costs_nothing() {
        let now = Instant::now();
        let settings = settings(2, 0, 1);
        let mut budget = Budget::new(settings);
        let given_up = Attempt {
            sent: 2,
            safety: Safety::Safe,
            deadline: now + Duration::from_secs(1),
        };
        for _ in 0..100 {
            let _ = decide(&given_up, &settings, &mut budget, now);
        }
        let granted = (0..100).filter(|_| budget.withdraw(now)).count();
        assert_eq!(granted, 10);
    }

    #[test]
    fn deposits_and_retries_are_forgotten_after_ten_seconds() {
        let start = Instant::now();
        let mut budget = Budget::new(settings(3, 20, 0));
        (0..50).for_each(|_| budget.deposit(start));
        assert_eq!((0..50).filter(|_| budget.withdraw(start)).count(), 10);
        (0..4).for_each(|_| budget.deposit(start + Duration::from_secs(9)));
        assert!(!budget.withdraw(start + Duration::from_secs(9)));
        budget.deposit(start + Duration::from_secs(9));
        assert!(budget.withdraw(start + Duration::from_secs(10)));
        assert!(!budget.withdraw(start + Duration::from_secs(10)));
        assert!(!budget.withdraw(start + Duration::from_secs(30)));
    }

    proptest! {
        /// Whatever the order, retries of ten seconds stay within the share and the floor.
        #[test]
        fn retries_never_exceed_the_budget(
            steps in prop::collection::vec((0u64..500, any::<bool>()), 1..300),
            percent in 0u32..100,
            per_second in 0u32..5,
        ) {
            let start = Instant::now();
            let mut budget = Budget::new(settings(3, percent, per_second));
            budget.deposit(start);
            let (mut calls, mut retries, mut millis) = (vec![0], Vec::new(), 0);
            for (pause, call) in steps {
                millis += pause;
                let now = start + Duration::from_millis(millis);
                if call {
                    budget.deposit(now);
                    calls.push(millis);
                    continue;
                }
                // What is old is forgotten by whole seconds.
                let recent = |times: &[u64]| {
                    times.iter().filter(|t| *t / 1000 + 10 > millis / 1000).count()
                };
                let room = percent as usize * recent(&calls) + per_second as usize * 1000;
                let expected = (recent(&retries) + 1) * 100 <= room;
                prop_assert_eq!(budget.withdraw(now), expected);
                if expected {
                    retries.push(millis);
                }
            }
        }
    }
}
