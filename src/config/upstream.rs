//! `url` and `[servers.NAME.upstream]`: an MCP server that is reached over HTTP instead of started.
//! It owns what a URL and a header may be; it opens no connection and reads no credential.

use super::item::{Item, quoted};
use super::section::{ReadPool, path};
use super::table::Table;
use super::{Program, Server, State};
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// An upstream and how it is talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its MCP endpoint: an absolute `http` or `https` URL with a host, without user, password
    /// and fragment.
    pub url: String,
    /// From the look-up of the name to the end of the TLS handshake; never zero.
    pub connect_timeout: Duration,
    /// From a request to the head of its answer; never zero. An upstream that answers with plain
    /// JSON sends the head when the call is done.
    pub response_timeout: Duration,
    /// Longest silence within an answer, keep-alive comments included; never zero.
    pub idle_timeout: Duration,
    /// Where the bearer token is, if one is sent.
    pub bearer: Option<Bearer>,
    /// Headers sent with every request, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// PEM certificates that are trusted in the place of the system's; absolute.
    pub ca_file: Option<PathBuf>,
}

/// Where a bearer token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// `bearer_file = "/path"`.
    File(PathBuf),
    /// `bearer_credential = "NAME"`: the systemd credential of that name.
    Credential(String),
}

impl Upstream {
    /// An upstream at this URL, otherwise the defaults.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            connect_timeout: Duration::from_secs(5),
            // Longer than calls last: their own deadline decides first.
            response_timeout: Duration::from_secs(10 * 60),
            idle_timeout: Duration::from_secs(5 * 60),
            bearer: None,
            headers: BTreeMap::new(),
            ca_file: None,
        }
    }
}

/// What an upstream makes the defaults of its server: there is no process to start, and one
/// "worker" is one session over as many connections as there are calls.
pub(super) fn adapt(server: &mut Server) {
    server.concurrency = 64;
    server.start_timeout = Duration::from_secs(10);
    (server.pool.min_size, server.pool.max_size) = SIZES;
}

/// One session carries every call; a second one is opened when `concurrency` is used up.
const SIZES: (usize, usize) = (1, 4);
/// Where each client's session has one of its own. It costs the upstream little, but not nothing.
const MOST_SESSIONS: usize = 256;

/// The defaults of the pool of `server`, an upstream: what the top of the file says of pools of
/// processes does not hold for it, but for what is no size.
pub(super) fn pool(defaults: &mut ReadPool, server: &Server) {
    (defaults.pool.min_size, defaults.pool.max_size) = SIZES;
    if server.state == State::Session {
        defaults.pool.max_size = MOST_SESSIONS;
    }
    (defaults.min_at, defaults.max_at) = (None, None);
}

const URL: &str = "\"https://mcp.example/mcp\"";

/// Reads `url`.
pub(super) fn url(item: &Item<'_>) -> Option<Program> {
    let text = item.text(URL)?;
    match checked_url(text) {
        Ok(()) => Some(Program::Upstream(Box::new(Upstream::new(text)))),
        Err(why) => {
            item.wrong(format!("{} {why}", quoted(text)));
            None
        }
    }
}

fn checked_url(text: &str) -> Result<(), &'static str> {
    if text.contains('#') {
        return Err("has a fragment, which is never sent; remove it");
    }
    let uri: Uri = text
        .parse()
        .map_err(|_| "is no URL; write it like \"https://mcp.example/mcp\"")?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(_) => return Err("has an unknown scheme; write http:// or https://"),
        None => return Err("is no absolute URL; begin with http:// or https://"),
    }
    let authority = uri.authority().map_or("", |a| a.as_str());
    if authority.contains('@') {
        return Err("contains a user or password; use upstream.bearer_file");
    }
    let host = uri.host().unwrap_or_default();
    let port = match authority.get(host.len()..).unwrap_or_default() {
        "" => Some(0),
        port => port
            .strip_prefix(':')
            .and_then(|p| p.parse().ok())
            .filter(|p: &u16| *p > 0),
    };
    if host.is_empty() || port.is_none() {
        return Err("names no host and port that can be reached");
    }
    Ok(())
}

/// Reads `[servers.NAME.upstream]`, which only servers with a `url` may have.
pub(super) fn upstream(table: &Table<'_>, server: &mut Server) {
    let mut ours = Upstream::new("");
    // A wrong URL is told once, not again for all that belongs to it.
    let is_upstream = table.find("url").is_some();
    let there = table.find("upstream");
    let own = table.table("upstream");
    own.span("connect_timeout", &mut ours.connect_timeout);
    own.span("response_timeout", &mut ours.response_timeout);
    own.span("idle_timeout", &mut ours.idle_timeout);
    ours.ca_file = path(&own, "ca_file", "\"/etc/mainstay/ca.pem\"");
    ours.bearer = bearer(&own);
    ours.headers = headers(&own);
    own.finish();
    match &mut server.program {
        Program::Upstream(upstream) => {
            ours.url = std::mem::take(&mut upstream.url);
            **upstream = ours;
        }
        Program::Command(_) | Program::BuiltinScore => {
            if let (Some(item), false) = (there, is_upstream) {
                item.wrong("is for servers with a `url`; remove it, or `command` and `builtin`");
            }
        }
    }
}

fn bearer(table: &Table<'_>) -> Option<Bearer> {
    let file = path(table, "bearer_file", "\"/etc/mainstay/token\"");
    let Some(item) = table.item("bearer_credential") else {
        return file.map(Bearer::File);
    };
    let name = item.text("\"upstream-token\"")?;
    if file.is_some() {
        item.wrong("stands beside `bearer_file`; the token is in one or the other, remove one");
        return None;
    }
    // A path would leave the directory of the credentials.
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        item.wrong(format!(
            "{} is no name of a credential; use the one in LoadCredential=NAME:PATH of the unit",
            quoted(name)
        ));
        return None;
    }
    Some(Bearer::Credential(name.to_owned()))
}

/// Headers that are the protocol's or the connection's own.
const OURS: [&str; 12] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "last-event-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

fn headers(table: &Table<'_>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (name, item) in table.table("headers").values() {
        let Some(value) = item.text("\"text\"") else {
            continue;
        };
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
            item.wrong("is no header name");
            continue;
        };
        let lower = header.as_str();
        if matches!(lower, "authorization" | "proxy-authorization" | "cookie") {
            item.wrong(
                "is a credential, which does not belong into this file; use bearer_file or \
                 bearer_credential",
            );
        } else if OURS.contains(&lower) || lower.starts_with("mcp-") {
            item.wrong("is set by mainstay itself; remove it");
        } else if HeaderValue::from_str(value).is_err() {
            item.wrong("has a value that no header can have: visible ASCII characters and spaces");
        } else if headers.insert(lower.to_owned(), value.to_owned()).is_some() {
            item.wrong("is there twice; names of headers do not differ by case");
        }
    }
    headers
}

/// Keys that are about a process, refused for a server that has none.
pub(super) fn refuse_process_keys(table: &Table<'_>) {
    for key in [
        "env",
        "env_pass",
        "cwd",
        "limits",
        "stop_grace",
        "memory",
        "sandbox",
    ] {
        if let Some(item) = table.find(key) {
            item.wrong("is about a process, and a server with a `url` has none here; remove it");
        }
    }
}

/// Whether a host is this machine, so that what is sent to it in clear stays here.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{checked_url, is_loopback};

    #[test]
    fn urls_name_a_host_and_no_secret() {
        for good in [
            "http://127.0.0.1:8000/mcp",
            "https://mcp.example",
            "http://[::1]:80/mcp?x=1",
        ] {
            assert_eq!(checked_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/mcp",
            "mcp.example/mcp",
            "ftp://a/",
            "http://",
            "http://user:secret@a/",
            "http://a:0/",
            "http://a:99999/",
            "http://a/#b",
            "http://a b/",
        ] {
            assert!(checked_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_told_from_names_that_look_like_it() {
        assert!(is_loopback("localhost") && is_loopback("127.3.2.1") && is_loopback("[::1]"));
        assert!(!is_loopback("127.0.0.1.example") && !is_loopback("10.0.0.1"));
    }
}
