//! Who leaves when there is no room, or when a queue stands. A short flow never leaves for a long
//! one of its class.

use super::{BY_FLOW, Entry, FairQueue, Flow, RING};
use crate::policy::class::Class;

/// What must leave before an entry fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Excess {
    pub(super) count: usize,
    pub(super) bytes: usize,
}

impl Excess {
    pub(super) fn is_none(self) -> bool {
        self.count == 0 && self.bytes == 0
    }

    /// What is left to find after these have left.
    fn less(self, count: usize, bytes: usize) -> Self {
        Self {
            count: self.count.saturating_sub(count),
            bytes: self.bytes.saturating_sub(bytes),
        }
    }

    /// How much a flow has of what is short.
    fn weight(self, flow: &Flow) -> usize {
        match self.bytes {
            0 => flow.entries.len,
            _ => flow.bytes,
        }
    }
}

impl<T> FairQueue<T> {
    /// What is too much with an entry of this size.
    pub(super) fn excess(&self, bytes: usize) -> Excess {
        Excess {
            count: (self.len + 1).saturating_sub(self.bounds.count),
            bytes: self
                .bytes
                .saturating_add(bytes)
                .saturating_sub(self.bounds.bytes),
        }
    }

    /// Takes out whoever has to go for this entry; `None`, and nobody has gone, if that is not
    /// enough or not fair.
    pub(super) fn make_room(&mut self, entry: &Entry<T>, excess: Excess) -> Option<Vec<Entry<T>>> {
        let class = entry.class as usize;
        let lower = &self.lines[..class];
        let rest = excess.less(
            lower.iter().map(|line| line.by_age.len).sum(),
            lower.iter().map(|line| line.bytes).sum(),
        );
        let equal = match rest.is_none() {
            true => None,
            false => Some(self.yielding(entry, rest)?),
        };
        let mut victims = Vec::new();
        for class in 0..class {
            while !self.excess(entry.bytes).is_none() {
                let flow = self.heaviest(class, excess);
                let Some(newest) = flow.and_then(|flow| self.take_newest(flow)) else {
                    break;
                };
                victims.push(newest);
            }
        }
        while !self.excess(entry.bytes).is_none() {
            let Some(newest) = equal.and_then(|flow| self.take_newest(flow)) else {
                break;
            };
            victims.push(newest);
        }
        Some(victims)
    }

    /// The flow of the entry's own class that has most, if it can give what is missing and still
    /// has no less than the flow of the entry then has.
    fn yielding(&self, entry: &Entry<T>, missing: Excess) -> Option<usize> {
        let at = self.heaviest(entry.class as usize, missing)?;
        let flow = self.flows.get(at)?;
        let mut left = missing;
        let mut kept = Excess {
            count: flow.entries.len,
            bytes: flow.bytes,
        };
        for newest in self.nodes.backward(BY_FLOW, &flow.entries) {
            if left.is_none() {
                break;
            }
            let bytes = self.nodes.get(newest)?.entry.bytes;
            left = left.less(1, bytes);
            kept = kept.less(1, bytes);
        }
        let own = self.index.get(&(entry.class, entry.principal));
        let own = own.and_then(|at| self.flows.get(*at));
        let (count, bytes) = own.map_or((0, 0), |flow| (flow.entries.len, flow.bytes));
        let fair = match missing.bytes {
            0 => kept.count > count,
            _ => kept.bytes >= bytes.saturating_add(entry.bytes),
        };
        (left.is_none() && fair && flow.principal != entry.principal).then_some(at)
    }

    /// The flow of a class that has most of what is short.
    fn heaviest(&self, class: usize, short: Excess) -> Option<usize> {
        let flows = self.flows.forward(RING, &self.lines[class].ring);
        flows.max_by_key(|at| self.flows.get(*at).map(|flow| short.weight(flow)))
    }

    fn take_newest(&mut self, flow: usize) -> Option<Entry<T>> {
        let newest = self.flows.get(flow)?.entries.last?;
        self.take_out(newest)
    }

    /// Takes out the oldest of the longest flow of a class, if it is not the only one there.
    pub(super) fn shed_oldest(&mut self, class: Class) -> Option<Entry<T>> {
        if self.lines[class as usize].by_age.len < 2 {
            return None;
        }
        let by_count = Excess { count: 1, bytes: 0 };
        let flow = self.heaviest(class as usize, by_count)?;
        let oldest = self.flows.get(flow)?.entries.first?;
        self.take_out(oldest)
    }
}
