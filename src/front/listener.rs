//! The accept loop: bounded connections, TCP_NODELAY (without it an event costs 40 ms), header
//! time-outs, a pause instead of a spin when file descriptors run out, and a drain at the end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::context::Context;
use super::pace::{Pace, Paced};
use super::router;
use crate::broker::principal::Principal;
use crate::fault::{self, Part};
use crate::observe::pulse::{self, ACCEPTOR};

/// Pause after an error of `accept`, such as EMFILE: the connection stays in the backlog.
const PAUSE: Duration = Duration::from_millis(100);
/// While there is no place it shows this often that it lives.
const FULL: Duration = Duration::from_secs(1);
/// A request that is on its way when a connection is to close is read if it comes within this. hyper would
/// close a connection that was accepted a moment ago unread.
const FIRST: Duration = Duration::from_secs(1);
/// Largest request head.
const HEAD: usize = 64 * 1024;

/// Accepts from all `listeners` until `stop` becomes true, then lets open connections finish for
/// `drain`.
pub async fn serve(
    listeners: Vec<TcpListener>,
    context: Arc<Context>,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) {
    let places = Arc::new(Semaphore::new(context.terms().listen.max_connections));
    let mut connections = JoinSet::new();
    let mut turn = 0;
    loop {
        fault::hold(Part::Acceptor).await;
        // A place first: beyond the limit connections wait in the kernel's backlog.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = stopped(&mut stop) => break,
            // Full is no fault. The probe waits with the others, so this is its answer.
            () = tokio::time::sleep(FULL) => {
                ACCEPTOR.beat();
                continue;
            }
        };
        let Ok(place) = place else {
            break;
        };
        let (socket, peer) = tokio::select! {
            accepted = accept(&listeners, &mut turn) => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if !is_transient(&error) {
                        log::error!("cannot accept connections: {error}; trying again in {PAUSE:?}");
                        tokio::time::sleep(PAUSE).await;
                        ACCEPTOR.beat();
                    }
                    continue;
                }
            },
            () = stopped(&mut stop) => break,
        };
        let context = Arc::clone(&context);
        let stop = stop.clone();
        connections.spawn(async move {
            let counted = u64::from(!pulse::is_probe(peer.port()));
            context.connections.fetch_add(counted, Ordering::Relaxed);
            connection(socket, peer.ip(), &context, stop).await;
            context.connections.fetch_sub(counted, Ordering::Relaxed);
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listeners);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, finished).await.is_err() {
        log::warn!(
            "{} connections did not finish within {drain:?}",
            connections.len()
        );
        connections.shutdown().await;
    }
}

/// The next connection of any listener; each is asked first in its `turn`, so that none of them
/// keeps the others waiting.
async fn accept(
    listeners: &[TcpListener],
    turn: &mut usize,
) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        for place in 0..listeners.len() {
            let at = (*turn + place) % listeners.len();
            if let Poll::Ready(accepted) = listeners[at].poll_accept(context) {
                *turn = at + 1;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|s| *s).await;
}

async fn changed(thinned: &mut watch::Receiver<u64>) {
    // Without a sender nobody will say so any more.
    if thinned.changed().await.is_err() {
        std::future::pending().await
    }
}

/// The peer's own doing, nothing to wait for.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

async fn connection(
    socket: TcpStream,
    peer: IpAddr,
    context: &Arc<Context>,
    mut stop: watch::Receiver<bool>,
) {
    let stranger = context.limits.meet(Principal::anonymous(peer));
    // A socket that is gone already fails at the first read too.
    let _ = socket.set_nodelay(true);
    let pace = Pace::new();
    let header_timeout = context.terms().listen.header_timeout;
    let service = service_fn(|request| {
        pace.request();
        let pace = Arc::clone(&pace);
        let stranger = &stranger;
        async move {
            let answer = router::handle(context, stranger, request).await;
            Ok::<_, Infallible>(answer.map(|body| body.paced(pace)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(Paced::new(socket, Arc::clone(&pace))), service);
    tokio::pin!(connection);
    let mut thinned = context.thinned.clone();
    thinned.mark_unchanged();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        why = pace.overdue(header_timeout) => {
            log::debug!("a connection is closed: {why}");
            return;
        }
        () = async {
            stopped(&mut stop).await;
            pace.headless(FIRST).await;
        } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        // Its next request comes on a new one.
        () = async {
            changed(&mut thinned).await;
            pace.headless(FIRST).await;
        } => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                why = pace.overdue(header_timeout) => {
                    log::debug!("a connection is closed: {why}");
                    return;
                }
                () = stopped(&mut stop) => connection.await,
            }
        }
    };
    if let Err(error) = ended {
        log::debug!("a connection ended: {error}");
    }
}
