//! How the configuration came into force: when, and how the last reload went. For the views only.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::broker::catalog::Catalog;
use crate::broker::reload::{Rejected, Reloaded};
use crate::broker::snapshot::{ConfigurationStatus, ReloadStatus};

/// The record.
#[derive(Debug)]
pub struct Record(Mutex<State>);

#[derive(Debug)]
struct State {
    in_force: Instant,
    accepted: u64,
    rejected: u64,
    last: Option<(Instant, Result<String, String>)>,
    restart: Vec<String>,
}

impl Record {
    /// The daemon starts with a configuration now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(State {
            in_force: now,
            accepted: 0,
            rejected: 0,
            last: None,
            restart: Vec::new(),
        }))
    }

    /// A reload has come to this.
    pub fn reloaded(&self, outcome: &Result<Reloaded, Rejected>) {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = match outcome {
            Ok(told) => {
                state.in_force = now;
                state.accepted += 1;
                state.restart.clone_from(&told.restart);
                Ok(told.summary())
            }
            Err(Rejected(errors)) => {
                state.rejected += 1;
                Err(errors.first().cloned().unwrap_or_default())
            }
        };
        state.last = Some((now, last));
    }

    /// For the views.
    #[must_use]
    pub fn status(&self, catalog: &Catalog) -> ConfigurationStatus {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = state.last.as_ref().map(|(at, what)| ReloadStatus {
            seconds_ago: at.elapsed().as_secs(),
            accepted: what.is_ok(),
            what: match what {
                Ok(what) | Err(what) => what.clone(),
            },
        });
        ConfigurationStatus {
            age_seconds: state.in_force.elapsed().as_secs(),
            accepted: state.accepted,
            rejected: state.rejected,
            last,
            restart: state.restart.clone(),
            pending: pending(catalog),
        }
    }
}

/// What reloads have begun and is not over.
fn pending(catalog: &Catalog) -> Vec<String> {
    let mut said = Vec::new();
    let list = catalog.list();
    for server in &list.shown {
        let name = server.name();
        match server.outdated() {
            _ if server.is_leaving() => said.push(format!(
                "{name} was removed and finishes {} calls",
                server.unfinished()
            )),
            0 => {}
            old => said.push(format!("{name} has {old} workers still to be replaced")),
        }
        match server.outlived() {
            0 => {}
            old => said.push(format!(
                "{name} has {old} old workers that stay until their sessions end"
            )),
        }
    }
    for server in &list.coming {
        let failure = server.status().last_failure;
        let why = failure.map_or_else(String::new, |f| format!("; the last worker {}", f.what));
        said.push(format!(
            "{} is begun anew; the old one serves until a worker of the new one is ready{why}",
            server.name()
        ));
    }
    for server in &list.leaving {
        said.push(format!(
            "an earlier {} finishes {} calls and {} sessions",
            server.name(),
            server.unfinished(),
            server.sessions().len()
        ));
    }
    said
}
