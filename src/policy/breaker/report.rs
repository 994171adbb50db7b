//! What a breaker tells: what it looks like, and what has changed.

use std::time::{Duration, Instant};

use super::machine::{Breaker, Phase};
use super::terms::{Ended, Mode, State, Transition, View};

impl Breaker {
    /// What it looks like.
    #[must_use]
    pub fn view(&self, now: Instant) -> View {
        let [calls, halves, _] = self.window.peek(now);
        let short = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let state = self.state();
        let why = (state != State::Closed).then(|| self.reason.as_ref().to_owned());
        View {
            state,
            mode: self.mode(),
            reason: self.forced.as_ref().map(|f| f.reason.clone()).or(why),
            author: self.forced.as_ref().map(|f| f.author.clone()),
            expires_in: self.forced_for(now),
            retry_in: self.retry_in(now),
            failures_in_a_row: self.in_a_row,
            window_calls: short(calls),
            window_failures: short(halves.div_ceil(2)),
            trips: self.trips,
        }
    }

    /// What is to be reported, if anything is.
    pub(super) fn change(
        &self,
        now: Instant,
        from: State,
        ended: Option<Ended>,
    ) -> Option<Transition> {
        let to = self.state();
        if from == to && ended.is_none() {
            return None;
        }
        let reason = match &ended {
            Some(ended) if from == to => format!(
                "the mode {} that {} had set is over",
                ended.mode.as_str(),
                ended.author
            ),
            _ => self.reason.as_ref().to_owned(),
        };
        Some(Transition {
            from,
            to,
            reason,
            retry_in: self.retry_in(now),
            ended,
        })
    }

    fn retry_in(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Open { .. } if self.mode() == Mode::ForcedOpen => self.forced_for(now),
            Phase::Open { until, .. } => Some(until.saturating_duration_since(now)),
            Phase::Closed | Phase::HalfOpen(_) => None,
        }
    }

    fn forced_for(&self, now: Instant) -> Option<Duration> {
        let expires = self.forced.as_ref()?.expires?;
        Some(expires.saturating_duration_since(now))
    }
}
