//! `mainstayctl doctor`: what this host can and cannot do for mainstay, and how to mend it. It works
//! without the daemon, and asks it where it runs.

mod facts;
mod finding;
mod gather;
mod judge;
mod page;

use crate::outcome::{Failed, Outcome, coloured, print, print_json};
use crate::reach;
use finding::{Finding, Grade};
use gather::Place;
use mainstay::exit;
use mainstay::sys::fence;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// All findings for programs.
#[derive(Debug, Serialize)]
struct Report<'a> {
    bad: usize,
    weak: usize,
    ok: usize,
    findings: &'a [Finding],
}

/// `doctor`: exit status 0 when nothing is bad.
pub(crate) fn run(socket: Option<PathBuf>, config: Option<&Path>, json: bool) -> Outcome {
    let found = reach::find_socket(socket.clone());
    let daemon = reach::client(socket)
        .and_then(|client| client.status().map_err(Failed::from))
        .map(Box::new)
        .map_err(|failed| failed.message);
    let mut findings = judge::judge(&gather::gather(Place {
        root: Path::new("/"),
        config,
        systemctl: &gather::ask,
        socket: found.ok(),
        daemon,
        landlock: fence::abi(),
    }));
    findings.sort_by_key(|finding| finding.grade);
    let count = |grade| findings.iter().filter(|one| one.grade == grade).count();
    if json {
        print_json(&Report {
            bad: count(Grade::Bad),
            weak: count(Grade::Weak),
            ok: count(Grade::Ok),
            findings: &findings,
        })?;
    } else {
        print(&page::page(&findings, coloured()))?;
    }
    Ok(if count(Grade::Bad) == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::FAILURE)
    })
}
