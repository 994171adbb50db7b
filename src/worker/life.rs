//! The life of a worker of any kind, from its start to what it leaves behind. The kinds themselves
//! are in `actor` (a process) and `upstream` (HTTP).

use std::sync::Arc;

use super::actor::{self, End, Inbox};
use super::upstream;

/// The part of a worker that its task owns.
#[derive(Debug)]
pub enum Life {
    /// A process.
    Process(Box<actor::Life>),
    /// An MCP server reached over HTTP.
    Upstream(Box<upstream::Life>),
}

impl Life {
    /// Delivers what the worker says until it has ended.
    pub async fn run(self, inbox: Arc<dyn Inbox>) -> (End, Remains) {
        match self {
            Self::Process(life) => {
                let (end, remains) = life.run(&*inbox).await;
                (end, Remains::Process(Box::new(remains)))
            }
            Self::Upstream(life) => (life.run(inbox).await, Remains::Nothing),
        }
    }
}

/// What a worker that has ended leaves behind.
#[derive(Debug)]
#[must_use]
pub enum Remains {
    /// Of a process.
    Process(Box<actor::Remains>),
    /// Of an upstream.
    Nothing,
}

impl Remains {
    /// Removes it.
    pub async fn clean_up(self) {
        match self {
            Self::Process(remains) => remains.clean_up().await,
            Self::Nothing => {}
        }
    }
}
