//! Which files a worker may reach when it is fenced: what any program needs, its own directories, and
//! what its command names. It reads the disk to follow that command; the fence itself is `sys::fence`'s.
//!
//! The rule for its command: what an operator named is meant to be read. Directories that hold more
//! than one program's matter (`/etc`, a home, the state directory) are not opened by that; there only
//! the named file is.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::sys::fence::Openings;

/// Programs, their libraries and what comes with them.
const PROGRAMS: [&str; 11] = [
    "/usr",
    "/opt",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/snap",
    "/gnu/store",
];

/// What interpreters and the C library ask the kernel about the machine, and their own processes.
/// Memory, environment and files of processes outside the fence stay closed: reading those counts
/// as tracing.
const KERNEL: [&str; 4] = [
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system",
    "/sys/kernel/mm",
];

/// The part of /etc that has no secrets: names, users, hosts, certificates, locale, loader, and the
/// system-wide settings of interpreters.
const SETTINGS: [&str; 45] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "default/locale",
    "fonts",
    "gai.conf",
    "gitconfig",
    "group",
    "host.conf",
    "hostname",
    "hosts",
    "inputrc",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.preload",
    "locale.alias",
    "locale.conf",
    "localtime",
    "magic",
    "mailcap",
    "mime.types",
    "mtab",
    "networks",
    "npmrc",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "perl",
    "pip.conf",
    "pki",
    "profile",
    "profile.d",
    "protocols",
    "resolv.conf",
    "rpc",
    "services",
    "ssl",
    "terminfo",
    "timezone",
    "xdg",
];

/// Directories behind links of /etc, whose files are replaced rather than rewritten.
const RESOLVERS: [&str; 3] = [
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
];

/// Shared memory is here: locks of Python's multiprocessing, browsers.
const SHARED_MEMORY: &str = "/dev/shm";

const DEVICES: [&str; 8] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
];

/// Never opened because a command names something in them.
const BROAD: [&str; 16] = [
    "/",
    "/boot",
    "/dev",
    "/etc",
    "/etc/mainstay",
    "/home",
    "/media",
    "/mnt",
    "/proc",
    "/root",
    "/run",
    "/srv",
    "/sys",
    "/tmp",
    "/var",
    "/var/lib",
];

/// Said after a failure that the fence may be the cause of.
pub const HINT: &str = "; the fence may be in its way: open a path to it by read_paths or write_paths \
                        of its [servers.NAME.sandbox]";

/// Links and interpreters followed from a command.
const MOST_HOPS: usize = 16;

/// A worker about to be fenced.
#[derive(Debug)]
pub struct Fenced<'a> {
    /// The command and its arguments.
    pub command: &'a [OsString],
    /// Where its program is looked for: its own `PATH`.
    pub path: &'a OsStr,
    /// Its working directory, which relative names are relative to.
    pub cwd: &'a Path,
    /// Its private directory.
    pub scratch: &'a Path,
    /// What the configuration opens for reading.
    pub read: &'a [PathBuf],
    /// What the configuration opens for writing.
    pub write: &'a [PathBuf],
}

/// Everything that is open to this worker. Blocks on the disk.
#[must_use]
pub fn openings(worker: &Fenced<'_>) -> Openings {
    let etc = SETTINGS.iter().map(|name| Path::new("/etc").join(name));
    let fixed = PROGRAMS.iter().chain(&KERNEL).chain(&RESOLVERS);
    let mut read: Vec<PathBuf> = fixed.map(PathBuf::from).chain(etc).collect();
    read.extend(python_settings());
    read.push(worker.cwd.to_owned());
    read.extend(named(worker));
    read.extend_from_slice(worker.read);
    let mut write = vec![worker.scratch.to_owned(), PathBuf::from(SHARED_MEMORY)];
    write.extend_from_slice(worker.write);
    Openings {
        read,
        write,
        devices: DEVICES.iter().map(PathBuf::from).collect(),
    }
}

/// `/etc/python3`, `/etc/python3.11` and the like.
fn python_settings() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/etc").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().as_bytes().starts_with(b"python"))
        .map(|entry| entry.path())
        .collect()
}

/// What the command names: the program with what belongs to it, and its arguments that are paths.
fn named(worker: &Fenced<'_>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Some((program, arguments)) = worker.command.split_first() else {
        return found;
    };
    let mut hops = MOST_HOPS;
    if let Some(file) = find(program, worker.path, worker.cwd) {
        program_trees(&file, worker, &mut hops, &mut found);
    }
    for argument in arguments {
        let bytes = argument.as_bytes();
        // `--config=/srv/music.toml` names a file too.
        let value = match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) if bytes.starts_with(b"-") => bytes.get(at + 1..).unwrap_or_default(),
            _ => bytes,
        };
        let path = worker.cwd.join(Path::new(OsStr::from_bytes(value)));
        if value.is_empty() || !path.exists() {
            continue;
        }
        let directory = if path.is_dir() {
            Some(path.as_path())
        } else {
            path.parent()
        };
        match directory.filter(|directory| !is_broad(directory, worker.scratch)) {
            Some(directory) => found.push(directory.to_owned()),
            None if path.is_file() => found.push(path),
            None => {}
        }
    }
    found
}

/// A program, every link on the way to it, the interpreter in its first line, and the directories
/// that belong to each.
fn program_trees(file: &Path, worker: &Fenced<'_>, hops: &mut usize, found: &mut Vec<PathBuf>) {
    let mut file = file.to_owned();
    loop {
        if *hops == 0 {
            return;
        }
        *hops -= 1;
        found.extend(tree(&file, worker.scratch));
        let Ok(target) = std::fs::read_link(&file) else {
            break;
        };
        file = file.parent().unwrap_or(Path::new("/")).join(target);
    }
    // Directories on the way may be links too.
    if let Ok(real) = file.canonicalize() {
        found.extend(tree(&real, worker.scratch));
    }
    if let Some(interpreter) = interpreter(&file, worker) {
        program_trees(&interpreter, worker, hops, found);
    }
}

/// The directories that a program at this place comes with.
fn tree(file: &Path, scratch: &Path) -> Vec<PathBuf> {
    let mut outermost = PathBuf::new();
    for component in file.components() {
        outermost.push(component);
        if component == Component::Normal(OsStr::new("node_modules")) {
            return vec![outermost];
        }
    }
    let Some(directory) = file.parent() else {
        return Vec::new();
    };
    if let (Some("bin" | "sbin"), Some(prefix)) = (
        directory.file_name().and_then(OsStr::to_str),
        directory.parent(),
    ) {
        if prefix.join("pyvenv.cfg").is_file() && !is_broad(prefix, scratch) {
            return vec![prefix.to_owned()];
        }
        return ["lib", "lib64", "libexec"]
            .iter()
            .map(|name| prefix.join(name))
            .chain([directory.to_owned()])
            .collect();
    }
    if is_broad(directory, scratch) {
        return vec![file.to_owned()];
    }
    vec![directory.to_owned()]
}

/// Whether a directory holds more than one program's matter: a directory of the system, a home, or
/// one that the state of the daemon lies in.
fn is_broad(directory: &Path, scratch: &Path) -> bool {
    let plain: PathBuf = directory.canonicalize().unwrap_or(directory.to_owned());
    let scratch = scratch.canonicalize().unwrap_or(scratch.to_owned());
    // Scratch directories lie in a folder of their own, and that in the state directory.
    let folder = scratch.parent().unwrap_or(&scratch);
    let state = folder.parent().unwrap_or(folder);
    BROAD.iter().any(|broad| plain == Path::new(broad))
        || plain.parent() == Some(Path::new("/home"))
        || state.starts_with(&plain)
        || (plain.starts_with(folder) && !plain.starts_with(&scratch))
}

/// The interpreter that the first line of a script names, looked up for `env`.
fn interpreter(script: &Path, worker: &Fenced<'_>) -> Option<PathBuf> {
    const LONGEST: u64 = 256;
    // Only a regular file: opening a pipe would wait for its other end.
    if !script.is_file() {
        return None;
    }
    let mut start = Vec::new();
    let file = File::open(script).ok()?;
    file.take(LONGEST).read_to_end(&mut start).ok()?;
    let line = start
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let mut words = line
        .split(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
        .filter(|word| !word.is_empty());
    let program = Path::new(OsStr::from_bytes(words.next()?));
    if program.file_name() != Some(OsStr::new("env")) {
        return Some(program.to_owned());
    }
    let name = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='))?;
    find(OsStr::from_bytes(name), worker.path, worker.cwd)
}

/// The file a command name stands for, whether or not it can be executed; relative names are
/// relative to `cwd`.
#[must_use]
pub fn find(program: &OsStr, path: &OsStr, cwd: &Path) -> Option<PathBuf> {
    let file = Path::new(program);
    if file.components().count() > 1 || file.is_absolute() {
        let file = cwd.join(file);
        return file.is_file().then_some(file);
    }
    std::env::split_paths(path)
        .map(|directory| cwd.join(directory).join(file))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Disk(tempfile::TempDir);

    impl Disk {
        fn new() -> Self {
            let disk = Self(tempfile::tempdir().unwrap());
            for directory in [
                "state/scratch/a-1",
                "srv/music",
                "bin",
                "app/venv/bin",
                "work",
            ] {
                fs::create_dir_all(disk.at(directory)).unwrap();
            }
            disk
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(path)
        }

        fn file(&self, path: &str, content: &str) -> PathBuf {
            let file = self.at(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, content).unwrap();
            file
        }

        /// What the command opens, relative to the disk; what lies elsewhere is left out.
        fn opened(&self, command: &[&str]) -> Vec<String> {
            let command: Vec<OsString> = command
                .iter()
                .map(|word| word.replace('@', self.at("").to_str().unwrap().trim_end_matches('/')))
                .map(OsString::from)
                .collect();
            let path = self.at("bin");
            let found = named(&Fenced {
                command: &command,
                path: path.as_os_str(),
                cwd: &self.at("work"),
                scratch: &self.at("state/scratch/a-1"),
                read: &[],
                write: &[],
            });
            let mut found: Vec<String> = found
                .iter()
                .filter_map(|path| path.strip_prefix(self.at("")).ok())
                .map(|path| path.to_str().unwrap().to_owned())
                .collect();
            found.sort();
            found.dedup();
            found
        }
    }

    #[test]
    fn a_program_comes_with_its_directory_and_libraries() {
        let disk = Disk::new();
        disk.file("srv/music/server", "");
        disk.file("bin/tool", "");
        assert_eq!(disk.opened(&["@/srv/music/server"]), ["srv/music"]);
        assert_eq!(disk.opened(&["tool"]), ["bin", "lib", "lib64", "libexec"]);
        assert_eq!(disk.opened(&["absent"]), [""; 0]);
        assert_eq!(disk.opened(&[]), [""; 0]);
    }

    #[test]
    fn links_virtual_environments_and_interpreters_are_followed() {
        let disk = Disk::new();
        disk.file("app/venv/pyvenv.cfg", "");
        disk.file("real/python", "");
        symlink(disk.at("real/python"), disk.at("app/venv/bin/python")).unwrap();
        let first = format!("#!{}\n", disk.at("app/venv/bin/python").display());
        disk.file("app/venv/bin/mcp-server", &first);
        symlink("../app/venv/bin/mcp-server", disk.at("bin/server")).unwrap();
        assert_eq!(
            disk.opened(&["server"]),
            [
                "app/venv",
                "bin",
                "bin/../app/venv",
                "lib",
                "lib64",
                "libexec",
                "real"
            ]
        );
    }

    #[test]
    fn env_finds_the_interpreter_of_a_node_package() {
        let disk = Disk::new();
        disk.file(
            "n/node_modules/a/node_modules/b/cli.js",
            "#!/usr/bin/env -S node --x\n",
        );
        fs::create_dir_all(disk.at("n/node_modules/.bin")).unwrap();
        symlink(
            "../a/node_modules/b/cli.js",
            disk.at("n/node_modules/.bin/b"),
        )
        .unwrap();
        disk.file("node/16/node", "");
        symlink(disk.at("node/16/node"), disk.at("bin/node")).unwrap();
        assert_eq!(
            disk.opened(&["@/n/node_modules/.bin/b"]),
            [
                "bin",
                "lib",
                "lib64",
                "libexec",
                "n/node_modules",
                "node/16"
            ]
        );
    }

    #[test]
    fn arguments_open_what_they_name_and_no_more() {
        let disk = Disk::new();
        disk.file("srv/music/server.py", "");
        disk.file("data/x.db", "");
        disk.file("top.py", "");
        disk.file("state/journal", "");
        for (arguments, opened) in [
            (vec!["@/srv/music/server.py"], vec!["srv/music"]),
            (vec!["--db=@/data/x.db", "--other", "x"], vec!["data"]),
            (vec!["@/srv"], vec!["srv"]),
            (vec!["../data"], vec!["work/../data"]),
            // Beside the state directory, and in it: the file alone.
            (vec!["@/top.py"], vec!["top.py"]),
            (vec!["@/state/journal"], vec!["state/journal"]),
            (vec!["@/state"], vec![]),
            (vec!["@/"], vec![]),
            (vec!["/", "/etc", "/etc/passwd", "", "-="], vec![]),
        ] {
            let mut command = vec!["absent"];
            command.extend(&arguments);
            assert_eq!(disk.opened(&command), opened, "{arguments:?}");
        }
    }

    #[test]
    fn links_in_a_circle_end() {
        let disk = Disk::new();
        symlink(disk.at("bin/b"), disk.at("bin/a")).unwrap();
        symlink(disk.at("bin/a"), disk.at("bin/b")).unwrap();
        let script = disk.at("srv/loop");
        fs::write(&script, format!("#!{}\n", script.display())).unwrap();
        assert_eq!(disk.opened(&["a"]), [""; 0]);
        assert_eq!(disk.opened(&["@/srv/loop"]), ["srv"]);
    }
}
