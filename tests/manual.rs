//! The manual pages, the units, the dashboard and the alert rules, held against the daemon: options,
//! exit codes, configuration keys, metrics.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mainstay::broker::snapshot::Snapshot;
use mainstay::observe::metrics;
use mainstay::policy::refusal::Reason;
use mainstay::{config, exit};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

const BINARIES: [(&str, &str, &str); 2] = [
    (
        "mainstayd",
        env!("CARGO_BIN_EXE_mainstayd"),
        include_str!("../packaging/man/mainstayd.8.scd"),
    ),
    (
        "mainstayctl",
        env!("CARGO_BIN_EXE_mainstayctl"),
        include_str!("../packaging/man/mainstayctl.1.scd"),
    ),
];
const TOML_PAGE: &str = include_str!("../packaging/man/mainstay.toml.5.scd");
const CONFFILE: &str = "etc/mainstay/mainstay.toml";

/// What a program prints on stdout; it has to succeed.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The words that begin so, each up to the first character that is none of an option or a metric.
fn words<'t>(text: &'t str, start: &str) -> BTreeSet<&'t str> {
    let places = text.match_indices(start).map(|(at, _)| at);
    let inside =
        |at: usize| text[..at].ends_with(|c: char| c.is_alphanumeric() || "_-:".contains(c));
    let end = |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-';
    places
        .filter(|at| !inside(*at))
        .map(|at| text[at..].split(end).next().unwrap_or_default())
        .filter(|word| word.len() > start.len())
        .collect()
}

/// The help of a command and of all below it.
fn helps(program: &str, path: &[&str]) -> String {
    let mut arguments = path.to_vec();
    arguments.push("--help");
    let help = output(program, &arguments);
    let mut all = help.clone();
    let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    for line in listed.lines().take_while(|line| line.starts_with("  ")) {
        let name = line.split_whitespace().next().unwrap();
        if line.starts_with("  ") && !line.starts_with("   ") && name != "help" {
            let mut below = path.to_vec();
            below.push(name);
            all += &helps(program, &below);
        }
    }
    all
}

#[test]
fn the_pages_have_the_options_that_the_help_has() {
    for (name, program, page) in BINARIES {
        assert_eq!(page.matches("\n@OPTIONS@\n").count(), 1, "{name}");
        let fragment = output(program, &["manual"]).replace('\\', "");
        let help = helps(program, &[]);
        let told = words(&fragment, "--");
        assert_eq!(told, words(&help, "--"), "{name}");
        assert!(told.len() > 3, "{told:?}");
        for option in words(page, "*--") {
            assert!(told.contains(&option[1..]), "{name} has no {option}");
        }
        let commands: Vec<&str> = help
            .lines()
            .filter_map(|line| line.strip_prefix("Usage: "))
            .filter(|usage| !usage.ends_with("<COMMAND>"))
            .collect();
        for usage in commands {
            let end = |word: &&str| word.starts_with(['[', '<', '-']);
            let path: Vec<&str> = usage.split(' ').take_while(|word| !end(word)).collect();
            let entry = format!("*{}*", path.join("* *"));
            assert!(path.len() == 1 || fragment.contains(&entry), "{entry}");
        }
    }
}

/// The numbers that a section EXIT STATUS explains.
fn exit_codes(page: &str) -> BTreeSet<u8> {
    let section = page.split("\n# EXIT STATUS\n").nth(1).unwrap();
    let section = section.split("\n# ").next().unwrap();
    let numbers = section
        .lines()
        .filter_map(|line| line.strip_prefix('*')?.strip_suffix('*'));
    numbers.map(|number| number.parse().unwrap()).collect()
}

#[test]
fn the_exit_codes_are_those_of_the_binaries() {
    let daemon = [
        0,
        exit::USAGE,
        exit::SOFTWARE,
        exit::OS,
        exit::CANT_CREATE,
        exit::CONFIG,
    ];
    let tool = [0, exit::FAILURE, exit::USAGE, exit::UNAVAILABLE];
    assert_eq!(exit_codes(BINARIES[0].2), BTreeSet::from(daemon));
    assert_eq!(exit_codes(BINARIES[1].2), BTreeSet::from(tool));
    let unit = include_str!("../systemd/mainstay.service");
    let stays = format!(
        "RestartPreventExitStatus={} {}\n",
        exit::USAGE,
        exit::CONFIG
    );
    assert!(unit.contains(&stays), "{stays}");
}

/// `table.key` of everything that is in effect without a configuration, as TOML spells it.
fn keys(table: &toml::Table, path: &str, found: &mut BTreeSet<(String, String)>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(below) if !below.is_empty() => {
                let dot = if path.is_empty() { "" } else { "." };
                keys(below, &format!("{path}{dot}{key}"), found);
            }
            _ => drop(found.insert((path.to_owned(), key.clone()))),
        }
    }
}

#[test]
fn every_key_of_the_configuration_is_in_the_page() {
    assert_eq!(TOML_PAGE.matches("\n@KEYS@\n").count(), 1);
    let page = output("awk", &["-f", "packaging/man/keys.awk", CONFFILE]).replace('\\', "");
    let mut sections = page
        .split("## [")
        .map(|section| match section.split_once("]\n") {
            Some((name, body)) => (name.trim_matches('['), body),
            None => ("", section),
        });
    let sections: Vec<(&str, &str)> = sections.by_ref().collect();
    let text = config::effective_toml(&config::from_str("none", "").unwrap());
    let mut wanted = BTreeSet::new();
    keys(&text.parse().unwrap(), "", &mut wanted);
    assert!(wanted.len() > 60, "{wanted:?}");
    for (table, key) in wanted {
        let body: String = sections
            .iter()
            .filter(|(name, _)| *name == table)
            .map(|(_, body)| *body)
            .collect();
        let entry = format!("*{key}* = ");
        // An empty table is a section of its own.
        let section = sections
            .iter()
            .any(|(name, _)| *name == format!("{table}.{key}"));
        assert!(body.contains(&entry) || section, "no {key} in [{table}]");
    }
    // What the file explains beside those, as examples.
    let file = fs::read_to_string(CONFFILE).unwrap();
    let examples = file
        .lines()
        .filter_map(|line| line.strip_prefix("# ")?.split_once(" = "));
    for (key, _) in examples.filter(|(key, _)| !key.contains(' ')) {
        assert!(
            page.contains(&format!("*{key}*")) || page.contains(key),
            "{key}"
        );
    }
}

#[test]
fn every_metric_that_is_watched_is_there() {
    let snapshot: Snapshot = serde_json::from_str(include_str!("support/status.json")).unwrap();
    let page = metrics::text(&snapshot);
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let there: BTreeSet<&str> = samples
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    let reasons: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let outcomes = page.split("outcome=\"").skip(1);
    let outcomes: BTreeSet<&str> = outcomes
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    for (file, least) in [
        ("packaging/grafana/mainstay.json", 20),
        ("packaging/prometheus/mainstay.rules.yml", 10),
    ] {
        let text = fs::read_to_string(file).unwrap();
        let named = words(&text, "mainstay_");
        assert!(named.len() >= least, "{file} names only {named:?}");
        for metric in named {
            assert!(there.contains(metric), "{file}: there is no {metric}");
        }
        let plain = text.replace("\\\"", "\"");
        for (label, known) in [("outcome", &outcomes), ("reason", &reasons)] {
            let open = format!("{label}=~\"");
            let lists = plain.split(&open).skip(1);
            let lists: Vec<&str> = lists.map(|rest| rest.split('"').next().unwrap()).collect();
            assert!(!lists.is_empty(), "{file}: no {label}");
            for value in lists.iter().flat_map(|list| list.split('|')) {
                assert!(known.contains(value), "{file}: no {label} is {value}");
            }
        }
    }
}

#[test]
fn the_dashboard_is_json_and_asks_one_thing_a_panel() {
    let text = fs::read_to_string("packaging/grafana/mainstay.json").unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel}");
    }
}

#[test]
fn the_package_has_the_version_of_the_crate() {
    let changelog = fs::read_to_string("debian/changelog").unwrap();
    let wanted = format!("mainstay ({}) ", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&wanted), "{changelog}");
}
