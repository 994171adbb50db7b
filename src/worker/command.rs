//! What a worker is started with: the launch command line and the allow-listed environment.
//! Pure: it reads neither the daemon's environment nor the disk; both come in as arguments.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::sys::cgroup::Group;

/// All that is needed to start one worker.
#[derive(Debug, Clone)]
pub struct LaunchSpec {
    /// Name of the server the worker serves, for messages only.
    pub server: String,
    /// The `mainstayd` binary whose `launch` subcommand narrows the process before exec; see
    /// [`own_launcher`](crate::worker::process::own_launcher).
    pub launcher: PathBuf,
    /// The worker's command, `argv[0]` first; not empty. Looked up in the worker's own `PATH`; a
    /// relative path is relative to `cwd`.
    pub program: Vec<OsString>,
    /// The complete environment, allow-list already applied (see [`environment`]).
    pub env: Vec<(OsString, OsString)>,
    /// Working directory; the scratch directory when `None`.
    pub cwd: Option<PathBuf>,
    /// The worker's private directory (see [`Scratch`](crate::worker::scratch::Scratch)).
    pub scratch: PathBuf,
    /// Most open files (`RLIMIT_NOFILE`); lowered to the daemon's own hard limit if above it.
    pub open_files: u64,
    /// Largest core dump in bytes (`RLIMIT_CORE`); 0 for none.
    pub core_bytes: u64,
    /// Most processes and threads of the worker's user (`RLIMIT_NPROC`), counted by the kernel over
    /// the whole user; `None` leaves the daemon's own limit.
    pub processes: Option<u64>,
    /// What is open to the worker beside the usual; `None`: no fence at all.
    pub fence: Option<Fence>,
    /// The cgroup it is put into, with everything it starts; made for it alone.
    pub group: Option<Group>,
}

/// What the configuration opens in the fence of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fence {
    /// For reading and executing; absolute.
    pub read: Vec<PathBuf>,
    /// For writing too; absolute.
    pub write: Vec<PathBuf>,
}

impl LaunchSpec {
    /// The arguments of the launcher: the hidden subcommand, what to narrow, `--`, the command.
    #[must_use]
    pub fn launch_arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![
            "launch".into(),
            "--scratch".into(),
            self.scratch.clone().into(),
            "--open-files".into(),
            self.open_files.to_string().into(),
            "--core-bytes".into(),
            self.core_bytes.to_string().into(),
        ];
        if let Some(group) = &self.group {
            arguments.extend(["--cgroup".into(), group.path().into()]);
        }
        if let Some(processes) = self.processes {
            arguments.extend(["--processes".into(), processes.to_string().into()]);
        }
        if let Some(cwd) = &self.cwd {
            arguments.extend(["--cwd".into(), cwd.clone().into()]);
        }
        if let Some(fence) = &self.fence {
            arguments.push("--fence".into());
            for (option, paths) in [("--read", &fence.read), ("--write", &fence.write)] {
                for path in paths {
                    arguments.extend([option.into(), path.clone().into()]);
                }
            }
        }
        arguments.push("--".into());
        arguments.extend(self.program.iter().cloned());
        arguments
    }
}

/// Taken from the daemon's environment without being named: where to find programs, how to speak,
/// which clock, which certificates.
const PASSED: [&str; 5] = ["PATH", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Used when the daemon itself has no `PATH`: the directories of Debian's own default.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What the service manager tells the daemon alone. A worker that had these could report the
/// daemon's state, take its sockets or find its secrets, so not even the configuration can pass them.
fn is_service_private(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    matches!(
        name,
        "NOTIFY_SOCKET" | "CREDENTIALS_DIRECTORY" | "JOURNAL_STREAM" | "INVOCATION_ID"
    ) || name.starts_with("LISTEN_")
        || name.starts_with("WATCHDOG_")
}

/// The worker's environment. The last of these wins: what is passed on from `base` (the daemon's
/// own environment) by the allow-list or because `pass` names it; the private directories below
/// `scratch`, and unbuffered Python; the server's `own` settings. Sorted by name, each name once.
#[must_use]
pub fn environment(
    base: impl Iterator<Item = (OsString, OsString)>,
    pass: &[String],
    own: &BTreeMap<String, String>,
    scratch: &Path,
) -> Vec<(OsString, OsString)> {
    let mut env: BTreeMap<OsString, OsString> = BTreeMap::new();
    env.insert("PATH".into(), DEFAULT_PATH.into());
    env.extend(base.filter(|(name, _)| {
        PASSED.iter().any(|passed| name == passed)
            || name.to_str().is_some_and(|name| name.starts_with("LC_"))
            || pass.iter().any(|passed| name == passed.as_str())
    }));
    env.extend(private_directories(scratch));
    // A Python worker whose stdout is no terminal keeps small frames in its buffer otherwise.
    env.insert("PYTHONUNBUFFERED".into(), "1".into());
    env.extend(own.iter().map(|(name, value)| (name.into(), value.into())));
    env.retain(|name, _| !is_service_private(name));
    env.into_iter().collect()
}

/// Where programs keep files nobody asked for, all below the scratch directory so that they end
/// with the worker.
fn private_directories(scratch: &Path) -> [(OsString, OsString); 5] {
    let home = scratch.join("home");
    let cache = scratch.join("cache");
    [
        ("TMPDIR".into(), scratch.join("tmp").into()),
        ("HOME".into(), home.into()),
        ("npm_config_cache".into(), cache.join("npm").into()),
        ("UV_CACHE_DIR".into(), cache.join("uv").into()),
        ("XDG_CACHE_HOME".into(), cache.into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(
        base: &[(&str, &str)],
        pass: &[&str],
        own: &[(&str, &str)],
    ) -> BTreeMap<String, String> {
        let pass: Vec<String> = pass.iter().map(|name| (*name).to_owned()).collect();
        let own = own
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let base = base.iter().map(|(name, value)| (name.into(), value.into()));
        environment(base, &pass, &own, Path::new("/scratch"))
            .into_iter()
            .map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap()))
            .collect()
    }

    #[test]
    fn only_the_allow_list_passes() {
        let base = [
            ("PATH", "/bin"),
            ("LC_TIME", "C"),
            ("TZ", "UTC"),
            ("LD_PRELOAD", "x.so"),
            ("SECRET", "s"),
        ];
        let names: Vec<String> = built(&base, &[], &[]).into_keys().collect();
        assert_eq!(
            names,
            [
                "HOME",
                "LC_TIME",
                "PATH",
                "PYTHONUNBUFFERED",
                "TMPDIR",
                "TZ",
                "UV_CACHE_DIR",
                "XDG_CACHE_HOME",
                "npm_config_cache"
            ]
        );
    }

    #[test]
    fn named_variables_pass_and_own_ones_win() {
        let env = built(
            &[("TOKEN", "daemon"), ("HOME", "/daemon")],
            &["TOKEN", "ABSENT"],
            &[("HOME", "/srv"), ("PATH", "/opt/bin")],
        );
        assert_eq!(env["TOKEN"], "daemon");
        assert_eq!(env["HOME"], "/srv");
        assert_eq!(env["PATH"], "/opt/bin");
        assert!(!env.contains_key("ABSENT"));
    }

    #[test]
    fn what_belongs_to_the_service_manager_never_passes() {
        let names = [
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "LISTEN_FDNAMES",
            "WATCHDOG_USEC",
            "CREDENTIALS_DIRECTORY",
            "JOURNAL_STREAM",
            "INVOCATION_ID",
        ];
        let base: Vec<(&str, &str)> = names.iter().map(|name| (*name, "v")).collect();
        let env = built(&base, &names, &base);
        for name in names {
            assert!(!env.contains_key(name), "{name} passed");
        }
    }

    #[test]
    fn a_daemon_without_a_path_still_gives_one() {
        assert_eq!(built(&[], &[], &[])["PATH"], DEFAULT_PATH);
    }

    #[test]
    fn the_command_comes_after_a_double_dash() {
        let spec = LaunchSpec {
            server: "music".into(),
            launcher: "/proc/self/exe".into(),
            program: vec!["tool".into(), "--scratch".into()],
            env: Vec::new(),
            cwd: Some("/srv".into()),
            scratch: "/scratch".into(),
            open_files: 10,
            core_bytes: 0,
            processes: Some(7),
            fence: Some(Fence {
                read: vec!["/r".into()],
                write: vec!["/w".into(), "/x".into()],
            }),
            group: None,
        };
        assert_eq!(
            spec.launch_arguments(),
            [
                "launch",
                "--scratch",
                "/scratch",
                "--open-files",
                "10",
                "--core-bytes",
                "0",
                "--processes",
                "7",
                "--cwd",
                "/srv",
                "--fence",
                "--read",
                "/r",
                "--write",
                "/w",
                "--write",
                "/x",
                "--",
                "tool",
                "--scratch"
            ]
        );
    }
}
