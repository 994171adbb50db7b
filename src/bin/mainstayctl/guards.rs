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
        breaker
            .retry_in_ms
            .map_or_else(|| NONE.to_owned(), wait)
            .into(),
        ends.into(),
        named(breaker.author.as_deref()).into(),
        shown(breaker.reason.as_deref(), REASON_SHOWN).into(),
    ]
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
        return "no bucket is in use: nobody has called lately, so everybody has his whole limit\n"
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
    if let Some(left) = breaker.retry_in_ms {
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
