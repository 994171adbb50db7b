//! What all exchanges of one upstream worker share: where it is, what every request carries, the
//! session, and the word that the worker is at its end. It knows HTTP requests, not their answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, Response, Uri};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::client::Client;
use super::outbox::Outbox;
use super::outgoing::PROTOCOL_VERSION;
use super::{credential, tls};
use crate::config;
use crate::mcp::tool_headers::ToolHeaders;
use crate::worker::loss::{Fate, Loss};
use crate::worker::stderr::Tail;

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Between attempts to connect, doubling up to the second of these.
const CONNECT_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_CONNECT_PAUSE: Duration = Duration::from_millis(500);

/// The context of one worker.
#[derive(Debug)]
pub(super) struct Context {
    client: Client,
    uri: Uri,
    headers: HeaderMap,
    connect_timeout: Duration,
    response_timeout: Duration,
    /// Longest silence within an answer.
    pub(super) idle_timeout: Duration,
    /// Largest message taken.
    pub(super) max_message_bytes: usize,
    /// Which arguments are mirrored in headers; learned elsewhere.
    pub(super) rules: Arc<ToolHeaders>,
    /// The last losses, for reports.
    tail: Tail,
    outbox: Arc<Outbox>,
    session: Mutex<Session>,
    end: Mutex<Option<String>>,
    ended: Notify,
}

/// What `initialize` left behind.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    /// `Mcp-Session-Id`, if the upstream keeps sessions.
    pub(super) id: Option<HeaderValue>,
    /// The negotiated revision.
    pub(super) version: Option<HeaderValue>,
}

impl Context {
    /// Reads credentials and certificates; connects to nothing.
    ///
    /// # Errors
    /// What cannot be read, or makes no sense together.
    pub(super) fn new(
        upstream: &config::Upstream,
        max_message_bytes: usize,
        rules: Arc<ToolHeaders>,
        tail: Tail,
        outbox: Arc<Outbox>,
    ) -> Result<Self, String> {
        let uri: Uri = upstream
            .url
            .parse()
            .map_err(|e| format!("its url cannot be read: {e}"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &upstream.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        let agent = concat!("mainstay/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let is_tls = uri.scheme_str() == Some("https");
        if let Some(bearer) = &upstream.bearer {
            headers.insert(AUTHORIZATION, credential::authorization(bearer)?);
            if !is_tls && !uri.host().is_some_and(config::is_loopback) {
                log::warn!(
                    "the token for {} is sent without TLS; use https://",
                    upstream.url
                );
            }
        }
        let tls = match is_tls {
            true => Some(tls::settings(upstream.ca_file.as_deref())?),
            false => None,
        };
        Ok(Self {
            client: Client::new(tls, upstream.connect_timeout),
            uri,
            headers,
            connect_timeout: upstream.connect_timeout,
            response_timeout: upstream.response_timeout,
            idle_timeout: upstream.idle_timeout,
            max_message_bytes,
            rules,
            tail,
            outbox,
            session: Mutex::default(),
            end: Mutex::default(),
            ended: Notify::new(),
        })
    }

    fn locked(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session as it is now.
    pub(super) fn session(&self) -> Session {
        self.locked().clone()
    }

    /// A new session begins; returns the one before it.
    pub(super) fn open(&self, session: Session) -> Session {
        std::mem::replace(&mut *self.locked(), session)
    }

    /// The worker is at its end, for the first reason that is given. It takes nothing more from
    /// now on: what is refused by it must not be sent to it again.
    pub(super) fn end(&self, what: String) {
        self.outbox.close();
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if end.is_none() {
            self.tail.push(&what);
            *end = Some(what);
            self.ended.notify_one();
        }
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> String {
        loop {
            let end = self
                .end
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            match end {
                Some(what) => return what,
                None => self.ended.notified().await,
            }
        }
    }

    /// Keeps the reason of a loss for reports.
    pub(super) fn note(&self, loss: &Loss) {
        self.tail.push(&format!("the upstream {}", loss.what));
    }

    /// POSTs a message. `special` are the headers of this message alone.
    ///
    /// # Errors
    /// What became of it.
    pub(super) async fn post(
        &self,
        body: Bytes,
        special: HeaderMap,
    ) -> Result<Response<Incoming>, Loss> {
        let mut headers = special;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let both = "application/json, text/event-stream";
        headers.insert(ACCEPT, HeaderValue::from_static(both));
        self.send(&Method::POST, &headers, body).await
    }

    /// GETs the standalone stream, or the rest of a stream after an event.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn get(&self, after: Option<&str>) -> Result<Response<Incoming>, Loss> {
        let mut headers = self.session_headers();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = after.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(LAST_EVENT_ID, id);
        }
        let request = self.request(&Method::GET, &headers, Bytes::new());
        self.client.send(request, self.response_timeout).await
    }

    /// DELETEs a session; whether that worked is nobody's concern.
    pub(super) async fn delete(&self, session: Session) {
        if session.id.is_none() {
            return;
        }
        let headers = headers_of(session);
        let request = self.request(&Method::DELETE, &headers, Bytes::new());
        if let Err(loss) = self.client.send(request, self.connect_timeout).await {
            log::debug!("a session was not closed: the upstream {}", loss.what);
        }
    }

    /// The headers of a message within the session.
    pub(super) fn session_headers(&self) -> HeaderMap {
        headers_of(self.session())
    }

    /// Sends a request. Where no connection can be made it goes on trying for `connect_timeout`:
    /// an upstream that is restarted is back sooner than that. If it is not, the worker ends.
    async fn send(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Loss> {
        let begun = Instant::now();
        let mut pause = CONNECT_PAUSE;
        loop {
            let request = self.request(method, headers, body.clone());
            let loss = match self.client.send(request, self.response_timeout).await {
                Err(loss) if loss.fate == Fate::Unsent => loss,
                other => return other,
            };
            if begun.elapsed() + pause >= self.connect_timeout {
                self.end(loss.what.clone());
                return Err(loss);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_CONNECT_PAUSE);
        }
    }

    fn request(&self, method: &Method, special: &HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        *headers = self.headers.clone();
        headers.extend(special.iter().map(|(n, v)| (n.clone(), v.clone())));
        request
    }
}

fn headers_of(session: Session) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(id) = session.id {
        headers.insert(SESSION_ID, id);
    }
    if let Some(version) = session.version {
        headers.insert(PROTOCOL_VERSION, version);
    }
    headers
}
