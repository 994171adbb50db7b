//! The writing side of a worker's stdio. A frame is written at once by whoever sends it if the
//! socket has room, else queued, bounded in bytes, and flushed by the worker's own task: a worker
//! that does not read blocks only itself. It knows no protocol.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UnixStream;
use tokio::sync::Notify;

use crate::sys::socket::shutdown_write;

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
    closed: bool,
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

    /// Sends one frame, which must end with its newline.
    ///
    /// # Errors
    /// See [`SendError`]; the worker then gets no byte of it.
    pub fn send(&self, frame: Vec<u8>) -> Result<(), SendError> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(SendError::Closed);
        }
        if queue.frames.is_empty() {
            match self.socket.try_write(&frame) {
                Ok(n) if n == frame.len() => return Ok(()),
                Ok(n) => queue.written = n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => queue.written = 0,
                Err(_) => {
                    queue.closed = true;
                    return Err(SendError::Closed);
                }
            }
        } else if queue.bytes.saturating_add(frame.len()) > self.limit {
            return Err(SendError::Full);
        }
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        drop(queue);
        self.pending.notify_one();
        Ok(())
    }

    /// Writes what is queued, for ever; to be polled by the worker's task.
    pub async fn flush(&self) {
        loop {
            self.pending.notified().await;
            while !self.queue().frames.is_empty() {
                if self.socket.writable().await.is_err() {
                    break;
                }
                self.write_queued();
            }
        }
    }

    fn write_queued(&self) {
        let mut queue = self.queue();
        while let Some(first) = queue.frames.front() {
            let rest = first.get(queue.written..).unwrap_or_default();
            match self.socket.try_write(rest) {
                Ok(n) if n == rest.len() => {
                    queue.bytes -= first.len();
                    queue.written = 0;
                    queue.frames.pop_front();
                }
                Ok(n) => queue.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    *queue = Queue {
                        closed: true,
                        ..Queue::default()
                    };
                }
            }
        }
    }

    /// Ends the worker's input. What is still queued is dropped: its calls are being ended too.
    pub fn close(&self) {
        *self.queue() = Queue {
            closed: true,
            ..Queue::default()
        };
        // ENOTCONN: the worker is gone already.
        let _ = shutdown_write(&*self.socket);
    }
}

#[cfg(test)]
mod tests {
    use super::{SendError, Stdin};
    use std::sync::Arc;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::UnixStream;

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
}
