//! A breaker that calls share, and the permit each of them holds. A permit is settled once, with a
//! verdict; dropped without one it gives itself back, so a call that is cancelled, fails early or
//! panics leaks nothing. It knows no clock.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::breaker::{Breaker, Mode, Refused, Settings, Ticket, Transition, Verdict, View};
use super::sync::{Arc, Mutex};

/// A handle of one breaker; clones share it.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Mutex<Breaker>>);

impl Gate {
    /// A closed one.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Mutex::new(Breaker::new(settings))))
    }

    /// Asks for a call whose time is over at `deadline`; also what changed because it asked, to
    /// be reported.
    pub fn admit(
        &self,
        now: Instant,
        deadline: Instant,
    ) -> (Result<Permit, Refused>, Option<Transition>) {
        let admission = self.with(|breaker| breaker.admit(now, deadline));
        let permit = admission.verdict.map(|ticket| Permit {
            gate: self.clone(),
            ticket: Some(ticket),
        });
        (permit, admission.transition)
    }

    /// See [`Breaker::probe_succeeded`].
    #[must_use = "a change is to be reported"]
    pub fn probe_succeeded(&self, now: Instant) -> Option<Transition> {
        self.with(|breaker| breaker.probe_succeeded(now))
    }

    /// See [`Breaker::force`].
    #[must_use = "a change is to be reported"]
    pub fn force(
        &self,
        now: Instant,
        mode: Mode,
        author: &str,
        reason: &str,
        expires: Option<Instant>,
    ) -> Option<Transition> {
        self.with(|breaker| breaker.force(now, mode, author, reason, expires))
    }

    /// See [`Breaker::resume`].
    #[must_use = "a change is to be reported"]
    pub fn resume(&self, now: Instant, wait: Duration, reason: &str) -> Option<Transition> {
        self.with(|breaker| breaker.resume(now, wait, reason))
    }

    /// See [`Breaker::tick`].
    #[must_use = "a change is to be reported"]
    pub fn tick(&self, now: Instant) -> Option<Transition> {
        self.with(|breaker| breaker.tick(now))
    }

    /// See [`Breaker::retune`].
    pub fn retune(&self, settings: Settings) {
        self.with(|breaker| breaker.retune(settings));
    }

    /// See [`Breaker::view`].
    #[must_use]
    pub fn view(&self, now: Instant) -> View {
        self.with(|breaker| breaker.view(now))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        // Nothing in a breaker is left half done by a panic of whoever held it.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right to make one call.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct Permit {
    gate: Gate,
    ticket: Option<Ticket>,
}

impl Permit {
    /// Hands in the outcome of the call; see [`Breaker::settle`]. Returns what changed, to be
    /// reported.
    #[must_use = "a change is to be reported"]
    pub fn settle(
        mut self,
        now: Instant,
        verdict: Verdict,
        took: Duration,
        jitter: f64,
    ) -> Option<Transition> {
        let ticket = self.ticket.take()?;
        self.gate
            .with(|breaker| breaker.settle(now, ticket, verdict, took, jitter))
    }

    /// Whether the call is one of the few that a half-open breaker lets through.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.ticket.is_some_and(Ticket::is_probe)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // What was admitted while closed took nothing that could be given back.
        if let Some(ticket) = self.ticket.take().filter(|ticket| ticket.is_probe()) {
            self.gate.with(|breaker| breaker.give_back(ticket));
        }
    }
}
