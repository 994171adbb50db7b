//! Where a process is in the cgroup v2 hierarchy, from what /proc says. Pure: the texts are
//! arguments.

use std::path::{Component, Path, PathBuf};

use super::standing::Why;

/// What is looked at of /proc.
pub(super) const CGROUP: &str = "/proc/self/cgroup";
pub(super) const MOUNTS: &str = "/proc/self/mountinfo";

/// Names of the leaves in which the service manager or an earlier life may have put a process of
/// the unit; the unit itself is one above.
pub(super) const SUPERVISOR: &str = "supervisor";
const CONTROL: &str = ".control";

/// A place in the hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The directory of the unit.
    pub(super) top: PathBuf,
    /// Whether it is the root of the whole hierarchy, as far as can be seen.
    pub(super) is_root: bool,
    /// Whether cgroup v1 is mounted besides, which then has the controllers.
    pub(super) hybrid: bool,
}

/// Finds the place of a process from its `cgroup` and `mountinfo`.
pub(super) fn place(cgroup: &str, mountinfo: &str) -> Result<Place, Why> {
    let Some(own) = cgroup.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Err(Why::Version1);
    };
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
    let Some(mount) = mounts.iter().find(|mount| mount.kind == "cgroup2") else {
        return Err(Why::Version1);
    };
    let own = Path::new(own);
    // A mount may show a part of the hierarchy only, and a namespace may hide where we are.
    let below = own.strip_prefix(&mount.root).ok();
    let below = below.filter(|p| p.components().all(|c| matches!(c, Component::Normal(_))));
    let Some(below) = below else {
        return Err(Why::Elsewhere(own.to_owned()));
    };
    let leaf = below.file_name().and_then(|name| name.to_str());
    let unit = match leaf {
        Some(SUPERVISOR | CONTROL) => below.parent().unwrap_or(below),
        _ => below,
    };
    let is_empty = unit.as_os_str().is_empty();
    Ok(Place {
        top: if is_empty {
            mount.point.clone()
        } else {
            mount.point.join(unit)
        },
        is_root: is_empty && mount.root == Path::new("/"),
        hybrid: mounts.iter().any(|mount| mount.kind == "cgroup"),
    })
}

struct Mount {
    root: PathBuf,
    point: PathBuf,
    kind: String,
}

impl Mount {
    /// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS...] - KIND SOURCE OPTIONS`
    fn parse(line: &str) -> Option<Self> {
        let (place, filesystem) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        Some(Self {
            root: unescape(place.next()?),
            point: unescape(place.next()?),
            kind: filesystem.split(' ').next()?.to_owned(),
        })
    }
}

/// Undoes the octal numbers the kernel writes for white space and the backslash.
fn unescape(text: &str) -> PathBuf {
    let mut path = text.to_owned();
    for (number, letter) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        path = path.replace(number, letter);
    }
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "\
24 1 0:22 / /proc rw - proc proc rw
28 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
";
    const HYBRID: &str = "\
28 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro
29 28 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
30 28 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";

    fn found(cgroup: &str, mounts: &str) -> (String, bool, bool) {
        let place = place(cgroup, mounts).unwrap();
        (
            place.top.to_str().unwrap().to_owned(),
            place.is_root,
            place.hybrid,
        )
    }

    #[test]
    fn the_unit_is_found_from_any_of_its_leaves() {
        for leaf in ["", "/supervisor", "/.control"] {
            let own = format!("0::/system.slice/mainstay.service{leaf}\n");
            assert_eq!(
                found(&own, UNIFIED),
                (
                    "/sys/fs/cgroup/system.slice/mainstay.service".into(),
                    false,
                    false
                ),
                "{leaf}"
            );
        }
        // A leaf of another name is a unit of its own.
        let own = "0::/system.slice/mainstay.service/workers\n";
        assert!(found(own, UNIFIED).0.ends_with("/workers"));
    }

    #[test]
    fn the_root_is_known() {
        assert_eq!(
            found("0::/\n", UNIFIED),
            ("/sys/fs/cgroup".into(), true, false)
        );
        let part = "28 24 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            found("0::/docker/1\n", part),
            ("/sys/fs/cgroup".into(), false, false)
        );
    }

    #[test]
    fn hybrid_is_told() {
        let cgroup = "4:memory:/x\n0::/unit/supervisor\n";
        assert_eq!(
            found(cgroup, HYBRID),
            ("/sys/fs/cgroup/unified/unit".into(), false, true)
        );
    }

    #[test]
    fn what_cannot_be_reached_is_said() {
        let only_v1 = "30 28 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert_eq!(place("4:memory:/x\n", UNIFIED), Err(Why::Version1));
        assert_eq!(place("0::/x\n", only_v1), Err(Why::Version1));
        let part = "28 24 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        for own in ["/docker/2", "/../x"] {
            assert_eq!(
                place(&format!("0::{own}\n"), part),
                Err(Why::Elsewhere(own.into())),
            );
        }
        assert_eq!(
            place("0::/../x\n", UNIFIED),
            Err(Why::Elsewhere("/../x".into()))
        );
        assert_eq!(place("", ""), Err(Why::Version1));
    }

    #[test]
    fn spaces_in_a_path_are_read() {
        let mounts = "28 24 0:26 / /a\\040b rw - cgroup2 cgroup2 rw\n";
        assert_eq!(found("0::/c\n", mounts).0, "/a b/c");
    }
}
