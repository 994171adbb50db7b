//! What a reload changes, from the configuration in force to a new one: which servers come, go, get
//! new workers or only new settings, and which keys take a restart of the daemon. It compares what
//! [`effective_toml`] writes, so a key is seen as soon as it is written there; what a changed key
//! takes stands in the two tables below. It knows nothing of how a change is made, and shows no
//! values: some are secrets.

use super::effective::effective_toml;
use super::{Config, Program, Server};
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

/// What a changed key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing: it holds from the next call on.
    AtOnce,
    /// Workers started anew, one after the other.
    NewWorkers,
    /// The server anew: what is known of it does not hold for the new one.
    NewServer,
    /// A restart of the daemon; until then the old value holds.
    Restart,
}

/// Keys outside of `[servers.*]`; a table stands for all keys below it.
const GENERAL: &[(&str, Effect)] = &[
    ("state_dir", Effect::Restart),
    ("cgroup", Effect::Restart),
    ("admin.socket", Effect::Restart),
    ("listen.http", Effect::Restart),
    ("listen.max_connections", Effect::Restart),
    ("listen.max_body_bytes", Effect::AtOnce),
    ("listen.header_timeout", Effect::AtOnce),
    ("listen.keepalive_interval", Effect::AtOnce),
    ("listen.retry", Effect::AtOnce),
    ("listen.allowed_hosts", Effect::AtOnce),
    ("listen.allowed_origins", Effect::AtOnce),
    ("sessions", Effect::AtOnce),
    ("rate_limit", Effect::AtOnce),
    ("auth.required", Effect::AtOnce),
    ("principals", Effect::AtOnce),
];

/// Tables that stand outside of servers too, as defaults: a change there shows at each server that
/// has no value of its own.
const DEFAULTS: &[&str] = &["pool", "recovery", "breaker", "memory", "limits"];

/// Keys below `[servers.NAME]`; a table stands for all keys below it.
const OF_SERVER: &[(&str, Effect)] = &[
    ("default", Effect::AtOnce),
    ("command", Effect::NewWorkers),
    ("builtin", Effect::NewWorkers),
    ("url", Effect::NewWorkers),
    ("upstream", Effect::NewWorkers),
    ("env", Effect::NewWorkers),
    ("env_pass", Effect::NewWorkers),
    ("cwd", Effect::NewWorkers),
    ("limits", Effect::NewWorkers),
    ("sandbox", Effect::NewWorkers),
    ("stop_grace", Effect::NewWorkers),
    ("max_message_bytes", Effect::NewWorkers),
    ("write_queue_bytes", Effect::NewWorkers),
    ("era", Effect::NewServer),
    ("state", Effect::NewServer),
    ("concurrency", Effect::AtOnce),
    ("adaptive_concurrency", Effect::AtOnce),
    ("pool", Effect::AtOnce),
    ("recovery", Effect::AtOnce),
    ("start_timeout", Effect::AtOnce),
    ("queue_size", Effect::AtOnce),
    ("queue_bytes", Effect::AtOnce),
    ("call_timeout", Effect::AtOnce),
    ("max_call_timeout", Effect::AtOnce),
    ("retry_safe", Effect::AtOnce),
    ("trust_annotations", Effect::AtOnce),
    ("breaker", Effect::AtOnce),
    ("memory", Effect::AtOnce),
    ("retry", Effect::AtOnce),
    ("rate_limit", Effect::AtOnce),
    ("failure", Effect::AtOnce),
    ("tools", Effect::AtOnce),
];

/// What changing `key` takes; `NAME` or a name stands for a server's. `None` for a key that no
/// table here knows.
#[must_use]
pub fn effect(key: &str) -> Option<Effect> {
    let of_server = key.strip_prefix("servers.");
    let (table, key) = match of_server.and_then(|rest| rest.split_once('.')) {
        Some((_, key)) => (OF_SERVER, key),
        None if DEFAULTS.contains(&key.split('.').next().unwrap_or_default()) => (OF_SERVER, key),
        None => (GENERAL, key),
    };
    let is_at = |place: &str| {
        let below = key.strip_prefix(place);
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    table.iter().find(|(at, _)| is_at(at)).map(|(_, e)| *e)
}

/// The changed keys of one server, or of one principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// The keys below it, sorted.
    pub keys: Vec<String>,
}

/// Everything that differs; all lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Servers that were not there.
    pub added: Vec<String>,
    /// Servers that are not there any more.
    pub removed: Vec<String>,
    /// Servers whose workers are replaced; other keys of theirs may have changed too.
    pub replaced: Vec<Changed>,
    /// Servers that are begun anew.
    pub renewed: Vec<Changed>,
    /// Servers with new settings for the workers they have.
    pub retuned: Vec<Changed>,
    /// Principals that come.
    pub principals_added: Vec<String>,
    /// Principals that go.
    pub principals_removed: Vec<String>,
    /// Principals with other tokens, class or limit.
    pub principals_changed: Vec<String>,
    /// Other keys that hold from now on.
    pub general: Vec<String>,
    /// Keys that take a restart.
    pub restart: Vec<String>,
}

impl Changes {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What differs between the configuration in force and a new one.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Changes {
    let mut changes = Changes::default();
    let (before, after) = (written(old), written(new));
    for key in differing(&before, &after, &["servers", "principals"]) {
        match effect(&key) {
            Some(Effect::Restart) => changes.restart.push(key),
            _ => changes.general.push(key),
        }
    }
    servers(old, new, &before, &after, &mut changes);
    principals(old, new, &mut changes);
    changes
}

/// `new` with the old values where a change takes a restart: what is in force after a reload.
#[must_use]
pub fn in_force(old: &Config, new: Config) -> Config {
    let mut config = new;
    config.state_dir.clone_from(&old.state_dir);
    config.admin.clone_from(&old.admin);
    config.cgroup = old.cgroup;
    config.listen.http = old.listen.http;
    config.listen.max_connections = old.listen.max_connections;
    config
}

impl Server {
    /// Whether workers started for `other` are as good as workers started for this one: everything
    /// with [`Effect::NewWorkers`] is the same.
    #[must_use]
    pub fn has_same_workers(&self, other: &Self) -> bool {
        self.program == other.program
            && self.env == other.env
            && self.env_pass == other.env_pass
            && self.cwd == other.cwd
            && self.limits == other.limits
            && self.sandbox == other.sandbox
            && self.stop_grace == other.stop_grace
            && self.max_message_bytes == other.max_message_bytes
            && self.write_queue_bytes == other.write_queue_bytes
    }

    /// Whether what is known of this server says nothing about `other`.
    fn is_another(&self, other: &Self) -> bool {
        let kind = |server: &Self| std::mem::discriminant(&server.program);
        self.era != other.era
            || self.state != other.state
            || (kind(self) != kind(other)
                && [self, other]
                    .iter()
                    .any(|s| matches!(s.program, Program::Upstream(_))))
    }
}

fn servers(old: &Config, new: &Config, before: &Table, after: &Table, changes: &mut Changes) {
    let named = |config: &Config| -> BTreeMap<String, Server> {
        let servers = config.servers.iter();
        servers.map(|s| (s.name.clone(), s.clone())).collect()
    };
    let (olds, news) = (named(old), named(new));
    changes.removed = missing(&olds, &news);
    changes.added = missing(&news, &olds);
    for (name, was) in &olds {
        let Some(is) = news.get(name) else { continue };
        let keys = differing(&below(before, name), &below(after, name), &[]);
        let list = match () {
            () if was.is_another(is) => &mut changes.renewed,
            () if !was.has_same_workers(is) => &mut changes.replaced,
            () if was != is => &mut changes.retuned,
            () => continue,
        };
        list.push(Changed {
            name: name.clone(),
            keys,
        });
    }
}

fn principals(old: &Config, new: &Config, changes: &mut Changes) {
    let named = |config: &Config| -> BTreeMap<String, super::Principal> {
        let principals = config.principals.iter();
        principals.map(|p| (p.name.clone(), p.clone())).collect()
    };
    let (olds, news) = (named(old), named(new));
    changes.principals_removed = missing(&olds, &news);
    changes.principals_added = missing(&news, &olds);
    changes.principals_changed = olds
        .iter()
        .filter(|(name, was)| news.get(*name).is_some_and(|is| is != *was))
        .map(|(name, _)| name.clone())
        .collect();
}

/// The names of `here` that are not there.
fn missing<T>(here: &BTreeMap<String, T>, there: &BTreeMap<String, T>) -> Vec<String> {
    let names = here.keys().filter(|name| !there.contains_key(*name));
    names.cloned().collect()
}

/// A configuration as keys and values. What [`effective_toml`] writes can be read; if not, nothing
/// but whole servers would be seen to differ.
fn written(config: &Config) -> Table {
    effective_toml(config).parse().unwrap_or_default()
}

/// The table of one server.
fn below(root: &Table, server: &str) -> Table {
    let found = root.get("servers").and_then(|s| s.get(server));
    found.and_then(Value::as_table).cloned().unwrap_or_default()
}

/// The paths of all keys that differ, or are in one of both only; the tables `but` are left out.
fn differing(before: &Table, after: &Table, but: &[&str]) -> Vec<String> {
    let mut keys = [BTreeMap::new(), BTreeMap::new()];
    for (table, keys) in [before, after].into_iter().zip(&mut keys) {
        for (name, value) in table
            .iter()
            .filter(|(name, _)| !but.contains(&name.as_str()))
        {
            flatten(name, value, keys);
        }
    }
    let [before, after] = &keys;
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differ = |key: &&&String| before.get(**key) != after.get(**key);
    all.iter()
        .filter(differ)
        .map(|key| (*key).clone())
        .collect()
}

fn flatten<'v>(path: &str, value: &'v Value, keys: &mut BTreeMap<String, &'v Value>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                flatten(&format!("{path}.{name}"), value, keys);
            }
        }
        _ => {
            keys.insert(path.to_owned(), value);
        }
    }
}
