//! `[servers.NAME]`: its keys, and which of their combinations are impossible. It knows nothing of
//! other servers.

use super::guard::{breaker, call_timeouts, failure, memory, own_rate_limit, retry};
use super::item::Item;
use super::limits::{ReadLimits, server_limits};
use super::section::{LARGEST_BUFFER, ReadPool, path, paths, pool, recovery};
use super::source::Place;
use super::table::Table;
use super::tool::tools;
use super::upstream::{self, refuse_process_keys, url};
use super::{Era, Landlock, Pool, Program, Recovery, Sandbox, Server, State};
use crate::policy::{breaker::Settings, memory::Limits};
use std::collections::BTreeMap;

/// More calls than this in one process are a typing error.
const MOST_CONCURRENCY: u64 = 10_000;
const MOST_QUEUED: u64 = 1_000_000;

/// What the tables at the top say for every server.
pub(super) struct Defaults {
    pub(super) pool: ReadPool,
    pub(super) recovery: Recovery,
    pub(super) breaker: Settings,
    pub(super) memory: Limits,
    pub(super) limits: ReadLimits,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            pool: ReadPool {
                pool: Pool::default(),
                min_at: None,
                max_at: None,
            },
            recovery: Recovery::default(),
            breaker: Settings::default(),
            memory: Limits::default(),
            limits: ReadLimits::default(),
        }
    }
}

/// A server and the places its later checks need.
pub(super) struct ReadServer {
    pub(super) server: Server,
    pub(super) at: Place,
    pub(super) default_at: Place,
    pub(super) write_queue_at: Place,
    pub(super) queue_at: Place,
}

/// Reads `[servers.NAME]`. Whatever is wrong is reported and replaced by its default, so that
/// reading goes on.
pub(super) fn server(name: &str, table: &Table<'_>, defaults: &Defaults) -> ReadServer {
    if !is_name(name) {
        table.wrong("is no server name; use 1 to 64 of the characters A-Z a-z 0-9 _ -");
    }
    let program = program(table).unwrap_or_else(|| Program::Command(vec!["?".to_owned()]));
    let mut server = Server::new(name, program);
    let default_item = table.item("default");
    if let Some(default) = default_item.as_ref().and_then(Item::flag) {
        server.default = default;
    }
    upstream::upstream(table, &mut server);
    let is_upstream = matches!(server.program, Program::Upstream(_));
    if is_upstream {
        refuse_process_keys(table);
    }
    environment(table, &mut server);
    server.cwd = path(table, "cwd", "\"/srv/music\"");
    if let Some(era) = table.item("era").and_then(|item| item.choice(Era::NAMES)) {
        server.era = era;
    }
    let state_item = table.item("state");
    if let Some(state) = state_item
        .as_ref()
        .and_then(|item| item.choice(State::NAMES))
    {
        server.state = state;
    }
    if let (Era::Modern, State::Session, Some(item)) = (server.era, server.state, &state_item) {
        item.wrong(
            "\"session\" cannot be combined with era = \"modern\", which has no sessions; use \
             \"none\" or \"shared\"",
        );
    }
    table.count("concurrency", 1..=MOST_CONCURRENCY, &mut server.concurrency);
    let mut pool_defaults = defaults.pool.clone();
    if is_upstream {
        upstream::pool(&mut pool_defaults, &server);
    }
    server.pool = server_pool(table, server.state, &pool_defaults);
    server.recovery = recovery(&table.table("recovery"), &defaults.recovery);
    table.span("start_timeout", &mut server.start_timeout);
    table.span("stop_grace", &mut server.stop_grace);
    table.size(
        "max_message_bytes",
        1024..=LARGEST_BUFFER,
        &mut server.max_message_bytes,
    );
    let write_queue = table.size(
        "write_queue_bytes",
        1..=LARGEST_BUFFER,
        &mut server.write_queue_bytes,
    );
    table.count("queue_size", 1..=MOST_QUEUED, &mut server.queue_size);
    let queue = table.size("queue_bytes", 1..=LARGEST_BUFFER, &mut server.queue_bytes);
    server.sandbox = sandbox(&table.table("sandbox"));
    guards(table, &mut server, defaults);
    // Looked at in any case, so that it is not called unknown where it is refused.
    let limits = table.table("limits");
    if !is_upstream {
        server.limits = server_limits(&limits, &defaults.limits, &server.memory);
    }
    refused(table);
    table.finish();
    let at = table.place().clone();
    let place = |item: Option<Item<'_>>| item.map_or_else(|| at.clone(), |item| item.place);
    ReadServer {
        server,
        default_at: place(default_item),
        write_queue_at: place(write_queue),
        queue_at: place(queue),
        at,
    }
}

/// What becomes of a call when not all goes well.
fn guards(table: &Table<'_>, server: &mut Server, defaults: &Defaults) {
    call_timeouts(
        table,
        &mut server.call_timeout,
        &mut server.max_call_timeout,
    );
    let names = table
        .item("retry_safe")
        .and_then(|item| item.texts("[\"list_files\"]"));
    server.retry_safe = names.into_iter().flatten().collect();
    for (key, flag) in [
        ("trust_annotations", &mut server.trust_annotations),
        ("adaptive_concurrency", &mut server.adaptive_concurrency),
    ] {
        if let Some(set) = table.item(key).and_then(|item| item.flag()) {
            *flag = set;
        }
    }
    server.breaker = breaker(&table.table("breaker"), &defaults.breaker);
    server.memory = memory(&table.table("memory"), &defaults.memory);
    server.retry = retry(&table.table("retry"));
    server.rate_limit = own_rate_limit(table);
    server.failure = failure(&table.table("failure"));
    server.tools = tools(&table.table("tools"), server);
}

/// `command`, `builtin` or `url`: exactly one.
fn program(table: &Table<'_>) -> Option<Program> {
    const EXAMPLE: &str = "[\"program\", \"argument\"]";
    let command = table.item("command");
    let builtin = table.item("builtin");
    let address = table.item("url");
    if let (Some(_), Some(builtin)) = (&command, &builtin) {
        builtin.wrong("stands beside `command`; a server has one or the other, remove one");
        return None;
    }
    if let Some(address) = address {
        if command.is_some() || builtin.is_some() {
            address.wrong(
                "stands beside `command` or `builtin`; a server has one of the three, remove the \
                 others",
            );
            return None;
        }
        return url(&address);
    }
    if let Some(builtin) = builtin {
        return builtin
            .choice(&[("score", ())])
            .map(|()| Program::BuiltinScore);
    }
    let Some(command) = command else {
        table.wrong(format!(
            "has no `command` and no `url`; add the program to run: command = {EXAMPLE}"
        ));
        return None;
    };
    if let Some(line) = command.value.as_str() {
        let words: Vec<String> = line
            .split_whitespace()
            .map(|word| toml::Value::from(word).to_string())
            .collect();
        let instead = match words.is_empty() || line.contains(['"', '\'', '\\', '$', '\0']) {
            true => EXAMPLE.to_owned(),
            false => format!("[{}]", words.join(", ")),
        };
        command.wrong(format!(
            "wants a list; there is no shell to split a line: {instead}"
        ));
        return None;
    }
    let words = command.texts(EXAMPLE)?;
    if words.first().is_none_or(String::is_empty) {
        command.wrong(format!("is empty; write the program to run: {EXAMPLE}"));
        return None;
    }
    Some(Program::Command(words))
}

/// `env` and `env_pass`.
fn environment(table: &Table<'_>, server: &mut Server) {
    const NAMES: &str = "is no variable name; use A-Z a-z 0-9 _, not beginning with a digit";
    let mut env = BTreeMap::new();
    let variables = table.table("env");
    for (name, item) in variables.values() {
        if !is_variable(&name) {
            item.wrong(NAMES);
        }
        if let Some(text) = item.text("\"text\"") {
            env.insert(name, text.to_owned());
        }
    }
    if let Some(items) = table
        .item("env_pass")
        .and_then(|item| item.items("[\"HF_TOKEN\"]"))
    {
        for item in items {
            let Some(name) = item.text("\"HF_TOKEN\"") else {
                continue;
            };
            if !is_variable(name) {
                item.wrong(format!("\"{}\" {NAMES}", name.escape_debug()));
            } else if env.contains_key(name) {
                item.wrong(format!(
                    "{name} is also set in `env`; remove it here or there"
                ));
            } else if !server.env_pass.iter().any(|known| known == name) {
                server.env_pass.push(name.to_owned());
            }
        }
    }
    server.env = env;
}

/// `[servers.NAME.pool]` over `[pool]` over the defaults.
fn server_pool(table: &Table<'_>, state: State, defaults: &ReadPool) -> Pool {
    let pool_table = table.table("pool");
    let ReadPool {
        mut pool,
        min_at,
        max_at,
    } = pool(&pool_table, &defaults.pool);
    if state == State::Shared {
        for (at, key, value) in [
            (&min_at, "min_size", pool.min_size),
            (&max_at, "max_size", pool.max_size),
        ] {
            if let (Some(at), true) = (at, value > 1) {
                pool_table.wrong_at(
                    at,
                    key,
                    format!(
                        "{value} cannot be combined with state = \"shared\", which one worker \
                         holds for all; remove it, or set `state` to \"none\" or \"session\""
                    ),
                );
            }
        }
        pool.min_size = min_at.map_or(1, |_| pool.min_size);
        pool.max_size = 1;
        return pool;
    }
    let inherited = ReadPool {
        min_at: min_at.clone().or_else(|| defaults.min_at.clone()),
        max_at: max_at.clone().or_else(|| defaults.max_at.clone()),
        pool,
    };
    // Bounds that both come from [pool] were compared there.
    let compare = min_at.or(max_at).is_some();
    bounds(&pool_table, inherited, compare)
}

/// The pool with its bounds in order. A `min_size` that nobody wrote gives way to a smaller
/// `max_size`; one that somebody wrote is not silently changed.
pub(super) fn bounds(table: &Table<'_>, read: ReadPool, report: bool) -> Pool {
    let ReadPool {
        mut pool,
        min_at,
        max_at,
    } = read;
    if pool.min_size <= pool.max_size {
        return pool;
    }
    if let (Some(at), true) = (&min_at, report) {
        let (min, max) = (pool.min_size, pool.max_size);
        let from = match &max_at {
            Some(_) => "",
            None => " (the default)",
        };
        table.wrong_at(
            at,
            "min_size",
            format!("{min} is more than max_size, {max}{from}; lower min_size or raise max_size"),
        );
    }
    pool.min_size = pool.max_size;
    pool
}

/// `[servers.NAME.sandbox]`
fn sandbox(table: &Table<'_>) -> Sandbox {
    let mut sandbox = Sandbox::default();
    if let Some(landlock) = table
        .item("landlock")
        .and_then(|item| item.choice(Landlock::NAMES))
    {
        sandbox.landlock = landlock;
    }
    sandbox.read_paths = paths(table, "read_paths", "[\"/srv/music\"]");
    sandbox.write_paths = paths(table, "write_paths", "[\"/srv/music\"]");
    table.finish();
    sandbox
}

/// Keys that people know from elsewhere, with what to do instead.
fn refused(table: &Table<'_>) {
    const REFUSED: [(&str, &str); 1] = [(
        "args",
        "belongs into `command`: command = [\"program\", \"argument\"]",
    )];
    for (key, message) in REFUSED {
        table.refuse(key, message);
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
