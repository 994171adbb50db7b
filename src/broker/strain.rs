//! What the daemon gives up when it is told that memory is short for itself: what it keeps for
//! convenience, then less important work, then idle connections. How far it goes says
//! `policy/strain.rs`; who tells it, `sys/pressure.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::catalog::Catalog;
use super::server::Server;
use crate::observe::event::{Event, emit};
use crate::policy::memory::Stall;
use crate::policy::strain::{Level, Strain};
use crate::sys::pressure::Watch;

/// Words that come faster than this say nothing new.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens until nothing will be told any more, and keeps the servers and the connections informed:
/// `thin` changes whenever idle connections should be closed.
pub async fn run(watch: Watch, catalog: Arc<Catalog>, thin: watch::Sender<u64>) {
    let mut strain = Strain::default();
    let mut deaf = watch.is_off();
    loop {
        let step = match strain.relief() {
            None if deaf => return,
            None => {
                told(&watch, &mut deaf).await;
                (!deaf).then(|| strain.told(Instant::now())).flatten()
            }
            Some(at) => tokio::select! {
                () = told(&watch, &mut deaf), if !deaf => {
                    (!deaf).then(|| strain.told(Instant::now())).flatten()
                }
                () = tokio::time::sleep_until(at.into()) => strain.look(Instant::now()),
            },
        };
        if let Some(level) = step {
            act(level, &catalog, &thin);
        }
        if !deaf {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn told(watch: &Watch, deaf: &mut bool) {
    if let Err(error) = watch.told().await {
        log::warn!("nobody tells the daemon of memory pressure any more: {error}");
        *deaf = true;
    }
}

fn act(level: Level, catalog: &Catalog, thin: &watch::Sender<u64>) {
    emit(&Event::OwnMemory {
        level: level as u8,
        what: level.what(),
    });
    for server in catalog.every() {
        if level > Level::Well {
            for session in server.sessions() {
                session.drop_answered();
            }
        }
        server.strain.store(level as u8, Ordering::Relaxed);
        server.wake();
    }
    if level >= Level::Close {
        thin.send_modify(|count| *count += 1);
    }
}

impl Server {
    /// Whether workers beyond the minimum end at once.
    pub(super) fn is_trimmed(&self) -> bool {
        self.strain.load(Ordering::Relaxed) >= Level::Trim as u8
    }

    /// Why less important calls are refused for the daemon's own sake, if they are.
    pub(super) fn own_shortage(&self) -> Option<&'static str> {
        let short = self.strain.load(Ordering::Relaxed) >= Level::Shed as u8;
        short.then_some("the daemon itself is short of memory")
    }

    /// The kernel tells of a stall of its workers: they are looked at now.
    pub(super) fn stalls(&self, stall: Stall) {
        self.stall.fetch_max(stall as u8, Ordering::Relaxed);
        self.wake();
    }

    /// What was told since the last time.
    pub(super) fn take_stall(&self) -> Stall {
        match self.stall.swap(0, Ordering::Relaxed) {
            0 => Stall::None,
            1 => Stall::Some,
            _ => Stall::Full,
        }
    }
}
