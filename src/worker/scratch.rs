//! The private directory of one worker: its `TMPDIR`, `HOME` and caches. Every worker gets a fresh
//! one and it goes with the worker, because a half-written cache file of a crashed worker otherwise
//! fails every later one. It knows nothing of processes: remove it when the worker is gone.
//!
//! Removal never trusts the content. `std::fs::remove_dir_all` descends recursively, one open file a
//! level, which a worker can make deep enough to exhaust the daemon, and stops at directories
//! without write permission, which some caches make on purpose. Here each directory is first moved
//! to the top of a bin out of the worker's reach: no recursion, and no symbolic link is followed.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What [`environment`](crate::worker::command::environment) points to; made with the directory.
const CONTENTS: [&str; 3] = ["tmp", "home", "cache"];

/// A worker's private directory, removed with its content by [`Scratch::remove`], or when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    removed: bool,
}

impl Scratch {
    /// Makes `root/name` for this user only, with `tmp`, `home` and `cache` in it. What an earlier
    /// worker left under this name is removed first. Blocks on the disk.
    ///
    /// # Errors
    /// `name` is not one plain path component, or the disk refuses.
    pub fn create(root: &Path, name: &str) -> io::Result<Self> {
        let mut components = Path::new(name).components();
        if !matches!(
            (components.next(), components.next()),
            (Some(Component::Normal(_)), None)
        ) {
            let why = format!("{name:?} cannot name a scratch directory");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        private_directories(true, root)?;
        let path = root.join(name);
        if path.symlink_metadata().is_ok() {
            wipe(root, &path)?;
        }
        private_directories(false, &path)?;
        let scratch = Self {
            path,
            removed: false,
        };
        for content in CONTENTS {
            private_directories(false, &scratch.path.join(content))?;
        }
        Ok(scratch)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory and all in it, on a blocking thread.
    ///
    /// # Errors
    /// The first file that could not be removed; everything else is gone all the same.
    pub async fn remove(mut self) -> io::Result<()> {
        self.removed = true;
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || remove(&path))
            .await
            .map_err(io::Error::other)?
    }
}

impl Drop for Scratch {
    /// The net for whoever did not come to [`Scratch::remove`]; blocks on the disk.
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        if let Err(error) = remove(&self.path) {
            log::warn!(
                "scratch directory {} not removed: {error}",
                self.path.display()
            );
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(root) if path.symlink_metadata().is_ok() => wipe(root, path),
        _ => Ok(()),
    }
}

/// Removes whatever earlier lives of the daemon left below `root`; call it before the first
/// [`Scratch::create`]. A missing root is fine. Blocks on the disk.
///
/// # Errors
/// The first thing that could not be removed; the rest is gone all the same.
pub fn sweep(root: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // Collected first: wiping makes and removes entries of the same directory.
    let paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    let mut failures = Failures::default();
    for path in paths {
        failures.note(wipe(root, &path));
    }
    failures.into_result()
}

fn private_directories(with_parents: bool, path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(with_parents)
        .mode(0o700)
        .create(path)
}

/// Keeps the first failure, so that one stubborn file does not save all the others.
#[derive(Default)]
struct Failures(Option<io::Error>);

impl Failures {
    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.0.get_or_insert(error);
        }
    }

    fn into_result(self) -> io::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Removes `victim`, an entry of `root`, by way of a bin in `root`.
fn wipe(root: &Path, victim: &Path) -> io::Result<()> {
    let bin = new_bin(root)?;
    let mut failures = Failures::default();
    let mut moved: u64 = 0;
    let mut directories = Vec::new();
    failures.note(discard(victim, &bin, &mut moved, &mut directories));
    while let Some(directory) = directories.pop() {
        failures.note(empty(&directory, &bin, &mut moved, &mut directories));
        failures.note(fs::remove_dir(&directory));
    }
    failures.note(fs::remove_dir(&bin));
    failures.into_result()
}

fn new_bin(root: &Path) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let bin = root.join(format!(".bin-{}-{number}", std::process::id()));
        match private_directories(false, &bin) {
            Ok(()) => return Ok(bin),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Discards every entry of `directory`, which lies in the bin.
fn empty(
    directory: &Path,
    bin: &Path,
    moved: &mut u64,
    directories: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let mut failures = Failures::default();
    for entry in fs::read_dir(directory)? {
        failures.note(discard(&entry?.path(), bin, moved, directories));
    }
    failures.into_result()
}

/// Moves a directory to the top of the bin and queues it; unlinks anything else. A directory that
/// is exchanged for a symbolic link meanwhile is moved as the link it is and then unlinked: what lies
/// in the bin can be exchanged by nobody.
fn discard(
    path: &Path,
    bin: &Path,
    moved: &mut u64,
    directories: &mut Vec<PathBuf>,
) -> io::Result<()> {
    if !path.symlink_metadata()?.is_dir() {
        return fs::remove_file(path);
    }
    // Without these bits the move (it rewrites "..") and the listing fail even for the owner.
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    let place = bin.join(moved.to_string());
    *moved += 1;
    fs::rename(path, &place)?;
    if place.symlink_metadata()?.is_dir() {
        directories.push(place);
        return Ok(());
    }
    fs::remove_file(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn entries(root: &Path) -> Vec<String> {
        fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[tokio::test]
    async fn it_is_private_and_goes_with_all_its_content() {
        let state = tempfile::tempdir().unwrap();
        let root = state.path().join("scratch");
        let scratch = Scratch::create(&root, "music-1").unwrap();
        let mode = fs::metadata(scratch.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(scratch.path().join("tmp").is_dir());
        fs::create_dir_all(scratch.path().join("home/a/b")).unwrap();
        fs::write(scratch.path().join("home/a/b/file"), "x").unwrap();
        scratch.remove().await.unwrap();
        assert_eq!(entries(&root), Vec::<String>::new());
    }

    #[test]
    fn a_link_out_of_it_is_removed_and_not_followed() {
        let state = tempfile::tempdir().unwrap();
        let outside = state.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o755)).unwrap();
        let root = state.path().join("scratch");
        let scratch = Scratch::create(&root, "music-1").unwrap();
        symlink(&outside, scratch.path().join("home/out")).unwrap();
        drop(scratch);
        assert_eq!(entries(&root), Vec::<String>::new());
        assert_eq!(entries(&outside), ["kept"]);
        let mode = fs::metadata(&outside).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn a_directory_without_permissions_goes_too() {
        let state = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(state.path(), "music-1").unwrap();
        let closed = scratch.path().join("home/closed");
        fs::create_dir_all(closed.join("inner")).unwrap();
        fs::set_permissions(closed.join("inner"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
        drop(scratch);
        assert_eq!(entries(state.path()), Vec::<String>::new());
    }

    #[test]
    fn depth_costs_neither_stack_nor_files() {
        let state = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(state.path(), "music-1").unwrap();
        // Deeper than any path may be long: built from the inside out.
        let home = scratch.path().join("home");
        fs::create_dir(home.join("d")).unwrap();
        for _ in 0..3000 {
            fs::create_dir(home.join("next")).unwrap();
            fs::rename(home.join("d"), home.join("next/d")).unwrap();
            fs::rename(home.join("next"), home.join("d")).unwrap();
        }
        drop(scratch);
        assert_eq!(entries(state.path()), Vec::<String>::new());
    }

    #[test]
    fn a_new_worker_of_the_same_name_starts_afresh() {
        let state = tempfile::tempdir().unwrap();
        let first = Scratch::create(state.path(), "music-1").unwrap();
        fs::write(first.path().join("tmp/poison"), "x").unwrap();
        std::mem::forget(first);
        let second = Scratch::create(state.path(), "music-1").unwrap();
        assert!(!second.path().join("tmp/poison").exists());
    }

    #[test]
    fn the_sweep_takes_what_earlier_lives_left() {
        let state = tempfile::tempdir().unwrap();
        std::mem::forget(Scratch::create(state.path(), "music-1").unwrap());
        fs::create_dir_all(state.path().join(".bin-1-0/7/x")).unwrap();
        fs::write(state.path().join("stray"), "x").unwrap();
        sweep(state.path()).unwrap();
        assert_eq!(entries(state.path()), Vec::<String>::new());
        sweep(&state.path().join("absent")).unwrap();
    }

    #[test]
    fn a_name_cannot_leave_the_root() {
        let state = tempfile::tempdir().unwrap();
        for name in ["..", "a/b", "/etc", "", "."] {
            assert!(
                Scratch::create(state.path(), name).is_err(),
                "{name:?} was taken"
            );
        }
    }
}
