//! The daemon (being written).

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "mainstayd")]
enum Cli {
    #[command(hide = true)]
    Launch(mainstay::worker::launch::LaunchArgs),
}

fn main() -> ExitCode {
    match Cli::parse() {
        Cli::Launch(args) => mainstay::worker::launch::run(&args),
    }
}
