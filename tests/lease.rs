//! Places at workers under contention: whoever gives up while a place is being handed to him must
//! give it back. Real workers, which die meanwhile, and callers that time out, are cancelled or leave
//! at every moment; in the end every place must be free and nobody may wait.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use mainstay::broker::lane::{Lane, LaneView, Want};
use mainstay::broker::limits::Limits;
use mainstay::broker::server::{Server, Shared};
use mainstay::broker::sessions::Sessions;
use mainstay::broker::supervise;
use mainstay::config;
use mainstay::mcp::era::Era;
use mainstay::policy::bucket::Limit;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{sleep, timeout};

const CALLERS: u64 = 48;
const ROUNDS: u64 = 400;
const PATIENCE: Duration = Duration::from_secs(60);

fn server(scratch: PathBuf) -> Arc<Server> {
    let text = "[servers.score]\nbuiltin = \"score\"\nstate = \"none\"\nconcurrency = 2\n\
                pool = { min_size = 3, max_size = 3, acquire_timeout = \"1s\" }\n";
    let config = config::from_str("test", text).unwrap();
    let shared = Shared {
        life: 1,
        launcher: PathBuf::from(env!("CARGO_BIN_EXE_mainstayd")),
        is_service: false,
        scratch_root: scratch,
        start_cap: 2,
        sessions: Sessions::new(10, PATIENCE),
        limits: Arc::new(Limits::new(Instant::now(), 1, Limit::default())),
        tree: None,
        next_worker: AtomicU64::new(0),
    };
    Server::new(config.servers[0].clone(), Arc::new(shared))
}

async fn until(what: &str, lane: &Arc<Lane>, found: impl Fn(LaneView) -> bool) {
    let waited = timeout(PATIENCE, async {
        while !found(lane.view()) {
            sleep(Duration::from_millis(5)).await;
        }
    });
    if waited.await.is_err() {
        panic!("waited in vain until {what}: {:?}", lane.view());
    }
}

/// A sequence that looks random and is the same in each run.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// One caller that leaves in every way there is; returns how often it was served.
async fn caller(lane: Arc<Lane>, number: u64) -> u64 {
    let mut seed = number * 7919 + 1;
    let mut served = 0;
    for _ in 0..ROUNDS {
        let want = Want {
            principal: number % 5,
            tool: number % 3,
            alone: next(&mut seed) % 50 == 0,
            bytes: 10,
            deadline: (next(&mut seed) % 3 == 0)
                .then(|| Instant::now() + Duration::from_micros(300)),
            ..Want::default()
        };
        let patience = Duration::from_micros(next(&mut seed) % 900);
        let lease = match next(&mut seed) % 4 {
            // Cancelled from outside at any await.
            0 => timeout(patience, lane.acquire(&want))
                .await
                .ok()
                .and_then(Result::ok),
            // Polled once or twice, then dropped.
            1 => tokio::select! {
                biased;
                got = lane.acquire(&want) => got.ok(),
                () = tokio::task::yield_now() => None,
            },
            2 => lane.try_acquire(&want),
            _ => lane.acquire(&want).await.ok(),
        };
        let Some(lease) = lease else { continue };
        served += 1;
        match next(&mut seed) % 3 {
            0 => lease.answered(Duration::ZERO),
            1 => {
                tokio::task::yield_now().await;
                drop(lease);
            }
            _ => drop(lease),
        }
    }
    served
}

#[test]
fn every_place_comes_back_whoever_gives_up_and_whoever_dies() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = server(dir.path().join("scratch"));
        let keeper = tokio::spawn(supervise::run(Arc::clone(&server)));
        let lane = Arc::clone(server.lane(Era::Legacy));
        until("all workers are ready", &lane, |v| v.members == 3).await;
        let callers: Vec<_> = (0..CALLERS)
            .map(|number| tokio::spawn(caller(Arc::clone(&lane), number)))
            .collect();
        let killer = {
            let lane = Arc::clone(&lane);
            tokio::spawn(async move {
                let mut deaths = 0_u64;
                loop {
                    if let Some(member) = lane.members().first() {
                        let pid = member.status().pid;
                        let pid = Pid::from_raw(i32::try_from(pid).unwrap());
                        deaths += u64::from(kill(pid, Signal::SIGKILL).is_ok());
                    }
                    sleep(Duration::from_millis(40 + deaths % 30)).await;
                }
            })
        };
        let mut served = 0;
        for one in callers {
            served += timeout(PATIENCE, one).await.unwrap().unwrap();
        }
        killer.abort();
        assert!(served > CALLERS, "hardly anybody was served: {served}");
        until("everything is as in the beginning", &lane, |v| {
            v.members == 3 && v.idle == 3 && v.in_flight == 0 && v.waiting == 0
        })
        .await;
        // Every place can be taken again, and none more than there are.
        let all: Vec<_> = (0..6)
            .map(|_| lane.try_acquire(&Want::default()).unwrap())
            .collect();
        assert!(lane.try_acquire(&Want::default()).is_none());
        drop(all);
        assert_eq!(lane.view().in_flight, 0);
        server.stop();
        timeout(PATIENCE, keeper).await.unwrap().unwrap();
    });
}
