//! The signals the daemon itself obeys, as a stream. What to do about them is the daemon's affair.

use std::io;
use std::os::unix::net::UnixStream as StdStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM or SIGINT: drain and end.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The requests made of this process by signals. From its making on, these signals no longer have
/// their default effect, for the rest of the process's life.
#[derive(Debug)]
pub struct Signals {
    stop: UnixStream,
    reload: UnixStream,
}

impl Signals {
    /// Installs the handlers. Must be called inside a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// No file descriptors left, or the kernel refuses a handler.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            stop: handled(&[SIGTERM, SIGINT])?,
            reload: handled(&[SIGHUP])?,
        })
    }

    /// The next request; several signals of a kind that come at once may count as one. Cancel safe.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            biased;
            () = rung(&mut self.stop) => Request::Stop,
            () = rung(&mut self.reload) => Request::Reload,
        }
    }
}

/// The readable end of a socket pair into which the handler of each of `signals` writes a byte.
fn handled(signals: &[i32]) -> io::Result<UnixStream> {
    let (read, write) = StdStream::pair()?;
    read.set_nonblocking(true)?;
    for signal in signals {
        signal_hook::low_level::pipe::register(*signal, write.try_clone()?)?;
    }
    UnixStream::from_std(read)
}

/// Waits for at least one byte and takes all that are there.
async fn rung(bell: &mut UnixStream) {
    let mut bytes = [0; 64];
    match bell.read(&mut bytes).await {
        Ok(1..) => {}
        // The handlers hold the other end for ever, so neither end nor failure can come; if one
        // did, waiting is right and spinning is not.
        Ok(0) | Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal_hook::low_level::raise;

    #[tokio::test]
    async fn signals_become_requests() {
        let mut signals = Signals::install().unwrap();
        for (signal, request) in [
            (SIGHUP, Request::Reload),
            (SIGTERM, Request::Stop),
            (SIGINT, Request::Stop),
        ] {
            raise(signal).unwrap();
            assert_eq!(signals.next().await, request);
        }
    }
}
