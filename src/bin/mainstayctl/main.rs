//! `mainstayctl`, the admin tool: asks the daemon on its admin socket and shows the answer. It
//! reads the environment and writes to the terminal; everything between is pure.

mod args;
mod render;
mod stress;
mod table;

use args::{Args, Command};
use clap::Parser;
use mainstay::admin::client::{Client, ClientError};
use mainstay::admin::path;
use mainstay::broker::snapshot::{Health, Snapshot};
use mainstay::exit;
use std::env::var_os;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long a daemon may take to answer. It reads counters only, so this is much.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(exit::USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let result = match args.command {
        Command::Status { json, check } => status(args.socket, json, check),
        Command::Stress(options) => {
            let admin = find_socket(args.socket).map(|socket| Client::new(&socket, PATIENCE));
            stress::run(&options, admin)
        }
    };
    match result {
        Ok(code) => code,
        Err(message) => {
            let _ = writeln!(io::stderr(), "mainstayctl: {message}");
            ExitCode::from(exit::UNAVAILABLE)
        }
    }
}

fn status(socket: Option<PathBuf>, json: bool, check: bool) -> Result<ExitCode, String> {
    let socket = find_socket(socket)?;
    let ask = Client::new(&socket, PATIENCE).status();
    let snapshot = ask.map_err(|error: ClientError| error.to_string())?;
    let text = if json {
        serde_json::to_string_pretty(&snapshot).map_err(|error| error.to_string())? + "\n"
    } else {
        render::status(&snapshot, coloured())
    };
    // A reader that has seen enough (`| head`) is no failure.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    Ok(if check {
        verdict(&snapshot)
    } else {
        ExitCode::SUCCESS
    })
}

/// 0 if all is well, 1 if something is missing or down.
fn verdict(snapshot: &Snapshot) -> ExitCode {
    let well = snapshot.health == Health::Ok && snapshot.phase == "serving";
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Colour is for people (<https://no-color.org>: any value but an empty one turns it off).
fn coloured() -> bool {
    let set = |name| var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

/// `--socket`, else `MAINSTAY_SOCKET`, else the first of the usual places where something is.
fn find_socket(given: Option<PathBuf>) -> Result<PathBuf, String> {
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
