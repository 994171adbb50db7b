//! Where frames for a worker go, whatever kind of worker it is: the stdin of a process, or the
//! outbox of an upstream. It knows no protocol.

use std::sync::Arc;

use super::stdin::{SendError, Stdin};
use super::upstream::outbox::Outbox;

/// The receiving end of a worker.
#[derive(Debug)]
pub enum Intake {
    /// A process.
    Process(Stdin),
    /// An MCP server reached over HTTP.
    Upstream(Arc<Outbox>),
}

impl Intake {
    /// Sends one frame, which must end with its newline.
    ///
    /// # Errors
    /// See [`SendError`]; the worker then gets no byte of it.
    pub fn send(&self, frame: Vec<u8>) -> Result<(), SendError> {
        match self {
            Self::Process(stdin) => stdin.send(frame),
            Self::Upstream(outbox) => outbox.send(frame),
        }
    }

    /// Ends the worker's input.
    pub fn close(&self) {
        match self {
            Self::Process(stdin) => stdin.close(),
            Self::Upstream(outbox) => outbox.close(),
        }
    }

    /// Writes what is queued, for ever; to be polled by the worker's task.
    pub async fn flush(&self) {
        match self {
            Self::Process(stdin) => stdin.flush().await,
            Self::Upstream(_) => std::future::pending().await,
        }
    }
}
