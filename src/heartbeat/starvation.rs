//! Whether the machine leaves the daemon time to run. A thread that waits for a processor, or a
//! machine where nothing moves because of its disks, makes parts silent that are not stuck; a
//! restart would only make it worse.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

/// Reads the waiting times of the thread that made it, and of the machine. The files are opened
/// once; reading them allocates nothing.
#[derive(Debug)]
pub(super) struct Meter {
    schedstat: Option<File>,
    io: Option<File>,
    /// Nanoseconds this thread has waited for a processor so far.
    waited: u64,
    /// Microseconds in which all that had work to do waited for disks.
    stalled: u64,
    looked: Instant,
    /// What was found holds until then.
    until: Option<Instant>,
}

impl Meter {
    /// For the calling thread. What the kernel does not tell is taken for no waiting.
    pub(super) fn new() -> Self {
        let mut meter = Self {
            schedstat: File::open("/proc/thread-self/schedstat").ok(),
            io: File::open("/proc/pressure/io").ok(),
            waited: 0,
            stalled: 0,
            looked: Instant::now(),
            until: None,
        };
        meter.waited = meter.read_waited().unwrap_or(0);
        meter.stalled = meter.read_stalled().unwrap_or(0);
        meter
    }

    /// Whether more than half of the time since the last look was no time to run, now or within
    /// `memory`. `pause` is how long the thread meant to sleep: it that sleeps much longer was not
    /// woken, or the process was stopped.
    pub(super) fn look(&mut self, now: Instant, pause: Duration, memory: Duration) -> bool {
        let gap = now.saturating_duration_since(self.looked);
        self.looked = now;
        let waited = self.read_waited().unwrap_or(self.waited);
        let stalled = self.read_stalled().unwrap_or(self.stalled);
        let waiting = Duration::from_nanos(waited.saturating_sub(self.waited));
        let stalling = Duration::from_micros(stalled.saturating_sub(self.stalled));
        (self.waited, self.stalled) = (waited, stalled);
        let overslept = gap.saturating_sub(pause);
        if overslept.max(waiting).max(stalling) > gap / 2 {
            self.until = Some(now + memory);
        }
        self.until.is_some_and(|until| now < until)
    }

    fn read_waited(&self) -> Option<u64> {
        let mut buffer = [0; 256];
        number(read(self.schedstat.as_ref()?, &mut buffer)?, b" ")
    }

    fn read_stalled(&self) -> Option<u64> {
        let mut buffer = [0; 256];
        let text = read(self.io.as_ref()?, &mut buffer)?;
        let full = text.windows(5).position(|w| w == b"full ")?;
        number(&text[full..], b"total=")
    }
}

fn read<'b>(file: &File, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let length = file.read_at(buffer, 0).ok()?;
    buffer.get(..length)
}

/// The number behind the first `mark`.
fn number(text: &[u8], mark: &[u8]) -> Option<u64> {
    let at = text.windows(mark.len()).position(|w| w == mark)?;
    let digits = text[at + mark.len()..].iter();
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    digits.fold(None, |sum: Option<u64>, digit| {
        let digit = u64::from(digit - b'0');
        Some(sum.unwrap_or(0).saturating_mul(10).saturating_add(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(500);

    fn files(schedstat: &str, io: &str) -> (tempfile::TempDir, Meter) {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            File::open(path).ok()
        };
        let mut meter = Meter::new();
        meter.schedstat = make("schedstat", schedstat);
        meter.io = make("io", io);
        meter.waited = meter.read_waited().unwrap();
        meter.stalled = meter.read_stalled().unwrap();
        (dir, meter)
    }

    fn pressure(total: u64) -> String {
        let some = "some avg10=99.00 avg60=99.00 avg300=99.00 total=123456789";
        format!("{some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={total}\n")
    }

    #[test]
    fn waiting_for_more_than_half_of_the_time_is_starvation_and_is_remembered() {
        for (schedstat, io, starved) in [
            ("9 1000000000 7\n", 0, false),
            ("9 1240000000 7\n", 240_000, false),
            ("9 1260000000 7\n", 0, true),
            ("9 1000000000 7\n", 260_000, true),
        ] {
            let (dir, mut meter) = files("5 1000000000 6\n", &pressure(0));
            std::fs::write(dir.path().join("schedstat"), schedstat).unwrap();
            std::fs::write(dir.path().join("io"), pressure(io)).unwrap();
            let now = meter.looked + PAUSE;
            assert_eq!(
                meter.look(now, PAUSE, 2 * PAUSE),
                starved,
                "{schedstat} {io}"
            );
            assert_eq!(meter.look(now + PAUSE, PAUSE, 2 * PAUSE), starved);
            assert!(!meter.look(now + 2 * PAUSE, PAUSE, 2 * PAUSE));
        }
    }

    #[test]
    fn a_thread_that_was_stopped_does_not_blame_the_others() {
        let mut meter = Meter::new();
        let start = meter.looked;
        assert!(!meter.look(start + PAUSE, PAUSE, PAUSE));
        assert!(meter.look(start + 3 * PAUSE + PAUSE / 4, PAUSE, PAUSE));
    }

    #[test]
    fn the_kernel_tells_of_this_thread() {
        let meter = Meter::new();
        // Kernels without it do not starve anybody; this one is where the tests run.
        if let Some(file) = &meter.schedstat {
            let mut buffer = [0; 256];
            assert!(read(file, &mut buffer).is_some());
            assert!(meter.read_waited().is_some());
        }
    }
}
