//! A legacy session: what a client said at its handshake, its streams, the requests a worker put
//! to it. With `state = "session"` it owns a worker, and everything needed to open another one
//! when that dies. It knows nothing of HTTP.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::flight::Flight;
use super::lane::Lane;
use super::member::Member;
use super::principal::Principal;
use super::server::Server;
use super::stream::Stream;
use crate::mcp::era::Version;
use crate::mcp::params;
use crate::mcp::splice::{Edit, splice};

/// What a client can be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// `sampling/createMessage`.
    pub sampling: bool,
    /// `elicitation/create`.
    pub elicitation: bool,
    /// `roots/list`.
    pub roots: bool,
}

impl Abilities {
    /// Reads the `capabilities` of `initialize`.
    #[must_use]
    pub fn read(capabilities: Option<&RawValue>) -> Self {
        #[derive(Deserialize)]
        struct Raw<'a> {
            #[serde(borrow, default)]
            sampling: Option<&'a RawValue>,
            #[serde(borrow, default)]
            elicitation: Option<&'a RawValue>,
            #[serde(borrow, default)]
            roots: Option<&'a RawValue>,
        }
        let raw: Option<Raw<'_>> = capabilities.and_then(params::object);
        raw.map_or_else(Self::default, |c| Self {
            sampling: c.sampling.is_some(),
            elicitation: c.elicitation.is_some(),
            roots: c.roots.is_some(),
        })
    }

    /// Whether a worker may send this request to the client.
    #[must_use]
    pub fn allow(self, method: &str) -> bool {
        match method {
            "sampling/createMessage" => self.sampling,
            "elicitation/create" => self.elicitation,
            "roots/list" => self.roots,
            _ => true,
        }
    }
}

/// Finished streams kept per session for a client that resumes late.
const FINISHED_STREAMS: usize = 16;
/// Requests of workers that wait for one client.
const ASKED: usize = 256;
/// Subscriptions of one session, added up.
const SUBSCRIPTION_BYTES: usize = 256 * 1024;
/// A session whose client never said `initialized` is not kept long.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// What is needed to make a session.
#[derive(Debug)]
pub struct Opening {
    /// Its id: visible ASCII, unguessable.
    pub id: String,
    /// The negotiated revision.
    pub version: Version,
    /// The client's `initialize`, whole, for replay.
    pub initialize: Bytes,
    /// What the client can be asked for.
    pub abilities: Abilities,
    /// Who opened it.
    pub principal: Arc<Principal>,
    /// Bytes of events kept per stream.
    pub stream_buffer: usize,
    /// How long a finished stream can be resumed.
    pub stream_retention: Duration,
}

/// The session.
#[derive(Debug)]
pub struct Session {
    opening: Opening,
    server: Arc<Server>,
    /// Its own worker's lane, with `state = "session"`.
    lane: Option<Arc<Lane>>,
    standalone: Arc<Stream>,
    opened: Instant,
    last_seen_ms: AtomicU64,
    initialized: AtomicBool,
    ended: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    level: Option<Bytes>,
    subscriptions: BTreeSet<String>,
    streams: VecDeque<(Arc<Stream>, Instant)>,
    last_stream: u64,
    asked: HashMap<u64, Asked>,
    last_asked: u64,
    queued: Vec<(Bytes, Arc<Flight>)>,
}

/// A request that a worker put to the client.
#[derive(Debug)]
struct Asked {
    member: Weak<Member>,
    /// The worker's id, raw JSON.
    id: Bytes,
}

impl Session {
    /// A session of `server`; `lane` holds its own worker if it has one.
    #[must_use]
    pub fn new(opening: Opening, server: Arc<Server>, lane: Option<Arc<Lane>>) -> Arc<Self> {
        let standalone = Arc::new(Stream::new(0, opening.stream_buffer, true));
        Arc::new(Self {
            opening,
            server,
            lane,
            standalone,
            opened: Instant::now(),
            last_seen_ms: AtomicU64::new(0),
            initialized: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.opening.id
    }

    /// The negotiated revision.
    #[must_use]
    pub fn version(&self) -> Version {
        self.opening.version
    }

    /// The server it is a session of.
    #[must_use]
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The client's `initialize` request.
    #[must_use]
    pub fn initialize(&self) -> &Bytes {
        &self.opening.initialize
    }

    /// What the client can be asked for.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        self.opening.abilities
    }

    /// The lane of its own worker.
    #[must_use]
    pub fn own_lane(&self) -> Option<&Arc<Lane>> {
        self.lane.as_ref()
    }

    /// The stream behind GET.
    #[must_use]
    pub fn standalone(&self) -> &Arc<Stream> {
        &self.standalone
    }

    /// The client said something.
    pub fn touch(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_seen_ms.store(now, Ordering::Relaxed);
    }

    /// The client finished its handshake.
    pub fn set_initialized(&self) {
        self.initialized.store(true, Ordering::Relaxed);
    }

    /// Whether this caller may use it. Whoever has a token uses only what it opened itself.
    #[must_use]
    pub fn belongs_to(&self, caller: &Principal) -> bool {
        self.opening.principal.owner() == caller.owner()
    }

    /// Whose it is, by name; nobody's in particular if it was opened without a token.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.opening.principal.owner()
    }

    /// Whether it did.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        self.initialized.load(Ordering::Relaxed)
    }

    /// Time without a request; zero while its standalone stream is read.
    #[must_use]
    pub fn idle(&self) -> Duration {
        if self.standalone.is_read() {
            return Duration::ZERO;
        }
        let last = Duration::from_millis(self.last_seen_ms.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(last)
    }

    /// Whether it may be dropped: idle for too long, or its handshake was never finished.
    #[must_use]
    pub fn is_stale(&self, limit: Duration) -> bool {
        let limit = if self.is_initialized() {
            limit
        } else {
            limit.min(HANDSHAKE)
        };
        self.idle() > limit && self.state().streams.iter().all(|(s, _)| s.is_finished())
    }

    /// Ends it: streams close, its worker is retired.
    pub fn end(&self) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        self.standalone.close();
        let streams = std::mem::take(&mut self.state().streams);
        for (stream, _) in streams {
            stream.close();
        }
        if let Some(lane) = &self.lane {
            for member in lane.members() {
                lane.remove(member.id());
                member.worker.stop();
            }
        }
    }

    /// Whether it has been ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// A new stream for one request.
    #[must_use]
    pub fn open_stream(&self) -> Arc<Stream> {
        let now = Instant::now();
        let mut state = self.state();
        state.last_stream += 1;
        let stream = Arc::new(Stream::new(
            state.last_stream,
            self.opening.stream_buffer,
            true,
        ));
        state.streams.push_back((Arc::clone(&stream), now));
        // Streams still running stay; of the finished ones the youngest few, for a while.
        let finished = state
            .streams
            .iter()
            .filter(|(s, _)| s.is_finished())
            .count();
        let mut surplus = finished.saturating_sub(FINISHED_STREAMS);
        let retention = self.opening.stream_retention;
        if surplus > 0
            || state
                .streams
                .front()
                .is_some_and(|(_, at)| now.duration_since(*at) > retention)
        {
            state.streams.retain(|(stream, at)| {
                let old = now.duration_since(*at) > retention || surplus > 0;
                let drop = stream.is_finished() && old;
                surplus = surplus.saturating_sub(usize::from(drop));
                !drop
            });
        }
        stream
    }

    /// Lets go of streams whose answer has been read: a client that lost it in its last moment finds
    /// it no more.
    pub(super) fn drop_answered(&self) {
        self.state()
            .streams
            .retain(|(stream, _)| !stream.is_answered());
    }

    /// A stream by its number, the standalone one included.
    #[must_use]
    pub fn stream(&self, number: u64) -> Option<Arc<Stream>> {
        if number == 0 {
            return Some(Arc::clone(&self.standalone));
        }
        let state = self.state();
        let found = state.streams.iter().find(|(s, _)| s.number == number);
        found.map(|(s, _)| Arc::clone(s))
    }

    /// Remembers the log level the client set, raw JSON.
    pub fn set_level(&self, level: Bytes) {
        self.state().level = Some(level);
    }

    /// The log level the client set.
    #[must_use]
    pub fn level(&self) -> Option<Bytes> {
        self.state().level.clone()
    }

    /// Remembers a subscription, raw JSON of the uri; false if the session has too many.
    #[must_use]
    pub fn subscribe(&self, uri: &str) -> bool {
        let mut state = self.state();
        if state.subscriptions.contains(uri) {
            return true;
        }
        let bytes: usize = state.subscriptions.iter().map(String::len).sum();
        let fits = bytes + uri.len() <= SUBSCRIPTION_BYTES;
        if fits {
            state.subscriptions.insert(uri.to_owned());
        }
        fits
    }

    /// Forgets a subscription.
    pub fn unsubscribe(&self, uri: &str) {
        self.state().subscriptions.remove(uri);
    }

    /// Whether the client subscribed to this uri (raw JSON).
    #[must_use]
    pub fn is_subscribed(&self, uri: &str) -> bool {
        self.state().subscriptions.contains(uri)
    }

    /// All subscriptions, raw JSON.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<String> {
        self.state().subscriptions.iter().cloned().collect()
    }

    /// Puts a worker's request to the client: `line` with `id` (both of the worker) goes to
    /// `stream` under an id of the session's own. False if too many wait already.
    pub(super) fn ask(
        &self,
        member: &Arc<Member>,
        line: &[u8],
        id: std::ops::Range<usize>,
        stream: &Stream,
    ) -> bool {
        let number = {
            let mut state = self.state();
            if state.asked.len() >= ASKED {
                state.asked.retain(|_, a| a.member.strong_count() > 0);
            }
            if state.asked.len() >= ASKED {
                return false;
            }
            state.last_asked += 1;
            let number = state.last_asked;
            let asked = Asked {
                member: Arc::downgrade(member),
                id: Bytes::copy_from_slice(line.get(id.clone()).unwrap_or_default()),
            };
            state.asked.insert(number, asked);
            number
        };
        let with = number.to_string();
        let edit = Edit {
            range: id,
            with: with.as_bytes(),
        };
        stream.push(splice(line, &mut [edit], false).into());
        true
    }

    /// The client answered `line` with the raw id at `id`: hands it to the worker that asked.
    /// False if nobody did.
    pub fn answer(&self, line: &[u8], id: &RawValue) -> bool {
        let Ok(number) = id.get().parse::<u64>() else {
            return false;
        };
        let asked = self.state().asked.remove(&number);
        let Some(asked) = asked else {
            return false;
        };
        let Some(member) = asked.member.upgrade() else {
            return false;
        };
        let edit = Edit {
            range: crate::mcp::splice::range_of(line, id),
            with: &asked.id,
        };
        member
            .worker
            .stdin
            .send(splice(line, &mut [edit], true))
            .is_ok()
    }

    /// Passes a notification of the client to the session's own worker; shared workers are not
    /// told what one of many clients says.
    pub fn forward(&self, message: &[u8]) {
        for member in self.lane.iter().flat_map(|lane| lane.members()) {
            // A worker that takes nothing is dying, and notifications have no answer.
            let _ = member.worker.stdin.send(splice(message, &mut [], true));
        }
    }

    /// The session's id for a request that `member` sent as `id`, when the worker cancels it.
    pub(super) fn withdraw(&self, member: &Member, id: &[u8]) -> Option<u64> {
        let mut state = self.state();
        let number = state
            .asked
            .iter()
            .find(|(_, a)| a.id == id && a.member.upgrade().is_some_and(|m| m.id() == member.id()))
            .map(|(number, _)| *number)?;
        state.asked.remove(&number);
        Some(number)
    }

    /// Marks a call as waiting for a worker, so that it can be found by its raw id.
    pub(super) fn queue(&self, id: &[u8], flight: &Arc<Flight>) {
        let entry = (Bytes::copy_from_slice(id), Arc::clone(flight));
        self.state().queued.push(entry);
    }

    pub(super) fn unqueue(&self, flight: &Arc<Flight>) {
        self.state().queued.retain(|(_, f)| !Arc::ptr_eq(f, flight));
    }

    /// Cancels the newest waiting call with this raw id. False if there is none.
    pub(super) fn cancel_queued(&self, id: &[u8], reason: &str) -> bool {
        let found = {
            let state = self.state();
            let mut newest = state.queued.iter().rev();
            newest.find(|(i, _)| i == id).map(|(_, f)| Arc::clone(f))
        };
        if let Some(flight) = &found {
            flight.cancel(reason);
        }
        found.is_some()
    }
}
