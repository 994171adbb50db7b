//! Finds the facts: reads files below a root (which tests choose), asks systemd and the daemon. It
//! judges nothing.

mod accounts;
mod programs;
mod systemd;

use super::facts::{Configuration, Facts, Hierarchy, Machine, Secrecy, SecretFile, Socket};
use accounts::Accounts;
use mainstay::broker::snapshot::Snapshot;
use mainstay::config::{
    self, Bearer, Config, Environment, Overrides, Program, SYSTEM_FILE, Tokens,
};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

pub(crate) use systemd::ask;

/// Where things are looked for.
pub(crate) struct Place<'a> {
    /// The root of the file system; `/` but in tests.
    pub(crate) root: &'a Path,
    /// The configuration, if not the usual one.
    pub(crate) config: Option<&'a Path>,
    /// Runs `systemctl` with these arguments; what it prints, or why there is nothing.
    pub(crate) systemctl: &'a dyn Fn(&[&str]) -> Result<String, String>,
    /// The admin socket, if there is one.
    pub(crate) socket: Option<PathBuf>,
    /// What the daemon answered.
    pub(crate) daemon: Result<Box<Snapshot>, String>,
    /// Version of landlock.
    pub(crate) landlock: Option<u32>,
}

impl Place<'_> {
    /// A path of the host.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.at(path)).ok()
    }
}

/// Finds everything. Nothing that is missing stops it.
pub(crate) fn gather(place: Place<'_>) -> Facts {
    let accounts = Accounts::read(&place);
    let main = match place.config {
        Some(path) => path.to_owned(),
        None => place.at(SYSTEM_FILE),
    };
    let config = configuration(&main, place.config.is_some());
    let systemd = systemd::systemd(&place);
    let user = programs::user(&systemd.unit, place.daemon.as_deref().ok(), &accounts);
    Facts {
        machine: machine(&place),
        files: files(&place, &main, config.good()),
        commands: programs::commands(&place, config.good(), user),
        socket: place
            .socket
            .as_deref()
            .and_then(|path| socket(path, &accounts)),
        journal: place.at("/run/systemd/journal/socket").exists(),
        config,
        systemd,
        daemon: place.daemon,
    }
}

fn machine(place: &Place<'_>) -> Machine {
    let line = |path| Some(place.read(path)?.trim().to_owned());
    let meminfo = place.read("/proc/meminfo").unwrap_or_default();
    let kilobytes = |name: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Machine {
        kernel: line("/proc/sys/kernel/osrelease"),
        landlock: place.landlock,
        // Reading fails where the kernel was booted without, opening does not.
        pressure: place.read("/proc/pressure/memory").is_some(),
        memory: kilobytes("MemTotal:").map(|size| size << 10),
        swap: kilobytes("SwapTotal:").map(|size| size << 10),
        // "max" is no number.
        budget: line("/sys/fs/cgroup/memory.max").and_then(|max| max.parse().ok()),
        cgroup: match place.read("/sys/fs/cgroup/cgroup.controllers") {
            Some(names) => Hierarchy::Unified(names.split_whitespace().map(Into::into).collect()),
            None if place.at("/sys/fs/cgroup/memory").exists()
                || place.at("/sys/fs/cgroup/unified").exists() =>
            {
                Hierarchy::Old
            }
            None => Hierarchy::Missing,
        },
    }
}

fn configuration(main: &Path, named: bool) -> Configuration {
    for path in [Some(main), main.parent()].into_iter().flatten() {
        let opened = if path.is_dir() {
            fs::read_dir(path).map(|_| ())
        } else {
            fs::File::open(path).map(|_| ())
        };
        match opened {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Configuration::Closed(format!("{} cannot be read by you", path.display()));
            }
            Ok(()) | Err(_) => {}
        }
    }
    // Without the usual file the built-in server is served; a file that was named has to be there.
    let path = (named || main.exists()).then_some(main);
    let overrides = Overrides::default();
    match config::load(path, &overrides, &Environment::default()) {
        Ok(config) => Configuration::Good(Box::new(config)),
        Err(errors) => Configuration::Wrong(errors.to_string()),
    }
}

/// The files of the configuration and those it names. What whoever asks may not see is left out.
fn files(place: &Place<'_>, main: &Path, config: Option<&Config>) -> Vec<SecretFile> {
    let mut found = Vec::new();
    let mut add = |what: String, path: PathBuf, secrecy| {
        let mode = match fs::metadata(&path) {
            Ok(about) => Ok(about.permissions().mode()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return,
            Err(error) => Err(error.to_string()),
        };
        found.push(SecretFile {
            what,
            path,
            secrecy,
            mode,
        });
    };
    let servers = config.map_or(&[][..], |config| &config.servers);
    let private = servers.iter().any(|server| match &server.program {
        Program::Upstream(upstream) => !upstream.headers.is_empty(),
        Program::Command(_) | Program::BuiltinScore => !server.env.is_empty(),
    });
    let secrecy = if private {
        Secrecy::Private
    } else {
        Secrecy::Public
    };
    if main.exists() {
        add("the configuration".into(), main.to_owned(), secrecy);
    }
    for path in entries(&main.with_file_name("servers.d")) {
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            add("the configuration".into(), path, secrecy);
        }
    }
    for path in entries(&place.at("/etc/mainstay/credentials")) {
        add("a credential".into(), path, Secrecy::Token);
    }
    for principal in config.map_or(&[][..], |config| &config.principals) {
        if let Tokens::File(path) = &principal.tokens {
            let what = format!("the token hashes of {}", principal.name);
            add(what, path.clone(), Secrecy::Public);
        }
    }
    for server in servers {
        let Program::Upstream(upstream) = &server.program else {
            continue;
        };
        if let Some(Bearer::File(path)) = &upstream.bearer {
            let what = format!("the token for {}", server.name);
            add(what, path.clone(), Secrecy::Token);
        }
    }
    found
}

/// Files of a folder, sorted; none where it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths
}

fn socket(path: &Path, accounts: &Accounts) -> Option<Socket> {
    let about = fs::metadata(path).ok()?;
    Some(Socket {
        path: path.to_owned(),
        owner: accounts.user_name(about.uid()),
        group: accounts.group_name(about.gid()),
        mode: about.permissions().mode() & 0o777,
    })
}

#[cfg(test)]
mod tests;
