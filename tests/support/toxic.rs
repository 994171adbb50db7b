//! A TCP proxy that can be made to misbehave while it runs: what stands between a daemon and its
//! upstream when the network is the fault. It takes a bounded number of connections and ends with
//! its value.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

/// What is wrong with the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Toxic {
    /// Nothing.
    Healthy,
    /// Every piece is late, in both directions.
    Latency(Duration),
    /// Connections are reset, new ones as soon as they are made.
    Reset,
    /// Connections are made, and nothing gets through, on old ones neither. What was sent
    /// meanwhile arrives after the healing, as lost packets are sent again.
    BlackHole,
    /// Answers pass at this many bytes a second.
    Slow(usize),
    /// After this many bytes of answers, counted from now, a connection is reset.
    Limit(usize),
    /// New connections are refused; old ones live.
    Refuse,
}

/// How often threads look up from a silent socket.
const LOOK: Duration = Duration::from_millis(10);
const CONNECTIONS: usize = 256;

/// The proxy.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    toxic: Toxic,
    /// Counts the changes, so that limits count from the last one.
    change: u64,
    target: SocketAddr,
    /// Connections made before the last cut are reset.
    cuts: u64,
    stopping: bool,
}

impl Shared {
    fn toxic(&self) -> (Toxic, u64, bool) {
        let state = self.state.lock().unwrap();
        (state.toxic, state.change, state.stopping)
    }

    fn cuts(&self) -> u64 {
        self.state.lock().unwrap().cuts
    }

    /// Waits, but not over a change.
    fn pause(&self, most: Duration) {
        let state = self.state.lock().unwrap();
        let change = state.change;
        let same = |s: &mut State| s.change == change && !s.stopping;
        drop(self.changed.wait_timeout_while(state, most, same).unwrap());
    }
}

impl Proxy {
    /// A healthy proxy in front of `target`.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            toxic: Toxic::Healthy,
            change: 0,
            target,
            cuts: 0,
            stopping: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let ours = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&ours, listener, address));
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the network is like this.
    pub(crate) fn set(&self, toxic: Toxic) {
        self.change(|state| state.toxic = toxic);
    }

    /// Nothing is wrong any more.
    pub(crate) fn heal(&self) {
        self.set(Toxic::Healthy);
    }

    /// Resets the connections there are; new ones are not touched.
    pub(crate) fn cut(&self) {
        self.change(|state| state.cuts += 1);
    }

    /// New connections go elsewhere.
    pub(crate) fn retarget(&self, target: SocketAddr) {
        self.change(|state| state.target = target);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.shared.state.lock().unwrap();
        change(&mut state);
        state.change += 1;
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|state| state.stopping = true);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: TcpListener, address: SocketAddr) {
    let mut listener = Some(listener);
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let (toxic, _, stopping) = shared.toxic();
        if stopping {
            break;
        }
        if toxic == Toxic::Refuse {
            listener = None;
            shared.pause(LOOK);
            continue;
        }
        let open = listener.get_or_insert_with(|| TcpListener::bind(address).unwrap());
        open.set_nonblocking(true).unwrap();
        threads.retain(|thread| !thread.is_finished());
        match open.accept() {
            Ok((client, _)) if threads.len() < CONNECTIONS => {
                let shared = Arc::clone(shared);
                threads.push(thread::spawn(move || connect(&shared, &client)));
            }
            Ok(_) => {}
            Err(_) => shared.pause(LOOK),
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn connect(shared: &Shared, client: &TcpStream) {
    let (target, born) = {
        let state = shared.state.lock().unwrap();
        (state.target, state.cuts)
    };
    client.set_nonblocking(false).unwrap();
    let Ok(server) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) else {
        return reset(client);
    };
    thread::scope(|scope| {
        scope.spawn(|| copy(shared, client, &server, false, born));
        copy(shared, &server, client, true, born);
    });
}

/// The next close of this socket is a reset.
fn reset(stream: &TcpStream) {
    let now = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let _ = setsockopt(stream, sockopt::Linger, &now);
}

/// Copies one direction until either side ends; `down` is that of the answers.
fn copy(shared: &Shared, from: &TcpStream, to: &TcpStream, down: bool, born: u64) {
    let (mut input, mut output) = (from, to);
    input.set_read_timeout(Some(LOOK)).unwrap();
    output
        .set_write_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    output.set_nodelay(true).unwrap();
    let mut buffer = [0; 16 * 1024];
    let (mut counted, mut since) = (0, 0);
    let cut = || {
        reset(if down { to } else { from });
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    };
    loop {
        let (toxic, _, stopping) = shared.toxic();
        if stopping || toxic == Toxic::Reset || shared.cuts() != born {
            return cut();
        }
        let mut piece = match input.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(length) => &buffer[..length],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => return cut(),
        };
        let arrived = Instant::now();
        while !piece.is_empty() {
            let (toxic, change, stopping) = shared.toxic();
            if stopping {
                return cut();
            }
            if change != since {
                (counted, since) = (0, change);
            }
            let now = match toxic {
                Toxic::Healthy | Toxic::Refuse => piece.len(),
                Toxic::Latency(late) => {
                    let left = late.saturating_sub(arrived.elapsed());
                    if left > Duration::ZERO {
                        shared.pause(left);
                        continue;
                    }
                    piece.len()
                }
                Toxic::Reset => return cut(),
                Toxic::BlackHole => {
                    shared.pause(Duration::from_secs(1));
                    continue;
                }
                Toxic::Slow(rate) if down => {
                    let some = (rate / 20).clamp(1, piece.len());
                    shared.pause(Duration::from_millis(50));
                    some
                }
                Toxic::Limit(limit) if down && counted >= limit => return cut(),
                Toxic::Limit(limit) if down => piece.len().min(limit - counted),
                Toxic::Slow(_) | Toxic::Limit(_) => piece.len(),
            };
            if output.write_all(&piece[..now]).is_err() {
                return cut();
            }
            counted += now;
            piece = &piece[now..];
        }
    }
}
