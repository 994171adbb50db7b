//! The command line, defined once. What it means is for `main` to decide.

use crate::stress::plan::Options as Stress;
use crate::target::Target;
use clap::{Parser, Subcommand};
use mainstay::admin::protocol::{LIMITS_MOST, REASON_LIMIT};
use mainstay::broker::control::BreakerMode;
use mainstay::config::parse_span;
use mainstay::fault::Part;
use mainstay::manual::Shell;
use std::path::PathBuf;
use std::time::Duration;

/// Ask a running mainstayd how it is, and steer its guards.
#[derive(Debug, Parser)]
#[command(
    name = "mainstayctl",
    version,
    after_help = "Exit status: 0 done; 1 it cannot be done (no such server, worker or call; a wrong configuration), or \
                  `status --check` found something missing or down, `doctor` something bad, or `stress` says FAIL; 64 wrong \
                  command line; 69 no daemon answers."
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
    /// Explain what this host can and cannot do for mainstayd, and how to mend it
    #[command(
        after_help = "Works without a daemon too. Run it as root: others see less. Exit \
                            status: 0 nothing is bad; 1 something is."
    )]
    Doctor {
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
        /// Configuration of the daemon [default: /etc/mainstay/mainstay.toml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Make a token and print the configuration of its principal; asks no daemon
    Token {
        /// Name of the principal: 1 to 64 of A-Z a-z 0-9 _ - . @
        name: String,
    },
    /// Show the workers: process, era, state, age, calls, memory
    Workers {
        /// Print a JSON array, one object a worker
        #[arg(long)]
        json: bool,
    },
    /// Show the breakers of servers and tools
    #[command(
        after_help = "WINDOW is failures/calls of the last seconds. ENDS IN is when a mode \
                            that was set by hand ends by itself."
    )]
    Breakers {
        /// Print a JSON array, one object a breaker
        #[arg(long)]
        json: bool,
    },
    /// Show who has how many calls left, the busiest first
    Limits {
        /// Print a JSON array, one object a bucket
        #[arg(long)]
        json: bool,
        /// Show at most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = most)]
        most: usize,
    },
    /// Show the calls that are refused because they have cost several workers their life
    #[command(args_conflicts_with_subcommands = true)]
    Quarantine {
        /// Print a JSON array, one object a call
        #[arg(long)]
        json: bool,
        /// What to do with them.
        #[command(subcommand)]
        action: Option<QuarantineAction>,
    },
    /// Set a breaker by hand, or let it decide again
    Breaker {
        /// To what.
        #[command(subcommand)]
        action: BreakerAction,
    },
    /// Replace a worker
    Worker {
        /// What to do with it.
        #[command(subcommand)]
        action: WorkerAction,
    },
    /// Let a server take no new calls; those in flight go on, its workers stay
    #[command(
        after_help = "New calls are refused with -31007 (draining). A restart of mainstayd forgets it."
    )]
    Drain {
        /// Name of the server
        server: String,
        /// Let it take calls again
        #[arg(long)]
        undo: bool,
    },
    /// Read the configuration again and put it into force; calls in flight are not touched
    #[command(
        after_help = "A bad configuration is refused with all its errors (exit status 1); the old \
                      one stays in force. The command returns once the new one is in force, not once \
                      every worker has been replaced."
    )]
    Reload {
        /// Only check it and tell what a reload would change
        #[arg(long)]
        check: bool,
    },
    /// Make a vital part of the daemon stand still, to see it restarted; only in a build for tests
    #[command(hide = true)]
    Fault {
        /// Which part
        #[arg(value_parser = part)]
        part: Part,
        /// For how long, such as `20s`
        #[arg(long = "for", value_name = "TIME", value_parser = parse_span, default_value = "30s")]
        lasts: Duration,
    },
    /// Put a server under load while its workers are killed, and judge how it does
    #[command(
        after_help = "PASS takes 99.5 % good calls, p99 of 500 ms at most, and every kill followed \
                      by a good answer within 60 s. Exit status: 0 PASS; 1 FAIL, or interrupted; 64 \
                      wrong command line; 69 it could not run."
    )]
    Stress(Stress),
    /// Print the options as a part of the manual page
    #[command(hide = true)]
    Manual,
    /// Print a completion script
    #[command(hide = true)]
    Completions {
        /// For which shell
        shell: Shell,
    },
}

fn part(text: &str) -> Result<Part, String> {
    let known = Part::ALL.iter().find(|(name, _)| *name == text);
    known.map(|(_, part)| *part).ok_or_else(|| {
        let names: Vec<&str> = Part::ALL.iter().map(|(name, _)| *name).collect();
        format!("the parts are {}", names.join(", "))
    })
}

/// What to do with quarantined calls.
#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineAction {
    /// Let quarantined calls of a server go to workers again
    Clear {
        /// Name of the server
        server: String,
        /// Which call, by its digest as `mainstayctl quarantine` shows it [default: all]
        digest: Option<String>,
    },
}

/// What to do with a worker.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkerAction {
    /// Start its successor, then end it once its calls are done
    Recycle {
        /// Number of the worker, as `mainstayctl workers` shows it
        id: u64,
    },
}

/// What to set a breaker to.
#[derive(Debug, Subcommand)]
pub(crate) enum BreakerAction {
    /// Refuse every call
    Open(Forced),
    /// Let every call through
    Close(Forced),
    /// Let it decide and report, but let every call through
    Shadow(Forced),
    /// Let it decide by itself again
    Auto {
        /// The server, or one of its tools
        #[arg(value_name = "SERVER[/TOOL]")]
        target: Target,
        /// Why, for the log
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: Option<String>,
        /// Taken so that scripts can treat all modes alike; `auto` stays in any case
        #[arg(long = "for", value_name = "TIME", value_parser = lasts)]
        _lasts: Option<Duration>,
    },
}

/// A mode set by hand.
#[derive(Debug, clap::Args)]
pub(crate) struct Forced {
    /// The server, or one of its tools
    #[arg(value_name = "SERVER[/TOOL]")]
    target: Target,
    /// Why, for the log, `mainstayctl breakers` and whoever looks at it at 3 a.m.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// When it ends by itself, such as 10m or 1h30m [default: it stays until `breaker auto`]
    #[arg(long = "for", value_name = "TIME", value_parser = lasts)]
    lasts: Option<Duration>,
}

impl Forced {
    /// What the daemon is told.
    pub(crate) fn parts(&self, mode: BreakerMode) -> Order<'_> {
        (mode, &self.target, self.lasts, Some(&self.reason))
    }
}

/// Mode, what it is set on, for how long, why.
pub(crate) type Order<'a> = (BreakerMode, &'a Target, Option<Duration>, Option<&'a str>);

fn lasts(text: &str) -> Result<Duration, String> {
    match parse_span(text) {
        Ok(Duration::ZERO) => Err("is over at once; leave it out for a mode that stays".to_owned()),
        other => other,
    }
}

fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("is empty; say why".to_owned()),
        text if text.len() > REASON_LIMIT => Err(format!("is longer than {REASON_LIMIT} bytes")),
        text => Ok(text.to_owned()),
    }
}

fn most(text: &str) -> Result<usize, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (1..=LIMITS_MOST).contains(number))
        .ok_or_else(|| format!("is no number from 1 to {LIMITS_MOST}"))
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
    fn a_forced_mode_wants_a_reason_and_a_real_time() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        for good in [
            "mainstayctl breaker open github --reason moved",
            "mainstayctl breaker close github/search --reason moved --for 10m",
            "mainstayctl breaker shadow github --for 1h30m --reason=moved",
            "mainstayctl breaker auto github",
            "mainstayctl breaker auto github --for 10m --reason done",
            "mainstayctl quarantine clear github",
            "mainstayctl quarantine --json",
            "mainstayctl drain github --undo",
        ] {
            parse(good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for (bad, part) in [
            ("mainstayctl breaker open github", "--reason"),
            ("mainstayctl breaker open github --reason=", "say why"),
            (
                "mainstayctl breaker open github --reason x --for 10",
                "\"10s\"",
            ),
            (
                "mainstayctl breaker open github --reason x --for 0s",
                "leave it out",
            ),
            ("mainstayctl breaker open /x --reason x", "github/search"),
            ("mainstayctl breaker github", "unrecognized"),
            ("mainstayctl worker recycle music", "invalid"),
            ("mainstayctl limits --most 0", "from 1 to"),
            ("mainstayctl quarantine --json clear github", "--json"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
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
