//! The bytes of a response: nothing, one message, or an event stream that is read from a
//! [`Stream`] as it grows. Dropping an event stream of the modern era cancels its call: there the
//! connection is the only thing a client can take back.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::pace::Pace;
use crate::broker::flight::Flight;
use crate::broker::listen::Listen;
use crate::broker::session::Session;
use crate::broker::stream::{Next, Stream};
use crate::mcp::sse::{self, EventId};

/// A response body.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    /// Told when the response is over.
    pace: Option<Arc<Pace>>,
}

#[derive(Debug)]
enum Kind {
    Full(Option<Bytes>),
    Events(Box<Events>),
}

impl Body {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::of(Kind::Full(None))
    }

    /// These bytes.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        Self::of(Kind::Full(Some(bytes)))
    }

    /// An event stream.
    #[must_use]
    pub fn events(events: Events) -> Self {
        Self::of(Kind::Events(Box::new(events)))
    }

    fn of(kind: Kind) -> Self {
        Self { kind, pace: None }
    }

    /// Tells `pace` when the last byte is written or the connection is gone.
    #[must_use]
    pub fn paced(mut self, pace: Arc<Pace>) -> Self {
        self.pace = Some(pace);
        self
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(pace) = &self.pace {
            pace.answered();
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.kind {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Kind::Events(events) => events
                .poll_chunk(cx)
                .map(|chunk| chunk.map(|b| Ok(Frame::data(b)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.kind, Kind::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Kind::Events(_) => SizeHint::default(),
        }
    }
}

/// What a reader of a stream holds on to.
#[derive(Debug)]
pub enum Hold {
    /// Nothing: the call goes on without its reader.
    Nothing,
    /// A session, which is in use as long as its stream is read.
    Session(Arc<Session>),
    /// A modern call, cancelled when its reader is gone.
    Call(Arc<Flight>),
    /// A modern subscription, likewise.
    Listen(Arc<Listen>),
}

/// Events of a chunk are gathered up to this size.
const CHUNK: usize = 64 * 1024;

/// One reader of a stream, encoded as server-sent events.
#[derive(Debug)]
pub struct Events {
    stream: Arc<Stream>,
    reader: u64,
    after: u64,
    with_ids: bool,
    head: Option<Bytes>,
    keepalive: Duration,
    silence: Option<Pin<Box<Sleep>>>,
    hold: Hold,
    ended: bool,
}

impl Events {
    /// Reads `stream` as `reader` from after event `after`; comments fill each silence of
    /// `keepalive`.
    #[must_use]
    pub fn new(stream: Arc<Stream>, reader: u64, after: u64, keepalive: Duration) -> Self {
        Self {
            stream,
            reader,
            after,
            with_ids: false,
            head: None,
            keepalive,
            silence: None,
            hold: Hold::Nothing,
            ended: false,
        }
    }

    /// Gives every event an id, for a client that may resume.
    #[must_use]
    pub fn resumable(mut self) -> Self {
        self.with_ids = true;
        self
    }

    /// Starts with a priming event: the client knows where to resume before anything happened.
    #[must_use]
    pub fn primed(mut self, retry: Duration) -> Self {
        let mut out = Vec::with_capacity(48);
        let id = EventId {
            stream: self.stream.number,
            seq: self.after,
        };
        sse::priming(&mut out, id, retry);
        self.head = Some(out.into());
        self
    }

    /// Starts with an event that was read already.
    #[must_use]
    pub fn starting_with(mut self, seq: u64, data: &Bytes, last: bool) -> Self {
        let mut out = Vec::new();
        sse::event(&mut out, self.id(seq), data);
        self.head = Some(out.into());
        self.after = seq;
        self.ended = last;
        self
    }

    /// Holds on to something while the stream is read.
    #[must_use]
    pub fn holding(mut self, hold: Hold) -> Self {
        self.hold = hold;
        self
    }

    fn id(&self, seq: u64) -> Option<EventId> {
        self.with_ids.then_some(EventId {
            stream: self.stream.number,
            seq,
        })
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(head));
        }
        let mut chunk = Vec::new();
        while !self.ended && chunk.len() < CHUNK {
            match self.stream.poll_next(self.reader, self.after, cx) {
                Poll::Ready(Next::Event {
                    seq, data, last, ..
                }) => {
                    sse::event(&mut chunk, self.id(seq), &data);
                    self.after = seq;
                    self.ended = last;
                }
                Poll::Ready(Next::End) => self.ended = true,
                Poll::Pending => break,
            }
        }
        if !chunk.is_empty() {
            self.silence = None;
            return Poll::Ready(Some(chunk.into()));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let keepalive = self.keepalive;
        let silence = self
            .silence
            .get_or_insert_with(|| Box::pin(sleep(keepalive)));
        if silence.as_mut().poll(cx).is_ready() {
            silence.as_mut().reset(Instant::now() + keepalive);
            // Registers the timer again.
            let _ = silence.as_mut().poll(cx);
            return Poll::Ready(Some(Bytes::from_static(sse::KEEPALIVE)));
        }
        Poll::Pending
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stream.detach(self.reader);
        match &self.hold {
            Hold::Call(flight) if !self.ended => flight.cancel("the client closed the connection"),
            Hold::Listen(listen) => listen.cancel(),
            Hold::Session(session) => session.touch(),
            Hold::Call(_) | Hold::Nothing => {}
        }
    }
}
