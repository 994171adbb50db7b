//! Whether a worker leaks: its memory against the calls it has served, and when one that leaks has to
//! be replaced so that a limit is never reached. It does not know whose calls they were or how a worker
//! is replaced.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Samples below which nothing is said.
const LEAST_SAMPLES: usize = 20;
/// Samples that are kept.
const MOST_SAMPLES: usize = 120;
/// Calls below which nothing is said.
const LEAST_CALLS: u64 = 100;
/// Growth below which it is no leak: caches fill, heaps settle.
const LEAST_GROWTH: u64 = 16 << 20;
/// How much of the memory's movement the calls must explain (r squared).
const LEAST_FIT: f64 = 0.8;
/// How much of the growth one tool's calls must make up, and how many of them there must be, for the
/// leak to be that tool's.
const TOOL_SHARE: f64 = 0.8;
const TOOL_CALLS: u64 = 20;
/// Replacing begins so much before it has to be done, beyond what starts take.
const MARGIN: Duration = Duration::from_secs(5);

/// What a leaking worker loses.
#[derive(Clone, Debug, PartialEq)]
pub struct Leak {
    /// Bytes for each call; more than zero.
    pub bytes_a_call: f64,
    /// Calls it was seen over.
    pub calls: u64,
    /// Bytes for each second at the pace of these calls.
    pub bytes_a_second: f64,
    /// The tool that does it, if calls of its own, with none of another in between, have shown it.
    pub tool: Option<ToolLeak>,
}

/// What the calls of one tool lose.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolLeak {
    /// Its name.
    pub name: Arc<str>,
    /// Bytes for each of its calls.
    pub bytes_a_call: f64,
}

#[derive(Clone, Debug)]
struct Point {
    at: Instant,
    calls: u64,
    bytes: u64,
    /// What all calls since the point before were of.
    tool: Option<Arc<str>>,
}

/// Memory of one worker over its calls.
#[derive(Clone, Debug, Default)]
pub struct Trend {
    points: VecDeque<Point>,
}

impl Trend {
    /// The worker has `bytes` after `calls` calls in its life; `tool` is what those since the last
    /// time were of, if they were all of one tool. A sample without a new call takes the place of the
    /// one before.
    pub fn add(&mut self, at: Instant, calls: u64, bytes: u64, tool: Option<Arc<str>>) {
        if let Some(last) = self.points.back_mut() {
            if last.calls == calls {
                (last.at, last.bytes) = (at, bytes);
                return;
            }
        }
        if self.points.len() == MOST_SAMPLES {
            self.points.pop_front();
        }
        let point = Point {
            at,
            calls,
            bytes,
            tool,
        };
        self.points.push_back(point);
    }

    /// Whether there are too few samples for a verdict, however many calls there were.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.points.len() < LEAST_SAMPLES
    }

    /// The leak, once there are samples and calls enough to say so: the slope of the line of least
    /// squares.
    #[must_use]
    pub fn leak(&self) -> Option<Leak> {
        let (first, last) = (self.points.front()?, self.points.back()?);
        let calls = last.calls.saturating_sub(first.calls);
        if self.is_short() || calls < LEAST_CALLS {
            return None;
        }
        let slope = self.slope(first)?;
        let growth = slope * number(calls);
        if growth < number(LEAST_GROWTH) {
            return None;
        }
        let span = last.at.saturating_duration_since(first.at);
        Some(Leak {
            bytes_a_call: slope,
            calls,
            bytes_a_second: growth / span.max(Duration::from_millis(1)).as_secs_f64(),
            tool: self.tool(growth),
        })
    }

    /// Bytes for each call, if the calls explain how the memory moved.
    fn slope(&self, first: &Point) -> Option<f64> {
        let points = self.points.iter().map(|point| {
            let calls = number(point.calls.saturating_sub(first.calls));
            (calls, number(point.bytes) - number(first.bytes))
        });
        let n = number(self.points.len() as u64);
        let (x, y) = points
            .clone()
            .fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
        let (x, y) = (x / n, y / n);
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for point in points {
            let (dx, dy) = (point.0 - x, point.1 - y);
            xx += dx * dx;
            xy += dx * dy;
            yy += dy * dy;
        }
        (xy * xy >= LEAST_FIT * xx * yy).then_some(xy / xx)
    }

    /// Whose leak it is.
    fn tool(&self, growth: f64) -> Option<ToolLeak> {
        let mut tools: BTreeMap<&Arc<str>, (u64, f64)> = BTreeMap::new();
        for (before, point) in self.points.iter().zip(self.points.iter().skip(1)) {
            if let Some(tool) = &point.tool {
                let sum = tools.entry(tool).or_default();
                sum.0 += point.calls.saturating_sub(before.calls);
                sum.1 += number(point.bytes) - number(before.bytes);
            }
        }
        let (name, (calls, bytes)) = tools
            .into_iter()
            .max_by(|(_, a), (_, b)| a.1.total_cmp(&b.1))?;
        (calls >= TOOL_CALLS && bytes >= TOOL_SHARE * growth).then(|| ToolLeak {
            name: Arc::clone(name),
            bytes_a_call: bytes / number(calls),
        })
    }
}

/// One leaking worker, as far as its replacement goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leaker {
    /// Which.
    pub worker: u64,
    /// Bytes it has.
    pub bytes: u64,
    /// Bytes it had when it was ready and had served nobody.
    pub baseline: u64,
    /// Bytes it loses each second.
    pub bytes_a_second: f64,
    /// Bytes it may have at most, where something holds it to that.
    pub own_limit: Option<u64>,
}

impl Leaker {
    fn growth(&self) -> u64 {
        self.bytes.saturating_sub(self.baseline)
    }

    fn ahead(&self, lead: f64) -> f64 {
        number(self.bytes) + self.bytes_a_second * lead
    }
}

/// The pool that leaking workers are in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    /// Bytes of all workers.
    pub total: u64,
    /// Bytes above which the memory guard acts, with less regard for calls.
    pub soft_limit: u64,
    /// What a start takes as a rule.
    pub start_time: Duration,
    /// Workers that may be replaced at a time; at least 1.
    pub at_a_time: usize,
}

/// The leaking worker that has to be replaced now, if one has to: so early that all of them, one after
/// the other, are gone before the pool reaches 7/8 of the soft limit or one of them half of its own.
/// One whose successor would soon be as large is left alone.
#[must_use]
pub fn due(leakers: &[Leaker], pool: &Pool) -> Option<Leaker> {
    let rounds = leakers.len().div_ceil(pool.at_a_time.max(1));
    let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
    let lead = pool
        .start_time
        .saturating_mul(rounds)
        .saturating_add(MARGIN);
    let lead = lead.as_secs_f64();
    let gains = |l: &&Leaker| l.growth() >= LEAST_GROWTH.max(l.baseline / 4);
    // While a successor starts there is one worker more.
    let successor = leakers.iter().map(|l| l.baseline).max()?;
    let successors = number(successor) * number(pool.at_a_time.max(1) as u64);
    let lost: f64 = leakers.iter().map(|l| l.bytes_a_second * lead).sum();
    let bound = number(pool.soft_limit - pool.soft_limit / 8);
    let pool_is_full = number(pool.total) + successors + lost >= bound;
    let own_is_full = |l: &Leaker| {
        let half = l.own_limit.map(|limit| number(limit / 2));
        half.is_some_and(|half| l.ahead(lead) >= half)
    };
    let candidates = leakers.iter().filter(gains);
    let due = candidates.filter(|l| pool_is_full || own_is_full(l));
    due.max_by_key(|l| (own_is_full(l), l.growth())).copied()
}

#[expect(clippy::cast_precision_loss, reason = "bytes and calls below 2^52")]
fn number(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::{Leaker, Pool, Trend, due};
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    const MIB: u64 = 1 << 20;

    /// A trend over so many samples of so many calls each, a second apart.
    fn trend(samples: u64, calls: u64, bytes: impl Fn(u64) -> u64) -> Trend {
        let start = Instant::now();
        let mut trend = Trend::default();
        for n in 0..samples {
            let at = start + Duration::from_secs(n);
            trend.add(at, n * calls, bytes(n * calls), None);
        }
        trend
    }

    #[test]
    fn a_leak_is_told_with_its_bytes_a_call() {
        let leak = trend(30, 10, |calls| 70 * MIB + calls * 1_800_000)
            .leak()
            .unwrap();
        assert!((leak.bytes_a_call - 1_800_000.0).abs() < 1.0, "{leak:?}");
        assert!((leak.bytes_a_second - 18e6).abs() < 10.0, "{leak:?}");
        assert_eq!((leak.calls, leak.tool), (290, None));
    }

    #[test]
    fn too_little_is_no_verdict() {
        let leaks = |calls: u64| 70 * MIB + calls * 1_800_000;
        assert!(trend(19, 100, leaks).leak().is_none(), "19 samples");
        assert!(trend(20, 5, leaks).leak().is_none(), "95 calls");
        assert!(
            trend(20, 6, leaks).leak().is_some(),
            "20 samples, 114 calls"
        );
        assert!(trend(0, 0, leaks).leak().is_none());
    }

    #[test]
    fn growth_that_is_not_by_the_call_is_no_leak() {
        let warm_up = |calls: u64| if calls < 300 { 10 * MIB } else { 200 * MIB };
        let saw = |calls: u64| 70 * MIB + calls % 50 * MIB;
        let none = |bytes: &dyn Fn(u64) -> u64, what: &str| {
            assert!(trend(100, 10, bytes).leak().is_none(), "{what}");
        };
        none(&warm_up, "a heap that settled");
        none(&saw, "a heap that is collected");
        none(&|calls| 70 * MIB - calls * 1000, "shrinking");
        none(&|calls| 70 * MIB + calls * 1000, "1 MB in all");
        none(&|_| 70 * MIB, "nothing");
    }

    #[test]
    fn samples_of_an_idle_worker_do_not_count() {
        let mut trend = trend(10, 20, |calls| calls * MIB);
        for _ in 0..50 {
            trend.add(Instant::now(), 180, 180 * MIB, None);
        }
        assert!(trend.leak().is_none());
    }

    /// Samples of ten calls each; the tool of each, and the bytes its calls take.
    fn by_tool(
        samples: impl Iterator<Item = (Option<&'static str>, u64)>,
    ) -> Option<(String, u64)> {
        let (mut trend, mut calls, mut bytes) = (Trend::default(), 0, 70 * MIB);
        for (tool, grown) in samples {
            calls += 10;
            bytes += 10 * grown;
            trend.add(Instant::now(), calls, bytes, tool.map(Arc::from));
        }
        let tool = trend.leak().unwrap().tool?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small"
        )]
        Some((tool.name.to_string(), tool.bytes_a_call.round() as u64))
    }

    #[test]
    fn the_tool_is_named_when_its_calls_were_serial() {
        let turns = |n: u64| match n % 3 {
            0 => (Some("render"), 1_800_000),
            _ => (Some("list"), 100),
        };
        let found = by_tool((0..60).map(turns));
        assert_eq!(found, Some(("render".to_owned(), 1_800_000)));
        let mixed = |n: u64| match n % 3 {
            0 => (None, 1_800_000),
            _ => (Some("list"), 100),
        };
        assert_eq!(by_tool((0..60).map(mixed)), None, "not told apart");
        let half = |n: u64| (Some(if n % 2 == 0 { "a" } else { "b" }), 1_000_000);
        assert_eq!(by_tool((0..60).map(half)), None, "both do it");
    }

    const POOL: Pool = Pool {
        total: 500 * MIB,
        soft_limit: 2048 * MIB,
        start_time: Duration::from_secs(2),
        at_a_time: 1,
    };

    fn leaker(worker: u64, bytes: u64) -> Leaker {
        Leaker {
            worker,
            bytes: bytes * MIB,
            baseline: 70 * MIB,
            bytes_a_second: MIB as f64,
            own_limit: None,
        }
    }

    fn due_of(leakers: &[Leaker], pool: Pool) -> Option<u64> {
        due(leakers, &pool).map(|l| l.worker)
    }

    #[test]
    fn it_is_due_before_the_soft_limit_and_the_largest_growth_first() {
        let two = [leaker(1, 300), leaker(2, 400)];
        assert_eq!(due_of(&two, POOL), None, "there is room");
        // 9 s for two starts, 1 MiB/s each, a successor of 70 MiB, up to 7/8 of 2048 MiB.
        let total = |mib| Pool {
            total: mib * MIB,
            ..POOL
        };
        assert_eq!(due_of(&two, total(1792 - 70 - 19)), None);
        assert_eq!(due_of(&two, total(1792 - 70 - 18)), Some(2));
        assert_eq!(due_of(&[], total(5000)), None);
    }

    #[test]
    fn a_fast_leak_is_due_earlier() {
        let fast = Leaker {
            bytes_a_second: 200.0 * MIB as f64,
            ..leaker(1, 300)
        };
        assert_eq!(due_of(&[fast], POOL), Some(1));
    }

    #[test]
    fn half_of_its_own_limit_is_never_reached() {
        let held = |bytes| Leaker {
            own_limit: Some(1024 * MIB),
            ..leaker(1, bytes)
        };
        assert_eq!(due_of(&[held(504)], POOL), None);
        assert_eq!(due_of(&[held(505)], POOL), Some(1), "7 s ahead");
        assert_eq!(due_of(&[held(505), leaker(2, 900)], POOL), Some(1));
    }

    #[test]
    fn a_successor_must_be_worth_it() {
        let full = Pool {
            total: 5000 * MIB,
            ..POOL
        };
        assert_eq!(due_of(&[leaker(1, 87)], full), None, "17 of 70 MiB");
        let large = Leaker {
            baseline: 1000 * MIB,
            ..leaker(1, 1200)
        };
        assert_eq!(due_of(&[large, leaker(2, 88)], full), Some(2));
    }

    proptest! {
        #[test]
        fn noise_moves_the_figure_by_little(noise in prop::collection::vec(0u64..4 * MIB, 50), rate in MIB..4 * MIB) {
            let leak = trend(50, 10, |calls| calls * rate + noise[(calls / 10) as usize]).leak().unwrap();
            let off = leak.bytes_a_call / rate as f64;
            prop_assert!((0.95..1.05).contains(&off), "{off}");
        }

        /// Workers that lose the same at the same pace are replaced one by one, each within a start,
        /// and the pool stays below its limit: the room for that is what `due` keeps.
        #[test]
        fn a_pool_that_leaks_stays_below_its_limit(
            workers in 1u64..8, rate in MIB / 8..2 * MIB, start in 1u64..6, limit in 1500u64..8000,
        ) {
            let soft_limit = limit * MIB;
            let mut sizes: Vec<(u64, u64)> = (0..workers).map(|n| (n, 70 * MIB)).collect();
            let mut replacing: Option<(u64, u64)> = None;
            let (mut next, mut replaced) = (workers, 0);
            for second in 0u64..3000 {
                for (_, bytes) in &mut sizes {
                    *bytes += rate;
                }
                if let Some((old, ready)) = replacing {
                    if second >= ready {
                        sizes.retain(|(worker, _)| *worker != old);
                        sizes.push((next, 70 * MIB));
                        (next, replaced, replacing) = (next + 1, replaced + 1, None);
                    }
                }
                let total = sizes.iter().map(|(_, bytes)| bytes).sum::<u64>();
                let during = if replacing.is_some() { 70 * MIB } else { 0 };
                prop_assert!(total + during < soft_limit, "{second} s, {replaced} replaced");
                let leakers: Vec<Leaker> = sizes.iter().map(|(worker, bytes)| Leaker {
                    worker: *worker, bytes: *bytes, baseline: 70 * MIB, bytes_a_second: rate as f64, own_limit: None,
                }).collect();
                let pool = Pool { total, soft_limit, start_time: Duration::from_secs(start), at_a_time: 1 };
                if let (None, Some(found)) = (replacing, due(&leakers, &pool)) {
                    replacing = Some((found.worker, second + start));
                }
            }
            prop_assert!(replaced > 0 || 3000 * rate * workers < soft_limit);
        }
    }
}
