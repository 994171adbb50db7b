//! The metrics of a [`Snapshot`] as OpenMetrics text. Nothing is registered and nothing kept: a
//! scrape encodes one snapshot. Labels are bounded: `server` by the configuration, `outcome` and
//! `reason` by [`LABEL_VALUES`], whatever the snapshot holds. No series per session or worker.

pub use super::durations::CallDurations;
use super::guard_metrics::encode_guards;
use crate::broker::snapshot::{DurationHistogram, Health, ServerStatus, Snapshot};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::fmt::Error;

/// The media type of [`text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Different values of one label that are told apart per server; the rest is counted as `other`.
pub const LABEL_VALUES: usize = 16;
/// Outcomes that have a series before they first happen, so that rates need no special case.
const OUTCOMES: [&str; 6] = ["ok", "error", "cancelled", "lost", "expired", "refused"];

/// The page.
#[must_use]
pub fn text(snapshot: &Snapshot) -> String {
    let mut registry = Registry::with_prefix("mainstay");
    registry.register_collector(Box::new(Page(snapshot.clone())));
    let mut text = String::new();
    // Writing to a String cannot fail, and the encoders below fail for no other reason.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Page(Snapshot);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        encode_daemon(&self.0, &mut encoder)?;
        let mut families = Families {
            encoder,
            servers: &self.0.servers,
        };
        encode_gauges(&mut families)?;
        encode_counters(&mut families)?;
        encode_guards(&mut families)?;
        encode_durations(&mut families)
    }
}

fn encode_daemon(snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    encoder
        .encode_descriptor("build", "The daemon that runs.", None, MetricType::Info)?
        .encode_info(&[("version", snapshot.version.as_str())])?;
    let serving =
        matches!(snapshot.health, Health::Ok | Health::Degraded) && snapshot.phase == "serving";
    let gauges = [
        (
            "serving",
            None,
            "Whether calls are served (1) or not (0).",
            Some(u64::from(serving)),
        ),
        (
            "uptime",
            Some(Unit::Seconds),
            "Time since the daemon started.",
            Some(snapshot.uptime_seconds),
        ),
        (
            "connections",
            None,
            "Open HTTP connections.",
            Some(snapshot.connections),
        ),
        (
            "memory",
            Some(Unit::Bytes),
            "Resident memory of the daemon.",
            snapshot.memory_bytes,
        ),
    ];
    for (name, unit, help, value) in gauges {
        if let Some(value) = value {
            let metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
    }
    let metric = encoder.encode_descriptor(
        "log_records_dropped",
        "Records of the log that were dropped because its reader did not read.",
        None,
        MetricType::Counter,
    )?;
    ConstCounter::new(snapshot.log_records_dropped).encode(metric)
}

/// Writes families whose samples come from the servers one by one.
pub(super) struct Families<'e, 's> {
    pub(super) encoder: DescriptorEncoder<'e>,
    pub(super) servers: &'s [ServerStatus],
}

impl Families<'_, '_> {
    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: fn(&ServerStatus) -> u64,
    ) -> Result<(), Error> {
        let mut metric = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for server in self.servers {
            let labels = [("server", server.name.as_str())];
            ConstGauge::new(value(server)).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: fn(&ServerStatus) -> u64,
    ) -> Result<(), Error> {
        let mut metric = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for server in self.servers {
            let labels = [("server", server.name.as_str())];
            ConstCounter::new(value(server)).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn encode_gauges(families: &mut Families<'_, '_>) -> Result<(), Error> {
    let mut metric = families.encoder.encode_descriptor(
        "server_health",
        "Health of the server: 1 for the state it is in.",
        None,
        MetricType::Gauge,
    )?;
    for server in families.servers {
        for (health, word) in [
            (Health::Ok, "ok"),
            (Health::Degraded, "degraded"),
            (Health::Starting, "starting"),
            (Health::Down, "down"),
        ] {
            let value = u64::from(server.health == health);
            labelled_gauge(&mut metric, server, "health", word, value)?;
        }
    }
    let mut metric = families.encoder.encode_descriptor(
        "workers",
        "Workers by state.",
        None,
        MetricType::Gauge,
    )?;
    for server in families.servers {
        let idle = server.ready.saturating_sub(server.busy);
        for (state, count) in [
            ("idle", idle),
            ("busy", server.busy),
            ("starting", server.starting),
        ] {
            labelled_gauge(&mut metric, server, "state", state, count as u64)?;
        }
    }
    families.gauge("workers_min", "Configured lower bound of the pool.", |s| {
        s.min_size as u64
    })?;
    families.gauge("workers_max", "Configured upper bound of the pool.", |s| {
        s.max_size as u64
    })?;
    families.gauge("calls_in_flight", "Calls in flight at workers.", |s| {
        s.in_flight as u64
    })?;
    families.gauge("calls_queued", "Calls that wait for a worker.", |s| {
        s.queued as u64
    })?;
    families.gauge("sessions", "Open sessions of the legacy era.", |s| {
        s.sessions as u64
    })?;
    families.gauge(
        "failed_starts_in_a_row",
        "Failed starts since the last success.",
        |s| {
            s.last_failure
                .as_ref()
                .map_or(0, |failure| u64::from(failure.in_a_row))
        },
    )?;
    families.gauge(
        "workers_memory_bytes",
        "Resident memory of the workers, added up.",
        |s| {
            s.workers
                .iter()
                .filter_map(|worker| worker.memory_bytes)
                .sum()
        },
    )
}

fn labelled_gauge(
    metric: &mut MetricEncoder<'_>,
    server: &ServerStatus,
    key: &str,
    value: &str,
    gauge: u64,
) -> Result<(), Error> {
    let labels = [("server", server.name.as_str()), (key, value)];
    ConstGauge::new(gauge).encode(metric.encode_family(&labels)?)
}

fn encode_counters(families: &mut Families<'_, '_>) -> Result<(), Error> {
    let mut metric = families.encoder.encode_descriptor(
        "calls",
        "Calls by outcome.",
        None,
        MetricType::Counter,
    )?;
    for server in families.servers {
        labelled_counters(
            &mut metric,
            server,
            "outcome",
            &bounded(&server.counters.calls, &OUTCOMES),
        )?;
    }
    let mut metric = families.encoder.encode_descriptor(
        "refusals",
        "Calls refused, by reason.",
        None,
        MetricType::Counter,
    )?;
    for server in families.servers {
        labelled_counters(
            &mut metric,
            server,
            "reason",
            &bounded(&server.counters.refusals, &[]),
        )?;
    }
    families.counter("worker_starts", "Workers started.", |s| s.counters.starts)?;
    families.counter("worker_deaths", "Workers that ended unasked.", |s| {
        s.counters.deaths
    })?;
    families.counter(
        "workers_recycled",
        "Workers replaced by age or calls.",
        |s| s.counters.recycled,
    )?;
    families.counter(
        "junk_lines",
        "Lines of workers that were no message.",
        |s| s.counters.junk_lines,
    )?;
    families.counter(
        "oversize_frames",
        "Messages of workers above the limit.",
        |s| s.counters.oversize_frames,
    )?;
    families.counter(
        "unrouted_messages",
        "Messages of workers nobody waited for.",
        |s| s.counters.unrouted,
    )
}

fn labelled_counters(
    metric: &mut MetricEncoder<'_>,
    server: &ServerStatus,
    key: &str,
    counts: &BTreeMap<&str, u64>,
) -> Result<(), Error> {
    for (value, count) in counts {
        let labels = [("server", server.name.as_str()), (key, *value)];
        ConstCounter::new(*count).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// At most [`LABEL_VALUES`] values in snake case; everything else is added up as `other`. `always`
/// is there from the start.
fn bounded<'a>(counts: &'a BTreeMap<String, u64>, always: &[&'a str]) -> BTreeMap<&'a str, u64> {
    let mut bounded: BTreeMap<&str, u64> = always.iter().map(|value| (*value, 0)).collect();
    for (value, count) in counts {
        let word = value.len() <= 40 && value.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let known = bounded.contains_key(value.as_str());
        let room = bounded.len() < LABEL_VALUES;
        let label = if word && (known || room) {
            value.as_str()
        } else {
            "other"
        };
        let sum = bounded.entry(label).or_default();
        *sum = sum.saturating_add(*count);
    }
    bounded
}

fn encode_durations(families: &mut Families<'_, '_>) -> Result<(), Error> {
    let mut metric = families.encoder.encode_descriptor(
        "call_duration",
        "Time from accepting a call to the end of its answer.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for server in families.servers {
        let labels = [("server", server.name.as_str())];
        let durations = &server.durations;
        let bounds = DurationHistogram::BOUNDS_MICROS
            .iter()
            .map(|bound| seconds(*bound));
        let buckets: Vec<(f64, u64)> = bounds
            .chain([f64::INFINITY])
            .enumerate()
            .map(|(index, bound)| (bound, durations.buckets.get(index).copied().unwrap_or(0)))
            .collect();
        metric
            .encode_family(&labels)?
            .encode_histogram::<NoLabelSet>(
                seconds(durations.sum_micros),
                durations.count,
                &buckets,
                None,
            )?;
    }
    Ok(())
}

/// Microseconds in seconds. Exact up to 2^53 microseconds, which are 285 years of calls.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Snapshot {
        serde_json::from_str(include_str!("../../tests/support/status.json")).unwrap()
    }

    /// The value of one sample.
    fn sample(page: &str, series: &str) -> Option<String> {
        let line = page.lines().find_map(|line| line.strip_prefix(series))?;
        line.strip_prefix(' ').map(str::to_owned)
    }

    #[test]
    fn samples_say_what_the_snapshot_says() {
        let page = text(&example());
        for (series, value) in [
            ("mainstay_build_info{version=\"0.1.0\"}", "1"),
            ("mainstay_serving", "1"),
            ("mainstay_uptime_seconds", "7980"),
            ("mainstay_memory_bytes", "9542042"),
            (
                "mainstay_server_health{server=\"github\",health=\"down\"}",
                "1",
            ),
            (
                "mainstay_server_health{server=\"github\",health=\"ok\"}",
                "0",
            ),
            ("mainstay_workers{server=\"music\",state=\"idle\"}", "3"),
            (
                "mainstay_calls_total{server=\"music\",outcome=\"ok\"}",
                "12345",
            ),
            (
                "mainstay_calls_total{server=\"github\",outcome=\"lost\"}",
                "0",
            ),
            (
                "mainstay_refusals_total{server=\"music\",reason=\"overloaded\"}",
                "3",
            ),
            (
                "mainstay_calls_total{server=\"music\",outcome=\"expired\"}",
                "0",
            ),
            ("mainstay_worker_deaths_total{server=\"github\"}", "4"),
            ("mainstay_failed_starts_in_a_row{server=\"github\"}", "4"),
            (
                "mainstay_workers_memory_bytes{server=\"music\"}",
                "71827456",
            ),
            (
                "mainstay_call_duration_seconds_sum{server=\"music\"}",
                "72.500001",
            ),
            (
                "mainstay_call_duration_seconds_count{server=\"music\"}",
                "12349",
            ),
            (
                "mainstay_call_duration_seconds_bucket{le=\"0.001\",server=\"music\"}",
                "12000",
            ),
            (
                "mainstay_call_duration_seconds_bucket{le=\"60.0\",server=\"music\"}",
                "12348",
            ),
            (
                "mainstay_call_duration_seconds_bucket{le=\"+Inf\",server=\"music\"}",
                "12349",
            ),
        ] {
            assert_eq!(
                sample(&page, series).as_deref(),
                Some(value),
                "{series} in\n{page}"
            );
        }
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn a_memory_nobody_could_read_has_no_sample() {
        let mut snapshot = example();
        snapshot.memory_bytes = None;
        assert_eq!(sample(&text(&snapshot), "mainstay_memory_bytes"), None);
    }

    #[test]
    fn every_family_is_declared_once_and_every_sample_belongs_to_one() {
        let page = text(&example());
        let mut families = Vec::new();
        for line in page.lines().filter(|line| *line != "# EOF") {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap();
                assert!(name.starts_with("mainstay_"), "{name}");
                assert!(!families.contains(&name), "{name} twice");
                families.push(name);
            } else if !line.starts_with('#') {
                assert!(line.starts_with(families.last().unwrap()), "{line}");
            }
        }
        assert!(families.len() > 15, "{families:?}");
    }

    #[test]
    fn labels_stay_bounded_whatever_the_snapshot_holds() {
        let mut snapshot = example();
        let refusals = &mut snapshot.servers[0].counters.refusals;
        refusals.clear();
        for number in 0..1000u32 {
            let word: String = number
                .to_string()
                .bytes()
                .map(|b| char::from(b'a' + b - b'0'))
                .collect();
            refusals.insert(word, 1);
        }
        refusals.insert("x\"} 1\nforged 1".to_owned(), 5);
        let page = text(&snapshot);
        let series = page
            .lines()
            .filter(|l| l.starts_with("mainstay_refusals_total{"))
            .count();
        assert_eq!(series, LABEL_VALUES + 1);
        let other = sample(
            &page,
            "mainstay_refusals_total{server=\"music\",reason=\"other\"}",
        );
        assert_eq!(other.as_deref(), Some("989"));
        assert!(!page.contains("forged"));
    }
}
