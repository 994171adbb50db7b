//! Reloading the configuration while the daemon serves: reads everything that can be wrong first,
//! then puts it into force, so that a bad file changes nothing. One reload at a time. What differs is
//! found by `config::diff`; how a server takes it is the broker's.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::broker::catalog::Catalog;
use crate::broker::current::Current;
use crate::broker::limits::Limits;
use crate::broker::reload::{Answer, Rejected, Reload, Reloaded, Touched};
use crate::broker::server::{Server, Shared};
use crate::broker::succession::{arrive, depart};
use crate::config::{self, Changed, Changes, Config, Program, Recipe, diff, in_force};
use crate::front::auth::Auth;
use crate::front::context::Terms;
use crate::observe::event::{Event, emit};
use crate::record::Record;
use crate::sys::notify::Notifier;

/// Reloads that may wait for the one before.
const WAITING: usize = 8;
/// How long reading all files may take.
const READING: Duration = Duration::from_secs(10);

/// Asks for reloads; clones ask the same daemon.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<Ask>);

/// One reload that is asked for.
#[derive(Debug)]
pub struct Ask {
    check: bool,
    author: String,
    answer: oneshot::Sender<Result<Reloaded, Rejected>>,
}

/// What is to be reloaded: everything that a configuration decides about.
pub struct Reloader {
    /// Where the configuration comes from.
    pub recipe: Recipe,
    /// What is in force.
    pub config: Config,
    /// The servers.
    pub catalog: Arc<Catalog>,
    /// What servers share.
    pub shared: Arc<Shared>,
    /// What requests are held to.
    pub terms: Arc<Current<Terms>>,
    /// Who may call how often.
    pub limits: Arc<Limits>,
    /// Where the listeners are bound.
    pub addresses: Vec<SocketAddr>,
    /// systemd's `CREDENTIALS_DIRECTORY`.
    pub credentials: Option<OsString>,
    /// The daemon is stopping: nothing is reloaded any more.
    pub draining: Arc<AtomicBool>,
    /// How reloads went, for the views.
    pub record: Arc<Record>,
    /// The service manager.
    pub notifier: Notifier,
    /// Where new servers get their supervisor.
    pub arrivals: mpsc::UnboundedSender<Arc<Server>>,
}

/// A way to ask, and what [`Reloader::run`] takes what is asked from.
#[must_use]
pub fn channel() -> (Reloads, mpsc::Receiver<Ask>) {
    let (asks, asked) = mpsc::channel(WAITING);
    (Reloads(asks), asked)
}

impl Reload for Reloads {
    fn reload(&self, check: bool, author: &str) -> Answer {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.try_send(Ask {
            check,
            author: author.to_owned(),
            answer,
        });
        Box::pin(async move {
            if sent.is_err() {
                return rejected("too many reloads are waiting already; try again in a moment");
            }
            match answered.await {
                Ok(outcome) => outcome,
                Err(_) => rejected("mainstayd is stopping; its configuration is not read any more"),
            }
        })
    }
}

fn rejected<T>(why: &str) -> Result<T, Rejected> {
    Err(Rejected(vec![why.to_owned()]))
}

impl Reloader {
    /// Does what is asked, one after the other, until nobody can ask any more.
    pub async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        let mut reading = None;
        while let Some(ask) = asked.recv().await {
            let outcome = if self.draining.load(Ordering::Relaxed) {
                rejected("mainstayd is stopping; its configuration is not read any more")
            } else if ask.check {
                self.check(&mut reading).await
            } else {
                // Dropped, whatever came of it, it says that the daemon serves.
                let _reloading = self.notifier.reloading();
                let outcome = self.reload(&mut reading).await;
                self.report(&outcome, &ask.author);
                outcome
            };
            // Whoever has asked may be gone.
            let _ = ask.answer.send(outcome);
        }
    }

    async fn check(&self, reading: &mut Reading) -> Result<Reloaded, Rejected> {
        let (config, _) = self.read(reading).await?;
        let changes = diff(&self.config, &config);
        Ok(Reloaded {
            checked: true,
            ..told(&changes, &self.config, &config)
        })
    }

    async fn reload(&mut self, reading: &mut Reading) -> Result<Reloaded, Rejected> {
        let (config, auth) = self.read(reading).await?;
        if self.draining.load(Ordering::Relaxed) {
            return rejected("mainstayd has begun to stop; nothing was changed");
        }
        let changes = diff(&self.config, &config);
        let told = told(&changes, &self.config, &config);
        self.apply(in_force(&self.config, config), auth, &changes);
        Ok(told)
    }

    /// Everything that can fail, on a thread of its own: a file may be a pipe that nobody writes to,
    /// and that must not hold up anything else, the end of the daemon included.
    async fn read(&self, reading: &mut Reading) -> Result<(Config, Auth), Rejected> {
        if reading.as_ref().is_some_and(|before| !before.is_finished()) {
            return rejected(
                "an earlier reload still waits for a file that gives nothing; is one of the \
                 configured files a pipe?",
            );
        }
        let (recipe, credentials) = (self.recipe.clone(), self.credentials.clone());
        let (done, result) = oneshot::channel();
        let read = move || {
            let config = recipe.read().map_err(|errors| {
                let all = errors.0.iter().map(ToString::to_string);
                Rejected(all.collect())
            });
            let both =
                config.and_then(|config| match Auth::read(&config, credentials.as_deref()) {
                    Ok(auth) => Ok((config, auth)),
                    Err(error) => Err(Rejected(vec![error.to_string()])),
                });
            // Whoever waited may have given up.
            let _ = done.send(both);
        };
        match thread::Builder::new().name("reload".into()).spawn(read) {
            Ok(thread) => *reading = Some(thread),
            Err(error) => return rejected(&format!("no thread to read the files: {error}")),
        }
        match tokio::time::timeout(READING, result).await {
            Ok(Ok(outcome)) => {
                // It is through, even if the thread has not quite ended.
                *reading = None;
                outcome
            }
            Ok(Err(_)) => rejected("reading the configuration failed by a fault of the daemon"),
            Err(_) => rejected(&format!(
                "the configuration could not be read within {} s; is one of its files a pipe, or on \
                 a file system that hangs?",
                READING.as_secs()
            )),
        }
    }

    /// Puts a configuration into force. Nothing in here can fail or wait.
    fn apply(&mut self, config: Config, auth: Auth, changes: &Changes) {
        self.limits.retune(config.rate_limit);
        let sessions = &config.sessions;
        self.shared
            .sessions
            .retune(sessions.max, sessions.idle_timeout);
        let auth = auth.introduced(&self.limits);
        self.terms.set(Terms::new(&config, &self.addresses, auth));
        self.forget_principals(&changes.principals_removed);
        self.change_servers(&config, changes);
        self.config = config;
    }

    /// Ends what principals have that are not known any more.
    fn forget_principals(&self, gone: &[String]) {
        let is_gone = |owner: Option<&str>| owner.is_some_and(|o| gone.iter().any(|g| g == o));
        if gone.is_empty() {
            return;
        }
        for session in self.shared.sessions.those(|s| is_gone(s.owner())) {
            self.shared.sessions.close(&session);
        }
        for server in self.catalog.every() {
            server.end_listens(is_gone);
        }
    }

    fn change_servers(&self, config: &Config, changes: &Changes) {
        let names = |list: &[Changed]| -> BTreeSet<String> {
            list.iter().map(|c| c.name.clone()).collect()
        };
        let renewed = names(&changes.renewed);
        let mut tuned = names(&changes.retuned);
        tuned.extend(names(&changes.replaced));
        let (mut added, mut coming) = (Vec::new(), Vec::new());
        for server in &config.servers {
            let is_added = changes.added.contains(&server.name);
            if is_added || renewed.contains(&server.name) {
                let new = Server::new(server.clone(), Arc::clone(&self.shared));
                if !is_added {
                    new.come();
                }
                // The daemon's task is there for as long as this one.
                let _ = self.arrivals.send(Arc::clone(&new));
                let list = if is_added { &mut added } else { &mut coming };
                list.push(new);
            } else if tuned.contains(&server.name) {
                if let Some(running) = self.catalog.newest(&server.name) {
                    running.retune(server.clone());
                }
            }
        }
        let is_removed = |s: &Server| changes.removed.iter().any(|name| name == s.name());
        let default = config.servers.iter().find(|s| s.default);
        let default = default.map(|s| s.name.clone());
        self.catalog.change(|list| {
            // Those that came to take a place that is given away otherwise now, or not at all.
            let is_given_up = |s: &Server| is_removed(s) || renewed.contains(s.name());
            for server in list.coming.iter().filter(|s| is_given_up(s)) {
                server.stop();
            }
            list.coming.retain(|s| !is_given_up(s));
            let staying = list.shown.iter().filter(|s| !s.is_leaving());
            for server in staying.filter(|s| is_removed(s)) {
                server.leave();
                tokio::spawn(depart(Arc::clone(server)));
            }
            list.has_moved |= list.default != default;
            list.default = default;
            for server in added {
                list.show(server);
            }
            list.coming.extend(coming.iter().cloned());
        });
        for server in coming {
            tokio::spawn(succeed(Arc::clone(&self.catalog), server));
        }
    }

    fn report(&self, outcome: &Result<Reloaded, Rejected>, author: &str) {
        self.record.reloaded(outcome);
        match outcome {
            Ok(told) => {
                emit(&Event::ConfigReloaded {
                    author: author.to_owned(),
                    summary: told.summary(),
                    restart: told.restart.clone(),
                });
                for warning in &told.warnings {
                    log::warn!("reload: {warning}");
                }
            }
            Err(Rejected(errors)) => {
                emit(&Event::ConfigRejected {
                    author: author.to_owned(),
                    count: errors.len(),
                    first: errors.first().cloned().unwrap_or_default(),
                });
                for error in errors {
                    log::error!("reload: {error}");
                }
            }
        }
    }
}

/// The thread that was to read the files of a reload and had not by the end of its time.
type Reading = Option<thread::JoinHandle<()>>;

/// A server that was begun anew takes its place, and the old one goes.
async fn succeed(catalog: Arc<Catalog>, server: Arc<Server>) {
    if let Some(old) = arrive(catalog, server).await {
        depart(old).await;
    }
}

/// The changes as they are told, with what an operator should look at.
fn told(changes: &Changes, before: &Config, config: &Config) -> Reloaded {
    let touched = |list: &[Changed]| -> Vec<Touched> {
        let touched = list.iter().map(|c| Touched {
            server: c.name.clone(),
            keys: c.keys.clone(),
        });
        touched.collect()
    };
    let principals = [
        (&changes.principals_added, "added"),
        (&changes.principals_removed, "removed"),
        (&changes.principals_changed, "changed"),
    ];
    Reloaded {
        checked: false,
        added: changes.added.clone(),
        removed: changes.removed.clone(),
        replaced: touched(&changes.replaced),
        renewed: touched(&changes.renewed),
        retuned: touched(&changes.retuned),
        principals: principals
            .iter()
            .flat_map(|(names, what)| names.iter().map(move |name| format!("{name} {what}")))
            .collect(),
        general: changes.general.clone(),
        restart: changes.restart.clone(),
        warnings: warnings(changes, before, config),
    }
}

fn warnings(changes: &Changes, before: &Config, config: &Config) -> Vec<String> {
    let mut said = Vec::new();
    let default = |config: &Config| {
        let found = config.servers.iter().find(|s| s.default);
        found.map(|s| s.name.clone()).unwrap_or_default()
    };
    let (old, new) = (default(before), default(config));
    if old != new {
        said.push(format!(
            "/mcp is served by {new} now and no longer by {old}; sessions stay at the server they were \
             opened at, as long as that is there"
        ));
    }
    let named = |list: &[Changed], name: &str| list.iter().any(|c| c.name == name);
    for server in &config.servers {
        let name = server.name.as_str();
        let is_new = changes.added.iter().any(|a| a == name) || named(&changes.renewed, name);
        let is_replaced = named(&changes.replaced, name);
        if is_new || is_replaced {
            said.extend(missing_program(server));
        }
        match server.state {
            config::State::Shared if is_replaced => said.push(format!(
                "what the worker of {name} holds in memory goes with it (state = \"shared\")"
            )),
            config::State::Session if is_replaced => said.push(format!(
                "sessions of {name} stay at the workers they have until they end; new ones get new \
                 workers"
            )),
            _ => {}
        }
    }
    said
}

/// Whether the program of a server is not to be found. No reason to refuse the configuration: it may
/// be installed yet, and until then the old workers serve.
fn missing_program(server: &config::Server) -> Option<String> {
    let Program::Command(argv) = &server.program else {
        return None;
    };
    let program = argv.first()?;
    let found = if program.contains('/') {
        let place = server.cwd.as_deref().unwrap_or(Path::new("/"));
        place.join(program).exists()
    } else {
        let own = server.env.get("PATH").map(OsString::from);
        let path = own.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(program).exists())
    };
    (!found).then(|| {
        format!(
            "the program {program} of server {} is not there; its workers will not start until it is",
            server.name
        )
    })
}
