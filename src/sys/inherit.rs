//! Listening sockets that the service manager hands over (sd_listen_fds(3)), taken by their names:
//! their order changes between releases of systemd. It knows the names and the kinds, not what is
//! served on them.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike as _, SockaddrStorage, getsockname, getsockopt, sockopt,
};

/// `FileDescriptorName=` of the sockets for HTTP, of which there may be several.
pub const HTTP: &str = "http";
/// `FileDescriptorName=` of the one socket for `mainstayctl`.
pub const CONTROL: &str = "control";
/// More descriptors than this are taken for a mistake.
const MOST: u32 = 4096;
/// How often waiting connections are looked for while they are turned away.
const LOOK: Duration = Duration::from_millis(50);

/// What was handed over. All of it closes on exec and never blocks.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The sockets named `http`, in the order they came, with their addresses.
    pub http: Vec<(TcpListener, SocketAddr)>,
    /// The socket named `control`. Its file belongs to the service manager.
    pub control: Option<UnixListener>,
    /// Names of what nobody here knows; these are closed.
    pub unknown: Vec<String>,
}

/// Why what was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// The variables of the hand-over contradict what is there.
    #[error(
        "cannot take over sockets: {0}; start mainstayd by its unit, or without LISTEN_FDS and LISTEN_PID"
    )]
    Environment(String),
    /// A socket is not what its name says.
    #[error(
        "cannot use the socket named \"{name}\": it is {found}, not {wanted}; correct its .socket unit"
    )]
    Kind {
        /// Its name.
        name: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The operating system refused.
    #[error("cannot take over the socket named \"{name}\": {source}")]
    Os {
        /// Its name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Inherited {
    /// Takes what the environment announces for this process; nothing where it announces nothing.
    /// To be called before the process opens anything: then the announced numbers can only be what
    /// was handed over. A second call gets nothing. The variables stay set; no worker gets them.
    ///
    /// # Errors
    /// See [`InheritError`]. What was handed over is closed then.
    pub fn take() -> Result<Self, InheritError> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::Relaxed) || !announced()? {
            return Ok(Self::default());
        }
        let handed =
            sd_listen_fds::get().map_err(|error| InheritError::Environment(error.to_string()))?;
        Self::sort(
            handed
                .into_iter()
                .map(|(name, fd)| (name.unwrap_or_default(), fd.into_std())),
        )
    }

    fn sort(handed: impl Iterator<Item = (String, OwnedFd)>) -> Result<Self, InheritError> {
        let mut found = Self::default();
        // All of it first: an error must not leave one behind that passes to a worker.
        let handed: Vec<_> = handed.collect();
        for (name, fd) in &handed {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|error| os(name, error))?;
        }
        for (name, fd) in handed {
            match name.as_str() {
                HTTP => found.http.push(tcp(fd)?),
                CONTROL if found.control.is_some() => {
                    return Err(InheritError::Kind {
                        name: CONTROL,
                        found: "the second of that name".to_owned(),
                        wanted: "the only one",
                    });
                }
                CONTROL => found.control = Some(unix(fd)?),
                _ => found.unknown.push(name),
            }
        }
        Ok(found)
    }

    /// Whether nothing was handed over that is of use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.http.is_empty() && self.control.is_none()
    }

    /// The same sockets once more.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let again = |(listener, address): &(TcpListener, SocketAddr)| {
            listener.try_clone().map(|listener| (listener, *address))
        };
        Ok(Self {
            http: self.http.iter().map(again).collect::<Result<_, _>>()?,
            control: self
                .control
                .as_ref()
                .map(UnixListener::try_clone)
                .transpose()?,
            unknown: self.unknown.clone(),
        })
    }

    /// Accepts and closes what waits and what comes for this long. For a daemon that cannot serve:
    /// if it just ended, whoever waits would make the service manager start it again at once, some
    /// eight times a second.
    pub fn turn_away(&self, pause: Duration) {
        if self.is_empty() {
            return;
        }
        let end = Instant::now() + pause;
        loop {
            for (listener, _) in &self.http {
                while listener.accept().is_ok() {}
            }
            while self.control.as_ref().is_some_and(|c| c.accept().is_ok()) {}
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}

/// Whether descriptors are announced for this process. The crate believes what the environment
/// says, so it is looked at first: each number must be open.
fn announced() -> Result<bool, InheritError> {
    let variable = |name| std::env::var_os(name).and_then(|value| value.into_string().ok());
    let number = |name: &'static str| match variable(name) {
        None => Ok(None),
        Some(text) => text.parse::<u32>().map(Some).map_err(|_| {
            InheritError::Environment(format!("{name} is {text:?}, which is no number"))
        }),
    };
    let (Some(pid), Some(count)) = (number("LISTEN_PID")?, number("LISTEN_FDS")?) else {
        return Ok(false);
    };
    if pid != std::process::id() {
        return Ok(false);
    }
    if count > MOST {
        let what = format!("LISTEN_FDS is {count}, more than {MOST}");
        return Err(InheritError::Environment(what));
    }
    let mut missing = String::new();
    for number in 3..3 + count {
        if std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_err() {
            // Writing to a String cannot fail.
            let _ = write!(missing, " {number}");
        }
    }
    if missing.is_empty() {
        return Ok(count > 0);
    }
    Err(InheritError::Environment(format!(
        "LISTEN_FDS is {count}, but these descriptors are not open:{missing}"
    )))
}

fn tcp(fd: OwnedFd) -> Result<(TcpListener, SocketAddr), InheritError> {
    let wanted = "a listening TCP socket";
    let family = check(&fd, HTTP, wanted)?;
    if !matches!(family, Some(AddressFamily::Inet | AddressFamily::Inet6)) {
        return Err(kind(HTTP, wanted, "of another family"));
    }
    let listener = TcpListener::from(fd);
    let prepared = listener
        .set_nonblocking(true)
        .and_then(|()| listener.local_addr());
    let address = prepared.map_err(|source| os(HTTP, source))?;
    Ok((listener, address))
}

fn unix(fd: OwnedFd) -> Result<UnixListener, InheritError> {
    let wanted = "a listening Unix socket";
    if check(&fd, CONTROL, wanted)? != Some(AddressFamily::Unix) {
        return Err(kind(CONTROL, wanted, "of another family"));
    }
    let listener = UnixListener::from(fd);
    let prepared = listener.set_nonblocking(true);
    prepared.map_err(|source| os(CONTROL, source))?;
    Ok(listener)
}

/// The family of a stream socket that listens.
fn check(
    fd: &OwnedFd,
    name: &'static str,
    wanted: &'static str,
) -> Result<Option<AddressFamily>, InheritError> {
    match getsockopt(fd, sockopt::SockType) {
        Ok(SockType::Stream) => {}
        Ok(SockType::Datagram) => return Err(kind(name, wanted, "a datagram socket")),
        Ok(_) => return Err(kind(name, wanted, "a socket of another type")),
        Err(_) => return Err(kind(name, wanted, "no socket")),
    }
    if getsockopt(fd, sockopt::AcceptConn) != Ok(true) {
        return Err(kind(name, wanted, "a socket that does not listen"));
    }
    use std::os::fd::AsRawFd as _;
    let address: SockaddrStorage = getsockname(fd.as_raw_fd()).map_err(|error| os(name, error))?;
    Ok(address.family())
}

fn kind(name: &'static str, wanted: &'static str, found: &str) -> InheritError {
    InheritError::Kind {
        name,
        found: found.to_owned(),
        wanted,
    }
}

fn os(name: &str, error: impl Into<io::Error>) -> InheritError {
    InheritError::Os {
        name: name.to_owned(),
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;

    fn sorted(handed: Vec<(&str, OwnedFd)>) -> Result<Inherited, InheritError> {
        Inherited::sort(handed.into_iter().map(|(name, fd)| (name.to_owned(), fd)))
    }

    fn http() -> (OwnedFd, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // As a service manager hands it over; std closes on exec.
        fcntl(&listener, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        (listener.into(), address)
    }

    #[test]
    fn sockets_are_known_by_name_in_any_order() {
        let dir = tempfile::tempdir().unwrap();
        let control = UnixListener::bind(dir.path().join("control")).unwrap();
        let ((one, at), (two, also)) = (http(), http());
        let (other, _) = http();
        let found = sorted(vec![
            ("mainstay.socket", other),
            (HTTP, one),
            (CONTROL, control.into()),
            (HTTP, two),
        ])
        .unwrap();
        let addresses: Vec<_> = found.http.iter().map(|(_, address)| *address).collect();
        assert_eq!(addresses, [at, also]);
        assert!(found.control.is_some() && !found.is_empty());
        assert_eq!(found.unknown, ["mainstay.socket"]);
        for (listener, _) in &found.http {
            let flags = fcntl(listener, FcntlArg::F_GETFD).unwrap();
            assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
            // It would wait for ever otherwise.
            assert_eq!(
                listener.accept().unwrap_err().kind(),
                io::ErrorKind::WouldBlock
            );
        }
    }

    #[test]
    fn what_is_no_listener_is_said_with_its_name() {
        let udp: OwnedFd = UdpSocket::bind("127.0.0.1:0").unwrap().into();
        let (unix, _peer) = UnixStream::pair().unwrap();
        let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        let dir = tempfile::tempdir().unwrap();
        let local = || UnixListener::bind(dir.path().join("s")).unwrap().into();
        for (name, fd, found) in [
            (HTTP, udp, "a datagram socket"),
            (CONTROL, unix.into(), "a socket that does not listen"),
            (HTTP, file, "no socket"),
            (CONTROL, http().0, "of another family"),
            (HTTP, local(), "of another family"),
        ] {
            let error = sorted(vec![(name, fd)]).unwrap_err().to_string();
            let told = format!("the socket named \"{name}\": it is {found}, not a listening");
            assert!(error.contains(&told), "{error}");
        }
    }

    #[test]
    fn whoever_waits_is_turned_away() {
        let (listener, address) = http();
        let found = sorted(vec![(HTTP, listener)]).unwrap();
        let mut waiting = TcpStream::connect(address).unwrap();
        found.try_clone().unwrap().turn_away(Duration::ZERO);
        // It would wait for ever if its connection were still in the backlog.
        assert_eq!(waiting.read(&mut [0; 8]).unwrap(), 0);
    }
}
