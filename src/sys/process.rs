//! Other processes as the kernel shows them: memory, sessions, groups, signals. It kills what it
//! is told to and knows nothing of workers.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal as NixSignal};
use nix::unistd::Pid;
use procfs::process::{Process, Stat};

/// The signals mainstay sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, what Ctrl-C sends.
    Interrupt,
    /// SIGTERM, the firm request to end.
    Terminate,
    /// SIGKILL, the certain end.
    Kill,
}

impl From<Signal> for NixSignal {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => NixSignal::SIGINT,
            Signal::Terminate => NixSignal::SIGTERM,
            Signal::Kill => NixSignal::SIGKILL,
        }
    }
}

/// The number of SIGKILL.
pub const KILL: i32 = NixSignal::SIGKILL as i32;

/// `SIGKILL` for 9; `signal 34` for a number without a name.
#[must_use]
pub fn signal_name(number: i32) -> String {
    NixSignal::try_from(number).map_or_else(
        |_| format!("signal {number}"),
        |signal| signal.as_str().to_owned(),
    )
}

/// Kills (SIGKILL) this one process; `false` if there is none.
///
/// # Errors
/// What the kernel says other than "no such process", such as that it belongs to somebody else.
pub fn kill_process(pid: u32) -> io::Result<bool> {
    // 0 and what does not fit would mean groups, or everything.
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 1) else {
        return Ok(false);
    };
    match signal::kill(Pid::from_raw(pid), NixSignal::SIGKILL) {
        Ok(()) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Resident memory of a process in bytes; `None` when it is gone.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let statm = Process::new(i32::try_from(pid).ok()?).ok()?.statm().ok()?;
    Some(statm.resident * procfs::page_size())
}

/// Resident memory of this process in bytes.
#[must_use]
pub fn own_resident_bytes() -> Option<u64> {
    resident_bytes(std::process::id())
}

/// Ids of the living processes whose session or process group is `leader`; zombies are not counted.
#[must_use]
pub fn session_members(leader: u32) -> Vec<u32> {
    let Ok(leader) = i32::try_from(leader) else {
        return Vec::new();
    };
    let Ok(processes) = procfs::process::all_processes() else {
        return Vec::new();
    };
    processes
        .filter_map(Result::ok)
        .filter_map(|process| process.stat().ok())
        .filter(|stat| (stat.session == leader || stat.pgrp == leader) && !has_ended(stat))
        .filter_map(|stat| u32::try_from(stat.pid).ok())
        .collect()
}

/// Whether only the process table entry is left.
fn has_ended(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x')
}

fn stat_of(pid: i32) -> Option<Stat> {
    Process::new(pid).ok()?.stat().ok()
}

/// Signals the process group of `pid`. While `pid` is a child of ours that has not left our own
/// group yet (a launcher before its `setsid`), the signal goes to that child alone.
///
/// # Errors
/// What the kernel says other than "no such process", which is `Ok(false)`.
pub fn signal_group(pid: u32, signal: Signal) -> io::Result<bool> {
    let Some(group) = positive(pid) else {
        return Ok(false);
    };
    let signal = NixSignal::from(signal);
    match signal::killpg(group, signal) {
        Err(Errno::ESRCH) if is_ungrouped_child(group) => sent(signal::kill(group, signal)),
        // It may have made its group between the two looks.
        Err(Errno::ESRCH) => sent(signal::killpg(group, signal)),
        result => sent(result),
    }
}

fn sent(result: nix::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// 0 and 1 would address our own group and every process of the user.
fn positive(pid: u32) -> Option<Pid> {
    let pid = i32::try_from(pid).ok()?;
    (pid > 1).then(|| Pid::from_raw(pid))
}

fn is_ungrouped_child(pid: Pid) -> bool {
    stat_of(pid.as_raw()).is_some_and(|stat| {
        stat.ppid == nix::unistd::getpid().as_raw()
            && stat.pgrp == nix::unistd::getpgrp().as_raw()
            && !has_ended(&stat)
    })
}

/// Rounds of looking and killing: a member can fork between the two, but what is forked after the
/// SIGKILL of the whole group has to come from a process outside the group, which the next round sees.
const KILL_ROUNDS: usize = 5;

/// Kills (SIGKILL) every living member of the group and session `leader`, whose leader has already
/// ended, and returns how many there were.
#[must_use]
pub fn kill_leftovers(leader: u32) -> usize {
    let Some(group) = positive(leader) else {
        return 0;
    };
    // The kernel does not give a number away again while a group or session bears it. A living
    // process of this number therefore means that nothing is left and the number is somebody else's.
    if stat_of(group.as_raw()).is_some_and(|stat| !has_ended(&stat)) {
        return 0;
    }
    let mut killed = std::collections::BTreeSet::new();
    for _ in 0..KILL_ROUNDS {
        let members = session_members(leader);
        if members.iter().all(|pid| killed.contains(pid)) {
            break;
        }
        let _ = signal::killpg(group, NixSignal::SIGKILL);
        for pid in members {
            if let Some(pid) = positive(pid) {
                let _ = signal::kill(pid, NixSignal::SIGKILL);
            }
            killed.insert(pid);
        }
    }
    killed.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let before = own_resident_bytes().unwrap();
        let touched = vec![1_u8; 64 << 20];
        let after = own_resident_bytes().unwrap();
        assert!(after > before + (32 << 20), "{before} then {after}");
        drop(touched);
        // Above the kernel's largest process id.
        assert_eq!(resident_bytes(1 << 23), None);
    }

    #[test]
    fn numbers_that_mean_many_processes_are_refused() {
        for pid in [0, 1, u32::MAX] {
            assert!(!signal_group(pid, Signal::Interrupt).unwrap());
            assert_eq!(kill_leftovers(pid), 0);
        }
    }
}
