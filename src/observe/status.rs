//! The one line that `systemctl status mainstay` shows (`STATUS=` of sd_notify). Pure: whoever
//! sends it decides when.

use super::escape::escape;
use super::sentence::plural;
use crate::broker::snapshot::{Health, ServerStatus, Snapshot};
use std::fmt::Write;

/// Longest line in bytes: half a page of a terminal, far below what the notify socket takes.
const LIMIT: usize = 1000;
/// Servers named with their reasons; the others are only counted.
const NAMED: usize = 4;

/// Such as `serving: 5 servers, 17/20 workers, 3 calls in flight, 2 queued, 1 down (github: no
/// worker is ready)`. Less than 1 KiB, without control characters.
#[must_use]
pub fn line(snapshot: &Snapshot) -> String {
    let servers = &snapshot.servers;
    let sum = |count: fn(&ServerStatus) -> usize| -> usize { servers.iter().map(count).sum() };
    let mut line = format!(
        "{}: {}, {}/{} workers, {} in flight, {} queued, {}",
        snapshot.phase,
        plural(servers.len() as u64, "server"),
        sum(|server| server.ready),
        sum(|server| server.max_size),
        plural(sum(|server| server.in_flight) as u64, "call"),
        sum(|server| server.queued),
        plural(sum(|server| server.sessions) as u64, "session"),
    );
    breakers(&mut line, servers);
    let short: Vec<&ServerStatus> = servers.iter().filter(|s| s.pressure.is_some()).collect();
    if !short.is_empty() {
        let names: Vec<&str> = short.iter().take(NAMED).map(|s| s.name.as_str()).collect();
        let more = if short.len() > NAMED { ", ..." } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(line, ", under pressure ({}{more})", names.join(", "));
    }
    for (health, word) in [
        (Health::Down, "down"),
        (Health::Degraded, "degraded"),
        (Health::Starting, "starting"),
    ] {
        let mut affected = servers
            .iter()
            .filter(|server| server.health == health)
            .peekable();
        if affected.peek().is_none() {
            continue;
        }
        let all: Vec<_> = affected.collect();
        let named: Vec<String> = all
            .iter()
            .take(NAMED)
            .map(|server| match &server.reason {
                Some(reason) => format!("{}: {}", server.name, escape(reason, 100)),
                None => server.name.clone(),
            })
            .collect();
        // Writing to a String cannot fail.
        let _ = write!(line, ", {} {word} ({}", all.len(), named.join("; "));
        line.push_str(if all.len() > NAMED { "; ...)" } else { ")" });
    }
    if let Some(longest) = servers.iter().filter_map(|s| s.recovered_after_ms).max() {
        let _ = write!(line, ", last recovery {:.2} s", longest as f64 / 1000.0);
    }
    escape(&line, LIMIT).into_owned()
}

/// Adds the breakers that refuse calls, such as `, breakers 2 open (github, music/render)`.
fn breakers(line: &mut String, servers: &[ServerStatus]) {
    let mut names = Vec::new();
    for server in servers {
        for breaker in server.breakers.iter().filter(|breaker| breaker.refuses()) {
            names.push(match &breaker.tool {
                Some(tool) => format!("{}/{}", server.name, escape(tool, 40)),
                None => server.name.clone(),
            });
        }
    }
    let count = names.len();
    if count == 0 {
        return;
    }
    names.truncate(NAMED);
    let more = if count > NAMED { ", ..." } else { "" };
    // Writing to a String cannot fail.
    let _ = write!(line, ", breakers {count} open ({}{more})", names.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Snapshot {
        serde_json::from_str(include_str!("../../tests/support/status.json")).unwrap()
    }

    #[test]
    fn the_line_names_what_is_wrong() {
        assert_eq!(
            line(&example()),
            "serving: 2 servers, 5/24 workers, 3 calls in flight, 2 queued, 17 sessions, \
             breakers 1 open (github), 1 down (github: no worker is ready; the last one exited with status 1 before it was ready)"
        );
    }

    #[test]
    fn the_line_is_short_and_one_line_whatever_the_names_are() {
        let mut snapshot = example();
        let mut sick = snapshot.servers.remove(1);
        sick.name = "n\n\x1b".repeat(300);
        sick.reason = Some("r\nREADY=1\n".repeat(300));
        snapshot.servers = vec![sick; 50];
        let line = line(&snapshot);
        assert!(line.len() < 1024, "{}", line.len());
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.starts_with("serving: 50 servers, "), "{line}");
    }

    #[test]
    fn a_server_that_sheds_is_named() {
        let mut snapshot = example();
        assert!(!line(&snapshot).contains("pressure"));
        snapshot.servers[0].pressure = Some("why".to_owned());
        let line = line(&snapshot);
        assert!(
            line.contains(" open (github), under pressure (music), 1 down"),
            "{line}"
        );
    }

    #[test]
    fn the_last_outage_is_told_when_there_was_one() {
        let mut snapshot = example();
        assert!(!line(&snapshot).contains("recovery"));
        snapshot.servers[0].recovered_after_ms = Some(214);
        assert!(line(&snapshot).ends_with(", last recovery 0.21 s"));
    }

    #[test]
    fn of_many_only_the_first_are_named() {
        let mut snapshot = example();
        let mut sick = snapshot.servers.remove(1);
        sick.reason = None;
        snapshot.servers = vec![sick; 6];
        let line = line(&snapshot);
        assert!(
            line.contains(", breakers 6 open (github, github, github, github, ...), "),
            "{line}"
        );
        assert!(
            line.ends_with(", 6 down (github; github; github; github; ...)"),
            "{line}"
        );
    }

    #[test]
    fn a_breaker_is_open_if_calls_are_refused() {
        let mut snapshot = example();
        snapshot.servers[1].health = Health::Ok;
        for (mode, state, open) in [
            ("auto", "closed", false),
            ("auto", "half_open", true),
            ("forced_open", "closed", true),
            ("forced_closed", "open", false),
            ("shadow", "open", false),
        ] {
            let breaker = &mut snapshot.servers[1].breakers[0];
            breaker.mode = mode.to_owned();
            breaker.state = state.to_owned();
            breaker.tool = Some("search".to_owned());
            let line = line(&snapshot);
            let told = line.ends_with(", breakers 1 open (github/search)");
            assert_eq!(told, open, "{mode} {state}: {line}");
        }
    }
}
