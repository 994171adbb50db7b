//! The subtree of cgroups that is the daemon's own: `supervisor/` for the daemon, `workers/` with a
//! cgroup for each server and in it a leaf for each worker. It finds the tree, sets it up, and
//! empties it; when to do what is decided elsewhere.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::controllers::Controllers;
use super::delegation;
use super::group::ServerGroup;
use super::node::{MEMORY_PRESSURE, Node, not_made, writable};
use super::place::{CGROUP, MOUNTS, Place, SUPERVISOR, place};
use super::standing::{Standing, Why};

const WORKERS: &str = "workers";

/// Rounds of moving what is found in the top: a process that forks meanwhile leaves another.
const MOVES: usize = 10;

/// Which cgroup may be taken for the daemon's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Claim {
    /// The one that the service manager has delegated to it for certain.
    #[default]
    Delegated,
    /// The one it was started in, whoever made it.
    Own,
    /// None.
    Nothing,
}

/// The tree.
#[derive(Clone, Debug)]
pub struct Tree {
    top: Node,
    /// The top is the root of the hierarchy, where processes may stay beside children.
    is_root: bool,
    hybrid: bool,
    controllers: Controllers,
}

impl Tree {
    /// The tree of this process. Changes nothing.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(claim: Claim) -> Result<Self, Why> {
        if claim == Claim::Nothing {
            return Err(Why::Off);
        }
        let unreadable = |_| Why::Version1;
        let cgroup = std::fs::read_to_string(CGROUP).map_err(unreadable)?;
        let mounts = std::fs::read_to_string(MOUNTS).map_err(unreadable)?;
        let Place {
            top,
            is_root,
            hybrid,
        } = place(&cgroup, &mounts)?;
        if claim == Claim::Delegated && (is_root || !delegation::is_certain(&top)) {
            return Err(Why::NotDelegated(top));
        }
        let mut tree = Self::at(top)?;
        tree.is_root = is_root;
        tree.hybrid = hybrid;
        Ok(tree)
    }

    /// The tree whose top is this directory, whoever is in it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn at(top: PathBuf) -> Result<Self, Why> {
        let node = Node::new(top.clone());
        writable(&node).map_err(|error| Why::NotWritable {
            top,
            error: error.to_string(),
        })?;
        Ok(Self {
            top: node,
            is_root: false,
            hybrid: false,
            controllers: Controllers::default(),
        })
    }

    /// The directory of the unit.
    #[must_use]
    pub fn top(&self) -> &Path {
        self.top.path()
    }

    /// The files that tell how much processes wait for memory: of the unit, and of the daemon alone.
    #[must_use]
    pub fn pressure_files(&self) -> (PathBuf, PathBuf) {
        let supervisor = self.top.child(SUPERVISOR);
        [&self.top, &supervisor]
            .map(|node| node.path().join(MEMORY_PRESSURE))
            .into()
    }

    fn workers(&self) -> Node {
        self.top.child(WORKERS)
    }

    /// What limits workers; none before [`Self::settle`].
    #[must_use]
    pub fn controllers(&self) -> Controllers {
        self.controllers
    }

    /// How the daemon stands with this tree.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::Delegated {
            top: self.top.path().to_owned(),
            controllers: self.controllers,
            hybrid: self.hybrid,
        }
    }

    /// Moves the processes found in the top to `supervisor/` (the kernel gives controllers only to
    /// children of a cgroup without processes of its own), and gives `workers/` what controllers
    /// there are. Works on a tree of an earlier life too.
    ///
    /// # Errors
    /// What the kernel refused, with its path. What was made stays.
    pub fn settle(&mut self) -> io::Result<()> {
        let workers = self.workers();
        for node in [self.top.child(SUPERVISOR), workers.clone()] {
            node.create().map_err(|e| not_made(&e, &node))?;
        }
        if !self.is_root {
            self.vacate_top()?;
        }
        for name in self.top.available()?.names() {
            self.top.control('+', name)?;
            workers.control('+', name)?;
        }
        self.controllers = workers.enabled()?.and(self.top.enabled()?);
        Ok(())
    }

    fn vacate_top(&self) -> io::Result<()> {
        let supervisor = self.top.child(SUPERVISOR);
        for _ in 0..MOVES {
            let processes = self.top.processes()?;
            if processes.is_empty() {
                return Ok(());
            }
            for pid in processes {
                supervisor.admit(pid)?;
            }
        }
        Err(io::Error::other(format!(
            "processes keep appearing in {}",
            self.top.path().display()
        )))
    }

    /// The cgroup of a server, which makes itself when it is needed; `memory_max` is what all its
    /// workers may use together, in bytes.
    #[must_use]
    pub fn server(&self, name: &str, memory_max: u64) -> ServerGroup {
        ServerGroup::new(&self.workers(), name, self.controllers, memory_max)
    }

    /// Kills every worker there is, and removes their cgroups, waiting until they are empty but no
    /// longer than `within`. Blocks.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn clear_workers(&self, within: Duration) -> io::Result<Cleared> {
        let workers = self.workers();
        if !workers.exists() {
            return Ok(Cleared::default());
        }
        let populated = |node: &Node| node.populated() == Some(true);
        let killed = self.leaves().iter().filter(|leaf| populated(leaf)).count();
        workers.kill()?;
        for server in workers.children() {
            server.clear(within)?;
        }
        let left = self.leaves().len();
        Ok(Cleared { killed, left })
    }

    /// Removes the cgroups of workers that have ended, and of servers without any. Kills nobody.
    pub fn prune(&self) {
        for node in self.workers().deepest_first() {
            if node != self.workers() {
                // One that has processes stays.
                let _ = node.remove();
            }
        }
    }

    fn leaves(&self) -> Vec<Node> {
        let servers = self.workers().children().into_iter();
        servers.flat_map(|server| server.children()).collect()
    }

    /// Takes the controllers from everything, the deepest first: the kernel lets nobody take one
    /// away that a child still gives to its own children. Afterwards processes may live in the top
    /// again, so the service manager can start the next daemon there. Limits are gone with it until
    /// the next [`Self::settle`].
    ///
    /// # Errors
    /// The first thing the kernel refused; the rest was tried all the same.
    pub fn release_controllers(&self) -> io::Result<()> {
        let mut first = Ok(());
        for node in self.top.deepest_first() {
            let enabled = match node.enabled() {
                Ok(enabled) => enabled,
                Err(error) => {
                    first = first.and(Err(error));
                    continue;
                }
            };
            for name in enabled.names() {
                let taken = node.control('-', name);
                first = first.and(taken);
            }
        }
        first
    }
}

/// What became of workers that were there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Workers that lived.
    pub killed: usize,
    /// Cgroups that could not be removed in time.
    pub left: usize,
}

/// Finds the tree of this process and settles in it. The standing says what became of it, also
/// where there is no tree.
#[must_use]
pub fn take(claim: Claim) -> (Option<Tree>, Standing) {
    let mut tree = match Tree::find(claim) {
        Ok(tree) => tree,
        Err(why) => return (None, Standing::Without(why)),
    };
    if let Err(error) = tree.settle() {
        let why = Why::Refused {
            top: tree.top().to_owned(),
            error: error.to_string(),
        };
        return (None, Standing::Without(why));
    }
    let standing = tree.standing();
    (Some(tree), standing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A folder that looks like the cgroup of a unit, with these controllers.
    fn unit(controllers: &str) -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("cgroup.procs", ""),
            ("cgroup.controllers", controllers),
            ("cgroup.subtree_control", ""),
        ] {
            fs::write(dir.path().join(file), text).unwrap();
        }
        let tree = Tree::at(dir.path().to_owned()).unwrap();
        (dir, tree)
    }

    #[test]
    fn settling_makes_the_two_parts() {
        let (dir, mut tree) = unit("cpuset");
        tree.settle().unwrap();
        assert!(dir.path().join("supervisor").is_dir() && dir.path().join("workers").is_dir());
        assert_eq!(tree.controllers(), Controllers::default());
        // And again, as the next life does.
        tree.settle().unwrap();
        assert!(!tree.standing().is_complete());
        let cleared = tree.clear_workers(Duration::ZERO).unwrap();
        assert_eq!(cleared, Cleared::default());
    }

    #[test]
    fn a_top_that_does_not_get_empty_is_an_error() {
        let (dir, mut tree) = unit("");
        fs::write(dir.path().join("cgroup.procs"), "77\n").unwrap();
        let told = tree.settle().unwrap_err().to_string();
        assert!(told.starts_with("processes keep appearing in "), "{told}");
    }

    #[test]
    fn what_cannot_be_written_is_no_tree() {
        let dir = tempfile::tempdir().unwrap();
        let why = Tree::at(dir.path().to_owned()).unwrap_err();
        assert!(matches!(why, Why::NotWritable { .. }), "{why}");
        assert_eq!(Tree::find(Claim::Nothing).unwrap_err(), Why::Off);
    }

    #[test]
    fn controllers_are_taken_from_everything() {
        let (dir, mut tree) = unit("");
        tree.settle().unwrap();
        let below = dir.path().join("workers/a");
        fs::create_dir(&below).unwrap();
        let control = |at: &Path| at.join("cgroup.subtree_control");
        let places = [below, dir.path().join("workers"), dir.path().to_owned()];
        for place in &places {
            fs::write(control(place), "memory pids cpuset").unwrap();
        }
        tree.release_controllers().unwrap();
        for place in &places {
            // Written over: the last one.
            let left = fs::read_to_string(control(place)).unwrap();
            assert!(left.starts_with("-pids"), "{}: {left}", place.display());
        }
    }

    #[test]
    fn empty_cgroups_go_and_others_stay() {
        let (dir, mut tree) = unit("");
        tree.settle().unwrap();
        for leaf in ["a/w1", "a/w2", "b/w3"] {
            fs::create_dir_all(dir.path().join("workers").join(leaf)).unwrap();
        }
        fs::write(dir.path().join("workers/a/w2/occupied"), "").unwrap();
        tree.prune();
        let there = |leaf: &str| dir.path().join("workers").join(leaf).exists();
        assert!(there("a/w2") && !there("a/w1") && !there("b"));
        tree.prune();
        assert!(dir.path().join("workers").exists());
        let cleared = tree.clear_workers(Duration::ZERO).unwrap();
        assert_eq!((cleared.killed, cleared.left), (0, 1));
    }
}
