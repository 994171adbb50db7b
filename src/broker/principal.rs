//! Who calls: what limits are kept by, queues are fair between, and logs name. Who somebody is gets
//! decided at the front, from a token or an address.

use std::net::IpAddr;

use crate::policy::bucket::Limit;
use crate::policy::class::Class;

/// A caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Principal {
    name: String,
    key: u64,
    class: Class,
    limit: Option<Limit>,
    anonymous: bool,
}

impl Principal {
    /// Somebody with this name; `limit` is its own in the place of the general one.
    #[must_use]
    pub fn named(name: &str, class: Class, limit: Option<Limit>) -> Self {
        Self {
            key: fnv(name.as_bytes()),
            name: name.to_owned(),
            class,
            limit,
            anonymous: false,
        }
    }

    /// Whoever calls from this address without a token. One network of IPv6 (/64) is one caller:
    /// its hosts choose their addresses as they like.
    #[must_use]
    pub fn anonymous(address: IpAddr) -> Self {
        let name = match address.to_canonical() {
            IpAddr::V4(v4) => format!("anonymous@{v4}"),
            IpAddr::V6(v6) if v6.is_loopback() => format!("anonymous@{v6}"),
            IpAddr::V6(v6) => {
                let network = u128::from(v6) & !u128::from(u64::MAX);
                format!("anonymous@{}/64", std::net::Ipv6Addr::from(network))
            }
        };
        Self {
            anonymous: true,
            ..Self::named(&name, Class::Normal, None)
        }
    }

    /// Its name, for logs and views.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose the sessions are that it opens: its own if it is known by a token. Those of strangers
    /// belong to whoever knows their id, since addresses change under one client.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        (!self.anonymous).then_some(self.name.as_str())
    }

    /// A digest of its name, for tables.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// How much its calls matter.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Its own limit.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }
}

/// FNV-1a: short, and no secret depends on it.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::Principal;

    #[test]
    fn a_network_of_ipv6_is_one_caller() {
        let name = |a: &str| Principal::anonymous(a.parse().unwrap()).name().to_owned();
        assert_eq!(name("192.0.2.7"), "anonymous@192.0.2.7");
        assert_eq!(name("::ffff:192.0.2.7"), "anonymous@192.0.2.7");
        assert_eq!(name("2001:db8:1:2:3:4:5:6"), "anonymous@2001:db8:1:2::/64");
        assert_eq!(name("2001:db8:1:2:ffff::1"), "anonymous@2001:db8:1:2::/64");
        assert_eq!(name("::1"), "anonymous@::1");
    }
}
