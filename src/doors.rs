//! Where the daemon is reached: sockets that the service manager hands over, or else its own. It
//! knows where, not what is served there.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::admin;
use crate::config::Config;
use crate::daemon::DaemonError;
use crate::observe::causes;
use crate::sys::inherit::Inherited;

/// Connections that may wait to be accepted; the kernel lowers it to its `somaxconn`.
const BACKLOG: u32 = 4096;

/// Open doors.
pub struct Doors {
    /// The HTTP listeners, at least one.
    pub http: Vec<TcpListener>,
    /// Their addresses, in the same order.
    pub addresses: Vec<SocketAddr>,
    /// The admin socket.
    pub admin: admin::server::Socket,
}

impl Doors {
    /// Opens what was handed over, and binds what was not. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A socket cannot be bound, or no descriptor is left.
    pub fn open(config: &Config, inherited: Inherited) -> Result<Self, DaemonError> {
        for name in &inherited.unknown {
            log::warn!(
                "the service manager handed over a socket named {name:?}, which is closed: \
                 FileDescriptorName= is \"http\" or \"control\""
            );
        }
        let admin = match inherited.control {
            Some(listener) => UnixListener::from_std(listener)
                .map(admin::server::Socket::Handed)
                .map_err(|error| {
                    DaemonError::Admin(format!("cannot answer at the socket handed over: {error}"))
                })?,
            None => admin::server::bind(&config.admin.socket)
                .map(admin::server::Socket::Own)
                .map_err(|error| DaemonError::Admin(causes::one_line(&error)))?,
        };
        let mut http = Vec::new();
        let mut addresses = Vec::new();
        for (listener, address) in inherited.http {
            let taken = TcpListener::from_std(listener);
            http.push(taken.map_err(|source| DaemonError::Listen { address, source })?);
            addresses.push(address);
        }
        if http.is_empty() {
            let listener = bind(config.listen.http)?;
            addresses.push(listener.local_addr().unwrap_or(config.listen.http));
            http.push(listener);
        } else {
            log::info!(
                "listening where the service manager says (ListenStream= of the unit), at {}; \
                 listen.http, {}, is not used",
                list(&addresses),
                config.listen.http
            );
        }
        Ok(Self {
            http,
            addresses,
            admin,
        })
    }
}

/// Addresses in one line.
#[must_use]
pub fn list(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

fn bind(address: SocketAddr) -> Result<TcpListener, DaemonError> {
    let failed = |source| DaemonError::Listen { address, source };
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }
    .map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(address).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)
}
