//! Workers in control groups of the kernel's own. Needs a cgroup v2 that can be written, which root
//! has on most machines; elsewhere each test says that it is not run. Limits need controllers, so
//! they are for the machines of tests/systemd.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use mainstay::sys::cgroup::{LeafLimits, Tree};
use nix::sys::signal::Signal;
use serde_json::json;
use support::daemon::{Daemon, chaos, signal, until};
use support::mcp::Session;

const LIMITS: LeafLimits = LeafLimits {
    memory_max: 1 << 30,
    pids_max: Some(512),
    cpu_weight: 100,
};
const PATIENCE: Duration = Duration::from_secs(60);

/// A control group for one test, removed with all that is in it.
struct Ground(PathBuf);

impl Ground {
    /// `None`, with a word on stderr, where none can be made.
    fn new(test: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        let point = mount.and_then(|line| line.split(' ').nth(4));
        let ground = Path::new(point.unwrap_or("/nonexistent"))
            .join(format!("mainstay-cargo-{}-{number}", std::process::id()));
        match fs::create_dir(&ground) {
            Ok(()) => Some(Self(ground)),
            Err(error) => {
                // Past the capture of the test's own output: whoever runs the tests should see it.
                let _ = writeln!(
                    io::stderr(),
                    "NOT RUN: {test} needs a writable cgroup v2: {}: {error}",
                    ground.display()
                );
                None
            }
        }
    }

    fn tree(&self) -> Tree {
        Tree::at(self.0.clone()).unwrap()
    }

    /// Who is in a group below.
    fn processes(&self, below: &str) -> Vec<u32> {
        let text = fs::read_to_string(self.0.join(below).join("cgroup.procs")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// The leaves of a server's workers.
    fn leaves(&self, server: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join("workers").join(server));
        let entries = entries.into_iter().flatten().flatten();
        let entries = entries.map(|entry| entry.path());
        let mut leaves: Vec<_> = entries.filter(|path| path.is_dir()).collect();
        leaves.sort();
        leaves
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let tree = self.tree();
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let _ = tree.clear_workers(PATIENCE);
        let _ = fs::remove_dir(self.0.join("workers"));
        for _ in 0..1000 {
            let _ = fs::remove_dir(self.0.join("supervisor"));
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            sleep(Duration::from_millis(5));
        }
    }
}

/// A process in this group. `exec` is what the shell becomes.
fn process_in(group: &Path, exec: &str) -> Child {
    let script = format!("echo $$ >{:?}/cgroup.procs || exit; {exec}", group);
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).stdin(Stdio::null());
    // What is left by mistake must not hold up whoever reads the output of the tests.
    shell.stdout(Stdio::null()).stderr(Stdio::null());
    let child = shell.spawn().unwrap();
    until("the process is in its group", || {
        let inside = fs::read_to_string(group.join("cgroup.procs")).unwrap();
        inside
            .lines()
            .any(|line| line == child.id().to_string())
            .then_some(())
    });
    child
}

#[test]
fn a_group_is_killed_and_removed_as_a_whole() {
    let Some(ground) = Ground::new("a_group_is_killed_and_removed_as_a_whole") else {
        return;
    };
    let mut tree = ground.tree();
    tree.settle().unwrap();
    let group = tree.server("a", 1 << 30).leaf(7, &LIMITS).unwrap();
    assert_eq!(group.populated(), Some(false));
    // One of them in a session of its own, one deaf to SIGTERM, one in a group below.
    fs::create_dir(group.path().join("below")).unwrap();
    let mut one = process_in(group.path(), "setsid sleep 1000 & trap '' TERM; sleep 1000");
    let mut two = process_in(&group.path().join("below"), "exec sleep 1000");
    until("all are there", || {
        (group.processes().len() >= 4).then_some(())
    });
    assert_eq!(group.populated(), Some(true));
    assert!(!group.remove(Duration::from_millis(20)).unwrap());
    assert!(group.kill().unwrap());
    for child in [&mut one, &mut two] {
        let status = child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(Signal::SIGKILL as i32)
        );
    }
    assert!(group.remove(PATIENCE).unwrap());
    assert!(!group.path().exists());
    assert_eq!(group.populated(), None);
    assert!(!group.kill().unwrap(), "gone is a value");
}

#[test]
fn settling_moves_what_is_in_the_top_and_nothing_else() {
    let Some(ground) = Ground::new("settling_moves_what_is_in_the_top_and_nothing_else") else {
        return;
    };
    let elsewhere = ground.0.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let mut other = process_in(&elsewhere, "exec sleep 1000");
    let mut own = process_in(&ground.0, "exec sleep 1000");
    ground.tree().settle().unwrap();
    assert!(ground.processes("").is_empty());
    assert_eq!(ground.processes("supervisor"), [own.id()]);
    assert_eq!(ground.processes("elsewhere"), [other.id()]);
    for child in [&mut own, &mut other] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    until("the group is empty", || {
        fs::remove_dir(&elsewhere).is_ok().then_some(())
    });
}

#[test]
fn a_worker_dies_with_all_it_started() {
    let Some(ground) = Ground::new("a_worker_dies_with_all_it_started") else {
        return;
    };
    let servers = format!("[servers.chaos]\n{}state = \"shared\"\n", chaos(&[]));
    let daemon = Daemon::start_below(&ground.0, tempfile::tempdir().unwrap(), &servers);
    let daemon = daemon.until_healthy();
    assert!(ground.processes("").is_empty());
    assert_eq!(ground.processes("supervisor"), [daemon.pid()]);
    let told = daemon.status().host.unwrap().cgroup;
    assert!(told.starts_with("delegated at "), "{told}");
    let session = Session::open(&daemon);
    let worker = daemon.server().workers[0].pid;
    let leaf = ground.leaves("chaos").remove(0);
    assert!(
        fs::read_to_string(leaf.join("cgroup.procs"))
            .unwrap()
            .contains(&worker.to_string())
    );
    // Out of its session, out of its process group, no child of anybody's but of init's.
    let said = session.text("daemonise", &json!({}));
    let grandchild: u32 = said
        .split(|c: char| !c.is_ascii_digit())
        .find_map(|w| w.parse().ok())
        .unwrap();
    let in_leaf = || fs::read_to_string(leaf.join("cgroup.procs")).unwrap_or_default();
    assert!(
        in_leaf().lines().any(|l| l == grandchild.to_string()),
        "{said}: {}",
        in_leaf()
    );
    signal(worker, Signal::SIGKILL);
    until("the leaf is gone with the grandchild", || {
        (!leaf.exists()).then_some(())
    });
    assert!(!Path::new(&format!("/proc/{grandchild}")).exists() || is_zombie(grandchild));
    daemon.until("there is another worker", |s| {
        s.ready == 1 && s.workers.iter().all(|w| w.pid != worker)
    });
    assert_eq!(ground.leaves("chaos").len(), 1);
    daemon.stop();
    assert!(ground.leaves("chaos").is_empty());
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

#[test]
fn a_start_ends_the_workers_of_an_earlier_life() {
    let Some(ground) = Ground::new("a_start_ends_the_workers_of_an_earlier_life") else {
        return;
    };
    let mut tree = ground.tree();
    tree.settle().unwrap();
    let group = tree.server("gone", 1 << 30).leaf(1, &LIMITS).unwrap();
    let mut left = process_in(group.path(), "trap '' TERM; exec sleep 1000");
    let servers = format!("[servers.chaos]\n{}", chaos(&[]));
    let daemon = Daemon::start_below(&ground.0, tempfile::tempdir().unwrap(), &servers);
    // It listens, so that is over.
    assert!(left.try_wait().unwrap().is_some(), "{}", daemon.log());
    assert!(!group.path().exists() && ground.leaves("gone").is_empty());
    let log = daemon.until_healthy().stop();
    assert!(log.contains("killed 1 workers of an earlier life"), "{log}");
}

#[test]
fn a_worker_that_cannot_be_put_into_its_group_is_not_started() {
    let launcher = env!("CARGO_BIN_EXE_mainstayd");
    let scratch = tempfile::tempdir().unwrap();
    let output = Command::new(launcher)
        .args(["launch", "--cgroup", "/nonexistent/group", "--scratch"])
        .arg(scratch.path())
        .args([
            "--open-files",
            "64",
            "--core-bytes",
            "0",
            "--",
            "echo",
            "it ran",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(111), "{told}");
    assert!(
        told.contains("cannot enter its control group") && told.contains("/nonexistent"),
        "{told}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn post_stop_is_for_the_service_manager() {
    let post_stop = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstayd"));
        command.arg("post-stop").env_remove("SERVICE_RESULT");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, told) = post_stop(&[]);
    assert_eq!(code, Some(64), "{told}");
    // Nobody delegated a cgroup to the tests, so it leaves everything alone.
    let (code, told) = post_stop(&[("SERVICE_RESULT", "success")]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("nothing to do: "), "{told}");
}
