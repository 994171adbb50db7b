//! `mainstayd launch`: narrows its own process step by step, then becomes the worker by exec. Runs
//! single-threaded before any runtime, reads no configuration and trusts its parent for the
//! environment. Narrowing here instead of between fork and exec keeps the daemon free of unsafe code.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::exit;
use crate::sys::cgroup;
use crate::sys::confine::{self, Limit};
use crate::sys::{calls, fence};
use crate::worker::sandbox::{self, Fenced};

/// Workers die before the daemon when memory runs out; above the unit's own negative score by far.
const OOM_SCORE: i32 = 500;

/// The command line of the hidden subcommand.
#[derive(Debug, clap::Args)]
pub struct LaunchArgs {
    /// The control group to enter
    #[arg(long, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// The worker's private directory
    #[arg(long, value_name = "DIR")]
    pub scratch: PathBuf,
    /// Working directory of the command [default: the scratch directory]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Most open files
    #[arg(long, value_name = "N")]
    pub open_files: u64,
    /// Largest core dump in bytes
    #[arg(long, value_name = "N")]
    pub core_bytes: u64,
    /// Most processes of this user
    #[arg(long, value_name = "N")]
    pub processes: Option<u64>,
    /// Fence it in with landlock, where the kernel has it
    #[arg(long)]
    pub fence: bool,
    /// What the fence opens for reading beside the usual
    #[arg(long, value_name = "PATH")]
    pub read: Vec<PathBuf>,
    /// What the fence opens for writing beside the usual
    #[arg(long, value_name = "PATH")]
    pub write: Vec<PathBuf>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Narrows this process and executes the command in its place. Returns only on failure, after one
/// line on stderr, with [`exit::LAUNCH_NARROW`], [`exit::LAUNCH_NOT_EXECUTABLE`] or
/// [`exit::LAUNCH_NOT_FOUND`].
#[must_use]
pub fn run(args: &LaunchArgs) -> ExitCode {
    if let Err((step, error)) = narrow(args) {
        eprintln!("mainstayd launch: cannot {step}: {error}");
        return ExitCode::from(exit::LAUNCH_NARROW);
    }
    let Some((program, arguments)) = args.command.split_first() else {
        eprintln!("mainstayd launch: no command given");
        return ExitCode::from(exit::LAUNCH_NOT_FOUND);
    };
    let error = Command::new(program).args(arguments).exec();
    let (line, code) = exec_failure(program, &error);
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied if args.fence => sandbox::HINT,
        _ => "",
    };
    eprintln!("mainstayd launch: {line}{hint}");
    ExitCode::from(code)
}

/// Each step with what it was about to do, so that a failure names itself.
fn narrow(args: &LaunchArgs) -> Result<(), (String, io::Error)> {
    let step =
        |what: &str, result: io::Result<()>| result.map_err(|error| (what.to_owned(), error));
    // First of all: not one instruction of a worker outside its limits.
    if let Some(cgroup) = &args.cgroup {
        step("enter its control group", cgroup::enter(cgroup))?;
    }
    step("make a session of its own", confine::new_session())?;
    step("close what it inherited", confine::close_inherited())?;
    // While the limits still allow it to open files at all.
    if let Err(error) = confine::raise_oom_score(OOM_SCORE) {
        eprintln!("mainstayd launch: out-of-memory score not raised: {error}");
    }
    confine::private_files();
    step("reset signals", confine::default_signals())?;
    step("give up gaining privileges", confine::no_new_privileges())?;
    let cwd = args.cwd.as_ref().unwrap_or(&args.scratch);
    step(
        &format!("change to the directory {}", cwd.display()),
        std::env::set_current_dir(cwd),
    )?;
    if let Some(processes) = args.processes {
        step(
            "limit processes",
            confine::limit(Limit::Processes, processes),
        )?;
    }
    step(
        "limit core dumps",
        confine::limit(Limit::CoreBytes, args.core_bytes),
    )?;
    step(
        "limit open files",
        confine::limit(Limit::OpenFiles, args.open_files),
    )?;
    // The last step: what the others read and write in /proc and the cgroup is closed from here on.
    step("put up its fence", put_up_fence(args, cwd))
}

/// A kernel without landlock, or without filters, is no failure: the daemon has said so at its start.
fn put_up_fence(args: &LaunchArgs, cwd: &Path) -> io::Result<()> {
    if !args.fence {
        return Ok(());
    }
    let openings = sandbox::openings(&Fenced {
        command: &args.command,
        path: &std::env::var_os("PATH").unwrap_or_default(),
        cwd,
        scratch: &args.scratch,
        read: &args.read,
        write: &args.write,
    });
    fence::restrict(&openings)?;
    calls::limit_only_oneself().map(|_| ())
}

/// What to tell and the exit status: 127 when there is no such command, 126 when there is one that
/// cannot be executed. The kernel says "no such file" for a missing interpreter too, so look.
fn exec_failure(program: &OsStr, error: &io::Error) -> (String, u8) {
    let name = program.to_string_lossy();
    let path = std::env::var_os("PATH").unwrap_or_default();
    if error.kind() != io::ErrorKind::NotFound {
        return (
            format!("cannot execute {name}: {error}"),
            exit::LAUNCH_NOT_EXECUTABLE,
        );
    }
    if let Some(found) = sandbox::find(program, &path, Path::new("")) {
        let line = format!(
            "cannot execute {}: the interpreter in its first line, or its loader, is missing",
            found.display()
        );
        return (line, exit::LAUNCH_NOT_EXECUTABLE);
    }
    let place = if name.contains('/') {
        std::env::current_dir().map_or_else(
            |_| String::new(),
            |cwd| format!(" (from {})", cwd.display()),
        )
    } else {
        format!(" (looked in PATH={})", path.to_string_lossy())
    };
    (
        format!("command not found: {name}{place}"),
        exit::LAUNCH_NOT_FOUND,
    )
}
