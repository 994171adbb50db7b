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
    /// The time that counts. One hiccup is not starvation, or it would hide a deadlock.
    window: Duration,
    /// What of the window was no time to run; what is older counts less and less.
    lost: Duration,
}

impl Meter {
    /// For the calling thread. What the kernel does not tell is taken for no waiting.
    pub(super) fn new(window: Duration) -> Self {
        let mut meter = Self {
            schedstat: File::open("/proc/thread-self/schedstat").ok(),
            io: File::open("/proc/pressure/io").ok(),
            waited: 0,
            stalled: 0,
            looked: Instant::now(),
            window,
            lost: Duration::ZERO,
        };
        meter.waited = meter.read_waited().unwrap_or(0);
        meter.stalled = meter.read_stalled().unwrap_or(0);
        meter
    }

    /// Whether more than half of the window was no time to run. `pause` is how long the thread meant to
    /// sleep: it that sleeps much longer was not woken, or the process was stopped.
    pub(super) fn look(&mut self, now: Instant, pause: Duration) -> bool {
        let gap = now.saturating_duration_since(self.looked);
        self.looked = now;
        let waited = self.read_waited().unwrap_or(self.waited);
        let stalled = self.read_stalled().unwrap_or(self.stalled);
        let waiting = Duration::from_nanos(waited.saturating_sub(self.waited));
        let stalling = Duration::from_micros(stalled.saturating_sub(self.stalled));
        (self.waited, self.stalled) = (waited, stalled);
        let overslept = gap.saturating_sub(pause);
        let lost = self.lost + overslept.max(waiting).max(stalling).min(gap);
        // The window and this gap, as long as the window again.
        let share = self.window.as_secs_f64() / (self.window + gap).as_secs_f64();
        self.lost = lost.mul_f64(share);
        self.lost > self.window / 2
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

    const WINDOW: Duration = Duration::from_millis(2500);

    fn files(schedstat: &str, io: &str) -> (tempfile::TempDir, Meter) {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            File::open(path).ok()
        };
        let mut meter = Meter::new(WINDOW);
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

    /// Looks every 500 ms for this long, and finds so many hundredths lost each time; what it says at last.
    fn looks(
        meter: &mut Meter,
        dir: &tempfile::TempDir,
        time: Duration,
        cpu: u64,
        io: u64,
    ) -> bool {
        let mut starved = false;
        let mut passed = Duration::ZERO;
        while passed < time {
            passed += PAUSE;
            let waited = meter.waited + 5_000_000 * cpu;
            let stalled = meter.stalled + 5_000 * io;
            std::fs::write(dir.path().join("schedstat"), format!("9 {waited} 7\n")).unwrap();
            std::fs::write(dir.path().join("io"), pressure(stalled)).unwrap();
            starved = meter.look(meter.looked + PAUSE, PAUSE);
        }
        starved
    }

    #[test]
    fn waiting_for_more_than_half_of_the_time_is_starvation_and_ends_with_it() {
        for (cpu, io, starved) in [(0, 0, false), (45, 45, false), (60, 0, true), (0, 60, true)] {
            let (dir, mut meter) = files("5 1000000000 6\n", &pressure(0));
            let long = 8 * WINDOW;
            assert_eq!(
                looks(&mut meter, &dir, long, cpu, io),
                starved,
                "{cpu} {io}"
            );
            assert!(!looks(&mut meter, &dir, WINDOW, 0, 0), "{cpu} {io}");
        }
    }

    #[test]
    fn a_hiccup_is_no_starvation() {
        let (dir, mut meter) = files("5 1000000000 6\n", &pressure(0));
        for _ in 0..10 {
            assert!(!looks(&mut meter, &dir, 2 * PAUSE, 100, 100));
            assert!(!looks(&mut meter, &dir, 3 * WINDOW, 0, 0));
        }
    }

    #[test]
    fn a_thread_that_was_stopped_does_not_blame_the_others() {
        let mut meter = Meter::new(WINDOW);
        let start = meter.looked;
        assert!(!meter.look(start + PAUSE, PAUSE));
        assert!(meter.look(start + 2 * PAUSE + 2 * WINDOW, PAUSE));
    }

    #[test]
    fn the_kernel_tells_of_this_thread() {
        let meter = Meter::new(WINDOW);
        // Kernels without it do not starve anybody; this one is where the tests run.
        if let Some(file) = &meter.schedstat {
            let mut buffer = [0; 256];
            assert!(read(file, &mut buffer).is_some());
            assert!(meter.read_waited().is_some());
        }
    }
}
