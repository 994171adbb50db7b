//! Signs of life of the daemon's vital parts: each part moves its own whenever its loop turns, and
//! the heartbeat reads them. Nothing but atomic numbers, so that neither side can hold up the
//! other. It knows neither how long a part may be silent nor what follows from it.
//!
//! They are global because a process has one heart, and because a part must not need to be handed
//! anything in order to be watched.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Connections are accepted.
pub static ACCEPTOR: Pulse = Pulse::new();
/// Calls that wait are given to workers that are free.
pub static DISPATCHER: Pulse = Pulse::new();
/// Timers of the runtime fire.
pub static TIMERS: Pulse = Pulse::new();
/// The actor of each server turns.
pub static SUPERVISORS: Group = Group::new();

/// Members of a group that are watched; more are not.
const PLACES: usize = 1024;
/// A part that is over for good.
const RETIRED: u64 = u64::MAX - 1;
/// A part that is not there: not begun, or over. Nobody misses it.
const ABSENT: u64 = u64::MAX;

/// Local port of the connection by which the daemon probes its own listener; 0 between probes.
static PROBE: AtomicU16 = AtomicU16::new(0);

/// The daemon is about to connect to itself from this port.
pub fn probe_from(port: u16) {
    PROBE.store(port, Ordering::Relaxed);
}

/// It is through with that.
pub fn probe_is_over() {
    probe_from(0);
}

/// Whether a connection from this port is the daemon's own probe. For counting only: a stranger
/// on another machine may have the same port.
#[must_use]
pub fn is_probe(port: u16) -> bool {
    port != 0 && PROBE.load(Ordering::Relaxed) == port
}

/// A moment in milliseconds since the first one of this process.
fn millis(of: Instant) -> u64 {
    let since = of.saturating_duration_since(origin());
    u64::try_from(since.as_millis()).unwrap_or(RETIRED - 1)
}

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// When one part last moved.
#[derive(Debug)]
pub struct Pulse(AtomicU64);

impl Pulse {
    const fn new() -> Self {
        Self(AtomicU64::new(ABSENT))
    }

    /// It moves now. The first time it is watched from then on.
    pub fn beat(&self) {
        let now = millis(Instant::now());
        let moved = |last| (last != RETIRED).then_some(now);
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
    }

    /// It is over, and nobody is to miss it, even if it should move once more.
    pub fn retire(&self) {
        self.0.store(RETIRED, Ordering::Relaxed);
    }

    fn leave(&self) {
        self.0.store(ABSENT, Ordering::Relaxed);
    }

    /// When it moved last; `None` while there is nothing to watch.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        let last = self.0.load(Ordering::Relaxed);
        (last < RETIRED).then(|| origin() + Duration::from_millis(last))
    }
}

/// Parts of one kind that come and go.
#[derive(Debug)]
pub struct Group {
    places: [Pulse; PLACES],
    /// Who has which place. Only for people: who watches does not come near the lock.
    names: Mutex<BTreeMap<usize, String>>,
}

/// The place of one of them, given back when dropped.
#[derive(Debug)]
pub struct Place {
    group: &'static Group,
    at: Option<usize>,
}

impl Group {
    const fn new() -> Self {
        Self {
            places: [const { Pulse::new() }; PLACES],
            names: Mutex::new(BTreeMap::new()),
        }
    }

    /// A part begins, and moves for the first time.
    pub fn join(&'static self, name: &str) -> Place {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (0..PLACES).find(|at| !names.contains_key(at));
        if let Some(at) = at {
            names.insert(at, name.to_owned());
        }
        let place = Place { group: self, at };
        place.beat();
        place
    }

    /// When the one that is silent for longest moved last; `None` while there is none.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        self.places.iter().filter_map(Pulse::last).min()
    }

    /// Those that have not moved since `moment`, by name; none if somebody else looks just now.
    #[must_use]
    pub fn silent_since(&self, moment: Instant) -> Vec<String> {
        let Ok(names) = self.names.try_lock() else {
            return Vec::new();
        };
        let silent = |at: usize| self.places[at].last().is_some_and(|last| last <= moment);
        let silent = names.iter().filter(|(at, _)| silent(**at));
        silent.map(|(_, name)| name.clone()).collect()
    }
}

impl Place {
    /// It moves now.
    pub fn beat(&self) {
        if let Some(at) = self.at {
            self.group.places[at].beat();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            let mut names = self
                .group
                .names
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.group.places[at].leave();
            names.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_missed_from_its_first_beat_to_its_end() {
        let pulse = Pulse::new();
        assert_eq!(pulse.last(), None);
        let before = Instant::now();
        pulse.beat();
        let last = pulse.last().unwrap();
        // Kept in milliseconds.
        assert!(last + Duration::from_millis(1) > before && last <= Instant::now());
        pulse.retire();
        pulse.beat();
        assert_eq!(pulse.last(), None);
    }

    #[test]
    fn of_a_group_the_one_that_is_silent_counts() {
        static GROUP: Group = Group::new();
        let (one, two) = (GROUP.join("one"), GROUP.join("two"));
        let first = GROUP.last().unwrap();
        while one.group.places[1].last() == Some(first) {
            two.beat();
        }
        assert_eq!(GROUP.last(), Some(first));
        assert_eq!(GROUP.silent_since(first), ["one"]);
        drop(one);
        assert!(GROUP.last().unwrap() > first);
        let again = GROUP.join("three");
        assert_eq!(again.at, Some(0));
        drop((again, two));
        assert_eq!(GROUP.last(), None);
        let many: Vec<_> = (0..=PLACES).map(|_| GROUP.join("many")).collect();
        assert_eq!(many[PLACES].at, None);
        many[PLACES].beat();
    }
}
