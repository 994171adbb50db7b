//! Where the daemon is: finds its socket by the command line, the environment and the usual places.

use crate::outcome::Failed;
use mainstay::admin::client::Client;
use mainstay::admin::path;
use mainstay::exit;
use std::env::var_os;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a daemon may take to answer. It reads counters and sets marks, so this is much.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client of the daemon. Nothing is connected yet.
pub(crate) fn client(socket: Option<PathBuf>) -> Result<Client, Failed> {
    patient_client(socket, PATIENCE)
}

/// The same for what takes longer.
pub(crate) fn patient_client(
    socket: Option<PathBuf>,
    patience: Duration,
) -> Result<Client, Failed> {
    let socket = find_socket(socket).map_err(|message| Failed {
        code: exit::UNAVAILABLE,
        message,
    })?;
    Ok(Client::new(&socket, patience))
}

/// `--socket`, else `MAINSTAY_SOCKET`, else the first of the usual places where something is.
pub(crate) fn find_socket(given: Option<PathBuf>) -> Result<PathBuf, String> {
    let from_environment = || var_os("MAINSTAY_SOCKET").filter(|value| !value.is_empty());
    if let Some(path) = given.or_else(|| from_environment().map(PathBuf::from)) {
        return Ok(path);
    }
    let directory = |name| var_os(name).map(PathBuf::from);
    let candidates = path::candidates(
        directory("XDG_RUNTIME_DIR").as_deref(),
        directory("HOME").as_deref(),
    );
    // Not `exists`: a directory that may not be looked into hides a daemon, and connecting says so.
    let something = |path: &&PathBuf| match path.try_exists() {
        Ok(there) => there,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    };
    candidates.iter().find(something).cloned().ok_or_else(|| {
        let looked: Vec<_> = candidates.iter().map(|path: &PathBuf| show(path)).collect();
        format!(
            "found no admin socket at {}; is mainstayd running? see `systemctl status mainstay`, \
             or pass --socket PATH",
            looked.join(", ")
        )
    })
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
