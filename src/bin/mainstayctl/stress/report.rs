//! What a run comes to: the figures, the verdict, as text and as JSON. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use mainstay::config::format_span;
use mainstay::observe::escape::escape;
use serde::Serialize;

use super::client::Era;
use super::histogram::Histogram;
use super::tally::Figures;

/// Least share of good calls.
pub(crate) const SUCCESS_LEAST: f64 = 0.995;
/// Most time that 99 % of the calls may take.
pub(crate) const P99_MOST: Duration = Duration::from_millis(500);
/// Every recovery takes less.
pub(crate) const RECOVERY_BELOW: Duration = Duration::from_secs(60);

/// What was run.
#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    pub(crate) url: String,
    /// Its name, where a daemon is known.
    pub(crate) server: Option<String>,
    pub(crate) eras: Vec<Era>,
    pub(crate) load: String,
    pub(crate) users: usize,
    /// How often a worker is killed.
    pub(crate) kill_every_seconds: Option<f64>,
    /// What the first attempt to reach the server met, if it failed.
    pub(crate) first_error: Option<String>,
}

/// How it ended.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    verdict: &'static str,
    /// Why it is no PASS.
    reasons: Vec<String>,
    interrupted: bool,
    #[serde(flatten)]
    setting: Setting,
    seconds: f64,
    calls: u64,
    good: u64,
    success: f64,
    latency_seconds: Latency,
    kills: u64,
    recovery_seconds: Recovery,
    memory_bytes: Memory,
    failures: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Recovery {
    count: u64,
    /// Faults that no good answer has followed.
    missing: usize,
    min: Option<f64>,
    p50: Option<f64>,
    max: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Memory {
    daemon_peak: Option<u64>,
    workers_peak: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Failed {
    kind: String,
    count: u64,
    example: String,
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}

/// Why the figures are not good enough.
fn shortcomings(figures: &Figures) -> Vec<String> {
    let mut reasons = Vec::new();
    if figures.good == 0 {
        reasons.push("no call was answered well".to_owned());
    } else if figures.success() < SUCCESS_LEAST {
        let (is, least) = (share(figures.success()), share(SUCCESS_LEAST));
        reasons.push(format!("{is} of the calls were good, {least} are needed"));
    }
    if let Some(p99) = figures.latency.percentile(99).filter(|p99| *p99 > P99_MOST) {
        reasons.push(format!(
            "p99 is {}, at most {} is allowed",
            span(p99),
            span(P99_MOST)
        ));
    }
    if figures
        .recovery
        .max()
        .is_some_and(|max| max >= RECOVERY_BELOW)
    {
        let max = figures.recovery.max().map(span).unwrap_or_default();
        reasons.push(format!("a recovery took {max}, less than 60 s is needed"));
    }
    match figures.unrecovered() {
        0 => {}
        1 => reasons.push("after one kill no call was answered well".to_owned()),
        open => reasons.push(format!("after {open} kills no call was answered well")),
    }
    reasons
}

impl Report {
    pub(crate) fn new(
        setting: Setting,
        figures: &Figures,
        took: Duration,
        interrupted: bool,
    ) -> Self {
        let mut reasons = shortcomings(figures);
        if interrupted {
            reasons.push("it was interrupted".to_owned());
        }
        let Figures {
            latency, recovery, ..
        } = figures;
        let percentile = |of: &Histogram, percent| seconds(of.percentile(percent));
        let mut failures: Vec<Failed> = figures
            .failures
            .iter()
            .map(|(kind, failed)| Failed {
                kind: kind.clone(),
                count: failed.count,
                example: failed.example.clone(),
            })
            .collect();
        failures.sort_by_key(|failed| std::cmp::Reverse(failed.count));
        Self {
            verdict: if reasons.is_empty() { "PASS" } else { "FAIL" },
            reasons,
            interrupted,
            setting,
            seconds: took.as_secs_f64(),
            calls: figures.calls,
            good: figures.good,
            success: figures.success(),
            latency_seconds: Latency {
                p50: percentile(latency, 50),
                p90: percentile(latency, 90),
                p99: percentile(latency, 99),
                max: seconds(latency.max()),
            },
            kills: figures.kills,
            recovery_seconds: Recovery {
                count: recovery.count(),
                missing: figures.unrecovered(),
                min: seconds(recovery.min()),
                p50: percentile(recovery, 50),
                max: seconds(recovery.max()),
            },
            memory_bytes: Memory {
                daemon_peak: figures.daemon_peak,
                workers_peak: figures.workers_peak,
            },
            failures,
        }
    }

    pub(crate) fn passed(&self) -> bool {
        self.reasons.is_empty()
    }

    /// For people: a line for each matter.
    pub(crate) fn text(&self) -> String {
        let setting = &self.setting;
        let mut lines = Lines::default();
        let eras: Vec<&str> = setting.eras.iter().map(|era| era.word()).collect();
        let server = setting.server.as_deref().unwrap_or("a server");
        lines.add(
            "target",
            &format!("{} ({server}, {})", setting.url, eras.join(" and ")),
        );
        lines.add(
            "load",
            &format!(
                "{} users for {:.1} s: {}",
                setting.users, self.seconds, setting.load
            ),
        );
        if let Some(error) = &setting.first_error {
            lines.add("at first", &escape(error, 500));
        }
        let (share, least) = (share(self.success), share(SUCCESS_LEAST));
        lines.add(
            "calls",
            &format!(
                "{}, {} failed: {share} good ({least} needed)",
                self.calls,
                self.calls - self.good
            ),
        );
        let latency = &self.latency_seconds;
        lines.add(
            "latency",
            &format!(
                "p50 {}  p90 {}  p99 {} ({} allowed)  max {}",
                time(latency.p50),
                time(latency.p90),
                time(latency.p99),
                span(P99_MOST),
                time(latency.max)
            ),
        );
        lines.add("kills", &self.kills_in_words());
        let recovery = &self.recovery_seconds;
        if recovery.count > 0 {
            lines.add(
                "recovery",
                &format!(
                    "min {}  p50 {}  max {} (below {} needed)",
                    time(recovery.min),
                    time(recovery.p50),
                    time(recovery.max),
                    span(RECOVERY_BELOW)
                ),
            );
        }
        let memory = &self.memory_bytes;
        if let (Some(daemon), Some(workers)) = (memory.daemon_peak, memory.workers_peak) {
            lines.add(
                "memory",
                &format!("daemon {} at most, workers {}", mib(daemon), mib(workers)),
            );
        }
        for failed in &self.failures {
            let example = escape(&failed.example, 500);
            lines.add(
                "failed",
                &format!("{} x {}: {example}", failed.count, escape(&failed.kind, 60)),
            );
        }
        let why = if self.passed() {
            String::new()
        } else {
            format!(": {}", self.reasons.join("; "))
        };
        lines.add("verdict", &format!("{}{why}", self.verdict));
        lines.text
    }

    fn kills_in_words(&self) -> String {
        match self.setting.kill_every_seconds {
            None => "none (--chaos none)".to_owned(),
            Some(every) => {
                let every = format_span(Duration::from_secs_f64(every));
                format!("{} workers, one every {every} where one served", self.kills)
            }
        }
    }
}

#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn add(&mut self, name: &str, what: &str) {
        let _ = writeln!(self.text, "{name:<10}{what}");
    }
}

/// Percent, rounded down: what is not reached does not look as if it were.
pub(crate) fn share(of_one: f64) -> String {
    format!("{:.2} %", (of_one * 10_000.0).floor() / 100.0)
}

fn time(seconds: Option<f64>) -> String {
    seconds.map_or_else(
        || "-".to_owned(),
        |seconds| span(Duration::from_secs_f64(seconds)),
    )
}

/// Three digits are enough.
pub(crate) fn span(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        _ if ms >= 10_000.0 => format!("{:.1} s", ms / 1000.0),
        _ if ms >= 1000.0 => format!("{:.2} s", ms / 1000.0),
        _ if ms >= 10.0 => format!("{ms:.0} ms"),
        _ => format!("{ms:.1} ms"),
    }
}

fn mib(bytes: u64) -> String {
    let tenths = bytes / (1024 * 1024 / 10);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
