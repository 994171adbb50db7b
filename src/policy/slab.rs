//! Values in numbered places that are links of doubly linked lists at the same time, so that a
//! value leaves all its lists at once wherever it stands. Places are used again: nothing is
//! allocated once a slab has been as full as it gets. It does not know what it holds.

/// A list of values of one slab.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct List {
    pub(super) first: Option<usize>,
    pub(super) last: Option<usize>,
    pub(super) len: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    before: Option<usize>,
    after: Option<usize>,
}

#[derive(Debug)]
struct Place<V, const LISTS: usize> {
    value: Option<V>,
    links: [Link; LISTS],
}

/// Values, each in up to `LISTS` lists; the caller keeps the lists and names them by number.
#[derive(Debug)]
pub(super) struct Slab<V, const LISTS: usize> {
    places: Vec<Place<V, LISTS>>,
    free: Vec<usize>,
}

impl<V, const LISTS: usize> Slab<V, LISTS> {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Puts a value into a free place, in no list yet.
    pub(super) fn insert(&mut self, value: V) -> usize {
        let place = Place {
            value: Some(value),
            links: [Link::default(); LISTS],
        };
        if let Some(at) = self.free.pop() {
            self.places[at] = place;
            return at;
        }
        self.places.push(place);
        // Room to free every place without asking for memory then.
        self.free.reserve(self.places.len());
        self.places.len() - 1
    }

    /// Takes a value out; it must have left its lists.
    pub(super) fn remove(&mut self, at: usize) -> Option<V> {
        let value = self.places.get_mut(at)?.value.take()?;
        self.free.push(at);
        Some(value)
    }

    pub(super) fn get(&self, at: usize) -> Option<&V> {
        self.places.get(at)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut V> {
        self.places.get_mut(at)?.value.as_mut()
    }

    /// Appends a value to list number `which`, in which it is not yet.
    pub(super) fn push_back(&mut self, which: usize, list: &mut List, at: usize) {
        self.places[at].links[which] = Link {
            before: list.last,
            after: None,
        };
        match list.last {
            Some(last) => self.places[last].links[which].after = Some(at),
            None => list.first = Some(at),
        }
        list.last = Some(at);
        list.len += 1;
    }

    /// Takes a value out of list number `which`, in which it is.
    pub(super) fn unlink(&mut self, which: usize, list: &mut List, at: usize) {
        let link = std::mem::take(&mut self.places[at].links[which]);
        match link.before {
            Some(before) => self.places[before].links[which].after = link.after,
            None => list.first = link.after,
        }
        match link.after {
            Some(after) => self.places[after].links[which].before = link.before,
            None => list.last = link.before,
        }
        list.len -= 1;
    }

    /// The places of a list, first to last.
    pub(super) fn forward(&self, which: usize, list: &List) -> impl Iterator<Item = usize> {
        let after = move |at: &usize| self.places[*at].links[which].after;
        std::iter::successors(list.first, after)
    }

    /// The places of a list, last to first.
    pub(super) fn backward(&self, which: usize, list: &List) -> impl Iterator<Item = usize> {
        let before = move |at: &usize| self.places[*at].links[which].before;
        std::iter::successors(list.last, before)
    }
}
