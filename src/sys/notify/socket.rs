//! The service manager's notification socket: one datagram at a time, sent without waiting. It
//! knows addresses, not messages.
//!
//! The crate `sd-notify` did this before: it blocks while the manager does not read, makes a socket
//! for each message and does not know abstract addresses.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// Where messages go. It is not connected, so a manager that makes its socket anew is found again.
#[derive(Debug)]
pub struct Socket {
    socket: UnixDatagram,
    manager: SocketAddr,
}

impl Socket {
    /// The socket named by `NOTIFY_SOCKET`; `None` without a manager, or with one that cannot be
    /// spoken to, which is said in the log.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let address = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())?;
        match Self::new(&address) {
            Ok(socket) => Some(socket),
            Err(error) => {
                log::warn!(
                    "cannot notify the service manager at {}: {error}; going on without it",
                    Path::new(&address).display()
                );
                None
            }
        }
    }

    /// A socket that sends to `address`: a path, or `@` and an abstract name. Nothing needs to be
    /// there yet.
    ///
    /// # Errors
    /// Another kind of address (`vsock:`), one that is too long, or no descriptor left.
    pub fn new(address: &OsStr) -> io::Result<Self> {
        let manager = match address.as_bytes() {
            // The leading NUL is the kernel's; the rest is taken to its exact length.
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                let kind = "neither an absolute path nor an abstract name (@NAME)";
                return Err(io::Error::new(io::ErrorKind::Unsupported, kind));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, manager })
    }

    /// Sends one message. Allocates nothing and never waits.
    ///
    /// # Errors
    /// `WouldBlock` if the manager does not read; any other if it is gone.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        self.socket
            .send_to_addr(message, &self.manager)
            .map(|_sent| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_an_abstract_name_are_reached_as_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("mainstay-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        let managers = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path)),
            (
                format!("@{name}").into(),
                UnixDatagram::bind_addr(&abstract_address),
            ),
        ];
        for (address, manager) in managers {
            let manager = manager.unwrap();
            Socket::new(&address).unwrap().send(b"READY=1").unwrap();
            let mut buffer = [0; 64];
            let length = manager.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1", "{address:?}");
        }
    }

    #[test]
    fn a_manager_that_is_gone_full_or_elsewhere_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = Socket::new(path.as_os_str()).unwrap();
        let missing = socket.send(b"READY=1").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let manager = UnixDatagram::bind(&path).unwrap();
        // It came after all; then it does not read.
        let full = (0..100_000).find_map(|_| socket.send(b"WATCHDOG=1").err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(manager);
        for address in ["vsock:2:1234", "run/notify"] {
            let refused = Socket::new(OsStr::new(address)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::Unsupported, "{address}");
        }
    }
}
