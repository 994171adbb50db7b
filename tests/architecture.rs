//! The layering of ARCHITECTURE.md, held against the source: who may import whom, who may touch
//! the operating system, how files are named. One package has no walls the compiler would see, so
//! this file is the wall. Comments, strings and test modules are not looked at.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/source.rs"]
mod source;

use source::{bare, paths};
use std::path::Path;

/// Folder of `src/`, and the modules of this crate it may name. A path allows what is below it.
const IMPORTS: &[(&str, &[&str])] = &[
    ("policy", &[]),
    ("mcp", &[]),
    ("sys", &["exit"]),
    // Settings of a guard stand beside its rules.
    ("config", &["policy"]),
    ("score", &["mcp"]),
    // The snapshot is plain data; the broker in turn reports events and counts durations.
    ("observe", &["broker::snapshot"]),
    (
        "worker",
        &["policy", "mcp", "sys", "observe", "config", "exit"],
    ),
    ("journal", &["mcp", "observe", "config"]),
    (
        "broker",
        &[
            "policy", "mcp", "sys", "worker", "journal", "observe", "config", "fault",
        ],
    ),
    (
        "front",
        &[
            "policy", "mcp", "broker", "journal", "observe", "config", "fault",
        ],
    ),
    ("admin", &["broker", "journal", "observe", "fault"]),
    (
        "heartbeat",
        &["policy", "sys", "broker", "observe", "fault"],
    ),
];
/// Files with a rule of their own beside the folders: plain data, and those that wire the parts.
const FILES: &[(&str, &[&str])] = &[
    ("broker/snapshot.rs", &[]),
    ("exit.rs", &[]),
    ("fault.rs", &["fault"]),
    (
        "announcer.rs",
        &["broker::snapshot", "fault", "observe", "sys"],
    ),
    ("doors.rs", &["admin", "config", "daemon", "observe", "sys"]),
    ("manual.rs", &[]),
    ("overview.rs", &["broker", "observe", "record", "sys"]),
    ("record.rs", &["broker"]),
    ("worker/launch.rs", &["sys", "exit", "worker"]),
];
/// Files that may name everything.
const WIRING: &[&str] = &["lib.rs", "daemon.rs", "reload.rs", "post_stop.rs", "bin/"];

/// Crates that pure folders may use; every other dependency of Cargo.toml is refused there.
const PURE: &[(&str, &[&str])] = &[
    ("policy", &[]),
    (
        "mcp",
        &[
            "serde",
            "serde_json",
            "bytes",
            "memchr",
            "base64",
            "thiserror",
        ],
    ),
];
/// What pure folders may not name: effects and clocks.
const EFFECTS: &[&str] = &[
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::process",
    "std::thread",
    "std::env",
    "std::os",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "Instant::now",
    "SystemTime",
];
/// Crates that speak to Linux, and who may name them.
const LINUX: &[&str] = &[
    "nix",
    "procfs",
    "rustix",
    "sd_listen_fds",
    "signal_hook",
    "signal_hook_tokio",
    "landlock",
    "seccompiler",
];
const LINUX_FILES: &[&str] = &["sys/", "worker/launch.rs"];
const STATUS_FILE: &str = "front/answer.rs";
const BAD_NAMES: &[&str] = &[
    "utils", "util", "common", "helpers", "helper", "manager", "misc",
];
const MAX_LINES: usize = 500;

#[test]
fn the_source_keeps_the_rules() {
    let mut found = Vec::new();
    let mut files = 0;
    walk(Path::new("src"), &mut |path, source| {
        files += 1;
        found.extend(violations(path, source));
    });
    assert!(files > 10, "only {files} files were looked at");
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn walk(dir: &Path, visit: &mut impl FnMut(&str, &str)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path
                .strip_prefix("src")
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            visit(&name, &std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// What is wrong with one file; `path` is relative to `src/`.
fn violations(path: &str, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut say = |what: String| found.push(format!("src/{path}: {what}"));
    if !source.starts_with("//!") {
        say("the first line must be a `//!` comment that says what the file owns".into());
    }
    if source.lines().count() > MAX_LINES {
        say(format!("more than {MAX_LINES} lines: a file owns one noun"));
    }
    for part in path.trim_end_matches(".rs").split('/') {
        if part.split('_').any(|word| BAD_NAMES.contains(&word)) {
            say(format!("{part:?} names no noun"));
        }
    }
    let folder = path.split('/').next().unwrap_or_default();
    let wiring = WIRING.iter().any(|file| path.starts_with(file));
    let rule = FILES.iter().find(|(file, _)| *file == path);
    let rule = rule.or_else(|| {
        IMPORTS
            .iter()
            .find(|(name, _)| *name == folder && path != folder)
    });
    if rule.is_none() && !wiring {
        say("no rule for this folder; add it to tests/architecture.rs and ARCHITECTURE.md".into());
    }
    let pure = PURE.iter().find(|(name, _)| *name == folder);
    let code = bare(source);
    for name in paths(&code) {
        let local = local(path, &name);
        if let (Some((_, allowed)), Some(local)) = (rule, &local) {
            let own =
                local.split("::").next() == Some(folder) && !FILES.iter().any(|(f, _)| *f == path);
            if !own && !allowed.iter().any(|module| below(local, module)) {
                say(format!("may not import {name}"));
            }
        }
        let krate = name.split("::").next().unwrap_or_default();
        if let Some((_, allowed)) = pure {
            let dependency = name.contains("::") && dependencies().iter().any(|one| one == krate);
            if dependency && !allowed.contains(&krate) {
                say(format!("is pure and may not use {name}"));
            }
            if EFFECTS
                .iter()
                .any(|effect| below(&name, effect) || name.ends_with(&format!("::{effect}")))
            {
                say(format!(
                    "is pure and may not use {name}: effects are returned, time is an argument"
                ));
            }
        }
        let linux = LINUX.contains(&krate) && name.contains("::");
        if linux && !LINUX_FILES.iter().any(|file| path.starts_with(file)) {
            say(format!("only sys/ and worker/launch.rs may use {name}"));
        }
        if name.split("::").any(|part| part == "StatusCode") && path != STATUS_FILE {
            say(format!("only {STATUS_FILE} knows HTTP status codes"));
        }
    }
    for (call, owner) in [(".status(", STATUS_FILE), ("ExitCode::from(", "exit.rs")] {
        let mut calls = code.split(call).skip(1);
        if path != owner && calls.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            say(format!(
                "a bare number in {call}...): {owner} owns the numbers"
            ));
        }
    }
    found
}

/// Whether a path is a module or something in it.
fn below(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// A path as seen from the root of this crate, if it names something of this crate by `crate` or by
/// as many `super` as lead to the root.
fn local(file: &str, path: &str) -> Option<String> {
    if let Some(rest) = path.strip_prefix("crate::") {
        return Some(rest.to_owned());
    }
    let depth = file.trim_end_matches("/mod.rs").split('/').count();
    let supers = path.split("::").take_while(|part| *part == "super").count();
    let rest: Vec<&str> = path.split("::").skip(supers).collect();
    (supers >= depth && !rest.is_empty()).then(|| rest.join("::"))
}

/// The crates of `[dependencies]`, as the code spells them.
fn dependencies() -> Vec<String> {
    let manifest = include_str!("../Cargo.toml");
    let section = manifest
        .split("[dependencies]")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    let names = section.lines().filter_map(|line| line.split_once(" ="));
    names
        .map(|(name, _)| name.trim().replace('-', "_"))
        .collect()
}

/// A file, its code behind a proper first line, and a part of the one complaint about it.
const BREACHES: &[(&str, &str, &str)] = &[
    (
        "policy/a.rs",
        "use crate::mcp::Era;",
        "may not import crate::mcp::Era",
    ),
    (
        "policy/a.rs",
        "use super::super::mcp::Era;",
        "may not import super::super::mcp::Era",
    ),
    (
        "policy/mod.rs",
        "use super::sys;",
        "may not import super::sys",
    ),
    (
        "policy/a.rs",
        "fn f() { tokio::spawn(x) }",
        "may not use tokio::spawn",
    ),
    (
        "policy/a.rs",
        "use serde::Serialize;",
        "may not use serde::Serialize",
    ),
    (
        "policy/a.rs",
        "let a = Instant::now();",
        "may not use Instant::now",
    ),
    (
        "policy/a.rs",
        "let a = std::time::Instant::now();",
        "may not use std::time::Instant::now",
    ),
    (
        "policy/a.rs",
        "use std::time::{Duration, SystemTime};",
        "may not use std::time::SystemTime",
    ),
    (
        "mcp/a.rs",
        "use std::{fmt, net::{IpAddr, TcpStream}};",
        "may not use std::net::TcpStream",
    ),
    (
        "mcp/a.rs",
        "let a = std::env::var_os(\"HOME\");",
        "may not use std::env::var_os",
    ),
    (
        "mcp/a.rs",
        "use hyper::Method;",
        "may not use hyper::Method",
    ),
    (
        "broker/a.rs",
        "use crate::front::answer;",
        "may not import crate::front::answer",
    ),
    (
        "broker/a.rs",
        "use crate::{mcp, admin::server};",
        "may not import crate::admin::server",
    ),
    (
        "broker/snapshot.rs",
        "use crate::broker::lane::Lane;",
        "may not import crate::broker::lane",
    ),
    (
        "broker/a.rs",
        "let a = \"//\"; nix::unistd::getpid();",
        "may use nix::unistd::getpid",
    ),
    (
        "broker/a.rs",
        "let a = '\"'; procfs::x();",
        "may use procfs::x",
    ),
    (
        "worker/a.rs",
        "use signal_hook::consts::SIGTERM;",
        "may use signal_hook::consts::SIGTERM",
    ),
    (
        "daemon.rs",
        "use nix::sys::socket::sendmsg;",
        "may use nix::sys::socket::sendmsg",
    ),
    (
        "observe/a.rs",
        "use crate::broker::Broker;",
        "may not import crate::broker::Broker",
    ),
    (
        "admin/a.rs",
        "use crate::worker::actor;",
        "may not import crate::worker::actor",
    ),
    (
        "score/a.rs",
        "use crate::broker::snapshot;",
        "may not import crate::broker::snapshot",
    ),
    ("front/a.rs", "use hyper::StatusCode;", "status codes"),
    (
        "front/a.rs",
        "Response::builder().status(503)",
        "a bare number",
    ),
    ("bin/a.rs", "ExitCode::from(3)", "a bare number"),
    ("thing/a.rs", "", "no rule for this folder"),
    ("thing.rs", "", "no rule for this folder"),
    ("broker/session_manager.rs", "", "names no noun"),
    ("front/utils/a.rs", "", "names no noun"),
];

#[test]
fn every_rule_can_be_broken() {
    let long = "\n".repeat(MAX_LINES);
    let too_long = ("front/a.rs", long.as_str(), "more than 500 lines");
    for (path, code, complaint) in BREACHES.iter().chain([&too_long]) {
        let found = violations(path, &format!("//! Owns something.\n{code}"));
        assert_eq!(found.len(), 1, "{path} {code:?}: {found:?}");
        assert!(found[0].contains(complaint), "{path} {code:?}: {found:?}");
    }
    assert!(violations("front/a.rs", "use std::fmt;")[0].contains("the first line"));
}

/// What must not be taken for a breach.
#[test]
fn what_only_looks_like_a_breach_passes() {
    for (path, code) in [
        (
            "policy/a.rs",
            "// use tokio::spawn;\n/* crate::front::x /* nested */ nix::x */ use super::pool;",
        ),
        (
            "policy/a.rs",
            "/// See [`crate::front`].\nfn f(now: std::time::Instant) -> &'static str { r#\"\"nix::x\"# }",
        ),
        ("policy/a.rs", "use crate::policy::restart::Ladder;"),
        (
            "policy/a.rs",
            "#[cfg(test)]\nmod tests { fn f() { Instant::now(); } }",
        ),
        (
            "mcp/a.rs",
            "use bytes::{Bytes, BytesMut}; use serde_json::value::RawValue;",
        ),
        ("mcp/sub/a.rs", "use super::super::era::Era;"),
        (
            "sys/a.rs",
            "use nix::unistd; fn status(code: u8) { x.status(code) }",
        ),
        (
            "worker/launch.rs",
            "use nix::unistd; use crate::exit; use crate::worker::command;",
        ),
        (
            "front/answer.rs",
            "use hyper::StatusCode; fn f() { b.status(200) }",
        ),
        (
            "observe/a.rs",
            "use crate::broker::snapshot::{Health, Snapshot}; use crate::observe::escape;",
        ),
        ("daemon.rs", "use crate::{admin, broker, front};"),
        ("bin/mainstayd.rs", "ExitCode::from(exit::USAGE)"),
    ] {
        let found = violations(path, &format!("//! Owns something.\n{code}"));
        assert!(found.is_empty(), "{path} {code:?}: {found:?}");
    }
}
