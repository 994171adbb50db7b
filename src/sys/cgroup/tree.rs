//! The subtree of cgroups that is the daemon's own: `supervisor/` for the daemon, `workers/` with a
//! cgroup for each server and in it a leaf for each worker. It finds the tree, sets it up, and
//! empties it; when to do what is decided elsewhere.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::controllers::Controllers;
use super::delegation;
use super::group::ServerGroup;
use super::node::{Node, not_made, writable};
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
