//! What a reload of the configuration is asked with and answers: plain data, and its words for
//! people. How the files are read and what is done with them is the daemon's business.

use std::pin::Pin;

use serde::{Deserialize, Serialize};

/// What a reload has changed, or would change; names and keys, never values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The files were only checked, and what would be changed is told.
    pub checked: bool,
    /// Servers that were added.
    pub added: Vec<String>,
    /// Servers that were removed.
    pub removed: Vec<String>,
    /// Servers whose workers are replaced.
    pub replaced: Vec<Touched>,
    /// Servers that are begun anew.
    pub renewed: Vec<Touched>,
    /// Servers with new settings for the workers they have.
    pub retuned: Vec<Touched>,
    /// Changes of principals, such as `alice added`.
    pub principals: Vec<String>,
    /// Other keys that hold from now on.
    pub general: Vec<String>,
    /// Keys that take a restart of the daemon; the old values hold until then.
    pub restart: Vec<String>,
    /// What an operator should look at, one sentence each.
    pub warnings: Vec<String>,
}

/// A server and the keys that have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// Its name.
    pub server: String,
    /// The keys below `[servers.NAME]`.
    pub keys: Vec<String>,
}

/// Why a configuration is not taken: every error, one line each. The old one stays in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected(pub Vec<String>);

/// The answer to a reload, in time.
pub type Answer = Pin<Box<dyn Future<Output = Result<Reloaded, Rejected>> + Send>>;

/// Whoever can reload the configuration.
pub trait Reload: Send + Sync {
    /// Reads the files again and puts them into force if they are good; with `check` only tells what
    /// that would change. One reload at a time; the answer comes within bounded time.
    fn reload(&self, check: bool, author: &str) -> Answer;
}

impl Reloaded {
    /// Whether there is nothing that differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let rest = Self {
            checked: self.checked,
            warnings: self.warnings.clone(),
            ..Self::default()
        };
        *self == rest
    }

    /// In one line, for the log.
    #[must_use]
    pub fn summary(&self) -> String {
        let touched =
            |list: &[Touched]| -> Vec<String> { list.iter().map(|t| t.server.clone()).collect() };
        let parts = [
            ("added", self.added.clone()),
            ("removed", self.removed.clone()),
            ("replaced", touched(&self.replaced)),
            ("begun anew", touched(&self.renewed)),
            ("retuned", touched(&self.retuned)),
            ("principals", self.principals.clone()),
            ("changed", self.general.clone()),
            ("takes a restart", self.restart.clone()),
        ];
        let said: Vec<String> = parts
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect();
        if said.is_empty() {
            "nothing has changed".to_owned()
        } else {
            said.join("; ")
        }
    }

    /// Line by line, with what happens next, for who has asked for it.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let servers = |names: &[String]| names.join(", ");
        if !self.added.is_empty() {
            lines.push(format!("added: {}", servers(&self.added)));
        }
        if !self.removed.is_empty() {
            lines.push(format!(
                "removed: {}; new calls are refused, those in flight are finished, then the workers \
                 end",
                servers(&self.removed)
            ));
        }
        for (what, list, then) in [
            (
                "replaced",
                &self.replaced,
                "; the old workers end one by one, as new ones get ready",
            ),
            (
                "begun anew",
                &self.renewed,
                "; it takes over once it has a worker that is ready; sessions have to initialize again",
            ),
            ("retuned", &self.retuned, ""),
        ] {
            for one in list {
                let keys = one.keys.join(", ");
                lines.push(format!("{what}: {} ({keys}){then}", one.server));
            }
        }
        if !self.principals.is_empty() {
            lines.push(format!("principals: {}", self.principals.join(", ")));
        }
        if !self.general.is_empty() {
            lines.push(format!("changed: {}", self.general.join(", ")));
        }
        if !self.restart.is_empty() {
            lines.push(format!(
                "TAKES A RESTART: {}; until `systemctl restart mainstay` the old value holds",
                self.restart.join(", ")
            ));
        }
        lines.extend(self.warnings.iter().map(|w| format!("warning: {w}")));
        lines
    }
}
