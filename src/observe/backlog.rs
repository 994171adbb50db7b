//! What is to be logged, between those who say it and the one thread that writes it. A reader of the
//! log that is slow, stopped or gone never holds up a caller: what does not fit is dropped and
//! counted, and the count is told in its place as soon as there is room. It knows neither the form
//! of a record nor where it goes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

/// Records that may wait.
const RECORDS: usize = 8192;
/// Their bytes.
const BYTES: usize = 4 << 20;
/// Bytes kept free for the record that tells how many were dropped.
const NOTICE: usize = 1024;
/// Pause before a record that could not be written is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is written.
    Yes,
    /// It is to be tried again: the reader does not read.
    Later,
    /// The same after a pause: there is no reader.
    Apart,
    /// It can never be written.
    Never,
}

/// Whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// The daemon's own.
    Own,
    /// A line of a worker: may fill half the room and no more, lest it crowd out the daemon's own.
    Worker,
}

/// The queue; its thread lives as long as the process.
#[derive(Debug)]
pub(super) struct Backlog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
    /// The record that tells how many were dropped.
    tell: fn(u64) -> Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread has a record in its hands.
    writing: bool,
    dropped: u64,
    /// How many of the dropped a record in the queue tells of.
    told: u64,
}

impl Backlog {
    /// A queue whose records a thread hands to `write`, in their order. `write` may block.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(
        tell: fn(u64) -> Vec<u8>,
        write: impl FnMut(&[u8]) -> Sent + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
            tell,
        });
        let own = Arc::clone(&shared);
        thread::Builder::new()
            .name("log".into())
            .spawn(move || own.run(write))?;
        Ok(Self { shared })
    }

    /// Adds a record, or drops it if there is no room.
    pub(super) fn push(&self, record: Vec<u8>, rank: Rank) {
        let mut state = self.shared.lock();
        if !state.has_room(record.len(), rank) {
            state.dropped += 1;
            return;
        }
        self.shared.tell(&mut state);
        state.add(record);
        drop(state);
        self.shared.filled.notify_one();
    }

    /// Records dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }

    /// Waits until all is written, for `patience` at most. Whether it is.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.shared.lock();
        while state.writing || !state.records.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.written.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in what says how many were dropped, where they would have stood.
    fn tell(&self, state: &mut State) {
        if state.dropped > state.told {
            let notice = (self.tell)(state.dropped - state.told);
            state.told = state.dropped;
            state.add(notice);
        }
    }

    fn run(&self, mut write: impl FnMut(&[u8]) -> Sent) {
        loop {
            let record = self.next();
            let written = loop {
                match write(&record) {
                    Sent::Yes => break true,
                    Sent::Never => break false,
                    Sent::Later => {}
                    Sent::Apart => thread::sleep(PAUSE),
                }
            };
            let mut state = self.lock();
            state.writing = false;
            if !written {
                state.dropped += 1;
            } else if state.records.is_empty() {
                // Only after a success: the record that tells of a failure would fail next.
                self.tell(&mut state);
            }
            drop(state);
            self.written.notify_all();
        }
    }

    fn next(&self) -> Vec<u8> {
        let mut state = self.lock();
        loop {
            if let Some(record) = state.records.pop_front() {
                state.bytes -= record.len();
                state.writing = true;
                return record;
            }
            let woken = self.filled.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn has_room(&self, length: usize, rank: Rank) -> bool {
        let share = match rank {
            Rank::Own => 1,
            Rank::Worker => 2,
        };
        self.records.len() < RECORDS / share && self.bytes + length + NOTICE <= BYTES / share
    }

    fn add(&mut self, record: Vec<u8>) {
        self.bytes += record.len();
        self.records.push_back(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn told(count: u64) -> Vec<u8> {
        format!("{count} dropped").into_bytes()
    }

    /// A queue whose writer takes one answer for each record; it blocks until it gets one.
    fn stubborn() -> (Backlog, Sender<Sent>, Receiver<Vec<u8>>) {
        let (answer, answers) = channel();
        let (seen, records) = channel();
        let backlog = Backlog::start(told, move |record: &[u8]| {
            let answer = answers.recv().unwrap_or(Sent::Never);
            if answer == Sent::Yes {
                let _ = seen.send(record.to_vec());
            }
            answer
        });
        (backlog.unwrap(), answer, records)
    }

    fn text(records: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(records.recv_timeout(PATIENCE).unwrap()).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_dropped_counted_and_told_in_its_place() {
        let (backlog, answer, records) = stubborn();
        for _ in 0..RECORDS + 100 {
            backlog.push(b"x".to_vec(), Rank::Own);
        }
        // The thread may hold one record besides.
        let dropped = backlog.dropped();
        assert!((99..=100).contains(&dropped), "{dropped}");
        let written = RECORDS + 100 - usize::try_from(dropped).unwrap();
        for _ in 0..written {
            answer.send(Sent::Yes).unwrap();
        }
        for _ in 0..written {
            assert_eq!(text(&records), "x");
        }
        answer.send(Sent::Yes).unwrap();
        assert_eq!(text(&records), format!("{dropped} dropped"));
        backlog.push(b"y".to_vec(), Rank::Own);
        answer.send(Sent::Yes).unwrap();
        assert_eq!(text(&records), "y");
        assert!(backlog.flush(PATIENCE));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let (backlog, _answer, _records) = stubborn();
        for _ in 0..10 {
            backlog.push(vec![b'x'; 1 << 20], Rank::Own);
        }
        assert!(backlog.dropped() >= 5, "{}", backlog.dropped());
        assert!(backlog.shared.lock().bytes <= BYTES);
    }

    #[test]
    fn workers_do_not_crowd_out_the_daemon() {
        let (backlog, _answer, _records) = stubborn();
        for _ in 0..2 * RECORDS {
            backlog.push(b"line".to_vec(), Rank::Worker);
        }
        let dropped = backlog.dropped();
        assert!(dropped > 0);
        backlog.push(b"event".to_vec(), Rank::Own);
        assert_eq!(backlog.dropped(), dropped);
    }

    #[test]
    fn a_record_without_a_reader_is_tried_again_and_one_that_never_fits_is_counted() {
        let (backlog, answer, records) = stubborn();
        for record in ["a", "b", "c"] {
            backlog.push(record.into(), Rank::Own);
        }
        for sent in [Sent::Apart, Sent::Later, Sent::Yes, Sent::Never, Sent::Yes] {
            answer.send(sent).unwrap();
        }
        assert_eq!(text(&records), "a");
        assert_eq!(text(&records), "c");
        answer.send(Sent::Yes).unwrap();
        assert_eq!(text(&records), "1 dropped");
        assert!(backlog.flush(PATIENCE));
    }

    #[test]
    fn nobody_waits_longer_than_his_patience() {
        let (backlog, _answer, _records) = stubborn();
        backlog.push(b"x".to_vec(), Rank::Own);
        assert!(!backlog.flush(Duration::from_millis(50)));
    }
}
