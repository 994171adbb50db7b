//! What an event is called, how serious it is, and whom it is about. Names stay once released.

use super::event::Event;
use log::Level;

impl Event {
    /// A stable name for filters and message ids.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::DaemonStarted { .. } => "daemon_started",
            Self::DaemonStopping { .. } => "daemon_stopping",
            Self::ConfigReloaded { .. } => "config_reloaded",
            Self::ConfigRejected { .. } => "config_rejected",
            Self::WorkerStarted { .. } => "worker_started",
            Self::WorkerReady { .. } => "worker_ready",
            Self::WorkerExited { .. } => "worker_exited",
            Self::WorkerRecycled { .. } => "worker_recycled",
            Self::WorkerJunk { .. } => "worker_junk",
            Self::OversizeFrame { .. } => "oversize_frame",
            Self::ServerUp { .. } => "server_up",
            Self::ServerDown { .. } => "server_down",
            Self::EraFound { .. } => "era_found",
            Self::SessionsEvicted { .. } => "sessions_evicted",
            Self::CallsRefused { .. } => "calls_refused",
            Self::BreakerChanged { to, .. } => match *to {
                "open" => "breaker_opened",
                "half_open" => "breaker_probing",
                _ => "breaker_closed",
            },
            Self::BreakerSet { .. } => "breaker_set",
            Self::WorkerStuck { .. } => "worker_stuck",
            Self::CallsRetried { .. } => "calls_retried",
            Self::CallQuarantined { .. } => "poison_quarantined",
            Self::QuarantineCleared { .. } => "quarantine_cleared",
            Self::ShedStarted { .. } => "shed_started",
            Self::ShedEnded { .. } => "shed_ended",
            Self::MemorySoft { .. } => "memory_soft",
            Self::MemoryHard { .. } => "memory_hard",
            Self::RungReached { .. } => "rung_reached",
            Self::ServerDrained { .. } => "server_drained",
        }
    }

    /// How serious it is: an error needs somebody, a warning may, the rest is the normal life.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::ServerDown { .. } | Self::ConfigRejected { .. } => Level::Error,
            Self::ConfigReloaded { restart, .. } if !restart.is_empty() => Level::Warn,
            Self::BreakerChanged { to: "open", .. }
            | Self::BreakerSet { .. }
            | Self::WorkerStuck { .. }
            | Self::CallQuarantined { .. }
            | Self::ShedStarted { .. }
            | Self::MemorySoft { .. }
            | Self::MemoryHard { .. }
            | Self::RungReached { .. }
            | Self::ServerDrained { .. } => Level::Warn,
            Self::BreakerChanged { .. }
            | Self::QuarantineCleared { .. }
            | Self::ShedEnded { .. } => Level::Info,
            Self::CallsRetried { .. } => Level::Debug,
            Self::WorkerExited {
                expected: false, ..
            }
            | Self::WorkerJunk { .. }
            | Self::OversizeFrame { .. }
            | Self::SessionsEvicted { .. }
            | Self::CallsRefused { .. } => Level::Warn,
            Self::DaemonStarted { .. }
            | Self::DaemonStopping { .. }
            | Self::ConfigReloaded { .. }
            | Self::WorkerReady { .. }
            | Self::WorkerRecycled { .. }
            | Self::ServerUp { .. }
            | Self::EraFound { .. } => Level::Info,
            Self::WorkerStarted { .. } | Self::WorkerExited { .. } => Level::Debug,
        }
    }

    /// The server it is about, and the number and process id of the worker, where it is about one.
    #[must_use]
    pub fn subject(&self) -> (Option<&str>, Option<u64>, Option<u32>) {
        match self {
            Self::DaemonStarted { .. }
            | Self::DaemonStopping { .. }
            | Self::ConfigReloaded { .. }
            | Self::ConfigRejected { .. } => (None, None, None),
            Self::WorkerStarted {
                server,
                worker,
                pid,
                ..
            }
            | Self::WorkerReady {
                server,
                worker,
                pid,
                ..
            }
            | Self::WorkerExited {
                server,
                worker,
                pid,
                ..
            }
            | Self::WorkerStuck {
                server,
                worker,
                pid,
                ..
            }
            | Self::MemoryHard {
                server,
                worker,
                pid,
                ..
            } => (Some(server), Some(*worker), Some(*pid)),
            Self::WorkerRecycled { server, worker, .. }
            | Self::WorkerJunk { server, worker, .. }
            | Self::CallsRetried { server, worker, .. }
            | Self::OversizeFrame { server, worker, .. } => (Some(server), Some(*worker), None),
            Self::ServerUp { server, .. }
            | Self::ServerDown { server, .. }
            | Self::EraFound { server, .. }
            | Self::SessionsEvicted { server, .. }
            | Self::CallsRefused { server, .. }
            | Self::BreakerChanged { server, .. }
            | Self::BreakerSet { server, .. }
            | Self::CallQuarantined { server, .. }
            | Self::QuarantineCleared { server, .. }
            | Self::ShedStarted { server, .. }
            | Self::ShedEnded { server, .. }
            | Self::MemorySoft { server, .. }
            | Self::RungReached { server, .. }
            | Self::ServerDrained { server, .. } => (Some(server), None, None),
        }
    }
}
