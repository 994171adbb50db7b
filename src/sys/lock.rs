//! An exclusive lock on a file, held as long as the file is open: two daemons must not share a
//! state directory. The kernel gives it back whatever ends the process.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The lock.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its Drop")] Flock<File>);

/// Takes the lock; `None` if another process has it.
///
/// # Errors
/// The file system knows no locks, or the kernel has none left.
pub fn try_exclusive(file: File) -> io::Result<Option<Lock>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(Lock(lock))),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}
