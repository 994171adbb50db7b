//! Orders of operators: who decides instead of the breaker, until when, and what is left behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::machine::Breaker;
use super::terms::{Ended, Mode, Transition};

#[derive(Clone, Debug)]
pub(super) struct Forced {
    pub(super) mode: Mode,
    pub(super) author: String,
    pub(super) reason: String,
    pub(super) expires: Option<Instant>,
}

impl Breaker {
    /// Sets the mode on behalf of `author`, until `expires` or the next such order; nothing else
    /// ends it. After `ForcedOpen` the next call is a probe. Returns the change of state, if any;
    /// the change of mode is the caller's to report.
    #[must_use = "a change is to be reported"]
    pub fn force(
        &mut self,
        now: Instant,
        mode: Mode,
        author: &str,
        reason: &str,
        expires: Option<Instant>,
    ) -> Option<Transition> {
        let from = self.state();
        self.release();
        match mode {
            Mode::Auto => return None,
            Mode::Shadow => {}
            Mode::ForcedOpen => {
                self.open(
                    now,
                    Duration::ZERO,
                    &format!("forced open by {author}: {reason}"),
                );
            }
            Mode::ForcedClosed => {
                self.close(now, &format!("forced closed by {author}: {reason}"));
            }
        }
        self.forced = Some(Forced {
            mode,
            author: author.to_owned(),
            reason: reason.to_owned(),
            expires,
        });
        self.change(now, from, None)
    }

    /// Ends a forced mode whose time is over, for a caller that does not want to wait for the
    /// next call to notice.
    #[must_use = "a change is to be reported"]
    pub fn tick(&mut self, now: Instant) -> Option<Transition> {
        let (from, ended) = (self.state(), self.expire(now));
        self.change(now, from, ended)
    }

    pub(super) fn mode(&self) -> Mode {
        self.forced
            .as_ref()
            .map_or(Mode::Auto, |forced| forced.mode)
    }

    pub(super) fn expire(&mut self, now: Instant) -> Option<Ended> {
        let expires = self.forced.as_ref()?.expires?;
        if now < expires {
            return None;
        }
        let forced = self.release()?;
        Some(Ended {
            mode: forced.mode,
            author: forced.author,
            reason: forced.reason,
        })
    }

    pub(super) fn release(&mut self) -> Option<Forced> {
        let forced = self.forced.take()?;
        if forced.mode == Mode::ForcedOpen {
            self.reason = Arc::from("no longer forced open; the next call is a probe");
        }
        Some(forced)
    }
}
