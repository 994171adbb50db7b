//! What the process keeps in memory by id, shared by all its callers, with the defects servers have:
//! it forgets silently, it checks before it writes, it trusts its cache files.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::call::Call;
use super::worker::Worker;
use super::{die, locked, sleep_ms, text, tool_error};

struct Entry {
    value: String,
    order: u64,
    since: Instant,
}

#[derive(Default)]
pub(crate) struct Store {
    entries: BTreeMap<String, Entry>,
    history: Vec<String>,
    cap: Option<u64>,
    ttl: Option<Duration>,
    written: u64,
}

impl Store {
    pub(crate) fn new(cap: Option<u64>, ttl: Option<u64>) -> Self {
        Self {
            cap,
            ttl: ttl.map(Duration::from_secs),
            ..Self::default()
        }
    }

    /// Forgets what is too old, and then what is too much, without a word.
    fn evict(&mut self) {
        if let Some(ttl) = self.ttl {
            self.entries.retain(|_, entry| entry.since.elapsed() < ttl);
        }
        let cap = self.cap.and_then(|cap| usize::try_from(cap).ok());
        while cap.is_some_and(|cap| self.entries.len() > cap) {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.order);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else {
                return;
            };
            self.entries.remove(&id);
        }
    }

    fn put(&mut self, id: &str, value: String) {
        self.written += 1;
        let entry = Entry {
            value,
            order: self.written,
            since: Instant::now(),
        };
        self.entries.insert(id.to_owned(), entry);
        self.evict();
    }
}

impl Worker {
    /// Success once for each id, "already exists" afterwards, but for the defects.
    pub(crate) fn create(&self, call: &Call) -> Value {
        let id = call.string("id");
        if self.options.has("--poison-scratch") {
            if let Err(message) = cached(call) {
                return tool_error(message);
            }
        }
        let taken = || {
            let mut store = locked(&self.store);
            store.evict();
            store.entries.contains_key(id)
        };
        if self.options.has("--create-race") {
            // Looks, thinks, writes: callers at once are all told success.
            if taken() {
                return tool_error(format!("{id} already exists"));
            }
            sleep_ms(call.arguments["ms"].as_u64().unwrap_or(50));
            locked(&self.store).put(id, call.string("value").to_owned());
        } else {
            sleep_ms(call.number("ms"));
            let mut store = locked(&self.store);
            store.evict();
            if store.entries.contains_key(id) {
                return tool_error(format!("{id} already exists"));
            }
            store.put(id, call.string("value").to_owned());
        }
        text(json!({"created": id}).to_string())
    }

    /// Another value each time, under the same id.
    pub(crate) fn random_create(&self, call: &Call) -> Value {
        let number = self.effects.fetch_add(1, Ordering::Relaxed);
        // Different in every process and every call; nothing needs it to be unguessable.
        let value = format!("random-{}-{number}", std::process::id());
        locked(&self.store).put(call.string("id"), value.clone());
        text(json!({"created": call.string("id"), "value": value}).to_string())
    }

    pub(crate) fn list(&self) -> Value {
        let mut store = locked(&self.store);
        store.evict();
        let entries: BTreeMap<&String, &String> =
            store.entries.iter().map(|(id, e)| (id, &e.value)).collect();
        text(json!(entries).to_string())
    }

    /// `*` is all of them.
    pub(crate) fn delete(&self, call: &Call) -> Value {
        let id = call.string("id");
        let mut store = locked(&self.store);
        let before = store.entries.len();
        if id == "*" {
            store.entries.clear();
        } else {
            store.entries.remove(id);
        }
        text(json!({"deleted_count": before - store.entries.len()}).to_string())
    }

    /// Answers with all it was ever told: no two workers answer alike.
    pub(crate) fn history(&self, call: &Call) -> Value {
        let mut store = locked(&self.store);
        store.history.push(call.string("value").to_owned());
        text(json!(store.history).to_string())
    }
}

/// Reads the cache of an id, or writes it in place: half, a pause (or death), the other half.
fn cached(call: &Call) -> Result<(), String> {
    const WHOLE: &str = "parsed score, whole";
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let path = home.join(format!("cache-{}", call.string("id")));
    if let Ok(found) = fs::read_to_string(&path) {
        return if found == WHOLE {
            Ok(())
        } else {
            Err(format!("cannot read {}: truncated", path.display()))
        };
    }
    let write =
        |text: &str| fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()));
    write(&WHOLE[..7])?;
    if call.arguments["crash"] == "half_written" {
        die(9);
    }
    write(WHOLE)
}
