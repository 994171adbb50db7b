//! The machine: kernel, control groups, pressure, memory.

use super::super::facts::{Facts, Hierarchy, Machine, Unit};
use super::super::finding::Finding;
use super::size;
use mainstay::config::{Config, Program};
use mainstay::sys::fence::SCOPED;

/// What a worker is limited by.
const WANTED: [&str; 3] = ["memory", "pids", "cpu"];

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let machine = &facts.machine;
    let mut findings = Vec::new();
    if let Some(kernel) = &machine.kernel {
        findings.push(Finding::ok("kernel", format!("Linux {kernel}")));
    }
    let daemon = facts.daemon.as_ref().ok();
    if daemon.is_none_or(|snapshot| snapshot.host.is_none()) {
        // Otherwise the daemon says what it has of it.
        findings.push(landlock(machine.landlock));
    }
    findings.push(hierarchy(&machine.cgroup));
    findings.push(if machine.pressure {
        Finding::ok("pressure", "the kernel tells of memory pressure (PSI)")
    } else {
        Finding::weak(
            "pressure",
            "the kernel does not tell of memory pressure (PSI): memory is looked at once a second only",
            "add psi=1 to the kernel's command line",
        )
    });
    if let Some(swap) = machine.swap {
        findings.push(Finding::ok(
            "swap",
            if swap == 0 {
                "none: memory that runs out is fatal at once, so limits matter".to_owned()
            } else {
                format!("{}; workers with a control group do not use it", size(swap))
            },
        ));
    }
    if let Some(config) = facts.config.good() {
        findings.extend(memory(config, machine, &facts.systemd.unit));
    }
    findings
}

fn landlock(version: Option<u32>) -> Finding {
    match version {
        None => Finding::weak(
            "landlock",
            "the kernel has none: workers cannot be fenced in",
            "boot Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK, and landlock in the lsm= of its \
             command line",
        ),
        Some(version) if version < SCOPED => Finding::weak(
            "landlock",
            format!("version {version}: signals of workers cannot be kept in"),
            "boot Linux 6.12 or newer (Debian 13)",
        ),
        Some(version) => Finding::ok("landlock", format!("version {version}")),
    }
}

fn hierarchy(hierarchy: &Hierarchy) -> Finding {
    match hierarchy {
        Hierarchy::Unified(controllers) => {
            let missing: Vec<&str> = WANTED
                .into_iter()
                .filter(|wanted| !controllers.iter().any(|one| one == wanted))
                .collect();
            if missing.is_empty() {
                return Finding::ok("cgroup v2", "there, with memory, pids and cpu");
            }
            Finding::weak(
                "cgroup v2",
                format!(
                    "there, without {}: workers are not limited by it",
                    missing.join(", ")
                ),
                "remove cgroup_disable= from the kernel's command line; in a container, give it \
                 these controllers",
            )
        }
        Hierarchy::Old => Finding::weak(
            "cgroup v2",
            "the machine uses version 1: no limits a worker, memory is looked at once a second",
            "boot with systemd.unified_cgroup_hierarchy=1",
        ),
        Hierarchy::Missing => Finding::weak(
            "cgroup v2",
            "not mounted: no limits a worker, memory is looked at once a second",
            "mount it at /sys/fs/cgroup; in a container, start that with a cgroup namespace",
        ),
    }
}

/// Whether all servers at their hard limits fit.
fn memory(config: &Config, machine: &Machine, unit: &Unit) -> Option<Finding> {
    let limits = config
        .servers
        .iter()
        .filter(|server| !matches!(server.program, Program::Upstream(_)))
        .map(|server| server.memory.hard_limit);
    let wanted: u64 = limits.fold(0, u64::saturating_add);
    let of_unit = match unit {
        Unit::Loaded(properties) => properties.get("MemoryMax").and_then(|max| max.parse().ok()),
        Unit::Unknown(_) | Unit::Absent => None,
    };
    let (budget, whose) = [
        (of_unit, "MemoryMax= of the unit"),
        (machine.budget, "the memory of this container"),
        (machine.memory, "the memory of this machine"),
    ]
    .into_iter()
    .filter_map(|(bytes, whose)| Some((bytes?, whose)))
    .min()?;
    let sum = format!(
        "hard limits of all servers: {}; {whose}: {}",
        size(wanted),
        size(budget)
    );
    if wanted <= budget {
        return Some(Finding::ok("memory", sum));
    }
    Some(Finding::weak(
        "memory",
        format!("{sum}: the kernel may kill before a limit is reached"),
        "lower memory.hard_limit (and soft_limit) of the servers, or give more memory",
    ))
}
