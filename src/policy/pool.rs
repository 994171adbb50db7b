//! How many workers a server should have: the pool law. It keeps `min_size`, keeps spares warm
//! before they are needed, never starts one worker per waiter, shrinks again when idle, and says
//! how many may be recycled at a time.

use std::time::Duration;

/// Of a pool, one worker in so many may be recycled at a time.
const RECYCLED_AT_A_TIME: usize = 5;

/// What one pool looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Workers that take calls and belong to nobody.
    pub ready: usize,
    /// Of these, workers without a call.
    pub idle: usize,
    /// Workers that belong to one session.
    pub bound: usize,
    /// Workers on their way up.
    pub starting: usize,
    /// Calls in flight at the ready workers.
    pub in_flight: usize,
    /// Calls or sessions that wait for a worker.
    pub waiting: usize,
    /// How long the first of them has waited.
    pub longest_wait: Option<Duration>,
    /// What a call takes as a rule (median).
    pub service_time: Option<Duration>,
    /// What a start takes as a rule (median).
    pub start_time: Option<Duration>,
}

/// Bounds of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Law {
    /// Ready workers to keep. For bound pools: warm workers that no session has yet.
    pub min_size: usize,
    /// Most workers, whatever their state.
    pub max_size: usize,
    /// Calls one worker takes at a time.
    pub concurrency: usize,
    /// Most starts at the same time: a start costs a core for a second.
    pub start_cap: usize,
    /// Whether each session takes a worker for itself.
    pub bound: bool,
    /// Workers' worth of free places to keep while calls are in flight.
    pub spares: usize,
    /// Ready workers below which none is taken away, whatever its age or memory.
    pub min_serving: usize,
}

impl Default for Law {
    fn default() -> Self {
        Self {
            min_size: 5,
            max_size: 20,
            concurrency: 8,
            start_cap: 1,
            bound: false,
            spares: 1,
            min_serving: 1,
        }
    }
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start this many now.
    Start(usize),
    /// This many idle workers are more than needed.
    Surplus(usize),
    /// As it should be.
    Keep,
}

/// Workers that waiting calls are worth, beyond those that serve already. Waiting is cheaper than
/// a start as long as the waiters are through before a new worker would be ready.
fn for_waiters(view: View, law: Law, service: Duration, start: Duration) -> usize {
    let concurrency = law.concurrency.max(1);
    let one_each = view.waiting.div_ceil(concurrency);
    let work = service.as_nanos().saturating_mul(view.waiting as u128);
    let each = start.as_nanos().max(1).saturating_mul(concurrency as u128);
    // With so many they would be through within one start.
    let through = usize::try_from(work.div_ceil(each)).unwrap_or(usize::MAX);
    one_each.min(through.saturating_sub(view.ready))
}

/// Applies the law. `others` are workers of the same server in other pools; they count towards
/// `max_size`.
#[must_use]
pub fn decide(view: View, law: Law, others: usize) -> Verdict {
    let owned = view.ready + view.bound + view.starting;
    let room = law.max_size.saturating_sub(owned + others);
    let free_soon = view.ready + view.starting;
    let wanted = if law.bound {
        // A spare for each waiting session, and min_size more for the next ones.
        law.min_size.max(1) + view.waiting
    } else if view.in_flight + view.waiting == 0 {
        law.min_size.max(1)
    } else {
        let stuck = view.ready + usize::from(waits_too_long(view));
        wanted_for_calls(view, law)
            .max(law.min_size)
            .max(1)
            .max(stuck)
    };
    if free_soon < wanted {
        let starts = (wanted - free_soon)
            .min(room)
            .min(law.start_cap.saturating_sub(view.starting));
        return if starts > 0 {
            Verdict::Start(starts)
        } else {
            Verdict::Keep
        };
    }
    let surplus = (free_soon - wanted).min(view.idle);
    if surplus > 0 {
        Verdict::Surplus(surplus)
    } else {
        Verdict::Keep
    }
}

/// Somebody has waited for longer than a start takes: whatever calls take as a rule, a worker more
/// would have served him by now.
fn waits_too_long(view: View) -> bool {
    match (view.longest_wait, view.start_time) {
        (Some(wait), Some(start)) => view.waiting > 0 && wait > start,
        _ => false,
    }
}

/// Workers for the calls there are, and the spares beyond.
fn wanted_for_calls(view: View, law: Law) -> usize {
    let concurrency = law.concurrency.max(1);
    let spare = concurrency * law.spares;
    let more = match (view.service_time, view.start_time) {
        (Some(service), Some(start)) => for_waiters(view, law, service, start),
        // As long as nothing is known there is one spare after the other, not a burst of starts.
        _ => 0,
    };
    (view.in_flight + spare).div_ceil(concurrency) + more
}

/// Workers of a pool of this size that may be replaced at a time: one, or a fifth. Starts cost the cores
/// that serve, and each successor is one worker more for a while.
#[must_use]
pub fn recycle_token(size: usize) -> usize {
    (size / RECYCLED_AT_A_TIME).max(1)
}

#[cfg(test)]
mod tests {
    use super::{Law, Verdict, View, decide, recycle_token};
    use proptest::prelude::*;
    use std::time::Duration;

    const SHARED: Law = Law {
        min_size: 5,
        max_size: 20,
        concurrency: 8,
        start_cap: 2,
        bound: false,
        spares: 1,
        min_serving: 1,
    };

    #[test]
    fn the_minimum_is_kept_under_the_start_cap() {
        assert_eq!(decide(View::default(), SHARED, 0), Verdict::Start(2));
        let view = View {
            ready: 4,
            starting: 1,
            idle: 4,
            ..View::default()
        };
        assert_eq!(decide(view, SHARED, 0), Verdict::Keep);
        let view = View {
            ready: 4,
            idle: 4,
            ..View::default()
        };
        assert_eq!(decide(view, SHARED, 0), Verdict::Start(1));
    }

    #[test]
    fn fifty_waiters_do_not_start_fifty_workers() {
        let law = Law {
            min_size: 1,
            start_cap: 9,
            ..SHARED
        };
        let view = View {
            ready: 1,
            in_flight: 8,
            waiting: 42,
            ..View::default()
        };
        // Before anything is known: one spare, then the next.
        assert_eq!(decide(view, law, 0), Verdict::Start(1));
        let view = View {
            starting: 1,
            ..view
        };
        assert_eq!(decide(view, law, 0), Verdict::Keep);
        // 42 calls of a second would take 5 s at 8 places: two more starts of 2 s are worth it.
        let view = View {
            service_time: Some(Duration::from_secs(1)),
            start_time: Some(Duration::from_secs(2)),
            ..view
        };
        assert_eq!(decide(view, law, 0), Verdict::Start(2));
    }

    #[test]
    fn a_spare_is_warm_before_it_is_needed() {
        let view = View {
            ready: 5,
            idle: 0,
            in_flight: 33,
            ..View::default()
        };
        assert_eq!(decide(view, SHARED, 0), Verdict::Start(1));
        let view = View {
            in_flight: 32,
            ..view
        };
        assert_eq!(decide(view, SHARED, 0), Verdict::Keep);
    }

    #[test]
    fn sessions_that_own_workers_leave_spares() {
        let law = Law {
            bound: true,
            min_size: 2,
            start_cap: 9,
            ..SHARED
        };
        let view = View {
            ready: 2,
            idle: 2,
            bound: 10,
            ..View::default()
        };
        assert_eq!(decide(view, law, 0), Verdict::Keep);
        let view = View {
            ready: 0,
            idle: 0,
            bound: 19,
            waiting: 5,
            ..View::default()
        };
        assert_eq!(decide(view, law, 0), Verdict::Start(1));
        assert_eq!(decide(View { bound: 20, ..view }, law, 0), Verdict::Keep);
    }

    fn timed(millis: Option<(u64, u64)>) -> View {
        View {
            service_time: millis.map(|(service, _)| Duration::from_millis(service)),
            start_time: millis.map(|(_, start)| Duration::from_millis(start)),
            ..View::default()
        }
    }

    /// Pitfall 7: one start per waiter, unbounded starts. Fifty come at once to one worker; the
    /// pool is looked at every millisecond until all are served.
    #[test]
    fn a_burst_of_short_calls_is_served_with_hardly_a_start() {
        let law = Law {
            min_size: 1,
            concurrency: 1,
            start_cap: 20,
            ..SHARED
        };
        let (service, start) = (5, 2000);
        let mut busy: Vec<u64> = vec![0];
        let mut rising: Vec<u64> = Vec::new();
        let (mut waiting, mut starts, mut now) = (50, 0, 0);
        while waiting > 0 || busy.iter().any(|until| *until > now) {
            rising.retain(|ready_at| {
                let ready = *ready_at <= now;
                busy.extend(ready.then_some(0));
                !ready
            });
            for until in busy.iter_mut().filter(|until| **until <= now) {
                if waiting > 0 {
                    *until = now + service;
                    waiting -= 1;
                }
            }
            let in_flight = busy.iter().filter(|until| **until > now).count();
            let view = View {
                ready: busy.len(),
                idle: busy.len() - in_flight,
                starting: rising.len(),
                in_flight,
                waiting,
                ..timed(Some((service, start)))
            };
            if let Verdict::Start(count) = decide(view, law, 0) {
                starts += count;
                rising.extend((0..count).map(|_| now + start));
            }
            now += 1;
            assert!(now < 10_000, "{waiting} were never served");
        }
        assert!((1..=3).contains(&starts), "{starts} starts");
        assert!(now <= 260, "served within {now} ms");
    }

    #[test]
    fn waiters_are_worth_a_start_when_they_would_wait_for_longer_than_that() {
        let law = Law {
            min_size: 1,
            concurrency: 1,
            start_cap: 20,
            ..SHARED
        };
        for (service, waiting, starts) in [(40, 50, 1), (80, 50, 2), (400, 50, 10), (60_000, 1, 2)]
        {
            let view = View {
                ready: 1,
                in_flight: 1,
                waiting,
                ..timed(Some((service, 2000)))
            };
            // One of them is the spare.
            assert_eq!(decide(view, law, 0), Verdict::Start(starts), "{service} ms");
        }
        let nobody = View {
            waiting: 50,
            ..timed(Some((5, 2000)))
        };
        assert_eq!(
            decide(nobody, law, 0),
            Verdict::Start(2),
            "a first one and a spare"
        );
    }

    #[test]
    fn who_waits_for_longer_than_a_start_takes_gets_one() {
        // Calls of a tool that hangs wait beside idle workers, and quick calls hide them.
        let view = View {
            ready: 8,
            idle: 2,
            in_flight: 6,
            waiting: 20,
            service_time: Some(Duration::from_millis(1)),
            start_time: Some(Duration::from_secs(1)),
            longest_wait: Some(Duration::from_secs(1)),
            ..View::default()
        };
        let law = Law {
            concurrency: 1,
            ..SHARED
        };
        assert!(!matches!(decide(view, law, 0), Verdict::Start(_)));
        let view = View {
            longest_wait: Some(Duration::from_secs(2)),
            ..view
        };
        assert_eq!(decide(view, law, 0), Verdict::Start(1));
        let view = View {
            starting: 1,
            ..view
        };
        assert_eq!(decide(view, law, 0), Verdict::Keep, "one after the other");
    }

    #[test]
    fn one_or_a_fifth_is_replaced_at_a_time() {
        for (size, token) in [(0, 1), (1, 1), (9, 1), (10, 2), (20, 4), (24, 4)] {
            assert_eq!(recycle_token(size), token, "{size}");
        }
    }

    proptest! {
        #[test]
        fn the_bounds_hold(
            ready in 0usize..30, idle in 0usize..30, bound in 0usize..30, starting in 0usize..5,
            in_flight in 0usize..300, waiting in 0usize..300, min in 0usize..10, extra in 0usize..20,
            concurrency in 1usize..20, cap in 1usize..5, session: bool, others in 0usize..10,
            times in prop::option::of((0u64..100_000, 0u64..10_000)),
        ) {
            let view = View { ready, idle: idle.min(ready), bound, starting, in_flight, waiting, ..timed(times) };
            let law = Law { min_size: min, max_size: min + extra, concurrency, start_cap: cap, bound: session, ..SHARED };
            match decide(view, law, others) {
                Verdict::Start(n) => {
                    prop_assert!(n > 0);
                    prop_assert!(ready + bound + starting + others + n <= law.max_size);
                    prop_assert!(starting + n <= cap);
                }
                Verdict::Surplus(n) => {
                    prop_assert!(n > 0 && n <= view.idle);
                    prop_assert!(ready + starting - n >= law.min_size);
                }
                Verdict::Keep => {}
            }
        }
    }
}
