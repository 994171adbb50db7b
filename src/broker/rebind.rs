//! Giving a session a worker: at its start, and again when its worker has died. What the client
//! said at its handshake and since (log level, subscriptions) is said again; what the dead worker
//! had in memory is gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::calls::Reply;
use super::member::{Locked, Member, NoAnswer};
use super::open;
use super::server::Server;
use super::session::Session;
use crate::mcp::envelope::{self, Message};
use crate::mcp::era::Era;
use crate::mcp::message;
use crate::mcp::splice::{Edit, range_of, splice};
use crate::policy::refusal::Refusal;

/// Workers that may die under one `initialize` before it is given up.
const ATTEMPTS: usize = 3;

/// Takes a worker out of the pool and sends it the client's `initialize`. A warm worker that
/// refuses a second one is replaced by one that has been sent nothing, now and from then on.
///
/// # Errors
/// No worker is to be had.
pub(super) async fn bind(
    server: &Arc<Server>,
    initialize: &Bytes,
) -> Result<(Arc<Member>, Reply), Refusal> {
    let patience = server.config().start_timeout;
    if server.lane(Era::Legacy).is_hopeless() && server.shared().sessions.reclaim(server) {
        // The worker of that session is on its way out; its successor is worth waiting for.
        server.lane(Era::Legacy).expect(true, true);
    }
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let member = server.lane(Era::Legacy).take().await?;
        let warm = member.locked() != Locked::Fresh;
        match ask_as_client(&member, initialize, patience).await {
            Ok(Reply::Error(error)) if warm => {
                log::info!(
                    "server {}: a warm worker refused a second initialize ({}); spares are kept untouched from now on",
                    server.name(),
                    String::from_utf8_lossy(&error)
                );
                server.no_reinitialize.store(true, Ordering::Relaxed);
                member.worker.stop();
                for spare in server.lane(Era::Legacy).members() {
                    if spare.locked() == Locked::Legacy {
                        server.retire(spare.id());
                    }
                }
            }
            Ok(reply) => {
                if member.locked() == Locked::Fresh {
                    member.lock_to(Locked::Legacy);
                }
                return Ok((member, reply));
            }
            Err(no) => {
                member.worker.kill();
                last = no.to_string();
            }
        }
    }
    Err(Refusal::overloaded(
        format!(
            "no worker of server {} could be initialised: {last}",
            server.name()
        ),
        Duration::from_secs(1),
    ))
}

/// Sends a client's request as one of the daemon's own.
pub(super) async fn ask_as_client(
    member: &Arc<Member>,
    request: &Bytes,
    patience: Duration,
) -> Result<Reply, NoAnswer> {
    let Ok(Message::Request { id, .. }) = envelope::parse(request) else {
        return Err(NoAnswer::Unreadable);
    };
    let range = range_of(request, id);
    let build = |wire: u64| {
        let number = wire.to_string();
        let edit = Edit {
            range,
            with: number.as_bytes(),
        };
        String::from_utf8_lossy(&splice(request, &mut [edit], false)).into_owned()
    };
    member.ask(build, patience).await
}

/// Gives a session whose worker died another one, trying until it has it or is over. Its calls
/// wait in its own lane meanwhile.
pub(super) async fn run(server: Arc<Server>, session: Arc<Session>) {
    let mut pause = Duration::from_millis(100);
    while !session.has_ended() && !server.standing().borrow().stopping {
        match bind(&server, session.initialize()).await {
            Ok((member, Reply::Result(_))) => {
                replay(&server, &session, &member).await;
                open::own(&session, &member);
                return;
            }
            Ok((member, Reply::Error(_))) => member.worker.stop(),
            Err(refusal) => {
                if let Some(lane) = session.own_lane() {
                    lane.refuse_waiters(&refusal);
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

async fn replay(server: &Arc<Server>, session: &Arc<Session>, member: &Arc<Member>) {
    let patience = server.config().start_timeout;
    if session.is_initialized() {
        member.tell(&message::notification("notifications/initialized"));
    }
    let mut said = Vec::new();
    if let Some(level) = session.level() {
        said.push((
            "logging/setLevel",
            "level",
            String::from_utf8_lossy(&level).into_owned(),
        ));
    }
    for uri in session.subscriptions() {
        said.push(("resources/subscribe", "uri", uri));
    }
    for (method, key, value) in said {
        let reply = member
            .ask(|id| with_param(id, method, key, &value), patience)
            .await;
        if !matches!(reply, Ok(Reply::Result(_))) {
            log::warn!(
                "server {}: worker {} did not take {method} of a session that it takes over",
                server.name(),
                member.id()
            );
        }
    }
}

fn with_param(id: u64, method: &str, key: &str, value: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"{key}":{value}}}}}"#)
}

/// Subscriptions of sessions that share a pool are held by its oldest worker. When that changed,
/// the new one is told all of them.
pub(super) fn resubscribe(server: &Arc<Server>) {
    if server.binds_sessions() {
        return;
    }
    let Some(home) = server.home() else {
        return;
    };
    if server.home_told.swap(home.id(), Ordering::Relaxed) == home.id() {
        return;
    }
    let mut uris: Vec<String> = server
        .sessions()
        .iter()
        .flat_map(|s| s.subscriptions())
        .collect();
    uris.sort_unstable();
    uris.dedup();
    let patience = server.config().start_timeout;
    tokio::spawn(async move {
        for uri in uris {
            // A worker that refuses has no such resource any more.
            let _ = home
                .ask(
                    |id| with_param(id, "resources/subscribe", "uri", &uri),
                    patience,
                )
                .await;
        }
    });
}

impl Server {
    /// The worker that holds the subscriptions of sessions which share a pool: the oldest.
    #[must_use]
    pub fn home(&self) -> Option<Arc<Member>> {
        let members = self.lane(Era::Legacy).members();
        members.into_iter().min_by_key(|m| m.id())
    }
}
