//! A host made of files.

use super::super::facts::{Command, Configuration, Hierarchy, Program, Secrecy, Unit};
use super::{Place, gather};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Host(TempDir);

impl Host {
    fn new(files: &[(&str, &str)]) -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        for (path, content) in files {
            host.file(path, content, 0o644);
        }
        host
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn file(&self, path: &str, content: &str, mode: u32) {
        let file = self.at(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        self.mode(path, mode);
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn facts(&self, systemctl: &dyn Fn(&[&str]) -> Result<String, String>) -> super::Facts {
        gather(Place {
            root: self.0.path(),
            config: None,
            systemctl,
            socket: Some(self.at("/run/mainstay-control.sock")),
            daemon: Err("down".to_owned()),
            landlock: Some(2),
        })
    }
}

fn no_systemd(_: &[&str]) -> Result<String, String> {
    Err("absent".to_owned())
}

#[test]
fn a_machine_is_read() {
    let host = Host::new(&[
        ("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"),
        (
            "/proc/meminfo",
            "MemTotal:        1000 kB\nMemFree: 5 kB\nSwapTotal:        0 kB\n",
        ),
        ("/proc/pressure/memory", "some avg10=0.00\n"),
        ("/sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n"),
        ("/sys/fs/cgroup/memory.max", "4096\n"),
        ("/run/systemd/journal/socket", ""),
    ]);
    let facts = host.facts(&no_systemd);
    assert_eq!(facts.machine.kernel.as_deref(), Some("6.1.0-18-amd64"));
    assert_eq!(facts.machine.memory, Some(1_024_000));
    assert_eq!(facts.machine.swap, Some(0));
    assert_eq!(facts.machine.budget, Some(4096));
    assert!(facts.machine.pressure && facts.journal);
    let controllers = ["cpu", "memory", "pids"].map(Into::into).into();
    assert_eq!(facts.machine.cgroup, Hierarchy::Unified(controllers));
    assert_eq!(facts.systemd.version, None);
}

#[test]
fn an_empty_host_stops_nothing() {
    let host = Host::new(&[]);
    let facts = host.facts(&no_systemd);
    assert_eq!(facts.machine.cgroup, Hierarchy::Missing);
    assert!(!facts.machine.pressure && !facts.journal);
    assert!(
        facts.config.good().is_some(),
        "the built-in server needs no file"
    );
    assert!(facts.socket.is_none() && facts.files.is_empty() && facts.commands.is_empty());
    let old = Host::new(&[("/sys/fs/cgroup/memory/tasks", "")]);
    assert_eq!(old.facts(&no_systemd).machine.cgroup, Hierarchy::Old);
    // "max" is no budget.
    let open = Host::new(&[("/sys/fs/cgroup/memory.max", "max\n")]);
    assert_eq!(open.facts(&no_systemd).machine.budget, None);
}

fn systemctl(arguments: &[&str], answer: &str) -> Result<String, String> {
    match arguments {
        ["--version"] => Ok("systemd 252 (252.22-1~deb12u1)\n+PAM +AUDIT\n".to_owned()),
        ["show", .., "mainstay.service"] => Ok(answer.to_owned()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn the_unit_is_what_systemd_says() {
    let host = Host::new(&[]);
    let unit = |answer: &str| {
        let facts = host.facts(&|arguments: &[&str]| systemctl(arguments, answer));
        assert_eq!(facts.systemd.version, Some(252));
        facts.systemd.unit
    };
    let Unit::Loaded(properties) = unit("LoadState=loaded\nDelegate=yes\nDropInPaths=/a=b\n")
    else {
        panic!("not loaded");
    };
    assert_eq!(properties["Delegate"], "yes");
    assert_eq!(properties["DropInPaths"], "/a=b");
    assert_eq!(unit("LoadState=not-found\n"), Unit::Absent);
    assert_eq!(
        unit("LoadState=masked\n"),
        Unit::Unknown("it is masked".to_owned())
    );
    assert!(matches!(unit(""), Unit::Unknown(_)));
    let facts = host.facts(&|arguments: &[&str]| match arguments {
        ["--version"] => Ok("systemd 257\n".to_owned()),
        _ => Err("hangs".to_owned()),
    });
    assert_eq!(facts.systemd.unit, Unit::Unknown("hangs".to_owned()));
}

#[test]
fn files_and_their_secrecy() {
    let host = Host::new(&[]);
    host.file("/etc/mainstay/mainstay.toml", "", 0o640);
    host.file(
        "/etc/mainstay/servers.d/b.toml",
        "[servers.b]\ncommand = [\"b\"]\n",
        0o644,
    );
    host.file("/etc/mainstay/servers.d/README", "", 0o644);
    host.file("/etc/mainstay/credentials/key", "k", 0o600);
    let seen = |host: &Host| -> Vec<(String, Secrecy, u32)> {
        let files = host.facts(&no_systemd).files;
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        files
            .iter()
            .map(|f| (name(&f.path), f.secrecy, f.mode.clone().unwrap() & 0o777))
            .collect()
    };
    let row = |name: &str, secrecy, mode| (name.to_owned(), secrecy, mode);
    assert_eq!(
        seen(&host),
        [
            row("mainstay.toml", Secrecy::Public, 0o640),
            row("b.toml", Secrecy::Public, 0o644),
            row("key", Secrecy::Token, 0o600),
        ]
    );
    let text = "[servers.b]\ncommand = [\"b\"]\nenv = { KEY = \"k\" }\n";
    host.file("/etc/mainstay/servers.d/b.toml", text, 0o644);
    assert!(seen(&host).contains(&row("b.toml", Secrecy::Private, 0o644)));
    let text = "[servers.b]\nurl = \"https://b/\"\nupstream = { bearer_file = \"/absent/t\" }\n";
    host.file("/etc/mainstay/servers.d/b.toml", text, 0o644);
    let files = host.facts(&no_systemd).files;
    let token = files.iter().find(|f| f.path == Path::new("/absent/t"));
    assert!(token.unwrap().mode.is_err());
}

#[test]
fn a_wrong_configuration_is_quoted() {
    let host = Host::new(&[("/etc/mainstay/mainstay.toml", "[listen]\nhtpp = 1\n")]);
    let Configuration::Wrong(errors) = host.facts(&no_systemd).config else {
        panic!("taken for good");
    };
    assert!(errors.contains("htpp"), "{errors}");
}

#[test]
fn commands_are_found_and_tried_as_the_user_of_the_service() {
    let host = Host::new(&[
        (
            "/etc/passwd",
            "root:x:0:0::/:/bin/sh\nmainstay:x:4294967000:4294967001::/:/bin/sh\n",
        ),
        (
            "/etc/group",
            "root:x:0:\nothers:x:4294967002:ann,mainstay\n",
        ),
        (
            "/etc/mainstay/mainstay.toml",
            "[servers.a]\ndefault = true\ncommand = [\"tool\"]\n\
             [servers.b]\ncommand = [\"/opt/b/run\"]\n\
             [servers.c]\ncommand = [\"absent\"]\n\
             [servers.d]\ncommand = [\"bin/d\"]\ncwd = \"/srv\"\n\
             [servers.e]\nbuiltin = \"score\"\n",
        ),
    ]);
    host.file("/usr/bin/tool", "", 0o755);
    host.file("/opt/b/run", "", 0o755);
    host.file("/srv/bin/d", "", 0o644);
    for folder in ["/usr", "/usr/bin", "/opt", "/srv", "/srv/bin"] {
        host.mode(folder, 0o755);
    }
    host.mode("/opt/b", 0o700);
    // The root of the test is not a part of the host.
    let unit = "LoadState=loaded\nUser=mainstay\n";
    let facts = host.facts(&|arguments: &[&str]| systemctl(arguments, unit));
    let found = |path: &str, closed: Option<&str>| {
        Ok(Program {
            path: path.into(),
            user: Some("mainstay".to_owned()),
            closed: closed.map(Into::into),
        })
    };
    let results: Vec<_> = facts
        .commands
        .iter()
        .map(|Command { server, found, .. }| (server.as_str(), found.clone()))
        .collect();
    let nowhere =
        "is in no directory of PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(
        results,
        [
            ("a", found("/usr/bin/tool", None)),
            ("b", found("/opt/b/run", Some("/opt/b"))),
            ("c", Err(nowhere.to_owned())),
            ("d", found("/srv/bin/d", Some("/srv/bin/d"))),
        ]
    );
}
