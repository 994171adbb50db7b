//! What the guards cost a call that is let through: both limits on a table full of keys, the
//! breaker, and a place in the queue. Criterion estimates the mean; then single decisions are timed
//! into a histogram, because the promise is about the 99th percentile.
#![allow(
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark prints its figures"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use mainstay::policy::breaker::{Breaker, Settings};
use mainstay::policy::bucket::Limit;
use mainstay::policy::class::Class;
use mainstay::policy::codel::Pace;
use mainstay::policy::fair_queue::{Bounds, Entry, FairQueue, Fate, Pushed};
use mainstay::policy::limiter::Limiter;

/// The promise, for the whole chain.
const TARGET: Duration = Duration::from_micros(2);
const DECISIONS: usize = 1_000_000;
/// Each has two keys: its own, and with the tool.
const PRINCIPALS: u64 = 32_768;
const TOOL: u64 = 0xA5A5_A5A5_A5A5_A5A5;
/// Generous, so that every decision of the benchmark is a grant.
const LIMIT: Limit = Limit {
    rate: 1_000_000,
    burst_size: 1_000_000,
    refill_interval: Duration::from_millis(10),
};

struct Chain {
    limiter: Limiter,
    breaker: Breaker,
    queue: FairQueue<u64>,
    n: u64,
}

fn digest(n: u64) -> u64 {
    let x = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Chain {
    fn new(now: Instant) -> Self {
        let bounds = Bounds {
            count: 1024,
            bytes: 64 << 20,
            usual_wait: Duration::from_secs(5),
        };
        let pace = Pace::scaled(None, bounds.usual_wait);
        let mut chain = Self {
            limiter: Limiter::new(now, Limiter::KEYS, LIMIT),
            breaker: Breaker::new(Settings::default()),
            queue: FairQueue::new(bounds, pace),
            n: 0,
        };
        // Every principal is known, and some wait already.
        for key in 0..PRINCIPALS {
            let _ = chain.limiter.take(digest(key), &LIMIT, now);
            let _ = chain.limiter.take(digest(key) ^ TOOL, &LIMIT, now);
        }
        for key in 0..100 {
            chain.push(digest(key), now);
        }
        chain
    }

    fn push(&mut self, principal: u64, now: Instant) {
        let entry = Entry {
            principal,
            class: Class::Normal,
            bytes: 512,
            deadline: now + Duration::from_secs(60),
            item: principal,
        };
        assert!(matches!(self.queue.push(now, entry), Pushed::Queued(_)));
    }

    /// One call that is let through.
    fn decide(&mut self, now: Instant) {
        self.n += 1;
        let principal = digest(self.n % PRINCIPALS);
        let limits = self.limiter.take(principal, &LIMIT, now).allowed
            && self.limiter.take(principal ^ TOOL, &LIMIT, now).allowed;
        let admitted = self.breaker.admit(now, now + Duration::from_secs(60));
        self.push(principal, now);
        let next = self.queue.pop(now, |_| Fate::Serve).next;
        assert!(black_box(
            limits && admitted.verdict.is_ok() && next.is_some()
        ));
    }
}

/// Times single decisions, the clock's own time included, and prints percentiles.
fn percentiles(chain: &mut Chain) {
    let mut took = Vec::with_capacity(DECISIONS);
    for _ in 0..DECISIONS {
        let start = Instant::now();
        chain.decide(start);
        took.push(start.elapsed());
    }
    took.sort_unstable();
    let at = |per_mille: usize| took[(DECISIONS - 1) * per_mille / 1000];
    let p99 = at(990);
    let verdict = if p99 <= TARGET { "met" } else { "MISSED" };
    println!(
        "guard chain, {DECISIONS} decisions: p50 {:?}, p99 {p99:?}, p99.9 {:?}; p99 target {TARGET:?} {verdict}",
        at(500),
        at(999),
    );
}

fn main() {
    let start = Instant::now();
    let mut chain = Chain::new(start);
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("guards/limiter take, 65,536 keys", |bench| {
        let mut n = 0;
        bench.iter(|| {
            n += 1;
            chain
                .limiter
                .take(digest(n % PRINCIPALS), &LIMIT, Instant::now())
        });
    });
    criterion.bench_function("guards/whole chain", |bench| {
        bench.iter(|| chain.decide(Instant::now()));
    });
    criterion.final_summary();
    percentiles(&mut chain);
}
