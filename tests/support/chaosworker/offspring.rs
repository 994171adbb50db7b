//! Processes a worker leaves around itself: children, orphans in a session of their own, wrappers
//! above it, and too many of them.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Value, json};

use super::call::Call;
use super::worker::Worker;
use super::{locked, text};

fn myself() -> Command {
    // Where there is no such path the spawn fails, and says so.
    Command::new(std::env::current_exe().unwrap_or_default())
}

/// Runs this worker below a shell that waits for it, with one wrapper less: sh, node, sh, server.
pub(crate) fn wrap(levels: u64) -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|a| a == "--wrap") {
        arguments[at + 1] = levels.to_string();
    }
    let program = std::env::current_exe().unwrap_or_default();
    let mut shell = Command::new("sh");
    // A command behind it keeps the shell from becoming the program.
    shell.args(["-c", "\"$@\"; exit $?", "sh"]).arg(program);
    match shell.args(arguments).status() {
        Ok(status) => ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)),
        Err(error) => {
            eprintln!("chaosworker: no shell: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The middle of a double fork: leaves a sleeper in a new session and says its process id.
pub(crate) fn orphan() -> ExitCode {
    let session = nix::unistd::setsid();
    let mut sleeper = myself();
    sleeper.arg("--sleep").stdin(Stdio::null());
    sleeper.stdout(Stdio::null()).stderr(Stdio::null());
    match (session, sleeper.spawn()) {
        (Ok(_), Ok(child)) => {
            let told = writeln!(io::stdout(), "{}", child.id());
            ExitCode::from(u8::from(told.is_err()))
        }
        (session, child) => {
            eprintln!("chaosworker: no orphan: {session:?} {child:?}");
            ExitCode::FAILURE
        }
    }
}

impl Worker {
    /// A child that inherits stdout and stderr and would outlive us.
    pub(crate) fn fork(&self, own_group: bool) {
        let mut command = myself();
        command.arg("--sleep").stdin(Stdio::null());
        if own_group {
            command.process_group(0);
        }
        match command.spawn() {
            Ok(child) => locked(&self.children).push(child.id()),
            Err(error) => eprintln!("chaosworker: no child: {error}"),
        }
    }

    /// A grandchild whose parent is gone, in a session of its own.
    pub(crate) fn daemonise(&self) {
        let mut command = myself();
        command.arg("--orphan").stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).spawn();
        let told = child.and_then(|mut child| {
            let mut told = String::new();
            if let Some(stdout) = &mut child.stdout {
                stdout.read_to_string(&mut told)?;
            }
            child.wait().map(|_| told)
        });
        match told.map(|told| told.trim().parse()) {
            Ok(Ok(pid)) => locked(&self.children).push(pid),
            other => eprintln!("chaosworker: no orphan: {other:?}"),
        }
    }

    /// Sleeping children until the system refuses one or there are `limit` (default 64).
    pub(crate) fn fork_bomb(&self, call: &Call) -> Value {
        let limit = call.arguments["limit"].as_u64().unwrap_or(64);
        let mut started = 0;
        let mut refused = Value::Null;
        while started < limit {
            let mut command = myself();
            command.arg("--sleep").stdin(Stdio::null());
            match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
                Ok(child) => locked(&self.children).push(child.id()),
                Err(error) => {
                    refused = error.to_string().into();
                    break;
                }
            }
            started += 1;
        }
        text(json!({"started": started, "refused": refused}).to_string())
    }

    pub(crate) fn children(&self) -> Vec<u32> {
        locked(&self.children).clone()
    }
}
