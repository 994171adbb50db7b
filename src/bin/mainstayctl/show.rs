//! The commands that show something: they ask once, and print a page or JSON.

use crate::outcome::{Outcome, coloured, print, print_json};
use crate::reach::client;
use crate::{guards, render};
use mainstay::broker::snapshot::{Health, ServerStatus, Snapshot};
use mainstay::exit;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// `status`: everything.
pub(crate) fn status(socket: Option<PathBuf>, json: bool, check: bool) -> Outcome {
    let snapshot = client(socket)?.status()?;
    let shown = if json {
        print_json(&snapshot)
    } else {
        print(&render::status(&snapshot, coloured()))
    };
    if check { Ok(verdict(&snapshot)) } else { shown }
}

/// 0 if all is well, 1 if something is missing or down.
fn verdict(snapshot: &Snapshot) -> ExitCode {
    let well = snapshot.health == Health::Ok && snapshot.phase == "serving";
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::FAILURE)
    }
}

/// `workers`.
pub(crate) fn workers(socket: Option<PathBuf>, json: bool) -> Outcome {
    let servers = client(socket)?.status()?.servers;
    if json {
        print_json(&of_servers(&servers, |server| &server.workers))
    } else {
        print(&render::workers(&servers, coloured()))
    }
}

/// `breakers`.
pub(crate) fn breakers(socket: Option<PathBuf>, json: bool) -> Outcome {
    let servers = client(socket)?.status()?.servers;
    if json {
        print_json(&of_servers(&servers, |server| &server.breakers))
    } else {
        print(&guards::breakers(&servers, coloured()))
    }
}

/// `limits`.
pub(crate) fn limits(socket: Option<PathBuf>, json: bool, most: usize) -> Outcome {
    let limits = client(socket)?.limits(most)?;
    if json {
        print_json(&limits)
    } else {
        print(&guards::limits(&limits, coloured()))
    }
}

/// `quarantine`.
pub(crate) fn quarantine(socket: Option<PathBuf>, json: bool) -> Outcome {
    let servers = client(socket)?.status()?.servers;
    if json {
        print_json(&of_servers(&servers, |server| &server.quarantine))
    } else {
        print(&guards::quarantine(&servers, coloured()))
    }
}

/// One row of a list as JSON: what the snapshot says, and whose it is.
#[derive(Serialize)]
struct Row<'s, T> {
    server: &'s str,
    #[serde(flatten)]
    row: &'s T,
}

fn of_servers<T>(servers: &[ServerStatus], list: fn(&ServerStatus) -> &Vec<T>) -> Vec<Row<'_, T>> {
    let rows = |server| {
        let rows = list(server).iter();
        rows.map(|row| Row {
            server: &server.name,
            row,
        })
    };
    servers.iter().flat_map(rows).collect()
}
