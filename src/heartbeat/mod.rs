//! The heartbeat to the service manager: sent by a thread of its own, only while every vital part
//! of the daemon moves. It watches and tells; what a part does is not its matter, and how long it may
//! be silent is `policy/liveness.rs`'s.
//!
//! The thread allocates nothing, takes no lock and touches no disk once it runs, so nothing that can
//! stop the others stops it: `thread`. What it finds is put into words by another thread
//! (`teller`), for the log may be what is stuck. `canary` are the tasks that show that the
//! runtime, its timers, the listener and the queues do their work.

mod canary;
mod starvation;
mod teller;
mod thread;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::broker::catalog::Catalog;
use crate::observe::pulse;
use crate::sys::notify::{Socket, watchdog_interval};

/// Without a service manager that waits for heartbeats, parts are watched as if it waited this long.
const USUAL: Duration = Duration::from_secs(10);
/// How long the end of the daemon waits for a probe that is under way.
const LAST_PROBE: Duration = Duration::from_secs(2);

/// The beating heart; dropped, it stops.
#[derive(Debug)]
pub struct Heart {
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::Thread>,
    stopping: watch::Sender<bool>,
    acceptor: Option<JoinHandle<()>>,
    _canaries: JoinSet<()>,
}

/// Starts to watch, within the runtime that is to be watched, and to send heartbeats if the service
/// manager wants them. `address` is where the daemon listens.
#[must_use]
pub fn start(catalog: Arc<Catalog>, address: Option<SocketAddr>) -> Heart {
    let wanted = watchdog_interval();
    let interval = wanted.unwrap_or(USUAL);
    let socket = wanted.and_then(|_| Socket::from_environment());
    let mut canaries = JoinSet::new();
    canaries.spawn(canary::timers());
    canaries.spawn(canary::dispatcher(catalog));
    let (stopping, told) = watch::channel(false);
    let acceptor = address.map(|address| tokio::spawn(canary::acceptor(address, interval, told)));
    let ended = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Handle::current().metrics();
    let watch = thread::Watch::new(runtime, interval, socket, Arc::clone(&ended));
    let begun = teller::start(interval).and_then(|reports| {
        let thread = std::thread::Builder::new().name("heartbeat".into());
        thread.spawn(move || watch.run(&reports))
    });
    let thread = match begun {
        Ok(handle) => Some(handle.thread().clone()),
        Err(error) => {
            log::error!(
                "no thread for the heartbeat: {error}; the service manager will restart mainstayd \
                 if WatchdogSec= is set"
            );
            None
        }
    };
    Heart {
        ended,
        thread,
        stopping,
        acceptor,
        _canaries: canaries,
    }
}

impl Heart {
    /// The daemon stops and will accept nothing any more, which is no fault. To be awaited while it
    /// still accepts: a probe that is under way is answered first.
    pub async fn stopping(&mut self) {
        pulse::ACCEPTOR.retire();
        self.stopping.send_replace(true);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = timeout(LAST_PROBE, acceptor).await;
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}
