//! The events of one call, or of one session's standalone stream, in memory: appended by the
//! worker's side, read by at most one HTTP response at a time, kept for resumption within a bound.
//! It knows neither HTTP nor workers.
//!
//! A durable journal commits an event in `push` and `finish`, before it becomes readable: nothing
//! else appends, so this is the one place where that has to happen.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// One event log.
#[derive(Debug)]
pub struct Stream {
    /// Number within its session; 0 is the standalone stream.
    pub number: u64,
    limit: usize,
    keep: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<(u64, Bytes)>,
    bytes: usize,
    last_seq: u64,
    /// The answer's number, and its error code if it is an error; nothing comes after it.
    answer: Option<(u64, Option<i64>)>,
    closed: bool,
    reader: u64,
    waker: Option<Waker>,
    read_up_to: u64,
    lost: u64,
}

/// What a reader finds next.
#[derive(Debug)]
pub enum Next {
    /// An event; `last` if it is the answer.
    Event {
        /// Its number; the priming event is 0, so the first is 1.
        seq: u64,
        /// The message, one line.
        data: Bytes,
        /// Whether the stream ends with it.
        last: bool,
        /// The error code, if it is an answer that is an error.
        error: Option<i64>,
    },
    /// Nothing will come any more, or a newer reader took over.
    End,
}

impl Stream {
    /// A stream that holds at most `limit` bytes of events (the answer always stays). With `keep`
    /// events stay after they were read, for a client that resumes.
    #[must_use]
    pub fn new(number: u64, limit: usize, keep: bool) -> Self {
        Self {
            number,
            limit,
            keep,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a message.
    pub fn push(&self, data: Bytes) {
        self.append(data, None);
    }

    /// Appends a message unless the newest one that nobody has read yet is the same: several
    /// workers of a pool report one change.
    pub fn push_unless_pending(&self, data: Bytes) {
        let pending = {
            let state = self.state();
            state
                .events
                .back()
                .is_some_and(|(seq, last)| *seq > state.read_up_to && *last == data)
        };
        if !pending {
            self.append(data, None);
        }
    }

    /// Appends the answer, with its code if it is an error; nothing is taken after it. Returns how
    /// many events were dropped for the bound before anybody had read them.
    pub fn finish(&self, data: Bytes, error: Option<i64>) -> u64 {
        self.append(data, Some(error))
    }

    fn append(&self, data: Bytes, answer: Option<Option<i64>>) -> u64 {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.closed || state.answer.is_some() {
            return 0;
        }
        state.last_seq += 1;
        state.bytes += data.len();
        state.events.push_back((state.last_seq, data));
        if let Some(error) = answer {
            state.answer = Some((state.last_seq, error));
        }
        while state.bytes > self.limit && state.events.len() > 1 {
            if let Some((seq, old)) = state.events.pop_front() {
                state.bytes -= old.len();
                state.lost += u64::from(seq > state.read_up_to);
            }
        }
        let (waker, lost) = (state.waker.take(), state.lost);
        drop(guard);
        if let Some(waker) = waker {
            waker.wake();
        }
        lost
    }

    /// Ends the stream without an answer.
    pub fn close(&self) {
        let waker = {
            let mut state = self.state();
            state.closed = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Makes a new reader; the one before, perhaps on a dead connection, ends.
    #[must_use]
    pub fn attach(&self) -> u64 {
        let (reader, waker) = {
            let mut state = self.state();
            state.reader += 1;
            (state.reader, state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        reader
    }

    /// Says that `reader` is gone.
    pub fn detach(&self, reader: u64) {
        let mut state = self.state();
        if state.reader == reader {
            state.reader += 1;
            state.waker = None;
        }
    }

    /// Whether a reader waits right now.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.state().waker.is_some()
    }

    /// Whether the answer is there, or none will come.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let state = self.state();
        state.answer.is_some() || state.closed
    }

    /// Whether the answer is there and has been read.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        let state = self.state();
        state
            .answer
            .is_some_and(|(answer, _)| state.read_up_to >= answer)
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// The last event that was read, which is where a new reader goes on.
    #[must_use]
    pub fn read_up_to(&self) -> u64 {
        self.state().read_up_to
    }

    /// Whether `seq` can be an event of this stream, sent already.
    #[must_use]
    pub fn has_reached(&self, seq: u64) -> bool {
        seq <= self.state().last_seq
    }

    /// The first event after `after`, as seen by `reader`.
    pub fn poll_next(&self, reader: u64, after: u64, cx: &Context<'_>) -> Poll<Next> {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.reader != reader {
            return Poll::Ready(Next::End);
        }
        // Numbers are consecutive, so the place follows from the first.
        let first = state.events.front().map_or(u64::MAX, |(seq, _)| *seq);
        let index = usize::try_from((after + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let found = if self.keep {
            state.events.get(index).cloned()
        } else {
            let taken = state.events.pop_front();
            if let Some((_, data)) = &taken {
                state.bytes -= data.len();
            }
            taken
        };
        if let Some((seq, data)) = found {
            state.read_up_to = state.read_up_to.max(seq);
            let answer = state.answer.filter(|(number, _)| *number == seq);
            return Poll::Ready(Next::Event {
                seq,
                data,
                last: answer.is_some(),
                error: answer.and_then(|(_, error)| error),
            });
        }
        if state.closed || state.answer.is_some_and(|(answer, _)| after >= answer) {
            return Poll::Ready(Next::End);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, Stream};
    use bytes::Bytes;
    use std::task::{Context, Poll, Waker};

    fn read(stream: &Stream, reader: u64, after: u64) -> Option<(u64, Vec<u8>, bool)> {
        match stream.poll_next(reader, after, &Context::from_waker(Waker::noop())) {
            Poll::Ready(Next::Event {
                seq, data, last, ..
            }) => Some((seq, data.to_vec(), last)),
            Poll::Ready(Next::End) => Some((0, Vec::new(), true)),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_reader_may_come_back_to_any_event() {
        let stream = Stream::new(1, 1000, true);
        stream.push(Bytes::from_static(b"a"));
        let first = stream.attach();
        assert_eq!(read(&stream, first, 0), Some((1, b"a".to_vec(), false)));
        assert_eq!(read(&stream, first, 1), None);
        stream.finish(Bytes::from_static(b"z"), None);
        stream.push(Bytes::from_static(b"too late"));
        let second = stream.attach();
        assert_eq!(read(&stream, first, 1), Some((0, vec![], true)));
        assert_eq!(read(&stream, second, 0), Some((1, b"a".to_vec(), false)));
        assert_eq!(read(&stream, second, 1), Some((2, b"z".to_vec(), true)));
        assert_eq!(read(&stream, second, 2), Some((0, vec![], true)));
    }

    #[test]
    fn the_answer_survives_the_bound() {
        let stream = Stream::new(1, 100, true);
        for _ in 0..50 {
            stream.push(Bytes::from_static(&[b'x'; 10]));
        }
        let lost = stream.finish(Bytes::from_static(&[b'y'; 500]), None);
        assert_eq!(stream.bytes(), 500);
        assert_eq!(lost, 50);
        let reader = stream.attach();
        assert_eq!(
            read(&stream, reader, 3).map(|(seq, _, last)| (seq, last)),
            Some((51, true))
        );
    }

    #[test]
    fn what_need_not_be_kept_is_not() {
        let stream = Stream::new(1, 1000, false);
        let reader = stream.attach();
        stream.push(Bytes::from_static(b"a"));
        assert!(read(&stream, reader, 0).is_some());
        assert_eq!(stream.bytes(), 0);
    }

    #[test]
    fn equal_news_wait_only_once() {
        let stream = Stream::new(0, 1000, true);
        for _ in 0..3 {
            stream.push_unless_pending(Bytes::from_static(b"changed"));
        }
        let reader = stream.attach();
        assert_eq!(read(&stream, reader, 0).map(|e| e.0), Some(1));
        stream.push_unless_pending(Bytes::from_static(b"changed"));
        assert_eq!(read(&stream, reader, 1).map(|e| e.0), Some(2));
    }
}
