//! What an operator can change in a running daemon. The admin socket asks through this trait; who
//! implements it may touch workers and never waits for them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::snapshot::LimitStatus;
use crate::fault::Part;

/// How a breaker is to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerMode {
    /// Refuse every call.
    Open,
    /// Let every call through.
    Closed,
    /// Let it decide.
    Auto,
    /// Let it decide and report, but let every call through.
    Shadow,
}

/// Why something could not be done, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Impossible(pub String);

/// Operations on servers and workers.
pub trait Control: Send + Sync {
    /// Sets the breaker of a server, or of one of its tools; `expires` after that long, or stays.
    ///
    /// # Errors
    /// No such server, or the tool has no breaker.
    fn set_breaker(
        &self,
        server: &str,
        tool: Option<&str>,
        mode: BreakerMode,
        expires: Option<Duration>,
        author: &str,
        reason: &str,
    ) -> Result<(), Impossible>;

    /// Replaces a worker: its successor first, then it ends once its calls are done. Returns the
    /// name of its server.
    ///
    /// # Errors
    /// No such worker, or it is on its way out already.
    fn recycle(&self, worker: u64) -> Result<String, Impossible>;

    /// Lets a server take no new calls (`true`), or take them again. Calls in flight go on. Returns
    /// how many there are.
    ///
    /// # Errors
    /// No such server.
    fn drain(&self, server: &str, on: bool) -> Result<usize, Impossible>;

    /// Forgets quarantined calls of a server: one by its digest, or all. Returns how many.
    ///
    /// # Errors
    /// No such server, or no such digest.
    fn clear_quarantine(&self, server: &str, digest: Option<&str>) -> Result<usize, Impossible>;

    /// Makes a vital part of the daemon stand still for so long, to see what happens.
    ///
    /// # Errors
    /// This build cannot: only one with the feature `fault` can.
    fn fault(&self, part: Part, time: Duration) -> Result<(), Impossible> {
        let _ = (part, time);
        Err(Impossible(
            "this mainstayd has no faults built in; only a build for tests has (the feature fault)"
                .to_owned(),
        ))
    }

    /// The buckets of the limiter, the busiest first, at most `most`.
    fn limits(&self, most: usize) -> Vec<LimitStatus>;
}
