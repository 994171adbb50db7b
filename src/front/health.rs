//! `/health`, `/readyz`, `/livez` and `/servers/NAME/health` as pure functions of a [`Snapshot`]:
//! asking touches no worker and leaves no trace. They say whether the daemon is able to serve;
//! which HTTP status that is, is the answer's matter.

use crate::broker::snapshot::{Failure, Health, ServerStatus, Snapshot};
use crate::observe::escape::escape;
use serde::Serialize;
use std::collections::BTreeMap;

/// Lines of a dead worker's stderr that are shown, the last ones.
const STDERR_LINES: usize = 5;
/// Bytes of one such line.
const STDERR_LINE_BYTES: usize = 300;

/// A JSON body and whether what it speaks of is able to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The body, ending in a newline.
    pub body: String,
    /// Whether calls are served, if with something missing. False is for load balancers: go away.
    pub serving: bool,
}

/// `/health`: everything in short, for people and for monitoring.
#[must_use]
pub fn health(snapshot: &Snapshot) -> Report {
    let servers = snapshot
        .servers
        .iter()
        .map(|server| (server.name.as_str(), Server::of(server)));
    report(
        &Daemon {
            status: snapshot.health,
            phase: &snapshot.phase,
            version: &snapshot.version,
            uptime_seconds: snapshot.uptime_seconds,
            host: snapshot.host.as_ref().map(|host| Machine {
                cgroup: &host.cgroup,
            }),
            servers: servers.collect(),
        },
        able(snapshot),
    )
}

/// `/readyz`: whether calls should be sent here. Degraded is ready; the body says what is missing.
#[must_use]
pub fn ready(snapshot: &Snapshot) -> Report {
    let missing = snapshot
        .servers
        .iter()
        .filter(|server| server.health != Health::Ok);
    report(
        &Ready {
            ready: able(snapshot),
            status: snapshot.health,
            phase: &snapshot.phase,
            not_ok: missing
                .map(|server| (server.name.as_str(), reason(server)))
                .collect(),
        },
        able(snapshot),
    )
}

/// `/livez`: the process answers. Nothing else can make it fail: whoever restarts the daemon on
/// this must not do so because a worker is sick.
#[must_use]
pub fn live() -> Report {
    Report {
        body: "{\"live\":true}\n".to_owned(),
        serving: true,
    }
}

/// `/servers/NAME/health`; `None` if there is no such server.
#[must_use]
pub fn server(snapshot: &Snapshot, name: &str) -> Option<Report> {
    let server = snapshot.servers.iter().find(|server| server.name == name)?;
    let serving = snapshot.phase == "serving" && serves(server.health);
    Some(report(&Server::of(server), serving))
}

/// Of the machine only what an operator of a dashboard needs; the rest is for `mainstayctl doctor`.
#[derive(Serialize)]
struct Machine<'a> {
    cgroup: &'a str,
}

#[derive(Serialize)]
struct Daemon<'a> {
    status: Health,
    phase: &'a str,
    version: &'a str,
    uptime_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Machine<'a>>,
    servers: BTreeMap<&'a str, Server<'a>>,
}

#[derive(Serialize)]
struct Ready<'a> {
    ready: bool,
    status: Health,
    phase: &'a str,
    not_ok: BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
struct Server<'a> {
    status: Health,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    era: &'a str,
    workers_ready: usize,
    calls_in_flight: usize,
    calls_queued: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<LastFailure<'a>>,
}

#[derive(Serialize)]
struct LastFailure<'a> {
    what: &'a str,
    seconds_ago: u64,
    in_a_row: u32,
    retry_in_ms: Option<u64>,
    stderr: Vec<String>,
}

impl<'a> Server<'a> {
    fn of(server: &'a ServerStatus) -> Self {
        Self {
            status: server.health,
            reason: server.reason.as_deref(),
            era: &server.era,
            workers_ready: server.ready,
            calls_in_flight: server.in_flight,
            calls_queued: server.queued,
            last_failure: server.last_failure.as_ref().map(LastFailure::of),
        }
    }
}

impl<'a> LastFailure<'a> {
    fn of(failure: &'a Failure) -> Self {
        let skipped = failure.stderr.len().saturating_sub(STDERR_LINES);
        let last = failure.stderr.iter().skip(skipped);
        Self {
            what: &failure.what,
            seconds_ago: failure.seconds_ago,
            in_a_row: failure.in_a_row,
            retry_in_ms: failure.retry_in_ms,
            stderr: last
                .map(|line| escape(line, STDERR_LINE_BYTES).into_owned())
                .collect(),
        }
    }
}

fn able(snapshot: &Snapshot) -> bool {
    snapshot.phase == "serving" && serves(snapshot.health)
}

fn serves(health: Health) -> bool {
    matches!(health, Health::Ok | Health::Degraded)
}

fn reason(server: &ServerStatus) -> String {
    server
        .reason
        .clone()
        .unwrap_or_else(|| "no reason known".to_owned())
}

fn report(body: &impl Serialize, serving: bool) -> Report {
    // These types hold strings, numbers and maps keyed by strings: nothing JSON cannot say.
    let mut body = serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned());
    body.push('\n');
    Report { body, serving }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn example() -> Snapshot {
        serde_json::from_str(include_str!("../../tests/support/status.json")).unwrap()
    }

    fn parse(report: &Report) -> Value {
        serde_json::from_str(&report.body).unwrap()
    }

    #[test]
    fn health_names_the_sick_server_and_its_last_words() {
        let report = health(&example());
        assert!(report.serving);
        assert_eq!(
            parse(&report),
            json!({
                "status": "degraded", "phase": "serving", "version": "0.1.0", "uptime_seconds": 7980,
                "host": {"cgroup": "not used: this machine has no cgroup v2"},
                "servers": {
                    "music": {
                        "status": "ok", "era": "legacy+modern", "workers_ready": 5,
                        "calls_in_flight": 3, "calls_queued": 2
                    },
                    "github": {
                        "status": "down", "era": "unknown", "workers_ready": 0,
                        "calls_in_flight": 0, "calls_queued": 0,
                        "reason": "no worker is ready; the last one exited with status 1 before it was ready",
                        "last_failure": {
                            "what": "exited with status 1 before it was ready", "seconds_ago": 3,
                            "in_a_row": 4, "retry_in_ms": 2000,
                            "stderr": [
                                "Traceback (most recent call last):",
                                "ModuleNotFoundError: No module named 'github_mcp'\\u{1b}[0m"
                            ]
                        }
                    }
                }
            })
        );
    }

    #[test]
    fn who_is_able_to_serve() {
        for (health_now, phase, serving) in [
            (Health::Ok, "serving", true),
            (Health::Degraded, "serving", true),
            (Health::Starting, "serving", false),
            (Health::Down, "serving", false),
            (Health::Ok, "draining", false),
            (Health::Ok, "starting", false),
        ] {
            let mut snapshot = example();
            snapshot.health = health_now;
            snapshot.phase = phase.to_owned();
            snapshot.servers[0].health = health_now;
            assert_eq!(health(&snapshot).serving, serving, "{health_now:?} {phase}");
            assert_eq!(ready(&snapshot).serving, serving, "{health_now:?} {phase}");
            assert_eq!(
                server(&snapshot, "music").unwrap().serving,
                serving,
                "{health_now:?} {phase}"
            );
        }
    }

    #[test]
    fn ready_says_what_is_missing() {
        let report = ready(&example());
        let body = parse(&report);
        assert_eq!(body["ready"], true);
        assert_eq!(
            body["not_ok"],
            json!({"github": "no worker is ready; the last one exited with status 1 before it was ready"})
        );
    }

    #[test]
    fn an_open_breaker_is_ready_and_said() {
        let mut snapshot = example();
        let server = &mut snapshot.servers[0];
        server.health = Health::Degraded;
        server.reason = Some("its breaker is open: 5 failures in a row".to_owned());
        let report = ready(&snapshot);
        assert!(report.serving);
        let reason = "its breaker is open: 5 failures in a row";
        assert_eq!(parse(&report)["not_ok"]["music"], reason);
        assert_eq!(
            parse(&health(&snapshot))["servers"]["music"]["reason"],
            reason
        );
    }

    #[test]
    fn a_server_answers_for_itself_alone() {
        assert!(!server(&example(), "github").unwrap().serving);
        assert_eq!(server(&example(), "nobody"), None);
        assert_eq!(parse(&live()), json!({"live": true}));
    }

    #[test]
    fn the_last_words_are_bounded() {
        let mut snapshot = example();
        let failure = snapshot.servers[1].last_failure.as_mut().unwrap();
        failure.stderr = (0..50)
            .map(|n| format!("{n} {}", "x".repeat(5000)))
            .collect();
        let body = parse(&health(&snapshot));
        let lines = body["servers"]["github"]["last_failure"]["stderr"]
            .as_array()
            .unwrap()
            .clone();
        assert_eq!(lines.len(), STDERR_LINES);
        assert!(lines[4].as_str().unwrap().starts_with("49 x"));
        assert!(
            lines
                .iter()
                .all(|line| line.as_str().unwrap().len() <= STDERR_LINE_BYTES + 3)
        );
    }
}
