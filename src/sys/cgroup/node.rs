//! One directory of a cgroup v2 file system, with the names and the manners of the kernel's files
//! in it: what is gone is a value, what is busy is tried again. It does not know what a directory
//! is for. Works on any directory tree, so that tests can lay out one of their own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::controllers::Controllers;
use super::events::MemoryEvents;
use crate::sys::process;

const PROCS: &str = "cgroup.procs";
const AVAILABLE: &str = "cgroup.controllers";
const ENABLED: &str = "cgroup.subtree_control";
const EVENTS: &str = "cgroup.events";
const KILL: &str = "cgroup.kill";
const MEMORY_CURRENT: &str = "memory.current";
const MEMORY_PEAK: &str = "memory.peak";
const MEMORY_STAT: &str = "memory.stat";
const MEMORY_EVENTS: &str = "memory.events";
pub(super) const MEMORY_PRESSURE: &str = "memory.pressure";
const PIDS_CURRENT: &str = "pids.current";

/// Tries for an answer of "not now"; a millisecond lies between them.
const TRIES: u32 = 10;
/// Looks at the processes of a cgroup without `cgroup.kill` (before Linux 5.14): what forks between
/// two looks is seen by the next.
const KILL_ROUNDS: usize = 5;
/// Deepest nesting looked at below a node; a worker may make cgroups of its own where nothing
/// keeps it from that.
const MOST_DEPTH: usize = 32;

/// One directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node(PathBuf);

impl Node {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn child(&self, name: &str) -> Self {
        Self(self.0.join(name))
    }

    pub(super) fn exists(&self) -> bool {
        self.0.is_dir()
    }

    /// Makes the directory; `false` if it was there.
    pub(super) fn create(&self) -> io::Result<bool> {
        match patiently(|| fs::create_dir(&self.0)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the directory; `false` while it has processes or children.
    pub(super) fn remove(&self) -> io::Result<bool> {
        match fs::remove_dir(&self.0) {
            Ok(()) => Ok(true),
            Err(error) if is_gone(&error) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The directories in it; none if it is gone or cannot be read.
    pub(super) fn children(&self) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(&self.0) else {
            return Vec::new();
        };
        let mut children: Vec<_> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| Self(entry.path()))
            .collect();
        children.sort_by(|one, other| one.0.cmp(&other.0));
        children
    }

    /// It and everything below it, the deepest first.
    pub(super) fn deepest_first(&self) -> Vec<Self> {
        let mut all = vec![(self.clone(), 0)];
        let mut at = 0;
        while let Some((node, depth)) = all.get(at).cloned() {
            if depth < MOST_DEPTH {
                all.extend(node.children().into_iter().map(|child| (child, depth + 1)));
            }
            at += 1;
        }
        all.sort_by_key(|(_, depth)| std::cmp::Reverse(*depth));
        all.into_iter().map(|(node, _)| node).collect()
    }

    /// The text of a file; `None` if it, or the whole directory, is gone.
    fn read(&self, file: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.0.join(file)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a file in one piece; `false` if it, or the whole directory, is gone.
    pub(super) fn write(&self, file: &str, value: &str) -> io::Result<bool> {
        let path = self.0.join(file);
        let written = patiently(|| {
            // Without O_CREAT: a file that is not there is a controller that is not there.
            OpenOptions::new()
                .write(true)
                .open(&path)?
                .write_all(value.as_bytes())
        });
        match written {
            Ok(()) => Ok(true),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(named(&error, &format!("write \"{value}\" to"), &path)),
        }
    }

    /// The error for a file that should be there.
    pub(super) fn without(&self, file: &str) -> io::Error {
        let gone = io::Error::from(io::ErrorKind::NotFound);
        named(&gone, "write", &self.0.join(file))
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.read(file).ok()??.trim().parse().ok()
    }

    /// Process ids in it, not in what is below it. Empty when it is gone.
    pub(super) fn processes(&self) -> io::Result<Vec<u32>> {
        let text = self.read(PROCS)?.unwrap_or_default();
        // A process outside our namespace shows as 0.
        let ids = text.lines().filter_map(|line| line.trim().parse().ok());
        Ok(ids.filter(|pid| *pid > 0).collect())
    }

    /// Moves a process into it, 0 being the one that asks; `false` if the process has ended.
    pub(super) fn admit(&self, pid: u32) -> io::Result<bool> {
        if !self.exists() {
            let gone = io::Error::from(io::ErrorKind::NotFound);
            return Err(named(&gone, "move a process into", &self.0));
        }
        match self.write(PROCS, &pid.to_string()) {
            Ok(written) => Ok(written),
            Err(error) if is_no_process(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Which of ours it could give to its children.
    pub(super) fn available(&self) -> io::Result<Controllers> {
        Ok(Controllers::parse(
            &self.read(AVAILABLE)?.unwrap_or_default(),
        ))
    }

    /// Which of ours its children have.
    pub(super) fn enabled(&self) -> io::Result<Controllers> {
        Ok(Controllers::parse(&self.read(ENABLED)?.unwrap_or_default()))
    }

    /// Gives a controller to its children, or takes it from them.
    pub(super) fn control(&self, sign: char, controller: &str) -> io::Result<()> {
        self.write(ENABLED, &format!("{sign}{controller}"))?;
        Ok(())
    }

    /// Whether a process lives in it or below it; `None` when it is gone, or cannot be told.
    pub(super) fn populated(&self) -> Option<bool> {
        let events = self.read(EVENTS).ok()??;
        let mut lines = events.lines();
        lines.find_map(|line| Some(line.strip_prefix("populated ")?.trim() == "1"))
    }

    /// Kills (SIGKILL) everything in it and below it; `false` if it is gone.
    pub(super) fn kill(&self) -> io::Result<bool> {
        if self.write(KILL, "1")? {
            return Ok(true);
        }
        if !self.exists() {
            return Ok(false);
        }
        for _ in 0..KILL_ROUNDS {
            let mut found = false;
            for node in self.deepest_first() {
                for pid in node.processes()? {
                    found |= process::kill_process(pid)?;
                }
            }
            if !found {
                break;
            }
        }
        Ok(true)
    }

    /// Removes it and everything below it, waiting until the processes are gone, but for no longer
    /// than `within`. `false` if something is left. Blocks.
    pub(super) fn clear(&self, within: Duration) -> io::Result<bool> {
        let end = Instant::now() + within;
        let mut pause = Duration::from_millis(2);
        loop {
            let mut gone = true;
            for node in self.deepest_first() {
                gone = node.remove()?;
            }
            let now = Instant::now();
            if gone || now >= end {
                return Ok(gone);
            }
            sleep(pause.min(end - now));
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    pub(super) fn memory_current(&self) -> Option<u64> {
        self.number(MEMORY_CURRENT)
    }

    /// What cannot be had back by dropping pages of files.
    pub(super) fn memory_used(&self) -> Option<u64> {
        let stat = self.read(MEMORY_STAT).ok()??;
        let files = ["inactive_file ", "active_file "].map(|name| {
            let found = stat.lines().find_map(|line| line.strip_prefix(name));
            found.and_then(|n| n.trim().parse().ok()).unwrap_or(0_u64)
        });
        // The two are not read at the same moment.
        let files = files.iter().sum();
        Some(self.memory_current()?.saturating_sub(files))
    }

    pub(super) fn memory_peak(&self) -> Option<u64> {
        self.number(MEMORY_PEAK)
    }

    pub(super) fn memory_events(&self) -> Option<MemoryEvents> {
        let text = self.read(MEMORY_EVENTS).ok()??;
        Some(MemoryEvents::parse(&text))
    }

    pub(super) fn pids_current(&self) -> Option<u64> {
        self.number(PIDS_CURRENT)
    }

    pub(super) fn pressure_file(&self) -> Option<PathBuf> {
        let file = self.0.join(MEMORY_PRESSURE);
        file.exists().then_some(file)
    }
}

/// Whether this process could work in it: make directories, move processes.
pub(super) fn writable(node: &Node) -> io::Result<()> {
    use nix::unistd::{AccessFlags, eaccess};
    eaccess(node.path(), AccessFlags::W_OK | AccessFlags::X_OK)?;
    for file in [PROCS, ENABLED] {
        eaccess(&node.path().join(file), AccessFlags::W_OK)?;
    }
    Ok(())
}

/// ENOENT, or ENODEV of a file whose directory was removed after it was opened.
fn is_gone(error: &io::Error) -> bool {
    let device = nix::errno::Errno::ENODEV as i32;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(device)
}

fn is_no_process(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32)
}

/// Tries again while the kernel says "not now".
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match attempt() {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ResourceBusy
                ) =>
            {
                sleep(Duration::from_millis(1));
            }
            other => return other,
        }
    }
    attempt()
}

/// The error with what was attempted on what; its number stays readable only where it is looked
/// at, so `ESRCH` is kept as it is.
fn named(error: &io::Error, what: &str, path: &Path) -> io::Error {
    if is_no_process(error) {
        return io::Error::from_raw_os_error(error.raw_os_error().unwrap_or_default());
    }
    let advice = match error.raw_os_error().map(nix::errno::Errno::from_raw) {
        Some(nix::errno::Errno::ENOSPC) => {
            "; the limit of cgroups is reached (cgroup.max.depth, cgroup.max.descendants)"
        }
        _ => "",
    };
    io::Error::new(
        error.kind(),
        format!("cannot {what} {}: {error}{advice}", path.display()),
    )
}

/// For directories that cannot be made.
pub(super) fn not_made(error: &io::Error, node: &Node) -> io::Error {
    named(error, "make the control group", node.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Node) {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::new(dir.path().join("unit"));
        assert!(node.create().unwrap());
        (dir, node)
    }

    fn put(node: &Node, file: &str, text: &str) {
        fs::write(node.path().join(file), text).unwrap();
    }

    fn get(node: &Node, file: &str) -> String {
        fs::read_to_string(node.path().join(file)).unwrap()
    }

    #[test]
    fn what_is_gone_is_a_value() {
        let (_dir, node) = folder();
        let gone = node.child("gone");
        for node in [&node, &gone] {
            assert!(node.processes().unwrap().is_empty());
            assert_eq!(node.available().unwrap(), Controllers::default());
            assert_eq!(node.populated(), None);
            assert_eq!(node.memory_current(), None);
            assert_eq!(node.memory_events(), None);
            assert_eq!(node.pressure_file(), None);
            assert!(!node.write("pids.max", "1").unwrap());
        }
        assert!(gone.remove().unwrap());
        assert!(!gone.kill().unwrap());
        assert!(gone.clear(Duration::ZERO).unwrap());
        // Without a file of that name nothing was made.
        assert!(!node.path().join("pids.max").exists());
        let told = gone.admit(0).unwrap_err().to_string();
        assert!(told.contains("move a process into"), "{told}");
    }

    #[test]
    fn the_files_of_the_kernel_are_read_and_written() {
        let (_dir, node) = folder();
        put(&node, PROCS, "12\n0\n34\n");
        put(&node, EVENTS, "populated 1\nfrozen 0\n");
        put(&node, MEMORY_CURRENT, "4096\n");
        put(&node, MEMORY_PEAK, "max\n");
        put(&node, MEMORY_EVENTS, "oom_kill 1\n");
        put(&node, MEMORY_PRESSURE, "");
        put(&node, KILL, "");
        assert_eq!(node.processes().unwrap(), [12, 34]);
        assert_eq!(node.populated(), Some(true));
        assert_eq!(
            (node.memory_current(), node.memory_peak()),
            (Some(4096), None)
        );
        assert_eq!(node.memory_events().unwrap().oom_kill, 1);
        assert!(node.pressure_file().is_some());
        assert!(node.kill().unwrap());
        assert_eq!(get(&node, KILL), "1");
        put(&node, EVENTS, "populated 0\nfrozen 0\n");
        assert_eq!(node.populated(), Some(false));
        assert!(!node.create().unwrap(), "it was there");
        assert!(!node.remove().unwrap(), "it is not empty");
    }

    #[test]
    fn the_deepest_come_first() {
        let (_dir, top) = folder();
        let a = top.child("a");
        let deep = a.child("b");
        let c = top.child("c");
        for node in [&a, &deep, &c] {
            assert!(node.create().unwrap());
        }
        put(&top, PROCS, "");
        let order = top.deepest_first();
        assert_eq!(order, [deep, a.clone(), c, top.clone()]);
        assert!(a.clear(Duration::ZERO).unwrap() && !a.exists());
    }

    #[test]
    fn not_now_is_asked_again_and_other_errors_are_told() {
        let mut asked = 0;
        let answer = patiently(|| {
            asked += 1;
            match asked {
                1 => Err(io::ErrorKind::WouldBlock.into()),
                2 => Err(io::ErrorKind::ResourceBusy.into()),
                _ => Ok(asked),
            }
        });
        assert_eq!(answer.unwrap(), 3);
        let busy = patiently(|| -> io::Result<()> { Err(io::ErrorKind::ResourceBusy.into()) });
        assert_eq!(busy.unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        let full = io::Error::from_raw_os_error(nix::errno::Errno::ENOSPC as i32);
        let told = not_made(&full, &Node::new("/x")).to_string();
        assert!(
            told.starts_with("cannot make the control group /x: ") && told.contains("cgroup.max"),
            "{told}"
        );
    }
}
