//! A request within its limits, and what is said about them in headers. Whose limits there are is
//! the broker's business; here is what of a message they count.
//!
//! Only requests are answered with a refusal. Responses and cancellations always pass, and a
//! `ping` is answered by the daemon for nothing.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;

use super::answer::{self, Answer};
use super::exchange::Asked;
use crate::broker::limits::{self, Allowance, Said, Scope};
use crate::broker::principal::Principal;
use crate::broker::refused;
use crate::broker::server::Server;
use crate::broker::stats::bump;
use crate::mcp::params;

/// Serves a request if its limits allow it; `serve` does not begin before that.
pub async fn within(
    server: &Arc<Server>,
    caller: &Principal,
    asked: Asked<'_>,
    serve: impl Future<Output = Answer>,
) -> Answer {
    if asked.method == "ping" {
        return serve.await;
    }
    if let Some(refusal) = server.farewell() {
        server.stats().refused(&refusal);
        return answer::json(refused::error(asked.id.get().as_bytes(), &refusal));
    }
    let tool = tool(server, asked);
    let limits = &server.shared().limits;
    let allowance = limits.take(caller, &server.config(), tool.as_deref(), Instant::now());
    let mut answer = match allowance.refused() {
        None => serve.await,
        Some(said) => {
            let refusal = limits::refusal(said, caller, server.name(), tool.as_deref());
            server.stats().refused(&refusal);
            answer::json(refused::error(asked.id.get().as_bytes(), &refusal))
        }
    };
    if let Some(told) = headers(&allowance) {
        answer::within_limits(&mut answer, told);
    }
    answer
}

/// Whether a notification is taken; one over the limit is dropped and counted, never answered with
/// an error.
pub fn takes_notification(server: &Server, caller: &Principal) -> bool {
    let limits = &server.shared().limits;
    let allowance = limits.take(caller, &server.config(), None, Instant::now());
    let taken = allowance.refused().is_none();
    if !taken {
        bump(&server.stats().unrouted);
    }
    taken
}

/// The tool that is called, if any tool of the server has a limit.
fn tool(server: &Server, asked: Asked<'_>) -> Option<String> {
    let limited = || {
        server
            .config()
            .tools
            .values()
            .any(|t| t.rate_limit.is_some())
    };
    if asked.method != "tools/call" || !limited() {
        return None;
    }
    params::text(params::params(asked.params)?.name)
}

/// Headers that tell how much is left (draft-ietf-httpapi-ratelimit-headers).
#[derive(Debug)]
pub struct Told {
    /// `RateLimit-Policy`.
    pub policy: HeaderValue,
    /// `RateLimit`.
    pub left: HeaderValue,
    /// `Retry-After` of a refusal.
    pub retry_after: Option<HeaderValue>,
}

fn headers(allowance: &Allowance) -> Option<Told> {
    let mut policy = String::new();
    let mut left = String::new();
    let mut retry = None;
    for said in allowance.said() {
        let name = match said.scope {
            Scope::Principal => "burst",
            Scope::Server => "server",
            Scope::Tool => "tool",
        };
        let comma = if policy.is_empty() { "" } else { ", " };
        let (burst, again) = (said.limit.burst_size, again(said));
        let window = seconds(Duration::from_secs(u64::from(burst)) / said.limit.rate.max(1));
        // Writing to a String does not fail.
        let _ = write!(policy, "{comma}\"{name}\";q={burst};w={window}");
        let _ = write!(
            left,
            "{comma}\"{name}\";r={};t={again}",
            said.grant.remaining
        );
        if !said.grant.allowed {
            retry = Some(HeaderValue::from(again));
        }
    }
    if policy.is_empty() {
        return None;
    }
    Some(Told {
        policy: HeaderValue::try_from(policy).ok()?,
        left: HeaderValue::try_from(left).ok()?,
        retry_after: retry,
    })
}

/// Seconds to the next call if none is left, else until all are back.
fn again(said: &Said) -> u64 {
    let grant = &said.grant;
    let next = Duration::from_secs(1) / said.limit.rate.max(1);
    seconds(match (grant.allowed, grant.remaining) {
        (false, _) => grant.retry_after,
        (true, 0) => next.max(said.limit.refill_interval),
        (true, _) => grant.reset,
    })
}

/// Whole seconds, rounded up: nobody is sent away and comes back too early.
fn seconds(span: Duration) -> u64 {
    (span.as_secs() + u64::from(span.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::{headers, seconds};
    use crate::broker::limits::Limits;
    use crate::broker::principal::Principal;
    use crate::config::{Program, Server};
    use crate::policy::bucket::Limit;
    use crate::policy::class::Class;
    use std::time::{Duration, Instant};

    #[test]
    fn spans_are_rounded_up_to_a_second_at_least() {
        for (millis, whole) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
            assert_eq!(seconds(Duration::from_millis(millis)), whole, "{millis}");
        }
    }

    #[test]
    fn headers_say_what_is_left_and_when_to_come_back() {
        let start = Instant::now();
        let limits = Limits::new(start, 1, Limit::default());
        let mut server = Server::new("s", Program::BuiltinScore);
        let alice = Principal::named("alice", Class::Normal, None);
        let ask = |server: &Server| {
            let told = headers(&limits.take(&alice, server, None, start)).unwrap();
            let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap().to_owned();
            (
                text(&told.policy),
                text(&told.left),
                told.retry_after.as_ref().map(text),
            )
        };
        let policy = "\"burst\";q=200;w=2".to_owned();
        assert_eq!(
            ask(&server),
            (policy.clone(), "\"burst\";r=199;t=1".to_owned(), None)
        );
        for _ in 2..200 {
            ask(&server);
        }
        let last = (policy.clone(), "\"burst\";r=0;t=1".to_owned(), None);
        assert_eq!(ask(&server), last);
        let refused = (policy, "\"burst\";r=0;t=1".to_owned(), Some("1".to_owned()));
        assert_eq!(ask(&server), refused);

        server.rate_limit = Some(Limit {
            rate: 1,
            burst_size: 3,
            ..Limit::default()
        });
        let bob = Principal::named("bob", Class::Normal, None);
        let told = headers(&limits.take(&bob, &server, None, start)).unwrap();
        assert_eq!(told.policy, "\"burst\";q=200;w=2, \"server\";q=3;w=3");
        assert_eq!(told.left, "\"burst\";r=199;t=1, \"server\";r=2;t=1");
    }

    #[test]
    fn without_a_limit_nothing_is_said() {
        let none = Limit {
            rate: 0,
            ..Limit::default()
        };
        let limits = Limits::new(Instant::now(), 1, none);
        let server = Server::new("s", Program::BuiltinScore);
        let alice = Principal::named("alice", Class::Normal, None);
        assert!(headers(&limits.take(&alice, &server, None, Instant::now())).is_none());
    }
}
