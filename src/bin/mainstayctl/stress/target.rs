//! Whom to call: an endpoint by its URL, and from which addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};

use hyper::Uri;

/// An endpoint as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Host and port, as the `Host` header says it.
    pub(crate) authority: String,
    /// Path, and the query if there is one.
    pub(crate) path: String,
}

impl Address {
    /// Reads `http://HOST[:PORT]/PATH`.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("is no URL: {error}"))?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) if !authority.as_str().contains('@') => Ok(Self {
                authority: authority.to_string(),
                path: uri.path_and_query().map_or("/", |p| p.as_str()).to_owned(),
            }),
            (Some("https"), _) => Err("is https; only http is spoken here".to_owned()),
            _ => Err("does not have the form http://HOST:PORT/PATH".to_owned()),
        }
    }

    /// The default server at a listener. One that listens everywhere listens on loopback too.
    pub(crate) fn at(listener: SocketAddr) -> Self {
        let mut to = listener;
        match to.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => to.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => to.set_ip(Ipv4Addr::LOCALHOST.into()),
            _ => {}
        }
        Self {
            authority: to.to_string(),
            path: "/mcp".to_owned(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.authority, self.path)
    }

    /// The name of the server, `None` for the default one.
    pub(crate) fn server(&self) -> Option<&str> {
        self.path.strip_prefix("/servers/")?.strip_suffix("/mcp")
    }

    /// Looks the host up; blocking.
    pub(crate) fn resolve(self) -> Result<Target, String> {
        let (host, port) = match self.authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (self.authority.as_str(), Some(80)),
        };
        let port = port.ok_or_else(|| format!("{} has no port", self.url()))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = (host, port).to_socket_addrs();
        let mut found: Vec<SocketAddr> = found
            .map_err(|error| format!("cannot find {host}: {error}"))?
            .collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        let socket = found.first().copied();
        let socket = socket.ok_or_else(|| format!("{host} has no address"))?;
        Ok(Target {
            address: self,
            socket,
        })
    }
}

/// An endpoint that can be connected to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) socket: SocketAddr,
}

impl Target {
    /// Where a user connects from: on loopback each has an address, so that each is a principal
    /// of its own; elsewhere whatever the system takes.
    pub(crate) fn source(&self, user: usize) -> Option<IpAddr> {
        let IpAddr::V4(to) = self.socket.ip() else {
            return None;
        };
        // 127.0.1.1 to 127.0.40.250: never 127.0.0.1, which others call from.
        let (high, low) = (1 + user / 250 % 250, 1 + user % 250);
        let octet = |number: usize| u8::try_from(number).unwrap_or(1);
        to.is_loopback()
            .then(|| Ipv4Addr::new(127, 0, octet(high), octet(low)).into())
    }

    /// Whether it is what a daemon of this machine listens on.
    pub(crate) fn is(&self, listener: SocketAddr) -> bool {
        let same = listener.ip() == self.socket.ip();
        // Only an address of this machine can be bound to.
        let mine = || TcpListener::bind((self.socket.ip(), 0)).is_ok();
        listener.port() == self.socket.port() && (same || listener.ip().is_unspecified() && mine())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Address::parse(url).unwrap().resolve().unwrap()
    }

    #[test]
    fn urls() {
        for bad in [
            "",
            "/mcp",
            "ftp://a/mcp",
            "https://a/mcp",
            "http://",
            "http://u:p@a/",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        let named = target("http://127.0.0.1:81/servers/time/mcp");
        assert_eq!(named.address.server(), Some("time"));
        assert_eq!(named.socket.to_string(), "127.0.0.1:81");
        assert_eq!(target("http://127.0.0.1/mcp").socket.port(), 80);
        assert_eq!(
            target("http://[::1]:8000/mcp").socket.to_string(),
            "[::1]:8000"
        );
        assert_eq!(target("http://127.0.0.1/mcp").address.server(), None);
    }

    #[test]
    fn the_default_endpoint_of_a_listener() {
        for (listener, url) in [
            ("127.0.0.1:8000", "http://127.0.0.1:8000/mcp"),
            ("0.0.0.0:80", "http://127.0.0.1:80/mcp"),
            ("[::]:80", "http://127.0.0.1:80/mcp"),
            ("10.1.2.3:80", "http://10.1.2.3:80/mcp"),
        ] {
            assert_eq!(Address::at(listener.parse().unwrap()).url(), url);
        }
    }

    #[test]
    fn users_of_loopback_have_addresses_of_their_own() {
        let here = target("http://127.0.0.1:8000/mcp");
        let sources: std::collections::BTreeSet<_> = (0..10_000).map(|u| here.source(u)).collect();
        assert_eq!(sources.len(), 10_000);
        assert!(!sources.contains(&Some(Ipv4Addr::LOCALHOST.into())));
        assert_eq!(target("http://192.0.2.1:8000/mcp").source(3), None);
    }

    #[test]
    fn a_daemon_of_this_machine_is_not_taken_for_another() {
        let is = |url: &str, listener: &str| target(url).is(listener.parse().unwrap());
        assert!(is("http://127.0.0.1:8000/mcp", "127.0.0.1:8000"));
        assert!(is("http://127.0.0.1:8000/mcp", "0.0.0.0:8000"));
        assert!(!is("http://127.0.0.1:8001/mcp", "127.0.0.1:8000"));
        assert!(!is("http://192.0.2.1:8000/mcp", "0.0.0.0:8000"));
        assert!(!is("http://192.0.2.1:8000/mcp", "127.0.0.1:8000"));
    }
}
