//! Messages to the service manager (sd_notify(3)). It knows the messages, not when to send them.
//!
//! The manager's socket may be full or gone, so a thread of its own does the sending and tries
//! again: whoever notifies neither waits nor fails. Without `NOTIFY_SOCKET` (a plain `cargo run`)
//! nothing happens at all.

mod socket;
mod watchdog;

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

pub use socket::Socket;
pub use watchdog::watchdog_interval;

/// Messages that may wait for a manager that does not read. More are dropped: it would get the
/// newest state late, never the daemon stuck. A status waits once, in its newest form.
const WAITING: usize = 64;
/// Longest status line in characters; systemd shows it on one line.
const STATUS_CHARACTERS: usize = 900;
/// How long a message is tried again, and how often.
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(50);
/// How long the end of the daemon waits for its last words to be sent.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the manager was told last about the daemon's state.
const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

/// The line to the service manager; a clone is the same line. Dropping the last one waits, at most
/// a second, until all is sent.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    line: Option<Arc<Line>>,
}

/// A reload that the manager was told of. Dropped, whatever came of the reload, it says that the
/// daemon is ready again: a manager that does not hear so takes the reload for hanging.
#[derive(Debug)]
#[must_use = "dropping it tells the manager that the reload is over"]
pub struct Reloading {
    notifier: Option<Notifier>,
}

#[derive(Debug)]
struct Line {
    /// `None` once it is being dropped, which ends the thread.
    messages: Option<SyncSender<Message>>,
    /// The newest status not sent yet.
    status: Arc<Mutex<Option<String>>>,
    state: AtomicU8,
    /// Hangs up when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

#[derive(Debug)]
enum Message {
    Text(String),
    /// Whatever is in [`Line::status`].
    Status,
}

impl Notifier {
    /// Speaks to the manager named by `NOTIFY_SOCKET`, which stays set; without it every message
    /// is a no-op.
    #[must_use]
    pub fn from_environment() -> Self {
        let line = Socket::from_environment().and_then(|socket| {
            let send = move |message: &[u8]| socket.send(message);
            Line::start(send).map(Arc::new)
        });
        Self { line }
    }

    /// Whether a service manager started this process and listens.
    #[must_use]
    pub fn is_manager_there(&self) -> bool {
        self.line.is_some()
    }

    /// The daemon serves (or says degraded): `READY=1`.
    pub fn ready(&self) {
        self.to(READY);
        self.post("READY=1");
    }

    /// The configuration is being read again: `RELOADING=1` with its time in the same message,
    /// without which the manager would wait for ever. `READY=1` follows when what is returned is
    /// dropped. Says nothing before the daemon is ready and after it has begun to stop, when the
    /// manager would misunderstand either.
    pub fn reloading(&self) -> Reloading {
        let ready = self.state() == READY;
        if ready {
            let now = monotonic_micros();
            self.post(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
        }
        Reloading {
            notifier: ready.then(|| self.clone()),
        }
    }

    /// The daemon has begun to stop: `STOPPING=1`.
    pub fn stopping(&self) {
        self.to(STOPPING);
        self.post("STOPPING=1");
    }

    /// Starting, reloading or stopping takes up to `longer` from now. Has to be said again before that
    /// is over, as long as it goes on.
    pub fn extend_timeout(&self, longer: Duration) {
        self.post(&format!("EXTEND_TIMEOUT_USEC={}", longer.as_micros()));
    }

    /// The daemon has been well for a while: the manager's count of restarts starts anew
    /// (`RESTART_RESET=1`, ignored before systemd 258).
    pub fn settled(&self) {
        self.post("RESTART_RESET=1");
    }

    /// The daemon is about to exit with `status` because of what `line` says; `errno` is what the
    /// kernel said, if it was asked.
    pub fn fatal(&self, line: &str, status: u8, errno: Option<i32>) {
        let mut message = format!("STATUS={}\nEXIT_STATUS={status}", one_line(line));
        if let Some(errno) = errno {
            message.push_str(&format!("\nERRNO={errno}"));
        }
        self.post(&message);
    }

    /// One line for `systemctl status`. Control characters, which could forge further fields, are
    /// left out; cut after 900 characters. A line that was not sent yet is forgotten.
    pub fn status(&self, line: &str) {
        let Some(to) = &self.line else { return };
        let status = format!("STATUS={}", one_line(line));
        let waited = {
            let mut newest = to.status.lock().unwrap_or_else(PoisonError::into_inner);
            newest.replace(status).is_some()
        };
        if !waited {
            to.post(Message::Status);
        }
    }

    fn post(&self, message: &str) {
        if let Some(line) = &self.line {
            line.post(Message::Text(message.to_owned()));
        }
    }

    fn state(&self) -> u8 {
        let line = self.line.as_ref();
        line.map_or(STARTING, |line| line.state.load(Ordering::Relaxed))
    }

    /// A state is never taken back: whoever stops is not ready again.
    fn to(&self, state: u8) {
        if let Some(line) = &self.line {
            line.state.fetch_max(state, Ordering::Relaxed);
        }
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        if let Some(notifier) = self.notifier.take() {
            if notifier.state() == READY {
                notifier.post("READY=1");
            }
        }
    }
}

impl Line {
    fn start(send: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static) -> Option<Self> {
        let (messages, queue) = sync_channel(WAITING);
        let (ending, ended) = channel();
        let status = Arc::new(Mutex::new(None));
        let newest = Arc::clone(&status);
        let run = move || {
            let _ending: Sender<()> = ending;
            pass_on(&queue, &newest, send);
        };
        match std::thread::Builder::new().name("notify".into()).spawn(run) {
            Ok(_detached) => Some(Self {
                messages: Some(messages),
                status,
                state: AtomicU8::new(STARTING),
                ended: Mutex::new(ended),
            }),
            Err(error) => {
                log::warn!("no thread to notify the service manager: {error}");
                None
            }
        }
    }

    fn post(&self, message: Message) {
        let Some(messages) = &self.messages else {
            return;
        };
        match messages.try_send(message) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(message)) => {
                log::debug!("the service manager does not read: {message:?} dropped");
                if matches!(message, Message::Status) {
                    // The next status is to ask for its place again.
                    let mut newest = self.status.lock().unwrap_or_else(PoisonError::into_inner);
                    *newest = None;
                }
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.messages = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        // An error either way: the thread has ended, or it is not worth waiting longer.
        let _ = ended.recv_timeout(LAST_WORDS);
    }
}

/// Sends what comes, in its order, until the line is dropped.
fn pass_on(
    queue: &Receiver<Message>,
    status: &Mutex<Option<String>>,
    mut send: impl FnMut(&[u8]) -> io::Result<()>,
) {
    let mut told = false;
    for message in queue {
        let text = match message {
            Message::Text(text) => Some(text),
            Message::Status => status.lock().unwrap_or_else(PoisonError::into_inner).take(),
        };
        let Some(text) = text else { continue };
        let begun = Instant::now();
        while let Err(error) = send(text.as_bytes()) {
            // A socket that is missing will hardly come; one that is full is read some time.
            let full = error.kind() == io::ErrorKind::WouldBlock;
            if full && begun.elapsed() < PATIENCE {
                std::thread::sleep(AGAIN);
                continue;
            }
            if !told {
                log::warn!("cannot notify the service manager: {error}; going on without it");
                told = true;
            }
            break;
        }
    }
}

fn one_line(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(STATUS_CHARACTERS)
        .collect()
}

/// The clock by which the manager orders reloads.
fn monotonic_micros() -> i64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| now.tv_sec() * 1_000_000 + now.tv_nsec() / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line whose messages are kept, each sent by `pause` after the one before.
    fn kept(pause: Duration) -> (Notifier, Arc<Mutex<Vec<String>>>) {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&sent);
        let line = Line::start(move |message| {
            std::thread::sleep(pause);
            let text = String::from_utf8(message.to_vec()).unwrap();
            log.lock().unwrap().push(text);
            Ok(())
        });
        let line = line.map(Arc::new);
        (Notifier { line }, sent)
    }

    #[test]
    fn a_status_cannot_forge_a_field() {
        assert_eq!(one_line("1 server\nREADY=1\u{85}\r"), "1 serverREADY=1");
        assert_eq!(one_line(&"x".repeat(5000)).len(), STATUS_CHARACTERS);
        let (notifier, sent) = kept(Duration::ZERO);
        notifier.fatal("bad\nWATCHDOG=trigger", 78, Some(2));
        drop(notifier);
        let wanted = ["STATUS=badWATCHDOG=trigger\nEXIT_STATUS=78\nERRNO=2"];
        assert_eq!(*sent.lock().unwrap(), wanted);
    }

    #[test]
    fn all_is_sent_in_order_before_the_end() {
        let (notifier, sent) = kept(Duration::from_millis(20));
        notifier.ready();
        notifier.status("serving");
        notifier.clone().stopping();
        drop(notifier);
        let wanted = ["READY=1", "STATUS=serving", "STOPPING=1"];
        assert_eq!(*sent.lock().unwrap(), wanted);
    }

    #[test]
    fn of_several_waiting_lines_of_status_the_newest_is_sent() {
        let (notifier, sent) = kept(Duration::from_millis(100));
        notifier.ready();
        for line in 0..10 {
            notifier.status(&line.to_string());
        }
        drop(notifier);
        assert_eq!(*sent.lock().unwrap(), ["READY=1", "STATUS=9"]);
    }

    #[test]
    fn pitfall_next_a_reload_says_its_time_and_always_ends() {
        let (notifier, sent) = kept(Duration::ZERO);
        drop(notifier.reloading()); // Not ready yet: READY=1 would end the start.
        notifier.ready();
        let reloading = notifier.reloading();
        notifier.status("reloading");
        drop(reloading); // The new configuration was refused, say.
        let reloading = notifier.reloading();
        notifier.stopping();
        drop(reloading); // STOPPING=1 is final.
        drop(notifier);
        let sent = sent.lock().unwrap();
        let heads: Vec<_> = sent.iter().map(|m| m.split(['\n', '=']).next()).collect();
        let wanted = [
            "READY",
            "RELOADING",
            "STATUS",
            "READY",
            "RELOADING",
            "STOPPING",
        ];
        assert_eq!(heads, wanted.map(Some));
        let stamp: i64 = sent[1]
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap()
            .parse()
            .unwrap();
        assert!(stamp > 0 && stamp <= monotonic_micros());
    }

    #[test]
    fn a_manager_that_does_not_read_holds_up_nobody_and_gets_it_later() {
        let (reads, read) = channel::<()>();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&sent);
        let mut reading = false;
        let line = Line::start(move |message| {
            reading = reading || read.try_recv().is_ok();
            if !reading {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            log.lock().unwrap().push(message.to_vec());
            Ok(())
        });
        let notifier = Notifier {
            line: line.map(Arc::new),
        };
        let begun = Instant::now();
        for _ in 0..10 * WAITING {
            notifier.ready();
            notifier.status("serving");
        }
        assert!(begun.elapsed() < PATIENCE / 2);
        reads.send(()).unwrap();
        drop(notifier);
        let sent = sent.lock().unwrap();
        assert!((2..=WAITING + 1).contains(&sent.len()), "{}", sent.len());
        assert_eq!(sent[0], b"READY=1");
    }

    #[test]
    fn a_manager_that_is_gone_is_given_up() {
        let line = Line::start(|_| Err(io::ErrorKind::NotFound.into()));
        let notifier = Notifier {
            line: line.map(Arc::new),
        };
        notifier.ready();
        let begun = Instant::now();
        drop(notifier);
        assert!(begun.elapsed() < LAST_WORDS);
    }
}
