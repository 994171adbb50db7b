//! Who may call from a browser, and under which name: Host and Origin. Without this any web page
//! could talk to a server on loopback (DNS rebinding; MCP, security of Streamable HTTP).

use std::net::{IpAddr, SocketAddr};

use hyper::header::{HOST, HeaderMap, ORIGIN};

use crate::config::Listen;

/// The rule.
#[derive(Debug, Clone)]
pub struct Gate {
    hosts: Vec<String>,
    origins: Vec<String>,
    addresses: Vec<SocketAddr>,
}

/// Why a request was not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// The `Host` is not one of ours.
    Host(String),
    /// The `Origin` is not one of ours.
    Origin(String),
}

impl Gate {
    /// The rule of this configuration, for listeners bound to `addresses`.
    #[must_use]
    pub fn new(listen: &Listen, addresses: &[SocketAddr]) -> Self {
        Self {
            hosts: listen.allowed_hosts.clone(),
            origins: listen.allowed_origins.clone(),
            addresses: addresses.to_vec(),
        }
    }

    /// Checks the headers; `Some` origin is one to answer with CORS headers.
    ///
    /// # Errors
    /// See [`Stopped`].
    pub fn check<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Stopped> {
        let host = headers.get(HOST).and_then(|h| h.to_str().ok());
        let host = host.unwrap_or_default();
        if headers.get_all(HOST).iter().count() > 1 || !self.allows_host(host) {
            return Err(Stopped::Host(host.to_owned()));
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Ok(None);
        };
        let text = origin.to_str().unwrap_or("(not text)");
        if origins.next().is_some() || !self.allows_origin(text) {
            return Err(Stopped::Origin(text.to_owned()));
        }
        Ok(Some(text))
    }

    /// Checks the host of a request line in absolute form, which overrides `Host` (RFC 9112,
    /// section 3.2.2).
    ///
    /// # Errors
    /// See [`Stopped`].
    pub fn check_target(&self, authority: Option<&str>) -> Result<(), Stopped> {
        match authority {
            Some(authority) if !self.allows_host(authority) => {
                Err(Stopped::Host(authority.to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn allows_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let (name, _) = split_port(&host);
        if !self.hosts.is_empty() {
            return self.hosts.iter().any(|h| *h == host || h == name);
        }
        if is_loopback(name) {
            return true;
        }
        let ip = literal(name);
        // Listening everywhere says that other hosts are meant to call; a rebinding attack needs
        // a name, never an address.
        ip.is_some_and(|ip| {
            let mut own = self.addresses.iter().map(SocketAddr::ip);
            own.any(|own| own == ip || own.is_unspecified())
        })
    }

    fn allows_origin(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        if !self.origins.is_empty() {
            return self.origins.contains(&origin);
        }
        let rest = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        rest.is_some_and(|authority| is_loopback(split_port(authority).0))
    }
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || literal(name).is_some_and(|ip| ip.is_loopback())
}

/// An address in a URL; IPv6 stands in brackets.
fn literal(name: &str) -> Option<IpAddr> {
    name.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// `name:port`, `[v6]:port` or either without a port.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::{Gate, Stopped};
    use crate::config::Listen;
    use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};

    fn gate(hosts: &[&str], origins: &[&str], address: &str) -> Gate {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let listen = Listen {
            allowed_hosts: own(hosts),
            allowed_origins: own(origins),
            ..Listen::default()
        };
        Gate::new(&listen, &[address.parse().unwrap()])
    }

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        headers
    }

    #[test]
    fn loopback_names_are_ours_by_default() {
        let gate = gate(&[], &[], "127.0.0.1:8000");
        for host in [
            "localhost:8000",
            "127.0.0.1",
            "[::1]:9",
            "LOCALHOST",
            "127.0.0.1:1",
        ] {
            assert_eq!(gate.check(&headers(host, None)), Ok(None), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "[::2]",
        ] {
            assert!(gate.check(&headers(host, None)).is_err(), "{host}");
        }
    }

    #[test]
    fn an_address_reaches_a_listener_on_all_of_them_a_name_does_not() {
        let gate = gate(&[], &[], "0.0.0.0:8000");
        assert!(gate.check(&headers("192.0.2.7:8000", None)).is_ok());
        assert!(gate.check(&headers("mcp.example", None)).is_err());
    }

    #[test]
    fn configured_names_replace_the_default() {
        let gate = gate(
            &["mcp.example", "x.example:81"],
            &["https://app.example"],
            "0.0.0.0:8000",
        );
        assert!(gate.check(&headers("mcp.example:8000", None)).is_ok());
        assert!(gate.check(&headers("x.example:81", None)).is_ok());
        assert!(gate.check(&headers("x.example:82", None)).is_err());
        assert!(gate.check(&headers("localhost", None)).is_err());
        assert_eq!(
            gate.check(&headers("mcp.example", Some("https://app.example"))),
            Ok(Some("https://app.example"))
        );
        assert!(
            gate.check(&headers("mcp.example", Some("http://localhost")))
                .is_err()
        );
    }

    #[test]
    fn foreign_null_and_duplicate_origins_are_stopped() {
        let gate = gate(&[], &[], "127.0.0.1:8000");
        assert!(
            gate.check(&headers("localhost", Some("http://localhost:5173")))
                .is_ok()
        );
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost.evil.example",
            "file://",
        ] {
            assert_eq!(
                gate.check(&headers("localhost", Some(origin))),
                Err(Stopped::Origin(origin.to_owned()))
            );
        }
        let mut twice = headers("localhost", Some("http://localhost"));
        twice.append(ORIGIN, HeaderValue::from_static("http://localhost"));
        assert!(gate.check(&twice).is_err());
    }
}
