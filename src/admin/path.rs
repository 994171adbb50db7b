//! Where the admin socket is looked for. Pure: the environment comes in as arguments.

use std::path::{Path, PathBuf};

/// The places of the admin socket, in the order they are tried: that of the packaged unit, that
/// of a daemon with a runtime directory, that of a daemon some user runs.
#[must_use]
pub fn candidates(runtime_dir: Option<&Path>, home: Option<&Path>) -> Vec<PathBuf> {
    let system = ["/run/mainstay-control.sock", "/run/mainstay/mainstay.sock"];
    let mut paths: Vec<PathBuf> = system.into_iter().map(PathBuf::from).collect();
    // A relative or empty value is not to be used (XDG Base Directory Specification).
    let absolute = |dir: Option<&Path>| dir.filter(|dir| dir.is_absolute()).map(Path::to_owned);
    paths.extend(absolute(runtime_dir).map(|dir| dir.join("mainstay/mainstay.sock")));
    paths.extend(absolute(home).map(|dir| dir.join(".local/state/mainstay/mainstay.sock")));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_comes_before_the_user() {
        let paths = candidates(Some(Path::new("/run/user/7")), Some(Path::new("/home/ann")));
        let wanted = [
            "/run/mainstay-control.sock",
            "/run/mainstay/mainstay.sock",
            "/run/user/7/mainstay/mainstay.sock",
            "/home/ann/.local/state/mainstay/mainstay.sock",
        ];
        assert_eq!(paths, wanted.map(PathBuf::from));
    }

    #[test]
    fn a_relative_directory_is_not_looked_into() {
        assert_eq!(
            candidates(Some(Path::new("")), Some(Path::new("here"))).len(),
            2
        );
    }
}
