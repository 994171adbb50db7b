//! Answers on the admin socket. Everything a peer can do is bounded: who it is, how many there
//! are, how long a line is, how long it may take. What a line gets for an answer is the matter of
//! [`Operator`].

use super::operator::Operator;
use super::protocol::{self, Failure, REQUEST_LIMIT, code, failure};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connections served at once; one more is told so and closed.
pub const MAX_CONNECTIONS: usize = 16;
/// Longest wait for a request line, and for a peer to take its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon lives.
    #[error(
        "another mainstayd answers at {0}; stop it, or give this one its own socket with --state-dir"
    )]
    Live(PathBuf),
    /// Something else is there; it is not deleted.
    #[error("cannot create the admin socket: {0} exists and is no socket; move it away")]
    NotASocket(PathBuf),
    /// The operating system refused.
    #[error("cannot {attempt} {path}")]
    Os {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Creates the socket at `path` with mode 0600, and its directory with mode 0700 if it is missing.
/// A socket file nobody answers at is the remains of a killed daemon and is replaced. Must be
/// called within a tokio runtime.
///
/// # Errors
/// If another daemon answers there, something else is there, or the file cannot be created.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let os = |attempt, path: &Path| {
        let path = path.to_owned();
        move |source| BindError::Os {
            attempt,
            path,
            source,
        }
    };
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        let mut builder = std::fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(parent);
        made.map_err(os("create the directory of the admin socket,", parent))?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) => {
            if is_live(path).map_err(os("ask who answers at the admin socket", path))? {
                return Err(BindError::Live(path.to_owned()));
            }
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(os("remove the stale admin socket", path)(error));
                }
                _ => {}
            }
        }
        Err(_) => {} // What is wrong with the path, bind says below.
    }
    let listener = UnixListener::bind(path).map_err(os("listen on the admin socket", path))?;
    // Until here the umask decides. Nobody gets in meanwhile: each peer is asked who it is.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(os("restrict the mode of the admin socket", path))?;
    Ok(listener)
}

/// Whether somebody accepts connections at a socket file.
fn is_live(path: &Path) -> io::Result<bool> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ConnectionRefused | NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A socket to answer on, and who made it.
#[derive(Debug)]
pub enum Socket {
    /// This daemon, by [`bind`]: the file is its own, and so is whoever has its user.
    Own(UnixListener),
    /// The service manager: the file stays, and its mode and group say who may ask.
    Handed(UnixListener),
}

/// Answers until `shutdown` completes, then closes all connections and removes the socket file if
/// it is this daemon's own and still the one of this listener. It is removed, too, if this future
/// is dropped.
pub fn serve(
    socket: Socket,
    operator: Operator,
    shutdown: impl Future<Output = ()>,
) -> impl Future<Output = ()> {
    let (listener, file, handed) = match socket {
        // Now, not at the first poll: until then somebody may have put his own file there.
        Socket::Own(listener) => {
            let file = SocketFile::of(&listener);
            (listener, file, false)
        }
        Socket::Handed(listener) => (listener, None, true),
    };
    async move {
        // The file goes before the listener, which keeps the number of its inode from being reused.
        let (listener, _file) = (listener, file);
        let rule = Rule {
            own_user: own_user(),
            handed,
        };
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                Some(ended) = connections.join_next() => if let Err(error) = ended {
                    log::error!("an admin connection was closed by a fault of the daemon: {error}");
                },
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => match admit(&stream, rule, connections.len()) {
                        Ok(user) => {
                            connections.spawn(converse(stream, operator.clone(), user));
                        }
                        Err(failure) => turn_away(&stream, &failure),
                    },
                    Err(error) => {
                        log::warn!("cannot accept an admin connection: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

/// The user of a peer that is let in.
fn admit(stream: &UnixStream, rule: Rule, open: usize) -> Result<u32, Failure> {
    let peer = stream
        .peer_cred()
        .map_err(|error| failure(code::DENIED, format!("cannot tell who you are: {error}")))?;
    rule.check(peer.uid())?;
    if open >= MAX_CONNECTIONS {
        return Err(failure(
            code::BUSY,
            format!("{MAX_CONNECTIONS} admin connections are open; try again in a moment"),
        ));
    }
    Ok(peer.uid())
}

/// Who may ask. Root may.
#[derive(Clone, Copy, Debug)]
struct Rule {
    own_user: Option<u32>,
    handed: bool,
}

impl Rule {
    /// On a socket of our own its user, too. The mode of the file says the same; this holds where
    /// the mode cannot: between creating the file and setting its mode.
    ///
    /// On one that was handed over everybody else whom its file lets in, but not the daemon's own
    /// user: that is who the workers are, and the file is made so that they stay out.
    fn check(self, peer: u32) -> Result<(), Failure> {
        let own = Some(peer) == self.own_user;
        let known = self.own_user.is_some();
        let (allowed, instead) = match self.handed {
            false => (own, "the user mainstayd runs as"),
            true => (known && !own, "a member of the group of its socket"),
        };
        if peer == 0 || allowed {
            return Ok(());
        }
        let why = if own {
            ", as mainstayd's workers do"
        } else {
            ""
        };
        Err(failure(
            code::DENIED,
            format!("user {peer} may not ask{why}; be root or {instead}"),
        ))
    }
}

/// The user this process runs as, the way peers are asked: its own credentials at the other end
/// of a socket pair. `None`, where no descriptor is left for one, lets root in only.
fn own_user() -> Option<u32> {
    let (here, _there) = UnixStream::pair().ok()?;
    here.peer_cred().ok().map(|own| own.uid())
}

/// Says why and closes. A new connection has room for a line, so this never waits; if it has not,
/// closing says enough.
fn turn_away(stream: &UnixStream, failure: &Failure) {
    let _ = stream.try_write(protocol::refuse(failure).as_bytes());
}

/// One connection: request, answer, and again, until the peer ends it or tries our patience.
async fn converse(stream: UnixStream, operator: Operator, user: u32) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while let Ok(Ok(())) = timeout(PATIENCE, read_line(&mut reader, &mut line)).await {
        let too_large = line.len() > REQUEST_LIMIT;
        let answer = match line.as_slice() {
            [] => return,
            _ if too_large => protocol::refuse(&failure(
                code::TOO_LARGE,
                format!("a request is at most {REQUEST_LIMIT} bytes long"),
            )),
            line => operator.respond(line, user).await,
        };
        match timeout(PATIENCE, writer.write_all(answer.as_bytes())).await {
            Ok(Ok(())) if !too_large => {}
            _ => return,
        }
    }
}

/// Reads up to and including a newline, the end, or one byte more than the limit.
async fn read_line(reader: &mut BufReader<OwnedReadHalf>, line: &mut Vec<u8>) -> io::Result<()> {
    line.clear();
    let limit = REQUEST_LIMIT as u64 + 1;
    reader.take(limit).read_until(b'\n', line).await?;
    Ok(())
}

/// The socket file, removed on drop unless somebody else's has taken its place.
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(listener: &UnixListener) -> Option<Self> {
        let path = listener.local_addr().ok()?.as_pathname()?.to_owned();
        let identity = identity(&path)?;
        Some(Self { path, identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path) == Some(self.identity) {
            if let Err(error) = std::fs::remove_file(&self.path) {
                log::warn!(
                    "cannot remove the admin socket {}: {error}",
                    self.path.display()
                );
            }
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_ask(peer: u32, own_user: Option<u32>, handed: bool) -> bool {
        Rule { own_user, handed }.check(peer).is_ok()
    }

    #[test]
    fn only_root_and_the_own_user_may_ask() {
        let may_ask = |peer, own| may_ask(peer, own, false);
        assert!(may_ask(0, Some(999)) && may_ask(999, Some(999)) && may_ask(0, None));
        assert!(!may_ask(1000, Some(999)) && !may_ask(1000, None) && !may_ask(1000, Some(0)));
    }

    #[test]
    fn at_a_socket_of_the_service_manager_workers_may_not_ask() {
        let may_ask = |peer, own| may_ask(peer, own, true);
        // Its file says who gets this far; only who shares the user of the workers does not.
        assert!(may_ask(0, Some(999)) && may_ask(1000, Some(999)) && !may_ask(999, Some(999)));
        // A daemon of root has workers of root: there is nobody to keep apart.
        assert!(may_ask(0, Some(0)) && may_ask(1000, Some(0)));
        assert!(may_ask(0, None) && !may_ask(1000, None));
    }
}
