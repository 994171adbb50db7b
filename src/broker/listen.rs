//! One `subscriptions/listen` of a modern client, opened at every modern worker of the server: a
//! worker's notifications live in its own process. The first acknowledgement is forwarded, all
//! later notifications are merged. A listen outlives workers; new ones join it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

use super::member::Member;
use super::principal::Principal;
use super::stream::Stream;
use crate::mcp::envelope::{self, Outcome};
use crate::mcp::message;
use crate::mcp::params::{self, Affinity};
use crate::mcp::splice::{Edit, range_of, splice};
use serde_json::value::RawValue;

/// The subscription.
#[derive(Debug)]
pub struct Listen {
    id: Bytes,
    message: Bytes,
    stream: Arc<Stream>,
    owner: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    legs: Vec<Leg>,
    acknowledged: bool,
    ended: bool,
}

#[derive(Debug)]
struct Leg {
    member: Weak<Member>,
    number: u64,
    wire: u64,
}

impl Listen {
    /// A listen of `principal` whose request is `message` with the raw id `id`; what comes goes to
    /// `stream`.
    #[must_use]
    pub fn new(id: Bytes, message: Bytes, stream: Arc<Stream>, principal: &Principal) -> Arc<Self> {
        Arc::new(Self {
            id,
            message,
            stream,
            owner: principal.owner().map(ToOwned::to_owned),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose it is, by name; nobody's in particular without a token.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// The request as the client sent it.
    #[must_use]
    pub fn message(&self) -> &Bytes {
        &self.message
    }

    /// Opens the listen at a worker, once.
    pub fn join(self: &Arc<Self>, member: &Arc<Member>) {
        {
            let state = self.state();
            if state.ended || state.legs.iter().any(|l| l.number == member.id()) {
                return;
            }
        }
        let Some(wire) = member.begin_listen(self) else {
            return;
        };
        self.state().legs.push(Leg {
            member: Arc::downgrade(member),
            number: member.id(),
            wire,
        });
    }

    /// A notification of the leg with this wire id.
    pub(super) fn notify(&self, method: &str, line: &[u8], subscription: &RawValue) {
        {
            let mut state = self.state();
            if method == "notifications/subscriptions/acknowledged" {
                if state.acknowledged {
                    return;
                }
                state.acknowledged = true;
            }
        }
        let edit = Edit {
            range: range_of(line, subscription),
            with: &self.id,
        };
        self.stream.push(splice(line, &mut [edit], false).into());
    }

    /// The leg at worker `number` ended: the worker answered (`outcome`) or died (`None`). The
    /// listen itself ends with an error before any acknowledgement, or with the last leg's result.
    pub(super) fn leg_ended(&self, number: u64, answer: Option<(&[u8], &RawValue, Outcome<'_>)>) {
        let last = {
            let mut state = self.state();
            state.legs.retain(|l| l.number != number);
            let Some((_, _, outcome)) = &answer else {
                // New workers will be joined; the client need not know.
                return;
            };
            let over = match outcome {
                Outcome::Error(_) => !state.acknowledged,
                Outcome::Result(_) => state.legs.is_empty(),
            };
            state.ended |= over;
            over
        };
        if !last {
            return;
        }
        if let Some((line, id, outcome)) = answer {
            let mut edits = vec![Edit {
                range: range_of(line, id),
                with: &self.id,
            }];
            if let Some(subscription) = subscription_in(outcome) {
                edits.push(Edit {
                    range: range_of(line, subscription),
                    with: &self.id,
                });
            }
            let error = match outcome {
                Outcome::Result(_) => None,
                Outcome::Error(error) => Some(envelope::error_code(error).unwrap_or_default()),
            };
            self.stream
                .finish(splice(line, &mut edits, false).into(), error);
        }
    }

    /// Ends the listen politely from the daemon's side, with a result.
    pub fn finish(&self) {
        let id = String::from_utf8_lossy(&self.id).into_owned();
        let result = format!(
            r#"{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}"#
        );
        self.stream
            .finish(message::result(&id, &result).into_bytes().into(), None);
        self.cancel();
    }

    /// Ends all legs: the client is gone.
    pub fn cancel(&self) {
        let legs = {
            let mut state = self.state();
            state.ended = true;
            std::mem::take(&mut state.legs)
        };
        for leg in legs {
            if let Some(member) = leg.member.upgrade() {
                member.end_listen(leg.wire);
            }
        }
    }
}

fn subscription_in(outcome: Outcome<'_>) -> Option<&RawValue> {
    let Outcome::Result(result) = outcome else {
        return None;
    };
    let meta = params::object::<Affinity<'_>>(result)?.meta?;
    params::object::<params::Meta<'_>>(meta)?.subscription_id
}
