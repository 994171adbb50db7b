//! The daemon behind the admin socket: what it says of the server under load, and whom it has for
//! workers at this moment. The only file that kills, and only those.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mainstay::admin::client::Client;
use mainstay::broker::snapshot::{ServerStatus, Snapshot};
use mainstay::sys::process::kill_process;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::dice::Dice;
use super::tally::Tally;
use super::target::{Address, Target};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A daemon, and the name of the server that is under load.
#[derive(Clone)]
pub(crate) struct Overseer {
    client: Client,
    server: String,
}

/// The default endpoint of a daemon.
pub(crate) fn endpoint(snapshot: &Snapshot) -> Result<Address, String> {
    let listener: Result<SocketAddr, _> = snapshot.listen.parse();
    let listener = listener.map_err(|_| format!("the daemon listens on {}", snapshot.listen))?;
    Ok(Address::at(listener))
}

impl Overseer {
    /// The daemon that serves the target; why it is not this one otherwise.
    pub(crate) fn of(
        client: &Client,
        snapshot: &Snapshot,
        target: &Target,
    ) -> Result<Self, String> {
        let url = target.address.url();
        let listener = snapshot.listen.parse().ok();
        if !listener.is_some_and(|listener| target.is(listener)) {
            return Err(format!(
                "the daemon behind the admin socket listens on {}, so {url} is not its",
                snapshot.listen
            ));
        }
        let name = target.address.server();
        let found = snapshot.servers.iter().find(|server| match name {
            Some(name) => server.name == name,
            None => server.default,
        });
        let server = found.ok_or_else(|| format!("the daemon serves nothing at {url}"))?;
        Ok(Self {
            client: client.clone(),
            server: server.name.clone(),
        })
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    async fn status(&self) -> Option<(Option<u64>, ServerStatus)> {
        let client = self.client.clone();
        let snapshot = spawn_blocking(move || client.status()).await.ok()?.ok()?;
        let mut servers = snapshot.servers.into_iter();
        let server = servers.find(|server| server.name == self.server)?;
        Some((snapshot.memory_bytes, server))
    }

    /// Keeps the peaks of memory until stopped.
    pub(crate) async fn watch(self, tally: Arc<Tally>) {
        loop {
            if let Some((daemon, server)) = self.status().await {
                let workers = server.workers.iter();
                let known: Vec<u64> = workers.filter_map(|worker| worker.memory_bytes).collect();
                let workers = (!known.is_empty()).then(|| known.iter().sum());
                tally.memory(daemon, workers);
            }
            sleep(LOOK).await;
        }
    }

    /// Kills a worker that serves, every now and then, until stopped. An error if that is not
    /// allowed.
    pub(crate) async fn kill(
        self,
        every: Duration,
        tally: Arc<Tally>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), String> {
        let mut dice = Dice::new(0);
        loop {
            tokio::select! {
                () = sleep(every) => {}
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
            let Some((_, server)) = self.status().await else {
                continue;
            };
            let mut serving = server.workers;
            serving.retain(|worker| worker.state == "ready" || worker.state == "busy");
            let Some(victim) = dice.pick(&serving) else {
                continue;
            };
            match kill_process(victim.pid) {
                Ok(true) => tally.fault(),
                // It has just gone by itself.
                Ok(false) => {}
                Err(error) => {
                    return Err(format!(
                        "cannot kill worker {} (pid {}) of {}: {error}; run mainstayctl as root or \
                         as the user mainstayd runs as, or pass --chaos none",
                        victim.id, victim.pid, self.server
                    ));
                }
            }
        }
    }
}
