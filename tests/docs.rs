//! The documents, held against the code: folders, import rules, configuration examples, error and
//! exit codes, paths, dependencies, links, version. A document that says what is no longer so
//! turns red here.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mainstay::policy::refusal::Reason;
use mainstay::{config, exit};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const README: &str = include_str!("../README.md");
const ARCHITECTURE: &str = include_str!("../ARCHITECTURE.md");
const CONTRIBUTING: &str = include_str!("../CONTRIBUTING.md");
const SECURITY: &str = include_str!("../SECURITY.md");
const CHANGELOG: &str = include_str!("../CHANGELOG.md");
const MANIFEST: &str = include_str!("../Cargo.toml");
const RULES: &str = include_str!("architecture.rs");

const DOCUMENTS: [(&str, &str); 5] = [
    ("README.md", README),
    ("ARCHITECTURE.md", ARCHITECTURE),
    ("CONTRIBUTING.md", CONTRIBUTING),
    ("SECURITY.md", SECURITY),
    ("CHANGELOG.md", CHANGELOG),
];

/// What stands between two marks, each time.
fn between<'t>(text: &'t str, open: &str, close: &str) -> Vec<&'t str> {
    let pieces = text.split(open).skip(1);
    pieces
        .filter_map(|piece| piece.split_once(close))
        .map(|(found, _)| found)
        .collect()
}

/// The cells of the table whose head begins with this row, its head and rule left out.
fn table<'t>(text: &'t str, head: &str) -> Vec<Vec<&'t str>> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(head));
    let width = lines.next().unwrap_or_default().matches('|').count() - 1;
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<&str>> = rows
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty(), "there is no table {head:?}");
    for row in &rows {
        assert_eq!(
            row.len(),
            width,
            "a row of {head:?} has other columns: {row:?}"
        );
    }
    rows
}

/// The words in backquotes.
fn code(cell: &str) -> BTreeSet<String> {
    let words = cell.split('`').skip(1).step_by(2);
    words.map(ToOwned::to_owned).collect()
}

/// The fenced blocks of one language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    between(text, &format!("```{language}\n"), "\n```")
}

/// A document without its fenced blocks.
fn prose(text: &str) -> String {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            lines.push(line);
        }
    }
    assert!(!inside, "a fenced block is not closed");
    lines.join("\n")
}

/// `IMPORTS` of tests/architecture.rs: each folder and what it may import.
fn import_rules() -> BTreeMap<String, BTreeSet<String>> {
    let body = between(RULES, "const IMPORTS: &[(&str, &[&str])] = &[", "\n];")[0];
    let rules = body.split('(').skip(1).map(|tuple| {
        let mut words = tuple.split('"').skip(1).step_by(2).map(ToOwned::to_owned);
        (words.next().unwrap(), words.collect())
    });
    rules.collect()
}

#[test]
fn the_folders_of_the_architecture_are_those_of_the_source() {
    let rows = table(ARCHITECTURE, "| folder | owns |");
    let told: BTreeSet<String> = rows.iter().flat_map(|row| code(row[0])).collect();
    let entries = fs::read_dir("src").unwrap().map(Result::unwrap);
    let there: BTreeSet<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| format!("src/{}/", entry.file_name().to_str().unwrap()))
        .collect();
    assert_eq!(told, there);
}

#[test]
fn the_import_rules_of_the_architecture_are_those_that_are_enforced() {
    let rules = import_rules();
    assert!(rules.len() > 5, "{rules:?}");
    for row in table(ARCHITECTURE, "| folder | owns |") {
        let folder = code(row[0]).pop_first().unwrap();
        let name = folder.trim_start_matches("src/").trim_end_matches('/');
        let Some(rule) = rules.get(name) else {
            assert_eq!((name, row[2]), ("bin", "everything"));
            continue;
        };
        assert_eq!(&code(row[2]), rule, "what {folder} may import");
        assert_eq!(row[2] == "nothing", rule.is_empty(), "{folder}");
    }
}

#[test]
fn the_source_files_that_are_named_exist() {
    let mut seen = 0;
    for (name, text) in DOCUMENTS {
        for path in prose(text).split('`').skip(1).step_by(2) {
            if !path.contains('/') || !path.ends_with(".rs") {
                continue;
            }
            seen += 1;
            let found = Path::new(path).exists() || Path::new("src").join(path).exists();
            assert!(found, "{name} names {path}, which is not there");
        }
    }
    assert!(seen > 20, "only {seen} paths were looked at");
}

#[test]
fn the_configuration_examples_are_good() {
    let examples = blocks(README, "toml");
    assert!(!examples.is_empty());
    for example in examples {
        if let Err(errors) = config::from_str("README.md", example) {
            panic!("{errors}\n{example}");
        }
    }
}

#[test]
fn a_server_takes_four_lines() {
    let example = blocks(README, "toml")[0];
    for server in example.split("\n\n") {
        assert_eq!(server.lines().count(), 4, "{server}");
    }
}

/// The run of `mainstayd check` in the README says what the daemon says.
#[test]
fn the_configuration_errors_are_real() {
    let bad = "[listen]\nhtpp = \"127.0.0.1:8000\"\n\n[servers.time]\n\
               command = \"mcp-server-time\"\nstate = \"sesion\"\n";
    let errors = config::from_str("bad.toml", bad).unwrap_err().to_string();
    assert_eq!(errors.lines().count(), 3, "{errors}");
    for line in errors.lines() {
        assert!(README.contains(line), "the README lacks: {line}");
    }
}

#[test]
fn the_error_codes_are_those_of_the_policy() {
    let told: Vec<(String, String, String)> = table(README, "| code | `reason` |")
        .iter()
        .map(|row| {
            let reason = code(row[1]).pop_first().unwrap();
            (row[0].to_owned(), reason, row[3].to_owned())
        })
        .collect();
    let there: Vec<(String, String, String)> = Reason::ALL
        .iter()
        .map(|reason| {
            let retryable = match reason {
                Reason::Quarantined | Reason::AnswerTooLarge => "false",
                // It depends on the call.
                Reason::DeadlineExceeded | Reason::WorkerLost => "see below",
                _ => "true",
            };
            (
                reason.code().to_string(),
                reason.as_str().to_owned(),
                retryable.to_owned(),
            )
        })
        .collect();
    assert_eq!(told, there);
    let codes: Vec<String> = there.into_iter().map(|(code, ..)| code).collect();
    for (name, text) in DOCUMENTS {
        for (at, _) in text.match_indices("-31") {
            let digits = text[at + 1..].chars().take_while(char::is_ascii_digit);
            let code: String = std::iter::once('-').chain(digits).collect();
            assert!(
                code.len() != 6 || codes.contains(&code),
                "{name} speaks of {code}, which the daemon never sends"
            );
        }
    }
}

#[test]
fn the_exit_codes_are_those_of_the_daemon() {
    let rows = table(README, "| exit code |");
    let told: BTreeSet<u8> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    let there = BTreeSet::from([
        0,
        exit::FAILURE,
        exit::USAGE,
        exit::UNAVAILABLE,
        exit::SOFTWARE,
        exit::OS,
        exit::CANT_CREATE,
        exit::CONFIG,
    ]);
    assert_eq!(told, there);
    // The other constants are for `launch` alone; a new one has to be put here or there.
    let constants = include_str!("../src/exit.rs").matches("pub const ").count();
    assert_eq!(constants, there.len() - 1 + 3);
}

#[test]
fn the_endpoints_are_routed() {
    let router = include_str!("../src/front/router.rs");
    let code_of_router = router.lines().filter(|l| !l.trim_start().starts_with("//"));
    let code_of_router = code_of_router.collect::<Vec<_>>().join("\n");
    for row in table(README, "| path | what |") {
        let path = code(row[0]).pop_first().unwrap();
        for part in path.split("NAME") {
            let quoted = format!("\"{part}\"");
            assert!(code_of_router.contains(&quoted), "{path}: no {quoted}");
        }
    }
}

#[test]
fn every_dependency_is_argued() {
    let rows = table(CONTRIBUTING, "| crate | why |");
    let told: BTreeSet<String> = rows.iter().flat_map(|row| code(row[0])).collect();
    let mut there = BTreeSet::new();
    for section in ["\n[dependencies]\n", "\n[dev-dependencies]\n"] {
        let body = MANIFEST.split(section).nth(1).unwrap();
        let lines = body.lines().take_while(|line| !line.starts_with('['));
        let names = lines.filter_map(|line| line.split_once(" = "));
        there.extend(names.map(|(name, _)| name.to_owned()));
    }
    assert!(there.len() > 10, "{there:?}");
    assert_eq!(told, there);
}

#[test]
fn the_tenets_stand_in_their_order() {
    let order = between(CONTRIBUTING, ". **", ".**");
    assert_eq!(order, ["Safe", "Available", "Plain", "Fast"]);
}

#[test]
fn the_changelog_names_the_version() {
    let version = env!("CARGO_PKG_VERSION");
    let newest = between(CHANGELOG, "\n## [", "]")[0];
    assert_eq!(newest, version);
}

#[test]
fn the_targets_that_are_named_are_in_the_makefile() {
    let makefile = fs::read_to_string("Makefile").unwrap();
    let mut seen = BTreeSet::new();
    for (name, text) in DOCUMENTS {
        for open in ["`make ", "\n$ make "] {
            for rest in text.split(open).skip(1) {
                let target = rest
                    .split(|c: char| !c.is_ascii_lowercase())
                    .next()
                    .unwrap();
                let rule = format!("\n{target}:");
                assert!(
                    makefile.contains(&rule),
                    "{name}: there is no make {target}"
                );
                seen.insert(target);
            }
        }
    }
    assert!(seen.contains("run") && seen.contains("test"), "{seen:?}");
}

/// What a heading is called in a link, as code hosts make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().chars();
    let kept = kept.filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-');
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    let mut seen = 0;
    for (name, text) in DOCUMENTS {
        let prose = prose(text);
        for target in between(&prose, "](", ")") {
            if target.starts_with("https://") {
                continue;
            }
            seen += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { name } else { file };
            let page = fs::read_to_string(file);
            let page = page.unwrap_or_else(|error| panic!("{name} links to {target}: {error}"));
            let found = page
                .lines()
                .any(|line| line.starts_with('#') && anchor(line) == heading);
            assert!(heading.is_empty() || found, "{name}: no heading {target}");
        }
    }
    assert!(seen > 10, "only {seen} links were looked at");
}

/// Machine paths and host names of whoever wrote them do not belong here.
#[test]
fn nothing_of_the_machine_that_wrote_them_is_left() {
    for (name, text) in DOCUMENTS {
        for word in ["/tmp/", "/home/", "/root/"] {
            assert!(!text.contains(word), "{name} contains {word}");
        }
    }
}
