//! What becomes of the workers when the daemon has ended: the next daemon can have them, or nobody
//! will. Asked once per end, by the helper that the service manager runs then.

/// What the service manager is about to do with the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Nothing: the daemon ended by itself, so it is restarted unless its status forbids it.
    None,
    /// Start it, so it ended before it was ready.
    Start,
    /// Start it again after the stop that goes on.
    Restart,
    /// Leave it stopped.
    Stop,
    /// Something else, such as reloading it, which starts and stops nothing.
    Other,
    /// The service manager could not be asked.
    Unknown,
}

/// How the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What is to become of the unit.
    pub job: Job,
    /// Its exit status says that starting it again will not help: usage, configuration.
    pub hopeless: bool,
    /// The service manager calls the whole run a success.
    pub success: bool,
}

/// What becomes of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// They stay, for the next daemon.
    Keep,
    /// They are killed.
    Kill,
}

/// The rule.
#[must_use]
pub fn workers(ending: Ending) -> Workers {
    let next_daemon = match ending.job {
        _ if ending.hopeless => false,
        Job::None | Job::Start | Job::Restart | Job::Other => true,
        Job::Stop => false,
        // A crash is followed by a restart; a clean end mostly was a stop.
        Job::Unknown => !ending.success,
    };
    match next_daemon {
        true => Workers::Keep,
        false => Workers::Kill,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Workers::{Keep, Kill};

    #[test]
    fn workers_stay_where_a_daemon_follows() {
        let table = [
            (
                "kill -9, watchdog, out of memory",
                Job::None,
                false,
                false,
                Keep,
            ),
            (
                "ended by a signal of somebody",
                Job::None,
                false,
                true,
                Keep,
            ),
            ("crash before READY", Job::Start, false, false, Keep),
            (
                "bad usage or configuration at the start",
                Job::Start,
                true,
                false,
                Kill,
            ),
            (
                "the same at an automatic restart",
                Job::None,
                true,
                false,
                Kill,
            ),
            (
                "systemctl restart, upgrade",
                Job::Restart,
                false,
                true,
                Keep,
            ),
            (
                "restart after a stop timeout",
                Job::Restart,
                false,
                false,
                Keep,
            ),
            ("systemctl stop, shutdown", Job::Stop, false, true, Kill),
            (
                "the same after a stop timeout",
                Job::Stop,
                false,
                false,
                Kill,
            ),
            (
                "the bus cannot be asked, crash",
                Job::Unknown,
                false,
                false,
                Keep,
            ),
            (
                "the bus cannot be asked, clean end",
                Job::Unknown,
                false,
                true,
                Kill,
            ),
            (
                "the bus cannot be asked, bad configuration",
                Job::Unknown,
                true,
                false,
                Kill,
            ),
            ("a reload goes on", Job::Other, false, false, Keep),
        ];
        for (what, job, hopeless, success, expected) in table {
            let ending = Ending {
                job,
                hopeless,
                success,
            };
            assert_eq!(workers(ending), expected, "{what}");
        }
    }
}
