//! One server as the views see it: numbers and the last failure, read from short locks.

use super::member::Phase;
use super::server::Server;
use super::snapshot::{Failure, Health, ServerStatus};
use crate::mcp::era::Era;
use std::time::Instant;

impl Server {
    /// What it looks like right now.
    #[must_use]
    pub fn status(&self) -> ServerStatus {
        let now = Instant::now();
        let (members, starting, failure, in_a_row, wait, reason_down) = {
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
        let health = match (ready, in_a_row) {
            (0, 0) if reason_down.is_none() => Health::Starting,
            (0, _) => Health::Down,
            (_, 0) => Health::Ok,
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
            Health::Degraded | Health::Down => last_failure
                .as_ref()
                .map(|f| format!("the last worker {} ({} in a row)", f.what, f.in_a_row)),
        };
        let lanes = [Era::Legacy, Era::Modern].map(|era| self.lane(era).view());
        let separate = !self.standing().borrow().mixed;
        let queued = lanes[0].waiting + if separate { lanes[1].waiting } else { 0 };
        let config = self.config();
        ServerStatus {
            name: self.name().to_owned(),
            default: config.default,
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
            sessions: self.shared().sessions.count(self.name()),
            counters: self.stats().counters(),
            durations: self.stats().durations(),
            last_failure,
            workers,
            breakers: Vec::new(),
            quarantine: Vec::new(),
            pressure: None,
        }
    }
}
