//! What is to be done: the command line of `stress`, checked.

use clap::ValueEnum;
use mainstay::config::parse_span;
use std::time::Duration;

use super::target::Address;

/// Most users: each has a connection, and a source address where that is loopback.
const USERS_MOST: usize = 10_000;
/// Most hours: a year.
const HOURS_MOST: f64 = 8760.0;

/// What is done to the workers meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Chaos {
    /// Kill one with SIGKILL every now and then
    Kill,
    /// Leave them alone
    None,
}

/// How to put a server under load.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How long, in hours
    #[arg(long, default_value_t = 0.1, value_parser = hours)]
    pub(crate) hours: f64,
    /// How long, such as 90s or 6m; takes precedence over --hours
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) duration: Option<Duration>,
    /// How many users call at the same time
    #[arg(long, default_value_t = 50, value_parser = users)]
    pub(crate) users: usize,
    /// Endpoint [default: the default server of the daemon behind the admin socket, else
    /// /mcp at 127.0.0.1:8000]
    #[arg(long, value_parser = Address::parse)]
    pub(crate) url: Option<Address>,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// What to do to the workers meanwhile
    #[arg(long, value_enum, default_value_t = Chaos::Kill)]
    pub(crate) chaos: Chaos,
    /// How often a worker is killed
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = span)]
    pub(crate) kill_every: Duration,
}

impl Options {
    /// How long users call.
    pub(crate) fn lasts(&self) -> Duration {
        self.duration
            .unwrap_or_else(|| Duration::from_secs_f64(self.hours * 3600.0))
    }
}

fn hours(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|hours| *hours > 0.0 && *hours <= HOURS_MOST)
        .ok_or_else(|| format!("is no number above 0 and up to {HOURS_MOST}"))
}

fn users(text: &str) -> Result<usize, String> {
    let number = text.parse().ok();
    number
        .filter(|users| (1..=USERS_MOST).contains(users))
        .ok_or_else(|| format!("is no number from 1 to {USERS_MOST}"))
}

fn span(text: &str) -> Result<Duration, String> {
    match parse_span(text) {
        Ok(Duration::ZERO) => Err("is no time at all".to_owned()),
        other => other,
    }
}
