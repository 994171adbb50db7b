//! One server as the views see it: numbers and the last failure, read from short locks.

use std::sync::Arc;

use super::member::{Member, Phase};
use super::outage::BROKEN;
use super::server::Server;
use super::snapshot::{BreakerStatus, Failure, Health, Quarantined, ServerStatus};
use crate::mcp::era::Era;
use std::time::{Duration, Instant};

/// What `/health` says of a server that a reload has removed and that finishes its calls.
const LEAVING: &str = "it was removed from the configuration and finishes its calls";
/// What `/health` says of a server that is drained.
const DRAINED: &str = "an operator lets it take no new calls";

impl Server {
    /// What it looks like right now.
    #[must_use]
    pub fn status(&self) -> ServerStatus {
        let now = Instant::now();
        let (members, starting, failure, in_a_row, wait, reason_down, broken) = {
            let roster = self.roster();
            let living = roster.members.values().filter(|m| m.phase() != Phase::Gone);
            let members: Vec<_> = living.cloned().collect();
            (
                members,
                roster.starting.len(),
                roster.last_failure.clone(),
                roster.restart.failures(now),
                roster.restart.wait(now, false),
                roster.down_since,
                roster.restart.looks_broken(),
            )
        };
        let workers: Vec<_> = members.iter().map(|m| m.status()).collect();
        let in_state = |states: &[&str]| {
            workers
                .iter()
                .filter(|w| states.contains(&w.state.as_str()))
                .count()
        };
        let ready = in_state(&["ready", "busy"]);
        let is_bare = |m: &&Arc<Member>| m.is_bare() && m.phase() == Phase::Ready;
        let bare = members.iter().filter(is_bare).count();
        let health = match (ready, in_a_row) {
            (0, 0) if reason_down.is_none() => Health::Starting,
            (0, _) => Health::Down,
            (_, 0) if bare == 0 => Health::Ok,
            (_, _) => Health::Degraded,
        };
        let last_failure = failure.map(|f| Failure {
            seconds_ago: now.duration_since(f.at).as_secs(),
            what: f.what,
            stderr: f.stderr,
            in_a_row,
            retry_in_ms: (in_a_row > 0 && starting == 0)
                .then(|| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        });
        let reason = match health {
            Health::Ok => None,
            Health::Starting => Some("no worker is ready yet".to_owned()),
            Health::Degraded | Health::Down => {
                let failed = last_failure
                    .as_ref()
                    .filter(|f| f.in_a_row > 0 || ready == 0);
                let broken = if broken { BROKEN } else { "" };
                let failed = failed.map(|f| {
                    format!(
                        "the last worker {} ({} in a row){broken}",
                        f.what, f.in_a_row
                    )
                });
                let bare = (bare > 0)
                    .then(|| format!("{bare} workers run without the variables of env_pass"));
                let reasons: Vec<String> = failed.into_iter().chain(bare).collect();
                Some(reasons.join("; "))
            }
        };
        let lanes = [Era::Legacy, Era::Modern].map(|era| self.lane(era).view());
        let separate = !self.standing().borrow().mixed;
        let queued = lanes[0].waiting + if separate { lanes[1].waiting } else { 0 };
        let config = self.config();
        let breakers = self.breakers(now);
        let pressure = self.guards().pressure().map(|p| p.reason);
        let drained = match () {
            () if self.is_leaving() => Some(LEAVING),
            () => self.guards().is_drained().then_some(DRAINED),
        };
        let held = [pressure.as_deref(), drained];
        let (health, reason) = guarded(health, reason, &breakers, held);
        ServerStatus {
            name: self.name().to_owned(),
            default: config.default && !self.is_leaving(),
            health,
            reason,
            era: self.era_name(),
            state: config.state.as_str().to_owned(),
            min_size: config.pool.min_size,
            max_size: config.pool.max_size,
            ready,
            busy: in_state(&["busy"]),
            starting,
            in_flight: workers.iter().map(|w| w.in_flight).sum(),
            queued,
            sessions: self.shared().sessions.count(self),
            counters: self.stats().counters(),
            durations: self.stats().durations(),
            last_failure,
            workers,
            breakers,
            quarantine: self.quarantine(now),
            pressure,
            drained: self.guards().is_drained(),
            recovered_after_ms: self.stats().recovered_after_ms(),
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Server {
    fn breakers(&self, now: Instant) -> Vec<BreakerStatus> {
        let rules = self.rules();
        let mut tools: Vec<_> = rules.gated().collect();
        tools.sort_by_key(|(name, _)| *name);
        let own = std::iter::once((None, self.guards().gate()));
        let all = own.chain(tools.into_iter().map(|(name, gate)| (Some(name), gate)));
        all.map(|(tool, gate)| {
            let view = gate.view(now);
            BreakerStatus {
                tool: tool.map(ToOwned::to_owned),
                state: view.state.as_str().to_owned(),
                mode: view.mode.as_str().to_owned(),
                reason: view.reason,
                author: view.author,
                expires_in_ms: view.expires_in.map(millis),
                retry_in_ms: view.retry_in.map(millis),
                failures_in_a_row: view.failures_in_a_row,
                window_calls: view.window_calls,
                window_failures: view.window_failures,
                trips: view.trips,
            }
        })
        .collect()
    }

    fn quarantine(&self, now: Instant) -> Vec<Quarantined> {
        let found = self.guards().quarantined(now);
        let found = found.into_iter().map(|info| Quarantined {
            tool: info.tool,
            digest: info.digest.to_string(),
            crashes: info.crashes,
            refused: info.refused,
            expires_in_ms: millis(info.expires_in),
        });
        found.collect()
    }
}

/// Health with the guards looked at: a server that serves is degraded while one of its breakers
/// refuses calls, while it is under pressure, or drained. What is worse than that stays, with its reason.
fn guarded(
    health: Health,
    reason: Option<String>,
    breakers: &[BreakerStatus],
    held: [Option<&str>; 2],
) -> (Health, Option<String>) {
    if !matches!(health, Health::Ok | Health::Degraded) {
        return (health, reason);
    }
    let mut reasons: Vec<String> = reason.into_iter().collect();
    reasons.extend(breakers.iter().filter(|b| b.refuses()).map(refusing));
    let [pressure, drained] = held;
    reasons.extend(pressure.map(|pressure| format!("under pressure: {pressure}")));
    reasons.extend(drained.map(ToOwned::to_owned));
    if reasons.is_empty() {
        return (health, None);
    }
    (Health::Degraded, Some(reasons.join("; ")))
}

fn refusing(breaker: &BreakerStatus) -> String {
    let whose = match &breaker.tool {
        Some(tool) => format!("the breaker of tool {tool}"),
        None => "its breaker".to_owned(),
    };
    let state = match (breaker.mode.as_str(), breaker.state.as_str()) {
        ("forced_open", _) => "forced open",
        (_, "half_open") => "half-open",
        _ => "open",
    };
    match &breaker.reason {
        Some(reason) => format!("{whose} is {state}: {reason}"),
        None => format!("{whose} is {state}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(tool: Option<&str>, mode: &str, state: &str) -> BreakerStatus {
        BreakerStatus {
            tool: tool.map(str::to_owned),
            state: state.to_owned(),
            mode: mode.to_owned(),
            reason: Some("why".to_owned()),
            author: None,
            expires_in_ms: None,
            retry_in_ms: None,
            failures_in_a_row: 0,
            window_calls: 0,
            window_failures: 0,
            trips: 0,
        }
    }

    #[test]
    fn a_guard_that_refuses_calls_degrades() {
        let table = [
            (breaker(None, "auto", "closed"), None),
            (breaker(None, "shadow", "open"), None),
            (breaker(None, "forced_closed", "open"), None),
            (
                breaker(None, "auto", "open"),
                Some("its breaker is open: why"),
            ),
            (
                breaker(None, "forced_open", "closed"),
                Some("its breaker is forced open: why"),
            ),
            (
                breaker(Some("search"), "auto", "half_open"),
                Some("the breaker of tool search is half-open: why"),
            ),
        ];
        for (breaker, reason) in table {
            let (health, told) =
                guarded(Health::Ok, None, std::slice::from_ref(&breaker), [None; 2]);
            assert_eq!(told.as_deref(), reason, "{breaker:?}");
            assert_eq!(health == Health::Degraded, reason.is_some(), "{breaker:?}");
        }
    }

    #[test]
    fn pressure_degrades_and_reasons_add_up() {
        let open = [breaker(None, "auto", "open")];
        let (health, reason) = guarded(
            Health::Degraded,
            Some("a worker died".to_owned()),
            &open,
            [Some("memory 2.1 of 2.0 GiB"), Some(DRAINED)],
        );
        assert_eq!(health, Health::Degraded);
        assert_eq!(
            reason.as_deref(),
            Some(
                "a worker died; its breaker is open: why; under pressure: memory 2.1 of 2.0 GiB; an operator lets it take no new calls"
            )
        );
    }

    #[test]
    fn what_is_worse_keeps_its_reason() {
        let open = [breaker(None, "auto", "open")];
        for health in [Health::Starting, Health::Down] {
            let reason = Some("no worker".to_owned());
            assert_eq!(
                guarded(health, reason.clone(), &open, [Some("memory"), None]),
                (health, reason)
            );
        }
    }
}
