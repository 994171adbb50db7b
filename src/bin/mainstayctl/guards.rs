//! What the guards are doing, as text: breakers, limits, quarantine, and the notes on them in
//! `status`. Pure. Words of clients and workers are escaped: they come from strangers.

use crate::render::span;
use crate::table::{Cell, Colour, Side, table};
use mainstay::broker::snapshot::{BreakerStatus, LimitStatus, Quarantined, ServerStatus};
use mainstay::observe::escape::escape;

/// Bytes of a reason that are shown.
const REASON_SHOWN: usize = 200;
/// Bytes of the name of a tool or a principal that are shown.
const NAME_SHOWN: usize = 60;
/// Where a column has nothing to say.
const NONE: &str = "-";

/// The breakers of all servers.
pub(crate) fn breakers(servers: &[ServerStatus], colour: bool) -> String {
    let heads = [
        ("server", Side::Left),
        ("tool", Side::Left),
        ("state", Side::Left),
        ("mode", Side::Left),
        ("in a row", Side::Right),
        ("window", Side::Right),
        ("trips", Side::Right),
        ("next probe", Side::Right),
        ("ends in", Side::Right),
        ("by", Side::Left),
        ("reason", Side::Left),
    ];
    let rows: Vec<Vec<Cell>> = servers
        .iter()
        .flat_map(|server| server.breakers.iter().map(move |b| breaker(server, b)))
        .collect();
    if rows.is_empty() {
        return "no breakers: this mainstayd guards no server with one\n".to_owned();
    }
    table(&heads, &rows, colour)
}

fn breaker(server: &ServerStatus, breaker: &BreakerStatus) -> Vec<Cell> {
    let forced = breaker.mode != "auto";
    let ends = match breaker.expires_in_ms {
        Some(left) => wait(left),
        None if forced => "never".to_owned(),
        None => NONE.to_owned(),
    };
    vec![
        server.name.as_str().into(),
        named(breaker.tool.as_deref()).into(),
        Cell::coloured(words(&breaker.state), shade(breaker)),
        match forced {
            true => Cell::coloured(words(&breaker.mode), Colour::Yellow),
            false => words(&breaker.mode).into(),
        },
        breaker.failures_in_a_row.to_string().into(),
        format!("{}/{}", breaker.window_failures, breaker.window_calls).into(),
        breaker.trips.to_string().into(),
        next_probe(breaker)
            .map_or_else(|| NONE.to_owned(), wait)
            .into(),
        ends.into(),
        named(breaker.author.as_deref()).into(),
        shown(breaker.reason.as_deref(), REASON_SHOWN).into(),
    ]
}

/// Milliseconds to the next probe. One that is forced open never probes: what callers are told to
/// wait for there is the end of the mode.
fn next_probe(breaker: &BreakerStatus) -> Option<u64> {
    breaker
        .retry_in_ms
        .filter(|_| breaker.mode != "forced_open")
}

fn shade(breaker: &BreakerStatus) -> Colour {
    match breaker.state.as_str() {
        "closed" => Colour::Green,
        "open" => Colour::Red,
        _ => Colour::Yellow,
    }
}

/// The buckets of the limiter.
pub(crate) fn limits(limits: &[LimitStatus], colour: bool) -> String {
    if limits.is_empty() {
        return "no bucket is in use: nobody has called lately, so everybody has the whole limit\n"
            .to_owned();
    }
    let heads = [
        ("principal", Side::Left),
        ("server", Side::Left),
        ("tool", Side::Left),
        ("rate", Side::Right),
        ("burst", Side::Right),
        ("left", Side::Right),
        ("granted", Side::Right),
        ("refused", Side::Right),
    ];
    let rows: Vec<Vec<Cell>> = limits
        .iter()
        .map(|limit| {
            let shade = match limit.remaining {
                0 => Colour::Red,
                _ => Colour::Plain,
            };
            vec![
                escape(&limit.principal, NAME_SHOWN).into_owned().into(),
                named(limit.server.as_deref()).into(),
                named(limit.tool.as_deref()).into(),
                format!("{}/s", limit.rate).into(),
                limit.burst_size.to_string().into(),
                Cell::coloured(limit.remaining.to_string(), shade),
                limit.granted.to_string().into(),
                limit.refused.to_string().into(),
            ]
        })
        .collect();
    table(&heads, &rows, colour)
}

/// The calls in quarantine.
pub(crate) fn quarantine(servers: &[ServerStatus], colour: bool) -> String {
    let heads = [
        ("server", Side::Left),
        ("tool", Side::Left),
        ("digest", Side::Left),
        ("crashes", Side::Right),
        ("refused", Side::Right),
        ("expires in", Side::Right),
    ];
    let row = |server: &ServerStatus, call: &Quarantined| -> Vec<Cell> {
        vec![
            server.name.as_str().into(),
            escape(&call.tool, NAME_SHOWN).into_owned().into(),
            call.digest.as_str().into(),
            call.crashes.to_string().into(),
            call.refused.to_string().into(),
            wait(call.expires_in_ms).into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = servers
        .iter()
        .flat_map(|server| server.quarantine.iter().map(move |call| row(server, call)))
        .collect();
    if rows.is_empty() {
        return "no call is in quarantine: none was at several workers when they died\n".to_owned();
    }
    table(&heads, &rows, colour)
}

/// What the guards of a server do that an operator has to know, one line each.
pub(crate) fn notes(server: &ServerStatus) -> Vec<String> {
    let unusual = server.breakers.iter();
    let unusual = unusual.filter(|b| b.mode != "auto" || b.state != "closed");
    let mut notes: Vec<String> = unusual.map(breaker_note).collect();
    if let Some(pressure) = &server.pressure {
        notes.push(format!(
            "under pressure: {}",
            escape(pressure, REASON_SHOWN)
        ));
    }
    match server.quarantine.len() {
        0 => {}
        1 => notes.push("1 call in quarantine; see `mainstayctl quarantine`".to_owned()),
        many => notes.push(format!(
            "{many} calls in quarantine; see `mainstayctl quarantine`"
        )),
    }
    notes
}

fn breaker_note(breaker: &BreakerStatus) -> String {
    let whose = match &breaker.tool {
        Some(tool) => format!("breaker of {}", escape(tool, NAME_SHOWN)),
        None => "breaker".to_owned(),
    };
    let mut note = match breaker.mode.as_str() {
        "auto" => format!("{whose} {}", words(&breaker.state)),
        mode => format!("{whose} {}", words(mode)),
    };
    if let Some(author) = &breaker.author {
        note.push_str(&format!(" by {}", escape(author, NAME_SHOWN)));
    }
    match (breaker.mode.as_str(), breaker.expires_in_ms) {
        ("auto", _) => {}
        (_, Some(left)) => note.push_str(&format!(" for another {}", wait(left))),
        (_, None) => note.push_str(" until `breaker auto`"),
    }
    if let Some(reason) = &breaker.reason {
        note.push_str(&format!(": {}", escape(reason, REASON_SHOWN)));
    }
    if let Some(left) = next_probe(breaker) {
        note.push_str(&format!("; next probe in {}", wait(left)));
    }
    note
}

fn named(name: Option<&str>) -> String {
    shown(name, NAME_SHOWN)
}

fn shown(text: Option<&str>, limit: usize) -> String {
    text.map_or_else(|| NONE.to_owned(), |text| escape(text, limit).into_owned())
}

/// `half_open` for people.
fn words(word: &str) -> String {
    match word {
        "half_open" => "half-open".to_owned(),
        word => word.replace('_', " "),
    }
}

/// A time that is waited for: with a decimal below a minute, then in its two largest units.
fn wait(milliseconds: u64) -> String {
    match milliseconds {
        0..60_000 => format!("{}.{}s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => span(milliseconds / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay::broker::snapshot::Snapshot;

    fn example() -> Vec<ServerStatus> {
        let text = include_str!("../../../tests/support/status.json");
        serde_json::from_str::<Snapshot>(text).unwrap().servers
    }

    fn bucket(principal: &str, tool: Option<&str>, remaining: u32) -> LimitStatus {
        LimitStatus {
            principal: principal.to_owned(),
            server: tool.map(|_| "music".to_owned()),
            tool: tool.map(str::to_owned),
            rate: 100,
            burst_size: 200,
            remaining,
            granted: 12_345,
            refused: 6,
        }
    }

    #[test]
    fn the_breakers() {
        let mut servers = example();
        let forced = &mut servers[0].breakers[1];
        forced.mode = "forced_open".to_owned();
        forced.expires_in_ms = Some(599_000);
        forced.retry_in_ms = forced.expires_in_ms;
        let golden = "\
SERVER  TOOL    STATE   MODE         IN A ROW  WINDOW  TRIPS  NEXT PROBE  ENDS IN  BY             REASON
music   -       closed  auto                1    2/40      3           -        -  -              -
music   render  closed  forced open         0     0/0      0           -   9m 59s  user 0 (root)  counting first
github  -       open    auto                5     5/5      1        1.2s        -  -              5 failures in a row
";
        let text = breakers(&servers, false);
        assert_eq!(text, golden, "\n{text}");
        assert!(breakers(&servers, true).contains("\x1b[31mopen\x1b[0m"));
    }

    #[test]
    fn a_mode_without_an_end_never_ends() {
        let text = breakers(&example(), false);
        let line = text.lines().find(|line| line.contains("shadow")).unwrap();
        assert!(line.contains("  never  user 0 (root)  "), "{line}");
    }

    #[test]
    fn the_limits() {
        let golden = "\
PRINCIPAL            SERVER  TOOL     RATE  BURST  LEFT  GRANTED  REFUSED
ann                  -       -       100/s    200    17    12345        6
anonymous@127.0.0.1  music   render  100/s    200     0    12345        6
\\u{1b}[2Jforged      -       -       100/s    200     1    12345        6
";
        let buckets = [
            bucket("ann", None, 17),
            bucket("anonymous@127.0.0.1", Some("render"), 0),
            bucket("\x1b[2Jforged", None, 1),
        ];
        let text = limits(&buckets, false);
        assert_eq!(text, golden, "\n{text}");
    }

    #[test]
    fn the_quarantine() {
        let golden = "\
SERVER  TOOL          DIGEST            CRASHES  REFUSED  EXPIRES IN
music   import_score  00f1e2d3c4b5a697        2       11      9m 41s
";
        let text = quarantine(&example(), false);
        assert_eq!(text, golden, "\n{text}");
    }

    #[test]
    fn what_is_empty_says_what_that_means() {
        for (text, part) in [
            (breakers(&[], false), "guards no server"),
            (limits(&[], false), "the whole limit"),
            (quarantine(&[], false), "no call is in quarantine"),
            (crate::render::workers(&[], false), "no worker is there"),
        ] {
            assert!(text.contains(part), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }

    #[test]
    fn notes_say_what_is_unusual_and_nothing_else() {
        let mut server = example().remove(0);
        server.breakers.truncate(1);
        server.quarantine.clear();
        assert!(notes(&server).is_empty());
        server.breakers[0].mode = "forced_open".to_owned();
        server.breakers[0].author = Some("user 0 (root)".to_owned());
        server.breakers[0].reason = Some("moved".to_owned());
        server.breakers[0].expires_in_ms = Some(90_000);
        server.breakers[0].retry_in_ms = Some(90_000);
        server.pressure = Some("memory above the soft limit".to_owned());
        assert_eq!(
            notes(&server),
            [
                "breaker forced open by user 0 (root) for another 1m 30s: moved",
                "under pressure: memory above the soft limit",
            ]
        );
    }
}
