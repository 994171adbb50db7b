//! How serious an event is and whom it is about. What it is called is in `kind.rs`.

use super::event::Event;
use super::line::priority;
use log::Level;

impl Event {
    /// How serious it is: an error needs somebody, a warning may, the rest is the normal life.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::ServerDown { .. } | Self::WorkerOom { .. } | Self::ConfigRejected { .. } => {
                Level::Error
            }
            Self::ConfigReloaded { restart, .. } if !restart.is_empty() => Level::Warn,
            Self::OwnMemory { level: 0, .. } => Level::Info,
            Self::BreakerChanged { to: "open", .. }
            | Self::BreakerSet { .. }
            | Self::WorkerStuck { .. }
            | Self::CallQuarantined { .. }
            | Self::ShedStarted { .. }
            | Self::MemorySoft { .. }
            | Self::MemoryHard { .. }
            | Self::LeakFound { .. }
            | Self::OwnMemory { .. }
            | Self::RungReached { .. }
            | Self::ServerDrained { .. } => Level::Warn,
            Self::BreakerChanged { .. }
            | Self::QuarantineCleared { .. }
            | Self::ShedEnded { .. } => Level::Info,
            Self::CallsRetried { .. } => Level::Debug,
            Self::LogDropped { .. } | Self::PartSilent { .. } | Self::PartStarved { .. } => {
                Level::Warn
            }
            Self::WatchdogTriggered { .. } => Level::Error,
            Self::PartMoves { .. } => Level::Info,
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

    /// The same as a priority of syslog(3), which has one more: 5, the turns in the normal life.
    #[must_use]
    pub fn priority(&self) -> u8 {
        let is_turn = matches!(
            self,
            Self::DaemonStarted { .. }
                | Self::DaemonStopping { .. }
                | Self::ServerUp { .. }
                | Self::BreakerChanged { .. }
                | Self::QuarantineCleared { .. }
                | Self::ShedEnded { .. }
        );
        match self.level() {
            Level::Info if is_turn => 5,
            level => priority(level),
        }
    }

    /// The server it is about, and the number and process id of the worker, where it is about one.
    #[must_use]
    pub fn subject(&self) -> (Option<&str>, Option<u64>, Option<u32>) {
        match self {
            Self::DaemonStarted { .. }
            | Self::DaemonStopping { .. }
            | Self::ConfigReloaded { .. }
            | Self::ConfigRejected { .. }
            | Self::PartSilent { .. }
            | Self::WatchdogTriggered { .. }
            | Self::PartStarved { .. }
            | Self::PartMoves { .. }
            | Self::LogDropped { .. }
            | Self::OwnMemory { .. } => (None, None, None),
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
            }
            | Self::WorkerOom {
                server,
                worker,
                pid,
                ..
            }
            | Self::LeakFound {
                server,
                worker,
                pid,
                ..
            } => (Some(server), Some(*worker), Some(*pid)),
            Self::WorkerRecycled { server, worker, .. }
            | Self::WorkerJunk { server, worker, .. }
            | Self::CallsRetried { server, worker, .. }
            | Self::CallQuarantined { server, worker, .. }
            | Self::OversizeFrame { server, worker, .. } => (Some(server), Some(*worker), None),
            Self::ServerUp { server, .. }
            | Self::ServerDown { server, .. }
            | Self::EraFound { server, .. }
            | Self::SessionsEvicted { server, .. }
            | Self::CallsRefused { server, .. }
            | Self::BreakerChanged { server, .. }
            | Self::BreakerSet { server, .. }
            | Self::QuarantineCleared { server, .. }
            | Self::ShedStarted { server, .. }
            | Self::ShedEnded { server, .. }
            | Self::MemorySoft { server, .. }
            | Self::RungReached { server, .. }
            | Self::ServerDrained { server, .. } => (Some(server), None, None),
        }
    }
}
