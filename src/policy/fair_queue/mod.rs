//! Who waits for a place, and who is next: fair among principals, important calls first, bounded
//! in number and in bytes. It knows deadlines, not clocks, and carries whatever waits without
//! looking into it.
//!
//! Each principal has a flow per class. Flows of a class take turns (deficit round robin); a class
//! is served when no higher one waits. A flow is first in, first out, until its class has had a
//! standing queue: then the newest, who can still be served in time, go first, and the oldest of
//! the longest flow are shed one by one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

pub use entry::{Bounds, Cause, Entry, Fate, FlowView, Full, Popped, Pushed, Ticket};

use super::class::Class;
use super::codel::{Codel, Pace};
use super::slab::{List, Slab};

mod entry;
mod flows;
mod room;

/// Refusals say no less than this: a caller that comes back at once finds the same queue.
const SHORTEST_RETRY: Duration = Duration::from_millis(10);
/// And no more than this.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Departures that say how fast the queue moves: calls that began together end together, and a
/// burst of them must not look like a queue that is gone in no time.
const MOST_COUNTED: u32 = 64;

/// Numbers of the lists an entry is in.
const BY_FLOW: usize = 0;
const BY_AGE: usize = 1;
/// Number of the list a flow is in.
const RING: usize = 0;

#[derive(Debug)]
struct Node<T> {
    entry: Entry<T>,
    number: u64,
    since: Instant,
    flow: usize,
}

#[derive(Debug)]
struct Flow {
    principal: u64,
    class: Class,
    entries: List,
    bytes: usize,
    /// Turns it has saved for a large entry.
    credit: usize,
}

/// The flows of one class.
#[derive(Debug, Default)]
struct Line {
    ring: List,
    by_age: List,
    bytes: usize,
    codel: Codel,
}

/// The queue. After it has once been at its fullest it allocates only to say who was shed.
#[derive(Debug)]
pub struct FairQueue<T> {
    bounds: Bounds,
    pace: Pace,
    nodes: Slab<Node<T>, 2>,
    flows: Slab<Flow, 1>,
    index: HashMap<(Class, u64), usize>,
    /// By class, least important first.
    lines: [Line; 3],
    len: usize,
    bytes: usize,
    numbered: u64,
    departures: Departures,
}

/// How fast the queue moves.
#[derive(Debug, Default)]
struct Departures {
    last: Option<Instant>,
    mean: Option<Duration>,
    /// Spans the mean is of, [`MOST_COUNTED`] at most.
    counted: u32,
}

impl Departures {
    /// One was served; `others` wait still.
    fn served(&mut self, now: Instant, others: bool) {
        if let Some(last) = self.last {
            let span = now.saturating_duration_since(last);
            self.counted = (self.counted + 1).min(MOST_COUNTED);
            let before = self.mean.unwrap_or_default() * (self.counted - 1);
            self.mean = Some((before + span) / self.counted);
        }
        // What passes while nobody waits says nothing about how fast waiting goes.
        self.last = others.then_some(now);
    }
}

impl<T> FairQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new(bounds: Bounds, pace: Pace) -> Self {
        Self {
            bounds,
            pace,
            nodes: Slab::new(),
            flows: Slab::new(),
            index: HashMap::new(),
            lines: std::array::from_fn(|_| Line::default()),
            len: 0,
            bytes: 0,
            numbered: 0,
            departures: Departures::default(),
        }
    }

    /// From when on the queue counts as standing, from now on.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// When it counts as standing.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// What it may hold from now on. Nobody has to go for it; who comes next finds less room.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all entries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The longest wait of those in it.
    #[must_use]
    pub fn oldest(&self, now: Instant) -> Option<Duration> {
        self.lines
            .iter()
            .filter_map(|line| self.age(line, now))
            .max()
    }

    /// Whether a class has a standing queue and is served newest first.
    #[must_use]
    pub fn is_standing(&self, class: Class) -> bool {
        self.lines[class as usize].codel.is_standing()
    }

    /// How long somebody who joins now will wait, by how fast the queue moved; `None` as long as
    /// it has not.
    #[must_use]
    pub fn expected_wait(&self) -> Option<Duration> {
        let ahead = u32::try_from(self.len).unwrap_or(u32::MAX);
        Some(self.departures.mean?.saturating_mul(ahead))
    }

    /// What to tell somebody who is refused now: between 10 ms and a minute.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        let wait = self.expected_wait().unwrap_or(self.bounds.usual_wait);
        wait.clamp(SHORTEST_RETRY, LONGEST_RETRY)
    }

    /// Who waits, for the views.
    pub fn flows(&self) -> impl Iterator<Item = FlowView> {
        let rings = self.lines.iter().rev();
        let flows = rings.flat_map(|line| self.flows.forward(RING, &line.ring));
        flows
            .filter_map(|at| self.flows.get(at))
            .map(|flow| FlowView {
                principal: flow.principal,
                class: flow.class,
                waiting: flow.entries.len,
                bytes: flow.bytes,
            })
    }

    /// Adds an entry. When there is no room, entries of lower classes leave, longest flow first;
    /// then the newest of the longest flow of its own class, as long as that keeps no less than
    /// the principal of the new one then has. Otherwise the new one is refused.
    pub fn push(&mut self, now: Instant, entry: Entry<T>) -> Pushed<T> {
        let excess = self.excess(entry.bytes);
        if excess.is_none() {
            return Pushed::Queued(self.append(now, entry));
        }
        let retry_after = self.retry_after();
        match self.make_room(&entry, excess) {
            Some(victims) => Pushed::Displaced {
                ticket: self.append(now, entry),
                victims,
                retry_after,
            },
            None => Pushed::Refused {
                entry,
                why: if excess.bytes > 0 {
                    Full::Bytes
                } else {
                    Full::Count
                },
                retry_after,
            },
        }
    }

    /// Who is next. `fate` is asked about each candidate whose deadline has not passed.
    pub fn pop(&mut self, now: Instant, fate: impl Fn(&T) -> Fate) -> Popped<T> {
        let mut popped = Popped {
            next: None,
            shed: Vec::new(),
        };
        for class in [Class::Background, Class::Normal, Class::Critical] {
            let line = &self.lines[class as usize];
            let oldest = self.age(line, now);
            let due = self.lines[class as usize]
                .codel
                .look(now, oldest, self.pace);
            // What is critical waits for its deadline.
            if due && class != Class::Critical {
                let shed = self.shed_oldest(class);
                popped
                    .shed
                    .extend(shed.map(|entry| (entry, Cause::Standing)));
            }
        }
        while let Some(at) = self.next() {
            let Some(node) = self.nodes.get(at) else {
                break;
            };
            let waited = now.saturating_duration_since(node.since);
            let cause = if node.entry.deadline <= now {
                Some(Cause::Expired)
            } else {
                match fate(&node.entry.item) {
                    Fate::Serve => None,
                    Fate::Wait => break,
                    Fate::Gone => Some(Cause::Gone),
                }
            };
            if cause.is_none() {
                self.pay(at);
            }
            let Some(entry) = self.take_out(at) else {
                break;
            };
            if let Some(cause) = cause {
                popped.shed.push((entry, cause));
            } else {
                self.departures.served(now, self.len > 0);
                popped.next = Some((entry, waited));
                break;
            }
        }
        popped
    }

    /// Takes out the entry of somebody who is gone; `None` if it has left already.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Entry<T>> {
        let node = self.nodes.get(ticket.at)?;
        if node.number != ticket.number {
            return None;
        }
        self.take_out(ticket.at)
    }

    /// Takes out those that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        let mut gone = Vec::new();
        for line in &self.lines {
            let all = self.nodes.forward(BY_AGE, &line.by_age);
            gone.extend(all.filter(|at| self.nodes.get(*at).is_some_and(|n| !keep(&n.entry.item))));
        }
        for at in gone {
            self.take_out(at);
        }
    }

    /// Takes out everybody of one class, oldest first: what to do with background under pressure.
    pub fn shed_class(&mut self, class: Class) -> Vec<Entry<T>> {
        let mut shed = Vec::new();
        while let Some(at) = self.lines[class as usize].by_age.first {
            shed.extend(self.take_out(at));
        }
        shed
    }

    /// Takes out everybody, most important first, then oldest first.
    pub fn drain(&mut self) -> Vec<Entry<T>> {
        let classes = [Class::Critical, Class::Normal, Class::Background];
        classes
            .into_iter()
            .flat_map(|class| self.shed_class(class))
            .collect()
    }
}
