//! Opening a worker: finding out its era and bringing it to where it takes calls. It talks to one
//! worker; what the outcome means for the server is decided elsewhere.
//!
//! A worker's first message may lock its era (Python SDK 2.x does), so each way of opening starts
//! with the message of the era that is wanted, and probing starts with the modern one: workers
//! that refuse it can still be initialised.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::calls::Reply;
use super::member::{Locked, Member, NoAnswer};
use crate::mcp::era::{Era, MODERN};
use crate::mcp::message;

/// How to open a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Find out what it speaks.
    Probe,
    /// `initialize`.
    Legacy,
    /// `server/discover`.
    Modern,
    /// Both, in one process.
    Mixed,
    /// Send nothing: the first session's own `initialize` will be its first message.
    Fresh,
}

impl Opening {
    /// Name for logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "unknown",
            Self::Legacy | Self::Fresh => "legacy",
            Self::Modern => "modern",
            Self::Mixed => "mixed",
        }
    }
}

/// What was found.
#[derive(Debug)]
pub struct Opened {
    /// What the worker is locked to now.
    pub locked: Locked,
    /// The result of `initialize`, raw JSON, if it was sent.
    pub initialized: Option<Bytes>,
    /// Whether the server speaks the legacy era, if this told.
    pub legacy: Option<bool>,
    /// Whether the server speaks the modern era, if this told.
    pub modern: Option<bool>,
}

/// Why a worker could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// It answered, and the answer was no: it does not speak this era.
    Refused(String),
    /// It lives and says nothing.
    Silent(String),
    /// It did not answer properly.
    Broken(String),
}

impl Failed {
    /// In words.
    #[must_use]
    pub fn what(&self) -> &str {
        match self {
            Self::Refused(what) | Self::Silent(what) | Self::Broken(what) => what,
        }
    }
}

/// Opens `member` as asked, within `patience` for each answer.
///
/// # Errors
/// See [`Failed`].
pub async fn open(
    member: &Arc<Member>,
    opening: Opening,
    patience: Duration,
) -> Result<Opened, Failed> {
    match opening {
        Opening::Fresh => Ok(Opened {
            locked: Locked::Fresh,
            initialized: None,
            legacy: None,
            modern: None,
        }),
        Opening::Legacy => {
            let result = initialize(member, patience).await?;
            Ok(Opened {
                locked: Locked::Legacy,
                initialized: Some(result),
                legacy: Some(true),
                modern: None,
            })
        }
        Opening::Modern => {
            discover(member, patience).await?;
            Ok(Opened {
                locked: Locked::Modern,
                initialized: None,
                legacy: None,
                modern: Some(true),
            })
        }
        Opening::Mixed => {
            let result = initialize(member, patience).await?;
            Ok(Opened {
                locked: Locked::Mixed,
                initialized: Some(result),
                legacy: Some(true),
                modern: Some(true),
            })
        }
        Opening::Probe => probe(member, patience).await,
    }
}

async fn probe(member: &Arc<Member>, patience: Duration) -> Result<Opened, Failed> {
    // Half of the time: a server that ignores what it does not know still has to be initialised.
    match discover(member, patience / 2).await {
        Err(Failed::Broken(what)) => Err(Failed::Broken(what)),
        Err(Failed::Refused(_) | Failed::Silent(_)) => {
            let result = initialize(member, patience).await?;
            Ok(Opened {
                locked: Locked::Legacy,
                initialized: Some(result),
                legacy: Some(true),
                modern: Some(false),
            })
        }
        Ok(()) => match initialize(member, patience).await {
            // Locked to the modern era; whether the server has another is for the next worker.
            Err(Failed::Refused(_)) => Ok(Opened {
                locked: Locked::Modern,
                initialized: None,
                legacy: None,
                modern: Some(true),
            }),
            Err(failed @ (Failed::Silent(_) | Failed::Broken(_))) => Err(failed),
            Ok(result) => {
                let locked = match discover(member, patience).await {
                    Ok(()) => Locked::Mixed,
                    Err(Failed::Refused(_)) => Locked::Legacy,
                    Err(failed @ (Failed::Silent(_) | Failed::Broken(_))) => return Err(failed),
                };
                Ok(Opened {
                    locked,
                    initialized: Some(result),
                    legacy: Some(true),
                    modern: Some(true),
                })
            }
        },
    }
}

async fn initialize(member: &Arc<Member>, patience: Duration) -> Result<Bytes, Failed> {
    let reply = member.ask(message::initialize, patience).await;
    match reply {
        Ok(Reply::Result(result)) => {
            member.tell(&message::notification("notifications/initialized"));
            Ok(result)
        }
        Ok(Reply::Error(error)) => Err(Failed::Refused(format!(
            "it refused initialize: {}",
            String::from_utf8_lossy(&error)
        ))),
        Err(no) => Err(no.into_failed("initialize")),
    }
}

async fn discover(member: &Arc<Member>, patience: Duration) -> Result<(), Failed> {
    #[derive(Deserialize)]
    struct Discovered {
        #[serde(rename = "supportedVersions", default)]
        versions: Vec<String>,
    }
    match member.ask(message::discover, patience).await {
        Ok(Reply::Result(result)) => match serde_json::from_slice::<Discovered>(&result) {
            Ok(found) if found.versions.iter().any(|v| v == MODERN) => Ok(()),
            _ => Err(Failed::Refused(format!(
                "it answered server/discover without naming {MODERN}"
            ))),
        },
        Ok(Reply::Error(error)) => Err(Failed::Refused(format!(
            "it refused server/discover: {}",
            String::from_utf8_lossy(&error)
        ))),
        Err(no) => Err(no.into_failed("server/discover")),
    }
}

impl NoAnswer {
    fn into_failed(self, asked: &str) -> Failed {
        let what = format!("{asked}: {self}");
        match self {
            Self::Silent(_) => Failed::Silent(what),
            Self::Ended | Self::Unreadable => Failed::Broken(what),
        }
    }
}

/// Whether the worker answers at all: any reply, even an error, proves life.
///
/// # Errors
/// It did not.
pub async fn is_alive(member: &Arc<Member>, patience: Duration) -> Result<(), NoAnswer> {
    let build = |id| match member.locked() {
        Locked::Modern => message::discover(id),
        Locked::Legacy | Locked::Mixed | Locked::Fresh => message::request(id, "ping"),
    };
    member.ask(build, patience).await.map(|_| ())
}

/// All pages of a worker's `tools/list`, one result each; bounded.
pub async fn tools(member: &Arc<Member>, patience: Duration) -> Vec<Bytes> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(rename = "nextCursor", default)]
        next: Option<String>,
    }
    let mut pages = Vec::new();
    let mut params = json!({});
    for _ in 0..50 {
        let ask = params.clone();
        let reply = member
            .ask(
                |id| match member.serves(Era::Modern) {
                    true => message::modern_request(id, "tools/list", ask),
                    false => message::request_with(id, "tools/list", &ask),
                },
                patience,
            )
            .await;
        let Ok(Reply::Result(result)) = reply else {
            break;
        };
        let next = serde_json::from_slice::<Page>(&result)
            .ok()
            .and_then(|p| p.next);
        pages.push(result);
        match next {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => break,
        }
    }
    pages
}
