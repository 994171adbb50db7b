//! The servers of the daemon, by name, and which one is the default.

use std::sync::Arc;

use super::server::Server;

/// All servers.
#[derive(Debug)]
pub struct Catalog {
    servers: Vec<Arc<Server>>,
}

impl Catalog {
    /// The servers as configured, one of them the default.
    #[must_use]
    pub fn new(servers: Vec<Arc<Server>>) -> Self {
        Self { servers }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// One by its name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Server>> {
        self.servers.iter().find(|s| s.name() == name)
    }

    /// The one at `/mcp`.
    #[must_use]
    pub fn default_server(&self) -> Option<&Arc<Server>> {
        self.servers.iter().find(|s| s.config().default)
    }
}
