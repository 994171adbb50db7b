//! What every request handler needs: the servers, the listener's settings, the views.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use tokio::sync::watch;

use super::auth::Auth;
use super::origin::Gate;
use crate::broker::catalog::Catalog;
use crate::broker::current::Current;
use crate::broker::limits::Limits;
use crate::broker::open::StreamBounds;
use crate::broker::snapshot::View;
use crate::config::{Config, Listen};

/// Shared by all connections.
pub struct Context {
    /// The servers.
    pub catalog: Arc<Catalog>,
    /// What a reload changes.
    pub terms: Arc<Current<Terms>>,
    /// Who may call how often.
    pub limits: Arc<Limits>,
    /// Where snapshots come from.
    pub view: Arc<dyn View>,
    /// New calls are refused: the daemon is stopping.
    pub draining: Arc<AtomicBool>,
    /// Open connections.
    pub connections: Arc<AtomicU64>,
    /// Changes when connections should be closed as soon as they are idle: memory is short.
    pub thinned: watch::Receiver<u64>,
}

/// What the configuration says of requests, whatever server they are for.
#[derive(Debug)]
pub struct Terms {
    /// Settings of the listener.
    pub listen: Listen,
    /// Bounds of session streams.
    pub streams: StreamBounds,
    /// Host and Origin.
    pub gate: Gate,
    /// Who has which token.
    pub auth: Auth,
}

impl Terms {
    /// The terms of a configuration for a listener bound to `addresses`.
    #[must_use]
    pub fn new(config: &Config, addresses: &[SocketAddr], auth: Auth) -> Self {
        Self {
            listen: config.listen.clone(),
            streams: StreamBounds {
                buffer: config.sessions.stream_buffer_bytes,
                retention: config.sessions.stream_retention,
            },
            gate: Gate::new(&config.listen, addresses),
            auth,
        }
    }
}

impl Context {
    /// The terms as they are now.
    #[must_use]
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.get()
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}
