//! What the configuration takes from outside its files: the command line and a few environment
//! variables, as plain data, so that tests can say what they are. Only
//! [`Environment::from_process`] looks at the process itself.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Name of the daemon's own directories.
const NAME: &str = "mainstay";

/// What the command line sets; it wins over the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen ADDR:PORT`.
    pub listen: Option<SocketAddr>,
    /// `--state-dir DIR`. It moves the default admin socket too, so that two daemons with two
    /// state directories do not meet.
    pub state_dir: Option<PathBuf>,
}

/// The surroundings that decide the default directories. The default value is a packaged daemon
/// run by root without systemd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `STATE_DIRECTORY` of systemd.exec(5).
    pub state_directory: Option<PathBuf>,
    /// `RUNTIME_DIRECTORY` of systemd.exec(5).
    pub runtime_directory: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub xdg_state_home: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// Effective user id.
    pub uid: u32,
}

impl Environment {
    /// Reads the environment of this process. Relative paths are ignored, as the XDG base
    /// directory specification wants it.
    #[must_use]
    pub fn from_process() -> Self {
        Self {
            state_directory: directory("STATE_DIRECTORY"),
            runtime_directory: directory("RUNTIME_DIRECTORY"),
            xdg_state_home: directory("XDG_STATE_HOME"),
            xdg_runtime_dir: directory("XDG_RUNTIME_DIR"),
            home: directory("HOME"),
            // The owner of /proc/self is the effective user (proc(5)). Without /proc nobody can
            // tell; an ordinary user's directories are the safer guess.
            uid: std::fs::metadata("/proc/self").map_or(u32::MAX, |about| about.uid()),
        }
    }

    /// Where state is kept if nobody says where; `None` if nothing tells.
    pub(super) fn state_dir(&self) -> Option<PathBuf> {
        if let Some(dir) = &self.state_directory {
            return Some(dir.clone());
        }
        if self.uid == 0 {
            return Some(PathBuf::from("/var/lib").join(NAME));
        }
        let base = self.xdg_state_home.clone();
        let base = base.or_else(|| Some(self.home.as_ref()?.join(".local/state")))?;
        Some(base.join(NAME))
    }

    /// Where sockets are kept if nobody says where; `None` if only the state directory is left.
    pub(super) fn runtime_dir(&self) -> Option<PathBuf> {
        if let Some(dir) = &self.runtime_directory {
            return Some(dir.clone());
        }
        if self.uid == 0 {
            return Some(PathBuf::from("/run").join(NAME));
        }
        Some(self.xdg_runtime_dir.as_ref()?.join(NAME))
    }
}

/// An absolute path from the environment; of a list as systemd.exec(5) makes it, the first.
fn directory(variable: &str) -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge that reads the environment"
    )]
    let value = std::env::var(variable).ok()?;
    let first = PathBuf::from(value.split(':').next()?);
    first.is_absolute().then_some(first)
}
