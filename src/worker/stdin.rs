//! The writing side of a worker's stdio. A frame is written at once by whoever sends it if the
//! socket has room, else queued, bounded in bytes, and flushed by the worker's own task: a worker
//! that does not read blocks only itself. It knows no protocol.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UnixStream;
use tokio::sync::Notify;

use crate::sys::socket::shutdown_write;

/// Frames handed to the kernel with one call.
const AT_ONCE: usize = 64;

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The worker does not read and its queue is full.
    #[error("the worker does not read its input and its queue is full")]
    Full,
    /// The worker is gone or is being stopped.
    #[error("the worker is gone")]
    Closed,
}

/// Where frames for one worker go.
#[derive(Debug)]
pub struct Stdin {
    socket: Arc<UnixStream>,
    queue: Mutex<Queue>,
    pending: Notify,
    limit: usize,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Vec<u8>>,
    /// Bytes of the first frame that are written already.
    written: usize,
    bytes: usize,
    /// Somebody writes to the socket just now, outside the lock.
    writing: bool,
    closed: bool,
}

impl Queue {
    /// Takes a frame of which `written` bytes are gone: before all that came meanwhile.
    fn put_back(&mut self, frame: Vec<u8>, written: usize) {
        self.written = written;
        self.bytes += frame.len();
        self.frames.push_front(frame);
    }

    fn closed() -> Self {
        Self {
            closed: true,
            ..Self::default()
        }
    }
}

impl Stdin {
    /// Writes to `socket`, queueing at most `limit` bytes.
    #[must_use]
    pub fn new(socket: Arc<UnixStream>, limit: usize) -> Self {
        Self {
            socket,
            queue: Mutex::default(),
            pending: Notify::new(),
            limit,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one frame, which must end with its newline. The write itself happens outside the
    /// lock: who comes meanwhile leaves a frame in the queue instead of waiting for the kernel,
    /// which the worker's task writes right after.
    ///
    /// # Errors
    /// See [`SendError`]; the worker then gets no byte of it.
    pub fn send(&self, frame: Vec<u8>) -> Result<(), SendError> {
        {
            let mut queue = self.queue();
            if queue.closed {
                return Err(SendError::Closed);
            }
            if queue.writing || !queue.frames.is_empty() {
                if queue.bytes.saturating_add(frame.len()) > self.limit {
                    return Err(SendError::Full);
                }
                queue.bytes += frame.len();
                queue.frames.push_back(frame);
                return Ok(());
            }
            queue.writing = true;
        }
        let written = self.socket.try_write(&frame);
        let mut queue = self.queue();
        queue.writing = false;
        match written {
            Ok(n) if n == frame.len() => {}
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => {
                *queue = Queue::closed();
                return Err(SendError::Closed);
            }
            rest if !queue.closed => {
                queue.put_back(frame, rest.unwrap_or(0));
            }
            _ => return Err(SendError::Closed),
        }
        if !queue.frames.is_empty() {
            drop(queue);
            self.pending.notify_one();
        }
        Ok(())
    }

    /// Writes what is queued, for ever; to be polled by the worker's task.
    pub async fn flush(&self) {
        loop {
            self.pending.notified().await;
            while self.write_queued() {
                if self.socket.writable().await.is_err() {
                    break;
                }
            }
        }
    }

    /// Writes queued frames, many at a time, until nothing is left; true if the socket is full.
    fn write_queued(&self) -> bool {
        loop {
            let (mut frames, mut start) = {
                let mut queue = self.queue();
                // Who writes now notifies when it leaves something.
                if queue.writing || queue.frames.is_empty() {
                    return false;
                }
                queue.writing = true;
                (std::mem::take(&mut queue.frames), queue.written)
            };
            let slices: Vec<IoSlice<'_>> = frames
                .iter()
                .take(AT_ONCE)
                .enumerate()
                .map(|(n, frame)| {
                    let from = if n == 0 { start } else { 0 };
                    IoSlice::new(frame.get(from..).unwrap_or_default())
                })
                .collect();
            let written = self.socket.try_write_vectored(&slices);
            let mut queue = self.queue();
            queue.writing = false;
            if queue.closed {
                return false;
            }
            let full = match written {
                Ok(mut n) => {
                    while let Some(first) = frames.front() {
                        let rest = first.len() - start;
                        if n < rest {
                            break;
                        }
                        n -= rest;
                        start = 0;
                        queue.bytes -= first.len();
                        frames.pop_front();
                    }
                    start += n;
                    false
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => true,
                Err(_) => {
                    *queue = Queue::closed();
                    return false;
                }
            };
            queue.written = start;
            // Behind what is left of these come those that were sent meanwhile.
            frames.append(&mut queue.frames);
            queue.frames = frames;
            if full {
                return true;
            }
        }
    }

    /// Ends the worker's input. What is still queued is dropped: its calls are being ended too.
    pub fn close(&self) {
        *self.queue() = Queue::closed();
        // ENOTCONN: the worker is gone already.
        let _ = shutdown_write(&*self.socket);
    }
}

#[cfg(test)]
mod tests {
    use super::{Queue, SendError, Stdin};
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::UnixStream;
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_worker_that_does_not_read_fills_only_its_queue() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let stdin = Stdin::new(Arc::new(ours), 4 << 20);
        let frame = |n: usize| {
            let mut f = vec![b'a' + u8::try_from(n % 26).unwrap(); 100_000];
            f.push(b'\n');
            f
        };
        let mut sent = Vec::new();
        for n in 0.. {
            match stdin.send(frame(n)) {
                Ok(()) => sent.extend(frame(n)),
                Err(e) => {
                    assert_eq!(e, SendError::Full);
                    break;
                }
            }
        }
        assert!(sent.len() >= 4 << 20);
        let mut got = vec![0; sent.len()];
        tokio::select! {
            () = stdin.flush() => unreachable!(),
            r = theirs.read_exact(&mut got) => { r.unwrap(); }
        }
        assert!(got == sent);
        stdin.close();
        assert_eq!(stdin.send(frame(0)), Err(SendError::Closed));
        assert_eq!(theirs.read(&mut got).await.unwrap(), 0);
    }

    #[test]
    fn the_rest_of_a_frame_goes_before_what_came_meanwhile() {
        let mut queue = Queue {
            bytes: 3,
            ..Queue::default()
        };
        queue.frames.push_back(b"b2\n".to_vec());
        queue.put_back(b"a1\n".to_vec(), 2);
        assert_eq!(queue.frames, [b"a1\n".to_vec(), b"b2\n".to_vec()]);
        assert_eq!((queue.written, queue.bytes), (2, 6));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn frames_of_many_senders_stay_whole_and_in_order() {
        const SENDERS: usize = 4;
        const EACH: usize = 300;
        // The kernel splits what is longer than 32 KiB: frames are then written in parts.
        const LONGEST: usize = 100_000;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let stdin = Arc::new(Stdin::new(Arc::new(ours), 64 << 20));
        let flusher = Arc::clone(&stdin);
        let flusher = tokio::spawn(async move { flusher.flush().await });
        let mut expected = 0;
        for sender in 0..SENDERS {
            let stdin = Arc::clone(&stdin);
            expected += (0..EACH).map(|n| 8 + n * 7919 % LONGEST).sum::<usize>();
            tokio::spawn(async move {
                for n in 0..EACH {
                    let fill = "x".repeat(n * 7919 % LONGEST);
                    stdin
                        .send(format!("{sender} {n:04} {fill}\n").into())
                        .unwrap();
                }
            });
        }
        let mut got = vec![0; expected];
        let patience = Duration::from_secs(20);
        let read = timeout(patience, theirs.read_exact(&mut got)).await;
        read.expect("all frames arrive").unwrap();
        let mut next = [0; SENDERS];
        for line in String::from_utf8(got).unwrap().lines() {
            let (sender, number) = (line[..1].parse::<usize>().unwrap(), &line[2..6]);
            assert_eq!(number.parse::<usize>().unwrap(), next[sender]);
            assert_eq!(line.len(), 7 + next[sender] * 7919 % LONGEST);
            next[sender] += 1;
        }
        assert_eq!(next, [EACH; SENDERS]);
        let settled = timeout(patience, async {
            while stdin.queue().bytes > 0 {
                tokio::task::yield_now().await;
            }
        });
        settled.await.expect("no byte stays counted");
        flusher.abort();
    }
}
