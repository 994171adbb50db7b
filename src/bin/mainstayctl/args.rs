//! The command line, defined once. What it means is for `main` to decide.

use crate::stress::plan::Options as Stress;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Ask a running mainstayd how it is.
#[derive(Debug, Parser)]
#[command(
    name = "mainstayctl",
    version,
    after_help = "Exit status: 0 the daemon answered; 1 `status --check` found something missing \
                  or down; 64 wrong command line; 69 no daemon answers."
)]
pub(crate) struct Args {
    /// Admin socket of the daemon [default: $MAINSTAY_SOCKET, else the first found of
    /// /run/mainstay-control.sock, /run/mainstay/mainstay.sock,
    /// $XDG_RUNTIME_DIR/mainstay/mainstay.sock, ~/.local/state/mainstay/mainstay.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show servers, workers, sessions, queues and refusals
    Status {
        /// Print the whole snapshot as JSON
        #[arg(long)]
        json: bool,
        /// Exit with 1 unless everything is well
        #[arg(long)]
        check: bool,
    },
    /// Put a server under load while its workers are killed, and judge how it does
    #[command(
        after_help = "PASS takes 99.5 % good calls, p99 of 500 ms at most, and every kill followed \
                      by a good answer within 60 s. Exit status: 0 PASS; 1 FAIL, or interrupted; 64 \
                      wrong command line; 69 it could not run."
    )]
    Stress(Stress),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_socket_may_stand_before_or_behind_the_command() {
        for line in [
            ["mainstayctl", "--socket", "/s", "status"],
            ["mainstayctl", "status", "--socket", "/s"],
        ] {
            let args = Args::try_parse_from(line).unwrap();
            assert_eq!(args.socket, Some(PathBuf::from("/s")), "{line:?}");
        }
    }

    #[test]
    fn the_help_names_the_places_that_are_looked_at() {
        let help = Args::command()
            .render_long_help()
            .to_string()
            .replace('\n', " ");
        for path in mainstay::admin::path::candidates(None, None) {
            assert!(help.contains(path.to_str().unwrap()), "{path:?} in {help}");
        }
    }
}
