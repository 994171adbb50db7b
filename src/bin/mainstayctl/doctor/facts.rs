//! What is known of a host, as plain data. Where it comes from is for `gather`, what it means for
//! `judge`.

use mainstay::broker::snapshot::Snapshot;
use mainstay::config::Config;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything that is judged.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The machine.
    pub(crate) machine: Machine,
    /// The service manager.
    pub(crate) systemd: Systemd,
    /// The configuration.
    pub(crate) config: Configuration,
    /// Files that have, or may have, secrets.
    pub(crate) files: Vec<SecretFile>,
    /// The command of each server that is a process.
    pub(crate) commands: Vec<Command>,
    /// The admin socket, if there is one.
    pub(crate) socket: Option<Socket>,
    /// What the daemon says of itself; or why there is no answer.
    pub(crate) daemon: Result<Box<Snapshot>, String>,
    /// Whether the journal listens.
    pub(crate) journal: bool,
}

/// The kernel and the memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// Such as `6.1.0-18-amd64`.
    pub(crate) kernel: Option<String>,
    /// Version of landlock; `None` without.
    pub(crate) landlock: Option<u32>,
    /// Whether the kernel tells of memory pressure.
    pub(crate) pressure: bool,
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Bytes.
    pub(crate) swap: Option<u64>,
    /// `memory.max` at the root of what is seen of the control groups: the budget of a container.
    pub(crate) budget: Option<u64>,
    /// Which control groups there are.
    pub(crate) cgroup: Hierarchy,
}

/// Which control groups the machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// Version 2, with these controllers.
    Unified(Vec<String>),
    /// Version 1, perhaps with an empty version 2 beside it.
    Old,
    /// None that is mounted.
    #[default]
    Missing,
}

/// systemd and our unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Systemd {
    /// Its version; `None` if it is not there.
    pub(crate) version: Option<u32>,
    /// What it says of the unit, by the name of the property; or why it says nothing.
    pub(crate) unit: Unit,
}

/// What systemd knows of `mainstay.service`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nothing: it could not be asked.
    Unknown(String),
    /// There is no such unit.
    Absent,
    /// Its properties, as `systemctl show` prints them.
    Loaded(BTreeMap<String, String>),
}

impl Default for Unit {
    fn default() -> Self {
        Self::Unknown("not asked".to_owned())
    }
}

/// The configuration.
#[derive(Debug)]
pub(crate) enum Configuration {
    /// It is good.
    Good(Box<Config>),
    /// It is not; the daemon would not start with it.
    Wrong(String),
    /// Whoever asks may not read it.
    Closed(String),
}

impl Configuration {
    /// The configuration if it is good.
    pub(crate) fn good(&self) -> Option<&Config> {
        match self {
            Self::Good(config) => Some(config),
            Self::Wrong(_) | Self::Closed(_) => None,
        }
    }
}

/// A file that should not be everybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretFile {
    /// What it is, such as `the configuration`.
    pub(crate) what: String,
    /// Where.
    pub(crate) path: PathBuf,
    /// How secret it is.
    pub(crate) secrecy: Secrecy,
    /// Its permission bits; or why nobody can tell.
    pub(crate) mode: Result<u32, String>,
}

/// How secret a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// It is a token: for its owner alone.
    Token,
    /// Secrets may be in it: not for everybody.
    Private,
    /// Nothing secret; but whoever writes it decides.
    Public,
}

/// What a server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The server.
    pub(crate) server: String,
    /// The program as the configuration has it.
    pub(crate) program: String,
    /// Where it is, and whether it can be run there; or why it was not found.
    pub(crate) found: Result<Program, String>,
}

/// A program that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The file.
    pub(crate) path: PathBuf,
    /// The user of the service, as far as it is known.
    pub(crate) user: Option<String>,
    /// The first file or directory on the way that this user may not execute or enter.
    pub(crate) closed: Option<PathBuf>,
}

/// The admin socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    /// Where.
    pub(crate) path: PathBuf,
    /// Name or number.
    pub(crate) owner: String,
    /// Name or number.
    pub(crate) group: String,
    /// Its permission bits.
    pub(crate) mode: u32,
}
