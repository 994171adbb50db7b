//! What the daemon has of the machine, found once at its start, for the views. It decides nothing by
//! it: each part finds out for itself what it can do.

use std::path::Path;
use std::time::Duration;

use crate::broker::snapshot::Host;
use crate::config::{Program, Server};
use crate::sys::cgroup::Standing;
use crate::sys::{confine, fence};

/// Where the kernel tells of memory pressure.
const PRESSURE: &str = "/proc/pressure/memory";

/// Looks at the machine. `service` is whether a service manager started the daemon, `watchdog` how
/// often it wants a sign of life.
#[must_use]
pub fn look(
    servers: &[Server],
    standing: &Standing,
    service: bool,
    watchdog: Option<Duration>,
) -> Host {
    let landlock = fence::abi();
    let host = Host {
        uid: confine::own_user(),
        service,
        landlock,
        unfenced: unfenced(servers.iter(), landlock, service),
        cgroup: standing.to_string(),
        cgroup_advice: standing.advice().map(ToOwned::to_owned),
        pressure: Path::new(PRESSURE).exists(),
        watchdog_ms: watchdog.and_then(|time| u64::try_from(time.as_millis()).ok()),
        open_files: confine::open_files(),
    };
    if service && !host.unfenced.is_empty() {
        warn(&host);
    }
    host
}

/// Names of the servers whose workers run without a fence.
pub fn unfenced<'s>(
    servers: impl Iterator<Item = &'s Server>,
    landlock: Option<u32>,
    service: bool,
) -> Vec<String> {
    servers
        .filter(|server| !matches!(server.program, Program::Upstream(_)))
        .filter(|server| landlock.is_none() || !server.sandbox.landlock.applies(service))
        .map(|server| server.name.clone())
        .collect()
}

/// An operator who has a service expects its workers to be fenced in.
fn warn(host: &Host) {
    let why = match host.landlock {
        None => "this kernel has no landlock (see `mainstayctl doctor`)",
        Some(_) => "their configuration says landlock = \"off\"",
    };
    log::warn!(
        "workers of {} can reach all files of this user: {why}",
        host.unfenced.join(", ")
    );
}
