//! The unit: what of it mainstay relies on, and what a drop-in may have taken away.

use super::super::facts::{Configuration, Facts, Unit};
use super::super::finding::{Finding, Grade};
use mainstay::config::{Config, Program};
use std::collections::BTreeMap;

type Properties = BTreeMap<String, String>;

/// The oldest release that everything here is tested on.
const OLDEST: u32 = 252;
/// Descriptors of the daemon beside connections and workers.
const OWN_FILES: u64 = 64;
/// What systemd keeps for the daemon: three descriptors a worker, and one.
const STORED: u64 = 3;

/// A property of the unit, what it has to be, and what it means when it is not.
struct Expected {
    about: &'static str,
    property: &'static str,
    good: fn(&str) -> bool,
    grade: Grade,
    means: &'static str,
    setting: &'static str,
}

const EXPECTED: [Expected; 8] = [
    Expected {
        about: "delegation",
        property: "Delegate",
        good: |value| value == "yes",
        grade: Grade::Weak,
        means: "workers have no control groups: no limits, and what they leave is found by session only",
        setting: "Delegate=memory pids cpu",
    },
    Expected {
        about: "start type",
        property: "Type",
        good: |value| value == "notify" || value == "notify-reload",
        grade: Grade::Weak,
        means: "systemd does not wait until the daemon serves, and has no watchdog",
        setting: "Type=notify",
    },
    Expected {
        about: "notifications",
        property: "NotifyAccess",
        good: |value| value == "main",
        grade: Grade::Weak,
        means: "a worker could speak for the daemon, or the daemon is not heard",
        setting: "NotifyAccess=main",
    },
    Expected {
        about: "watchdog",
        property: "WatchdogUSec",
        good: |value| !matches!(value, "" | "0" | "infinity"),
        grade: Grade::Weak,
        means: "nobody notices when the daemon hangs",
        setting: "WatchdogSec=10s",
    },
    Expected {
        about: "restart",
        property: "Restart",
        good: |value| value == "always",
        grade: Grade::Weak,
        means: "some ends of the daemon are for good",
        setting: "Restart=always",
    },
    Expected {
        about: "out of memory",
        property: "OOMPolicy",
        good: |value| value == "continue",
        grade: Grade::Bad,
        means: "one worker out of memory stops the whole service",
        setting: "OOMPolicy=continue",
    },
    Expected {
        about: "stopping",
        property: "KillMode",
        good: |value| value == "process",
        grade: Grade::Weak,
        means: "a restart of the daemon ends all workers, and their calls",
        setting: "KillMode=process",
    },
    Expected {
        about: "service user",
        property: "User",
        good: |value| !matches!(value, "" | "root" | "0"),
        grade: Grade::Weak,
        means: "the daemon is root, and so is every worker",
        setting: "User=mainstay",
    },
];

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![manager(facts.systemd.version)];
    let Unit::Loaded(properties) = &facts.systemd.unit else {
        findings.push(not_a_service(&facts.systemd.unit));
        return findings;
    };
    findings.push(state(properties));
    let drop_ins = drop_ins(properties);
    for expected in &EXPECTED {
        findings.extend(compare(expected, properties, drop_ins.as_deref()));
    }
    if let Configuration::Good(config) = &facts.config {
        findings.extend(room(config, properties));
    }
    findings.push(if facts.journal {
        Finding::ok("journal", "the journal takes records")
    } else {
        Finding::weak(
            "journal",
            "/run/systemd/journal/socket is not there: what the daemon logs is lost",
            "systemctl start systemd-journald.socket",
        )
    });
    findings
}

fn manager(version: Option<u32>) -> Finding {
    match version {
        None => Finding::weak(
            "systemd",
            "not there: nothing restarts the daemon, keeps its sockets or watches it",
            "run mainstayd under a service manager that speaks sd_notify",
        ),
        Some(version) if version < OLDEST => Finding::weak(
            "systemd",
            format!("version {version}, older than anything mainstay is tested on"),
            format!("use a release with systemd {OLDEST} or newer (Debian 12)"),
        ),
        Some(version) => Finding::ok("systemd", format!("version {version}")),
    }
}

fn not_a_service(unit: &Unit) -> Finding {
    match unit {
        Unit::Unknown(why) => Finding::weak(
            "unit",
            format!("systemd says nothing of mainstay.service: {why}"),
            "ask on the machine itself, or run mainstay as a service",
        ),
        Unit::Absent | Unit::Loaded(_) => Finding::weak(
            "unit",
            "there is no mainstay.service: nothing starts the daemon with the machine",
            "install the package",
        ),
    }
}

fn text<'a>(properties: &'a Properties, name: &str) -> &'a str {
    properties.get(name).map_or("", String::as_str)
}

fn state(properties: &Properties) -> Finding {
    let active = text(properties, "ActiveState");
    if text(properties, "NeedDaemonReload") == "yes" {
        return Finding::weak(
            "unit",
            "its files are newer than what systemd has read",
            "systemctl daemon-reload, then systemctl restart mainstay",
        );
    }
    match (active, text(properties, "UnitFileState")) {
        ("active" | "reloading" | "activating", "enabled" | "enabled-runtime") => {
            Finding::ok("unit", format!("{active} and enabled"))
        }
        ("active" | "reloading" | "activating", enabled) => Finding::weak(
            "unit",
            format!("{active}, but {enabled}: it does not start with the machine"),
            "systemctl enable mainstay.service mainstay.socket mainstay-control.socket",
        ),
        _ => Finding::bad(
            "unit",
            format!("{active}: {}", text(properties, "Result")),
            "systemctl start mainstay, then journalctl -u mainstay",
        ),
    }
}

/// Files that change what the package says.
fn drop_ins(properties: &Properties) -> Option<String> {
    let paths = text(properties, "DropInPaths");
    (!paths.is_empty()).then(|| paths.to_owned())
}

/// `None` where systemd is too old to know the property.
fn compare(
    expected: &Expected,
    properties: &Properties,
    drop_ins: Option<&str>,
) -> Option<Finding> {
    let value = properties.get(expected.property)?;
    let shown = if value.is_empty() { "nothing" } else { value };
    if (expected.good)(value) {
        let what = format!("{}={shown}", expected.property);
        return Some(Finding::ok(expected.about, what));
    }
    let from = drop_ins.map(|paths| format!("; look into {paths}"));
    Some(Finding {
        grade: expected.grade,
        about: expected.about,
        what: format!("{} is {shown}: {}", expected.property, expected.means),
        mend: Some(format!(
            "set {} (systemctl edit mainstay){}",
            expected.setting,
            from.unwrap_or_default()
        )),
    })
}

/// Whether what the configuration allows has room in what the unit allows.
fn room(config: &Config, properties: &Properties) -> Vec<Finding> {
    let mut findings = Vec::new();
    let processes = || {
        let servers = config.servers.iter();
        servers.filter(|server| !matches!(server.program, Program::Upstream(_)))
    };
    let workers: u64 = processes().map(|server| server.pool.max_size as u64).sum();
    let number = |name| properties.get(name).map(|value| value.parse::<u64>());
    if let Some(store) = number("FileDescriptorStoreMax") {
        let (store, needed) = (store.unwrap_or(u64::MAX), workers * STORED + 1);
        findings.push(if store >= needed {
            Finding::ok(
                "descriptors",
                format!("{store} kept over a restart, {needed} needed at most"),
            )
        } else {
            Finding::weak(
                "descriptors",
                format!("{store} descriptors are kept over a restart, {workers} workers need {needed}: the others end with the daemon"),
                format!("set FileDescriptorStoreMax={needed} (systemctl edit mainstay)"),
            )
        });
    }
    if let Some(files) = number("LimitNOFILE") {
        // Its unlimited is "infinity".
        let files = files.unwrap_or(u64::MAX);
        let connections = config.listen.max_connections as u64;
        let needed = connections + workers * STORED + OWN_FILES;
        findings.push(if files >= needed {
            Finding::ok("open files", format!("{needed} needed at most"))
        } else {
            Finding::weak(
                "open files",
                format!("{files} may be open; {connections} connections and {workers} workers need {needed}"),
                format!("set LimitNOFILE={needed}, or lower listen.max_connections or max_size"),
            )
        });
    }
    if let Some(tasks) = number("TasksMax") {
        let tasks = tasks.unwrap_or(u64::MAX);
        let widest = processes()
            .map(|server| server.limits.pids.unwrap_or(u64::MAX))
            .max();
        let needed = widest.unwrap_or(0).saturating_add(OWN_FILES);
        findings.push(if tasks >= needed {
            Finding::ok("processes", "one worker cannot use up the unit's TasksMax")
        } else {
            Finding::weak(
                "processes",
                format!("TasksMax is {tasks}: one worker's processes can use it up, and nothing else starts"),
                "set limits.pids of the servers, or a higher TasksMax=",
            )
        });
    }
    findings
}
