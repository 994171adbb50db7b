//! The daemon from start to end, in one line of steps: directories, admin socket, listener,
//! servers, READY, wait, drain, stop. It wires the parts and awaits them; each knows its own
//! business.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admin;
use crate::announcer::Announcer;
use crate::broker::catalog::Catalog;
use crate::broker::control::Control;
use crate::broker::current::Current;
use crate::broker::host;
use crate::broker::limits::Limits;
use crate::broker::reload::Reload;
use crate::broker::server::{Server, Shared};
use crate::broker::sessions::Sessions;
use crate::broker::snapshot::{Host, View};
use crate::broker::{strain, supervise};
use crate::config::{self, Config, Recipe};
use crate::doors::{self, Doors};
use crate::exit;
use crate::front::auth::{Auth, TokensError};
use crate::front::context::{Context, Terms};
use crate::front::listener;
use crate::heartbeat;
use crate::observe::event::{Event, emit};
use crate::overview::Overview;
use crate::record::Record;
use crate::reload::{self, Reloader};
use crate::sys;
use crate::sys::cgroup::{self, Claim, Cleared, Standing, Tree};
use crate::sys::inherit::Inherited;
use crate::sys::lock::Lock;
use crate::sys::notify::Notifier;
use crate::sys::pressure::Watch;
use crate::sys::signal::{Request, Signals};
use crate::worker::process::own_launcher;
use crate::worker::scratch;

/// How long calls in flight may take to finish once the daemon was asked to end.
const DRAIN: Duration = Duration::from_secs(10);
/// How often sessions are swept.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// Why the daemon could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state directory cannot be used.
    #[error(
        "cannot use the state directory {path}: {source}; create it, or choose another with --state-dir"
    )]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another daemon has the state directory.
    #[error(
        "another mainstayd uses the state directory {0}; stop it, or choose another directory with --state-dir"
    )]
    Locked(PathBuf),
    /// The tokens of a principal cannot be read.
    #[error("{0}")]
    Tokens(#[from] TokensError),
    /// The admin socket cannot be bound.
    #[error("{0}")]
    Admin(String),
    /// The HTTP listener cannot be bound.
    #[error("cannot listen on {address}: {source}{}", in_use(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Signal handlers cannot be installed.
    #[error("cannot install signal handlers: {0}")]
    Signals(io::Error),
    /// A task that must not end ended.
    #[error("{0} ended although nobody asked it to; this is a bug in mainstay")]
    Critical(&'static str),
}

fn in_use(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::AddrInUse {
        "; another program (or another mainstayd) has this port: choose one with --listen ADDR:PORT"
    } else {
        ""
    }
}

impl DaemonError {
    /// The exit status for this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Tokens(_) => exit::CONFIG,
            Self::StateDir { .. } | Self::Admin(_) => exit::CANT_CREATE,
            Self::Locked(_) | Self::Listen { .. } | Self::Signals(_) => exit::OS,
            Self::Critical(_) => exit::SOFTWARE,
        }
    }

    /// What the kernel said, if it was asked.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::StateDir { source, .. } | Self::Listen { source, .. } | Self::Signals(source) => {
                source.raw_os_error()
            }
            Self::Locked(_) | Self::Tokens(_) | Self::Admin(_) | Self::Critical(_) => None,
        }
    }
}

/// Runs the daemon until a signal ends it, on the sockets it was handed or on its own, and tells the
/// service manager how it does. `recipe` is where `config` came from: a reload reads it again.
///
/// # Errors
/// See [`DaemonError`]; nothing is left running.
#[expect(
    clippy::too_many_lines,
    reason = "the life of the daemon in one line of steps; parts would hide their order"
)]
pub async fn run(
    config: Config,
    recipe: Recipe,
    inherited: Inherited,
    notifier: Notifier,
) -> Result<(), DaemonError> {
    let service = notifier.is_manager_there();
    let mut announcer = Announcer::new(notifier.clone());
    let limits = Arc::new(limits(&config));
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let auth = Auth::read(&config, credentials.as_deref())?.introduced(&limits);
    let mut signals = Signals::install().map_err(DaemonError::Signals)?;
    let _lock = state_dir(&config.state_dir)?;
    let scratch_root = config.state_dir.join("scratch");
    if let Err(error) = scratch::sweep(&scratch_root) {
        log::warn!("scratch directories of an earlier life are left behind: {error}");
    }
    let Doors {
        http,
        addresses,
        admin,
    } = Doors::open(&config, inherited)?;
    let address = doors::list(&addresses);

    let (tree, host, shared) = place(&config, service, scratch_root, &limits).await;
    let servers = config.servers.iter();
    let servers = servers.map(|s| Server::new(s.clone(), Arc::clone(&shared)));
    let catalog = Arc::new(Catalog::new(servers.collect()));
    let overview = Arc::new(Overview {
        catalog: Arc::clone(&catalog),
        started: Instant::now(),
        listen: OnceLock::new(),
        connections: Arc::default(),
        draining: Arc::default(),
        host,
        record: Arc::new(Record::new(Instant::now())),
    });
    let terms = Arc::new(Current::new(Terms::new(&config, &addresses, auth)));
    let view: Arc<dyn View> = Arc::clone(&overview) as Arc<dyn View>;
    let (thin, thinned) = watch::channel(0);
    let context = Arc::new(Context {
        catalog: Arc::clone(&catalog),
        terms: Arc::clone(&terms),
        limits: Arc::clone(&limits),
        view: Arc::clone(&view),
        draining: Arc::clone(&overview.draining),
        connections: Arc::clone(&overview.connections),
        thinned,
    });

    let shortage = listen_for_shortage(tree.as_ref()).await;
    let strain = tokio::spawn(strain::run(shortage, Arc::clone(&catalog), thin));
    let (stop, stopped) = watch::channel(false);
    let mut keepers = JoinSet::new();
    for server in catalog.all() {
        keepers.spawn(keep(server));
    }
    let mut front = tokio::spawn(listener::serve(http, context, stopped.clone(), DRAIN));
    let mut admin_stopped = stopped.clone();
    let (arrivals, mut arrived) = mpsc::unbounded_channel();
    let nearest = addresses.first().copied();
    let (reloads, asked) = reload::channel();
    let reloader = Reloader {
        recipe,
        config,
        catalog: Arc::clone(&catalog),
        shared: Arc::clone(&shared),
        terms,
        limits,
        addresses,
        credentials,
        draining: Arc::clone(&overview.draining),
        record: Arc::clone(&overview.record),
        notifier,
        arrivals,
    };
    let mut reloader = tokio::spawn(reloader.run(asked));
    let operator = admin::operator::Operator::new(
        Arc::clone(&view),
        Arc::clone(&catalog) as Arc<dyn Control>,
        Arc::new(reloads.clone()),
    );
    let mut admin = tokio::spawn(admin::server::serve(admin, operator, async move {
        let _ = admin_stopped.wait_for(|s| *s).await;
    }));
    let mut heart = heartbeat::start(Arc::clone(&catalog), nearest);
    let _ = overview.listen.set(address.clone());
    emit(&Event::DaemonStarted {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        listen: address,
    });

    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    let ended = loop {
        tokio::select! {
            request = signals.next() => match request {
                Request::Stop => break Ok(()),
                // What comes of it is in the log.
                Request::Reload => drop(reloads.reload(false, "SIGHUP")),
            },
            _ = housekeeping.tick() => shared.sessions.sweep(),
            () = tokio::time::sleep(announcer.pause()) => announcer.look(&overview.snapshot()),
            _ = &mut front => break Err(DaemonError::Critical("the HTTP listener")),
            _ = &mut admin => break Err(DaemonError::Critical("the admin socket")),
            _ = &mut reloader => break Err(DaemonError::Critical("the reload of the configuration")),
            Some(server) = arrived.recv() => drop(keepers.spawn(keep(server))),
            Some(ended) = keepers.join_next() => match ended {
                // A reload has taken it out.
                Ok(server) if server.is_stopping() => catalog.change(|list| list.remove(&server)),
                _ => break Err(DaemonError::Critical("a server's supervisor")),
            },
        }
    };

    overview.draining.store(true, Ordering::Relaxed);
    heart.stopping().await;
    strain.abort();
    if !reloader.is_finished() {
        reloader.abort();
        let _ = reloader.await;
    }
    let servers = overview.snapshot().servers;
    emit(&Event::DaemonStopping {
        cause: ended
            .as_ref()
            .map_or_else(ToString::to_string, |()| "a signal".to_owned()),
        in_flight: servers.iter().map(|s| s.in_flight).sum(),
    });
    announcer
        .stop(stop_all(&catalog, &stop, front, keepers))
        .await;
    tree.iter().for_each(Tree::prune);
    if !admin.is_finished() {
        let _ = admin.await;
    }
    log::info!("stopped");
    ended
}

/// Keeps a server until it has ended.
async fn keep(server: Arc<Server>) -> Arc<Server> {
    supervise::run(Arc::clone(&server)).await;
    server
}

/// The daemon's place on the machine, and what servers share there.
async fn place(
    config: &Config,
    service: bool,
    scratch_root: PathBuf,
    limits: &Arc<Limits>,
) -> (Option<Tree>, Host, Arc<Shared>) {
    let (tree, standing) = settle(claim(config.cgroup)).await;
    let watchdog = sys::notify::watchdog_interval();
    let host = host::look(&config.servers, &standing, service, watchdog);
    let shared = shared(config, service, scratch_root, limits, tree.clone());
    (tree, host, shared)
}

/// Calls in flight get their answers, then the workers go.
async fn stop_all(
    catalog: &Catalog,
    stop: &watch::Sender<bool>,
    front: tokio::task::JoinHandle<()>,
    mut keepers: JoinSet<Arc<Server>>,
) {
    // Streams that only wait for news would hold up the drain.
    for server in catalog.every() {
        server.end_idle_streams();
    }
    stop.send_replace(true);
    if !front.is_finished() {
        let _ = front.await;
    }
    for server in catalog.every() {
        server.stop();
    }
    while keepers.join_next().await.is_some() {}
}

fn claim(cgroup: config::Cgroup) -> Claim {
    match cgroup {
        config::Cgroup::Auto => Claim::Delegated,
        config::Cgroup::Own => Claim::Own,
        config::Cgroup::Off => Claim::Nothing,
    }
}

/// Where the daemon is told that memory is short for itself.
async fn listen_for_shortage(tree: Option<&Tree>) -> Watch {
    match Watch::from_environment(tree.map(Tree::pressure_files)).await {
        Ok(watch) => watch,
        Err(error) => {
            log::warn!("{error}; the daemon goes on without");
            Watch::Off
        }
    }
}

/// How long workers of an earlier life may hold up the start, once they were killed.
const SWEEP: Duration = Duration::from_secs(1);

/// Takes the cgroups that are ours, and ends the workers that an earlier life left in them: nobody
/// has their stdin any more.
async fn settle(claim: Claim) -> (Option<Tree>, Standing) {
    let taken = tokio::task::spawn_blocking(move || {
        let (tree, standing) = cgroup::take(claim);
        let cleared = tree.as_ref().map(|tree| tree.clear_workers(SWEEP));
        (tree, standing, cleared)
    });
    let Ok((tree, standing, cleared)) = taken.await else {
        let why = cgroup::Why::Off;
        return (None, Standing::Without(why));
    };
    match standing.advice() {
        None => log::info!("control groups: {standing}"),
        Some(advice) => log::warn!("control groups: {standing}; {advice}"),
    }
    match cleared {
        None => {}
        Some(Ok(Cleared { killed: 0, left: 0 })) => {}
        Some(Ok(Cleared { killed, left })) => log::warn!(
            "killed {killed} workers of an earlier life; {left} of their control groups are left"
        ),
        Some(Err(error)) => log::warn!("workers of an earlier life may be left: {error}"),
    }
    (tree, standing)
}

fn limits(config: &Config) -> Limits {
    let mut seed = [0; 8];
    // Without randomness keys could be foreseen, and places in the table be crowded; limits hold.
    let _ = getrandom::fill(&mut seed);
    Limits::new(Instant::now(), u64::from_le_bytes(seed), config.rate_limit)
}

fn shared(
    config: &Config,
    is_service: bool,
    scratch_root: PathBuf,
    limits: &Arc<Limits>,
    tree: Option<Tree>,
) -> Arc<Shared> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut life = [0u8; 2];
    // Without randomness lives are not told apart, which matters only to leftovers of the last.
    let _ = getrandom::fill(&mut life);
    Arc::new(Shared {
        life: u16::from_le_bytes(life),
        launcher: own_launcher(),
        is_service,
        scratch_root,
        start_cap: (cores / 2).max(1),
        sessions: Sessions::new(config.sessions.max, config.sessions.idle_timeout),
        limits: Arc::clone(limits),
        tree,
        next_worker: AtomicU64::new(0),
    })
}

/// Makes the state directory and takes its lock, which the kernel gives back with the process.
fn state_dir(path: &Path) -> Result<Lock, DaemonError> {
    let failed = |source| DaemonError::StateDir {
        path: path.to_owned(),
        source,
    };
    if !path.is_dir() {
        fs::create_dir_all(path).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
    }
    let lock = File::create(path.join("lock")).map_err(failed)?;
    match sys::lock::try_exclusive(lock) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(DaemonError::Locked(path.to_owned())),
        Err(source) => Err(failed(source)),
    }
}
