//! Each verdict by the facts that lead to it, next to facts that do not.

use super::super::facts::{
    Command, Configuration, Facts, Hierarchy, Machine, Program, Secrecy, SecretFile, Socket,
    Systemd, Unit,
};
use super::super::finding::{Finding, Grade};
use super::judge;
use mainstay::broker::snapshot::{Health, Host, Snapshot};
use mainstay::config;

/// What the unit of the package looks like to systemd.
const UNIT: [(&str, &str); 18] = [
    ("LoadState", "loaded"),
    ("ActiveState", "active"),
    ("UnitFileState", "enabled"),
    ("Result", "success"),
    ("NeedDaemonReload", "no"),
    ("DropInPaths", ""),
    ("Delegate", "yes"),
    ("Type", "notify"),
    ("NotifyAccess", "main"),
    ("WatchdogUSec", "10s"),
    ("Restart", "always"),
    ("OOMPolicy", "continue"),
    ("KillMode", "process"),
    ("User", "mainstay"),
    ("FileDescriptorStoreMax", "512"),
    ("LimitNOFILE", "65536"),
    ("TasksMax", "4096"),
    ("ProtectHome", "yes"),
];

/// A host where nothing is missing.
fn healthy() -> Facts {
    let mut snapshot: Snapshot =
        serde_json::from_str(include_str!("../../../../../tests/support/status.json")).unwrap();
    snapshot.version = env!("CARGO_PKG_VERSION").to_owned();
    snapshot.health = Health::Ok;
    for server in &mut snapshot.servers {
        server.health = Health::Ok;
    }
    snapshot.host = Some(Host {
        uid: 990,
        service: true,
        landlock: Some(6),
        unfenced: Vec::new(),
        cgroup: "delegated at /sys/fs/cgroup/x (memory pids cpu)".to_owned(),
        cgroup_advice: None,
        pressure: true,
        watchdog_ms: Some(10_000),
        open_files: 65536,
    });
    Facts {
        machine: Machine {
            kernel: Some("6.12.1".to_owned()),
            landlock: Some(6),
            pressure: true,
            memory: Some(16 << 30),
            swap: Some(0),
            budget: None,
            cgroup: Hierarchy::Unified(["cpu", "memory", "pids"].map(Into::into).into()),
        },
        systemd: Systemd {
            version: Some(257),
            unit: unit(&[]),
        },
        config: configured(""),
        files: vec![file(Secrecy::Public, 0o644)],
        commands: vec![command("/usr/bin/tool", None)],
        socket: Some(Socket {
            path: "/run/mainstay-control.sock".into(),
            owner: "root".to_owned(),
            group: "mainstay-admin".to_owned(),
            mode: 0o660,
        }),
        daemon: Ok(Box::new(snapshot)),
        journal: true,
    }
}

fn unit(changes: &[(&str, &str)]) -> Unit {
    let all = UNIT.iter().chain(changes);
    Unit::Loaded(
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

fn configured(text: &str) -> Configuration {
    Configuration::Good(Box::new(config::from_str("test", text).unwrap()))
}

fn file(secrecy: Secrecy, mode: u32) -> SecretFile {
    SecretFile {
        what: "a file".to_owned(),
        path: "/etc/mainstay/file".into(),
        secrecy,
        mode: Ok(mode),
    }
}

fn command(path: &str, closed: Option<&str>) -> Command {
    Command {
        server: "a".to_owned(),
        program: "tool".to_owned(),
        found: Ok(Program {
            path: path.into(),
            user: Some("mainstay".to_owned()),
            closed: closed.map(Into::into),
        }),
    }
}

/// The findings that are not ok.
fn complaints(facts: &Facts) -> Vec<Finding> {
    let mut findings = judge(facts);
    findings.retain(|one| one.grade != Grade::Ok);
    findings
}

#[test]
fn a_healthy_host_has_nothing_to_mend() {
    assert_eq!(complaints(&healthy()), []);
    let all = judge(&healthy());
    assert!(all.len() > 20, "only {} things were looked at", all.len());
    assert!(all.iter().all(|finding| finding.mend.is_none()));
    // There is a column for it.
    assert!(all.iter().all(|finding| finding.about.len() < 16));
}

/// A change, the grade of the one complaint about it, what it is about, and a part of what it says.
type Case = (fn(&mut Facts), Grade, &'static str, &'static str);

fn host(facts: &mut Facts) -> &mut Host {
    facts.daemon.as_mut().unwrap().host.as_mut().unwrap()
}

const CASES: &[Case] = &[
    (
        |f| f.daemon = Err("no answer".into()),
        Grade::Bad,
        "daemon",
        "no answer",
    ),
    (
        |f| f.daemon.as_mut().unwrap().version = "0.0.1".into(),
        Grade::Weak,
        "daemon",
        "not restarted",
    ),
    (
        |f| {
            let snapshot = f.daemon.as_mut().unwrap();
            snapshot.health = Health::Down;
            snapshot.servers[1].health = Health::Down;
            snapshot.servers[1].reason = Some("gone".into());
        },
        Grade::Bad,
        "servers",
        "gone",
    ),
    (
        |f| f.daemon.as_mut().unwrap().health = Health::Degraded,
        Grade::Weak,
        "servers",
        "",
    ),
    (
        |f| f.socket.as_mut().unwrap().mode = 0o666,
        Grade::Bad,
        "admin socket",
        "everybody",
    ),
    (|f| host(f).uid = 0, Grade::Weak, "user", "root"),
    (
        |f| host(f).watchdog_ms = None,
        Grade::Weak,
        "watchdog",
        "hangs",
    ),
    (
        |f| host(f).cgroup_advice = Some("do it".into()),
        Grade::Weak,
        "control groups",
        "delegated",
    ),
    (
        |f| host(f).landlock = None,
        Grade::Weak,
        "fence",
        "no landlock",
    ),
    (
        |f| host(f).landlock = Some(5),
        Grade::Weak,
        "fence",
        "signal",
    ),
    (
        |f| host(f).unfenced = vec!["music".into()],
        Grade::Weak,
        "fence",
        "music",
    ),
    (
        |f| {
            host(f).unfenced = vec!["music".into()];
            host(f).service = false;
        },
        Grade::Weak,
        "fence",
        "no service manager",
    ),
    (
        |f| f.config = Configuration::Wrong("line 3".into()),
        Grade::Bad,
        "configuration",
        "line 3",
    ),
    (
        |f| f.config = Configuration::Closed("no".into()),
        Grade::Weak,
        "configuration",
        "no",
    ),
    (
        |f| f.config = configured("[listen]\nhttp = \"0.0.0.0:80\"\n"),
        Grade::Bad,
        "listener",
        "nobody needs a token",
    ),
    (
        |f| {
            f.config = configured(
                "[listen]\nhttp = \"[::]:80\"\n[auth]\nrequired = true\n[[principals]]\n\
                 name = \"a\"\ntoken_file = \"/t\"\n",
            );
        },
        Grade::Weak,
        "listener",
        "TLS",
    ),
    (
        |f| f.files[0].mode = Err("gone".into()),
        Grade::Bad,
        "files",
        "gone",
    ),
    (
        |f| f.files[0].mode = Ok(0o664),
        Grade::Bad,
        "files",
        "changed",
    ),
    (
        |f| f.files = vec![file(Secrecy::Private, 0o644)],
        Grade::Weak,
        "files",
        "secret",
    ),
    (
        |f| f.files = vec![file(Secrecy::Token, 0o640)],
        Grade::Bad,
        "files",
        "read by others",
    ),
    (
        |f| f.commands[0].found = Err("is nowhere".into()),
        Grade::Bad,
        "commands",
        "nowhere",
    ),
    (
        |f| f.commands = vec![command("/opt/x/tool", Some("/opt/x"))],
        Grade::Bad,
        "commands",
        "enter /opt/x",
    ),
    (
        |f| f.commands = vec![command("/home/ann/tool", None)],
        Grade::Bad,
        "commands",
        "ProtectHome",
    ),
    (
        |f| {
            f.daemon.as_mut().unwrap().host = None;
            f.machine.landlock = None;
        },
        Grade::Weak,
        "landlock",
        "none",
    ),
    (
        |f| {
            f.daemon.as_mut().unwrap().host = None;
            f.machine.landlock = Some(2);
        },
        Grade::Weak,
        "landlock",
        "version 2",
    ),
    (
        |f| f.machine.cgroup = Hierarchy::Old,
        Grade::Weak,
        "cgroup v2",
        "version 1",
    ),
    (
        |f| f.machine.cgroup = Hierarchy::Missing,
        Grade::Weak,
        "cgroup v2",
        "not mounted",
    ),
    (
        |f| f.machine.cgroup = Hierarchy::Unified(vec!["cpu".into(), "pids".into()]),
        Grade::Weak,
        "cgroup v2",
        "without memory:",
    ),
    (
        |f| f.machine.pressure = false,
        Grade::Weak,
        "pressure",
        "PSI",
    ),
    (
        |f| f.machine.memory = Some(2 << 30),
        Grade::Weak,
        "memory",
        "4.0 GiB; the memory of this machine: 2.0 GiB",
    ),
    (
        |f| f.machine.budget = Some(1 << 30),
        Grade::Weak,
        "memory",
        "container",
    ),
    (
        |f| f.systemd.unit = unit(&[("MemoryMax", "1073741824")]),
        Grade::Weak,
        "memory",
        "MemoryMax=",
    ),
    (
        |f| f.systemd.version = Some(247),
        Grade::Weak,
        "systemd",
        "older",
    ),
    (
        |f| f.systemd.unit = Unit::Absent,
        Grade::Weak,
        "unit",
        "no mainstay.service",
    ),
    (
        |f| f.systemd.unit = Unit::Unknown("hangs".into()),
        Grade::Weak,
        "unit",
        "hangs",
    ),
    (
        |f| f.systemd.unit = unit(&[("ActiveState", "failed")]),
        Grade::Bad,
        "unit",
        "failed",
    ),
    (
        |f| f.systemd.unit = unit(&[("UnitFileState", "disabled")]),
        Grade::Weak,
        "unit",
        "disabled",
    ),
    (
        |f| f.systemd.unit = unit(&[("NeedDaemonReload", "yes")]),
        Grade::Weak,
        "unit",
        "newer",
    ),
    (
        |f| f.systemd.unit = unit(&[("Delegate", "no")]),
        Grade::Weak,
        "delegation",
        "no limits",
    ),
    (
        |f| f.systemd.unit = unit(&[("Type", "simple")]),
        Grade::Weak,
        "start type",
        "serves",
    ),
    (
        |f| f.systemd.unit = unit(&[("NotifyAccess", "all")]),
        Grade::Weak,
        "notifications",
        "speak",
    ),
    (
        |f| f.systemd.unit = unit(&[("WatchdogUSec", "infinity")]),
        Grade::Weak,
        "watchdog",
        "hangs",
    ),
    (
        |f| f.systemd.unit = unit(&[("WatchdogUSec", "0")]),
        Grade::Weak,
        "watchdog",
        "hangs",
    ),
    (
        |f| f.systemd.unit = unit(&[("Restart", "on-failure")]),
        Grade::Weak,
        "restart",
        "for good",
    ),
    (
        |f| f.systemd.unit = unit(&[("OOMPolicy", "stop")]),
        Grade::Bad,
        "out of memory",
        "stops",
    ),
    (
        |f| f.systemd.unit = unit(&[("KillMode", "control-group")]),
        Grade::Weak,
        "stopping",
        "calls",
    ),
    (
        |f| f.systemd.unit = unit(&[("User", "")]),
        Grade::Weak,
        "service user",
        "User is nothing",
    ),
    (
        |f| f.systemd.unit = unit(&[("FileDescriptorStoreMax", "3")]),
        Grade::Weak,
        "descriptors",
        "1 workers need 4",
    ),
    (
        |f| f.systemd.unit = unit(&[("LimitNOFILE", "1024")]),
        Grade::Weak,
        "open files",
        "1024",
    ),
    (
        |f| f.systemd.unit = unit(&[("TasksMax", "500")]),
        Grade::Weak,
        "processes",
        "500",
    ),
    (|f| f.journal = false, Grade::Weak, "journal", "lost"),
];

#[test]
fn each_verdict_by_its_facts() {
    for (number, (change, grade, about, part)) in CASES.iter().enumerate() {
        let mut facts = healthy();
        change(&mut facts);
        let found = complaints(&facts);
        assert_eq!(found.len(), 1, "{number}, {about}: {found:#?}");
        let verdict = (found[0].grade, found[0].about);
        assert_eq!(verdict, (*grade, *about), "{number}");
        assert!(found[0].what.contains(part), "{number}: {part}: {found:#?}");
        assert!(found[0].mend.is_some(), "{number}: {found:#?}");
    }
}

#[test]
fn what_the_unit_does_not_limit_is_no_complaint() {
    let mut facts = healthy();
    facts.systemd.unit = unit(&[
        ("TasksMax", "infinity"),
        ("LimitNOFILE", "infinity"),
        ("MemoryMax", "infinity"),
    ]);
    assert_eq!(complaints(&facts), []);
}

#[test]
fn a_drop_in_is_named_where_something_was_taken_away() {
    let mut facts = healthy();
    let path = "/etc/systemd/system/mainstay.service.d/local.conf";
    facts.systemd.unit = unit(&[("Delegate", "no"), ("DropInPaths", path)]);
    let found = complaints(&facts);
    assert!(found[0].mend.as_ref().unwrap().contains(path), "{found:?}");
}

/// systemd 249 does not know every property.
#[test]
fn a_property_that_systemd_does_not_know_is_not_judged() {
    let mut facts = healthy();
    if let Unit::Loaded(properties) = &mut facts.systemd.unit {
        properties.retain(|name, _| matches!(name.as_str(), "ActiveState" | "UnitFileState"));
    }
    assert_eq!(complaints(&facts), []);
}
