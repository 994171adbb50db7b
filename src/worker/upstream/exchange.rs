//! One POST to an upstream and its answer: JSON, or a stream of events that is resumed where the
//! protocol allows it. A request ends here in exactly one way: its answer is delivered, or its
//! loss is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use super::context::{Context, SESSION_ID, Session};
use super::outbox::Load;
use super::outgoing::Asked;
use super::verdict::{Refused, Verdict, judge};
use crate::mcp::envelope::{self, Head, Message, Outcome};
use crate::mcp::event_reader::{Event, EventReader};
use crate::mcp::header;
use crate::mcp::splice::splice;
use crate::worker::actor::Inbox;
use crate::worker::loss::{Fate, Loss};

/// What is read of a refusal.
const REFUSAL_BYTES: usize = 64 * 1024;
/// How long the end of an answered stream is waited for, so that its connection can be used again.
const STREAM_END: Duration = Duration::from_secs(1);
/// The wait before a stream is resumed if the upstream names none, and the longest one.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// Failed resumptions in a row before a request is lost.
const RESUMPTIONS: u32 = 5;

/// Why the end of a body did not come.
enum Cut {
    TooLarge,
    Lost(String),
}

/// How reading a stream ended.
enum StreamEnd {
    Answered,
    Over(String),
}

/// A request on its way.
pub(super) struct Exchange {
    pub(super) context: Arc<Context>,
    pub(super) inbox: Arc<dyn Inbox>,
    pub(super) asked: Asked,
}

impl Exchange {
    /// Sends the request and delivers its outcome. Returns the session that a new one replaced.
    pub(super) async fn run(self, body: Bytes, load: Load) -> Option<Session> {
        let before = self.context.session();
        let mut load = Some(load);
        let mut pause = RETRY;
        loop {
            match self.ask(body.clone(), load.take()).await {
                Ok(()) => break,
                // A subscription has no effect to fear, and its subscriber waits for news, not for
                // an answer: it is made again until it is cancelled.
                Err(loss) if self.is_listen() => {
                    self.context.note(&loss);
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_RETRY);
                }
                Err(loss) => {
                    self.context.note(&loss);
                    self.inbox.lost(self.asked.id, loss);
                    break;
                }
            }
        }
        let is_new = self.asked.method == "initialize" && before.id != self.context.session().id;
        is_new.then_some(before)
    }

    fn is_listen(&self) -> bool {
        self.asked.method == "subscriptions/listen"
    }

    async fn ask(&self, body: Bytes, load: Option<Load>) -> Result<(), Loss> {
        let initializes = self.asked.method == "initialize";
        let (headers, in_session) = match &self.asked.modern {
            Some(mirrored) => (mirrored.clone(), false),
            // A second initialize begins another session.
            None if initializes => (HeaderMap::new(), false),
            None => {
                let headers = self.context.session_headers();
                let in_session = headers.contains_key(SESSION_ID);
                (headers, in_session)
            }
        };
        let answer = self.context.post(body, headers).await?;
        drop(load);
        let session = answer
            .headers()
            .get(SESSION_ID)
            .filter(|_| initializes)
            .cloned();
        match answer.status().as_u16() {
            200 => match text(&answer, CONTENT_TYPE) {
                Some(kind) if header::is_json(kind) => self.take_json(answer, session).await,
                Some(kind) if is_event_stream(kind) => self.follow(answer, session).await,
                kind => Err(garbled(format!(
                    "answered 200 with {}",
                    kind.unwrap_or("no content type")
                ))),
            },
            status @ 201..=299 => Err(garbled(format!("answered {status} to a request"))),
            _ => self.refused(answer, in_session).await,
        }
    }

    async fn refused(&self, answer: Response<Incoming>, in_session: bool) -> Result<(), Loss> {
        let request = Some((self.asked.id, self.asked.method.as_str()));
        match verdict(&self.context, answer, request, in_session).await {
            Verdict::Answer(line) => {
                self.inbox.frame(&line);
                Ok(())
            }
            Verdict::Lost(loss) => Err(loss),
            Verdict::SessionGone => {
                let what = "does not know its session any more".to_owned();
                self.context.end(what.clone());
                Err(Loss {
                    fate: Fate::Forgotten,
                    what,
                })
            }
        }
    }

    async fn take_json(
        &self,
        answer: Response<Incoming>,
        session: Option<HeaderValue>,
    ) -> Result<(), Loss> {
        let limit = self.context.max_message_bytes;
        match read(answer.into_body(), limit, self.context.idle_timeout).await {
            Ok(body) => {
                let line = splice(body.trim_ascii(), &mut [], false);
                if !self.is_answer(&line) {
                    return Err(garbled(
                        "answered with something that is no MCP response".to_owned(),
                    ));
                }
                self.deliver(&line, session.as_ref());
                Ok(())
            }
            Err(Cut::TooLarge) => {
                self.inbox.oversize(&self.own_head());
                Ok(())
            }
            Err(Cut::Lost(what)) => Err(unknown(what)),
        }
    }

    /// Reads the stream of the request until its answer, over as many connections as it takes.
    async fn follow(
        &self,
        answer: Response<Incoming>,
        session: Option<HeaderValue>,
    ) -> Result<(), Loss> {
        let mut reader = EventReader::new(self.context.max_message_bytes);
        let mut body = answer.into_body();
        loop {
            let over = match self
                .read_stream(&mut reader, &mut body, session.as_ref())
                .await
            {
                StreamEnd::Answered => {
                    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
                    // Too long a rest costs the connection, no more.
                    let _ = timeout(STREAM_END, rest).await;
                    return Ok(());
                }
                StreamEnd::Over(what) => what,
            };
            // There is no resumption in the modern era, and none without an event to resume after.
            let Some(after) = reader.last_id().filter(|_| self.asked.modern.is_none()) else {
                return Err(unknown(over));
            };
            let after = after.to_owned();
            body = self
                .resume(&after, reader.retry().unwrap_or(RETRY), over)
                .await?;
            reader.restart();
        }
    }

    /// Goes on after an event, on a new connection.
    async fn resume(&self, after: &str, retry: Duration, why: String) -> Result<Incoming, Loss> {
        let mut pause = retry.min(LONGEST_RETRY);
        for _ in 0..RESUMPTIONS {
            sleep(pause).await;
            pause = (pause * 2).clamp(RETRY, LONGEST_RETRY);
            let Ok(answer) = self.context.get(Some(after)).await else {
                continue;
            };
            match answer.status().as_u16() {
                200 if text(&answer, CONTENT_TYPE).is_some_and(is_event_stream) => {
                    return Ok(answer.into_body());
                }
                404 => {
                    self.context
                        .end("does not know its session any more".to_owned());
                    break;
                }
                500..=599 | 429 => {}
                // It does not offer this.
                _ => break,
            }
        }
        Err(unknown(format!(
            "{why}, and what was missing could not be fetched"
        )))
    }

    async fn read_stream(
        &self,
        reader: &mut EventReader,
        body: &mut Incoming,
        session: Option<&HeaderValue>,
    ) -> StreamEnd {
        // A listen may have nothing to say for days; its connection is looked after by TCP.
        let patience = match self.is_listen() {
            true => Duration::MAX,
            false => self.context.idle_timeout,
        };
        loop {
            let bytes = match next(body, patience).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => {
                    return StreamEnd::Over("ended its stream without an answer".to_owned());
                }
                Err(what) => return StreamEnd::Over(what),
            };
            let mut answered = false;
            reader.feed(&bytes, |event| match event {
                Event::Message(line) if !answered && self.is_answer(&line) => {
                    answered = true;
                    self.deliver(&line, session);
                }
                Event::Message(line) => self.inbox.frame(&line),
                Event::Oversize(head) => answered |= self.oversize(&head),
            });
            if answered {
                return StreamEnd::Answered;
            }
        }
    }

    /// An event was discarded; true if it was the answer, or may have been.
    fn oversize(&self, head: &[u8]) -> bool {
        match envelope::head(head) {
            Some(Head::Other) => {
                self.inbox.oversize(head);
                false
            }
            Some(Head::Answer(_)) | None => {
                self.inbox.oversize(&self.own_head());
                true
            }
        }
    }

    /// The head of an answer to this request, for one whose own does not tell.
    fn own_head(&self) -> Vec<u8> {
        format!(r#"{{"id":{},"jsonrpc":"2.0""#, self.asked.id).into_bytes()
    }

    fn is_answer(&self, line: &[u8]) -> bool {
        let Ok(Message::Response { id: Some(id), .. }) = envelope::parse(line) else {
            return false;
        };
        id.get().parse() == Ok(self.asked.id)
    }

    /// Passes the answer on; that of `initialize` opens the session first, because the next frame
    /// will already be within it.
    fn deliver(&self, line: &[u8], session: Option<&HeaderValue>) {
        if self.asked.method == "initialize" {
            if let Some(version) = negotiated(line) {
                self.context.open(Session {
                    id: session.cloned(),
                    version: Some(version),
                });
            }
        }
        self.inbox.frame(line);
    }
}

/// Sends a message that has no answer. It tells nobody what became of it, but a session that is
/// gone ends the worker.
pub(super) async fn tell(context: &Context, body: Bytes, load: Load) {
    let headers = context.session_headers();
    let in_session = headers.contains_key(SESSION_ID);
    let answer = context.post(body, headers).await;
    drop(load);
    let loss = match answer {
        Ok(answer) if (200..300).contains(&answer.status().as_u16()) => return,
        Ok(answer) => match verdict(context, answer, None, in_session).await {
            Verdict::Answer(_) => return,
            Verdict::SessionGone => {
                return context.end("does not know its session any more".to_owned());
            }
            Verdict::Lost(loss) => loss,
        },
        Err(loss) => loss,
    };
    log::debug!("a message got lost: the upstream {}", loss.what);
}

/// What a refusal means; reads its body as far as it matters.
async fn verdict(
    context: &Context,
    answer: Response<Incoming>,
    request: Option<(u64, &str)>,
    in_session: bool,
) -> Verdict {
    let status = answer.status();
    let location = text(&answer, LOCATION).map(ToOwned::to_owned);
    let retry_after = text(&answer, RETRY_AFTER).map(ToOwned::to_owned);
    let read = read(answer.into_body(), REFUSAL_BYTES, context.idle_timeout).await;
    let body = read.unwrap_or_default();
    judge(&Refused {
        request,
        in_session,
        status: status.as_u16(),
        phrase: status.canonical_reason().unwrap_or_default(),
        location: location.as_deref(),
        retry_after: retry_after.as_deref(),
        body: &body,
    })
}

/// The revision an upstream chose in its answer to `initialize`.
fn negotiated(line: &[u8]) -> Option<HeaderValue> {
    #[derive(Deserialize)]
    struct Initialized {
        #[serde(rename = "protocolVersion")]
        version: String,
    }
    let Ok(Message::Response {
        outcome: Outcome::Result(result),
        ..
    }) = envelope::parse(line)
    else {
        return None;
    };
    let initialized: Initialized = serde_json::from_str(RawValue::get(result)).ok()?;
    HeaderValue::from_str(&initialized.version).ok()
}

/// The next bytes of a body; `None` at its end.
pub(super) async fn next(body: &mut Incoming, patience: Duration) -> Result<Option<Bytes>, String> {
    loop {
        match timeout(patience, body.frame()).await {
            Err(_) => {
                return Err(format!(
                    "was silent for {} s within an answer",
                    patience.as_secs_f32()
                ));
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => {
                return Err(format!(
                    "broke off its answer: {}",
                    crate::observe::causes::one_line(&error)
                ));
            }
            Ok(Some(Ok(frame))) => {
                // Trailers say nothing here.
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

async fn read(mut body: Incoming, limit: usize, patience: Duration) -> Result<Vec<u8>, Cut> {
    let mut all = Vec::new();
    while let Some(bytes) = next(&mut body, patience).await.map_err(Cut::Lost)? {
        if all.len() + bytes.len() > limit {
            return Err(Cut::TooLarge);
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

pub(super) fn is_event_stream(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("text/event-stream")
}

/// A header as text.
pub(super) fn text(answer: &Response<Incoming>, name: HeaderName) -> Option<&str> {
    answer.headers().get(name)?.to_str().ok()
}

fn unknown(what: String) -> Loss {
    Loss {
        fate: Fate::Unknown,
        what,
    }
}

fn garbled(what: String) -> Loss {
    Loss {
        fate: Fate::Garbled,
        what,
    }
}
