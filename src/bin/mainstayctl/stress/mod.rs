//! `mainstayctl stress`: users call a server while its workers are killed, and every answer is
//! checked. It knows the server by its endpoint alone, and the daemon by its admin socket.

mod client;
mod connection;
mod dice;
mod failure;
mod histogram;
mod load;
mod overseer;
pub(crate) mod plan;
mod progress;
mod report;
mod sse;
mod tally;
pub(crate) mod target;
mod user;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::outcome::{self, Failed, Outcome};
use client::{Client, Era};
use failure::Failure;
use load::Load;
use mainstay::admin::client::Client as Admin;
use mainstay::exit;
use mainstay::sys::signal::{Request, Signals};
use overseer::Overseer;
use plan::{Chaos, Options};
use report::{RECOVERY_BELOW, Report, Setting};
use serde_json::{Value, json};
use tally::Tally;
use target::{Address, Target};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use user::{CALL_DEADLINE, Crowd};

/// The endpoint where no daemon is known.
const DEFAULT_URL: &str = "http://127.0.0.1:8000/mcp";
/// Shortest time a user thinks: with two calls a round it stays far below 100 calls a second.
const THINK: Duration = Duration::from_millis(100);
/// Calls a second of all users together, where they count as one principal.
const SHARED_PACE: u32 = 80;
/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(20);

/// Runs it, reports, and gives the verdict as the exit code. `admin` is the daemon, or why there is
/// none. It fails if it could not run.
pub(crate) fn run(options: &Options, admin: Result<Admin, Failed>) -> Outcome {
    let report = prepare(options, admin.map_err(|failed| failed.message));
    let report = report.map_err(|message| Failed {
        code: exit::UNAVAILABLE,
        message,
    })?;
    if options.json {
        outcome::print_json(&report)?;
    } else {
        outcome::print(&report.text())?;
    }
    Ok(if report.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::FAILURE)
    })
}

/// Finds out whom to call and whose workers to kill, and does it.
fn prepare(options: &Options, admin: Result<Admin, String>) -> Result<Report, String> {
    let snapshot = admin.and_then(|admin| {
        let snapshot = admin.status().map_err(|error| error.to_string())?;
        Ok((admin, snapshot))
    });
    let address = match (&options.url, &snapshot) {
        (Some(url), _) => url.clone(),
        (None, Ok((_, snapshot))) => overseer::endpoint(snapshot)?,
        (None, Err(_)) => Address::parse(DEFAULT_URL)?,
    };
    let target = Arc::new(address.resolve()?);
    let overseer = snapshot.and_then(|(admin, snapshot)| Overseer::of(&admin, &snapshot, &target));
    let overseer = match (overseer, options.chaos) {
        (Err(why), Chaos::Kill) => {
            return Err(format!(
                "{why}; to kill workers the daemon that has them must be reached: pass --socket \
                 PATH, or --chaos none to leave them alone"
            ));
        }
        (overseer, _) => overseer.ok(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(stress(options, target, overseer))
}

async fn stress(
    options: &Options,
    target: Arc<Target>,
    overseer: Option<Overseer>,
) -> Result<Report, String> {
    let mut signals = Signals::install().map_err(|error| format!("cannot start: {error}"))?;
    let tally = Arc::new(Tally::default());
    let explored = tokio::select! {
        explored = explore(&target) => explored,
        () = stopped(&mut signals) => return Err("interrupted before the first call".to_owned()),
    };
    let killing = options.chaos == Chaos::Kill;
    let setting = Setting {
        url: target.address.url(),
        server: overseer.as_ref().map(|o| o.server().to_owned()),
        eras: explored.eras.clone(),
        load: explored.load.words(),
        users: options.users,
        kill_every_seconds: killing.then_some(options.kill_every.as_secs_f64()),
        first_error: explored.error,
    };
    let crowd = Arc::new(Crowd {
        think: think(&target, options.users),
        target,
        tally: Arc::clone(&tally),
        load: explored.load,
        eras: explored.eras,
        users: options.users,
        run: std::process::id(),
    });

    let begun = Instant::now();
    let (stop_users, users_stop) = watch::channel(false);
    let mut users = JoinSet::new();
    for number in 0..options.users {
        users.spawn(user::live(Arc::clone(&crowd), number, users_stop.clone()));
    }
    let mut aside = JoinSet::new();
    aside.spawn(progress::tell(Arc::clone(&tally), options.lasts()));
    let (stop_kills, kills_stop) = watch::channel(false);
    let mut kills = JoinSet::new();
    if let Some(overseer) = overseer {
        if killing {
            let tally = Arc::clone(&tally);
            kills.spawn(overseer.clone().kill(options.kill_every, tally, kills_stop));
        }
        aside.spawn(overseer.watch(Arc::clone(&tally)));
    }

    let interrupted = tokio::select! {
        () = sleep(options.lasts()) => false,
        () = stopped(&mut signals) => true,
        Some(ended) = kills.join_next() => {
            // It ends before its time only if it may not kill.
            ended.map_err(|error| error.to_string())??;
            return Err("nobody kills workers any more".to_owned());
        }
    };
    stop_kills.send_replace(true);
    while kills.join_next().await.is_some() {}
    let interrupted = interrupted
        || tokio::select! {
            () = recovered(&tally) => false,
            () = stopped(&mut signals) => true,
        };
    let took = begun.elapsed();
    stop_users.send_replace(true);
    // Calls in flight have their deadline; an interruption does not wait for them.
    let all = async { while users.join_next().await.is_some() {} };
    if interrupted {
        let _ = timeout(Duration::from_secs(1), all).await;
    } else {
        tokio::select! {
            () = all => {}
            () = stopped(&mut signals) => {}
        }
    }
    aside.abort_all();
    while aside.join_next().await.is_some() {}
    progress::clear();
    let report = Report::new(setting, &tally.figures(), took, interrupted);
    Ok(report)
}

/// SIGINT or SIGTERM.
async fn stopped(signals: &mut Signals) {
    while signals.next().await != Request::Stop {}
}

/// Waits until every fault was followed by a good answer, as long as that may take.
async fn recovered(tally: &Tally) {
    while tally
        .waiting()
        .is_some_and(|waiting| waiting < RECOVERY_BELOW)
    {
        sleep(LOOK).await;
    }
}

/// The shortest time to think.
fn think(target: &Target, users: usize) -> Duration {
    if target.source(0).is_some() {
        return THINK;
    }
    // Two calls a round, and one and a half times this on average.
    let users = u32::try_from(users).unwrap_or(u32::MAX);
    THINK.max(Duration::from_secs(1) * users * 4 / 3 / SHARED_PACE)
}

struct Explored {
    eras: Vec<Era>,
    load: Load,
    /// What went wrong, where nothing was found.
    error: Option<String>,
}

/// Which eras the server speaks and what can be called there.
async fn explore(target: &Arc<Target>) -> Explored {
    let mut eras = Vec::new();
    let mut tools = None;
    let mut errors = Vec::new();
    for era in [Era::Legacy, Era::Modern] {
        let mut client = Client::new(Arc::clone(target), target.source(0), era);
        let asked = timeout(CALL_DEADLINE, tools_of(&mut client, era)).await;
        match asked.unwrap_or_else(|_| Err(Failure::deadline(CALL_DEADLINE))) {
            Ok(found) => {
                eras.push(era);
                tools.get_or_insert(found);
            }
            Err(failure) => errors.push(format!("{}: {}", failure.kind, failure.example)),
        }
        client.close().await;
    }
    if eras.is_empty() {
        eras.push(Era::Legacy);
    } else {
        errors.clear();
    }
    Explored {
        eras,
        load: tools.as_ref().map_or(Load::Listing, Load::of),
        error: errors.into_iter().next(),
    }
}

async fn tools_of(client: &mut Client, era: Era) -> Result<Value, Failure> {
    match era {
        Era::Legacy => client.open().await?,
        Era::Modern => client.request("server/discover", &json!({})).await?,
    };
    client.request("tools/list", &json!({})).await
}
