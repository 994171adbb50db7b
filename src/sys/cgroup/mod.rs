//! Control groups (cgroup v2): the one place that knows how the kernel's files are named. A worker
//! has a cgroup of its own (a leaf), so that everything it starts can be limited, counted and
//! killed with it:
//!
//! ```text
//! unit/                  the top, delegated by systemd; no processes in it
//!   supervisor/          the daemon
//!   workers/
//!     SERVER/            memory.max = the server's hard limit
//!       wID/             one worker: memory.max, pids.max, cpu.weight, killed as a whole
//! ```
//!
//! It knows nothing of how workers are started or when one has to go. Everything here works on the
//! kernel's files directly and takes microseconds, but for what says that it blocks.

mod controllers;
mod delegation;
mod events;
mod group;
mod node;
mod place;
mod standing;
mod tree;

use std::io;
use std::path::Path;

pub use controllers::Controllers;
pub use events::MemoryEvents;
pub use group::{Group, LeafLimits, ServerGroup};
pub use standing::{Standing, Why};
pub use tree::{Claim, Cleared, Tree, take};

/// Moves this process into a cgroup. What it starts afterwards is in it too.
///
/// # Errors
/// What the kernel says; names the path.
pub fn enter(path: &Path) -> io::Result<()> {
    node::Node::new(path).admit(0)?;
    Ok(())
}
