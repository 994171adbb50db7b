//! How the configuration of this daemon is read, kept from its start, so that a reload reads the
//! same files with the same overrides in the same surroundings.

use super::{Config, Environment, Errors, Overrides, load};
use std::path::PathBuf;

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    /// `--config`; without it [`SYSTEM_FILE`](super::SYSTEM_FILE), if it exists.
    pub path: Option<PathBuf>,
    /// What the command line sets.
    pub overrides: Overrides,
    /// The surroundings at the start.
    pub environment: Environment,
}

impl Recipe {
    /// Reads and checks the files as they are now.
    ///
    /// # Errors
    /// As [`load`].
    pub fn read(&self) -> Result<Config, Errors> {
        load(self.path.as_deref(), &self.overrides, &self.environment)
    }
}
