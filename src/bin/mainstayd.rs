//! `mainstayd`: the command line, and the way from it to the daemon, the configuration check, or
//! one of the hidden helpers. It reads the environment; nothing else does.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mainstay::config::{self, Config, Environment, Overrides, Recipe};
use mainstay::observe::logger;
use mainstay::worker::launch::{self, LaunchArgs};
use mainstay::{daemon, exit, score};

/// Keeps MCP servers up: runs them as guarded workers and serves them over Streamable HTTP.
#[derive(Debug, Parser)]
#[command(name = "mainstayd", version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Configuration file [default: /etc/mainstay/mainstay.toml if it exists, else the built-in score server]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the HTTP listener, in place of listen.http
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Where the daemon keeps its files, in place of state_dir
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration and say everything that is wrong with it; start nothing
    Check {
        #[command(flatten)]
        options: Options,
        /// Print the effective configuration, defaults included
        #[arg(long)]
        print: bool,
    },
    /// Become a worker (used by the daemon itself)
    #[command(hide = true)]
    Launch(LaunchArgs),
    /// Be the built-in score server on stdin and stdout
    #[command(hide = true)]
    Score,
}

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
    match args.command {
        Some(Command::Launch(args)) => launch::run(&args),
        Some(Command::Score) => score(),
        Some(Command::Check { options, print }) => match load(options) {
            Ok((config, _)) => {
                let text = if print {
                    config::effective_toml(&config)
                } else {
                    "the configuration is good\n".to_owned()
                };
                // A reader that has seen enough (`| head`) is no failure.
                let _ = std::io::stdout().write_all(text.as_bytes());
                ExitCode::SUCCESS
            }
            Err(code) => code,
        },
        None => match load(args.options) {
            Ok((config, recipe)) => serve(config, recipe),
            Err(code) => code,
        },
    }
}

/// The configuration, and how to read it again.
fn load(options: Options) -> Result<(Config, Recipe), ExitCode> {
    let recipe = Recipe {
        path: options.config,
        overrides: Overrides {
            listen: options.listen,
            state_dir: options.state_dir,
        },
        environment: Environment::from_process(),
    };
    match recipe.read() {
        Ok(config) => Ok((config, recipe)),
        Err(errors) => {
            eprintln!("{errors}");
            Err(ExitCode::from(exit::CONFIG))
        }
    }
}

fn serve(config: Config, recipe: Recipe) -> ExitCode {
    let variable = |name| std::env::var_os(name).and_then(|v| v.into_string().ok());
    let filter = variable("MAINSTAY_LOG").or_else(|| variable("RUST_LOG"));
    let style = logger::style(variable("JOURNAL_STREAM").as_deref());
    if let Err(error) = logger::init(filter.as_deref(), style) {
        eprintln!("mainstayd: cannot set up the log: {error}");
        return ExitCode::from(exit::SOFTWARE);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("mainstay")
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mainstayd: cannot start its threads: {error}");
            return ExitCode::from(exit::OS);
        }
    };
    match runtime.block_on(daemon::run(config, recipe)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mainstayd: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn score() -> ExitCode {
    let input = std::io::stdin().lock();
    let output = std::io::stdout().lock();
    match score::run(input, output, score::Options::default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mainstayd score: {error}");
            ExitCode::from(exit::SOFTWARE)
        }
    }
}
