//! How long a connection may take: a client that dribbles its request head is cut off, one that
//! merely waits between requests is not. hyper's own header time-out cannot tell the two apart
//! and would close kept-alive connections under clients that are about to use them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A connection without a request is closed after this.
const IDLE: Duration = Duration::from_secs(300);

/// How often a connection that is to close is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Between requests.
const WAITING: u64 = 0;
/// Some bytes of a request head have come.
const HEAD: u64 = 1;
/// A request is being answered.
const BUSY: u64 = 2;

/// What a connection is doing, and since when.
#[derive(Debug)]
pub struct Pace {
    opened: Instant,
    /// Milliseconds since `opened` times four, plus the phase.
    state: AtomicU64,
}

impl Pace {
    /// Of a connection that was just accepted: its head is expected at once.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            state: AtomicU64::new(HEAD),
        })
    }

    fn enter(&self, phase: u64) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX / 8);
        self.state.store(now * 4 + phase, Ordering::Relaxed);
    }

    fn read_something(&self) {
        if self.state.load(Ordering::Relaxed) % 4 == WAITING {
            self.enter(HEAD);
        }
    }

    /// A whole head has come.
    pub fn request(&self) {
        self.state.store(BUSY, Ordering::Relaxed);
    }

    /// The response is written, or given up.
    pub fn answered(&self) {
        self.enter(WAITING);
    }

    /// Resolves when no request head is on its way, or has been for this long: from then on the connection
    /// may be asked to close. One that was just opened is expected to send one.
    pub async fn headless(&self, within: Duration) {
        loop {
            let state = self.state.load(Ordering::Relaxed);
            let since = self.opened + Duration::from_millis(state / 4);
            if state % 4 != HEAD || since.elapsed() >= within {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Resolves when the connection has been too slow or idle for too long; with `head` as the
    /// time for a request head, noticed after at most twice that.
    pub async fn overdue(&self, head: Duration) -> &'static str {
        loop {
            let state = self.state.load(Ordering::Relaxed);
            let since = self.opened + Duration::from_millis(state / 4);
            let passed = since.elapsed();
            match state % 4 {
                HEAD if passed >= head => return "it did not send a request head in time",
                WAITING if passed >= IDLE => return "it was idle",
                HEAD => tokio::time::sleep(head - passed).await,
                _ => tokio::time::sleep(head).await,
            }
        }
    }
}

/// The socket, telling its [`Pace`] when something comes.
#[derive(Debug)]
pub struct Paced {
    socket: TcpStream,
    pace: Arc<Pace>,
}

impl Paced {
    /// Watches `socket`.
    #[must_use]
    pub fn new(socket: TcpStream, pace: Arc<Pace>) -> Self {
        Self { socket, pace }
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pace.read_something();
        }
        polled
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
