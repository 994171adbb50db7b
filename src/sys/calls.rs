//! A filter of system calls (seccomp(2)) for what landlock does not cover: prlimit(2) on another
//! process. A worker has the daemon's user, so the kernel would let it take the daemon's descriptors,
//! memory and CPU time away, which ends it as surely as a signal.

use std::collections::BTreeMap;
use std::io;

use nix::libc::{EPERM, SYS_prlimit64};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// The same call by its x32 number, where a kernel for x86-64 offers those: the architecture is the same.
const X32: i64 = 0x4000_0000;

/// Lets this process, and all it starts, limit nobody but itself: `prlimit` works with process 0 only,
/// which is how the C library calls it for `setrlimit`. Programs for another architecture (32-bit ones)
/// are killed, because their calls have other numbers. `Ok(false)`: there are no such filters for this
/// kernel or architecture, or one that is around this process already lets it have none.
///
/// # Errors
/// The filter cannot be made, which is a mistake in it.
pub fn limit_only_oneself() -> io::Result<bool> {
    let other = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0);
    let rule = other
        .and_then(|other| SeccompRule::new(vec![other]))
        .map_err(io::Error::other)?;
    let Ok(architecture) = std::env::consts::ARCH.try_into() else {
        return Ok(false);
    };
    let filter = SeccompFilter::new(
        BTreeMap::from([SYS_prlimit64, SYS_prlimit64 | X32].map(|call| (call, vec![rule.clone()]))),
        SeccompAction::Allow,
        SeccompAction::Errno(EPERM.unsigned_abs()),
        architecture,
    );
    let program: BpfProgram = filter
        .and_then(TryInto::try_into)
        .map_err(io::Error::other)?;
    Ok(seccompiler::apply_filter(&program).is_ok())
}
