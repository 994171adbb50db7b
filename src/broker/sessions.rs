//! The table of legacy sessions: bounded, found by id, swept when idle. Ids come from the
//! operating system's randomness.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::current::Current;
use super::server::Server;
use super::session::Session;
use crate::observe::event::{Event, emit};
use crate::policy::refusal::Refusal;

/// A session without a call or a reader for this long gives its worker up to one that waits.
const RECLAIM: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
struct Bounds {
    max: usize,
    idle_timeout: Duration,
}

/// All sessions of the daemon.
#[derive(Debug)]
pub struct Sessions {
    bounds: Current<Bounds>,
    table: RwLock<HashMap<String, Arc<Session>>>,
}

impl Sessions {
    /// A table of at most `max` sessions.
    #[must_use]
    pub fn new(max: usize, idle_timeout: Duration) -> Self {
        Self {
            bounds: Current::new(Bounds { max, idle_timeout }),
            table: RwLock::default(),
        }
    }

    /// Other bounds from now on. What is above a lower one stays until it is idle.
    pub fn retune(&self, max: usize, idle_timeout: Duration) {
        self.bounds.set(Bounds { max, idle_timeout });
    }

    /// A fresh id: 128 bits of randomness in hexadecimal.
    ///
    /// # Errors
    /// The operating system gave no randomness.
    pub fn fresh_id() -> Result<String, Refusal> {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).map_err(|error| {
            Refusal::overloaded(
                format!("no randomness for a session id: {error}"),
                Duration::from_secs(1),
            )
        })?;
        Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Enters a session. At the bound the one idle for longest makes room, if any is idle.
    ///
    /// # Errors
    /// All sessions are in use.
    pub fn open(&self, session: &Arc<Session>) -> Result<(), Refusal> {
        let max = self.bounds.get().max;
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut evicted = None;
        if table.len() >= max {
            let oldest = table
                .values()
                .filter(|s| s.is_stale(Duration::from_secs(1)))
                .max_by_key(|s| s.idle())
                .map(|s| s.id().to_owned());
            let Some(id) = oldest else {
                return Err(Refusal::overloaded(
                    format!("all {max} sessions are in use"),
                    Duration::from_secs(5),
                ));
            };
            evicted = table.remove(&id);
        }
        table.insert(session.id().to_owned(), Arc::clone(session));
        drop(table);
        if let Some(old) = evicted {
            emit(&Event::SessionsEvicted {
                server: old.server().name().to_owned(),
                count: 1,
                reason: format!("the limit of {max} sessions is reached"),
            });
            old.end();
        }
        Ok(())
    }

    /// Ends the session of `server` that has owned a worker idly for longest, if any has for long
    /// enough: most clients never say that they are done, and a pool full of their workers would
    /// lock out everybody else.
    pub fn reclaim(&self, server: &Server) -> bool {
        let patience = RECLAIM.min(self.bounds.get().idle_timeout);
        let idlest = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            table
                .values()
                .filter(|s| is_of(s, server) && s.own_lane().is_some())
                .filter(|s| s.is_stale(patience))
                .max_by_key(|s| s.idle())
                .map(Arc::clone)
        };
        let Some(session) = idlest else {
            return false;
        };
        emit(&Event::SessionsEvicted {
            server: server.name().to_owned(),
            count: 1,
            reason: format!(
                "all workers belong to sessions, and this one was idle for {} s",
                session.idle().as_secs()
            ),
        });
        self.close(&session)
    }

    /// Finds a session of this server.
    #[must_use]
    pub fn find(&self, id: &str, server: &Server) -> Option<Arc<Session>> {
        self.known(id).filter(|s| is_of(s, server))
    }

    /// Finds a session of any server.
    #[must_use]
    pub fn known(&self, id: &str) -> Option<Arc<Session>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(id).map(Arc::clone)
    }

    /// Ends a session. False if there was none.
    pub fn close(&self, session: &Arc<Session>) -> bool {
        let removed = self
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(session.id());
        session.end();
        removed.is_some()
    }

    /// The sessions of one server.
    #[must_use]
    pub fn of(&self, server: &Server) -> Vec<Arc<Session>> {
        self.those(|s| is_of(s, server))
    }

    /// The sessions that are like this.
    pub fn those(&self, like: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.values().filter(|s| like(s)).map(Arc::clone).collect()
    }

    /// How many sessions a server has.
    #[must_use]
    pub fn count(&self, server: &Server) -> usize {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.values().filter(|s| is_of(s, server)).count()
    }

    /// Ends what nobody uses any more.
    pub fn sweep(&self) {
        let idle_timeout = self.bounds.get().idle_timeout;
        let stale = self.those(|s| s.is_stale(idle_timeout));
        let mut by_server: HashMap<String, usize> = HashMap::new();
        for session in stale {
            *by_server
                .entry(session.server().name().to_owned())
                .or_default() += 1;
            self.close(&session);
        }
        for (server, count) in by_server {
            emit(&Event::SessionsEvicted {
                server,
                count,
                reason: format!("idle for {} s", idle_timeout.as_secs()),
            });
        }
    }
}

/// Two servers may have one name while the one takes the other's place.
fn is_of(session: &Session, server: &Server) -> bool {
    std::ptr::eq(Arc::as_ptr(session.server()), server)
}
