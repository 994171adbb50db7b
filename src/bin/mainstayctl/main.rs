//! `mainstayctl`, the admin tool: asks the daemon on its admin socket and shows the answer, or has
//! it change something. It hands each command to the file that owns it.

mod act;
mod args;
mod doctor;
mod guards;
mod outcome;
mod reach;
mod reload;
mod render;
mod show;
mod stress;
mod table;
mod target;
mod token;

use args::{Args, Command};
use clap::{CommandFactory as _, Parser};
use mainstay::{exit, manual};
use outcome::Failed;
use std::io::{self, Write};
use std::process::ExitCode;

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
    let socket = args.socket;
    let outcome = match args.command {
        Command::Token { name } => match token::make(&name) {
            Ok(text) => outcome::print(&text),
            Err(message) => Err(Failed {
                code: exit::USAGE,
                message,
            }),
        },
        Command::Doctor { json, config } => doctor::run(socket, config.as_deref(), json),
        Command::Status { json, check } => show::status(socket, json, check),
        Command::Workers { json } => show::workers(socket, json),
        Command::Breakers { json } => show::breakers(socket, json),
        Command::Limits { json, most } => show::limits(socket, json, most),
        Command::Quarantine { json, action: None } => show::quarantine(socket, json),
        Command::Quarantine {
            action: Some(action),
            ..
        } => act::quarantine(socket, &action),
        Command::Breaker { action } => act::breaker(socket, &action),
        Command::Worker { action } => act::worker(socket, &action),
        Command::Drain { server, undo } => act::drain(socket, &server, undo),
        Command::Reload { check } => reload::reload(socket, check),
        Command::Fault { part, lasts } => act::fault(socket, part, lasts),
        Command::Stress(options) => stress::run(&options, reach::client(socket)),
        Command::Manual => outcome::print(&manual::scdoc(Args::command())),
        Command::Completions { shell } => {
            let script = manual::completions("mainstayctl", &Args::command(), shell);
            outcome::print(&String::from_utf8_lossy(&script))
        }
    };
    outcome.unwrap_or_else(|failed| {
        let _ = writeln!(io::stderr(), "mainstayctl: {}", failed.message);
        ExitCode::from(failed.code)
    })
}
