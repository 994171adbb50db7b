//! What a request line gets for an answer: the view for what is asked, the control for what is to
//! be changed. It knows neither sockets nor how anything is done.

use super::author::author;
use super::protocol::{
    self, BreakerSet, Cleared, Command, Drained, Failure, Faulty, Recycled, code, failure,
};
use crate::broker::control::{Control, Impossible};
use crate::broker::reload::{Rejected, Reload};
use crate::broker::snapshot::View;
use std::sync::Arc;
use std::time::Duration;

/// Reason of a breaker that decides by itself again, where none was given.
const BACK_TO_AUTO: &str = "no reason given";

/// Answers requests.
#[derive(Clone)]
pub struct Operator {
    view: Arc<dyn View>,
    control: Arc<dyn Control>,
    reload: Arc<dyn Reload>,
}

impl Operator {
    /// Answers from `view`, changes by `control`, reloads by `reload`.
    #[must_use]
    pub fn new(view: Arc<dyn View>, control: Arc<dyn Control>, reload: Arc<dyn Reload>) -> Self {
        Self {
            view,
            control,
            reload,
        }
    }

    /// The line that answers a line of user `uid`. Only a reload is waited for.
    pub async fn respond(&self, line: &[u8], uid: u32) -> String {
        let answer = match protocol::parse_request(line) {
            Ok(command) => self.perform(command, uid).await,
            Err(failure) => Err(failure),
        };
        answer.unwrap_or_else(|failure| protocol::refuse(&failure))
    }

    async fn perform(&self, command: Command, uid: u32) -> Result<String, Failure> {
        if command == Command::Status {
            return Ok(protocol::answer(&self.view.snapshot()));
        }
        if let Command::Reload { check } = command {
            let reloaded = self.reload.reload(check, &author(uid)).await;
            return reloaded
                .map(|told| protocol::answer(&told))
                .map_err(|Rejected(errors)| failure(code::REJECTED, errors.join("\n")));
        }
        change(self.control.as_ref(), command, uid)
            .map_err(|Impossible(why)| failure(code::IMPOSSIBLE, why))
    }
}

fn change(control: &dyn Control, command: Command, uid: u32) -> Result<String, Impossible> {
    Ok(match command {
        Command::Status | Command::Reload { .. } => {
            return Err(Impossible("this is answered elsewhere".to_owned()));
        }
        Command::Limits { most } => protocol::answer(&control.limits(most)),
        Command::Breaker {
            server,
            tool,
            mode,
            for_ms,
            reason,
        } => {
            let author = author(uid);
            let reason = reason.as_deref().map_or(BACK_TO_AUTO, str::trim);
            let expires = for_ms.map(Duration::from_millis);
            control.set_breaker(&server, tool.as_deref(), mode, expires, &author, reason)?;
            protocol::answer(&BreakerSet { author })
        }
        Command::Recycle { worker } => protocol::answer(&Recycled {
            server: control.recycle(worker)?,
        }),
        Command::Drain { server, on } => protocol::answer(&Drained {
            in_flight: control.drain(&server, on)?,
        }),
        Command::Fault { part, for_ms } => {
            control.fault(part, Duration::from_millis(for_ms))?;
            protocol::answer(&Faulty { for_ms })
        }
        Command::ClearQuarantine { server, digest } => protocol::answer(&Cleared {
            cleared: control.clear_quarantine(&server, digest.as_deref())?,
        }),
    })
}
