//! What the service manager lets the daemon know of its own memory: `MEMORY_PRESSURE_WATCH` names a
//! file, a FIFO or a socket, `MEMORY_PRESSURE_WRITE` what to write to it first. A regular file is a
//! pressure file of the kernel and is never read; what comes from the others is read and means nothing
//! but its arrival. What the daemon gives up then is decided elsewhere.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixStream, unix::pipe};

use super::psi::{Share, Threshold, Trigger};

/// Names where to listen.
pub const WATCH: &str = "MEMORY_PRESSURE_WATCH";
/// Says what to write there first, in base64.
pub const WRITE: &str = "MEMORY_PRESSURE_WRITE";

/// What is asked of the kernel where the service manager says nothing: what it would ask for.
const DEFAULT: Threshold = Threshold {
    share: Share::Some,
    stall: Duration::from_millis(200),
    window: Duration::from_secs(2),
};

/// Where news of memory comes from.
#[derive(Debug)]
pub enum Watch {
    /// From nowhere: it is off, or the kernel has nothing to tell.
    Off,
    /// A pressure file.
    File(Trigger),
    /// A FIFO.
    Fifo(pipe::Receiver),
    /// A stream socket.
    Socket(UnixStream),
}

/// Why nothing can be heard.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {path} for memory pressure: {source}")]
pub struct WatchError {
    /// What was to be watched.
    pub path: PathBuf,
    /// What is wrong with it.
    pub source: io::Error,
}

impl Watch {
    /// What the environment names. `files` are the pressure files of the unit and of the daemon alone,
    /// where it has a control group for itself: the unit's tells of the workers too, who have guards
    /// of their own, so the daemon's stands for it; with the usual threshold, if the environment says
    /// nothing. To be called inside a runtime.
    ///
    /// # Errors
    /// It cannot be opened, or is of no known kind.
    pub async fn from_environment(files: Option<(PathBuf, PathBuf)>) -> Result<Self, WatchError> {
        let (watch, write) = (std::env::var_os(WATCH), std::env::var_os(WRITE));
        let watch = watch.filter(|path| !path.is_empty()).map(PathBuf::from);
        match (watch, files) {
            (Some(path), Some((unit, own))) if path == unit => Self::open(&own, write).await,
            (Some(path), _) => Self::open(&path, write).await,
            // Without figures in the kernel there is nothing to hear.
            (None, Some((_, own))) if own.exists() => {
                let armed = Trigger::arm(&own, &DEFAULT);
                armed.map(Self::File).map_err(|e| failed(&own, e))
            }
            (None, _) => Ok(Self::Off),
        }
    }

    async fn open(path: &Path, write: Option<OsString>) -> Result<Self, WatchError> {
        Self::open_any(path, write)
            .await
            .map_err(|e| failed(path, e))
    }

    async fn open_any(path: &Path, write: Option<OsString>) -> io::Result<Self> {
        if path == Path::new("/dev/null") {
            return Ok(Self::Off);
        }
        if !path.is_absolute() {
            return Err(invalid("the path is not absolute"));
        }
        let line = match write {
            None => None,
            Some(text) => {
                let bytes = STANDARD.decode(text.as_encoded_bytes());
                Some(bytes.map_err(|_| invalid("MEMORY_PRESSURE_WRITE is not base64"))?)
            }
        };
        let kind = fs::metadata(path)?.file_type();
        if kind.is_file() {
            // Without a word the file tells by itself; the kernel's do not.
            let line = line.ok_or_else(|| invalid("MEMORY_PRESSURE_WRITE is missing"))?;
            return Trigger::arm_with(path, &line).map(Self::File);
        }
        if kind.is_fifo() {
            // Open for writing, too: else it is at its end whenever no writer is there. What would be
            // written would come back.
            let receiver = pipe::OpenOptions::new()
                .read_write(true)
                .open_receiver(path)?;
            return Ok(Self::Fifo(receiver));
        }
        if kind.is_socket() {
            let mut socket = UnixStream::connect(path).await?;
            if let Some(line) = line {
                socket.write_all(&line).await?;
            }
            return Ok(Self::Socket(socket));
        }
        Err(invalid("it is no regular file, FIFO or socket"))
    }

    /// Whether anything can be heard.
    #[must_use]
    pub fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }

    /// Waits until memory is said to be short; cancel safe. For ever, if it is off.
    ///
    /// # Errors
    /// The far side is gone, and nothing will be heard again.
    pub async fn told(&self) -> io::Result<()> {
        match self {
            Self::Off => std::future::pending().await,
            Self::File(trigger) => trigger.fired().await,
            Self::Fifo(fifo) => loop {
                fifo.readable().await?;
                if discard(|buffer| fifo.try_read(buffer))? {
                    return Ok(());
                }
            },
            Self::Socket(socket) => loop {
                socket.readable().await?;
                if discard(|buffer| socket.try_read(buffer))? {
                    return Ok(());
                }
            },
        }
    }
}

/// Reads what is there, within reason; whether there was anything.
fn discard(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let mut any = false;
    for _ in 0..16 {
        match read(&mut buffer) {
            Ok(0) if any => return Ok(true),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => any = true,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(any),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(any)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn failed(path: &Path, source: io::Error) -> WatchError {
    WatchError {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use std::io::Write as _;
    use tokio::io::AsyncReadExt as _;
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(50);

    async fn hears(watch: &Watch) -> bool {
        timeout(SHORT, watch.told()).await.is_ok()
    }

    #[tokio::test]
    async fn a_fifo_tells_by_any_byte_and_survives_its_writers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
        let line = Some(OsString::from("c29tZQ=="));
        let watch = Watch::open(&path, line).await.unwrap();
        assert!(!hears(&watch).await, "not even itself");
        for _ in 0..2 {
            let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
            writer.write_all(&[b'x'; 9000]).unwrap();
            drop(writer);
            timeout(LONG, watch.told()).await.unwrap().unwrap();
            assert!(!hears(&watch).await, "once for all that was there");
        }
    }

    #[tokio::test]
    async fn a_socket_is_written_to_and_tells_until_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let watch = Watch::open(&path, Some("aGVsbG8=".into())).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let mut said = [0; 5];
        far.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"hello");
        assert!(!hears(&watch).await);
        far.write_all(b"!").await.unwrap();
        timeout(LONG, watch.told()).await.unwrap().unwrap();
        drop(far);
        assert!(timeout(LONG, watch.told()).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn the_null_device_is_off_and_the_rest_is_refused() {
        let null = Watch::open(Path::new("/dev/null"), None).await.unwrap();
        assert!(null.is_off());
        assert!(!hears(&null).await);
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        fs::write(&plain, "").unwrap();
        let table: [(&Path, Option<&str>); 5] = [
            (Path::new("relative"), None),
            (&dir.path().join("none"), None),
            (&plain, None),
            (&plain, Some("c29tZSAyMDAwMDAgMjAwMDAwMAo=")),
            (Path::new("/proc/pressure/memory"), Some("not base64!")),
        ];
        for (path, line) in table {
            let opened = Watch::open(path, line.map(OsString::from)).await;
            let error = opened.map(|_| ()).unwrap_err();
            assert!(error.to_string().contains(&*path.to_string_lossy()));
        }
    }

    #[tokio::test]
    async fn the_kernel_takes_the_line_of_the_service_manager() {
        let machine = Path::new("/proc/pressure/memory");
        if Trigger::arm(machine, &DEFAULT).is_err() {
            let _ = writeln!(io::stderr(), "NOT RUN: this kernel takes no trigger");
            return;
        }
        let line = Some(OsString::from("c29tZSAyMDAwMDAgMjAwMDAwMAo="));
        let watch = Watch::open(machine, line).await.unwrap();
        assert!(matches!(watch, Watch::File(_)));
    }
}
