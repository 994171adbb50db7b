//! `[limits]` and `[servers.NAME.limits]`: what each worker may have. Their keys, their ranges, and
//! what follows from the memory of the server where nothing is written.

use super::Rlimits;
use super::guard::{LARGEST_MEMORY, SMALLEST_MEMORY};
use super::model::worker_memory;
use super::section::LARGEST_BUFFER;
use super::table::Table;
use super::value::format_size;
use crate::policy::memory;

/// Below this no interpreter starts.
const FEWEST_FILES: u64 = 16;
/// The kernel's own ceiling (`fs.nr_open` may go up to about this).
const MOST_FILES: u64 = 1 << 30;
/// The kernel's ceiling of processes and threads.
const MOST_PIDS: u64 = 1 << 22;
/// The kernel's range of `cpu.weight`.
const WEIGHTS: std::ops::RangeInclusive<u64> = 1..=10_000;

/// Limits as they are written.
#[derive(Clone, Default)]
pub(super) struct ReadLimits {
    limits: Rlimits,
    /// Written in `[limits]` or here.
    memory: Option<u64>,
}

/// `[limits]`; what is not written is taken from `base`.
pub(super) fn limits(table: &Table<'_>, base: &ReadLimits) -> ReadLimits {
    let ReadLimits { mut limits, memory } = base.clone();
    let files = FEWEST_FILES..=MOST_FILES;
    table.count("open_files", files, &mut limits.open_files);
    table.size("core_bytes", 0..=LARGEST_BUFFER, &mut limits.core_bytes);
    table.optional_count("processes", &mut limits.processes);
    let range = SMALLEST_MEMORY..=LARGEST_MEMORY;
    let written = table.size("memory", range, &mut limits.memory);
    let mut pids = limits.pids.unwrap_or_default();
    table.count("pids", 0..=MOST_PIDS, &mut pids);
    limits.pids = (pids > 0).then_some(pids);
    table.count("cpu_weight", WEIGHTS, &mut limits.cpu_weight);
    table.finish();
    ReadLimits {
        memory: written.map_or(memory, |_| Some(limits.memory)),
        limits,
    }
}

/// `[servers.NAME.limits]` of a server with this memory.
pub(super) fn server_limits(
    table: &Table<'_>,
    base: &ReadLimits,
    server: &memory::Limits,
) -> Rlimits {
    let ReadLimits { mut limits, memory } = limits(table, base);
    let hard = server.hard_limit;
    limits.memory = memory.unwrap_or_else(|| worker_memory(server)).min(hard);
    // What holds for all servers is cut down to what this one may use; what is written here is not
    // silently changed.
    if let (Some(item), true) = (table.find("memory"), memory > Some(hard)) {
        item.wrong(format!(
            "is more than memory.hard_limit, {}, which all workers of the server share; lower it \
             or raise that",
            format_size(hard)
        ));
    }
    limits
}
