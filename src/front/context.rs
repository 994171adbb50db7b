//! What every request handler needs: the servers, the listener's settings, the views.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use tokio::sync::watch;

use super::auth::Auth;
use super::origin::Gate;
use crate::broker::catalog::Catalog;
use crate::broker::limits::Limits;
use crate::broker::open::StreamBounds;
use crate::broker::snapshot::View;
use crate::config::Listen;

/// Shared by all connections.
pub struct Context {
    /// The servers.
    pub catalog: Arc<Catalog>,
    /// Settings of the listener.
    pub listen: Listen,
    /// Bounds of session streams.
    pub streams: StreamBounds,
    /// Host and Origin.
    pub gate: Gate,
    /// Who has which token.
    pub auth: Auth,
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

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}
