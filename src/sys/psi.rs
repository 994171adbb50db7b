//! Pressure stall information: how long tasks waited for memory, as the kernel tells it for a control
//! group or the whole machine, and triggers that wake whoever waits for a threshold. What follows from
//! a stall is decided elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Which tasks have to wait for a moment to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// At least one.
    Some,
    /// All that could run: nothing is done in that time.
    Full,
}

/// When a trigger fires: so much waiting within so much time. It fires at most once a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Whose waiting counts.
    pub share: Share,
    /// Waiting in all; less than the window.
    pub stall: Duration,
    /// The time it is counted over. Who is not privileged may only name multiples of 2 s.
    pub window: Duration,
}

impl Threshold {
    /// The line the kernel wants. It overwrites the last byte it is given, so that byte is spare.
    fn line(&self) -> String {
        let share = match self.share {
            Share::Some => "some",
            Share::Full => "full",
        };
        let (stall, window) = (self.stall.as_micros(), self.window.as_micros());
        format!("{share} {stall} {window}\n")
    }
}

/// An armed trigger. The kernel forgets it when this is dropped.
#[derive(Debug)]
pub struct Trigger(AsyncFd<File>);

impl Trigger {
    /// Arms a trigger on a pressure file, such as the `memory.pressure` of a group or
    /// `/proc/pressure/memory`. To be called inside a runtime.
    ///
    /// # Errors
    /// There is no such file, it is not ours to write, the kernel keeps no pressure figures, or it
    /// refuses the threshold (a window without the privilege for it).
    pub fn arm(path: &Path, threshold: &Threshold) -> io::Result<Self> {
        Self::arm_with(path, threshold.line().as_bytes())
    }

    /// The same with a line that somebody else has composed.
    ///
    /// # Errors
    /// As [`Trigger::arm`].
    pub(super) fn arm_with(path: &Path, line: &[u8]) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        // In one write: a second one is refused, there is one trigger a descriptor.
        file.write_all(line)?;
        let interest = Interest::PRIORITY | Interest::ERROR;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for owners whose descriptor may change; a File's never does"
        )]
        let watched = AsyncFd::with_interest(file, interest)?;
        Ok(Self(watched))
    }

    /// Waits until the threshold is reached; cancel safe. Fires again while the pressure lasts.
    ///
    /// # Errors
    /// The group is gone, and nothing will ever be told again.
    pub async fn fired(&self) -> io::Result<()> {
        let interest = Interest::PRIORITY | Interest::ERROR;
        let mut guard = self.0.ready(interest).await?;
        let ready = guard.ready();
        guard.clear_ready();
        if ready.is_error() {
            return Err(io::Error::other("the pressure file is gone"));
        }
        Ok(())
    }
}

/// How much waiting there was lately.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stalls {
    /// Percent of the last 10 s in which at least one task waited.
    pub some_avg10: f64,
    /// Percent of the last 10 s in which all tasks waited.
    pub full_avg10: f64,
}

/// Reads a pressure file.
///
/// # Errors
/// It cannot be read, or is none.
pub fn read(path: &Path) -> io::Result<Stalls> {
    let text = fs::read_to_string(path)?;
    parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no pressure figures"))
}

fn parse(text: &str) -> Option<Stalls> {
    let avg10 = |share: &str| {
        let mut words = text.lines().find_map(|line| line.strip_prefix(share))?;
        words = words.trim_start().strip_prefix("avg10=")?;
        words.split_whitespace().next()?.parse::<f64>().ok()
    };
    Some(Stalls {
        some_avg10: avg10("some")?,
        // Not there for the CPU of the whole machine on older kernels.
        full_avg10: avg10("full").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "/proc/pressure/memory";
    const WARN: Threshold = Threshold {
        share: Share::Some,
        stall: Duration::from_millis(150),
        window: Duration::from_secs(2),
    };

    #[test]
    fn figures_are_read() {
        let text = "some avg10=12.34 avg60=0.10 avg300=0.00 total=6066385\n\
                    full avg10=1.50 avg60=0.00 avg300=0.00 total=4057734\n";
        let stalls = parse(text).unwrap();
        assert_eq!((stalls.some_avg10, stalls.full_avg10), (12.34, 1.5));
        let some = "some avg10=0.00 avg60=0.10 avg300=0.00 total=6066385\n";
        assert_eq!(parse(some), Some(Stalls::default()));
        for junk in [
            "",
            "some",
            "some avg10=",
            "some avg10=x y",
            "full avg10=1.0",
        ] {
            assert_eq!(parse(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn a_threshold_is_a_line_with_a_byte_to_spare() {
        assert_eq!(WARN.line(), "some 150000 2000000\n");
        let kill = Threshold {
            share: Share::Full,
            stall: Duration::from_secs(1),
            ..WARN
        };
        assert_eq!(kill.line(), "full 1000000 2000000\n");
    }

    #[tokio::test]
    async fn the_kernel_takes_the_threshold_and_waits() {
        let Ok(trigger) = Trigger::arm(Path::new(MACHINE), &WARN) else {
            let _ = writeln!(
                io::stderr(),
                "NOT RUN: this kernel takes no trigger on {MACHINE}"
            );
            return;
        };
        let soon = tokio::time::timeout(Duration::from_millis(50), trigger.fired()).await;
        assert!(matches!(soon, Err(_) | Ok(Ok(()))), "{soon:?}");
        let odd = Threshold {
            window: Duration::from_millis(1),
            ..WARN
        };
        let refused = Trigger::arm(Path::new(MACHINE), &odd).map(|_| ());
        assert!(refused.is_err(), "stall above the window");
    }

    #[tokio::test]
    async fn what_is_no_pressure_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        fs::write(&plain, "").unwrap();
        assert!(Trigger::arm(&plain, &WARN).is_err());
        assert!(Trigger::arm(&dir.path().join("none"), &WARN).is_err());
        assert!(read(&plain).is_err());
    }
}
