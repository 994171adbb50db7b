//! What the service manager is told of the daemon, and when: ready once every server has shown
//! how it does, more time while it starts or stops, the line of `systemctl status`. It decides by
//! snapshots and knows neither servers nor sockets.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::broker::snapshot::{Health, Snapshot};
use crate::fault;
use crate::observe::status;
use crate::sys::notify::Notifier;

/// How often it is looked whether the daemon is ready, and later whether the line has changed.
const STARTING: Duration = Duration::from_millis(50);
const RUNNING: Duration = Duration::from_secs(1);
/// Servers that have not shown by then how they do are said to be starting: clients of the others
/// need not wait for them.
const START_BUDGET: Duration = Duration::from_secs(10);
/// How much time is asked for, how often, and for how long at most while the daemon stops.
const MORE: Duration = Duration::from_secs(15);
const MORE_EVERY: Duration = Duration::from_secs(5);
const STOPPING: Duration = Duration::from_secs(90);
/// The daemon is well for this long: the manager may forget earlier restarts.
const WELL: Duration = Duration::from_secs(60);

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Ready,
    More,
    Status(String),
    Settled,
}

/// Tells the service manager.
#[derive(Debug)]
pub struct Announcer {
    notifier: Notifier,
    began: Instant,
    ready: bool,
    asked: Option<Instant>,
    line: String,
    well_since: Option<Instant>,
    settled: bool,
}

impl Announcer {
    /// The daemon starts now.
    #[must_use]
    pub fn new(notifier: Notifier) -> Self {
        Self {
            notifier,
            began: Instant::now(),
            ready: false,
            asked: None,
            line: String::new(),
            well_since: None,
            settled: false,
        }
    }

    /// When to look next.
    #[must_use]
    pub fn pause(&self) -> Duration {
        if self.ready { RUNNING } else { STARTING }
    }

    /// Says what there is to say about the daemon as it is now.
    pub fn look(&mut self, snapshot: &Snapshot) {
        for word in self.decide(snapshot, Instant::now()) {
            match word {
                Word::Ready => self.notifier.ready(),
                Word::More => self.notifier.extend_timeout(MORE),
                Word::Status(line) => self.notifier.status(&line),
                Word::Settled => self.notifier.settled(),
            }
        }
    }

    /// Runs the end of the daemon and asks for time as long as it takes, within reason.
    pub async fn stop(&self, end: impl Future<Output = ()>) {
        self.notifier.stopping();
        let began = Instant::now();
        let mut end = std::pin::pin!(end);
        let mut more = tokio::time::interval(MORE_EVERY);
        loop {
            tokio::select! {
                () = &mut end => return,
                _ = more.tick() => if began.elapsed() < STOPPING {
                    self.notifier.extend_timeout(MORE);
                },
            }
        }
    }

    fn decide(&mut self, snapshot: &Snapshot, now: Instant) -> Vec<Word> {
        let mut words = Vec::new();
        let mut line = status::line(snapshot);
        if let Some(fault) = fault::active() {
            line = format!("{fault}; {line}");
        }
        if line != self.line {
            words.push(Word::Status(line.clone()));
            self.line = line;
        }
        if !self.ready {
            let starting = |health| health == Health::Starting;
            let open = snapshot.servers.iter().any(|s| starting(s.health));
            let late = now.saturating_duration_since(self.began) >= START_BUDGET;
            if snapshot.phase == "serving" && (!open || late) {
                self.ready = true;
                words.push(Word::Ready);
            } else if self.is_due(now) {
                self.asked = Some(now);
                words.push(Word::More);
            }
        }
        if snapshot.health != Health::Ok {
            self.well_since = None;
        } else if !self.settled {
            let since = *self.well_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= WELL {
                self.settled = true;
                words.push(Word::Settled);
            }
        }
        words
    }

    fn is_due(&self, now: Instant) -> bool {
        self.asked
            .is_none_or(|asked| now.saturating_duration_since(asked) >= MORE_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(healths: [Health; 2]) -> Snapshot {
        let text = include_str!("../tests/support/status.json");
        let mut snapshot: Snapshot = serde_json::from_str(text).unwrap();
        for (server, health) in snapshot.servers.iter_mut().zip(healths) {
            server.health = health;
        }
        snapshot.health = healths.into_iter().max().unwrap();
        snapshot
    }

    fn is_ready(words: &[Word]) -> bool {
        words.contains(&Word::Ready)
    }

    #[test]
    fn it_is_ready_when_every_server_has_shown_how_it_does() {
        let mut announcer = Announcer::new(Notifier::default());
        let now = announcer.began;
        let words = announcer.decide(&snapshot([Health::Ok, Health::Starting]), now);
        assert!(
            matches!(&words[..], [Word::Status(_), Word::More]),
            "{words:?}"
        );
        let words = announcer.decide(&snapshot([Health::Ok, Health::Down]), now);
        assert!(
            matches!(&words[..], [Word::Status(_), Word::Ready]),
            "{words:?}"
        );
        // Once for all.
        let words = announcer.decide(&snapshot([Health::Ok, Health::Starting]), now);
        assert!(matches!(&words[..], [Word::Status(_)]), "{words:?}");
    }

    #[test]
    fn nothing_is_ready_before_it_listens_and_a_slow_server_is_not_waited_for_for_ever() {
        let mut announcer = Announcer::new(Notifier::default());
        let began = announcer.began;
        let mut starting = snapshot([Health::Ok, Health::Ok]);
        starting.phase = "starting".to_owned();
        assert!(!is_ready(&announcer.decide(&starting, began)));
        let slow = snapshot([Health::Ok, Health::Starting]);
        let mut asked = 0;
        for tick in 1..100 {
            let words = announcer.decide(&slow, began + Duration::from_millis(100 * tick));
            assert!(!is_ready(&words));
            asked += words.iter().filter(|w| **w == Word::More).count();
        }
        assert_eq!(
            asked, 1,
            "asked again before the first time is over, and no more"
        );
        assert!(is_ready(&announcer.decide(&slow, began + START_BUDGET)));
    }

    #[test]
    fn the_line_is_told_when_it_changes_and_a_minute_without_a_fault_once() {
        let mut announcer = Announcer::new(Notifier::default());
        let began = announcer.began;
        let well = snapshot([Health::Ok, Health::Ok]);
        assert_eq!(announcer.decide(&well, began).len(), 2);
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(announcer.decide(&well, at(59)), []);
        announcer.decide(&snapshot([Health::Ok, Health::Down]), at(59));
        assert!(matches!(
            &announcer.decide(&well, at(60))[..],
            [Word::Status(_)]
        ));
        assert_eq!(announcer.decide(&well, at(119)), []);
        assert_eq!(announcer.decide(&well, at(120)), [Word::Settled]);
        assert_eq!(announcer.decide(&well, at(600)), []);
    }
}
