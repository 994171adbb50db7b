//! What the guards did, on the metrics page: breakers, retries, stuck workers, quarantine, pressure.
//! A breaker is labelled by server and tool. The tool label is bounded by the configuration, which
//! is where tools with a breaker of their own stand; a server's own breaker has an empty one.

use super::metrics::Families;
use crate::broker::snapshot::{BreakerStatus, ServerStatus};
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt::Error;

/// Writes the families of the guards.
pub(super) fn encode_guards(families: &mut Families<'_, '_>) -> Result<(), Error> {
    encode_breakers(families)?;
    families.counter(
        "calls_retried",
        "Calls of lost workers sent to another one.",
        |s| s.counters.retried,
    )?;
    families.counter(
        "workers_condemned",
        "Workers replaced because a deadline found them stuck.",
        |s| s.counters.condemned,
    )?;
    families.gauge(
        "quarantined",
        "Calls refused because they cost workers their life.",
        |s| s.quarantine.len() as u64,
    )?;
    families.gauge(
        "pressure",
        "Whether the server holds back for lack of memory or room (1).",
        |s| u64::from(s.pressure.is_some()),
    )?;
    families.gauge(
        "leak_bytes_per_call",
        "Bytes that the worst leaking worker loses with each call; 0: none leaks.",
        |s| {
            let leaks = s.workers.iter().filter_map(|w| w.leak_bytes_a_call);
            leaks.max().unwrap_or(0)
        },
    )?;
    families.counter(
        "memory_kills",
        "Workers killed for want of memory, by the guard or by the kernel.",
        |s| s.counters.memory_kills,
    )
}

fn encode_breakers(families: &mut Families<'_, '_>) -> Result<(), Error> {
    let servers = families.servers;
    let encoder = &mut families.encoder;
    let all = || {
        servers.iter().flat_map(|server| {
            let breakers = server.breakers.iter();
            breakers.map(move |breaker| (server, breaker))
        })
    };
    let mut metric = encoder.encode_descriptor(
        "breaker_state",
        "State of a breaker: 0 closed, 1 half-open, 2 open.",
        None,
        MetricType::Gauge,
    )?;
    for (server, breaker) in all() {
        ConstGauge::new(state(breaker)).encode(metric.encode_family(&labels(server, breaker))?)?;
    }
    let mut metric = encoder.encode_descriptor(
        "breaker_trips",
        "Times a breaker has opened.",
        None,
        MetricType::Counter,
    )?;
    for (server, breaker) in all() {
        ConstCounter::new(breaker.trips).encode(metric.encode_family(&labels(server, breaker))?)?;
    }
    Ok(())
}

fn labels<'s>(server: &'s ServerStatus, breaker: &'s BreakerStatus) -> [(&'s str, &'s str); 2] {
    let tool = breaker.tool.as_deref().unwrap_or_default();
    [("server", &server.name), ("tool", tool)]
}

/// What calls meet: a mode set by hand counts more than what the breaker would decide. In shadow
/// it is what it would decide, which is what a shadow is watched for.
fn state(breaker: &BreakerStatus) -> u64 {
    match (breaker.mode.as_str(), breaker.state.as_str()) {
        ("forced_open", _) => 2,
        ("forced_closed", _) | (_, "closed") => 0,
        (_, "half_open") => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use crate::broker::snapshot::Snapshot;
    use crate::observe::metrics::text;

    fn page(change: impl FnOnce(&mut Snapshot)) -> String {
        let example = include_str!("../../tests/support/status.json");
        let mut snapshot = serde_json::from_str(example).unwrap();
        change(&mut snapshot);
        text(&snapshot)
    }

    #[test]
    fn each_guard_has_its_series() {
        let page = page(|_| ());
        for line in [
            "mainstay_breaker_state{server=\"music\",tool=\"\"} 0",
            "mainstay_breaker_state{server=\"music\",tool=\"render\"} 0",
            "mainstay_breaker_state{server=\"github\",tool=\"\"} 2",
            "mainstay_breaker_trips_total{server=\"music\",tool=\"\"} 3",
            "mainstay_breaker_trips_total{server=\"github\",tool=\"\"} 1",
            "mainstay_calls_retried_total{server=\"music\"} 5",
            "mainstay_workers_condemned_total{server=\"music\"} 1",
            "mainstay_quarantined{server=\"music\"} 1",
            "mainstay_pressure{server=\"music\"} 0",
            "mainstay_leak_bytes_per_call{server=\"music\"} 1800000",
            "mainstay_leak_bytes_per_call{server=\"github\"} 0",
            "mainstay_memory_kills_total{server=\"music\"} 2",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} in\n{page}");
        }
    }

    #[test]
    fn the_state_is_what_calls_meet() {
        for (mode, state, value) in [
            ("auto", "closed", 0),
            ("auto", "half_open", 1),
            ("auto", "open", 2),
            ("forced_open", "closed", 2),
            ("forced_closed", "open", 0),
            ("shadow", "open", 2),
        ] {
            let page = page(|snapshot| {
                let breaker = &mut snapshot.servers[1].breakers[0];
                breaker.mode = mode.to_owned();
                breaker.state = state.to_owned();
            });
            let line = format!("mainstay_breaker_state{{server=\"github\",tool=\"\"}} {value}");
            assert!(page.lines().any(|l| l == line), "{mode} {state}\n{page}");
        }
    }

    #[test]
    fn pressure_is_a_number() {
        let page = page(|snapshot| {
            snapshot.servers[0].pressure = Some("memory above the soft limit".to_owned());
        });
        let line = "mainstay_pressure{server=\"music\"} 1";
        assert!(page.lines().any(|l| l == line), "{page}");
    }

    #[test]
    fn a_tool_forges_no_series() {
        let page = page(|snapshot| {
            snapshot.servers[1].breakers[0].tool = Some("x\"} 1\nforged 1".to_owned());
        });
        assert!(
            !page.lines().any(|line| line.starts_with("forged")),
            "{page}"
        );
    }
}
