//! The GET stream of a session: what an upstream says without being asked. Kept open while the
//! session lives, resumed after the last event; an upstream that offers none is left alone.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use tokio::time::sleep;

use super::context::Context;
use super::exchange::{is_event_stream, next, text};
use crate::mcp::event_reader::{Event, EventReader};
use crate::worker::actor::Inbox;

/// Shortest wait before the stream is opened again: some upstreams end it after every event.
const SHORTEST: Duration = Duration::from_millis(500);
/// Longest wait while it cannot be opened.
const LONGEST: Duration = Duration::from_secs(30);

/// Listens until the upstream says that it offers no such stream, or for ever.
pub(super) async fn listen(context: Arc<Context>, inbox: Arc<dyn Inbox>) {
    let mut reader = EventReader::new(context.max_message_bytes);
    let mut pause = SHORTEST;
    loop {
        let answer = context.get(reader.last_id()).await;
        let status = answer.as_ref().map(|a| a.status().as_u16()).ok();
        match (status, answer) {
            (Some(200), Ok(answer)) if text(&answer, CONTENT_TYPE).is_some_and(is_event_stream) => {
                follow(&context, &*inbox, &mut reader, answer.into_body()).await;
                pause = reader.retry().unwrap_or(SHORTEST).clamp(SHORTEST, LONGEST);
            }
            (Some(404), _) if context.session().id.is_some() => {
                return context.end("does not know its session any more".to_owned());
            }
            // What cannot be resumed begins anew.
            (Some(400), _) if reader.last_id().is_some() => {
                reader = EventReader::new(context.max_message_bytes);
            }
            (Some(429 | 500..=599) | None, _) => pause = (pause * 2).min(LONGEST),
            _ => return,
        }
        sleep(pause).await;
        reader.restart();
    }
}

async fn follow(
    context: &Context,
    inbox: &dyn Inbox,
    reader: &mut EventReader,
    mut body: Incoming,
) {
    while let Ok(Some(bytes)) = next(&mut body, context.idle_timeout).await {
        reader.feed(&bytes, |event| match event {
            Event::Message(line) => inbox.frame(&line),
            Event::Oversize(head) => inbox.oversize(&head),
        });
    }
}
