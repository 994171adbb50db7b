//! What `mainstayctl status` shows to people: a snapshot as text. Pure, so that the tests can hold
//! it against the exact text. Words of workers are escaped: they come from strangers.

use crate::guards::notes;
use crate::table::{Cell, Colour, Side, table};
use mainstay::broker::snapshot::{
    ConfigurationStatus, Failure, Health, ServerStatus, Snapshot, WorkerStatus,
};
use mainstay::observe::escape::escape;

/// Bytes of a line of stderr or of a reason that are shown.
const LINE_LIMIT: usize = 500;

/// The whole page: one line on the daemon, the servers, the workers, and what is wrong.
pub(crate) fn status(snapshot: &Snapshot, colour: bool) -> String {
    let mut text = header(snapshot, colour);
    text.push_str(&configuration(&snapshot.configuration));
    if snapshot.servers.is_empty() {
        text.push_str("\nno servers\n");
        return text;
    }
    text.push('\n');
    text.push_str(&servers(&snapshot.servers, colour));
    for server in &snapshot.servers {
        let notes = notes(server);
        if server.health != Health::Ok {
            text.push_str(&trouble(server, colour));
        } else if !notes.is_empty() {
            text.push_str(&format!("\n{}:\n", server.name));
        }
        for note in notes {
            text.push_str(&format!("  {note}\n"));
        }
    }
    if snapshot
        .servers
        .iter()
        .any(|server| !server.workers.is_empty())
    {
        text.push('\n');
        text.push_str(&workers(&snapshot.servers, colour));
    }
    text
}

fn header(snapshot: &Snapshot, colour: bool) -> String {
    let (phase, shade) = match (snapshot.phase.as_str(), snapshot.health) {
        ("serving", Health::Ok) => ("serving".to_owned(), Colour::Green),
        ("serving", Health::Down) => ("serving, down".to_owned(), Colour::Red),
        ("serving", health) => (format!("serving, {}", word(health)), Colour::Yellow),
        (phase, _) => (phase.to_owned(), Colour::Yellow),
    };
    let mut parts = vec![
        format!("mainstay {}", snapshot.version),
        if colour { shade.paint(&phase) } else { phase },
        format!("pid {}", snapshot.pid),
        format!("up {}", span(snapshot.uptime_seconds)),
        snapshot.listen.clone(),
        format!(
            "{} connection{}",
            snapshot.connections,
            if snapshot.connections == 1 { "" } else { "s" }
        ),
    ];
    parts.extend(snapshot.memory_bytes.map(size));
    let host = snapshot.host.as_ref();
    let cgroup = host.map(|h| format!("control groups: {}\n", escape(&h.cgroup, LINE_LIMIT)));
    parts.join("  ") + "\n" + &cgroup.unwrap_or_default()
}

/// What there is to say of the configuration once it was reloaded; before that it is as old as the
/// daemon.
fn configuration(configuration: &ConfigurationStatus) -> String {
    let mut text = String::new();
    if let Some(last) = &configuration.last {
        let result = if last.accepted { "accepted" } else { "REFUSED" };
        text.push_str(&format!(
            "configuration in force for {}; last reload {} ago was {result}: {}\n",
            span(configuration.age_seconds),
            span(last.seconds_ago),
            escape(&last.what, LINE_LIMIT)
        ));
    }
    if !configuration.restart.is_empty() {
        let keys = configuration.restart.join(", ");
        text.push_str(&format!("  takes a restart: {keys}\n"));
    }
    for one in &configuration.pending {
        text.push_str(&format!("  {}\n", escape(one, LINE_LIMIT)));
    }
    text
}

fn servers(servers: &[ServerStatus], colour: bool) -> String {
    let heads = [
        ("server", Side::Left),
        ("health", Side::Left),
        ("era", Side::Left),
        ("state", Side::Left),
        ("ready/busy/max", Side::Right),
        ("in flight", Side::Right),
        ("queued", Side::Right),
        ("sessions", Side::Right),
        ("calls", Side::Right),
        ("refused", Side::Right),
        ("restarts", Side::Right),
    ];
    let rows: Vec<Vec<Cell>> = servers
        .iter()
        .map(|server| {
            let counters = &server.counters;
            let mark = if server.default { " (default)" } else { "" };
            vec![
                format!("{}{mark}", server.name).into(),
                Cell::coloured(word(server.health), shade(server.health)),
                server.era.as_str().into(),
                server.state.as_str().into(),
                format!("{}/{}/{}", server.ready, server.busy, server.max_size).into(),
                server.in_flight.to_string().into(),
                server.queued.to_string().into(),
                server.sessions.to_string().into(),
                counters.calls.values().sum::<u64>().to_string().into(),
                counters.refusals.values().sum::<u64>().to_string().into(),
                counters.deaths.to_string().into(),
            ]
        })
        .collect();
    table(&heads, &rows, colour)
}

/// The workers of all servers.
pub(crate) fn workers(servers: &[ServerStatus], colour: bool) -> String {
    if servers.iter().all(|server| server.workers.is_empty()) {
        return "no worker is there: none was needed yet, or none can be started; \
                `mainstayctl status` says which\n"
            .to_owned();
    }
    let heads = [
        ("server", Side::Left),
        ("worker", Side::Right),
        ("pid", Side::Right),
        ("state", Side::Left),
        ("era", Side::Left),
        ("age", Side::Right),
        ("calls", Side::Right),
        ("in flight", Side::Right),
        ("memory", Side::Right),
        ("leak/call", Side::Right),
    ];
    let row = |server: &ServerStatus, worker: &WorkerStatus| -> Vec<Cell> {
        let bound = if worker.bound { " (session)" } else { "" };
        vec![
            server.name.as_str().into(),
            worker.id.to_string().into(),
            // What is reached over a URL is no process.
            match worker.pid {
                0 => "-".into(),
                pid => pid.to_string().into(),
            },
            format!("{}{bound}", worker.state).into(),
            worker.era.as_str().into(),
            span(worker.age_seconds).into(),
            worker.calls.to_string().into(),
            worker.in_flight.to_string().into(),
            worker
                .memory_bytes
                .map_or_else(|| "-".to_owned(), size)
                .into(),
            worker
                .leak_bytes_a_call
                .map_or_else(|| "-".to_owned(), size)
                .into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = servers
        .iter()
        .flat_map(|server| server.workers.iter().map(move |worker| row(server, worker)))
        .collect();
    table(&heads, &rows, colour)
}

/// Why a server is not ok, and what its last worker left behind.
fn trouble(server: &ServerStatus, colour: bool) -> String {
    let health = word(server.health);
    let health = if colour {
        shade(server.health).paint(health)
    } else {
        health.to_owned()
    };
    let reason = server.reason.as_deref().unwrap_or("no reason known");
    let mut text = format!(
        "\n{} is {health}: {}\n",
        server.name,
        escape(reason, LINE_LIMIT)
    );
    if let Some(failure) = &server.last_failure {
        text.push_str(&last_failure(failure));
    }
    text
}

fn last_failure(failure: &Failure) -> String {
    let mut text = format!(
        "  last failure {} ago: {}",
        span(failure.seconds_ago),
        escape(&failure.what, LINE_LIMIT)
    );
    if failure.in_a_row > 1 {
        text.push_str(&format!("; {} failed starts in a row", failure.in_a_row));
    }
    if let Some(wait) = failure.retry_in_ms {
        text.push_str(&format!(
            "; next attempt in {}.{} s",
            wait / 1000,
            wait % 1000 / 100
        ));
    }
    text.push('\n');
    for line in &failure.stderr {
        text.push_str(&format!("  stderr | {}\n", escape(line, LINE_LIMIT)));
    }
    text
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Degraded => "degraded",
        Health::Starting => "starting",
        Health::Down => "down",
    }
}

fn shade(health: Health) -> Colour {
    match health {
        Health::Ok => Colour::Green,
        Health::Degraded | Health::Starting => Colour::Yellow,
        Health::Down => Colour::Red,
    }
}

/// A time in its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Bytes with one decimal, in the unit that keeps the number below 1024.
fn size(bytes: u64) -> String {
    let mut number = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1024.0 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{number:.1} {unit}")
            };
        }
        number /= 1024.0;
    }
    format!("{number:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay::broker::snapshot::ReloadStatus;

    fn example() -> Snapshot {
        serde_json::from_str(include_str!("../../../tests/support/status.json")).unwrap()
    }

    #[test]
    fn the_page() {
        let golden = "\
mainstay 0.1.0  serving, degraded  pid 123  up 2h 13m  127.0.0.1:8000  42 connections  9.1 MiB
control groups: not used: this machine has no cgroup v2

SERVER           HEALTH  ERA            STATE    READY/BUSY/MAX  IN FLIGHT  QUEUED  SESSIONS  CALLS  REFUSED  RESTARTS
music (default)  ok      legacy+modern  none             5/2/20          3       2        17  12358        4         1
github           down    unknown        session           0/0/4          0       0         0      0        0         4

music:
  breaker of render shadow by user 0 (root) until `breaker auto`: counting first
  1 call in quarantine; see `mainstayctl quarantine`

github is down: no worker is ready; the last one exited with status 1 before it was ready
  last failure 3s ago: exited with status 1 before it was ready; 4 failed starts in a row; next attempt in 2.0 s
  stderr | Traceback (most recent call last):
  stderr | ModuleNotFoundError: No module named 'github_mcp'\\u{1b}[0m
  breaker open: 5 failures in a row; next probe in 1.2s

SERVER  WORKER   PID  STATE            ERA        AGE  CALLS  IN FLIGHT    MEMORY  LEAK/CALL
music        3  4711  busy             legacy  2h 12m   6000          2  68.5 MiB    1.7 MiB
music       14  4805  ready (session)  modern     59s      0          0         -          -
";
        let text = status(&example(), false);
        assert_eq!(text, golden, "\n{text}");
    }

    #[test]
    fn a_reload_is_told_with_what_is_left_of_it() {
        let text = configuration(&ConfigurationStatus {
            age_seconds: 125,
            accepted: 3,
            rejected: 1,
            last: Some(ReloadStatus {
                seconds_ago: 5,
                accepted: false,
                what: "m.toml:3: nonsense".to_owned(),
            }),
            restart: vec!["listen.http".to_owned()],
            pending: vec!["music has 2 workers still to be replaced".to_owned()],
        });
        assert_eq!(
            text,
            "configuration in force for 2m 5s; last reload 5s ago was REFUSED: m.toml:3: nonsense\n  \
             takes a restart: listen.http\n  music has 2 workers still to be replaced\n"
        );
        assert_eq!(configuration(&ConfigurationStatus::default()), "");
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let coloured = status(&example(), true);
        assert!(coloured.contains("\x1b[31mdown\x1b[0m"));
        let mut plain = coloured;
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, status(&example(), false));
    }

    #[test]
    fn a_daemon_without_servers() {
        let mut snapshot = example();
        snapshot.servers.clear();
        snapshot.health = Health::Ok;
        snapshot.connections = 1;
        snapshot.memory_bytes = None;
        snapshot.host = None;
        let wanted = "mainstay 0.1.0  serving  pid 123  up 2h 13m  127.0.0.1:8000  1 connection\n\nno servers\n";
        assert_eq!(status(&snapshot, false), wanted);
    }

    #[test]
    fn spans_and_sizes() {
        let spans = [0, 59, 60, 3599, 3600, 86_399, 86_400, 200_000].map(span);
        assert_eq!(
            spans,
            [
                "0s", "59s", "1m 0s", "59m 59s", "1h 0m", "23h 59m", "1d 0h", "2d 7h"
            ]
        );
        let sizes = [0, 1023, 1024, 9_542_042, 3 << 30, 5 << 40].map(size);
        assert_eq!(
            sizes,
            ["0 B", "1023 B", "1.0 KiB", "9.1 MiB", "3.0 GiB", "5.0 TiB"]
        );
    }
}
