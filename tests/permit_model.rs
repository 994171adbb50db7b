//! Permits of a shared breaker under every order of threads that a scheduler of our own can think
//! of: what calls do at the same time leaks no permit and grants none too many. The source of
//! `policy::permit` is compiled once more, with locks that the scheduler controls.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mainstay::policy::breaker;

mod sync {
    pub(crate) use shuttle::sync::{Arc, Mutex};
}
#[path = "../src/policy/permit.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the model uses a part of it, and nobody uses the model"
)]
mod permit;

use breaker::{Mode, Settings, State, Verdict};
use permit::{Gate, Permit};
use shuttle::rand::Rng;
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const MOST: u32 = 3;
const RUNS: usize = 2_000;
const CALL: Duration = Duration::from_secs(1);

fn gate() -> Gate {
    Gate::new(Settings {
        failure_threshold: 1,
        half_open_max_calls: MOST,
        ..Settings::default()
    })
}

/// Opens a gate at `now`; returns when it lets a probe through.
fn trip(gate: &Gate, now: Instant) -> Instant {
    let permit = gate.admit(now, now + CALL).0.unwrap();
    let change = permit.settle(now, Verdict::Failure, CALL, 1.0);
    now + change.unwrap().retry_in.unwrap()
}

fn threads(count: usize, act: impl Fn(usize) + Send + Sync + 'static) {
    let act = Arc::new(act);
    let threads: Vec<_> = (0..count)
        .map(|index| {
            let act = Arc::clone(&act);
            shuttle::thread::spawn(move || act(index))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Ends a call in one of the ways calls end.
fn end(permit: Permit, now: Instant) {
    let verdict = match shuttle::rand::thread_rng().gen_range(0..5) {
        0 => return drop(permit),
        1 => Verdict::Excluded,
        2 => Verdict::Busy { retry_after: None },
        3 => Verdict::Failure,
        _ => Verdict::Success,
    };
    let _ = permit.settle(now, verdict, Duration::ZERO, 0.0);
}

#[test]
fn pitfall_2_no_order_of_threads_leaks_a_permit_or_grants_too_many() {
    let start = Instant::now();
    let run = move || {
        let gate = gate();
        let due = trip(&gate, start);
        let out = Arc::new(AtomicUsize::new(0));
        let shared = (gate.clone(), Arc::clone(&out));
        threads(4, move |_| {
            let (gate, out) = &shared;
            for _ in 0..3 {
                let (Ok(permit), _) = gate.admit(due, due + CALL) else {
                    continue;
                };
                let probe = permit.is_probe();
                if probe {
                    let before = out.fetch_add(1, Ordering::SeqCst);
                    assert!(before < MOST as usize, "{} probes are out", before + 1);
                    shuttle::thread::yield_now();
                    // Before it is given back, or the next one would be counted beside it.
                    out.fetch_sub(1, Ordering::SeqCst);
                }
                end(permit, due);
            }
        });
        // Whatever happened: when its wait is over the next call is admitted, and unless it has
        // closed as a probe.
        let later = due + Duration::from_secs(60);
        let (next, _) = gate.admit(later, later + CALL);
        let closed = gate.view(later).state == State::Closed;
        assert_eq!(next.expect("a permit was lost").is_probe(), !closed);
    };
    shuttle::check_random(run, RUNS);
}

#[test]
fn pitfall_2_permits_that_expire_while_they_are_given_back_are_free_once() {
    let start = Instant::now();
    let run = move || {
        let gate = gate();
        let due = trip(&gate, start);
        let (hung, _) = gate.admit(due, due + CALL);
        let hung = std::sync::Mutex::new(Some(hung.unwrap()));
        let expired = due + CALL;
        let got = Arc::new(std::sync::Mutex::new(Vec::new()));
        let shared = (gate.clone(), Arc::clone(&got));
        threads(3, move |index| {
            let (gate, got) = &shared;
            if index == 0 {
                drop(hung.lock().unwrap().take());
            } else if let (Ok(permit), _) = gate.admit(expired, expired + CALL) {
                got.lock().unwrap().push(permit);
            }
        });
        let mut got = got.lock().unwrap();
        assert_eq!(got.len(), 1, "the first stage has one permit");
        got.clear();
        assert!(gate.admit(expired, expired + CALL).0.unwrap().is_probe());
    };
    shuttle::check_random(run, RUNS);
}

#[test]
fn pitfall_3_in_no_order_of_threads_moves_an_older_generation_the_state() {
    let start = Instant::now();
    let run = move || {
        let gate = gate();
        let old: Vec<Permit> = (0..3)
            .map(|_| gate.admit(start, start + CALL).0.unwrap())
            .collect();
        let due = trip(&gate, start);
        let (probe, _) = gate.admit(due, due + CALL);
        let old = std::sync::Mutex::new(old);
        let shared = gate.clone();
        threads(4, move |index| {
            if index == 3 {
                // Only this one may change anything, and it does not change the state.
                assert!(shared.admit(due, due + CALL).0.is_err());
                return;
            }
            let permit = old.lock().unwrap().pop().unwrap();
            let verdict = [Verdict::Success, Verdict::Failure, Verdict::Weak][index];
            assert_eq!(permit.settle(due, verdict, CALL, 1.0), None);
        });
        let view = gate.view(due);
        assert_eq!((view.state, view.trips), (State::HalfOpen, 1));
        assert_eq!((view.mode, view.window_calls), (Mode::Auto, 1));
        drop(probe);
        assert!(gate.admit(due, due + CALL).0.unwrap().is_probe());
    };
    shuttle::check_random(run, RUNS);
}
