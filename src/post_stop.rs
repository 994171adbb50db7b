//! `mainstayd post-stop`, what the unit's `ExecStopPost=` runs once the daemon has ended: takes the
//! controllers back, so that the next daemon can be started in the unit's cgroup, then keeps or
//! kills the workers. It reads no configuration, and it runs when all is well as when nothing is.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::exit;
use crate::policy::stop_rule::{Ending, Job, Workers, workers};
use crate::sys::cgroup::{Claim, Cleared, Tree};
use crate::sys::job;

/// How long the service manager may take to answer.
const ASKING: Duration = Duration::from_secs(5);
/// How long killed workers may take to be gone.
const EMPTYING: Duration = Duration::from_secs(5);

/// What the service manager tells its `ExecStopPost=` about the end (systemd.exec(5)), by variable.
#[derive(Debug, Default)]
pub struct Told {
    /// `SERVICE_RESULT`; set in an `ExecStopPost=` and nowhere else.
    pub service_result: Option<String>,
    /// `EXIT_CODE`: `exited`, `killed` or `dumped`.
    pub exit_code: Option<String>,
    /// `EXIT_STATUS`: a number, or the name of a signal.
    pub exit_status: Option<String>,
}

impl Told {
    /// From variables; one that is no text is not set.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            service_result: variable("SERVICE_RESULT"),
            exit_code: variable("EXIT_CODE"),
            exit_status: variable("EXIT_STATUS"),
        }
    }

    fn ending(&self, job: Job) -> Ending {
        let exited = self.exit_code.as_deref() == Some("exited");
        let status = self.exit_status.as_deref().and_then(|s| s.parse().ok());
        Ending {
            job,
            hopeless: exited && matches!(status, Some(exit::USAGE | exit::CONFIG)),
            success: self.service_result.as_deref() == Some("success"),
        }
    }
}

/// Does it. Says on stderr what it did and why, one line; returns [`exit::USAGE`] where it was not the
/// service manager that asked, [`exit::OS`] where something could not be done.
#[must_use]
pub fn run(told: &Told) -> ExitCode {
    if told.service_result.is_none() {
        eprintln!(
            "mainstayd post-stop: is for ExecStopPost= of the unit; it looks at SERVICE_RESULT"
        );
        return ExitCode::from(exit::USAGE);
    }
    let tree = match Tree::find(Claim::Delegated) {
        Ok(tree) => tree,
        Err(why) => {
            eprintln!("mainstayd post-stop: nothing to do: {why}");
            return ExitCode::SUCCESS;
        }
    };
    // Before anything that could take its time: with controllers in the way no daemon starts.
    let released = tree.release_controllers();
    let job = ask(tree.top());
    let verdict = workers(told.ending(job));
    let done = match verdict {
        Workers::Keep => {
            tree.prune();
            Ok("the workers are kept".to_owned())
        }
        Workers::Kill => tree.clear_workers(EMPTYING).map(|cleared| {
            tree.prune();
            let Cleared { killed, left } = cleared;
            match left {
                0 => format!("{killed} workers killed"),
                _ => format!("{killed} workers killed, {left} control groups not empty yet"),
            }
        }),
    };
    let status = told.exit_status.as_deref().unwrap_or("unknown");
    let why = format!("job {job:?}, exit status {status}").to_lowercase();
    for error in [released.as_ref().err(), done.as_ref().err()]
        .into_iter()
        .flatten()
    {
        eprintln!("mainstayd post-stop: {error} ({why})");
    }
    match (released, done) {
        (Ok(()), Ok(done)) => {
            eprintln!("mainstayd post-stop: {done} ({why})");
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(exit::OS),
    }
}

/// What is to become of the unit whose cgroup this is.
fn ask(top: &Path) -> Job {
    let unit = top.file_name().and_then(|name| name.to_str());
    let Some(unit) = unit else {
        return Job::Unknown;
    };
    // systemd puts an underscore before names that would be files of the kernel's.
    let unit = unit.strip_prefix('_').unwrap_or(unit);
    let user = top.iter().any(|part| {
        let part = part.to_string_lossy();
        part.starts_with("user@") && part.ends_with(".service")
    });
    match job::of_unit(unit, user, ASKING) {
        Ok(kind) => named(kind.as_deref()),
        Err(error) => {
            eprintln!("mainstayd post-stop: the service manager cannot be asked: {error}");
            Job::Unknown
        }
    }
}

fn named(kind: Option<&str>) -> Job {
    match kind {
        None => Job::None,
        Some("start") => Job::Start,
        Some("stop") => Job::Stop,
        Some("restart" | "try-restart") => Job::Restart,
        Some(_) => Job::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(result: &str, code: &str, status: &str) -> Told {
        let told = [
            ("SERVICE_RESULT", result),
            ("EXIT_CODE", code),
            ("EXIT_STATUS", status),
        ];
        Told::read(|name| {
            let found = told.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_the_service_manager_tells_is_understood() {
        let table = [
            (told("signal", "killed", "KILL"), false, false),
            (told("watchdog", "dumped", "ABRT"), false, false),
            (told("success", "exited", "0"), false, true),
            (told("exit-code", "exited", "64"), true, false),
            (told("exit-code", "exited", "78"), true, false),
            (told("exit-code", "exited", "219"), false, false),
            // Signal 64 is a signal.
            (told("signal", "killed", "64"), false, false),
            (Told::default(), false, false),
        ];
        for (told, hopeless, success) in table {
            let ending = told.ending(Job::None);
            assert_eq!(
                (ending.hopeless, ending.success),
                (hopeless, success),
                "{told:?}"
            );
        }
    }

    #[test]
    fn jobs_are_known_by_name() {
        assert_eq!(named(None), Job::None);
        assert_eq!(named(Some("stop")), Job::Stop);
        assert_eq!(named(Some("start")), Job::Start);
        assert_eq!(named(Some("restart")), Job::Restart);
        assert_eq!(named(Some("reload")), Job::Other);
    }
}
