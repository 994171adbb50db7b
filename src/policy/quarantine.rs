//! Calls that kill workers. A call that was in flight when a worker died is marked; one that was
//! there a second time, without having been answered in between, is quarantined: it is sent to no
//! worker until some time has passed or an operator says so.
//!
//! With several calls in flight at a death nobody knows which one did it, so all of them are
//! marked. The innocent is cleared by being answered ([`Quarantine::completed`]). To make sure
//! that the second time proves something, send a marked call ([`Quarantine::is_marked`]) to a
//! worker that has nothing else to do. A call that is quarantined already is not cleared by an
//! answer: two workers are enough.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Deaths that are too many.
const CRASHES: u32 = 2;
/// How long a death is held against a call; each one starts this anew.
const MEMORY: Duration = Duration::from_secs(600);
/// Calls that are remembered.
const MOST: usize = 1024;

/// Which call: a digest of the tool and its arguments as they were sent. Two calls are the same
/// one if every byte is. Shown as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(u64);

impl Digest {
    /// FNV-1a. Callers who make two calls collide harm only themselves and the other one's
    /// quarantine, which an operator can lift.
    #[must_use]
    pub fn of(tool: &str, arguments: &[u8]) -> Self {
        let start = 0xcbf2_9ce4_8422_2325_u64;
        // 0xff is in no UTF-8 text: no tool's name runs into its arguments.
        let bytes = tool.bytes().chain([0xff]).chain(arguments.iter().copied());
        Self(bytes.fold(start, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// Reads what [`fmt::Display`] has written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A quarantined call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The tool.
    pub tool: String,
    /// Which call.
    pub digest: Digest,
    /// Workers it was at when they died.
    pub crashes: u32,
    /// Calls refused because of it.
    pub refused: u64,
    /// Time until it is forgotten.
    pub expires_in: Duration,
}

#[derive(Clone, Debug)]
struct Entry {
    tool: String,
    crashes: u32,
    refused: u64,
    last: Instant,
}

impl Entry {
    fn is_quarantined(&self) -> bool {
        self.crashes >= CRASHES
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= MEMORY
    }

    fn info(&self, digest: Digest, now: Instant) -> Info {
        let age = now.saturating_duration_since(self.last);
        Info {
            tool: self.tool.clone(),
            digest,
            crashes: self.crashes,
            refused: self.refused,
            expires_in: MEMORY.saturating_sub(age),
        }
    }
}

/// The marked and the quarantined calls of a server. Bounded: when it is full, the mark that is
/// oldest makes room, and where all are quarantined the oldest of these.
#[derive(Clone, Debug, Default)]
pub struct Quarantine {
    entries: BTreeMap<Digest, Entry>,
}

impl Quarantine {
    /// Whether no call is marked or quarantined: then nothing need be asked, nor a digest be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A worker died, or was killed for not coming back, while it had this call. Told once per
    /// death, however many equal calls it had. Returns the call if this quarantines it.
    pub fn crashed(&mut self, now: Instant, digest: Digest, tool: &str) -> Option<Info> {
        self.entries.retain(|_, entry| !entry.is_over(now));
        if self.entries.len() >= MOST && !self.entries.contains_key(&digest) {
            let oldest = self.entries.iter();
            let oldest = oldest.min_by_key(|(_, entry)| (entry.is_quarantined(), entry.last));
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                self.entries.remove(&oldest);
            }
        }
        let entry = self.entries.entry(digest).or_insert_with(|| Entry {
            tool: tool.to_owned(),
            crashes: 0,
            refused: 0,
            last: now,
        });
        entry.crashes = entry.crashes.saturating_add(1);
        entry.last = entry.last.max(now);
        (entry.crashes == CRASHES).then(|| entry.info(digest, now))
    }

    /// Whether a call that may be sent should have a worker for itself.
    #[must_use]
    pub fn is_marked(&self, now: Instant, digest: Digest) -> bool {
        let entry = self.entries.get(&digest);
        entry.is_some_and(|entry| !entry.is_quarantined() && !entry.is_over(now))
    }

    /// The call was answered: it is not what killed the worker.
    pub fn completed(&mut self, digest: Digest) {
        if self
            .entries
            .get(&digest)
            .is_some_and(|entry| !entry.is_quarantined())
        {
            self.entries.remove(&digest);
        }
    }

    /// Asks before a call is sent; what is returned is refused, and counted as such.
    pub fn check(&mut self, now: Instant, digest: Digest) -> Option<Info> {
        let entry = self.entries.get_mut(&digest)?;
        if entry.is_over(now) {
            self.entries.remove(&digest);
            return None;
        }
        if !entry.is_quarantined() {
            return None;
        }
        entry.refused += 1;
        Some(entry.info(digest, now))
    }

    /// The quarantined calls, by digest.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<Info> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.is_quarantined() && !entry.is_over(now))
            .map(|(digest, entry)| entry.info(*digest, now))
            .collect()
    }

    /// Forgets one call, or all of them and all marks. Returns how many quarantined calls there
    /// were among them.
    pub fn clear(&mut self, now: Instant, which: Option<Digest>) -> usize {
        let before = self.list(now).len();
        match which {
            Some(digest) => {
                self.entries.remove(&digest);
            }
            None => self.entries.clear(),
        }
        before - self.list(now).len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, MEMORY, MOST, Quarantine};
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::time::{Duration, Instant};

    fn digest(number: usize) -> Digest {
        Digest::of("tool", number.to_string().as_bytes())
    }

    #[test]
    fn a_call_at_two_deaths_is_quarantined_and_said_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut table = Quarantine::default();
        assert!(table.is_empty());
        assert_eq!(table.crashed(start, digest(1), "wedge"), None);
        assert!(!table.is_empty() && table.is_marked(start, digest(1)));
        assert_eq!(table.check(start, digest(1)), None, "once is no proof");
        let info = table.crashed(at(599), digest(1), "wedge").unwrap();
        assert_eq!((info.tool.as_str(), info.crashes), ("wedge", 2));
        assert_eq!(info.expires_in, MEMORY);
        assert_eq!(table.crashed(at(599), digest(1), "wedge"), None);
        assert_eq!(table.check(at(600), digest(1)).unwrap().refused, 1);
        assert_eq!(table.check(at(600), digest(1)).unwrap().refused, 2);
        assert_eq!(table.check(at(600), digest(2)), None, "other arguments");
        assert_eq!(table.list(at(600))[0].refused, 2);
        assert!(!table.is_marked(at(600), digest(1)));
    }

    #[test]
    fn it_is_forgotten_ten_minutes_after_the_last_death() {
        let start = Instant::now();
        let mut table = Quarantine::default();
        table.crashed(start, digest(1), "a");
        assert_eq!(table.crashed(start + MEMORY, digest(1), "a"), None);
        assert!(table.crashed(start + MEMORY, digest(1), "a").is_some());
        let over = start + 2 * MEMORY;
        assert!(
            table
                .check(over - Duration::from_millis(1), digest(1))
                .is_some()
        );
        assert!(table.list(over).is_empty());
        assert_eq!(table.check(over, digest(1)), None);
        assert!(table.is_empty());
    }

    #[test]
    fn the_innocent_is_cleared_by_its_answer_and_the_guilty_is_not() {
        let now = Instant::now();
        let (guilty, innocent) = (digest(1), digest(2));
        let mut table = Quarantine::default();
        for call in [guilty, innocent] {
            assert_eq!(table.crashed(now, call, "a"), None);
        }
        table.completed(innocent);
        assert!(!table.is_marked(now, innocent));
        assert_eq!(table.crashed(now, innocent, "a"), None);
        assert!(table.crashed(now, guilty, "a").is_some());
        table.completed(guilty);
        assert!(table.check(now, guilty).is_some());
    }

    #[test]
    fn an_operator_lifts_one_or_all() {
        let now = Instant::now();
        let mut table = Quarantine::default();
        for number in [1, 1, 2, 2, 3, 3, 4] {
            table.crashed(now, digest(number), "a");
        }
        assert_eq!(table.clear(now, Some(digest(1))), 1);
        assert_eq!(table.clear(now, Some(digest(1))), 0);
        assert_eq!(table.clear(now, None), 2);
        assert!(table.is_empty());
    }

    #[test]
    fn a_full_table_forgets_marks_before_quarantined_calls() {
        let start = Instant::now();
        let mut table = Quarantine::default();
        table.crashed(start, digest(0), "a");
        table.crashed(start, digest(0), "a");
        for number in 1..2 * MOST {
            table.crashed(
                start + Duration::from_millis(number as u64),
                digest(number),
                "a",
            );
        }
        assert_eq!(table.entries.len(), MOST);
        let now = start + Duration::from_secs(10);
        assert!(table.check(now, digest(0)).is_some());
        assert!(!table.is_marked(now, digest(1)) && table.is_marked(now, digest(2 * MOST - 1)));
    }

    #[test]
    fn a_digest_is_of_the_tool_and_of_every_byte() {
        assert_ne!(Digest::of("ab", b"c"), Digest::of("a", b"bc"));
        assert_ne!(Digest::of("a", b"{}"), Digest::of("a", b"{ }"));
        // FNV-1a of the one byte 0xff, by the published parameters.
        let shown = Digest::of("", b"").to_string();
        assert_eq!(shown, "af64724c8602eb6e");
        assert_eq!(Digest::parse(&shown), Some(Digest::of("", b"")));
        for wrong in [
            "",
            "af64724c8602eb6",
            "+f64724c8602eb6e",
            "zf64724c8602eb6e",
        ] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        /// A naive reference: all deaths of a call since its last answer, none older than the
        /// memory without another in between.
        #[test]
        fn it_agrees_with_a_list_of_deaths(
            steps in prop::collection::vec((0u64..400, 0usize..4, 0u8..3), 1..100),
        ) {
            let start = Instant::now();
            let mut table = Quarantine::default();
            let mut deaths: HashMap<usize, Vec<Instant>> = HashMap::new();
            let mut now = start;
            for (seconds, call, what) in steps {
                now += Duration::from_secs(seconds);
                deaths.retain(|_, times| now.duration_since(*times.last().unwrap()) < MEMORY);
                let times = deaths.get(&call).map_or(0, Vec::len);
                match what {
                    0 => {
                        let told = table.crashed(now, digest(call), "a").is_some();
                        prop_assert_eq!(told, times == 1);
                        deaths.entry(call).or_default().push(now);
                    }
                    1 => {
                        table.completed(digest(call));
                        if times < 2 {
                            deaths.remove(&call);
                        }
                    }
                    _ => {
                        prop_assert_eq!(table.check(now, digest(call)).is_some(), times >= 2);
                        prop_assert_eq!(table.is_marked(now, digest(call)), times == 1);
                    }
                }
            }
        }
    }
}
