//! A server that answers wrongly: another program's answers with some words exchanged.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Command, ExitCode, Stdio};
use std::thread;

/// Passes lines both ways until the command ends. `lie` is `FROM=TO`.
pub(crate) fn relay(command: &str, lie: &str) -> ExitCode {
    let (from, to) = lie.split_once('=').unwrap_or((lie, lie));
    let mut words = command.split(' ');
    let spawned = Command::new(words.next().unwrap_or_default())
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            eprintln!("chaosworker: {command}: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(mut input) = child.stdin.take() {
        // Ends with our stdin, or with the process.
        thread::spawn(move || io::copy(&mut io::stdin(), &mut input));
    }
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let line = if from.is_empty() {
                line
            } else {
                line.replace(from, to)
            };
            let mut stdout = io::stdout().lock();
            let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
            if written.is_err() {
                break;
            }
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    ExitCode::SUCCESS
}
