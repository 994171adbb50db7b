//! The flows: how entries join and leave them, and whose turn it is.

use std::collections::hash_map;
use std::time::{Duration, Instant};

use super::{BY_AGE, BY_FLOW, Entry, FairQueue, Flow, Line, Node, RING, Ticket};
use crate::policy::slab::List;

/// A call costs its principal one turn, and one more for each of these many bytes.
const BYTES_A_TURN: usize = 64 << 10;
/// Turns the largest call costs: small ones must not starve it.
const MOST_TURNS: usize = 8;

/// Turns an entry costs.
fn cost(bytes: usize) -> usize {
    (1 + bytes / BYTES_A_TURN).min(MOST_TURNS)
}

impl<T> FairQueue<T> {
    /// How long the oldest of a class has waited.
    pub(super) fn age(&self, line: &Line, now: Instant) -> Option<Duration> {
        let oldest = self.nodes.get(line.by_age.first?)?;
        Some(now.saturating_duration_since(oldest.since))
    }

    /// Puts an entry at the end of its flow.
    pub(super) fn append(&mut self, now: Instant, entry: Entry<T>) -> Ticket {
        let (class, bytes) = (entry.class, entry.bytes);
        let line = &mut self.lines[class as usize];
        let flow = match self.index.entry((class, entry.principal)) {
            hash_map::Entry::Occupied(known) => *known.get(),
            hash_map::Entry::Vacant(new) => {
                let flow = self.flows.insert(Flow {
                    principal: entry.principal,
                    class,
                    entries: List::default(),
                    bytes: 0,
                    credit: 0,
                });
                self.flows.push_back(RING, &mut line.ring, flow);
                *new.insert(flow)
            }
        };
        self.numbered += 1;
        let number = self.numbered;
        let at = self.nodes.insert(Node {
            entry,
            number,
            since: now,
            flow,
        });
        self.nodes.push_back(BY_AGE, &mut line.by_age, at);
        line.bytes += bytes;
        if let Some(flow) = self.flows.get_mut(flow) {
            self.nodes.push_back(BY_FLOW, &mut flow.entries, at);
            flow.bytes += bytes;
        }
        self.len += 1;
        self.bytes += bytes;
        Ticket { at, number }
    }

    /// Takes an entry out, wherever it stands; its flow goes with its last entry.
    pub(super) fn take_out(&mut self, at: usize) -> Option<Entry<T>> {
        let node = self.nodes.get(at)?;
        let (flow_at, class, bytes) = (node.flow, node.entry.class, node.entry.bytes);
        let line = &mut self.lines[class as usize];
        self.nodes.unlink(BY_AGE, &mut line.by_age, at);
        line.bytes -= bytes;
        let flow = self.flows.get_mut(flow_at)?;
        self.nodes.unlink(BY_FLOW, &mut flow.entries, at);
        flow.bytes -= bytes;
        if flow.entries.len == 0 {
            self.index.remove(&(class, flow.principal));
            self.flows.unlink(RING, &mut line.ring, flow_at);
            self.flows.remove(flow_at);
        }
        self.len -= 1;
        self.bytes -= bytes;
        self.nodes.remove(at).map(|node| node.entry)
    }

    /// The entry whose turn it is. Flows that must save for theirs are passed over on the way.
    pub(super) fn next(&mut self) -> Option<usize> {
        let line = self.lines.iter_mut().rev().find(|line| line.ring.len > 0)?;
        loop {
            let at = line.ring.first?;
            let flow = self.flows.get_mut(at)?;
            let next = match line.codel.is_standing() {
                true => flow.entries.last?,
                false => flow.entries.first?,
            };
            if flow.credit + 1 >= cost(self.nodes.get(next)?.entry.bytes) {
                return Some(next);
            }
            flow.credit += 1;
            self.flows.unlink(RING, &mut line.ring, at);
            self.flows.push_back(RING, &mut line.ring, at);
        }
    }

    /// Lets the flow of an entry that is served pay for it and go to the end of the ring.
    pub(super) fn pay(&mut self, at: usize) {
        let Some(node) = self.nodes.get(at) else {
            return;
        };
        let line = &mut self.lines[node.entry.class as usize];
        if let Some(flow) = self.flows.get_mut(node.flow) {
            flow.credit = (flow.credit + 1).saturating_sub(cost(node.entry.bytes));
            self.flows.unlink(RING, &mut line.ring, node.flow);
            self.flows.push_back(RING, &mut line.ring, node.flow);
        }
    }
}
