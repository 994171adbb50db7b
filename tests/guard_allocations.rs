//! The guards allocate nothing for a call that they let through. A test of its own, because the
//! allocator that counts serves the whole program.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use mainstay::policy::breaker::{Breaker, Settings};
use mainstay::policy::bucket::Limit;
use mainstay::policy::class::Class;
use mainstay::policy::codel::Pace;
use mainstay::policy::fair_queue::{Bounds, Entry, FairQueue, Fate, Pushed};
use mainstay::policy::limiter::Limiter;

thread_local! {
    /// Of this thread alone: the test's harness has others.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// Bytes that are allocated and not freed; wraps if another thread allocated what is freed.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "an allocator can be written in no other way")]
// SAFETY: every call goes to the system's allocator with the same arguments; counting allocates
// nothing, because the counter needs neither a constructor nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        HELD.with(|held| held.set(held.get().wrapping_add(layout.size())));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.with(|held| held.set(held.get().wrapping_sub(layout.size())));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn a_call_that_is_let_through_costs_no_allocation() {
    let start = Instant::now();
    let limit = Limit::default();
    let limiter = Limiter::new(start, Limiter::KEYS, limit);
    let mut breaker = Breaker::new(Settings::default());
    let bounds = Bounds {
        count: 64,
        bytes: 1 << 20,
        usual_wait: Duration::from_secs(5),
    };
    let mut queue = FairQueue::new(bounds, Pace::scaled(None, bounds.usual_wait));
    let push = |queue: &mut FairQueue<u64>, principal: u64, now: Instant| {
        let entry = Entry {
            principal,
            class: Class::Normal,
            bytes: 100,
            deadline: now + Duration::from_secs(60),
            item: principal,
        };
        match queue.push(now, entry) {
            Pushed::Queued(ticket) => ticket,
            other => panic!("no room: {other:?}"),
        }
    };
    // Once as full as it gets.
    for principal in 0..64 {
        push(&mut queue, principal, start);
    }
    while queue.pop(start, |_| Fate::Serve).next.is_some() {}

    let mut served = 0;
    let count = allocations(|| {
        for n in 0..10_000u64 {
            let now = start + Duration::from_millis(n);
            // Principals come and go; each is new to the limiter.
            let principal = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            assert!(limiter.take(principal, &limit, now).allowed);
            assert!(limiter.take(!principal, &limit, now).allowed);
            assert!(
                breaker
                    .admit(now, now + Duration::from_secs(60))
                    .verdict
                    .is_ok()
            );
            push(&mut queue, principal, now);
            let gone = push(&mut queue, !principal, now);
            assert!(queue.remove(gone).is_some());
            if n % 20 != 0 {
                continue;
            }
            while queue.pop(now, |_| Fate::Serve).next.is_some() {
                served += 1;
            }
        }
    });
    assert!(served > 9000, "{served} were served");
    assert_eq!(count, 0, "allocations for 10,000 calls");
    assert_eq!(allocations(|| drop(Box::new(1))), 1, "the counter counts");
}

#[test]
fn a_million_keys_of_the_limiter_hold_less_than_sixteen_mebibytes() {
    let start = Instant::now();
    let before = HELD.get();
    let limit = Limit {
        rate: 1,
        burst_size: 1,
        ..Limit::default()
    };
    let limiter = Limiter::new(start, Limiter::KEYS, limit);
    for n in 0..1_000_000u64 {
        let _ = limiter.take(n.wrapping_mul(0x9E37_79B9_7F4A_7C15), &limit, start);
    }
    let held = HELD.get().wrapping_sub(before);
    assert!(held < 16 << 20, "{held} bytes");
    assert!(held > Limiter::KEYS * 8, "only {held} bytes: not counted");
    let told = limiter.size();
    assert!(
        told.abs_diff(held) < 64 << 10,
        "it says {told}, holds {held}"
    );
}
