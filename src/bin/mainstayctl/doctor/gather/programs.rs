//! The commands of servers: where they are, and whether the user of the service may run them.

use super::super::facts::{Command, Program, Unit};
use super::Place;
use super::accounts::{Accounts, User};
use mainstay::broker::snapshot::Snapshot;
use mainstay::config::{self, Config, Server};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Where systemd lets services look for programs, unless the unit says otherwise.
const SERVICE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who runs the workers: the user of the unit, or of the daemon that answers.
pub(super) fn user<'a>(
    unit: &Unit,
    daemon: Option<&Snapshot>,
    accounts: &'a Accounts,
) -> Option<&'a User> {
    let uid = daemon.and_then(|snapshot| Some(snapshot.host.as_ref()?.uid));
    if let Some(uid) = uid {
        return accounts.user(&uid.to_string());
    }
    match unit {
        Unit::Loaded(properties) => accounts.user(properties.get("User")?),
        Unit::Unknown(_) | Unit::Absent => None,
    }
}

/// The commands of all servers that are processes of their own program.
pub(super) fn commands(
    place: &Place<'_>,
    config: Option<&Config>,
    user: Option<&User>,
) -> Vec<Command> {
    let servers = config.map_or(&[][..], |config| &config.servers);
    servers
        .iter()
        .filter_map(|server| match &server.program {
            config::Program::Command(words) => Some((server, words.first()?)),
            config::Program::BuiltinScore | config::Program::Upstream(_) => None,
        })
        .map(|(server, program)| Command {
            server: server.name.clone(),
            program: program.clone(),
            found: find(place, server, program).map(|path| Program {
                closed: user.and_then(|user| closed(place, &path, user)),
                user: user.map(|user| user.name.clone()),
                path,
            }),
        })
        .collect()
}

/// The file that a program's name stands for, as the host calls it.
fn find(place: &Place<'_>, server: &Server, program: &str) -> Result<PathBuf, String> {
    let is_there = |path: &PathBuf| place.at(&path.to_string_lossy()).is_file();
    if program.contains('/') {
        let base = server.cwd.as_deref().unwrap_or(Path::new("/"));
        let path = base.join(program);
        return Some(path).filter(is_there).ok_or("is not there".into());
    }
    let path = server.env.get("PATH").map_or(SERVICE_PATH, String::as_str);
    let mut candidates = path
        .split(':')
        .map(|folder| Path::new(folder).join(program));
    let found = candidates.find(is_there);
    found.ok_or_else(|| format!("is in no directory of PATH={path}"))
}

/// The first of the directories and the file itself that this user may not enter or execute.
fn closed(place: &Place<'_>, path: &Path, user: &User) -> Option<PathBuf> {
    let root = place.root.canonicalize().ok()?;
    let real = place.at(&path.to_string_lossy()).canonicalize().ok()?;
    let inside = real.strip_prefix(&root).ok()?;
    let mut real = root;
    let mut shown = PathBuf::from("/");
    for component in inside.components() {
        real.push(component);
        shown.push(component);
        let about = fs::metadata(&real).ok()?;
        if !may_execute(&about, user) {
            return Some(shown);
        }
    }
    None
}

/// By the permission bits alone: lists of access rights are not looked at.
fn may_execute(about: &fs::Metadata, user: &User) -> bool {
    let mode = about.permissions().mode();
    if user.uid == 0 {
        return about.is_dir() || mode & 0o111 != 0;
    }
    let bit = if about.uid() == user.uid {
        0o100
    } else if user.groups.contains(&about.gid()) {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}
