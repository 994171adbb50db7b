//! Where a worker's messages go: answers to the call they belong to, progress by its token,
//! everything else to whoever it can be attributed to. What cannot be attributed is dropped and
//! counted, never broadcast: that would leak between clients.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::affinity::PIN;
use super::call::Call;
use super::calls::{Entry, Reply};
use super::member::{Locked, Member, owned};
use super::session::Session;
use super::stats::{self, bump};
use super::stream::Stream;
use crate::mcp::code;
use crate::mcp::envelope::{self, Head, Message, Outcome};
use crate::mcp::message;
use crate::mcp::params::{self, Params};
use crate::mcp::splice::{Edit, range_of, splice};
use crate::observe::event::{Event, emit};
use crate::policy::outcome;
use crate::policy::refusal::Refusal;
use crate::worker::actor::Inbox;
use crate::worker::loss::Loss;

/// Reports of junk are this far apart.
const JUNK_REPORT: Duration = Duration::from_secs(10);
/// Bytes of junk quoted in a report.
const JUNK_SAMPLE: usize = 200;

/// What a worker wrote that was no message, since the last report.
#[derive(Debug, Default)]
pub(super) struct Junk {
    count: u64,
    reported: Option<Instant>,
}

/// The inbox of one member.
#[derive(Debug)]
pub(super) struct Router(pub(super) Arc<Member>);

impl Inbox for Router {
    fn frame(&self, line: &[u8]) {
        match envelope::parse(line) {
            Ok(Message::Response {
                id: Some(id),
                outcome,
            }) => self.response(line, id, outcome),
            Ok(Message::Notification { method, params }) => {
                self.notification(line, &method, params::params(params));
            }
            Ok(Message::Request { id, method, .. }) => self.request(line, id, &method),
            // An error without id answers nothing we can name.
            Ok(Message::Response { id: None, .. }) => bump(&self.0.stats.unrouted),
            Err(_) => self.junk(line),
        }
    }

    fn lost(&self, id: u64, loss: Loss) {
        // Bound first: the table's lock must be free when a lease is dropped.
        let entry = self.0.calls().remove(id);
        match entry {
            Some(Entry::Client(call, lease)) => {
                drop(lease);
                match self.0.server.upgrade() {
                    Some(server) => server.lose_at_upstream(&self.0, call, &loss),
                    // The daemon is going; the call ends its stream.
                    None => drop(call),
                }
            }
            Some(Entry::Listen(listen)) => listen.leg_ended(self.0.id(), None),
            // Whoever asked hears that there will be no answer.
            Some(Entry::Own(_) | Entry::Forsaken { .. }) | None => {}
        }
    }

    fn oversize(&self, head: &[u8]) {
        bump(&self.0.stats.oversize);
        if let Some(server) = self.0.server.upgrade() {
            let limit = server.config().max_message_bytes as u64;
            self.too_large(head, limit);
            emit(&Event::OversizeFrame {
                server: server.name().to_owned(),
                worker: self.0.id(),
                bytes: limit,
                limit,
            });
        }
    }
}

impl Router {
    fn unrouted(&self) {
        bump(&self.0.stats.unrouted);
    }

    /// The call whose answer was discarded will not get another one.
    fn too_large(&self, head: &[u8], limit: u64) {
        let only = || {
            let calls = self.0.calls();
            let mut all = calls.clients().map(|(wire, _)| wire);
            all.next().filter(|_| all.next().is_none())
        };
        let wire = match envelope::head(head) {
            // A request or a notification, or an answer to nobody.
            Some(Head::Other) => None,
            Some(Head::Answer(id)) => id.parse::<u64>().ok(),
            None => only(),
        };
        let entry = wire.and_then(|wire| {
            let mut calls = self.0.calls();
            match calls.get(wire)? {
                Entry::Listen(_) => None,
                Entry::Client(..) | Entry::Own(_) | Entry::Forsaken { .. } => calls.remove(wire),
            }
        });
        if let Some(Entry::Client(mut call, lease)) = entry {
            let refusal = Refusal::answer_too_large(format!(
                "the worker answered, but with more than {limit} bytes (max_message_bytes); the answer was discarded"
            ));
            call.settle(outcome::Outcome::Malformed);
            call.refuse(&refusal);
            drop(lease);
        }
    }

    fn junk(&self, line: &[u8]) {
        bump(&self.0.stats.junk);
        let count = {
            let mut junk = self.0.junk.lock().unwrap_or_else(PoisonError::into_inner);
            junk.count += 1;
            let now = Instant::now();
            if junk
                .reported
                .is_some_and(|at| now.duration_since(at) < JUNK_REPORT)
            {
                return;
            }
            junk.reported = Some(now);
            std::mem::take(&mut junk.count)
        };
        if let Some(server) = self.0.server.upgrade() {
            let sample = line.get(..JUNK_SAMPLE).unwrap_or(line);
            emit(&Event::WorkerJunk {
                server: server.name().to_owned(),
                worker: self.0.id(),
                count,
                sample: String::from_utf8_lossy(sample).into_owned(),
            });
        }
    }

    fn response(&self, line: &[u8], id: &RawValue, outcome: Outcome<'_>) {
        let entry = match id.get().parse::<u64>() {
            Ok(wire) => self.0.calls().remove(wire),
            Err(_) => None,
        };
        match entry {
            Some(Entry::Client(call, lease)) => {
                // While it answers others, this one most likely waits there.
                let waited = self.0.last_answer(Instant::now());
                let waited = waited.saturating_duration_since(call.begun());
                self.answer(line, id, outcome, call);
                lease.answered(waited);
            }
            Some(Entry::Own(answer)) => {
                let reply = match outcome {
                    Outcome::Result(result) => Reply::Result(owned(result)),
                    Outcome::Error(error) => Reply::Error(owned(error)),
                };
                // Whoever asked has stopped waiting.
                let _ = answer.send(reply);
            }
            Some(Entry::Listen(listen)) => {
                listen.leg_ended(self.0.id(), Some((line, id, outcome)));
            }
            // Its client waits no longer; its place is free again now.
            Some(Entry::Forsaken { .. }) => {}
            None => self.unrouted(),
        }
    }

    fn answer(&self, line: &[u8], id: &RawValue, outcome: Outcome<'_>, mut call: Box<Call>) {
        if let Outcome::Result(result) = outcome {
            let minted = params::affinity(result);
            let lists_tools = call.request().lists_tools;
            if let Some(server) = self
                .0
                .server
                .upgrade()
                .filter(|_| !minted.is_empty() || lists_tools)
            {
                let now = Instant::now();
                for key in minted {
                    server.affinity().remember(key.get(), self.0.id(), now);
                    self.0.pin(now + PIN);
                }
                if lists_tools {
                    server.learn_tools(result);
                }
            }
        }
        self.0.count_answer();
        call.settle(of(&call, outcome));
        let edit = Edit {
            range: range_of(line, id),
            with: call.id(),
        };
        let message = splice(line, &mut [edit], false).into();
        let (counted, error) = match outcome {
            Outcome::Result(_) => (stats::Outcome::Ok, None),
            Outcome::Error(error) => (
                stats::Outcome::Error,
                Some(envelope::error_code(error).unwrap_or_default()),
            ),
        };
        if let Some(server) = self.0.server.upgrade() {
            server.clear_suspicion(&call);
        }
        let lost = call.answer(counted, message, error);
        self.0.stats.unrouted.fetch_add(lost, Ordering::Relaxed);
    }

    fn notification(&self, line: &[u8], method: &str, params: Option<Params<'_>>) {
        let params = params.unwrap_or_default();
        match method {
            "notifications/progress" => self.progress(line, &params),
            "notifications/cancelled" => self.withdrawn(line, &params),
            "notifications/message" => self.log_message(line, &params),
            _ => {
                let subscription = params::meta(&params).and_then(|m| m.subscription_id);
                if let Some(subscription) = subscription {
                    self.subscribed(line, method, subscription);
                } else if let Some(session) = self.0.session() {
                    self.stream_for(&session).push(Bytes::copy_from_slice(line));
                } else if self.0.locked() == Locked::Modern {
                    self.unrouted();
                } else {
                    self.spread(line, method, &params);
                }
            }
        }
    }

    fn progress(&self, line: &[u8], params: &Params<'_>) {
        let token = params.progress_token;
        let wire = token.and_then(|t| t.get().parse::<u64>().ok());
        let target = wire.and_then(|wire| match self.0.calls().get_mut(wire) {
            Some(Entry::Client(call, _)) => {
                call.progressed(Instant::now());
                Some((Arc::clone(call.stream()), call.token()?))
            }
            _ => None,
        });
        let (Some((stream, original)), Some(token)) = (target, token) else {
            return self.unrouted();
        };
        let edit = Edit {
            range: range_of(line, token),
            with: &original,
        };
        stream.push(splice(line, &mut [edit], false).into());
    }

    /// The worker gives up a request it put to a client.
    fn withdrawn(&self, line: &[u8], params: &Params<'_>) {
        let Some(id) = params.request_id else {
            return self.unrouted();
        };
        let sessions = match (self.0.session(), self.0.server.upgrade()) {
            (Some(session), _) => vec![session],
            (None, Some(server)) => server.sessions(),
            (None, None) => Vec::new(),
        };
        for session in sessions {
            if let Some(number) = session.withdraw(&self.0, id.get().as_bytes()) {
                let with = number.to_string();
                let edit = Edit {
                    range: range_of(line, id),
                    with: with.as_bytes(),
                };
                let message = splice(line, &mut [edit], false).into();
                self.stream_for(&session).push(message);
                return;
            }
        }
        self.unrouted();
    }

    /// A log message names no request. On a worker that several clients share it is delivered
    /// only if exactly one call in flight can have caused it.
    fn log_message(&self, line: &[u8], params: &Params<'_>) {
        let line = Bytes::copy_from_slice(line);
        if let Some(session) = self.0.session() {
            return self.stream_for(&session).push(line);
        }
        let modern = self.0.locked() == Locked::Modern;
        let target = self.only_call(|call| {
            if modern || call.session().is_none() {
                call.request().wants_logs
            } else {
                let level = call.session().and_then(|s| s.level());
                admits(level.as_deref(), params.level)
            }
        });
        match target {
            Some((stream, _)) => stream.push(line),
            None => self.unrouted(),
        }
    }

    /// The one call in flight, if there is just one and it matches.
    fn only_call(
        &self,
        matches: impl Fn(&Call) -> bool,
    ) -> Option<(Arc<Stream>, Option<Arc<Session>>)> {
        let calls = self.0.calls();
        let mut all = calls.clients();
        let (_, call) = all.next()?;
        if all.next().is_some() || !matches(call) {
            return None;
        }
        Some((Arc::clone(call.stream()), call.session().cloned()))
    }

    /// Where a message for a session goes that owns this worker: the stream of its only call, else
    /// the standalone stream if somebody reads it, else that of the newest call.
    fn stream_for(&self, session: &Arc<Session>) -> Arc<Stream> {
        let (count, newest) = {
            let calls = self.0.calls();
            let of = |call: &Call| call.session().is_some_and(|s| Arc::ptr_eq(s, session));
            let count = calls.clients().filter(|(_, c)| of(c)).count();
            let newest = calls
                .clients()
                .filter(|(_, c)| of(c))
                .max_by_key(|(wire, _)| *wire);
            (count, newest.map(|(_, c)| Arc::clone(c.stream())))
        };
        match newest {
            Some(stream) if count == 1 || !session.standalone().is_read() => stream,
            _ => Arc::clone(session.standalone()),
        }
    }

    fn subscribed(&self, line: &[u8], method: &str, subscription: &RawValue) {
        let listen = match subscription.get().parse::<u64>() {
            Ok(wire) => match self.0.calls().get(wire) {
                Some(Entry::Listen(listen)) => Some(Arc::clone(listen)),
                _ => None,
            },
            Err(_) => None,
        };
        match listen {
            Some(listen) => listen.notify(method, line, subscription),
            None => self.unrouted(),
        }
    }

    /// News from a legacy worker that many share: changed lists go to every session of the
    /// server, updates of a resource to its subscribers, the rest only if one call can have
    /// caused it.
    fn spread(&self, line: &[u8], method: &str, params: &Params<'_>) {
        let Some(server) = self.0.server.upgrade() else {
            return;
        };
        let line = Bytes::copy_from_slice(line);
        match method {
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed" => {
                for session in server.sessions() {
                    session.standalone().push_unless_pending(line.clone());
                }
            }
            "notifications/resources/updated" => {
                let uri = params.uri.map(RawValue::get).unwrap_or_default();
                for session in server.sessions() {
                    if session.is_subscribed(uri) {
                        session.standalone().push_unless_pending(line.clone());
                    }
                }
            }
            _ => match self.only_call(|_| true) {
                Some((stream, _)) => stream.push(line),
                None => self.unrouted(),
            },
        }
    }

    /// A worker asks the client something. It is put to the session that owns the worker, or to
    /// the one session that has a call in flight; else the worker is told that nobody is there.
    fn request(&self, line: &[u8], id: &RawValue, method: &str) {
        if method == "ping" {
            return self.0.tell(&message::result(id.get(), "{}"));
        }
        let target = match self.0.session() {
            Some(session) => Some((self.stream_for(&session), session)),
            None => self
                .only_call(|_| true)
                .and_then(|(stream, session)| Some((stream, session?))),
        };
        let asked = target.is_some_and(|(stream, session)| {
            session.abilities().allow(method)
                && session.ask(&self.0, line, range_of(line, id), &stream)
        });
        if !asked {
            self.unrouted();
            self.0.tell(&message::error(
                id.get(),
                code::METHOD_NOT_FOUND,
                "mainstay: no client that can be asked this is known for certain; \
                 with state = \"session\" each client has a worker of its own",
                None,
            ));
        }
    }
}

/// What an answer says, as far as somebody asks: whether a result is an error is only looked at for
/// tools with a breaker of their own.
fn of(call: &Call, answer: Outcome<'_>) -> outcome::Outcome {
    let rule = call.rule();
    match answer {
        Outcome::Error(error) => {
            let code = envelope::error_code(error).unwrap_or_default();
            outcome::Outcome::RpcError {
                code,
                caller_fault: rule.failure.is_callers(code),
            }
        }
        Outcome::Result(result) => {
            let asked = rule.gate.is_some();
            outcome::Outcome::Result {
                is_error: asked && params::is_error(result),
                predicate_failed: asked && rule.failure.finds(result),
            }
        }
    }
}

/// Severities of RFC 5424 as MCP names them, least first.
const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// Whether a message of level `message` passes the level a client set (raw JSON). A client that
/// set none gets what the worker sends by itself.
fn admits(set: Option<&[u8]>, message: Option<&RawValue>) -> bool {
    let rank = |raw: &str| LEVELS.iter().position(|l| raw.trim_matches('"') == *l);
    let set = set.and_then(|s| std::str::from_utf8(s).ok()).and_then(rank);
    let message = message.map(RawValue::get).and_then(rank);
    match (set, message) {
        (Some(set), Some(message)) => message >= set,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::admits;
    use serde_json::value::RawValue;

    #[test]
    fn log_levels_are_ordered() {
        let level = |s: &str| RawValue::from_string(s.to_owned()).unwrap();
        let warning = level("\"warning\"");
        assert!(admits(Some(b"\"info\""), Some(&warning)));
        assert!(admits(Some(b"\"warning\""), Some(&warning)));
        assert!(!admits(Some(b"\"error\""), Some(&warning)));
        assert!(admits(None, Some(&warning)));
    }
}
