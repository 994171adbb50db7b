//! How a server leaves after a reload, and how another one takes its place. One that is removed
//! takes no new calls; one whose place is taken is not found any more. Both finish what they have.
//! A successor takes over once it has a worker that is ready, never before: if none gets ready, the
//! old server goes on. Which servers these are is decided in `reload`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::catalog::Catalog;
use super::server::Server;
use super::session::Session;
use crate::policy::refusal::Refusal;

/// How often is looked whether the time has come.
const LOOK: Duration = Duration::from_millis(50);
/// A server whose place is taken is quiet for this long before it goes: a request may have found
/// it before that and still be read.
const QUIET: Duration = Duration::from_secs(2);

impl Server {
    /// Whether it was removed and takes no new calls.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    /// Lets it wait for its first worker while another one serves under its name.
    pub fn come(&self) {
        self.coming.store(true, Ordering::SeqCst);
    }

    /// Whether another one still serves under its name.
    pub(super) fn is_coming(&self) -> bool {
        self.coming.load(Ordering::SeqCst)
    }

    /// Refuses every new call from now on.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    /// What a new call hears from a server that was removed; `None` from any other.
    #[must_use]
    pub fn farewell(&self) -> Option<Refusal> {
        self.is_leaving().then(|| Refusal {
            detail: format!(
                "server {} was removed from the configuration and takes no new calls",
                self.name()
            ),
            ..Refusal::draining()
        })
    }

    /// Calls that have no outcome yet.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Whether it has been told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.standing().borrow().stopping
    }

    fn end_sessions(&self) {
        for session in self.sessions() {
            self.shared().sessions.close(&session);
        }
    }
}

/// Waits until a server has finished what it has, ends its sessions and stops it. Sessions that own
/// a worker are waited for, unless the server was removed.
pub async fn depart(server: Arc<Server>) {
    let has_own = |session: &Arc<Session>| session.own_lane().is_some();
    let mut quiet_since = Instant::now();
    while !server.is_stopping() {
        let kept = || server.sessions().iter().any(has_own);
        let busy = server.unfinished() > 0 || (!server.is_leaving() && kept());
        if busy {
            quiet_since = Instant::now();
        } else if server.is_leaving() || quiet_since.elapsed() >= QUIET {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    server.end_idle_streams();
    server.end_sessions();
    server.stop();
}

/// Waits until `server` has a worker that is ready, and gives it its name; returns the one that had
/// it. `None` if it was stopped before.
pub async fn arrive(catalog: Arc<Catalog>, server: Arc<Server>) -> Option<Arc<Server>> {
    while !server.is_serving() {
        if server.is_stopping() {
            return None;
        }
        tokio::time::sleep(LOOK).await;
    }
    server.coming.store(false, Ordering::SeqCst);
    let old = catalog.named(server.name());
    let mut is_awaited = false;
    catalog.change(|list| {
        // Another reload may have given its place away just now.
        is_awaited = list.coming.iter().any(|s| Arc::ptr_eq(s, &server));
        if is_awaited {
            list.has_moved = true;
            list.show(Arc::clone(&server));
        }
    });
    old.filter(|_| is_awaited)
}
