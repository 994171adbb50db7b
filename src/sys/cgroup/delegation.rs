//! Whether the service manager has given a cgroup to the daemon for certain. To move around in a
//! cgroup that is somebody else's (a login session, the service that started us as a helper) would
//! take it apart.

use std::path::Path;

use super::node::Node;

/// Set to "1" by systemd on the cgroup of a unit with `Delegate=`. The second one is for readers
/// without privileges.
const MARKS: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// Whether it is so.
pub(super) fn is_certain(top: &Path) -> bool {
    let marks = MARKS.map(|name| mark(top, name));
    let alone = || {
        let processes = Node::new(top).processes().unwrap_or_default();
        processes == [std::process::id()]
    };
    rule(&marks, std::env::var_os("INVOCATION_ID").is_some(), alone)
}

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Set,
    Absent,
    /// The kernel or the file system has no such marks.
    Unknown,
}

fn mark(top: &Path, name: &str) -> Mark {
    let mut value = [0_u8; 8];
    match rustix::fs::getxattr(top, name, &mut value[..]) {
        Ok(length) if value.get(..length) == Some(b"1") => Mark::Set,
        Ok(_) | Err(rustix::io::Errno::NODATA) => Mark::Absent,
        Err(_) => Mark::Unknown,
    }
}

/// A mark decides. Where the second cannot be read (before Linux 5.7), a service that is alone in
/// its cgroup may take it; the first shows as absent to all who lack privileges.
fn rule(marks: &[Mark; 2], is_service: bool, alone: impl Fn() -> bool) -> bool {
    if marks.contains(&Mark::Set) {
        return true;
    }
    let [_, open] = marks;
    *open == Mark::Unknown && is_service && alone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mark_or_solitude_is_certain() {
        use Mark::{Absent, Set, Unknown};
        let table = [
            ([Set, Unknown], false, false, true),
            ([Unknown, Set], false, false, true),
            ([Absent, Set], true, false, true),
            // systemd sets no mark: the unit has no Delegate=.
            ([Absent, Absent], true, true, false),
            ([Unknown, Absent], true, true, false),
            ([Absent, Unknown], true, true, true),
            ([Absent, Unknown], true, false, false),
            ([Unknown, Unknown], true, true, true),
            ([Unknown, Unknown], true, false, false),
            // A login session: no service.
            ([Unknown, Unknown], false, true, false),
        ];
        for (marks, is_service, alone, certain) in table {
            assert_eq!(
                rule(&marks, is_service, || alone),
                certain,
                "{marks:?} {is_service} {alone}"
            );
        }
    }
}
