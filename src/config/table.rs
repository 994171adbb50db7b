//! One table of a configuration file, read key by key. Every key that is asked for is thereby
//! known; [`Table::finish`] reports the rest. So there is no second list of keys that could drift.

use super::item::{Item, found, quoted};
use super::source::{Place, Report, Source};
use super::suggest::nearest;
use super::value::format_span;
use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// Stands for any server's name in the list of known keys.
const ANY: &str = "NAME";

/// A table with its path; one that is not in the file is read as an empty one.
pub(super) struct Table<'s> {
    source: &'s Source<'s>,
    report: &'s Report,
    entries: Option<&'s DeTable<'s>>,
    /// Path with the names the user gave, for messages.
    path: String,
    /// Path with `NAME` in their place, for the list of known keys.
    schema: String,
    place: Place,
    known: RefCell<Vec<&'static str>>,
    refused: RefCell<Vec<&'static str>>,
}

impl<'s> Table<'s> {
    pub(super) fn root(
        source: &'s Source<'s>,
        report: &'s Report,
        entries: &'s DeTable<'s>,
    ) -> Self {
        Self {
            source,
            report,
            entries: Some(entries),
            path: String::new(),
            schema: String::new(),
            place: source.whole(),
            known: RefCell::default(),
            refused: RefCell::default(),
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Where the table begins, or the file if it is not there.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Reports something about the table as a whole.
    pub(super) fn wrong(&self, message: impl Into<String>) {
        self.report.add(&self.place, &self.path, message);
    }

    /// Reports something about one of its keys.
    pub(super) fn wrong_at(&self, place: &Place, key: &str, message: impl Into<String>) {
        self.report.add(place, &join(&self.path, key), message);
    }

    /// Reports a key that exists to be refused, if it is there.
    pub(super) fn refuse(&self, key: &'static str, message: &str) {
        if let Some(item) = self.find(key) {
            self.refused.borrow_mut().push(key);
            item.wrong(message);
        }
    }

    /// The value of a key, if it is there.
    pub(super) fn item(&self, key: &'static str) -> Option<Item<'s>> {
        self.known.borrow_mut().push(key);
        self.report.know(join(&self.schema, key));
        self.find(key)
    }

    /// The value of a key that is not thereby known, such as one that exists to be refused.
    pub(super) fn find(&self, key: &str) -> Option<Item<'s>> {
        let value = self.entries?.get(key)?;
        Some(Item {
            key: join(&self.path, key),
            place: self.source.place(value.span().start),
            value: value.get_ref(),
            source: self.source,
            report: self.report,
        })
    }

    /// Reads a whole number into `into`; gives its item if it was there and right.
    pub(super) fn count<T: TryFrom<u64>>(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut T,
    ) -> Option<Item<'s>> {
        let item = self.item(key)?;
        *into = T::try_from(item.count(&range)?).ok()?;
        Some(item)
    }

    /// Reads a whole number of which 0 means "none".
    pub(super) fn optional_count(&self, key: &'static str, into: &mut Option<u64>) {
        if let Some(number) = self.item(key).and_then(|item| item.count(&(0..=u64::MAX))) {
            *into = (number > 0).then_some(number);
        }
    }

    /// Reads a size in bytes.
    pub(super) fn size<T: TryFrom<u64>>(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut T,
    ) -> Option<Item<'s>> {
        let item = self.item(key)?;
        *into = T::try_from(item.size(&range)?).ok()?;
        Some(item)
    }

    /// Reads a time span that must not be zero.
    pub(super) fn span(&self, key: &'static str, into: &mut Duration) {
        let example = format_span(*into);
        let Some(item) = self.item(key) else { return };
        let Some(span) = item.span() else { return };
        if span.is_zero() {
            item.wrong(format!(
                "must be longer than zero; the default is \"{example}\""
            ));
        } else {
            *into = span;
        }
    }

    /// Reads a time span of which zero means "none".
    pub(super) fn optional_span(&self, key: &'static str, into: &mut Option<Duration>) {
        if let Some(span) = self.item(key).and_then(|item| item.span()) {
            *into = (!span.is_zero()).then_some(span);
        }
    }

    /// The table of a key, an empty one if it is not there.
    pub(super) fn table(&self, key: &'static str) -> Table<'s> {
        let _ = self.item(key);
        self.nested(key, key)
    }

    /// Whether the file has this table at all.
    pub(super) fn is_there(&self) -> bool {
        self.entries.is_some()
    }

    /// The tables of an array of tables, `[[key]]`.
    pub(super) fn list(&self, key: &'static str) -> Vec<Table<'s>> {
        let Some(item) = self.item(key) else {
            return Vec::new();
        };
        let path = join(&self.path, key);
        let items = item.list(&format!("a list of tables, each [[{path}]]"));
        let tables = items.into_iter().flatten().map(|item| Table {
            source: self.source,
            report: self.report,
            entries: self.entries_of(item.value, &item.place, &item.key),
            path: item.key,
            schema: join(&self.schema, key),
            place: item.place,
            known: RefCell::default(),
            refused: RefCell::default(),
        });
        tables.filter(Table::is_there).collect()
    }

    /// The tables that users name themselves, with their names. What is no table is reported and
    /// left out.
    pub(super) fn named(&self) -> Vec<(String, Table<'s>)> {
        let names = self.entries.into_iter().flat_map(DeTable::keys);
        let tables = names.map(|name| {
            let name = name.get_ref();
            (name.to_string(), self.nested(name, ANY))
        });
        tables
            .filter(|(_, table)| table.entries.is_some())
            .collect()
    }

    /// The values of keys that users name themselves, such as environment variables.
    pub(super) fn values(&self) -> Vec<(String, Item<'s>)> {
        let names = self
            .entries
            .into_iter()
            .flat_map(DeTable::keys)
            .map(|key| key.get_ref());
        names
            .filter_map(|name| Some((name.to_string(), self.find(name)?)))
            .collect()
    }

    fn nested(&self, key: &str, schema: &str) -> Table<'s> {
        let path = join(&self.path, key);
        let entry = self.entries.and_then(|entries| entries.get_key_value(key));
        let place = match entry {
            Some((key, _)) => self.source.place(key.span().start),
            None => self.place.clone(),
        };
        let entries = entry.and_then(|(_, value)| {
            let place = self.source.place(value.span().start);
            self.entries_of(value.get_ref(), &place, &path)
        });
        Table {
            source: self.source,
            report: self.report,
            entries,
            path,
            schema: join(&self.schema, schema),
            place,
            known: RefCell::default(),
            refused: RefCell::default(),
        }
    }

    fn entries_of(
        &self,
        value: &'s DeValue<'s>,
        place: &Place,
        path: &str,
    ) -> Option<&'s DeTable<'s>> {
        let table = value.as_table();
        if table.is_none() {
            let message = format!("wants a table, [{path}]; found {}", found(value));
            self.report.add(place, path, message);
        }
        table
    }

    /// Reports every key that was not asked for, with the known one that was probably meant.
    pub(super) fn finish(&self) {
        let known = self.known.borrow();
        for (key, _) in self.entries.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) && !self.refused.borrow().contains(&name) {
                let place = self.source.place(key.span().start);
                let message = format!("unknown key; {}", self.hint(name, &known));
                self.report.add(&place, &join(&self.path, name), message);
            }
        }
    }

    fn hint(&self, name: &str, known: &[&'static str]) -> String {
        if self.report.is_full() {
            return String::new();
        }
        // A key of a table below this one, written a level too high.
        let below = match self.schema.as_str() {
            "" => String::new(),
            schema => format!("{schema}."),
        };
        let suffix = format!(".{name}");
        let elsewhere = self.report.known().into_iter().find_map(|path| {
            let rest = path.strip_prefix(&below)?;
            rest.ends_with(&suffix).then(|| rest.to_owned())
        });
        let near = || nearest(name, known.iter().copied()).map(ToOwned::to_owned);
        match elsewhere.or_else(near) {
            Some(key) => format!("did you mean `{key}`?"),
            None => {
                let all: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
                format!("known here: {}", all.join(", "))
            }
        }
    }
}

/// A key behind a path, quoted where TOML wants it.
fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if bare { key.to_owned() } else { quoted(key) };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}
