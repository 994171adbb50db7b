//! The running daemon: whether it answers, how it serves, and what it says it has to do without.

use super::super::facts::{Facts, Socket};
use super::super::finding::Finding;
use mainstay::broker::snapshot::{Health, Host, Snapshot};
use mainstay::sys::fence::SCOPED;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.socket.iter().map(socket).collect();
    let snapshot = match &facts.daemon {
        Ok(snapshot) => snapshot,
        Err(why) => {
            findings.push(Finding::bad(
                "daemon",
                why,
                "if it does not run: systemctl start mainstay, then journalctl -u mainstay",
            ));
            return findings;
        }
    };
    findings.push(version(snapshot));
    findings.push(health(snapshot));
    if let Some(host) = &snapshot.host {
        findings.extend(on(host));
    }
    findings
}

fn socket(socket: &Socket) -> Finding {
    let path = socket.path.display();
    let who = match socket.mode & 0o077 {
        0 => format!("{} (and root)", socket.owner),
        bits if bits & 0o070 != 0 => format!("{} and group {}", socket.owner, socket.group),
        _ => socket.owner.clone(),
    };
    if socket.mode & 0o007 != 0 {
        return Finding::bad(
            "admin socket",
            format!(
                "{path} is open to everybody (mode {:o})",
                socket.mode & 0o777
            ),
            "set SocketMode=0660 in mainstay-control.socket, or chmod it",
        );
    }
    Finding::ok("admin socket", format!("{path} is for {who}"))
}

fn version(snapshot: &Snapshot) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    if snapshot.version == own {
        return Finding::ok("daemon", format!("{own} runs as process {}", snapshot.pid));
    }
    Finding::weak(
        "daemon",
        format!(
            "{} runs, {own} is installed: it was not restarted after an upgrade",
            snapshot.version
        ),
        "systemctl restart mainstay",
    )
}

fn health(snapshot: &Snapshot) -> Finding {
    let reasons: Vec<String> = snapshot
        .servers
        .iter()
        .filter(|server| server.health != Health::Ok)
        .map(|server| match &server.reason {
            Some(reason) => format!("{}: {reason}", server.name),
            None => format!("{} is starting", server.name),
        })
        .collect();
    let mend = "see mainstayctl status and journalctl -u mainstay";
    match snapshot.health {
        Health::Ok => Finding::ok("servers", format!("all {} serve", snapshot.servers.len())),
        Health::Down => Finding::bad("servers", reasons.join("; "), mend),
        Health::Degraded | Health::Starting => Finding::weak("servers", reasons.join("; "), mend),
    }
}

/// What it sees of the machine, which may be less than whoever asks sees.
fn on(host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match &host.cgroup_advice {
        None => Finding::ok("control groups", &host.cgroup),
        Some(advice) => Finding::weak(
            "control groups",
            format!("{}; what is missing cannot limit a worker", host.cgroup),
            advice,
        ),
    });
    findings.push(if host.uid == 0 {
        Finding::weak(
            "user",
            "the daemon is root, and so is every worker",
            "set User=mainstay in the unit, or start it as an ordinary user",
        )
    } else {
        Finding::ok("user", format!("the daemon runs as user {}", host.uid))
    });
    findings.push(fence(host));
    if host.service {
        findings.push(match host.watchdog_ms {
            Some(time) => Finding::ok(
                "watchdog",
                format!("a hanging daemon is restarted after {} s", time / 1000),
            ),
            None => Finding::weak(
                "watchdog",
                "nobody notices when the daemon hangs",
                "set WatchdogSec=10s in the unit",
            ),
        });
    }
    findings
}

fn fence(host: &Host) -> Finding {
    let names = host.unfenced.join(", ");
    match host.landlock {
        None => Finding::weak(
            "fence",
            "the daemon has no landlock: workers reach all files of its user and trace each other",
            "boot a kernel with landlock, and let the three landlock_ system calls through",
        ),
        Some(_) if !host.unfenced.is_empty() && host.service => Finding::weak(
            "fence",
            format!("not fenced in by their configuration: workers of {names}"),
            "remove landlock = \"off\", and open what they need by read_paths and write_paths",
        ),
        Some(_) if !host.unfenced.is_empty() => Finding::weak(
            "fence",
            format!("no service manager started the daemon, so not fenced in: workers of {names}"),
            "run it as a service, or set sandbox = { landlock = \"on\" } for each server",
        ),
        Some(version) if version < SCOPED => Finding::weak(
            "fence",
            format!(
                "workers are fenced in by landlock {version}, but can signal the daemon and each \
                 other"
            ),
            "boot Linux 6.12 or newer (Debian 13)",
        ),
        Some(version) => Finding::ok(
            "fence",
            format!("all workers are fenced in by landlock {version}, signals included"),
        ),
    }
}
