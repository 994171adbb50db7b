//! systemd/mainstay.catalog says of every kind of event what it means and what to do: one entry for
//! each MESSAGE_ID, none for others, no field in a text that its event does not have, no command
//! that does not exist.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mainstay::observe::event::Event;
use mainstay::observe::kind::KINDS;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

const CATALOG: &str = include_str!("../systemd/mainstay.catalog");

/// One event of each kind, with as few fields as it can have: a text may rely on no more.
#[expect(clippy::too_many_lines, reason = "one short value per kind")]
fn samples() -> Vec<Event> {
    let text = |text: &str| text.to_owned();
    let (server, worker, pid, reason) = (text("music"), 3, 4711, text("why"));
    let changed = |to| Event::BreakerChanged {
        server: text("music"),
        tool: None,
        from: "closed",
        to,
        reason: text("why"),
        retry_in: None,
    };
    let exited = |expected| Event::WorkerExited {
        server: text("music"),
        worker,
        pid,
        expected,
        what: text("exited with status 1"),
        calls: vec![],
    };
    vec![
        Event::DaemonStarted {
            version: text("1"),
            listen: text("127.0.0.1:8000"),
        },
        Event::DaemonStopping {
            cause: text("a signal"),
            in_flight: 0,
        },
        Event::ConfigReloaded {
            author: text("root"),
            summary: text("added: weather"),
            restart: vec![],
        },
        Event::ConfigRejected {
            author: text("root"),
            count: 1,
            first: text("m.toml:1: x"),
        },
        Event::WorkerStarted {
            server: server.clone(),
            worker,
            pid,
            era: text("modern"),
        },
        Event::WorkerReady {
            server: server.clone(),
            worker,
            pid,
            era: text("modern"),
            took: Duration::ZERO,
        },
        exited(true),
        exited(false),
        Event::WorkerRecycled {
            server: server.clone(),
            worker,
            reason: reason.clone(),
        },
        Event::WorkerJunk {
            server: server.clone(),
            worker,
            count: 1,
            sample: text("hello"),
        },
        Event::OversizeFrame {
            server: server.clone(),
            worker,
            bytes: 2,
            limit: 1,
        },
        Event::ServerUp {
            server: server.clone(),
            after: Duration::ZERO,
        },
        Event::ServerDown {
            server: server.clone(),
            reason: reason.clone(),
            retry_in: None,
        },
        Event::EraFound {
            server: server.clone(),
            era: text("modern"),
        },
        Event::SessionsEvicted {
            server: server.clone(),
            count: 1,
            reason: reason.clone(),
        },
        Event::CallsRefused {
            server: server.clone(),
            reason: reason.clone(),
            count: 1,
        },
        changed("open"),
        changed("half_open"),
        changed("closed"),
        Event::BreakerSet {
            server: server.clone(),
            tool: None,
            mode: "auto",
            author: text("root"),
            reason: reason.clone(),
            expires: None,
        },
        Event::WorkerStuck {
            server: server.clone(),
            worker,
            pid,
            method: text("render"),
            after: Duration::ZERO,
            call: 1,
            others: vec![],
        },
        Event::CallsRetried {
            server: server.clone(),
            worker,
            calls: vec![],
        },
        Event::CallQuarantined {
            server: server.clone(),
            worker,
            call: 1,
            tool: text("render"),
            digest: text("00"),
            crashes: 2,
            lasts: Duration::ZERO,
        },
        Event::QuarantineCleared {
            server: server.clone(),
            count: 1,
        },
        Event::ShedStarted {
            server: server.clone(),
            reason,
        },
        Event::ShedEnded {
            server: server.clone(),
            after: Duration::ZERO,
        },
        Event::MemorySoft {
            server: server.clone(),
            bytes: 2,
            limit: 1,
            stalled: false,
        },
        Event::MemoryHard {
            server: server.clone(),
            worker,
            pid,
            bytes: 2,
            growth: 1,
            limit: 1,
            stalled: false,
            bytes_a_call: None,
            calls: vec![],
            tools: String::new(),
        },
        Event::WorkerOom {
            server: server.clone(),
            worker,
            pid,
            bytes: None,
            limit: 1,
            calls: vec![],
            tools: String::new(),
        },
        Event::LeakFound {
            server: server.clone(),
            worker,
            pid,
            bytes_a_call: 1,
            tool: None,
            calls: 100,
            bytes: 2,
        },
        Event::OwnMemory {
            level: 0,
            what: "nothing",
        },
        Event::OwnMemory {
            level: 1,
            what: "little",
        },
        Event::RungReached {
            server: server.clone(),
            rung: 1,
            what: "slower",
            failures: 3,
        },
        Event::ServerDrained {
            server,
            on: true,
            in_flight: 0,
        },
        Event::PartSilent {
            part: "timers",
            after: Duration::from_secs(5),
            interval: Duration::from_secs(10),
            state: text("no other part is"),
        },
        Event::WatchdogTriggered {
            part: "timers",
            after: Duration::from_secs(9),
            interval: Duration::from_secs(10),
            state: text("no other part is"),
        },
        Event::PartStarved {
            part: "timers",
            after: Duration::from_secs(3),
        },
        Event::PartMoves { part: "timers" },
        Event::LogDropped { count: 1 },
    ]
}

/// Each entry: its id, its headers, its text.
fn entries() -> Vec<(
    &'static str,
    BTreeMap<&'static str, &'static str>,
    &'static str,
)> {
    let mut found = Vec::new();
    for entry in CATALOG.split("\n-- ").skip(1) {
        let (id, rest) = entry.split_once('\n').unwrap();
        let (head, body) = rest.split_once("\n\n").unwrap();
        let headers = head.lines().map(|line| line.split_once(": ").unwrap());
        found.push((id, headers.collect(), body));
    }
    found
}

/// `MAINSTAY_...` between at signs.
fn fields(text: &str) -> BTreeSet<String> {
    let mut parts = text.split('@');
    let mut found = BTreeSet::new();
    parts.next();
    while let (Some(field), Some(_)) = (parts.next(), parts.next()) {
        found.insert(field.to_owned());
    }
    found
}

#[test]
fn kinds_are_told_apart() {
    let names: BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
    let ids: BTreeSet<_> = KINDS.iter().map(|kind| kind.message_id).collect();
    assert_eq!((names.len(), ids.len()), (KINDS.len(), KINDS.len()));
    for kind in KINDS {
        let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        let id = kind.message_id;
        assert!(
            id.len() == 32 && id.chars().all(is_hex),
            "{}: {id}",
            kind.name
        );
    }
}

#[test]
fn every_kind_has_one_entry_and_nothing_else_has() {
    let told: Vec<&str> = entries().into_iter().map(|(id, ..)| id).collect();
    let there: Vec<&str> = KINDS.iter().map(|kind| kind.message_id).collect();
    assert_eq!(told, there);
}

#[test]
fn an_entry_says_who_what_and_what_to_do() {
    for (id, headers, body) in entries() {
        let keys: Vec<&str> = headers.keys().copied().collect();
        assert_eq!(
            keys,
            ["Defined-By", "Documentation", "Subject", "Support"],
            "{id}"
        );
        assert_eq!(headers["Defined-By"], "mainstay", "{id}");
        assert!(headers["Subject"].len() < 80, "{id}");
        assert!(body.lines().all(|line| line.len() < 80), "{id}:\n{body}");
        let is_advice = body.contains("\n    ") || body.contains("/etc/mainstay");
        // However the lines break.
        let flat = body.split_whitespace().collect::<Vec<_>>().join(" ");
        let needs_none = flat.contains("Nothing has to be done");
        let is_about_the_program = flat.contains("It should write to stderr");
        assert!(
            is_advice || needs_none || is_about_the_program,
            "{id}:\n{body}"
        );
    }
}

#[test]
fn the_fields_of_a_text_are_those_of_its_event() {
    let samples = samples();
    let names: Vec<&str> = samples.iter().map(Event::name).collect();
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(names, kinds, "samples() is to have one event of each kind");
    let mut looked = 0;
    for (sample, (_, headers, body)) in samples.iter().zip(entries()) {
        let mut there: BTreeSet<String> = sample
            .fields()
            .iter()
            .map(|(key, _)| format!("MAINSTAY_{}", key.to_ascii_uppercase()))
            .collect();
        if sample.name() == "breaker_opened" {
            there.insert("MAINSTAY_TRIP_REASON".to_owned());
        }
        for field in fields(headers["Subject"]).union(&fields(body)) {
            looked += 1;
            assert!(
                there.contains(field),
                "{}: no {field} in {there:?}",
                sample.name()
            );
        }
    }
    assert!(looked > 50, "only {looked} fields were looked at");
}

#[test]
fn the_commands_exist() {
    let mut known = BTreeSet::new();
    for program in [
        env!("CARGO_BIN_EXE_mainstayctl"),
        env!("CARGO_BIN_EXE_mainstayd"),
    ] {
        let name = program.rsplit('/').next().unwrap();
        let help = Command::new(program).arg("--help").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let commands = help.split("Commands:\n").nth(1).unwrap();
        for line in commands.lines().take_while(|line| !line.is_empty()) {
            let word = line.split_whitespace().next().unwrap();
            known.insert(format!("{name} {word}"));
        }
    }
    let mut seen = 0;
    for (id, _, body) in entries() {
        for line in body
            .lines()
            .filter_map(|line| line.strip_prefix("    mainstay"))
        {
            let mut words = line.split_whitespace();
            let command = format!(
                "mainstay{} {}",
                words.next().unwrap(),
                words.next().unwrap()
            );
            assert!(
                known.contains(&command),
                "{id}: {command} is not in {known:?}"
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} commands were looked at");
}
