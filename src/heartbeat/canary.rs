//! Tasks that show that something works by having it done: a timer fires, a queue is looked after, a
//! connection is accepted and answered. Each moves its pulse when it was.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::broker::catalog::Catalog;
use crate::fault::{self, Part};
use crate::observe::pulse;

/// How often a timer is to fire.
const TICK: Duration = Duration::from_millis(100);
/// How often queues are looked after. It is also a net under the events that give places to calls.
const ROUND: Duration = Duration::from_millis(500);
/// Longest pause between two probes of the listener.
const PROBE: Duration = Duration::from_secs(1);
/// How long an answer is waited for: longer than the part may be silent, so that one that is only
/// slow counts when it comes.
const ANSWER: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Timers of the runtime fire.
pub(super) async fn timers() {
    loop {
        fault::hold(Part::Timers).await;
        pulse::TIMERS.beat();
        sleep(TICK).await;
    }
}

/// The queues of every server can be had, and nobody waits in them for longer than he may.
pub(super) async fn dispatcher(catalog: Arc<Catalog>) {
    loop {
        // All of them, even if one is in trouble.
        let servers = catalog.every();
        let moving = servers.iter().filter(|server| server.attend());
        if moving.count() == servers.len() {
            pulse::DISPATCHER.beat();
        }
        sleep(ROUND).await;
    }
}

/// A connection to `address` is accepted and answered by the real router. The part is watched only
/// after that has worked once: where something keeps the daemon from reaching itself, such as a
/// packet filter, restarting it would change nothing.
///
/// Once `stopping` is true it connects no more: a connection that nobody accepts any more would stay
/// in the socket of the service manager, which would start the daemon again to serve it.
pub(super) async fn acceptor(
    address: SocketAddr,
    interval: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let pause = PROBE.min(interval / 8);
    let mut told = false;
    while !*stopping.borrow() {
        match timeout(ANSWER, probe(within(address))).await {
            Ok(Ok(())) => pulse::ACCEPTOR.beat(),
            // Out of descriptors, memory or ports: the loop that accepts is not to blame.
            Ok(Err(error)) if is_shortage(&error) && pulse::ACCEPTOR.last().is_some() => {
                pulse::ACCEPTOR.beat();
            }
            failed => {
                if !told && pulse::ACCEPTOR.last().is_none() {
                    told = true;
                    let why = failed.map_or_else(
                        |_| "no answer".to_owned(),
                        |ended| ended.map_or_else(|error| error.to_string(), |()| String::new()),
                    );
                    log::warn!(
                        "cannot reach the own listener at {address}: {why}; whether connections \
                         are accepted is not watched until that works"
                    );
                }
            }
        }
        pulse::probe_is_over();
        // Over at once when it is told, or when there is nobody left to tell it.
        if timeout(pause, stopping.wait_for(|told| *told))
            .await
            .is_ok()
        {
            return;
        }
    }
}

/// Where a listener that is bound to all addresses can be reached from here.
fn within(address: SocketAddr) -> SocketAddr {
    let mut reached = address;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => reached.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => reached.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    reached
}

async fn probe(address: SocketAddr) -> io::Result<()> {
    let (socket, any) = match address {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    };
    // A port known beforehand: the listener does not count this connection.
    socket.bind(SocketAddr::new(any, 0))?;
    pulse::probe_from(socket.local_addr()?.port());
    let mut stream = socket.connect(address).await?;
    stream.write_all(REQUEST).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    if head != *b"HTTP/1.1 200" {
        return Err(io::Error::other("another answer than 200"));
    }
    // Up to its end, so that it is the listener who closes first.
    let mut rest = Vec::new();
    stream.take(4096).read_to_end(&mut rest).await?;
    Ok(())
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::OutOfMemory | io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    ) || crate::sys::socket::is_out_of_descriptors(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_loopback() {
        for (bound, reached) in [
            ("0.0.0.0:8000", "127.0.0.1:8000"),
            ("[::]:8000", "[::1]:8000"),
            ("192.0.2.7:80", "192.0.2.7:80"),
            ("[fe80::1%3]:80", "[fe80::1%3]:80"),
        ] {
            let bound: SocketAddr = bound.parse().unwrap();
            assert_eq!(within(bound), reached.parse().unwrap());
        }
    }
}
