//! What kinds of events there are: the name of each, its MESSAGE_ID in the journal, and which events
//! are of it. One table; an event that is not in it does not compile. Names and ids are fixed for
//! ever: filters, alerts and `systemd/mainstay.catalog` go by them. What happened to whom is in
//! `identity.rs`.

use super::event::Event;

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// A stable name for filters, such as `worker_died`.
    pub name: &'static str,
    /// 128 random bits as 32 lower-case hexadecimal digits: `MESSAGE_ID=` of the journal.
    pub message_id: &'static str,
}

macro_rules! kinds {
    ($($name:literal, $id:literal: $pattern:pat,)+) => {
        /// All kinds, each once.
        pub const KINDS: &[Kind] = &[$(Kind { name: $name, message_id: $id }),+];

        impl Event {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self {
                    $($pattern => Kind { name: $name, message_id: $id },)+
                }
            }
        }
    };
}

// New ids: `systemd-id128 new`. Each needs its text in systemd/mainstay.catalog.
kinds! {
    "daemon_started", "edb302ec0903431e834584c98a2450a1": Event::DaemonStarted { .. },
    "daemon_stopping", "163bebf1f24e4b1cabac93c47d16194d": Event::DaemonStopping { .. },
    "config_reloaded", "de46711f169a4c919ea0ace2467288c4": Event::ConfigReloaded { .. },
    "config_rejected", "5e1cf583bfa1447b8a83236b9c70aa32": Event::ConfigRejected { .. },
    "worker_started", "91b96b3d020e4ad99f9236a3e16425f7": Event::WorkerStarted { .. },
    "worker_ready", "4e18a25954714fe3a6d18df3b23a3cf6": Event::WorkerReady { .. },
    "worker_exited", "425b34e8ae764b7fb0a6e2dcdc9f5c5e": Event::WorkerExited { expected: true, .. },
    "worker_died", "d46476aaf6be4e278e725ff063418035": Event::WorkerExited { .. },
    "worker_recycled", "390aab63d930428b8da7581a54f524f2": Event::WorkerRecycled { .. },
    "worker_junk", "560b8b59de934ef78930031b92924040": Event::WorkerJunk { .. },
    "oversize_frame", "67cbce50e9cc4d2ab49592f170fbd857": Event::OversizeFrame { .. },
    "server_up", "81c044eff1874533a15d393b1120d867": Event::ServerUp { .. },
    "server_down", "43ba508d20e644f088bab18b3da81ee6": Event::ServerDown { .. },
    "era_found", "66db6f334a6a4a5e976176fa017f573e": Event::EraFound { .. },
    "sessions_evicted", "a3715473175045d18c3074c3bc3cc041": Event::SessionsEvicted { .. },
    "calls_refused", "81772ac744c24fa6ab51fc664aa1d76c": Event::CallsRefused { .. },
    "breaker_opened", "88f8dd760a4943fd91d0791f93982315": Event::BreakerChanged { to: "open", .. },
    "breaker_probing", "79b694d4149d418f99c8b370738eef48": Event::BreakerChanged { to: "half_open", .. },
    "breaker_closed", "a6ee444ef6c54282a8bf45a89c08071f": Event::BreakerChanged { .. },
    "breaker_set", "e2ec8408445b4c2ca1ab6fa2b51f392f": Event::BreakerSet { .. },
    "worker_stuck", "b365bc7b8fe646db8c28d2d07f5d6820": Event::WorkerStuck { .. },
    "calls_retried", "ed6aecb8fd4d4f96870c9fe613fc44ed": Event::CallsRetried { .. },
    "poison_quarantined", "4152f2339c59442595b0c4fd9c25d232": Event::CallQuarantined { .. },
    "quarantine_cleared", "141dc57a8ef94a11936499269ff03d04": Event::QuarantineCleared { .. },
    "shed_started", "1b1552ad74f84cbebc3e5219553752bc": Event::ShedStarted { .. },
    "shed_ended", "22c110cb5c2247e99faa5eb1c62c6ccc": Event::ShedEnded { .. },
    "memory_soft", "3d678d822c9c4b11b844253c944037af": Event::MemorySoft { .. },
    "memory_hard", "ec75c8a452a44740bd0ce99f42c10d93": Event::MemoryHard { .. },
    "worker_oom", "7de8cecf92dd470fbb58eff7891eaaa9": Event::WorkerOom { .. },
    "leak_found", "ab3a554527aa40b9bb2bd0f0c4fe9b7a": Event::LeakFound { .. },
    "own_memory_well", "83b30f2875fc4f6abce278e125afd007": Event::OwnMemory { level: 0, .. },
    "own_memory_short", "29b79139cd064be58182a591001c4b6e": Event::OwnMemory { .. },
    "rung_reached", "ac2efd69dd9647a4ad22f99812334908": Event::RungReached { .. },
    "server_drained", "9ed4803cf0ab47e28c8a94b294541820": Event::ServerDrained { .. },
    "watchdog_soft", "a8f2f9dd795540c1b0db11e96d9d74a1": Event::PartSilent { .. },
    "watchdog_triggered", "e475bdba84eb40b0a70bcc269a7ee63a": Event::WatchdogTriggered { .. },
    "watchdog_starved", "adf7cb1478b647679ce27808e53f7640": Event::PartStarved { .. },
    "watchdog_recovered", "673190f38e604d7496d801e961b22732": Event::PartMoves { .. },
    "log_dropped", "a77c2b992fbb4aac8b4f5aca428ead63": Event::LogDropped { .. },
}

impl Event {
    /// A stable name for filters.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind().name
    }

    /// The `MESSAGE_ID=` of its kind in the journal.
    #[must_use]
    pub fn message_id(&self) -> &'static str {
        self.kind().message_id
    }
}
