//! Who may call how often: the limits of a principal, of a principal at one server, and of a
//! principal for one tool, in this order. It knows names, configuration and keys; the buckets are
//! the policy's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::current::Current;
use super::principal::Principal;
use super::snapshot::LimitStatus;
use crate::config;
use crate::policy::bucket::Limit;
use crate::policy::buckets::Grant;
use crate::policy::limiter::Limiter;
use crate::policy::refusal::Refusal;

/// Whom the view calls those who found no place in the table.
const OTHERS: &str = "(everybody else)";

/// The limits of the daemon.
#[derive(Debug)]
pub struct Limits {
    limiter: Limiter,
    general: Current<Limit>,
    /// Makes keys nobody can foresee, so that nobody can crowd somebody else's place.
    seed: u64,
    known: Mutex<HashMap<u64, Arc<Principal>>>,
}

/// Which limit a bucket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `[rate_limit]`, or the principal's own.
    Principal,
    /// `[servers.NAME.rate_limit]`.
    Server,
    /// `[servers.NAME.tools.TOOL.rate_limit]`.
    Tool,
}

/// What one limit said.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// Which one.
    pub scope: Scope,
    /// What it is.
    pub limit: Limit,
    /// What is left of it.
    pub grant: Grant,
}

/// What all limits of one request said; those that do not exist say nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    said: [Option<Said>; 3],
}

impl Allowance {
    /// What each limit said, the principal's first. After a refusal, the limit that refused alone.
    pub fn said(&self) -> impl Iterator<Item = &Said> {
        self.said.iter().flatten()
    }

    /// The limit that refused, if any did.
    #[must_use]
    pub fn refused(&self) -> Option<&Said> {
        self.said().find(|said| !said.grant.allowed)
    }

    fn only(said: Said) -> Self {
        Self {
            said: [Some(said), None, None],
        }
    }
}

/// One limit that a request has to pass.
#[derive(Clone, Copy)]
struct Asked {
    scope: Scope,
    key: u64,
    limit: Limit,
}

impl Limits {
    /// Nobody has called yet. `epoch` is now; `seed` is random; `general` is `[rate_limit]`.
    #[must_use]
    pub fn new(epoch: Instant, seed: u64, general: Limit) -> Self {
        Self {
            limiter: Limiter::new(epoch, Limiter::KEYS, general),
            general: Current::new(general),
            seed,
            known: Mutex::default(),
        }
    }

    /// Another `[rate_limit]` from now on.
    pub fn retune(&self, general: Limit) {
        self.limiter.retune(general);
        self.general.set(general);
    }

    /// The one principal of this name, so that views can name it. Once per connection, not per call.
    /// With another class or limit it takes the place of the one that was known.
    pub fn meet(&self, principal: Principal) -> Arc<Principal> {
        let mut known = self.known();
        if let Some(one) = known.get(&principal.key()) {
            if **one == principal {
                return Arc::clone(one);
            }
        }
        if known.len() >= Limiter::KEYS {
            // Whoever has no connection is met again with the next one; the bucket stays.
            known.retain(|_, one| Arc::strong_count(one) > 1);
        }
        let one = Arc::new(principal);
        if known.len() < Limiter::KEYS {
            known.insert(one.key(), Arc::clone(&one));
        }
        one
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, Arc<Principal>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks every limit of a request. A refused request has cost nothing at any of them.
    pub fn take(
        &self,
        principal: &Principal,
        server: &config::Server,
        tool: Option<&str>,
        now: Instant,
    ) -> Allowance {
        let asked = self.asked(principal, server, tool);
        let mut said = [None; 3];
        let mut some = asked.iter().flatten();
        // The usual case: there is nothing to look at before anything is taken.
        if let (Some(_), Some(_)) = (some.next(), some.next()) {
            for (one, said) in asked.iter().zip(&mut said) {
                let Some(one) = one else { continue };
                if self.limiter.remaining(one.key, &one.limit, now) == 0 {
                    let answer = self.ask(one, now);
                    if !answer.grant.allowed {
                        return Allowance::only(answer);
                    }
                    *said = Some(answer);
                }
            }
        }
        for (one, said) in asked.iter().zip(&mut said) {
            if let (Some(one), None) = (one, &said) {
                let answer = self.ask(one, now);
                if !answer.grant.allowed {
                    // Another request of this principal took the last one meanwhile.
                    return Allowance::only(answer);
                }
                *said = Some(answer);
            }
        }
        Allowance { said }
    }

    fn ask(&self, one: &Asked, now: Instant) -> Said {
        Said {
            scope: one.scope,
            limit: one.limit,
            grant: self.limiter.take(one.key, &one.limit, now),
        }
    }

    fn asked(
        &self,
        principal: &Principal,
        server: &config::Server,
        tool: Option<&str>,
    ) -> [Option<Asked>; 3] {
        let key = self.key(principal, None, None);
        let own = principal.limit().unwrap_or_else(|| *self.general.get());
        let tool = tool.and_then(|name| Some((name, server.tools.get(name)?.rate_limit?)));
        let asked =
            |scope, key, limit: Limit| (limit.rate > 0).then_some(Asked { scope, key, limit });
        let name = server.name.as_str();
        [
            asked(Scope::Principal, key, own),
            server.rate_limit.and_then(|limit| {
                asked(Scope::Server, self.key(principal, Some(name), None), limit)
            }),
            tool.and_then(|(tool, limit)| {
                asked(
                    Scope::Tool,
                    self.key(principal, Some(name), Some(tool)),
                    limit,
                )
            }),
        ]
    }

    /// The key of a bucket: digests folded together, their bits spread.
    fn key(&self, principal: &Principal, server: Option<&str>, tool: Option<&str>) -> u64 {
        let parts = [server, tool];
        let start = spread(principal.key() ^ self.seed);
        parts.iter().flatten().fold(start, |key, part| {
            let part = part.bytes().fold(key, |key, byte| {
                (key ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            spread(part ^ key)
        })
    }

    /// The buckets with the most calls, busiest first, at most `most`.
    pub fn status<'s>(
        &self,
        most: usize,
        servers: impl Iterator<Item = &'s config::Server>,
        now: Instant,
    ) -> Vec<LimitStatus> {
        let general = *self.general.get();
        let busiest = self.limiter.busiest(most);
        let wanted: HashMap<u64, usize> = busiest.iter().map(|a| a.key).zip(0..).collect();
        let mut found: Vec<Option<LimitStatus>> = vec![None; busiest.len()];
        let mut name =
            |principal: &Principal, server: Option<&str>, tool: Option<&str>, limit: Limit| {
                let key = self.key(principal, server, tool);
                if let Some(at) = wanted.get(&key) {
                    let account = busiest[*at];
                    found[*at] = Some(LimitStatus {
                        principal: principal.name().to_owned(),
                        server: server.map(ToOwned::to_owned),
                        tool: tool.map(ToOwned::to_owned),
                        rate: limit.rate,
                        burst_size: limit.burst_size,
                        remaining: self.limiter.remaining(key, &limit, now),
                        granted: account.granted,
                        refused: account.refused,
                    });
                }
            };
        let servers: Vec<&config::Server> = servers.collect();
        let known: Vec<Arc<Principal>> = self.known().values().map(Arc::clone).collect();
        for principal in &known {
            let own = principal.limit().unwrap_or(general);
            name(principal, None, None, own);
            for server in &servers {
                let at = Some(server.name.as_str());
                if let Some(limit) = server.rate_limit {
                    name(principal, at, None, limit);
                }
                for (tool, settings) in &server.tools {
                    if let Some(limit) = settings.rate_limit {
                        name(principal, at, Some(tool), limit);
                    }
                }
            }
        }
        let mut all: Vec<LimitStatus> = found.into_iter().flatten().collect();
        let overflow = self.limiter.overflow();
        if overflow.granted + overflow.refused > 0 && all.len() < most {
            all.push(LimitStatus {
                principal: OTHERS.to_owned(),
                server: None,
                tool: None,
                rate: general.rate,
                burst_size: general.burst_size,
                remaining: 0,
                granted: overflow.granted,
                refused: overflow.refused,
            });
        }
        all
    }
}

/// The finaliser of SplitMix64: every bit of the input decides about every bit of the result.
fn spread(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The refusal for a limit that said no.
pub fn refusal(said: &Said, principal: &Principal, server: &str, tool: Option<&str>) -> Refusal {
    let Limit {
        rate, burst_size, ..
    } = said.limit;
    let what = match (said.scope, tool) {
        (Scope::Principal, _) => String::new(),
        (Scope::Tool, Some(tool)) => format!(" for tool {tool} of server {server}"),
        (Scope::Server | Scope::Tool, _) => format!(" at server {server}"),
    };
    Refusal::rate_limited(
        format!(
            "{} may make {rate} calls a second{what}, {burst_size} at once; the call was not executed",
            principal.name()
        ),
        said.grant.retry_after,
    )
}

#[cfg(test)]
mod tests {
    use super::{Limits, Scope, refusal};
    use crate::broker::principal::Principal;
    use crate::config::{Program, Server, Tool};
    use crate::policy::bucket::Limit;
    use crate::policy::class::Class;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    fn limit(rate: u32, burst_size: u32) -> Limit {
        Limit {
            rate,
            burst_size,
            refill_interval: Duration::from_millis(10),
        }
    }

    /// Four calls at once per principal, three at the server, two for its tool `t`.
    fn server() -> Server {
        let mut server = Server::new("s", Program::BuiltinScore);
        server.rate_limit = Some(limit(1, 3));
        let tool = Tool {
            rate_limit: Some(limit(1, 2)),
            ..Tool::default()
        };
        server.tools.insert("t".to_owned(), tool);
        server
    }

    fn principal(name: &str) -> Principal {
        Principal::named(name, Class::Normal, None)
    }

    #[test]
    fn every_limit_is_asked_and_a_refused_call_costs_nothing() {
        let start = Instant::now();
        let limits = Limits::new(start, 7, limit(1, 4));
        let (server, alice) = (server(), principal("alice"));
        let scopes = |tool| {
            let allowance = limits.take(&alice, &server, tool, start);
            (
                allowance.refused().map(|said| said.scope),
                allowance
                    .said()
                    .map(|said| said.grant.remaining)
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(scopes(Some("t")), (None, vec![3, 2, 1]));
        assert_eq!(scopes(Some("t")), (None, vec![2, 1, 0]));
        for _ in 0..5 {
            assert_eq!(scopes(Some("t")), (Some(Scope::Tool), vec![0]));
        }
        assert_eq!(scopes(Some("other")), (None, vec![1, 0]));
        assert_eq!(scopes(None), (Some(Scope::Server), vec![0]));
        let elsewhere = Server::new("e", Program::BuiltinScore);
        let left = limits.take(&alice, &elsewhere, None, start);
        assert!(left.refused().is_none(), "the refused calls were free");
        let none = limits.take(&alice, &elsewhere, None, start);
        let said = none.refused().unwrap();
        assert_eq!(said.scope, Scope::Principal);
        let bob = limits.take(&principal("bob"), &server, Some("t"), start);
        assert!(bob.refused().is_none(), "others have buckets of their own");
        let text = refusal(said, &alice, "s", None).detail;
        assert!(
            text.starts_with("alice may make 1 calls a second, 4 at once"),
            "{text}"
        );
    }

    #[test]
    fn a_principals_own_limit_stands_in_the_place_of_the_general_one() {
        let start = Instant::now();
        let limits = Limits::new(start, 7, limit(1, 1));
        let server = Server::new("e", Program::BuiltinScore);
        let calls = |own| {
            let somebody = Principal::named("somebody", Class::Normal, own);
            let taken = (0..10).map(|_| limits.take(&somebody, &server, None, start));
            taken.filter(|a| a.refused().is_none()).count()
        };
        assert_eq!(calls(Some(limit(0, 1))), 10);
        assert_eq!(calls(Some(limit(1, 5))), 5);
    }

    #[test]
    fn a_network_of_ipv6_has_one_bucket() {
        let start = Instant::now();
        let limits = Limits::new(start, 7, limit(1, 2));
        let server = Server::new("e", Program::BuiltinScore);
        let passes = |address: &str| {
            let stranger = limits.meet(Principal::anonymous(address.parse().unwrap()));
            limits
                .take(&stranger, &server, None, start)
                .refused()
                .is_none()
        };
        assert!(passes("2001:db8:1:2::1") && passes("2001:db8:1:2:ffff::2"));
        assert!(
            !passes("2001:db8:1:2:3:4:5:6"),
            "the third host of one network"
        );
        assert!(passes("2001:db8:1:3::1"), "another network");
        assert!(passes("192.0.2.1") && passes("::ffff:192.0.2.1") && !passes("192.0.2.1"));
    }

    #[test]
    fn the_view_names_whose_bucket_it_is() {
        let start = Instant::now();
        let limits = Limits::new(start, 7, limit(1, 4));
        let server = server();
        let alice = limits.meet(principal("alice"));
        assert!(Arc::ptr_eq(&alice, &limits.meet(principal("alice"))));
        for _ in 0..3 {
            limits.take(&alice, &server, Some("t"), start);
        }
        let mut seen: Vec<_> = limits
            .status(10, std::iter::once(&server), start)
            .into_iter()
            .map(|s| {
                (
                    s.principal,
                    s.server,
                    s.tool,
                    s.remaining,
                    s.granted,
                    s.refused,
                )
            })
            .collect();
        seen.sort();
        let (name, at) = ("alice".to_owned(), Some("s".to_owned()));
        let expected = [
            (name.clone(), None, None, 2, 2, 0),
            (name.clone(), at.clone(), None, 1, 2, 0),
            (name, at, Some("t".to_owned()), 0, 2, 1),
        ];
        assert_eq!(seen, expected);
        assert_eq!(limits.status(1, std::iter::once(&server), start).len(), 1);
    }

    #[test]
    fn keys_are_spread_and_depend_on_every_part() {
        let limits = Limits::new(Instant::now(), 7, limit(1, 1));
        let other = Limits::new(Instant::now(), 8, limit(1, 1));
        let a = principal("a");
        let keys = [
            limits.key(&a, None, None),
            limits.key(&a, Some("a"), None),
            limits.key(&a, Some("a"), Some("b")),
            limits.key(&a, Some("ab"), None),
            limits.key(&principal("b"), None, None),
            other.key(&a, None, None),
        ];
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[..n].contains(key), "{n}");
        }
        let high: std::collections::BTreeSet<u64> = (0..256)
            .map(|n| limits.key(&principal(&n.to_string()), None, None) >> 60)
            .collect();
        assert_eq!(high.len(), 16, "all shards are used");
    }
}
