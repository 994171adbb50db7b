//! Landlock: what this process and all it starts may reach from now on. It knows rights and kernels,
//! not which paths a worker needs.
//!
//! Where the kernel is old it enforces less, where it has no landlock nothing: [`abi`] tells.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictSelf, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};

/// The newest rights that are asked for, tested on a kernel that has them. Newer kernels enforce
/// these; older ones what they know of them.
const NEWEST: ABI = ABI::V6;

/// From this version on a kernel keeps signals and abstract sockets inside the fence too (6.12).
pub const SCOPED: u32 = 6;

/// The openings of a fence. Paths that are not there are left out; everything not below one of
/// these cannot be opened, executed, made, renamed or removed. Looking a path up (`stat`), changing
/// to a directory and connecting to a socket that has a path are not restricted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Openings {
    /// May be read, listed and executed.
    pub read: Vec<PathBuf>,
    /// May also be written, made and removed.
    pub write: Vec<PathBuf>,
    /// Devices: may be read, written and controlled, nothing is made or removed.
    pub devices: Vec<PathBuf>,
}

/// The version of landlock that this kernel offers; `None` if it offers none.
#[must_use]
pub fn abi() -> Option<u32> {
    // Without any flag this asks for the version and restricts nothing.
    let status = RestrictSelf::default().no_new_privs(false).apply().ok()?;
    match status.landlock {
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => kernel_abi
            .and_then(|version| u32::try_from(version).ok())
            .or(Some(effective_abi as u32)),
    }
}

/// Puts the fence around this process, for ever. No signal leaves it, no abstract socket outside is
/// reached, no process outside is traced. `Ok(false)`: this kernel has no landlock, nothing was done.
/// Call it on the only thread.
///
/// # Errors
/// The kernel has landlock but refused, such as for a 17th fence around the same process.
pub fn restrict(openings: &Openings) -> io::Result<bool> {
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let read = AccessFs::from_read(NEWEST);
    let device = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | IoctlDev});
    let write = AccessFs::from_all(NEWEST) & !AccessFs::IoctlDev;
    let ruleset = open(ruleset, &openings.read, read)?;
    let ruleset = open(ruleset, &openings.write, write)?;
    let ruleset = open(ruleset, &openings.devices, device)?;
    let status = ruleset.restrict_self().map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn open(
    mut ruleset: RulesetCreated,
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    for path in paths {
        let Ok(fd) = PathFd::new(path) else {
            continue;
        };
        let access = rights_for(path, access);
        ruleset = ruleset
            .add_rule(PathBeneath::new(fd, access))
            .map_err(io::Error::other)?;
    }
    Ok(ruleset)
}

/// What of `access` a file can have at all; the kernel refuses the rest.
fn rights_for(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(NEWEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_for_the_version_restricts_nothing() {
        let before = abi();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "x").unwrap();
        assert_eq!(abi(), before);
    }
}
