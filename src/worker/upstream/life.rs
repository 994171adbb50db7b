//! The task of an upstream worker: takes frames from the outbox, runs an exchange for each, sees
//! the end of the session, closes it when asked to stop. It knows no HTTP.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::context::{Context, Session};
use super::exchange::{self, Exchange};
use super::outbox::{Load, Outbox};
use super::outgoing::{self, Kind, Outgoing};
use super::standalone;
use crate::config;
use crate::mcp::tool_headers::ToolHeaders;
use crate::worker::actor::{Bounds, End, Inbox, Worker};
use crate::worker::intake::Intake;
use crate::worker::loss::{Fate, Loss};
use crate::worker::stderr::Tail;

/// How long a cancelled legacy call may still answer.
const CANCEL_GRACE: Duration = Duration::from_secs(2);
/// How long the other exchanges of a session that is gone get to find out by themselves.
const SETTLE: Duration = Duration::from_secs(1);

/// The part of an upstream worker that its task owns.
#[derive(Debug)]
pub struct Life {
    worker: Arc<Worker>,
    outbox: Arc<Outbox>,
    context: Arc<Context>,
    stop_grace: Duration,
}

/// Prepares a worker for this upstream. Nothing is sent before [`Life::run`]. `rules` are the
/// mirrored arguments of its tools as others learn them.
///
/// # Errors
/// A credential or a certificate cannot be read.
pub fn start(
    id: u64,
    upstream: &config::Upstream,
    rules: Arc<ToolHeaders>,
    bounds: Bounds,
) -> Result<(Arc<Worker>, Life), String> {
    let tail = Tail::default();
    let outbox = Arc::new(Outbox::new(bounds.write_queue_bytes));
    let (limit, ours) = (bounds.max_message_bytes, Arc::clone(&outbox));
    let context = Context::new(upstream, limit, rules, tail.clone(), ours)?;
    let worker = Worker::new(id, 0, Intake::Upstream(Arc::clone(&outbox)), tail, None);
    let life = Life {
        worker: Arc::clone(&worker),
        outbox,
        context: Arc::new(context),
        stop_grace: bounds.stop_grace,
    };
    Ok((worker, life))
}

/// What an exchange was, once it is over.
enum Done {
    /// A request; the session that it replaced, if it did.
    Request(u64, Option<Session>),
    /// The handshake is complete.
    Initialized,
    /// Something nobody waits for.
    Other,
}

/// A request in flight.
struct Running {
    handle: AbortHandle,
    modern: bool,
}

impl Life {
    /// Carries frames until the worker is asked to stop or its session is gone.
    pub async fn run(self, inbox: Arc<dyn Inbox>) -> End {
        let mut desk = Desk {
            context: Arc::clone(&self.context),
            inbox: Arc::clone(&inbox),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            standalone: None,
            held: false,
        };
        let what = loop {
            tokio::select! {
                (frame, load) = self.outbox.next(), if !desk.held => desk.carry(frame, load),
                Some(done) = desk.tasks.join_next(), if !desk.tasks.is_empty() => desk.finished(done),
                at_once = self.worker.asked() => {
                    self.outbox.close();
                    if !at_once {
                        desk.close(self.stop_grace).await;
                    }
                    break "was closed".to_owned();
                }
                what = self.context.ended() => {
                    desk.settle().await;
                    break what;
                }
            }
        };
        let unsent = Loss {
            fate: Fate::Unsent,
            what: what.clone(),
        };
        for frame in self.outbox.rest() {
            if let Some(Kind::Request(asked)) =
                outgoing::read(frame, &self.context.rules).map(|o| o.kind)
            {
                inbox.lost(asked.id, unsent.clone());
            }
        }
        End {
            what,
            asked: self.worker.is_stopping(),
            // No call is suspected of having ended it.
            killed: true,
            oom: false,
        }
    }
}

/// The exchanges of one worker. Dropping it ends them all.
struct Desk {
    context: Arc<Context>,
    inbox: Arc<dyn Inbox>,
    tasks: JoinSet<Done>,
    running: HashMap<u64, Running>,
    standalone: Option<AbortHandle>,
    /// Nothing may overtake the end of the handshake.
    held: bool,
}

impl Desk {
    fn carry(&mut self, frame: Vec<u8>, load: Load) {
        let Some(Outgoing { body, kind }) = outgoing::read(frame, &self.context.rules) else {
            return log::warn!("a frame for an upstream is no message and was dropped");
        };
        let context = Arc::clone(&self.context);
        match kind {
            Kind::Request(asked) => {
                let (id, modern) = (asked.id, asked.modern.is_some());
                let exchange = Exchange {
                    context,
                    inbox: Arc::clone(&self.inbox),
                    asked,
                };
                let task = async move { Done::Request(id, exchange.run(body, load).await) };
                let handle = self.tasks.spawn(task);
                self.running.insert(id, Running { handle, modern });
            }
            Kind::Initialized => {
                self.held = true;
                self.tasks.spawn(async move {
                    exchange::tell(&context, body, load).await;
                    Done::Initialized
                });
            }
            Kind::Cancel(id) => match self.running.remove(&id) {
                // A closed stream is the cancel of the modern era.
                Some(running) if running.modern => running.handle.abort(),
                Some(running) => {
                    self.tasks.spawn(async move {
                        exchange::tell(&context, body, load).await;
                        sleep(CANCEL_GRACE).await;
                        running.handle.abort();
                        Done::Other
                    });
                }
                None => {}
            },
            Kind::Told => {
                self.tasks.spawn(async move {
                    exchange::tell(&context, body, load).await;
                    Done::Other
                });
            }
        }
    }

    fn finished(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Request(id, replaced)) => {
                self.running.remove(&id);
                if let Some(session) = replaced {
                    let context = Arc::clone(&self.context);
                    self.tasks.spawn(async move {
                        context.delete(session).await;
                        Done::Other
                    });
                }
            }
            Ok(Done::Initialized) => {
                self.held = false;
                if let Some(before) = self.standalone.take() {
                    before.abort();
                }
                let (context, inbox) = (Arc::clone(&self.context), Arc::clone(&self.inbox));
                let task = async move {
                    standalone::listen(context, inbox).await;
                    Done::Other
                };
                self.standalone = Some(self.tasks.spawn(task));
            }
            Ok(Done::Other) => {}
            // Cancelled, or it panicked, which the runtime has reported.
            Err(_) => self.running.retain(|_, r| !r.handle.is_finished()),
        }
    }

    /// Waits for requests in flight to find their own outcome, for a moment.
    async fn settle(&mut self) {
        let over = async {
            while !self.running.is_empty() {
                match self.tasks.join_next().await {
                    Some(done) => self.finished(done),
                    None => return,
                }
            }
        };
        // Whatever is left then is lost with the worker.
        let _ = timeout(SETTLE, over).await;
    }

    /// Ends everything and closes the session.
    async fn close(&mut self, patience: Duration) {
        self.tasks.abort_all();
        let closing = self.context.delete(self.context.session());
        // An upstream that does not answer forgets the session by itself some day.
        let _ = timeout(patience, closing).await;
    }
}
