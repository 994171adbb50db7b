//! The servers of the daemon, by name, and which one is the default. A reload replaces the list as
//! one: whoever looks sees all of the old one or all of the new one. Which servers come and go is
//! decided in `reload`; how each goes is `succession`'s.

use std::sync::{Arc, Mutex, PoisonError};

use super::current::Current;
use super::server::Server;

/// All servers.
#[derive(Debug)]
pub struct Catalog {
    list: Current<List>,
    /// Held while the list is changed.
    change: Mutex<()>,
}

/// The servers at one moment.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Those that are served under their names, sorted; those that leave for good included.
    pub shown: Vec<Arc<Server>>,
    /// The name of the one at `/mcp`.
    pub default: Option<String>,
    /// Those that come to take the place of a shown one once they have a worker.
    pub coming: Vec<Arc<Server>>,
    /// Those whose place is taken already, and that finish what they have.
    pub leaving: Vec<Arc<Server>>,
    /// A session may be of another server than its path tells.
    pub has_moved: bool,
}

impl List {
    /// The server that a name stands for: what leaves is found only if nothing else has its name.
    fn named(&self, name: &str) -> Option<&Arc<Server>> {
        let mut found = self.shown.iter().filter(|s| s.name() == name);
        let first = found.next()?;
        found.find(|s| !s.is_leaving()).or(Some(first))
    }

    fn every(&self) -> impl Iterator<Item = &Arc<Server>> {
        let hidden = self.coming.iter().chain(&self.leaving);
        self.shown.iter().chain(hidden)
    }

    /// Takes a server out, wherever it is.
    pub fn remove(&mut self, server: &Arc<Server>) {
        for list in [&mut self.shown, &mut self.coming, &mut self.leaving] {
            list.retain(|s| !Arc::ptr_eq(s, server));
        }
    }

    /// Enters a server under its name, and moves the one that had it to those that leave.
    pub fn show(&mut self, server: Arc<Server>) {
        let (old, rest) = std::mem::take(&mut self.shown)
            .into_iter()
            .partition(|s| s.name() == server.name());
        self.shown = rest;
        self.leaving.extend::<Vec<_>>(old);
        self.coming.retain(|s| !Arc::ptr_eq(s, &server));
        let at = self.shown.partition_point(|s| s.name() < server.name());
        self.shown.insert(at, server);
    }
}

impl Catalog {
    /// The servers as configured, sorted by name, one of them the default.
    #[must_use]
    pub fn new(servers: Vec<Arc<Server>>) -> Self {
        let default = servers.iter().find(|s| s.config().default);
        let default = default.map(|s| s.name().to_owned());
        Self {
            list: Current::new(List {
                default,
                shown: servers,
                ..List::default()
            }),
            change: Mutex::default(),
        }
    }

    /// The list as it is now.
    #[must_use]
    pub fn list(&self) -> Arc<List> {
        self.list.get()
    }

    /// All that have a name of their own, for the views.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Server>> {
        self.list.get().shown.clone()
    }

    /// All there are, those included that come or leave behind another one of their name.
    #[must_use]
    pub fn every(&self) -> Vec<Arc<Server>> {
        self.list.get().every().cloned().collect()
    }

    /// The names that can be asked for.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let list = self.list.get();
        let staying = list.shown.iter().filter(|s| !s.is_leaving());
        staying.map(|s| s.name().to_owned()).collect()
    }

    /// One by its name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Arc<Server>> {
        self.list.get().named(name).map(Arc::clone)
    }

    /// The one at `/mcp`.
    #[must_use]
    pub fn default_server(&self) -> Option<Arc<Server>> {
        let list = self.list.get();
        list.named(list.default.as_deref()?).map(Arc::clone)
    }

    /// The server of a session, where that is another one than the path of its request stands for:
    /// a session stays where it was opened when another server becomes the default (`is_default`:
    /// the path is that of the default), and one that owns a worker when a successor takes over.
    #[must_use]
    pub fn of_session(
        &self,
        id: &str,
        server: &Arc<Server>,
        is_default: bool,
    ) -> Option<Arc<Server>> {
        let list = self.list.get();
        if !list.has_moved {
            return None;
        }
        let session = server.shared().sessions.known(id)?;
        let own = session.server();
        let is_shown = list.shown.iter().any(|s| Arc::ptr_eq(s, own));
        let is_meant = own.name() == server.name() || (is_default && is_shown);
        let stays = is_shown || session.own_lane().is_some();
        (is_meant && stays).then(|| Arc::clone(own))
    }

    /// The instance that a reload means by a name: the newest, not one that leaves.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<Arc<Server>> {
        let list = self.list.get();
        let mut all = list.coming.iter().chain(&list.shown);
        all.find(|s| s.name() == name && !s.is_leaving())
            .map(Arc::clone)
    }

    /// Changes the list; others see it before or after.
    pub fn change(&self, change: impl FnOnce(&mut List)) {
        let _one_at_a_time = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = List::clone(&self.list.get());
        change(&mut list);
        self.list.set(list);
    }
}
