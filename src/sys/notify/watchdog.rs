//! Whether the service manager wants heartbeats, and how often.

use std::time::Duration;

/// How long the manager waits for a heartbeat before it ends the daemon; `None` if it does not
/// wait for one, or waits for another process.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    let variable = |name: &str| std::env::var_os(name)?.into_string().ok();
    interval(
        variable("WATCHDOG_USEC").as_deref(),
        variable("WATCHDOG_PID").as_deref(),
        std::process::id(),
    )
}

fn interval(micros: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let meant = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let micros = micros?.parse().ok().filter(|micros| *micros > 0)?;
    meant.then_some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_for_this_process_counts() {
        let ten = Some(Duration::from_secs(10));
        assert_eq!(interval(Some("10000000"), Some("7"), 7), ten);
        assert_eq!(interval(Some("10000000"), None, 7), ten);
        for (micros, pid) in [
            (Some("10000000"), Some("8")),
            (Some("10000000"), Some("")),
            (Some("0"), Some("7")),
            (Some("soon"), None),
            (None, Some("7")),
        ] {
            assert_eq!(interval(micros, pid, 7), None, "{micros:?} {pid:?}");
        }
    }
}
