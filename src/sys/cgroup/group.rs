//! The cgroup of one worker (a leaf), and of one server (its parent). A worker and everything it
//! starts is in its leaf, whatever sessions and groups it makes, so a kill leaves nobody out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::controllers::Controllers;
use super::events::MemoryEvents;
use super::node::{Node, not_made};

/// What one worker may have. What the machine has no controller for is not enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafLimits {
    /// Bytes of memory (`memory.max`); swap is not allowed at all.
    pub memory_max: u64,
    /// Processes and threads (`pids.max`); `None` is no limit.
    pub pids_max: Option<u64>,
    /// Share of the CPU (`cpu.weight`), 1 to 10,000, 100 being usual.
    pub cpu_weight: u64,
}

impl LeafLimits {
    /// What is written where, with these controllers.
    fn files(&self, controllers: Controllers) -> Vec<(&'static str, String)> {
        let mut files = Vec::new();
        if controllers.memory {
            files.extend([
                ("memory.max", self.memory_max.to_string()),
                // A worker that swaps is a worker that hangs.
                (SWAP_MAX, "0".to_owned()),
                // Killed as a whole: half a worker is none.
                ("memory.oom.group", "1".to_owned()),
            ]);
        }
        if controllers.pids {
            let pids = self.pids_max.map_or("max".to_owned(), |n| n.to_string());
            files.push(("pids.max", pids));
        }
        if controllers.cpu {
            files.push(("cpu.weight", self.cpu_weight.to_string()));
        }
        files
    }
}

/// Missing where the kernel does not account for swap; then there is nothing to limit.
const SWAP_MAX: &str = "memory.swap.max";

/// The cgroup of one worker.
#[derive(Clone, Debug)]
pub struct Group {
    node: Node,
    controllers: Controllers,
}

impl Group {
    /// Its directory, for `launch --cgroup`.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.node.path()
    }

    /// Kills (SIGKILL) every process in it at once, forks in progress included. `false` if the
    /// cgroup is gone.
    ///
    /// # Errors
    /// What the kernel says, such as `EACCES`.
    pub fn kill(&self) -> io::Result<bool> {
        self.node.kill()
    }

    /// Bytes of memory its processes use, page cache included; `None` if it is gone or the machine
    /// has no memory controller for it.
    #[must_use]
    pub fn memory_current(&self) -> Option<u64> {
        self.node.memory_current()
    }

    /// The same without the page cache, which the kernel takes back by itself before it kills.
    #[must_use]
    pub fn memory_used(&self) -> Option<u64> {
        self.node.memory_used()
    }

    /// The most bytes it ever used; `None` also before Linux 5.19.
    #[must_use]
    pub fn memory_peak(&self) -> Option<u64> {
        self.node.memory_peak()
    }

    /// What happened to its memory; `None` as with [`Self::memory_current`].
    #[must_use]
    pub fn memory_events(&self) -> Option<MemoryEvents> {
        self.node.memory_events()
    }

    /// Processes and threads in it; `None` if it is gone or the machine has no pids controller.
    #[must_use]
    pub fn pids_current(&self) -> Option<u64> {
        self.node.pids_current()
    }

    /// Whether a process lives in it; `None` if it is gone.
    #[must_use]
    pub fn populated(&self) -> Option<bool> {
        self.node.populated()
    }

    /// Process ids in it, those in cgroups that the worker made below it included; empty if it is
    /// gone or cannot be read.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let nodes = self.node.deepest_first().into_iter();
        nodes
            .flat_map(|node| node.processes().unwrap_or_default())
            .collect()
    }

    /// Removes it, waiting until it is empty but no longer than `within`; `false` if processes are
    /// left in it. Kills nobody. Blocks, so not for a thread of the runtime.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, within: Duration) -> io::Result<bool> {
        self.node.clear(within)
    }

    /// Sets its limits, as far as there are controllers. `false` if it is gone.
    ///
    /// # Errors
    /// The kernel refused one of them, or has no such limit although it has the controller; names
    /// the file.
    pub fn set_limits(&self, limits: &LeafLimits) -> io::Result<bool> {
        for (file, value) in limits.files(self.controllers) {
            let written = self.node.write(file, &value)?;
            if !written && !self.node.exists() {
                return Ok(false);
            }
            if !written && file != SWAP_MAX {
                return Err(self.node.without(file));
            }
        }
        Ok(self.node.exists())
    }
}

/// The cgroup of one server, with a leaf for each of its workers.
#[derive(Clone, Debug)]
pub struct ServerGroup {
    node: Node,
    controllers: Controllers,
    /// Clones share it: there is one cgroup.
    memory_max: Arc<AtomicU64>,
}

impl ServerGroup {
    /// Below `workers`. Nothing is made yet.
    pub(super) fn new(
        workers: &Node,
        name: &str,
        controllers: Controllers,
        memory_max: u64,
    ) -> Self {
        Self {
            node: workers.child(&escape(name)),
            controllers,
            memory_max: Arc::new(AtomicU64::new(memory_max)),
        }
    }

    /// Makes it, or sets anew the one that is there.
    ///
    /// # Errors
    /// What the kernel refused, with its path.
    pub fn prepare(&self) -> io::Result<()> {
        self.node.create().map_err(|e| not_made(&e, &self.node))?;
        for name in self.controllers.names() {
            self.node.control('+', name)?;
        }
        if self.controllers.memory {
            let max = self.memory_max.load(Ordering::Relaxed).to_string();
            // One worker at its limit is no reason to kill the others.
            for (file, value) in [("memory.max", max.as_str()), ("memory.oom.group", "0")] {
                if !self.node.write(file, value)? {
                    return Err(self.node.without(file));
                }
            }
        }
        Ok(())
    }

    /// From now on all its workers may use so many bytes together.
    /// Below what they use already the kernel kills at once, so a caller lowers it with care.
    ///
    /// # Errors
    /// The kernel refused. It is tried again with the next worker.
    pub fn set_memory_max(&self, bytes: u64) -> io::Result<()> {
        self.memory_max.store(bytes, Ordering::Relaxed);
        if self.controllers.memory {
            // Without a directory there is nobody to limit yet.
            self.node.write("memory.max", &bytes.to_string())?;
        }
        Ok(())
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.node.path()
    }

    /// Makes the leaf of a worker, empty and with its limits; its own directory too, where it is
    /// missing.
    ///
    /// # Errors
    /// The cgroup or a limit cannot be made; nothing of the leaf is left behind.
    pub fn leaf(&self, worker: u64, limits: &LeafLimits) -> io::Result<Group> {
        self.prepare()?;
        let group = Group {
            node: self.vacant(worker)?,
            controllers: self.controllers,
        };
        match group.set_limits(limits) {
            Ok(true) => Ok(group),
            Ok(false) => Err(group.node.without("cgroup.procs")),
            Err(error) => {
                let _ = group.node.remove();
                Err(error)
            }
        }
    }

    /// A new directory. Its own is taken if an earlier life left one that cannot be emptied, such
    /// as by a process stuck in the kernel.
    fn vacant(&self, worker: u64) -> io::Result<Node> {
        for attempt in 0..8 {
            let name = match attempt {
                0 => format!("w{worker}"),
                n => format!("w{worker}-{n}"),
            };
            let node = self.node.child(&name);
            for _ in 0..2 {
                // What its counters say must be said of this worker, so an old one does not do.
                if node.create().map_err(|e| not_made(&e, &node))? {
                    return Ok(node);
                }
                if !node.clear(Duration::ZERO)? {
                    break;
                }
            }
        }
        let error = io::Error::from(io::ErrorKind::AlreadyExists);
        Err(not_made(&error, &self.node.child(&format!("w{worker}"))))
    }

    /// Bytes of memory all its workers use, page cache included; `None` if it is gone or the
    /// machine has no memory controller for it.
    #[must_use]
    pub fn memory_current(&self) -> Option<u64> {
        self.node.memory_current()
    }

    /// What happened to the memory of its workers, all counted together; `None` as with
    /// [`Self::memory_current`].
    #[must_use]
    pub fn memory_events(&self) -> Option<MemoryEvents> {
        self.node.memory_events()
    }

    /// The file (`memory.pressure`) that tells how much its workers wait for memory, and into which
    /// a trigger is written; `None` where the kernel has none.
    #[must_use]
    pub fn pressure_file(&self) -> Option<PathBuf> {
        self.node.pressure_file()
    }

    /// Removes it if it is empty; `false` if it is not.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self) -> io::Result<bool> {
        self.node.clear(Duration::ZERO)
    }
}

/// Any text as one name of a directory that is no file of the kernel's: those have a dot and no
/// percent sign.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02x}")),
        }
    }
    if escaped.is_empty() {
        escaped.push('%');
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LeafLimits = LeafLimits {
        memory_max: 1 << 30,
        pids_max: Some(9),
        cpu_weight: 50,
    };

    #[test]
    fn limits_are_written_where_there_is_a_controller() {
        let files = |controllers| {
            let files = LIMITS.files(Controllers::parse(controllers));
            let lines = files
                .into_iter()
                .map(|(file, value)| format!("{file}={value}"));
            lines.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(files(""), "");
        assert_eq!(
            files("memory pids cpu"),
            "memory.max=1073741824 memory.swap.max=0 memory.oom.group=1 pids.max=9 cpu.weight=50"
        );
        assert_eq!(files("pids"), "pids.max=9");
        let endless = LeafLimits {
            pids_max: None,
            ..LIMITS
        };
        assert_eq!(
            endless.files(Controllers::parse("pids")),
            [("pids.max", "max".to_owned())]
        );
    }

    #[test]
    fn a_limit_that_cannot_be_set_is_no_silence() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::new(dir.path());
        let all = Controllers::parse("memory pids cpu");
        let group = Group {
            node,
            controllers: all,
        };
        let told = group.set_limits(&LIMITS).unwrap_err().to_string();
        assert!(told.contains("memory.max"), "{told}");
        // Only swap may be missing.
        for file in ["memory.max", "memory.oom.group", "pids.max", "cpu.weight"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        assert!(group.set_limits(&LIMITS).unwrap());
        let written = std::fs::read_to_string(dir.path().join("pids.max")).unwrap();
        assert_eq!(written, "9");
    }

    #[test]
    fn another_limit_of_a_server_holds_at_once_and_for_the_next_worker() {
        let dir = tempfile::tempdir().unwrap();
        let all = Controllers::parse("memory");
        let server = ServerGroup::new(&Node::new(dir.path()), "a", all, 1);
        server.set_memory_max(2).unwrap();
        std::fs::create_dir(server.path()).unwrap();
        let files = ["memory.max", "memory.oom.group", "cgroup.subtree_control"];
        let [max, ..] = files.map(|file| server.path().join(file));
        for file in files {
            std::fs::write(server.path().join(file), "").unwrap();
        }
        server.prepare().unwrap();
        assert_eq!(std::fs::read_to_string(&max).unwrap(), "2");
        server.clone().set_memory_max(3).unwrap();
        assert_eq!(std::fs::read_to_string(&max).unwrap(), "3");
        std::fs::write(&max, "").unwrap();
        server.prepare().unwrap();
        assert_eq!(std::fs::read_to_string(&max).unwrap(), "3");
    }

    #[test]
    fn a_leaf_begins_empty() {
        let dir = tempfile::tempdir().unwrap();
        let server = ServerGroup::new(&Node::new(dir.path()), "a/b", Controllers::default(), 1);
        assert!(server.path().ends_with("a%2fb"));
        let one = server.leaf(1, &LIMITS).unwrap();
        assert!(one.path().ends_with("a%2fb/w1"));
        // Of an earlier life and empty: made anew. Not to be emptied: left alone.
        std::fs::create_dir(one.path().join("below")).unwrap();
        let again = server.leaf(1, &LIMITS).unwrap();
        assert_eq!(again.path(), one.path());
        assert!(!again.path().join("below").exists());
        std::fs::write(again.path().join("occupied"), "").unwrap();
        let beside = server.leaf(1, &LIMITS).unwrap();
        assert!(beside.path().ends_with("w1-1"));
        assert!(beside.remove(Duration::ZERO).unwrap());
    }

    #[test]
    fn any_name_is_one_directory_and_no_file_of_the_kernel() {
        assert_eq!(escape("music_2-b"), "music_2-b");
        assert_eq!(escape("memory.max"), "memory%2emax");
        assert_eq!(escape("../x"), "%2e%2e%2fx");
        assert_eq!(escape(""), "%");
    }
}
