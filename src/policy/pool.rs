//! How many workers a server should have: the pool law. It keeps `min_size`, keeps spares warm
//! before they are needed, never starts one worker per waiter, and shrinks again when idle.

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
    } else {
        // One worker's worth of free places beyond what is in use or waited for.
        let places = view.in_flight + view.waiting + law.concurrency.max(1);
        let demand = places.div_ceil(law.concurrency.max(1));
        if view.in_flight + view.waiting == 0 {
            law.min_size.max(1)
        } else {
            demand.max(law.min_size).max(1)
        }
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

#[cfg(test)]
mod tests {
    use super::{Law, Verdict, View, decide};
    use proptest::prelude::*;

    const SHARED: Law = Law {
        min_size: 5,
        max_size: 20,
        concurrency: 8,
        start_cap: 2,
        bound: false,
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
        assert_eq!(decide(view, law, 0), Verdict::Start(7));
        let view = View {
            starting: 7,
            ..view
        };
        assert_eq!(decide(view, law, 0), Verdict::Keep);
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

    proptest! {
        #[test]
        fn the_bounds_hold(
            ready in 0usize..30, idle in 0usize..30, bound in 0usize..30, starting in 0usize..5,
            in_flight in 0usize..300, waiting in 0usize..300, min in 0usize..10, extra in 0usize..20,
            concurrency in 1usize..20, cap in 1usize..5, session: bool, others in 0usize..10,
        ) {
            let view = View { ready, idle: idle.min(ready), bound, starting, in_flight, waiting };
            let law = Law { min_size: min, max_size: min + extra, concurrency, start_cap: cap, bound: session };
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
