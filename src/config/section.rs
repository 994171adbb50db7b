//! The tables that are about the daemon as a whole, and the two that servers share with them
//! (`guard` has more): their keys, ranges and formats. It knows nothing of other tables.

use super::item::{Item, quoted};
use super::source::Place;
use super::table::Table;
use super::{Listen, Pool, Recovery, Sessions};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// More would not fit the file descriptors of one process.
const MOST_CONNECTIONS: u64 = 1_000_000;
/// Bounds a typing error, not a use: a session takes a few kilobytes.
const MOST_SESSIONS: u64 = 10_000_000;
/// More workers than any host runs.
const MOST_WORKERS: u64 = 10_000;
/// Buffers above this do not fit a host's memory many times; and sums of them never overflow.
pub(super) const LARGEST_BUFFER: u64 = 1 << 40;

/// `[listen]`
pub(super) fn listen(table: &Table<'_>) -> Listen {
    let mut listen = Listen::default();
    if let Some(item) = table.item("http") {
        if let Some(text) = item.text("\"127.0.0.1:8000\"") {
            match text.parse() {
                Ok(address) => listen.http = address,
                Err(_) => item.wrong(not_an_address(text)),
            }
        }
    }
    table.count(
        "max_connections",
        1..=MOST_CONNECTIONS,
        &mut listen.max_connections,
    );
    table.size(
        "max_body_bytes",
        1..=LARGEST_BUFFER,
        &mut listen.max_body_bytes,
    );
    table.span("header_timeout", &mut listen.header_timeout);
    table.span("keepalive_interval", &mut listen.keepalive_interval);
    table.span("retry", &mut listen.retry);
    if let Some(hosts) = checked_list(table, "allowed_hosts", "[\"mcp.example:8000\"]", host) {
        listen.allowed_hosts = hosts;
    }
    let origins = checked_list(
        table,
        "allowed_origins",
        "[\"https://app.example\"]",
        origin,
    );
    if let Some(origins) = origins {
        listen.allowed_origins = origins;
    }
    table.finish();
    listen
}

/// `[sessions]`
pub(super) fn sessions(table: &Table<'_>) -> Sessions {
    let mut sessions = Sessions::default();
    table.count("max", 1..=MOST_SESSIONS, &mut sessions.max);
    table.span("idle_timeout", &mut sessions.idle_timeout);
    table.size(
        "stream_buffer_bytes",
        1..=LARGEST_BUFFER,
        &mut sessions.stream_buffer_bytes,
    );
    table.span("stream_retention", &mut sessions.stream_retention);
    table.finish();
    sessions
}

/// A pool, and where its bounds were written, if they were.
#[derive(Clone)]
pub(super) struct ReadPool {
    pub(super) pool: Pool,
    pub(super) min_at: Option<Place>,
    pub(super) max_at: Option<Place>,
}

/// `[pool]`; what is not written is taken from `base`. The bounds are not compared here.
pub(super) fn pool(table: &Table<'_>, base: &Pool) -> ReadPool {
    let mut pool = base.clone();
    let min_at = table.count("min_size", 0..=MOST_WORKERS, &mut pool.min_size);
    let max_at = table.count("max_size", 1..=MOST_WORKERS, &mut pool.max_size);
    table.span("health_check_interval", &mut pool.health_check_interval);
    table.span("acquire_timeout", &mut pool.acquire_timeout);
    table.optional_span("max_age", &mut pool.max_age);
    table.optional_count("max_calls", &mut pool.max_calls);
    table.finish();
    ReadPool {
        pool,
        min_at: min_at.map(|item| item.place),
        max_at: max_at.map(|item| item.place),
    }
}

/// `[recovery]`; what is not written is taken from `base`.
pub(super) fn recovery(table: &Table<'_>, base: &Recovery) -> Recovery {
    let mut recovery = base.clone();
    table.span("restart_delay", &mut recovery.restart_delay);
    let attempts = &mut recovery.max_restart_attempts;
    table.count("max_restart_attempts", 1..=u64::from(u32::MAX), attempts);
    table.span("check_interval", &mut recovery.check_interval);
    table.span("hold", &mut recovery.hold);
    table.finish();
    recovery
}

/// An absolute path.
pub(super) fn path(table: &Table<'_>, key: &'static str, example: &str) -> Option<PathBuf> {
    absolute(&table.item(key)?, example)
}

/// A list of absolute paths; the wrong ones are reported and left out.
pub(super) fn paths(table: &Table<'_>, key: &'static str, example: &str) -> Vec<PathBuf> {
    let items = table.item(key).and_then(|item| item.items(example));
    items
        .into_iter()
        .flatten()
        .filter_map(|item| absolute(&item, example.trim_matches(['[', ']'])))
        .collect()
}

fn absolute(item: &Item<'_>, example: &str) -> Option<PathBuf> {
    let text = item.text(example)?;
    if !Path::new(text).is_absolute() {
        item.wrong(format!(
            "wants an absolute path, such as {example}; found {}: it would depend on where the \
             daemon was started",
            quoted(text)
        ));
        return None;
    }
    Some(PathBuf::from(text))
}

/// A list of strings that each pass a check, which may write them in their usual form.
fn checked_list(
    table: &Table<'_>,
    key: &'static str,
    example: &str,
    check: fn(&str) -> Result<String, String>,
) -> Option<Vec<String>> {
    let mut list = Vec::new();
    for item in table.item(key)?.items(example)? {
        let Some(text) = item.text("\"text\"") else {
            continue;
        };
        match check(text) {
            Ok(text) => list.push(text),
            Err(why) => item.wrong(format!("{} {why}", quoted(text))),
        }
    }
    Some(list)
}

fn not_an_address(text: &str) -> String {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let port_ok = port.parse::<u16>().is_ok();
    let instead = match host {
        "" | "*" if port_ok => format!("\"0.0.0.0:{port}\" for all interfaces"),
        "localhost" if port_ok => format!("\"127.0.0.1:{port}\""),
        _ if text.parse::<IpAddr>().is_ok() => {
            let address = text
                .parse::<IpAddr>()
                .map(|ip| SocketAddr::from((ip, 8000)));
            address.map_or_else(|_| String::new(), |address| format!("\"{address}\""))
        }
        _ if text.parse::<u16>().is_ok() => format!("\"127.0.0.1:{text}\""),
        _ => "such as \"127.0.0.1:8000\" or \"[::1]:8000\"".to_owned(),
    };
    format!(
        "{} is no IP address with a port; write {instead}",
        quoted(text)
    )
}

/// A `Host` value: a name or an address, with or without a port.
fn host(text: &str) -> Result<String, String> {
    if text.contains("://") || text.contains('/') {
        return Err("is no host; write it without scheme and path, such as \"mcp.example\"".into());
    }
    if text.contains('*') {
        return Err("contains a wildcard, which is not supported; list each host".into());
    }
    if !is_authority(text) {
        return Err("is no host; write \"NAME\" or \"NAME:PORT\", such as \"mcp.example\"".into());
    }
    Ok(text.to_ascii_lowercase())
}

/// An `Origin` value: scheme and host, with or without a port (RFC 6454, section 6.2).
fn origin(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err("contains a wildcard, which is not supported; list each origin".into());
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        return Err(
            "is no origin; write it with its scheme, such as \"https://app.example\"".into(),
        );
    };
    if authority.contains('/') {
        return Err("has a path; an origin ends after host and port, without a slash".into());
    }
    let letters = scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !letters
        || !scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        || !is_authority(authority)
    {
        return Err("is no origin; write SCHEME://HOST, such as \"https://app.example\"".into());
    }
    Ok(text.to_ascii_lowercase())
}

/// `name`, `name:port`, `192.0.2.1:port`, `[2001:db8::1]:port`.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, after)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            (None, after)
        }
        None => match text.split_once(':') {
            Some((host, _)) => (Some(host), &text[host.len()..]),
            None => (Some(text), ""),
        },
    };
    let name = |host: &str| {
        !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let port_ok = match port.strip_prefix(':') {
        Some(port) => digits(port) && port.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    port_ok && host.is_none_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_origins() {
        for good in [
            "localhost",
            "MCP.Example:8000",
            "192.0.2.1:80",
            "[::1]:8000",
            "[::1]",
            "a_b",
        ] {
            assert_eq!(host(good), Ok(good.to_ascii_lowercase()));
            let origin_text = format!("https://{good}");
            assert_eq!(origin(&origin_text), Ok(origin_text.to_ascii_lowercase()));
        }
        for bad in [
            "", ":80", "a:", "a:x", "a:65536", "a:+1", "a b", "[::1", "[x]", "::1", "a@b", "ä", "*",
        ] {
            assert!(host(bad).is_err(), "{bad}");
            assert!(origin(&format!("https://{bad}")).is_err(), "{bad}");
        }
        for bad in ["http://a", "a/b"] {
            assert!(host(bad).is_err(), "{bad}");
        }
        for bad in ["app.example", "https://a/", "1s://a", "://a", "null"] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_corrected_where_the_meaning_is_clear() {
        let table = [
            (":8000", "\"0.0.0.0:8000\""),
            ("*:80", "\"0.0.0.0:80\""),
            ("localhost:9000", "\"127.0.0.1:9000\""),
            ("8080", "\"127.0.0.1:8080\""),
            ("10.0.0.1", "\"10.0.0.1:8000\""),
            ("::1", "\"[::1]:8000\""),
            ("mcp.example:80", "such as \"127.0.0.1:8000\""),
        ];
        for (text, instead) in table {
            let message = not_an_address(text);
            assert!(message.contains(&format!("write {instead}")), "{message}");
        }
    }
}
