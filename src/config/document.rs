//! All files as one document: which tables stand where, the servers of every file together, and
//! what must hold between tables. It knows text, not files.

use super::guard::{breaker, memory, rate_limit};
use super::limits::{ReadLimits, limits};
use super::principals::principals;
use super::section::{listen, path, pool, recovery, sessions};
use super::server::{Defaults, ReadServer, bounds, server};
use super::source::{Place, Report, Source};
use super::table::Table;
use super::{Auth, Cgroup, Listen, Pool, Principal, Program, Recovery, Server, Sessions};
use crate::policy::{breaker::Settings, bucket::Limit, memory::Limits};
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::de::DeTable;

/// The TOML parser's word for a key or table that is there twice.
const DUPLICATE: &str = "duplicate key";

/// What the files say, so far.
#[derive(Default)]
pub(super) struct Document {
    pub(super) report: Report,
    pub(super) listen: Listen,
    pub(super) sessions: Sessions,
    pub(super) rate_limit: Limit,
    pub(super) auth: Auth,
    pub(super) principals: Vec<Principal>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) cgroup: Cgroup,
    pub(super) admin_socket: Option<(PathBuf, Place)>,
    defaults: Defaults,
    servers: BTreeMap<String, ReadServer>,
    /// Whether a file could not be read, so that what is missing may be in there.
    pub(super) incomplete: bool,
}

impl Document {
    /// Reads the main file.
    pub(super) fn read_main(&mut self, file: &str, text: &str) {
        let source = Source::new(file, text);
        let Some(entries) = self.parse(&source) else {
            return;
        };
        let root = Table::root(&source, &self.report, &entries);
        self.listen = listen(&root.table("listen"));
        self.sessions = sessions(&root.table("sessions"));
        self.state_dir = path(&root, "state_dir", "\"/var/lib/mainstay\"");
        let cgroup = root.item("cgroup");
        if let Some(cgroup) = cgroup.and_then(|item| item.choice(Cgroup::NAMES)) {
            self.cgroup = cgroup;
        }
        let admin = root.table("admin");
        self.admin_socket =
            path(&admin, "socket", "\"/run/mainstay/mainstay.sock\"").map(|socket| {
                let place = admin.find("socket").map(|item| item.place);
                (socket, place.unwrap_or_else(|| source.whole()))
            });
        admin.finish();
        let pool_table = root.table("pool");
        let mut read = pool(&pool_table, &Pool::default());
        read.pool = bounds(&pool_table, read.clone(), true);
        self.defaults = Defaults {
            pool: read,
            recovery: recovery(&root.table("recovery"), &Recovery::default()),
            breaker: breaker(&root.table("breaker"), &Settings::default()),
            memory: memory(&root.table("memory"), &Limits::default()),
            limits: limits(&root.table("limits"), &ReadLimits::default()),
        };
        self.rate_limit = rate_limit(&root.table("rate_limit"), &Limit::default());
        (self.auth, self.principals) = principals(&root, &self.rate_limit);
        read_servers(&root, &self.defaults, &self.report, &mut self.servers);
        root.finish();
    }

    /// Reads a file of `servers.d`, in which only servers may stand.
    pub(super) fn read_servers(&mut self, file: &str, text: &str) {
        let source = Source::new(file, text);
        let Some(entries) = self.parse(&source) else {
            return;
        };
        let root = Table::root(&source, &self.report, &entries);
        for key in [
            "listen",
            "admin",
            "sessions",
            "pool",
            "recovery",
            "breaker",
            "memory",
            "limits",
            "cgroup",
            "rate_limit",
            "auth",
            "principals",
            "state_dir",
        ] {
            root.refuse(
                key,
                "belongs into mainstay.toml; here only [servers.NAME] may stand",
            );
        }
        read_servers(&root, &self.defaults, &self.report, &mut self.servers);
        root.finish();
    }

    /// Parses TOML and reports what is none. A file with such errors is not read further: what its
    /// keys would be is guesswork.
    fn parse<'t>(&mut self, source: &Source<'t>) -> Option<DeTable<'t>> {
        let (entries, errors) = DeTable::parse_recoverable(source.text());
        if errors.is_empty() {
            return Some(entries.into_inner());
        }
        self.incomplete = true;
        let mut line = None;
        let mut repeated_table: Option<usize> = None;
        for error in errors {
            let span = error.span().unwrap_or_default();
            let place = source.place(span.start);
            if error.message() == DUPLICATE {
                // The keys of a table that is there twice are echoes, up to the next header. Each
                // step looks on from the last echo, so that the text is walked once.
                let echo = |from| !source.slice(from..span.start).contains("\n[");
                let is_echo = repeated_table.is_some_and(echo);
                let is_header = is_echo || source.is_header(span.start);
                repeated_table = is_header.then_some(span.end);
                if is_echo {
                    continue;
                }
            }
            // The first error of a line tells; what follows are echoes of it.
            if place.line != line {
                line = place.line;
                self.report
                    .add(&place, "", syntax(error.message(), source.slice(span)));
            }
        }
        None
    }

    /// The servers in order of their names, one of them the default; the built-in score server if
    /// there is none. Checks what must hold between servers and other tables.
    pub(super) fn take_servers(&mut self) -> Vec<Server> {
        let mut servers = std::mem::take(&mut self.servers);
        if servers.is_empty() {
            return vec![Server {
                default: true,
                ..Server::new("score", Program::BuiltinScore)
            }];
        }
        for read in servers.values() {
            let body = self.listen.max_body_bytes;
            let server = &read.server;
            for (key, bytes, at) in [
                (
                    "write_queue_bytes",
                    server.write_queue_bytes,
                    &read.write_queue_at,
                ),
                ("queue_bytes", server.queue_bytes, &read.queue_at),
            ] {
                if bytes < body {
                    let key = format!("servers.{}.{key}", server.name);
                    let message = format!(
                        "is {bytes}, less than listen.max_body_bytes, {body}: a request could \
                         never be passed on; raise it or lower the other"
                    );
                    self.report.add(at, &key, message);
                }
            }
        }
        if let (1, Some(only)) = (servers.len(), servers.values_mut().next()) {
            only.server.default = true;
        }
        self.check_default(&servers);
        servers.into_values().map(|read| read.server).collect()
    }

    /// Exactly one server is the default.
    fn check_default(&self, servers: &BTreeMap<String, ReadServer>) {
        let marked: Vec<&ReadServer> = servers
            .values()
            .filter(|read| read.server.default)
            .collect();
        if let [first, others @ ..] = marked.as_slice() {
            for other in others {
                let key = format!("servers.{}.default", other.server.name);
                let message = format!(
                    "servers.{} is the default too ({}); only one server is served at /mcp, \
                     remove `default = true` from all others",
                    first.server.name,
                    position(&first.default_at)
                );
                self.report.add(&other.default_at, &key, message);
            }
        } else if let (false, Some(first)) = (self.incomplete, servers.values().next()) {
            let names: Vec<&str> = servers.keys().map(String::as_str).collect();
            let message = format!(
                "none of {} is the default; set default = true in the one to be served at /mcp",
                names.join(", ")
            );
            self.report.add(&first.at, "servers", message);
        }
    }
}

/// `[servers.NAME]` of one file, added to those of the files before it.
fn read_servers(
    root: &Table<'_>,
    defaults: &Defaults,
    report: &Report,
    servers: &mut BTreeMap<String, ReadServer>,
) {
    for (name, table) in root.table("servers").named() {
        let read = server(&name, &table, defaults);
        match servers.get(&name) {
            Some(first) => {
                let message = format!(
                    "is already defined at {}; rename or remove one",
                    position(&first.at)
                );
                report.add(table.place(), table.path(), message);
            }
            None => {
                servers.insert(name, read);
            }
        }
    }
}

fn position(place: &Place) -> String {
    match place.line {
        Some(line) => format!("{}:{line}", place.file),
        None => place.file.to_string(),
    }
}

/// The parser's words, with the text they are about and what to do where that is known.
fn syntax(message: &str, text: &str) -> String {
    let text: String = text.chars().take(40).collect();
    match message {
        DUPLICATE => {
            format!(
                "`{}` is defined twice; rename or remove one",
                text.escape_debug()
            )
        }
        _ if text.trim().is_empty() => format!("is no TOML: {message}"),
        _ => format!("is no TOML: {message}; at `{}`", text.escape_debug()),
    }
}

/// Every key the configuration knows, in order, `NAME` standing for a server's name; tables
/// included. For tests that documents and examples name them all.
#[must_use]
pub fn known_keys() -> Vec<String> {
    let mut document = Document::default();
    // Tables that are read only where they are.
    let optional = "[[principals]]\n[servers.any.tools.any]\n[servers.any.rate_limit]\n";
    document.read_main("known", optional);
    document.report.known()
}
