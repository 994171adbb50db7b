//! The daemon as all views see it, put together from its parts when somebody asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::broker::catalog::Catalog;
use crate::broker::host;
use crate::broker::snapshot::{Health, Host, Snapshot, View};
use crate::observe::logger;
use crate::record::Record;
use crate::sys;

/// What the daemon looks like, for all views.
pub struct Overview {
    /// The servers.
    pub catalog: Arc<Catalog>,
    /// When the daemon started.
    pub started: Instant,
    /// Where it listens, once it does.
    pub listen: OnceLock<String>,
    /// Open connections.
    pub connections: Arc<AtomicU64>,
    /// It takes no new calls.
    pub draining: Arc<AtomicBool>,
    /// What it has of the machine.
    pub host: Host,
    /// How reloads went.
    pub record: Arc<Record>,
}

impl View for Overview {
    fn snapshot(&self) -> Snapshot {
        let list = self.catalog.list();
        let mut servers: Vec<_> = list.shown.iter().map(|s| s.status()).collect();
        for server in &mut servers {
            server.default = list.default.as_deref() == Some(server.name.as_str());
        }
        let configs: Vec<_> = list.shown.iter().map(|s| s.config()).collect();
        let configs = configs.iter().map(AsRef::as_ref);
        let (landlock, service) = (self.host.landlock, self.host.service);
        let host = Host {
            unfenced: host::unfenced(configs, landlock, service),
            ..self.host.clone()
        };
        let default = servers.iter().find(|s| s.default).map(|s| s.health);
        let worst = servers.iter().map(|s| s.health).max();
        let health = match (default, worst) {
            (Some(Health::Ok | Health::Degraded), Some(Health::Ok)) => Health::Ok,
            (Some(Health::Ok | Health::Degraded), _) => Health::Degraded,
            (Some(health), _) => health,
            (None, _) => Health::Down,
        };
        let phase = match (self.draining.load(Ordering::Relaxed), self.listen.get()) {
            (true, _) => "draining",
            (false, None) => "starting",
            (false, Some(_)) => "serving",
        };
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            health,
            phase: phase.to_owned(),
            listen: self.listen.get().cloned().unwrap_or_default(),
            connections: self.connections.load(Ordering::Relaxed),
            memory_bytes: sys::process::own_resident_bytes(),
            log_records_dropped: logger::dropped(),
            servers,
            configuration: self.record.status(&self.catalog),
            host: Some(host),
        }
    }
}
