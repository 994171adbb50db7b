//! The life of one worker of a server from start to end: launch, handshake, entering its lane,
//! and what has to happen when it ends. One task a worker.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::handshake::{self, Failed, Opened, Opening};
use super::member::{Locked, Member, Phase};
use super::outage::{self, Fault};
use super::rebind;
use super::route::Router;
use super::server::Server;
use super::stats::bump;
use crate::config::{self, Program};
use crate::mcp::era::Era;
use crate::observe::causes;
use crate::observe::event::{Event, emit};
use crate::policy::restart::Rung;
use crate::sys::cgroup::{Group, LeafLimits};
use crate::worker::actor::{self, Bounds, End, Inbox, Worker};
use crate::worker::command::{Fence, LaunchSpec, environment};
use crate::worker::life::Life;
use crate::worker::scratch::Scratch;
use crate::worker::upstream;

/// A ready worker that lived this long was no failed start, whatever ended it.
const SETTLED: Duration = Duration::from_secs(10);

/// Runs one worker to its end.
pub(super) async fn run(server: Arc<Server>, id: u64, opening: Opening) {
    let started = Instant::now();
    match launch(&server, id) {
        Ok((member, life)) => {
            emit(&Event::WorkerStarted {
                server: server.name().to_owned(),
                worker: id,
                pid: member.worker.pid,
                era: opening.as_str().to_owned(),
            });
            live(&server, member, life, opening, started).await;
        }
        Err(what) => {
            let fault = Fault::Start(what);
            outage::pace(&server, &fault);
            outage::report(&server, fault, Vec::new());
        }
    }
    server.roster().gone(id);
    server.pressure().notify_one();
}

fn launch(server: &Arc<Server>, id: u64) -> Result<(Arc<Member>, Life), String> {
    let config = server.config();
    let bounds = Bounds {
        max_message_bytes: config.max_message_bytes,
        write_queue_bytes: config.write_queue_bytes,
        stop_grace: config.stop_grace,
    };
    bump(&server.stats().starts);
    let (worker, life, bare) = match &config.program {
        Program::Command(argv) => {
            let argv = argv.iter().map(OsString::from).collect();
            launch_process(server, &config, id, argv, bounds)?
        }
        Program::BuiltinScore => {
            let launcher = server.shared().launcher.clone();
            let program = vec![launcher.into(), "score".into()];
            launch_process(server, &config, id, program, bounds)?
        }
        Program::Upstream(settings) => {
            let rules = Arc::clone(server.tool_headers());
            let (worker, life) = upstream::start(id, settings, rules, bounds)?;
            (worker, Life::Upstream(Box::new(life)), false)
        }
    };
    let member = Member::new(worker, server, config, bare, Instant::now());
    server.roster().members.insert(id, Arc::clone(&member));
    Ok((member, life))
}

/// Starts a process. Also tells whether it lacks variables that it has on other rungs of the ladder.
fn launch_process(
    server: &Arc<Server>,
    config: &config::Server,
    id: u64,
    program: Vec<OsString>,
    bounds: Bounds,
) -> Result<(Arc<Worker>, Life, bool), String> {
    let shared = server.shared();
    let name = format!("{}-{id}", server.name());
    let scratch = Scratch::create(&shared.scratch_root, &name)
        .map_err(|e| format!("no scratch directory could be made for it: {e}"))?;
    let own: &BTreeMap<String, String> = &config.env;
    let clean = server.roster().restart.rung(Instant::now()) == Rung::Clean;
    let pass: &[String] = if clean { &[] } else { &config.env_pass };
    let bare = clean && !config.env_pass.is_empty();
    let group = leaf(server, id)?;
    let spec = LaunchSpec {
        server: server.name().to_owned(),
        launcher: shared.launcher.clone(),
        program,
        env: environment(std::env::vars_os(), pass, own, scratch.path()),
        cwd: config.cwd.clone(),
        scratch: scratch.path().to_owned(),
        open_files: config.limits.open_files,
        core_bytes: config.limits.core_bytes,
        processes: config.limits.processes,
        fence: fence(server),
        group,
    };
    let (worker, life) = actor::start(id, &spec, scratch, bounds).map_err(|error| {
        if let Some(group) = &spec.group {
            // Nobody is in it; what cannot be removed is pruned at the end of the daemon.
            let _ = group.remove(Duration::ZERO);
        }
        causes::one_line(&error)
    })?;
    Ok((worker, Life::Process(Box::new(life)), bare))
}

/// What the fence of its workers opens; `None` if they have none.
fn fence(server: &Server) -> Option<Fence> {
    let sandbox = &server.config().sandbox;
    server.is_fenced().then(|| Fence {
        read: sandbox.read_paths.clone(),
        write: sandbox.write_paths.clone(),
    })
}

/// A cgroup for the worker; `None` where the daemon has none. Without one that should be there it is
/// not started: it could not be held to its limits.
fn leaf(server: &Server, id: u64) -> Result<Option<Group>, String> {
    let Some(group) = server.group() else {
        return Ok(None);
    };
    let limits = &server.config().limits;
    let limits = LeafLimits {
        memory_max: limits.memory,
        pids_max: limits.pids,
        cpu_weight: limits.cpu_weight,
    };
    let made = group.leaf(id, &limits).map(Some);
    made.map_err(|error| format!("no control group could be made for it: {error}"))
}

async fn live(
    server: &Arc<Server>,
    member: Arc<Member>,
    life: Life,
    opening: Opening,
    started: Instant,
) {
    let router: Arc<dyn Inbox> = Arc::new(Router(Arc::clone(&member)));
    let run = life.run(router);
    tokio::pin!(run);
    let early = tokio::select! {
        opened = handshake::open(&member, opening, server.config().start_timeout) => Err(opened),
        ended = &mut run => Ok(ended),
    };
    let (refused, (end, remains)) = match early {
        Ok(ended) => (None, ended),
        Err(Ok(opened)) => {
            admit(server, &member, opening, opened, started);
            (None, run.await)
        }
        Err(Err(failure)) => {
            member.worker.kill();
            (Some(failure), run.await)
        }
    };
    let fault = release(server, &member, &end, refused);
    // Whoever waits for this worker knows; its last words may take a moment.
    remains.clean_up().await;
    if let Some(fault) = fault {
        outage::report(server, fault, member.worker.tail.lines());
    }
    server.roster().members.remove(&member.id());
}

/// The worker is ready: what it told is remembered, and it goes where it is needed.
fn admit(
    server: &Arc<Server>,
    member: &Arc<Member>,
    opening: Opening,
    opened: Opened,
    started: Instant,
) {
    let era_was_open = {
        let now = server.standing().borrow();
        now.legacy.is_none() || now.modern.is_none()
    };
    member.lock_to(opened.locked);
    server.standing().send_modify(|s| {
        // A worker was initialised before anything was known because probing had failed.
        let unprobed = opening == Opening::Legacy && s.legacy.is_none() && s.modern.is_none();
        s.modern = s.modern.or(opened.modern).or(unprobed.then_some(false));
        s.legacy = s.legacy.or(opened.legacy);
        s.mixed |= opened.locked == Locked::Mixed;
        s.down = None;
    });
    if let Some(result) = opened.initialized {
        server.set_initialized(result);
    }
    if era_was_open && opened.locked != Locked::Fresh {
        emit(&Event::EraFound {
            server: server.name().to_owned(),
            era: server.era_name(),
        });
    }
    emit(&Event::WorkerReady {
        server: server.name().to_owned(),
        worker: member.id(),
        pid: member.worker.pid,
        era: member.locked().as_str().to_owned(),
        took: started.elapsed(),
    });
    let (down_since, replaced) = {
        let mut roster = server.roster();
        let replaced = roster.ready(member.id(), started.elapsed(), Instant::now());
        (roster.down_since.take(), replaced)
    };
    if let Some(since) = down_since {
        server.stats().recovered(since.elapsed());
        emit(&Event::ServerUp {
            server: server.name().to_owned(),
            after: since.elapsed(),
        });
    }
    member.note_baseline();
    member.enter(Phase::Ready);
    if member.worker.pid == 0 {
        // An upstream that opens a session is there: calls may try it.
        if let Some(change) = server.guards().gate().probe_succeeded(Instant::now()) {
            server.report(None, change);
        }
    }
    let era = if member.serves(Era::Legacy) {
        Era::Legacy
    } else {
        Era::Modern
    };
    server.lane(era).add(Arc::clone(member));
    if member.serves(Era::Modern) {
        for listen in server.listens() {
            listen.join(member);
        }
    }
    let knows_tools = member.locked() != Locked::Fresh;
    if knows_tools && (member.serves(Era::Modern) || server.rules().trusts_annotations()) {
        let (server, member) = (Arc::clone(server), Arc::clone(member));
        tokio::spawn(async move {
            let patience = server.config().start_timeout;
            for page in handshake::tools(&member, patience).await {
                if let Ok(page) = serde_json::from_slice(&page) {
                    server.learn_tools(page);
                }
            }
        });
    }
    if let Some(old) = replaced {
        server.retire(old);
    }
    rebind::resubscribe(server);
    server.pressure().notify_one();
}

/// The process is gone: its calls get their outcome, its place is freed, its session another.
/// Returns what was wrong with its end, if anything.
fn release(
    server: &Arc<Server>,
    member: &Arc<Member>,
    end: &End,
    refused: Option<Failed>,
) -> Option<Fault> {
    let was = member.phase();
    member.enter(Phase::Gone);
    server.leave_lanes(member);
    let session = member.session();
    if end.oom {
        server.tell_oom(member, end.asked);
    }
    let lost = server.lose(member, end);
    let era_refused = matches!(refused, Some(Failed::Refused(_))) && server.rule_out(member);
    let fault = match &refused {
        _ if era_refused => None,
        Some(Failed::Refused(what)) => Some(Fault::Refused(what.clone())),
        Some(failure) => Some(Fault::Start(failure.what().to_owned())),
        None if end.asked => None,
        None if was == Phase::Starting => {
            Some(Fault::Start(format!("{} before it was ready", end.what)))
        }
        None if member.has_answered() || member.age() > SETTLED => {
            Some(Fault::Death(end.what.clone()))
        }
        None => Some(Fault::Start(end.what.clone())),
    };
    server.roster().gone(member.id());
    if let Some(fault) = &fault {
        outage::pace(server, fault);
    }
    emit(&Event::WorkerExited {
        server: server.name().to_owned(),
        worker: member.id(),
        pid: member.worker.pid,
        expected: end.asked && refused.is_none(),
        what: end.what.clone(),
        calls: lost,
    });
    if let Some(session) = session.filter(|s| !s.has_ended()) {
        tokio::spawn(rebind::run(Arc::clone(server), session));
    }
    rebind::resubscribe(server);
    server.pressure().notify_one();
    fault
}

impl Server {
    /// A worker answered that it does not speak the legacy era: if the modern one is known to
    /// work, that is an answer and no failure.
    fn rule_out(&self, member: &Arc<Member>) -> bool {
        let modern = self.standing().borrow().modern == Some(true);
        let open = self.standing().borrow().legacy.is_none();
        if modern && open && member.locked() == Locked::Fresh {
            self.standing().send_modify(|s| s.legacy = Some(false));
            return true;
        }
        false
    }

    /// Takes a worker out of every lane: it gets no new calls.
    pub(super) fn leave_lanes(&self, member: &Member) {
        self.lane(Era::Legacy).remove(member.id());
        self.lane(Era::Modern).remove(member.id());
        if let Some(lane) = member.session().as_ref().and_then(|s| s.own_lane()) {
            lane.remove(member.id());
        }
    }

    /// Takes what a `tools/list` result says of the tools.
    pub(super) fn learn_tools(&self, result: &RawValue) {
        self.tool_headers().learn(result);
        self.rules().learn(result);
    }

    /// Whether its workers are fenced in, as far as the kernel can.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        let landlock = self.config().sandbox.landlock;
        landlock.applies(self.shared().is_service)
    }

    /// Whether any worker takes calls, those of sessions included.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.roster()
            .members
            .values()
            .any(|m| m.phase() == Phase::Ready)
    }

    pub(super) fn era_name(&self) -> String {
        let s = self.standing().borrow();
        match (s.legacy, s.modern) {
            _ if s.mixed => "mixed",
            (Some(true), Some(true)) => "legacy+modern",
            (Some(true), _) => "legacy",
            (_, Some(true)) => "modern",
            _ => "unknown",
        }
        .to_owned()
    }

    pub(super) fn number_worker(&self) -> u64 {
        self.shared().next_worker.fetch_add(1, Ordering::Relaxed) + 1
    }
}
