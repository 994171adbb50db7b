//! What stands between a call and the workers of one server: is the server being drained, may this
//! class be served now, has this very call killed workers, is the breaker closed. Each says no with a
//! refusal; the cheapest is asked first. The rules are in `policy/`; here they meet calls and are
//! reported.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::call::{Call, Parts, Permits};
use super::server::Server;
use crate::config;
use crate::observe::event::{Event, emit};
use crate::policy::breaker::Transition;
use crate::policy::class::Class;
use crate::policy::permit::{Gate, Permit};
use crate::policy::quarantine::{Digest, Info, Quarantine};
use crate::policy::refusal::Refusal;
use crate::policy::retry::Budget;

/// When a client may ask a server again that an operator drains, or that sheds its class.
const AGAIN: Duration = Duration::from_secs(2);

/// The guards of one server.
#[derive(Debug)]
pub struct Guards {
    gate: Gate,
    budget: Mutex<Budget>,
    quarantine: Mutex<Quarantine>,
    /// Some call is marked or quarantined: digests are worth their price.
    marks: AtomicBool,
    drained: AtomicBool,
    shedding: AtomicBool,
    pressure: Mutex<Option<Pressure>>,
}

/// Why the less important calls are refused.
#[derive(Clone, Debug)]
pub struct Pressure {
    /// In words.
    pub reason: String,
    /// Since when.
    pub since: Instant,
}

impl Guards {
    /// All of them open.
    #[must_use]
    pub fn new(config: &config::Server) -> Self {
        Self {
            gate: Gate::new(config.breaker.clone()),
            budget: Mutex::new(Budget::new(config.retry)),
            quarantine: Mutex::default(),
            marks: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            shedding: AtomicBool::new(false),
            pressure: Mutex::default(),
        }
    }

    /// The server's breaker.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What retries may cost.
    pub(super) fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn quarantine(&self) -> MutexGuard<'_, Quarantine> {
        self.quarantine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the less important calls are refused, if they are.
    #[must_use]
    pub fn pressure(&self) -> Option<Pressure> {
        self.pressure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the less important calls are refused.
    #[must_use]
    pub fn is_shedding(&self) -> bool {
        self.shedding.load(Ordering::Relaxed)
    }

    /// Whether an operator lets the server take no calls.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    pub(super) fn set_drained(&self, on: bool) -> bool {
        self.drained.swap(on, Ordering::Relaxed) != on
    }

    /// The quarantined calls.
    #[must_use]
    pub fn quarantined(&self, now: Instant) -> Vec<Info> {
        self.quarantine().list(now)
    }

    pub(super) fn clear_quarantine(&self, now: Instant, which: Option<Digest>) -> usize {
        let mut quarantine = self.quarantine();
        let cleared = quarantine.clear(now, which);
        self.marks.store(!quarantine.is_empty(), Ordering::Relaxed);
        cleared
    }

    fn has_marks(&self) -> bool {
        self.marks.load(Ordering::Relaxed)
    }
}

impl Parts {
    /// Which call this is, for the quarantine.
    fn digest(&self) -> Digest {
        let name = self.tool.as_ref().unwrap_or(&self.method);
        Digest::of(name, self.arguments.as_bytes())
    }
}

impl Server {
    /// Asks every guard whether the call may be sent now. What it holds of them it gives back with
    /// its outcome.
    pub(super) fn admit(&self, call: &mut Call, now: Instant) -> Result<(), Refusal> {
        if let Some(refusal) = self.farewell() {
            return Err(refusal);
        }
        let guards = self.guards();
        if guards.is_drained() {
            return Err(Refusal {
                detail: format!("an operator lets server {} take no new calls", self.name()),
                ..Refusal::draining()
            });
        }
        if guards.is_shedding() && call.class() == Class::Background {
            let reason = guards.pressure().map(|p| p.reason).unwrap_or_default();
            return Err(shed(&reason));
        }
        if guards.has_marks() {
            self.check_quarantine(call, now)?;
        }
        let server = self.pass(guards.gate(), None, call, now)?;
        let rule = std::sync::Arc::clone(call.rule());
        let tool = match &rule.gate {
            Some(gate) => Some(self.pass(gate, rule.tool.as_deref(), call, now)?),
            None => None,
        };
        call.hold(Permits { server, tool });
        Ok(())
    }

    fn check_quarantine(&self, call: &mut Call, now: Instant) -> Result<(), Refusal> {
        let digest = call.parts().digest();
        let mut quarantine = self.guards().quarantine();
        if let Some(found) = quarantine.check(now, digest) {
            return Err(Refusal::quarantined(format!(
                "this call of {} was in flight when {} workers died and is not sent to another for {} s \
                 (digest {digest}); an operator can clear it with `mainstayctl quarantine clear {} {digest}`",
                found.tool,
                found.crashes,
                found.expires_in.as_secs(),
                self.name()
            )));
        }
        if quarantine.is_marked(now, digest) {
            call.want_alone();
        }
        Ok(())
    }

    fn pass(
        &self,
        gate: &Gate,
        tool: Option<&str>,
        call: &Call,
        now: Instant,
    ) -> Result<Permit, Refusal> {
        let (permit, transition) = gate.admit(now, call.deadline());
        if let Some(transition) = transition {
            self.report(tool, transition);
        }
        permit.map_err(|refused| {
            let of = tool.map_or_else(String::new, |tool| format!(" of tool {tool}"));
            Refusal::breaker_open(
                format!(
                    "the breaker{of} of server {} is open: {}",
                    self.name(),
                    refused.reason
                ),
                refused.retry_after,
            )
        })
    }

    /// Tells that a breaker has changed.
    pub(super) fn report(&self, tool: Option<&str>, transition: Transition) {
        if let Some(ended) = transition.ended {
            emit(&Event::BreakerSet {
                server: self.name().to_owned(),
                tool: tool.map(ToOwned::to_owned),
                mode: "auto",
                author: ended.author,
                reason: format!("the time of {} is over", ended.mode.as_str()),
                expires: None,
            });
        }
        if transition.from == transition.to {
            return;
        }
        emit(&Event::BreakerChanged {
            server: self.name().to_owned(),
            tool: tool.map(ToOwned::to_owned),
            from: transition.from.as_str(),
            to: transition.to.as_str(),
            reason: transition.reason,
            retry_in: transition.retry_in,
        });
        // The supervisor looks after breakers that are not closed.
        self.wake();
    }

    /// The call was answered: if it was suspected, it is not any more.
    pub(super) fn clear_suspicion(&self, call: &Call) {
        if self.guards().has_marks() {
            let digest = call.parts().digest();
            self.guards().quarantine().completed(digest);
        }
    }

    /// A worker died, or had to be killed, by what may have been this call, which was `at` that
    /// worker under this id. Told once a death.
    pub(super) fn suspect(&self, parts: &Parts, at: (u64, u64), now: Instant) {
        let (digest, tool) = (parts.digest(), parts.tool.as_ref().unwrap_or(&parts.method));
        let guards = self.guards();
        guards.marks.store(true, Ordering::Relaxed);
        let found = guards.quarantine().crashed(now, digest, tool);
        if let Some(info) = found {
            emit(&Event::CallQuarantined {
                server: self.name().to_owned(),
                worker: at.0,
                call: at.1,
                tool: info.tool,
                digest: digest.to_string(),
                crashes: info.crashes,
                lasts: info.expires_in,
            });
        }
    }

    /// Refuses the less important calls from now on, or takes them again.
    pub(super) fn set_pressure(&self, reason: Option<String>, now: Instant) {
        let guards = self.guards();
        let was = {
            let mut pressure = guards
                .pressure
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let was = pressure.take();
            *pressure = reason.clone().map(|reason| Pressure {
                reason,
                since: was.as_ref().map_or(now, |p| p.since),
            });
            was
        };
        guards.shedding.store(reason.is_some(), Ordering::Relaxed);
        match (was, reason) {
            (None, Some(reason)) => {
                self.shed_waiting(&reason);
                emit(&Event::ShedStarted {
                    server: self.name().to_owned(),
                    reason,
                });
            }
            (Some(was), None) => emit(&Event::ShedEnded {
                server: self.name().to_owned(),
                after: now.duration_since(was.since),
            }),
            _ => {}
        }
    }

    fn shed_waiting(&self, reason: &str) {
        let refusal = shed(reason);
        for era in crate::mcp::era::Era::ALL {
            self.lane(era).shed(Class::Background, &refusal);
        }
    }
}

/// What a call of class `background` hears under pressure.
fn shed(reason: &str) -> Refusal {
    Refusal::overloaded(
        format!("calls of class background are refused while {reason}"),
        AGAIN,
    )
}
