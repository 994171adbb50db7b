//! Faults on purpose, for the tests of the heartbeat: one vital part at a time stands still for a
//! while. Only a build with the feature `fault` can do it, and no package has that; any other
//! refuses, and its hooks are empty.

use std::time::Duration;

/// Longest fault: a mistyped time must not need a reboot.
pub const LONGEST: Duration = Duration::from_secs(600);

/// What can be made to stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// One thread of the runtime, in a loop that never awaits.
    RuntimeThread,
    /// All threads of the runtime.
    Runtime,
    /// The loop that accepts connections.
    Acceptor,
    /// The lock under which calls are given to workers.
    Dispatcher,
    /// The actor of every server.
    Supervisor,
    /// What waits for timers.
    Timers,
}

impl Part {
    /// All of them, with the words by which an operator names them.
    pub const ALL: [(&'static str, Self); 6] = [
        ("runtime-thread", Self::RuntimeThread),
        ("runtime", Self::Runtime),
        ("acceptor", Self::Acceptor),
        ("dispatcher", Self::Dispatcher),
        ("supervisor", Self::Supervisor),
        ("timers", Self::Timers),
    ];
}

/// Waits here while this part stands still.
#[cfg(not(feature = "fault"))]
#[expect(clippy::unused_async, reason = "it awaits where faults are built in")]
pub async fn hold(_part: Part) {}

/// What stands still on purpose just now, for the status line; `None` if nothing does.
#[cfg(not(feature = "fault"))]
#[must_use]
pub fn active() -> Option<String> {
    None
}

#[cfg(feature = "fault")]
pub use real::{active, begin, hold};

#[cfg(feature = "fault")]
mod real {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, PoisonError};
    use std::time::{Duration, Instant};

    use crate::fault::Part;

    /// Time to answer the operator before the threads that do so stand still.
    const ANSWERED: Duration = Duration::from_millis(200);

    static UNTIL: Mutex<Option<(Part, Instant)>> = Mutex::new(None);

    fn current() -> Option<(Part, Instant)> {
        let until = *UNTIL.lock().unwrap_or_else(PoisonError::into_inner);
        until.filter(|(_, end)| *end > Instant::now())
    }

    /// Waits here while this part stands still.
    pub async fn hold(part: Part) {
        while let Some((_, end)) = current().filter(|(held, _)| *held == part) {
            tokio::time::sleep_until(end.into()).await;
        }
    }

    /// What stands still on purpose just now; `None` if nothing does.
    #[must_use]
    pub fn active() -> Option<String> {
        let (part, end) = current()?;
        let name = Part::ALL.iter().find(|(_, one)| *one == part)?.0;
        let left = end.saturating_duration_since(Instant::now()).as_secs() + 1;
        Some(format!("FAULT ON PURPOSE: {name}, {left} s left"))
    }

    /// Makes a part stand still for so long. `freeze` does it to the dispatcher, on a thread that it
    /// may block.
    pub fn begin(part: Part, time: Duration, freeze: impl FnOnce(Duration) + Send + 'static) {
        let end = Instant::now() + time;
        *UNTIL.lock().unwrap_or_else(PoisonError::into_inner) = Some((part, end));
        match part {
            Part::RuntimeThread => block_threads(1, end),
            Part::Runtime => {
                let runtime = tokio::runtime::Handle::current();
                block_threads(runtime.metrics().num_workers(), end);
            }
            Part::Dispatcher => {
                std::thread::spawn(move || {
                    std::thread::sleep(ANSWERED);
                    freeze(time);
                });
            }
            Part::Acceptor | Part::Supervisor | Part::Timers => {}
        }
    }

    /// Blocks so many threads of the runtime. A thread is held until all are, so that none of the
    /// tasks is left to run where one already sleeps.
    fn block_threads(count: usize, end: Instant) {
        static HELD: AtomicUsize = AtomicUsize::new(0);
        HELD.store(0, Ordering::SeqCst);
        let runtime = tokio::runtime::Handle::current();
        // From outside, so that every thread can take one, and when the operator has his answer.
        std::thread::spawn(move || {
            std::thread::sleep(ANSWERED);
            for _ in 0..count {
                runtime.spawn(async move {
                    HELD.fetch_add(1, Ordering::SeqCst);
                    while HELD.load(Ordering::SeqCst) < count && Instant::now() < end {
                        std::thread::yield_now();
                    }
                    std::thread::sleep(end.saturating_duration_since(Instant::now()));
                });
            }
        });
    }
}
