//! From files, command line and environment to one checked configuration: which files there are,
//! and which directories are the default. It knows no keys but those of the directories.

use super::document::Document;
use super::source::Place;
use super::{Admin, Config, Environment, Errors, Overrides};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The file read when the command line names none.
pub const SYSTEM_FILE: &str = "/etc/mainstay/mainstay.toml";

/// Folder of server files beside the main file.
const SERVERS: &str = "servers.d";
/// Name of the admin socket in its directory.
const SOCKET: &str = "mainstay.sock";
/// A larger file is no configuration.
const LARGEST_FILE: u64 = 1 << 20;
/// Bytes of a Unix socket's path, less the closing NUL (`sun_path` of unix(7)).
const LONGEST_SOCKET: usize = 107;

/// Reads and checks the configuration: the file at `path` (without one, [`SYSTEM_FILE`] if it
/// exists) and `servers.d/*.toml` beside it, then the overrides. Without any server the built-in
/// score server is served.
///
/// # Errors
/// Everything that is wrong, at once: unreadable files, TOML syntax, unknown keys, wrong types,
/// values out of range and impossible combinations.
pub fn load(
    path: Option<&Path>,
    overrides: &Overrides,
    environment: &Environment,
) -> Result<Config, Errors> {
    match path {
        Some(path) => load_file(path, true, overrides, environment),
        None => load_file(Path::new(SYSTEM_FILE), false, overrides, environment),
    }
}

/// Checks the text of one file, with no `servers.d`, no overrides and the default
/// [`Environment`]. `file_name` is for the messages only.
///
/// # Errors
/// As [`load`].
pub fn from_str(file_name: &str, text: &str) -> Result<Config, Errors> {
    let mut document = Document::default();
    document.read_main(file_name, text);
    complete(document, &Overrides::default(), &Environment::default())
}

fn load_file(
    path: &Path,
    required: bool,
    overrides: &Overrides,
    environment: &Environment,
) -> Result<Config, Errors> {
    let mut document = Document::default();
    match read(path) {
        Ok(text) => document.read_main(&path.to_string_lossy(), &text),
        Err(Unreadable::Absent) if !required => {}
        Err(why) => unreadable(&mut document, path, &why),
    }
    for file in server_files(&mut document, path) {
        match read(&file) {
            Ok(text) => document.read_servers(&file.to_string_lossy(), &text),
            Err(why) => unreadable(&mut document, &file, &why),
        }
    }
    complete(document, overrides, environment)
}

/// `servers.d/*.toml` beside the main file, sorted by name. Hidden files are left out: editors and
/// package managers keep theirs that way.
fn server_files(document: &mut Document, main: &Path) -> Vec<PathBuf> {
    let dir = main.with_file_name(SERVERS);
    let names = fs::read_dir(&dir).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut files = match names {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            unreadable(document, &dir, &Unreadable::Io(error));
            Vec::new()
        }
    };
    files.retain(|name| {
        let bytes = name.as_encoded_bytes();
        bytes.ends_with(b".toml") && !bytes.starts_with(b".")
    });
    files.sort();
    files.into_iter().map(|name| dir.join(name)).collect()
}

/// Why a file could not be read.
enum Unreadable {
    Absent,
    Directory,
    TooLarge,
    NotText(usize),
    Io(io::Error),
}

fn read(path: &Path) -> Result<String, Unreadable> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unreadable::Absent,
        _ => Unreadable::Io(error),
    })?;
    if file.metadata().map_err(Unreadable::Io)?.is_dir() {
        return Err(Unreadable::Directory);
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(Unreadable::Io)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Unreadable::TooLarge);
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        Unreadable::NotText(before.iter().filter(|byte| **byte == b'\n').count() + 1)
    })
}

fn unreadable(document: &mut Document, path: &Path, why: &Unreadable) {
    document.incomplete = true;
    let mut place = Place::whole(&path.to_string_lossy());
    let message = match why {
        Unreadable::Absent => "there is no such file; create it or name another one".to_owned(),
        Unreadable::Directory => {
            "is a directory; name the file in it, such as mainstay.toml".to_owned()
        }
        Unreadable::TooLarge => "is larger than 1M, which no configuration is".to_owned(),
        Unreadable::NotText(line) => {
            place.line = Some(*line);
            "is no UTF-8 text; save the file as UTF-8".to_owned()
        }
        Unreadable::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            "cannot be read: permission denied; let the daemon's user read it".to_owned()
        }
        Unreadable::Io(error) => format!("cannot be read: {error}"),
    };
    document.report.add(&place, "", message);
}

/// Adds the overrides and the directories.
fn complete(
    mut document: Document,
    overrides: &Overrides,
    environment: &Environment,
) -> Result<Config, Errors> {
    let servers = document.take_servers();
    let (state_dir, socket) = directories(&document, overrides, environment);
    let mut listen = document.listen;
    if let Some(address) = overrides.listen {
        listen.http = address;
    }
    let config = Config {
        listen,
        admin: Admin { socket },
        state_dir,
        cgroup: document.cgroup,
        sessions: document.sessions,
        rate_limit: document.rate_limit,
        auth: document.auth,
        principals: std::mem::take(&mut document.principals),
        servers,
    };
    document.report.finish(config)
}

/// The state directory and the admin socket.
fn directories(
    document: &Document,
    overrides: &Overrides,
    environment: &Environment,
) -> (PathBuf, PathBuf) {
    let nowhere = Place::whole("environment");
    let chosen = overrides.state_dir.as_deref().map(|dir| {
        // Only an empty path or a vanished working directory cannot be made absolute.
        std::path::absolute(dir).unwrap_or_else(|error| {
            let message = format!("cannot be made absolute: {error}; give an absolute path");
            document
                .report
                .add(&Place::whole("command line"), "--state-dir", message);
            dir.to_owned()
        })
    });
    let state_dir = chosen
        .clone()
        .or_else(|| document.state_dir.clone())
        .or_else(|| environment.state_dir())
        .unwrap_or_else(|| {
            let message = "no directory to keep state in: STATE_DIRECTORY, XDG_STATE_HOME and HOME \
                           are not set; give --state-dir DIR or set state_dir";
            document.report.add(&nowhere, "state_dir", message);
            PathBuf::new()
        });
    let (socket, place) = match (&document.admin_socket, chosen) {
        (Some((socket, place)), _) => (socket.clone(), place.clone()),
        (None, Some(dir)) => (dir.join(SOCKET), Place::whole("command line")),
        (None, None) => {
            let dir = environment
                .runtime_dir()
                .unwrap_or_else(|| state_dir.clone());
            (dir.join(SOCKET), nowhere)
        }
    };
    let length = socket.as_os_str().len();
    if length > LONGEST_SOCKET {
        let message = format!(
            "{} is {length} bytes long, the path of a Unix socket may have {LONGEST_SOCKET}; set \
             a shorter one",
            socket.display()
        );
        document.report.add(&place, "admin.socket", message);
    }
    (state_dir, socket)
}
