//! Whether the daemon has a cgroup tree of its own, and if not, why not and what to do: the same
//! words for the log, for the views and for `mainstayctl doctor`.

use std::fmt;
use std::path::PathBuf;

use super::controllers::Controllers;

/// How the daemon stands with the kernel's control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has a subtree of its own: workers are killed as a whole, and limited by the controllers.
    Delegated {
        /// The directory of the unit.
        top: PathBuf,
        /// What limits workers; may be none.
        controllers: Controllers,
        /// The machine has cgroup v1 besides, which then has the other controllers.
        hybrid: bool,
    },
    /// It has none: workers are known by session and process group, and weighed through procfs.
    Without(Why),
}

impl Standing {
    /// Whether nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match self {
            Self::Delegated { controllers, .. } => controllers.missing().is_empty(),
            Self::Without(_) => false,
        }
    }

    /// What to do to get what is missing; `None` if nothing is, or it was asked for.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Delegated { hybrid: true, .. } => Some(
                "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line, so \
                 that cgroup v2 has the controllers",
            ),
            Self::Delegated { .. } if self.is_complete() => None,
            Self::Delegated { .. } => Some(
                "set Delegate=memory pids cpu in the unit; in a container, give it these \
                 controllers",
            ),
            Self::Without(why) => why.advice(),
        }
    }
}

impl fmt::Display for Standing {
    /// One clause, without the advice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delegated {
                top, controllers, ..
            } => {
                write!(f, "delegated at {}", top.display())?;
                for (word, names) in [
                    ("with", controllers.names()),
                    ("without", controllers.missing()),
                ] {
                    if !names.is_empty() {
                        write!(f, ", {word} {}", names.join(" "))?;
                    }
                }
                Ok(())
            }
            Self::Without(why) => write!(f, "not used: {why}"),
        }
    }
}

/// Why the daemon has no cgroup tree of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The configuration says so.
    #[error("the configuration says cgroup = \"off\"")]
    Off,
    /// No cgroup v2 is mounted.
    #[error("this machine has no cgroup v2")]
    Version1,
    /// The own cgroup is not below the mount, as in some containers.
    #[error("the cgroup of this process, {0}, is not within the mounted file system")]
    Elsewhere(PathBuf),
    /// Nobody gave it to us.
    #[error("the cgroup {0} is not delegated to the daemon")]
    NotDelegated(PathBuf),
    /// It is ours, but it cannot be written.
    #[error("the cgroup {top} cannot be written: {error}")]
    NotWritable {
        /// The directory of the unit.
        top: PathBuf,
        /// What the kernel said.
        error: String,
    },
    /// It was there, and the kernel refused to let us set it up.
    #[error("the cgroup {top} cannot be set up: {error}")]
    Refused {
        /// The directory of the unit.
        top: PathBuf,
        /// What the kernel said, with what was attempted.
        error: String,
    },
}

impl Why {
    /// What to do about it; `None` if it was asked for.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Off => None,
            Self::Version1 => Some(
                "boot with cgroup v2, which is the default since Debian 11; workers are watched \
                 through procfs meanwhile",
            ),
            Self::Elsewhere(_) => Some("start the container with a cgroup namespace of its own"),
            Self::NotDelegated(_) => Some(
                "run it as a service of systemd with Delegate=memory pids cpu, or, where its \
                 cgroup belongs to nobody else, set cgroup = \"own\"",
            ),
            Self::NotWritable { .. } => Some(
                "set Delegate= in the unit and leave ProtectControlGroups= off; in a container, \
                 mount the cgroup file system writable",
            ),
            Self::Refused { .. } => Some("see the kernel's words; restart the unit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_is_said_with_what_to_do() {
        let with = |names, hybrid| Standing::Delegated {
            top: "/c/unit".into(),
            controllers: Controllers::parse(names),
            hybrid,
        };
        let all = with("memory pids cpu", false);
        assert!(all.is_complete() && all.advice().is_none());
        assert_eq!(
            all.to_string(),
            "delegated at /c/unit, with memory pids cpu"
        );
        let some = with("cpu", false);
        assert!(!some.is_complete());
        assert_eq!(
            some.to_string(),
            "delegated at /c/unit, with cpu, without memory pids"
        );
        assert!(some.advice().unwrap().contains("Delegate="));
        let hybrid = with("", true);
        assert_eq!(
            hybrid.to_string(),
            "delegated at /c/unit, without memory pids cpu"
        );
        assert!(hybrid.advice().unwrap().contains("unified_cgroup"));
        let without = Standing::Without(Why::NotDelegated("/c/session".into()));
        assert_eq!(
            without.to_string(),
            "not used: the cgroup /c/session is not delegated to the daemon"
        );
        assert!(without.advice().is_some() && !without.is_complete());
        assert_eq!(Standing::Without(Why::Off).advice(), None);
    }
}
