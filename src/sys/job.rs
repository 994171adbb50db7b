//! The service manager's job for a unit, asked with `systemctl list-jobs`. What follows from it is
//! not decided here.

use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Type of the job that the unit has, such as `stop` or `restart`; `None` if it has none. Waits for
/// the answer, but no longer than `within`; blocks. `user`: the service manager of the user is
/// asked, not that of the system.
///
/// # Errors
/// There is no `systemctl`, it cannot reach the service manager, or its answer takes too long.
pub fn of_unit(unit: &str, user: bool, within: Duration) -> io::Result<Option<String>> {
    let mut command = Command::new("systemctl");
    if user {
        command.arg("--user");
    }
    command
        .args([
            "list-jobs",
            "--no-legend",
            "--no-pager",
            "--full",
            "--plain",
            "--",
        ])
        .arg(unit)
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0");
    let told = answer(&mut command, within)?;
    Ok(job(&told, unit))
}

/// What a command writes to stdout, cut at what a pipe takes.
fn answer(command: &mut Command, within: Duration) -> io::Result<String> {
    let end = Instant::now() + within;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::ErrorKind::TimedOut.into());
        }
        sleep(Duration::from_millis(10));
    };
    if !status.success() {
        return Err(io::Error::other(format!("systemctl: {status}")));
    }
    let mut told = String::new();
    if let Some(stdout) = child.stdout {
        stdout.take(1 << 16).read_to_string(&mut told)?;
    }
    Ok(told)
}

/// Lines of `JOB UNIT TYPE STATE`, in columns.
fn job(told: &str, unit: &str) -> Option<String> {
    told.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[number, name, kind, ..] = words.as_slice() else {
            return None;
        };
        let is_job = number.parse::<u64>().is_ok() && name == unit;
        is_job.then(|| kind.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_of_the_unit_is_found() {
        let told = "\
  84 mainstay.socket      start   waiting
1231 mainstay.service     restart running
";
        assert_eq!(job(told, "mainstay.service").as_deref(), Some("restart"));
        assert_eq!(job(told, "mainstay.socket").as_deref(), Some("start"));
        for nothing in [
            "",
            "No jobs running.\n",
            "mainstay.service restart running\n",
        ] {
            assert_eq!(job(nothing, "mainstay.service"), None, "{nothing:?}");
        }
    }

    #[test]
    fn a_question_without_an_answer_ends() {
        let within = Duration::from_millis(50);
        let late = answer(Command::new("sleep").arg("1000"), within).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!(answer(&mut Command::new("false"), Duration::from_secs(60)).is_err());
        let told = answer(Command::new("echo").arg("x"), Duration::from_secs(60));
        assert_eq!(told.unwrap(), "x\n");
    }
}
