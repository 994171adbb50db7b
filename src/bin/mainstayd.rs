//! `mainstayd`: the command line, and the way from it to the daemon, the configuration check, or
//! one of the hidden helpers. It reads the environment; nothing else does.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};
use mainstay::config::{self, Config, Environment, Overrides, Recipe};
use mainstay::observe::{journald, logger};
use mainstay::sys::confine;
use mainstay::sys::inherit::{InheritError, Inherited};
use mainstay::sys::notify::Notifier;
use mainstay::worker::launch::{self, LaunchArgs};
use mainstay::{daemon, exit, manual, post_stop, score};

/// How long clients are turned away before the end of a daemon that its configuration keeps from
/// serving.
const BRAKE: Duration = Duration::from_secs(2);

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
    /// Clean up behind a daemon that has ended (used by the unit)
    #[command(hide = true)]
    PostStop,
    /// Be the built-in score server on stdin and stdout
    #[command(hide = true)]
    Score,
    /// Print the options as a part of the manual page
    #[command(hide = true)]
    Manual,
    /// Print a completion script
    #[command(hide = true)]
    Completions { shell: manual::Shell },
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                let line = "wrong command line; see the log";
                Unit::take().map_or_else(|code| code, |unit| unit.give_up(exit::USAGE, line, None))
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match args.command {
        Some(Command::Launch(args)) => launch::run(&args),
        Some(Command::PostStop) => post_stop::run(&post_stop::Told::read(variable)),
        Some(Command::Score) => score(),
        Some(Command::Manual) => show(manual::scdoc(Args::command()).as_bytes()),
        Some(Command::Completions { shell }) => {
            show(&manual::completions("mainstayd", &Args::command(), shell))
        }
        Some(Command::Check { options, print }) => match recipe(options).read() {
            Ok(config) => {
                let text = if print {
                    config::effective_toml(&config)
                } else {
                    "the configuration is good\n".to_owned()
                };
                show(text.as_bytes())
            }
            Err(errors) => {
                eprintln!("{errors}");
                ExitCode::from(exit::CONFIG)
            }
        },
        None => match Unit::take() {
            Ok(unit) => unit.run(recipe(args.options)),
            Err(code) => code,
        },
    }
}

/// What the service manager gave this process: sockets, and a line to say how it goes.
struct Unit {
    inherited: Inherited,
    notifier: Notifier,
}

impl Unit {
    /// Before anything else is opened.
    fn take() -> Result<Self, ExitCode> {
        let inherited = Inherited::take();
        let notifier = Notifier::from_environment();
        match inherited {
            Ok(inherited) => Ok(Self {
                inherited,
                notifier,
            }),
            Err(error) => {
                let line = format!("mainstayd: {error}");
                eprintln!("{line}");
                let code = match error {
                    InheritError::Kind { .. } => exit::CONFIG,
                    InheritError::Environment(_) | InheritError::Os { .. } => exit::OS,
                };
                let unit = Self {
                    inherited: Inherited::default(),
                    notifier,
                };
                Err(unit.give_up(code, &line, None))
            }
        }
    }

    fn run(self, recipe: Recipe) -> ExitCode {
        let filter = variable("MAINSTAY_LOG").or_else(|| variable("RUST_LOG"));
        let stream = variable("JOURNAL_STREAM");
        // For tests alone: there is one journald on a machine, and it is not theirs.
        let socket =
            variable("MAINSTAY_JOURNAL_SOCKET").unwrap_or_else(|| journald::SOCKET.to_owned());
        if let Err(error) = logger::init(filter.as_deref(), stream.as_deref(), Path::new(&socket)) {
            let line = format!("mainstayd: cannot set up the log: {error}");
            eprintln!("{line}");
            return self.give_up(exit::SOFTWARE, &line, None);
        }
        match recipe.read() {
            Ok(config) => self.serve(config, recipe),
            Err(errors) => {
                let errors = errors.to_string();
                // Each is a record of its own, and an error, where the journal reads.
                errors.lines().for_each(logger::last_words);
                let first = errors.lines().next().unwrap_or_default();
                self.give_up(exit::CONFIG, first, None)
            }
        }
    }

    /// Ends with `code` because of what `line` says, already in the log. What starting again does
    /// not mend is not started again by the manager, but by each client that waits at its sockets:
    /// these are turned away for a while. SIGTERM ends that.
    fn give_up(self, code: u8, line: &str, errno: Option<i32>) -> ExitCode {
        self.notifier.fatal(line, code, errno);
        if matches!(code, exit::USAGE | exit::CONFIG) {
            self.inherited.turn_away(BRAKE);
        }
        ExitCode::from(code)
    }

    fn serve(self, config: Config, recipe: Recipe) -> ExitCode {
        // Before secrets are read. Workers have the same user; a kernel that refuses leaves them a
        // door that the fence still shuts.
        if let Err(error) = confine::close_to_others() {
            log::warn!("workers can look into this process: {error}");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("mainstay")
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let line = format!("cannot start its threads: {error}");
                return self.fail(exit::OS, &line, error.raw_os_error());
            }
        };
        let inherited = match self.inherited.try_clone() {
            Ok(inherited) => inherited,
            Err(error) => {
                let line = format!("cannot share its sockets: {error}");
                return self.fail(exit::OS, &line, error.raw_os_error());
            }
        };
        let run = daemon::run(config, recipe, inherited, self.notifier.clone());
        match runtime.block_on(run) {
            Ok(()) => {
                log::logger().flush();
                ExitCode::SUCCESS
            }
            Err(error) => self.fail(error.exit_code(), &error.to_string(), error.errno()),
        }
    }

    fn fail(self, code: u8, line: &str, errno: Option<i32>) -> ExitCode {
        logger::last_words(&format!("mainstayd: {line}"));
        self.give_up(code, line, errno)
    }
}

fn show(text: &[u8]) -> ExitCode {
    // A reader that has seen enough (`| head`) is no failure.
    let _ = std::io::stdout().write_all(text);
    ExitCode::SUCCESS
}

/// Where the configuration comes from, now and at each reload.
fn recipe(options: Options) -> Recipe {
    Recipe {
        path: options.config,
        overrides: Overrides {
            listen: options.listen,
            state_dir: options.state_dir,
        },
        environment: Environment::from_process(),
    }
}

/// What a variable is set to, if it is text.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).and_then(|value| value.into_string().ok())
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
