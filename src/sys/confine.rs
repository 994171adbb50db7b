//! What a process narrows about itself before it becomes a worker: session, limits, out-of-memory
//! score, mask, signals, descriptors. Each step is one function; the order is the launcher's. And what
//! the daemon closes of itself to workers, which have its user.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

/// A limit the kernel enforces on this process and its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Open files (`RLIMIT_NOFILE`).
    OpenFiles,
    /// Bytes of a core dump (`RLIMIT_CORE`).
    CoreBytes,
    /// Processes and threads of the user (`RLIMIT_NPROC`).
    Processes,
}

/// Closes this process to others of its user: they can neither trace it nor read its memory,
/// environment and descriptors in /proc, whose files belong to root from now on. It dumps no core. A
/// program executed later is open again. What this process writes in its own /proc it writes before,
/// and what it wants to know of its owner it asks before: that is root from now on, too.
///
/// # Errors
/// What the kernel says.
pub fn close_to_others() -> io::Result<()> {
    // Before Linux 6.4 it is looked up in /proc/self/auxv, which is closed to ourselves, too, from now on;
    // all figures of memory need it, and the first to ask would panic.
    let _ = procfs::page_size();
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

/// Closes every descriptor but the first three, whoever opened them: sockets the service manager
/// gave the daemon, and what a careless shell left open for it. For a process that has nothing open
/// itself, right before it executes another program.
///
/// # Errors
/// /proc is not there, so that nobody can tell what is open.
pub fn close_inherited() -> io::Result<()> {
    // Collected first: the listing has a descriptor of its own, which is closed by then.
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for number in open.into_iter().filter(|number| *number > 2) {
        let _ = nix::unistd::close(number);
    }
    Ok(())
}

/// The effective user of this process.
#[must_use]
pub fn own_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// How many descriptors this process may have open; 0 where nobody can tell.
#[must_use]
pub fn open_files() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft)
}

/// Makes this process the leader of a new session and process group.
///
/// # Errors
/// `EPERM` when it already leads a group.
pub fn new_session() -> io::Result<()> {
    nix::unistd::setsid()?;
    Ok(())
}

/// Sets soft and hard limit to `value`, or to the present hard limit where that is lower: a worker
/// gets less than asked for rather than no start.
///
/// # Errors
/// What the kernel says.
pub fn limit(limit: Limit, value: u64) -> io::Result<()> {
    let resource = match limit {
        Limit::OpenFiles => Resource::RLIMIT_NOFILE,
        Limit::CoreBytes => Resource::RLIMIT_CORE,
        Limit::Processes => Resource::RLIMIT_NPROC,
    };
    let (_, hard) = getrlimit(resource)?;
    let value = value.min(hard);
    setrlimit(resource, value, value)?;
    Ok(())
}

/// Forbids this process and its children to gain privileges by executing a set-user-id program.
///
/// # Errors
/// What the kernel says.
pub fn no_new_privileges() -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    Ok(())
}

/// Raises the out-of-memory score to `least`, so that the kernel takes this process before the
/// daemon. A higher score stays: lowering needs a privilege, and is never wanted.
///
/// # Errors
/// /proc is not there or not writable.
pub fn raise_oom_score(least: i32) -> io::Result<()> {
    const FILE: &str = "/proc/self/oom_score_adj";
    let present: i32 = std::fs::read_to_string(FILE)?
        .trim()
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a number"))?;
    if present < least {
        std::fs::write(FILE, least.to_string())?;
    }
    Ok(())
}

/// New files are for this user only.
pub fn private_files() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
}

/// Undoes "ignored" for the signals that end a program: a shell's background job or `nohup` leaves
/// them ignored, and exec keeps that, so that a worker would not hear SIGINT. Exec resets a signal
/// with a *handler* to its default, so installing any handler is the safe way there. SIGPIPE and
/// the signal mask are reset by [`std::os::unix::process::CommandExt::exec`] itself.
///
/// # Errors
/// What the kernel says.
pub fn default_signals() -> io::Result<()> {
    use signal_hook::consts::{
        SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
    };
    // Only where needed: from the handler to the exec the signal would be lost.
    let ignored = procfs::process::Process::myself()
        .and_then(|own| own.status())
        .map_or(u64::MAX, |status| status.sigign);
    for signal in [
        SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCHLD,
    ] {
        if ignored & (1 << (signal - 1)) != 0 {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
    }
    Ok(())
}
