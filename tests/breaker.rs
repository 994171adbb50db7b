//! The breaker, as its callers meet it: when it opens, how it finds its way back, and what must
//! not move it. Time is a number here; no test waits.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use Verdict::{Busy, Excluded, Failure, Success, Weak};
use mainstay::policy::breaker::{
    Breaker, Mode, Refused, Settings, State, Ticket, Transition, Verdict,
};
use mainstay::policy::outcome::Outcome;
use mainstay::policy::permit::Gate;
use proptest::prelude::*;
use std::time::{Duration, Instant};

const BUSY: Verdict = Busy { retry_after: None };
/// How long a call may take.
const CALL: Duration = Duration::from_secs(60);

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A breaker and a clock of its own. Jitter is 1.0: waits are as long as they get.
struct Bench {
    breaker: Breaker,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        Self {
            breaker: Breaker::new(settings),
            now: Instant::now(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn ask(&mut self) -> Result<Ticket, Refused> {
        self.breaker.admit(self.now, self.now + CALL).verdict
    }

    fn settle(&mut self, ticket: Ticket, verdict: Verdict) -> Option<Transition> {
        self.breaker
            .settle(self.now, ticket, verdict, millis(1), 1.0)
    }

    /// One call from start to end.
    fn call(&mut self, verdict: Verdict) -> Option<Transition> {
        let ticket = self.ask().expect("the call is admitted");
        self.settle(ticket, verdict)
    }

    fn calls(&mut self, count: u32, verdict: Verdict) {
        for _ in 0..count {
            let _ = self.call(verdict);
        }
    }

    fn wait(&mut self) -> Duration {
        self.ask().expect_err("it is not closed").retry_after
    }

    fn state(&self) -> State {
        self.breaker.state()
    }

    fn opened() -> Self {
        let mut bench = Self::new();
        bench.calls(5, Failure);
        assert_eq!(bench.state(), State::Open);
        bench
    }

    fn half_open() -> Self {
        let mut bench = Self::opened();
        bench.pass(secs(1));
        bench
    }
}

#[test]
fn pitfall_1_what_a_tool_or_a_caller_does_wrong_opens_nothing() {
    let mut bench = Bench::new();
    let is_error = Outcome::Result {
        is_error: true,
        predicate_failed: false,
    };
    let bad_arguments = Outcome::RpcError {
        code: -32602,
        caller_fault: true,
    };
    for _ in 0..1000 {
        for outcome in [
            is_error,
            bad_arguments,
            Outcome::Cancelled,
            Outcome::Refused,
        ] {
            assert_eq!(bench.call(outcome.of_server()), None);
        }
        bench.pass(millis(1));
    }
    assert_eq!(bench.state(), State::Closed);
    for _ in 0..5 {
        assert_eq!(bench.state(), State::Closed);
        let _ = bench.call(Outcome::WorkerGone.of_server());
    }
    assert_eq!(bench.state(), State::Open);
}

#[test]
fn five_failures_in_a_row_open_it_and_four_do_not() {
    let mut bench = Bench::new();
    bench.calls(4, Failure);
    bench.calls(1, Success);
    bench.calls(4, Failure);
    assert_eq!(bench.state(), State::Closed);
    let change = bench.call(Failure).unwrap();
    assert_eq!((change.from, change.to), (State::Closed, State::Open));
    assert_eq!(change.reason, "5 failures in a row");
    assert_eq!(change.retry_in, Some(secs(1)));
    let refused = bench.ask().unwrap_err();
    assert_eq!(refused.retry_after, secs(1));
    assert_eq!(&*refused.reason, "5 failures in a row");
}

#[test]
fn five_failures_spread_over_5000_calls_do_not_open_it() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        bench.calls(1, Failure);
        bench.calls(999, Success);
    }
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn the_rate_opens_it_only_with_enough_calls_and_below_its_limit() {
    type Calls = &'static [(u32, Verdict)];
    #[rustfmt::skip]
    let table: [(Calls, Option<&str>); 7] = [
        (&[(2, Failure), (8, Success)], None),
        (&[(3, Failure), (6, Success)], None),
        (&[(3, Failure), (7, Success)], Some("only 70 % of 10 calls succeeded in 10s, less than 80 %")),
        // Half a failure each: 20 of them are as 10.
        (&[(4, Weak), (6, Success)], None),
        (&[(5, Weak), (5, Success)], Some("only 75 % of 10 calls succeeded in 10s, less than 80 %")),
        (&[(9, BUSY)], None),
        (&[(10, BUSY)], Some("only 0 % of 10 calls succeeded in 10s, less than 80 %")),
    ];
    for (calls, expected) in table {
        let mut bench = Bench::new();
        let mut reason = None;
        for (count, verdict) in calls {
            for _ in 0..*count {
                if let Some(change) = bench.call(*verdict) {
                    reason = Some(change.reason);
                }
            }
        }
        assert_eq!(reason.as_deref(), expected, "{calls:?}");
    }
}

#[test]
fn what_is_older_than_the_window_does_not_count() {
    let mut bench = Bench::new();
    bench.calls(4, Failure);
    bench.pass(secs(10));
    bench.calls(1, Success);
    bench.calls(3, Failure);
    bench.calls(6, Success);
    // 3 of 10 now; with the 4 old ones it would have opened before.
    assert_eq!(bench.state(), State::Open);
    let mut bench = Bench::new();
    bench.calls(4, Failure);
    bench.pass(secs(10));
    bench.calls(9, Success);
    bench.calls(2, Failure);
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn slow_calls_open_it_only_when_asked_for() {
    for (slow_call, expected) in [(None, State::Closed), (Some(millis(100)), State::Open)] {
        let mut bench = Bench::with(Settings {
            slow_call,
            ..Settings::default()
        });
        for (count, took) in [(5, millis(100)), (5, millis(101))] {
            for _ in 0..count {
                assert_eq!(bench.state(), State::Closed);
                let ticket = bench.ask().unwrap();
                let _ = bench.breaker.settle(bench.now, ticket, Success, took, 1.0);
            }
        }
        assert_eq!(bench.state(), expected, "{slow_call:?}");
        if slow_call.is_some() {
            bench.pass(secs(1));
            let ticket = bench.ask().unwrap();
            let change = bench
                .breaker
                .settle(bench.now, ticket, Success, secs(1), 1.0);
            assert_eq!(change.unwrap().reason, "a probe was slow");
        }
    }
}

#[test]
fn waits_double_from_one_second_and_stay_below_recovery_timeout() {
    for (timeout, expected) in [(60, [1, 2, 4, 8, 16, 30, 30]), (6, [1, 2, 4, 6, 6, 6, 6])] {
        let mut bench = Bench::with(Settings {
            recovery_timeout: secs(timeout),
            ..Settings::default()
        });
        bench.calls(5, Failure);
        for wait in expected {
            assert_eq!(bench.wait(), secs(wait));
            bench.pass(secs(wait) - Duration::from_nanos(1));
            assert_eq!(bench.wait(), millis(1), "a hint is never zero");
            bench.pass(Duration::from_nanos(1));
            let change = bench.call(Failure).unwrap();
            assert_eq!((change.from, change.to), (State::HalfOpen, State::Open));
        }
    }
}

#[test]
fn it_closes_after_stages_of_1_2_and_3_probes() {
    let mut bench = Bench::half_open();
    let admission = bench.breaker.admit(bench.now, bench.now + CALL);
    let change = admission.transition.unwrap();
    assert_eq!((change.from, change.to), (State::Open, State::HalfOpen));
    bench.breaker.give_back(admission.verdict.unwrap());
    let mut change = None;
    for stage in [1, 2, 3] {
        assert_eq!(change, None, "before stage {stage}");
        let tickets: Vec<Ticket> = (0..stage).map(|_| bench.ask().unwrap()).collect();
        assert!(tickets.iter().all(|ticket| ticket.is_probe()));
        let hint = bench.wait();
        assert!(hint > Duration::ZERO && hint <= secs(1), "{hint:?}");
        for ticket in tickets {
            change = bench.settle(ticket, Success);
        }
    }
    let change = change.unwrap();
    assert_eq!((change.from, change.to), (State::HalfOpen, State::Closed));
    assert_eq!(change.reason, "6 probes in a row succeeded");
    assert!(!bench.ask().unwrap().is_probe());
    let view = bench.breaker.view(bench.now);
    assert_eq!((view.window_calls, view.failures_in_a_row), (0, 0));
}

#[test]
fn no_stage_is_skipped_by_failures_in_between() {
    // Fail, ok, fail, ok: a counter of successes that is not reset would close it.
    let mut bench = Bench::half_open();
    for round in 0..20 {
        bench.calls(1, Success);
        assert_eq!(bench.state(), State::HalfOpen, "{round}");
        bench.calls(1, Failure);
        assert_eq!(bench.state(), State::Open, "{round}");
        bench.pass(secs(30));
    }
}

#[test]
fn a_hundred_callers_reach_a_half_open_server_three_at_a_time_at_most() {
    let mut bench = Bench::half_open();
    for _ in 0..2 {
        let tickets: Vec<Ticket> = (0..100).filter_map(|_| bench.ask().ok()).collect();
        assert!(tickets.len() <= 3);
        for ticket in tickets {
            let _ = bench.settle(ticket, Success);
        }
    }
    assert_eq!((0..100).filter(|_| bench.ask().is_ok()).count(), 3);
}

#[test]
fn pitfall_2_a_probe_without_an_outcome_gives_its_permit_back() {
    let gate = Gate::new(Settings::default());
    let start = Instant::now();
    for _ in 0..5 {
        let permit = gate.admit(start, start + CALL).0.unwrap();
        let _ = permit.settle(start, Failure, CALL, 1.0);
    }
    let now = start + secs(1);
    let deadline = now + secs(5);
    let probe = || gate.admit(now, deadline).0;
    // Dropped, as by a future that is cancelled.
    drop(probe().unwrap());
    // Dropped by a panic.
    let held = probe().unwrap();
    let panicked = std::thread::spawn(move || {
        let _held = held;
        std::panic::resume_unwind(Box::new("the call panicked"));
    });
    assert!(panicked.join().is_err());
    // Excluded: cancelled by the client, or never sent.
    for outcome in [Outcome::Cancelled, Outcome::Unsent, Outcome::Refused] {
        let permit = probe().unwrap();
        assert!(permit.is_probe());
        let _ = permit.settle(now, outcome.of_server(), secs(0), 1.0);
    }
    // It hangs: free again at its deadline, and not before.
    let hung = probe().unwrap();
    let early = gate.admit(deadline - millis(1), deadline + CALL).0;
    assert!(early.is_err());
    let next = gate.admit(deadline, deadline + CALL).0.unwrap();
    assert!(next.is_probe());
    // It is given back once, not twice.
    drop(hung);
    assert!(gate.admit(deadline, deadline + CALL).0.is_err());
    drop(next);
    assert!(gate.admit(deadline, deadline + CALL).0.is_ok());
}

#[test]
fn a_success_after_the_deadline_passes_nothing_and_a_failure_still_opens() {
    for (late, expected) in [(Success, State::HalfOpen), (Failure, State::Open)] {
        let mut bench = Bench::half_open();
        let hung = bench.ask().unwrap();
        bench.pass(CALL);
        let next = bench.ask().unwrap();
        let _ = bench.settle(hung, late);
        assert_eq!(bench.state(), expected);
        if late == Success {
            bench.ask().expect_err("the first stage is not passed");
            let _ = bench.settle(next, Success);
            assert!(bench.ask().is_ok() && bench.ask().is_ok());
        }
    }
}

#[test]
fn pitfall_3_late_outcomes_of_an_older_generation_move_nothing() {
    for late in [Success, Failure, Weak, BUSY, Excluded] {
        let mut bench = Bench::new();
        let old: Vec<Ticket> = (0..20).map(|_| bench.ask().unwrap()).collect();
        let (while_open, rest) = old.split_at(5);
        let (while_half_open, while_closed) = rest.split_at(5);
        bench.calls(5, Failure);
        for ticket in while_open {
            assert_eq!(bench.settle(*ticket, late), None);
        }
        assert_eq!(bench.wait(), secs(1), "{late:?}");
        bench.pass(secs(1));
        let probe = bench.ask().unwrap();
        for ticket in while_half_open {
            assert_eq!(bench.settle(*ticket, late), None);
        }
        bench.ask().expect_err("the one permit is out");
        assert_eq!(bench.settle(probe, Success), None);
        bench.calls(5, Success);
        assert_eq!(bench.state(), State::Closed);
        for ticket in while_closed.iter().chain([&probe]) {
            assert_eq!(bench.settle(*ticket, late), None);
            bench.breaker.give_back(*ticket);
        }
        let view = bench.breaker.view(bench.now);
        assert_eq!(
            (view.state, view.window_calls),
            (State::Closed, 0),
            "{late:?}"
        );
    }
}

#[test]
fn pitfall_3_a_probe_of_an_earlier_ramp_frees_no_permit_of_this_one() {
    for how in [
        None,
        Some(Excluded),
        Some(Success),
        Some(Failure),
        Some(BUSY),
    ] {
        let mut bench = Bench::half_open();
        let old = bench.ask().unwrap();
        bench.pass(CALL);
        bench.calls(1, Failure);
        bench.pass(secs(2));
        let _current = bench.ask().unwrap();
        match how {
            None => bench.breaker.give_back(old),
            Some(verdict) => assert_eq!(bench.settle(old, verdict), None),
        }
        assert_eq!(bench.state(), State::HalfOpen, "{how:?}");
        bench.ask().expect_err("the one permit is out");
    }
}

#[test]
fn a_busy_upstream_is_asked_again_when_it_said_so() {
    let busy = |wait| Busy {
        retry_after: Some(wait),
    };
    // It opens by the rate, and for no less than was asked for.
    let mut bench = Bench::new();
    bench.calls(9, BUSY);
    assert_eq!(bench.call(busy(secs(20))).unwrap().retry_in, Some(secs(20)));
    assert_eq!(bench.breaker.probe_succeeded(bench.now), None);
    // A busy probe is neither passed nor failed; the next one waits.
    bench.pass(secs(20));
    assert_eq!(bench.call(busy(secs(7))), None);
    assert_eq!((bench.state(), bench.wait()), (State::HalfOpen, secs(7)));
    bench.pass(secs(7));
    assert_eq!(bench.call(BUSY), None);
    assert_eq!(bench.wait(), secs(1));
    bench.pass(secs(1));
    let _probe = bench.ask().unwrap();
    bench.ask().expect_err("still at the first stage");
    // Nobody may ask for more than the longest wait.
    let mut bench = Bench::new();
    bench.calls(9, BUSY);
    let change = bench.call(busy(Duration::MAX)).unwrap();
    assert_eq!(change.retry_in, Some(secs(60)));
    bench.pass(secs(60));
    assert_eq!(bench.call(busy(Duration::MAX)), None);
    assert_eq!(bench.wait(), secs(60));
}

#[test]
fn an_active_probe_leads_to_the_ramp_and_never_closes() {
    let mut bench = Bench::new();
    assert_eq!(bench.breaker.probe_succeeded(bench.now), None);
    bench.calls(5, Failure);
    let change = bench.breaker.probe_succeeded(bench.now).unwrap();
    assert_eq!((change.from, change.to), (State::Open, State::HalfOpen));
    for _ in 0..100 {
        assert_eq!(bench.breaker.probe_succeeded(bench.now), None);
    }
    assert!(bench.ask().unwrap().is_probe());
    bench.ask().expect_err("one permit");
}

#[test]
fn what_opens_again_at_once_waits_longer_and_what_stays_well_starts_anew() {
    for (healthy, expected) in [(millis(9_999), secs(2)), (secs(10), secs(1))] {
        let mut bench = Bench::half_open();
        bench.calls(6, Success);
        bench.pass(healthy);
        bench.calls(5, Failure);
        assert_eq!(bench.wait(), expected);
        assert_eq!(bench.breaker.view(bench.now).trips, 2);
    }
}

#[test]
fn a_forced_mode_is_left_only_by_its_expiry_or_an_order() {
    let open = |bench: &mut Bench, expires| {
        let now = bench.now;
        bench
            .breaker
            .force(now, Mode::ForcedOpen, "ann", "upgrade", expires)
    };
    let mut bench = Bench::new();
    let late = bench.ask().unwrap();
    let expires = bench.now + secs(600);
    let change = open(&mut bench, Some(expires)).unwrap();
    assert_eq!((change.from, change.to), (State::Closed, State::Open));
    assert_eq!(change.reason, "forced open by ann: upgrade");
    assert_eq!(change.retry_in, Some(secs(600)));
    assert_eq!(bench.settle(late, Success), None);
    assert_eq!(bench.breaker.probe_succeeded(bench.now), None);
    for _ in 0..599 {
        bench.pass(secs(1));
        assert!(bench.ask().is_err());
        assert_eq!(bench.breaker.tick(bench.now), None);
    }
    assert_eq!(bench.wait(), secs(1));
    let view = bench.breaker.view(bench.now);
    assert_eq!((view.mode, view.trips), (Mode::ForcedOpen, 0));
    assert_eq!(view.author.as_deref(), Some("ann"));
    assert_eq!(view.reason.as_deref(), Some("upgrade"));
    assert_eq!(
        (view.expires_in, view.retry_in),
        (Some(secs(1)), Some(secs(1)))
    );
    bench.pass(secs(1));
    let admission = bench.breaker.admit(bench.now, bench.now + CALL);
    assert!(admission.verdict.unwrap().is_probe());
    let change = admission.transition.unwrap();
    assert_eq!((change.from, change.to), (State::Open, State::HalfOpen));
    let ended = change.ended.unwrap();
    assert_eq!(
        (ended.mode, ended.author.as_str()),
        (Mode::ForcedOpen, "ann")
    );
    // Without an expiry it stays for ever, and an order ends it.
    let mut bench = Bench::new();
    let _ = open(&mut bench, None);
    bench.pass(secs(1_000_000));
    assert!(bench.wait() > Duration::ZERO);
    let now = bench.now;
    assert_eq!(
        bench.breaker.force(now, Mode::Auto, "bob", "done", None),
        None
    );
    assert!(bench.ask().unwrap().is_probe());
}

#[test]
fn forced_closed_admits_all_and_judges_when_it_is_over() {
    let mut bench = Bench::opened();
    let expires = bench.now + secs(60);
    let now = bench.now;
    let change = bench
        .breaker
        .force(now, Mode::ForcedClosed, "ann", "it is fine", Some(expires));
    assert_eq!(change.unwrap().to, State::Closed);
    bench.calls(1000, Failure);
    assert_eq!(bench.state(), State::Closed);
    bench.pass(secs(60));
    let ended = bench.breaker.tick(bench.now).unwrap();
    assert_eq!((ended.from, ended.to), (State::Closed, State::Closed));
    assert_eq!(ended.ended.unwrap().mode, Mode::ForcedClosed);
    assert_eq!(bench.breaker.tick(bench.now), None, "told once");
    assert_eq!(bench.call(Failure).unwrap().to, State::Open);
}

#[test]
fn a_shadow_moves_as_it_would_and_refuses_nobody() {
    let mut bench = Bench::new();
    let now = bench.now;
    assert_eq!(
        bench.breaker.force(now, Mode::Shadow, "ann", "try", None),
        None
    );
    bench.calls(5, Failure);
    assert_eq!(bench.state(), State::Open);
    bench.calls(100, Failure);
    bench.pass(secs(1));
    let probe = bench.ask().unwrap();
    assert!(probe.is_probe());
    let beside = bench.ask().unwrap();
    assert!(!beside.is_probe());
    assert_eq!(bench.settle(beside, Failure), None);
    let _ = bench.settle(probe, Success);
    bench.calls(5, Success);
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn pitfall_20_an_open_breaker_is_open_for_the_rest_of_its_wait_after_a_restart() {
    let mut before = Bench::opened();
    before.pass(millis(300));
    let view = before.breaker.view(before.now);
    let mut after = Bench::new();
    let change = after
        .breaker
        .resume(after.now, view.retry_in.unwrap(), &view.reason.unwrap())
        .unwrap();
    assert_eq!(
        (change.to, change.retry_in),
        (State::Open, Some(millis(700)))
    );
    assert_eq!(after.wait(), millis(700));
    after.pass(millis(700));
    let _ = after.call(Failure);
    assert_eq!(after.wait(), secs(2), "its waits go on doubling");
}

/// What can happen to a breaker.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Ask,
    Settle(usize, Verdict),
    GiveBack(usize),
    ActiveProbe,
    Force(Mode, Option<u64>),
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        3 => Just(Success),
        3 => Just(Failure),
        1 => Just(Weak),
        1 => Just(Excluded),
        1 => prop::option::of(0u64..100).prop_map(|wait| Busy { retry_after: wait.map(secs) }),
    ]
}

fn steps(forced: bool) -> impl Strategy<Value = Vec<Step>> {
    let modes = prop::sample::select(vec![
        Mode::Auto,
        Mode::ForcedOpen,
        Mode::ForcedClosed,
        Mode::Shadow,
    ]);
    let step = prop_oneof![
        3 => (0u64..3_000).prop_map(Step::Pass),
        8 => Just(Step::Ask),
        8 => (any::<usize>(), verdicts()).prop_map(|(which, verdict)| Step::Settle(which, verdict)),
        1 => any::<usize>().prop_map(Step::GiveBack),
        1 => Just(Step::ActiveProbe),
        u32::from(forced) => (modes, prop::option::of(0u64..5_000))
            .prop_map(|(mode, expires)| Step::Force(mode, expires)),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// Whatever happens: no more probes than allowed, hints are bounded and honest, every change
    /// of state is reported exactly once, and it always comes back.
    #[test]
    fn it_keeps_its_promises_whatever_happens(
        steps in any::<bool>().prop_flat_map(steps),
        most in 1u32..6,
        jitter in 0.0f64..=1.0,
    ) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(Settings { half_open_max_calls: most, ..Settings::default() });
        let mut out: Vec<(Ticket, Instant)> = Vec::new();
        let mut told = State::Closed;
        for step in steps {
            let change = match step {
                Step::Pass(time) => { now += millis(time); None }
                Step::Ask => {
                    let admission = breaker.admit(now, now + secs(2));
                    match admission.verdict {
                        Ok(ticket) => out.push((ticket, now + secs(2))),
                        Err(refused) => {
                            let wait = refused.retry_after;
                            prop_assert!(wait >= millis(1) && wait <= secs(60), "{wait:?}");
                        }
                    }
                    admission.transition
                }
                Step::Settle(..) | Step::GiveBack(_) if out.is_empty() => None,
                Step::Settle(which, verdict) => {
                    let (ticket, _) = out.swap_remove(which % out.len());
                    breaker.settle(now, ticket, verdict, millis(5), jitter)
                }
                Step::GiveBack(which) => {
                    breaker.give_back(out.swap_remove(which % out.len()).0);
                    None
                }
                Step::ActiveProbe => breaker.probe_succeeded(now),
                Step::Force(mode, expires) => {
                    breaker.force(now, mode, "a", "b", expires.map(|wait| now + millis(wait)))
                }
            };
            if let Some(change) = change {
                prop_assert_eq!(change.from, told);
                told = change.to;
                prop_assert!(change.from != change.to || change.ended.is_some());
            }
            prop_assert_eq!(breaker.state(), told);
            if told == State::HalfOpen && breaker.view(now).mode == Mode::Auto {
                // Tickets of earlier half-open states do not count: ask for all that is free.
                let mut copy = breaker.clone();
                let free = (0..10).filter(|_| copy.admit(now, now + secs(2)).verdict.is_ok()).count();
                prop_assert!(free <= most as usize);
            }
        }
        // The operator lets go, all calls end, and the server is well: it closes.
        let _ = breaker.force(now, Mode::Auto, "a", "b", None);
        for (ticket, _) in out {
            breaker.give_back(ticket);
        }
        let end = now + secs(200);
        while breaker.state() != State::Closed {
            match breaker.admit(now, now + secs(2)).verdict {
                Ok(ticket) => { let _ = breaker.settle(now, ticket, Success, millis(1), jitter); }
                Err(refused) => now += refused.retry_after,
            }
            prop_assert!(now < end, "it never closes");
        }
    }

    /// A caller that obeys the hint of an open breaker is let in.
    #[test]
    fn the_hint_of_an_open_breaker_is_kept(failures in 0u32..12, jitter in 0.0f64..=1.0) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(Settings::default());
        for _ in 0..5 + failures {
            if let Err(refused) = breaker.admit(now, now + CALL).verdict {
                prop_assert!(refused.retry_after >= millis(500));
                now += refused.retry_after;
            }
            let ticket = breaker.admit(now, now + CALL).verdict.unwrap();
            let _ = breaker.settle(now, ticket, Failure, millis(1), jitter);
        }
    }
}
