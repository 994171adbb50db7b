//! Looks after breakers that are not closed: reports what time alone has changed, and asks a worker
//! for a sign of life, so that a server is found again within a second or two of its healing, however
//! long the breaker has learned to wait. A sign of life costs no call and closes nothing: it lets
//! calls try again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::handshake;
use super::member::{Member, Phase};
use super::server::Server;
use crate::policy::breaker::{Mode, State, View};

/// How often an open breaker's server is asked.
const ROUND: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

impl Server {
    /// Reports what has changed by itself, and starts asking if the server's breaker is not closed.
    pub(super) fn patrol(self: &Arc<Self>) {
        let now = Instant::now();
        if let Some(change) = self.guards().gate().tick(now) {
            self.report(None, change);
        }
        for (tool, gate) in self.rules().gated() {
            if let Some(change) = gate.tick(now) {
                self.report(Some(tool), change);
            }
        }
        let open = self.guards().gate().view(now).state != State::Closed;
        if open && !self.patrolling.swap(true, Ordering::Relaxed) {
            let server = Arc::clone(self);
            tokio::spawn(async move {
                server.rounds().await;
                server.patrolling.store(false, Ordering::Relaxed);
            });
        }
    }

    async fn rounds(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(ROUND).await;
            let View { state, mode, .. } = self.guards().gate().view(Instant::now());
            let stopping = self.standing().borrow().stopping;
            if state == State::Closed || stopping {
                return;
            }
            if state != State::Open || mode != Mode::Auto {
                continue;
            }
            let Some(member) = self.anybody() else {
                // Nobody waits while calls are refused, so a start has to be asked for.
                self.wake();
                continue;
            };
            if handshake::is_alive(&member, PATIENCE).await.is_ok() {
                let change = self.guards().gate().probe_succeeded(Instant::now());
                if let Some(change) = change {
                    self.report(None, change);
                }
            }
        }
    }

    /// A worker that can be asked, the one with the fewest calls.
    fn anybody(&self) -> Option<Arc<Member>> {
        let roster = self.roster();
        let ready = roster.members.values();
        ready
            .filter(|m| m.phase() == Phase::Ready && !m.worker.is_stopping())
            .min_by_key(|m| m.leases())
            .cloned()
    }
}
