//! A hostile worker does not get out of its fence, and an honest one does not notice it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]
#![allow(dead_code, reason = "support is shared by several tests")]

mod support;

use std::fs;
use std::io::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use mainstay::sys::fence::{SCOPED, abi};
use serde_json::{Map, Value, json};
use support::daemon::Daemon;
use support::mcp::Session;

/// Where every distribution has it; one below somebody's home is no program of the system.
const PYTHON: &str = "/usr/bin/python3";

/// What the worker is allowed to do at least.
const GOOD: usize = 10;

/// Past the capture of the test's own output: whoever runs the tests should see it.
fn not_run(why: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: fence: {why}");
}

/// Whether the hostile worker can be run here, and what the kernel can keep it from.
fn kernel() -> Option<u32> {
    if !Path::new(PYTHON).is_file() {
        not_run(&format!("the hostile worker needs {PYTHON}"));
        return None;
    }
    let Some(version) = abi() else {
        not_run("this kernel has no landlock (CONFIG_SECURITY_LANDLOCK, lsm=landlock)");
        return None;
    };
    if version < SCOPED {
        not_run(&format!(
            "landlock {version} keeps no signals and abstract sockets in: not looked at"
        ));
    }
    Some(version)
}

/// A daemon without privileges, one hostile worker, and files around them that are not its business.
struct Bench {
    daemon: Daemon,
}

impl Bench {
    /// `@` in `sandbox` is the directory of the daemon.
    fn new(sandbox: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for directory in ["worker", "data", "other"] {
            fs::create_dir(at(directory)).unwrap();
        }
        fs::copy("tests/systemd/cases/hostile", at("worker/worker.py")).unwrap();
        for file in ["secret", "data/file", "other/file"] {
            fs::write(at(file), "secret").unwrap();
            open_to_all(&at(file));
        }
        for directory in ["data", "other", "worker"] {
            open_to_all(&at(directory));
        }
        let servers = format!(
            "[servers.hostile]\ncommand = [{PYTHON:?}, {:?}]\nstate = \"shared\"\n\
             [servers.hostile.sandbox]\n{}\n",
            at("worker/worker.py"),
            sandbox.replace('@', dir.path().to_str().unwrap()),
        );
        Self {
            daemon: Daemon::start_unprivileged(dir, &servers),
        }
    }

    fn at(&self, path: &str) -> String {
        self.daemon.dir().join(path).display().to_string()
    }

    fn attack(&self, arguments: &Value) -> Map<String, Value> {
        let session = Session::open(&self.daemon);
        let text = session.text("attack", arguments);
        serde_json::from_str(&text).expect(&text)
    }
}

/// So that nothing but the fence is in the way.
fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

fn of<'a>(report: &'a Map<String, Value>, start: &str) -> Vec<(&'a str, &'a str)> {
    let attempts = report.iter().filter(|(name, _)| name.starts_with(start));
    attempts
        .map(|(name, result)| (name.as_str(), result.as_str().unwrap()))
        .collect()
}

#[track_caller]
fn all(report: &Map<String, Value>, start: &str, count: usize, result: &str) {
    let found = of(report, start);
    assert_eq!(found.len(), count, "{start}: {report:#?}");
    for (name, seen) in found {
        assert!(seen.starts_with(result), "{name}: {seen}, not {result}");
    }
}

#[test]
fn files_outside_are_closed_and_what_any_program_needs_is_open() {
    if kernel().is_none() {
        return;
    }
    let bench = Bench::new("landlock = \"on\"\nread_paths = [\"@/data\"]");
    let report = bench.attack(&json!({
        "read": [
            bench.at("secret"), bench.at("other"), bench.at("other/file"), bench.at("mainstay.toml"),
            bench.at("state"), bench.at("state/scratch"), bench.at("."), "/etc", "/tmp", "/run",
        ],
        "write": [
            bench.at("new"), bench.at("data/file"), bench.at("data/new"), bench.at("secret"),
            bench.at("state/lock"), bench.at("worker/worker.py"), "/tmp/fence", "/dev/fence",
        ],
    }));
    all(&report, "read ", 10, "denied: EACCES");
    all(&report, "write ", 8, "denied: EACCES");
    all(
        &report,
        "own ",
        5,
        if cgroup2() { "denied" } else { "not tried" },
    );
    all(&report, "good ", GOOD, "done");
}

/// The hierarchy is mounted where workers would look for it.
fn cgroup2() -> bool {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    own.lines().any(|line| line.starts_with("0::"))
        && Path::new("/sys/fs/cgroup/cgroup.procs").exists()
}

#[test]
fn the_configuration_opens_what_it_names() {
    if kernel().is_none() {
        return;
    }
    let bench = Bench::new(
        "landlock = \"on\"\nread_paths = [\"@/data\", \"@/absent\"]\nwrite_paths = [\"@/other\"]",
    );
    let report = bench.attack(&json!({
        "read": [bench.at("data"), bench.at("data/file"), bench.at("other/file"), bench.at("worker")],
        "write": [bench.at("other/file"), bench.at("other/new")],
    }));
    all(&report, "read ", 4, "done");
    all(&report, "write ", 2, "done");
}

#[test]
fn without_a_service_manager_there_is_no_fence_unless_asked_for() {
    if kernel().is_none() {
        return;
    }
    for sandbox in ["", "landlock = \"auto\"", "landlock = \"off\""] {
        let bench = Bench::new(sandbox);
        let report = bench.attack(&json!({"read": [bench.at("secret")]}));
        all(&report, "read ", 1, "done");
    }
}

#[test]
fn the_daemon_cannot_be_looked_into() {
    let Some(version) = kernel() else {
        return;
    };
    // Without the fence too: what keeps it out here is that the daemon is not dumpable.
    for (sandbox, landlock) in [("landlock = \"on\"", true), ("landlock = \"off\"", false)] {
        let bench = Bench::new(sandbox);
        let mut report = bench.attack(&json!({
            "pid": bench.daemon.pid(),
            "port": bench.daemon.address().port(),
        }));
        let signalled = report.remove("daemon signalled").unwrap();
        if landlock && version >= SCOPED {
            assert_eq!(signalled, "denied: EPERM");
        }
        let limits = report.remove("daemon limits").unwrap();
        let by_x32 = report.remove("daemon limits by x32").unwrap();
        if landlock {
            assert_eq!(limits, "denied: EPERM");
            // A kernel without these numbers would say ENOSYS.
            if cfg!(target_arch = "x86_64") {
                assert_eq!(by_x32, "denied: EPERM");
            }
        }
        all(&report, "daemon ", 13, "denied");
        all(&report, "listener", 1, "denied: EADDRINUSE");
        assert_eq!(report["variables"], json!([]));
    }
}

#[test]
fn an_abstract_socket_outside_is_out_of_reach() {
    let Some(version) = kernel() else {
        return;
    };
    let name = format!("mainstay-fence-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let reach = |landlock: &str| {
        let bench = Bench::new(&format!("landlock = {landlock:?}"));
        let mut report = bench.attack(&json!({"abstract": name}));
        report.remove("abstract socket").unwrap()
    };
    assert_eq!(reach("off"), "done");
    if version >= SCOPED {
        assert_eq!(reach("on"), "denied: EPERM");
    }
}

#[test]
fn a_worker_that_needs_more_than_it_gets_is_told_what_to_do() {
    if kernel().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let script = format!("import sys; open({:?})", file.display().to_string());
    let servers = format!(
        "[servers.a]\ncommand = [{PYTHON:?}, \"-c\", {script:?}]\nsandbox = {{ landlock = \"on\" }}\n"
    );
    let daemon = Daemon::start_unprivileged(dir, &servers);
    let status = daemon.until("a start has failed", |s| s.last_failure.is_some());
    let what = status.last_failure.unwrap().what;
    assert!(what.contains("read_paths"), "{what}");
}
