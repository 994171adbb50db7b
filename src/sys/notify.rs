//! Messages to the service manager (sd_notify(3)). It knows the messages, not when to send them.
//!
//! The manager's socket may be full or gone, and a send there blocks, so a thread of its own does
//! the sending: whoever notifies neither waits nor fails. Without `NOTIFY_SOCKET` (a plain
//! `cargo run`) nothing happens at all.

use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;

/// Messages that may wait for a manager that does not read. More are dropped: it would get the
/// newest state late, never the daemon stuck.
const WAITING: usize = 64;
/// Longest status line in characters; systemd shows it on one line.
const STATUS_CHARACTERS: usize = 900;
/// How long the end of the daemon waits for its last words to be sent.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Message {
    Ready,
    Reloading,
    Stopping,
    Status(String),
}

/// The line to the service manager. Dropping it waits, at most a second, until all is sent.
#[derive(Debug)]
pub struct Notifier {
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    messages: SyncSender<Message>,
    /// Hangs up when the thread has ended. In a lock only so that notifiers can be shared.
    ended: Mutex<Receiver<()>>,
}

impl Notifier {
    /// Connects to the manager named by `NOTIFY_SOCKET`, which stays set; without it every message
    /// is a no-op.
    #[must_use]
    pub fn from_environment() -> Self {
        let wanted = std::env::var_os("NOTIFY_SOCKET").is_some_and(|address| !address.is_empty());
        Self {
            thread: if wanted { start(send) } else { None },
        }
    }

    /// The daemon serves (or says degraded): `READY=1`.
    pub fn ready(&self) {
        self.post(Message::Ready);
    }

    /// The daemon reads its configuration again: `RELOADING=1` with its time in one message, as
    /// `Type=notify-reload` wants it. [`Notifier::ready`] has to follow, whatever came of it.
    pub fn reloading(&self) {
        self.post(Message::Reloading);
    }

    /// The daemon has begun to stop: `STOPPING=1`.
    pub fn stopping(&self) {
        self.post(Message::Stopping);
    }

    /// One line for `systemctl status`. Control characters, which could forge further fields, are
    /// left out; cut after 900 characters.
    pub fn status(&self, line: &str) {
        self.post(Message::Status(one_line(line)));
    }

    fn post(&self, message: Message) {
        let Some(thread) = &self.thread else { return };
        match thread.messages.try_send(message) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(message)) => {
                log::debug!("the service manager does not read: {message:?} dropped");
            }
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        if let Some(Thread { messages, ended }) = self.thread.take() {
            drop(messages);
            // An error either way: the thread has ended, or it is not worth waiting longer.
            let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
            let _ = ended.recv_timeout(LAST_WORDS);
        }
    }
}

fn start(send: impl Fn(&Message) + Send + 'static) -> Option<Thread> {
    let (messages, queue) = sync_channel(WAITING);
    let (ending, ended) = channel();
    let run = move || {
        let _ending: Sender<()> = ending;
        for message in queue {
            send(&message);
        }
    };
    match std::thread::Builder::new().name("notify".into()).spawn(run) {
        Ok(_detached) => Some(Thread {
            messages,
            ended: Mutex::new(ended),
        }),
        Err(error) => {
            log::warn!("no thread to notify the service manager: {error}");
            None
        }
    }
}

fn send(message: &Message) {
    let states = match message {
        Message::Ready => vec![NotifyState::Ready],
        Message::Reloading => {
            let mut states = vec![NotifyState::Reloading];
            // Without the time a `Type=notify-reload` job would hang; every Linux has this clock.
            states.extend(NotifyState::monotonic_usec_now());
            states
        }
        Message::Stopping => vec![NotifyState::Stopping],
        Message::Status(line) => vec![NotifyState::Status(line)],
    };
    if let Err(error) = sd_notify::notify(&states) {
        log::warn!("cannot notify the service manager: {error}");
    }
}

fn one_line(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(STATUS_CHARACTERS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Instant;

    #[test]
    fn a_status_cannot_forge_a_field() {
        assert_eq!(one_line("1 server\nREADY=1\u{85}\r"), "1 serverREADY=1");
        assert_eq!(one_line(&"x".repeat(5000)).len(), STATUS_CHARACTERS);
    }

    #[test]
    fn all_is_sent_in_order_before_the_end() {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&sent);
        let notifier = Notifier {
            thread: start(move |message| {
                std::thread::sleep(Duration::from_millis(20));
                log.lock().unwrap().push(format!("{message:?}"));
            }),
        };
        notifier.ready();
        notifier.status("serving");
        notifier.stopping();
        drop(notifier);
        assert_eq!(
            *sent.lock().unwrap(),
            ["Ready", "Status(\"serving\")", "Stopping"]
        );
    }

    #[test]
    fn a_manager_that_does_not_read_holds_up_nobody() {
        let (release, released) = channel::<()>();
        let notifier = Notifier {
            thread: start(move |_| {
                let _ = released.recv_timeout(Duration::from_secs(5));
            }),
        };
        let begun = Instant::now();
        for _ in 0..10 * WAITING {
            notifier.ready();
        }
        // It would wait 5 s for the first message alone.
        assert!(begun.elapsed() < Duration::from_secs(4));
        drop(release);
        drop(notifier);
    }
}
