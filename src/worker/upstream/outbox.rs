//! Frames on their way to an upstream: queued until their exchange begins, and counted until the
//! upstream has taken them, so that one that does not read fills only its own bound.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::worker::stdin::SendError;

/// The queue of one upstream worker.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    pending: Notify,
    limit: usize,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Vec<u8>>,
    /// Of the queued frames and of those whose exchange has no answer yet.
    bytes: usize,
    closed: bool,
}

impl Outbox {
    /// An outbox for at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            queue: Mutex::default(),
            pending: Notify::new(),
            limit,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one frame.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&self, frame: Vec<u8>) -> Result<(), SendError> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(SendError::Closed);
        }
        // A single frame always fits: its size was checked where it came from.
        if queue.bytes > 0 && queue.bytes.saturating_add(frame.len()) > self.limit {
            return Err(SendError::Full);
        }
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        drop(queue);
        self.pending.notify_one();
        Ok(())
    }

    /// Takes nothing more. What is queued stays for `rest`.
    pub fn close(&self) {
        self.queue().closed = true;
    }

    /// What was never sent.
    pub(super) fn rest(&self) -> Vec<Vec<u8>> {
        self.queue().frames.drain(..).collect()
    }

    /// The next frame; waits for one. May be dropped while it waits.
    pub(super) async fn next(self: &Arc<Self>) -> (Vec<u8>, Load) {
        loop {
            if let Some(frame) = self.queue().frames.pop_front() {
                let load = Load {
                    outbox: Arc::clone(self),
                    bytes: frame.len(),
                };
                return (frame, load);
            }
            self.pending.notified().await;
        }
    }
}

/// The bytes of a frame that the upstream has not answered yet; dropping it gives them back.
#[derive(Debug)]
pub(super) struct Load {
    outbox: Arc<Outbox>,
    bytes: usize,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.outbox.queue().bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::Outbox;
    use crate::worker::stdin::SendError;
    use std::sync::Arc;

    #[tokio::test]
    async fn frames_count_until_they_are_answered() {
        let outbox = Arc::new(Outbox::new(10));
        assert_eq!(outbox.send(vec![b'a'; 20]), Ok(()), "it is alone");
        assert_eq!(outbox.send(vec![b'b'; 1]), Err(SendError::Full));
        let (frame, load) = outbox.next().await;
        assert_eq!(frame.len(), 20);
        assert_eq!(outbox.send(vec![b'b'; 1]), Err(SendError::Full));
        drop(load);
        assert_eq!(outbox.send(vec![b'b'; 1]), Ok(()));
        outbox.close();
        assert_eq!(outbox.send(vec![b'c'; 1]), Err(SendError::Closed));
        assert_eq!(outbox.rest(), [b"b"]);
    }
}
