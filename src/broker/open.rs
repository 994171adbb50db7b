//! Opening a legacy session: from the answer a warm worker gave once, or, with
//! `state = "session"`, by the client's own `initialize` on a worker that becomes its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::calls::Reply;
use super::lane::Want;
use super::member::Member;
use super::principal::Principal;
use super::rebind;
use super::server::Server;
use super::session::{Abilities, Opening, Session};
use super::sessions::Sessions;
use crate::mcp::era::{Era, Version};
use crate::mcp::params::{self, Params};
use crate::mcp::splice::{Edit, range_of, splice};
use crate::policy::refusal::Refusal;

/// What an `initialize` led to.
#[derive(Debug)]
pub enum Opened {
    /// A session, and the result to send, raw JSON.
    Session(Arc<Session>, Bytes),
    /// The worker's error, raw JSON.
    Error(Bytes),
}

/// What `sessions` sets for each of them.
#[derive(Clone, Copy, Debug)]
pub struct StreamBounds {
    /// Bytes of events kept per stream.
    pub buffer: usize,
    /// How long a finished stream can be resumed.
    pub retention: Duration,
}

impl Server {
    /// Opens a session for the `initialize` request `message`.
    ///
    /// # Errors
    /// No worker is to be had, or there are too many sessions.
    pub async fn open_session(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
        message: Bytes,
        asked: &Params<'_>,
        streams: StreamBounds,
    ) -> Result<Opened, Refusal> {
        let requested = params::text(asked.protocol_version).unwrap_or_default();
        let abilities = Abilities::read(asked.capabilities);
        if !self.speaks(Era::Legacy).await? {
            return self.pass_on(&message).await;
        }
        let opening = |version, message| {
            Ok(Opening {
                id: Sessions::fresh_id()?,
                version,
                initialize: message,
                abilities,
                principal: Arc::clone(principal),
                stream_buffer: streams.buffer,
                stream_retention: streams.retention,
            })
        };
        if !self.binds_sessions() {
            // A lease proves that a worker is ready, which is what initialize asks.
            drop(self.lane(Era::Legacy).acquire(&Want::default()).await?);
            let Some(result) = self.initialized() else {
                return Err(Refusal::overloaded(
                    format!(
                        "no worker of server {} has been initialised yet",
                        self.name()
                    ),
                    Duration::from_secs(1),
                ));
            };
            let (version, result) = negotiated(&requested, &result);
            let session = Session::new(opening(version, message)?, Arc::clone(self), None);
            self.shared().sessions.open(&session)?;
            return Ok(Opened::Session(session, result));
        }
        match rebind::bind(self, &message).await? {
            (member, Reply::Error(error)) => {
                member.worker.stop();
                Ok(Opened::Error(error))
            }
            (member, Reply::Result(result)) => {
                let version = version_in(&result).unwrap_or_else(|| Version::negotiate(&requested));
                let lane = self.session_lane();
                let session = Session::new(
                    opening(version, message)?,
                    Arc::clone(self),
                    Some(Arc::clone(&lane)),
                );
                if let Err(refusal) = self.shared().sessions.open(&session) {
                    member.worker.stop();
                    return Err(refusal);
                }
                own(&session, &member);
                Ok(Opened::Session(session, result))
            }
        }
    }

    /// A server without a legacy era answers `initialize` itself, with its error.
    async fn pass_on(&self, message: &Bytes) -> Result<Opened, Refusal> {
        let lease = self.lane(Era::Modern).acquire(&Want::default()).await?;
        let reply =
            rebind::ask_as_client(lease.member(), message, self.config().start_timeout).await;
        match reply {
            Ok(Reply::Error(error)) => Ok(Opened::Error(error)),
            Ok(Reply::Result(_)) | Err(_) => Err(Refusal::overloaded(
                format!("server {} speaks the modern era only", self.name()),
                Duration::from_secs(60),
            )),
        }
    }
}

/// Makes `member` the worker of `session`.
pub(super) fn own(session: &Arc<Session>, member: &Arc<Member>) {
    member.bind(session);
    if let Some(lane) = session.own_lane() {
        lane.add(Arc::clone(member));
    }
    // Ended while its worker was being opened: nobody else would stop it.
    if session.has_ended() {
        member.worker.stop();
    }
}

#[derive(Deserialize)]
struct Initialized<'a> {
    #[serde(rename = "protocolVersion", borrow)]
    version: &'a RawValue,
}

fn version_in(result: &[u8]) -> Option<Version> {
    let found: Initialized<'_> = serde_json::from_slice(result).ok()?;
    Version::parse(&params::text(Some(found.version))?)
}

/// The revision for a client that asks for `requested` at a worker that gave `result` before, and
/// that result with its version put in: what both speak. An older worker than the transport knows
/// is spoken to through the oldest revision that it has.
fn negotiated(requested: &str, result: &Bytes) -> (Version, Bytes) {
    let wanted = Version::negotiate(requested);
    let Ok(found) = serde_json::from_slice::<Initialized<'_>>(result) else {
        return (wanted, result.clone());
    };
    let worker = params::text(Some(found.version)).and_then(|v| Version::parse(&v));
    let version = worker.map_or(Version::V2025_03_26, |w| w.min(wanted));
    let quoted = format!("\"{}\"", version.as_str());
    let edit = Edit {
        range: range_of(result, found.version),
        with: quoted.as_bytes(),
    };
    (version, splice(result, &mut [edit], false).into())
}

#[cfg(test)]
mod tests {
    use super::negotiated;
    use crate::mcp::era::Version;
    use bytes::Bytes;

    #[test]
    fn both_sides_get_a_revision_they_speak() {
        for (worker, client, version) in [
            ("2025-11-25", "2025-06-18", Version::V2025_06_18),
            ("2025-06-18", "2025-11-25", Version::V2025_06_18),
            ("2025-11-25", "2099-01-01", Version::V2025_11_25),
            ("2024-11-05", "2025-11-25", Version::V2025_03_26),
        ] {
            let result = Bytes::from(format!(r#"{{"protocolVersion":"{worker}","x":[1.0]}}"#));
            let (got, bytes) = negotiated(client, &result);
            assert_eq!(got, version);
            let expected = format!(r#"{{"protocolVersion":"{}","x":[1.0]}}"#, version.as_str());
            assert_eq!(bytes, expected.as_bytes());
        }
    }
}
