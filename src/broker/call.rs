//! One call of a client, from its acceptance to its one outcome: what was asked, by whom, where the
//! answer goes and how long it may take. Whoever holds the call owes the outcome; a call that is
//! dropped without one ends its stream, so that nobody waits for ever. Where it is sent is decided
//! elsewhere.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::flight::Flight;
use super::principal::{Principal, fnv};
use super::refused;
use super::rules::Rule;
use super::server::Server;
use super::session::Session;
use super::stats::Outcome;
use super::stream::Stream;
use crate::mcp::envelope::{self, Message};
use crate::mcp::params;
use crate::policy::breaker::Verdict;
use crate::policy::class::Class;
use crate::policy::outcome;
use crate::policy::permit::Permit;
use crate::policy::refusal::Refusal;

/// What the front knows of a request that is to be sent to a worker.
#[derive(Debug)]
pub struct Request {
    /// The whole message.
    pub message: Bytes,
    /// Where its id stands.
    pub id: Range<usize>,
    /// Where its progress token stands.
    pub token: Option<Range<usize>>,
    /// The tool it calls, raw JSON, if it calls one.
    pub tool: Option<Range<usize>>,
    /// The worker that minted what it refers to.
    pub prefer: Option<u64>,
    /// Where its messages go.
    pub stream: Arc<Stream>,
    /// Who sent it.
    pub principal: Arc<Principal>,
    /// The legacy session it belongs to.
    pub session: Option<Arc<Session>>,
    /// Whether it asked for log messages (modern era).
    pub wants_logs: bool,
    /// Whether its answer lists tools, which are remembered.
    pub lists_tools: bool,
}

/// What a call holds of the breakers until its outcome is known.
#[derive(Debug)]
pub struct Permits {
    /// Of its server's.
    pub server: Permit,
    /// Of its tool's, if that has one.
    pub tool: Option<Permit>,
}

/// The call.
#[derive(Debug)]
pub struct Call {
    request: Request,
    server: Arc<Server>,
    rule: Arc<Rule>,
    flight: Arc<Flight>,
    permits: Option<Permits>,
    accepted: Instant,
    deadline: Instant,
    /// When it was written to a worker last.
    begun: Instant,
    sent: u32,
    alone: bool,
    told: bool,
}

/// A request taken apart: for what is rare, such as a death or a quarantine.
#[derive(Debug)]
pub struct Parts {
    /// `method`.
    pub method: String,
    /// The tool of a `tools/call`.
    pub tool: Option<String>,
    /// Its arguments, raw JSON.
    pub arguments: String,
}

impl Call {
    /// Accepts a request now.
    #[must_use]
    pub fn new(request: Request, server: Arc<Server>, now: Instant) -> Box<Self> {
        let tool = request.tool.clone();
        let tool = tool.and_then(|range| request.message.get(range));
        let rule = Arc::clone(server.rules().of(tool));
        server.calls.fetch_add(1, Ordering::SeqCst);
        Box::new(Self {
            deadline: now + rule.call_timeout,
            request,
            server,
            rule,
            flight: Arc::default(),
            permits: None,
            accepted: now,
            begun: now,
            sent: 0,
            alone: false,
            told: false,
        })
    }

    /// What was asked.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The client's id, raw JSON.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        self.slice(&self.request.id)
    }

    /// The client's progress token, raw JSON.
    #[must_use]
    pub fn token(&self) -> Option<Bytes> {
        let range = self.request.token.clone()?;
        (range.end <= self.request.message.len()).then(|| self.request.message.slice(range))
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.request.message.get(range.clone()).unwrap_or_default()
    }

    /// Where its messages go.
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.request.stream
    }

    /// The legacy session it belongs to.
    #[must_use]
    pub fn session(&self) -> Option<&Arc<Session>> {
        self.request.session.as_ref()
    }

    /// What holds for its tool.
    #[must_use]
    pub fn rule(&self) -> &Arc<Rule> {
        &self.rule
    }

    /// Where it is.
    #[must_use]
    pub fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// How much it matters: no more than its principal, and no more than its tool.
    #[must_use]
    pub fn class(&self) -> Class {
        self.request.principal.class().min(self.rule.class)
    }

    /// The name of its tool, raw JSON, if it calls one.
    pub(super) fn tool_name(&self) -> Option<&[u8]> {
        self.request.tool.as_ref().map(|range| self.slice(range))
    }

    /// A digest of its tool; 0 if it calls none.
    #[must_use]
    pub fn tool_key(&self) -> u64 {
        self.tool_name().map_or(0, |name| fnv(name).max(1))
    }

    /// When it was accepted.
    #[must_use]
    pub fn accepted(&self) -> Instant {
        self.accepted
    }

    /// When it was written to a worker last.
    #[must_use]
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// When its time is over.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Times it was written to a worker.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.sent
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.sent += 1;
        self.begun = now;
    }

    /// It may be what killed a worker: it gets one for itself.
    pub(super) fn want_alone(&mut self) {
        self.alone = true;
    }

    /// Whether it is to have a worker for itself.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    pub(super) fn hold(&mut self, permits: Permits) {
        self.permits = Some(permits);
    }

    /// Tells the breakers what became of this attempt. Without a word permits give themselves
    /// back, which says nothing about anybody.
    pub(super) fn settle(&mut self, outcome: outcome::Outcome) {
        let Some(Permits { server, tool }) = self.permits.take() else {
            return;
        };
        let now = Instant::now();
        let took = now.saturating_duration_since(self.begun);
        let verdict = outcome.of_server();
        if let Some(change) = server.settle(now, verdict, took, jitter(verdict)) {
            self.server.report(None, change);
        }
        if let Some(tool) = tool {
            let verdict = outcome.of_tool();
            if let Some(change) = tool.settle(now, verdict, took, jitter(verdict)) {
                self.server.report(self.rule.tool.as_deref(), change);
            }
        }
    }

    /// The worker that minted what it refers to is gone or does not read: any other will do.
    pub(super) fn forget_preference(&mut self) {
        self.request.prefer = None;
    }

    /// A sign of life gives it its time again, within the longest a call may take. True if the
    /// deadline moved.
    pub(super) fn progressed(&mut self, now: Instant) {
        let most = self.accepted + self.rule.max_call_timeout;
        self.deadline = self.deadline.max((now + self.rule.call_timeout).min(most));
    }

    /// Method, tool and arguments, read again from the message.
    #[must_use]
    pub fn parts(&self) -> Parts {
        let (method, raw) = match envelope::parse(&self.request.message) {
            Ok(Message::Request { method, params, .. }) => (method.into_owned(), params),
            _ => (String::new(), None),
        };
        let params = params::params(raw).unwrap_or_default();
        let tool = (method == "tools/call")
            .then(|| params::text(params.name))
            .flatten();
        Parts {
            method,
            tool,
            arguments: params
                .arguments
                .map_or_else(String::new, |a: &RawValue| a.get().to_owned()),
        }
    }

    /// It has its answer: `message` goes to the client, with its code if it is an error. Returns
    /// how many events its reader has lost.
    pub(super) fn answer(&mut self, counted: Outcome, message: Bytes, error: Option<i64>) -> u64 {
        self.told = true;
        self.server
            .stats()
            .finished(counted, self.accepted.elapsed());
        self.request.stream.finish(message, error)
    }

    /// It is refused, or was lost.
    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        self.told = true;
        self.permits = None;
        self.server.stats().refused(refusal);
        let code = i64::from(refusal.reason.code());
        let message = refused::error(self.id(), refusal);
        self.request.stream.finish(message, Some(code));
    }

    /// Its client does not want it any more: there will be no answer, and whoever reads on would
    /// wait for ever.
    pub(super) fn cancel(&mut self) {
        self.told = true;
        self.permits = None;
        let took = self.accepted.elapsed();
        self.server.stats().finished(Outcome::Cancelled, took);
        self.request.stream.close();
    }

    /// Time since it was accepted.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.accepted)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.told {
            self.request.stream.close();
        }
        self.server.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A number in 0.0..=1.0 that spreads probes; asked of the operating system only where it is used.
fn jitter(verdict: Verdict) -> f64 {
    if matches!(verdict, Verdict::Success | Verdict::Excluded) {
        return 0.0;
    }
    let mut byte = [0u8; 1];
    // Without randomness probes are merely not spread.
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 255.0
}
