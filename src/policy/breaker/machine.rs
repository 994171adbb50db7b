//! The breaker as a state machine. Whoever holds it says what time it is and hands in the jitter;
//! it knows no clock, no call and no worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::backoff::{doubled, equal_jitter};
use super::super::window::Window;
use super::Settings;
use super::mode::Forced;
use super::ramp::Ramp;
use super::terms::{Admission, Mode, Refused, State, Ticket, Transition, Verdict};

/// The first wait of an open breaker; doubles each time.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait it comes to by doubling.
const LONGEST: Duration = Duration::from_secs(30);
/// A hint is never zero: who obeys it must not spin.
const LEAST: Duration = Duration::from_millis(1);

#[derive(Clone, Debug)]
pub(super) enum Phase {
    Closed,
    Open {
        until: Instant,
        /// Nothing ends the wait earlier, no active probe either.
        not_before: Option<Instant>,
    },
    HalfOpen(Ramp),
}

/// Stops calls that would fail, and finds out with a few when to let all through again.
///
/// Each change of state begins a new generation, and an outcome counts only in the generation its
/// call was admitted in: a late one says nothing about what is now.
#[derive(Clone, Debug)]
pub struct Breaker {
    pub(super) settings: Settings,
    pub(super) phase: Phase,
    pub(super) generation: u64,
    pub(super) forced: Option<Forced>,
    /// Calls, halves of failures, slow calls.
    pub(super) window: Window<3>,
    pub(super) in_a_row: u32,
    /// Times it opened without a healthy window in between: they make the wait longer.
    pub(super) openings: u32,
    pub(super) closed_since: Option<Instant>,
    pub(super) trips: u64,
    /// Why it is not closed.
    pub(super) reason: Arc<str>,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            phase: Phase::Closed,
            generation: 0,
            forced: None,
            window: Window::new(settings.window),
            in_a_row: 0,
            openings: 0,
            closed_since: None,
            trips: 0,
            reason: Arc::from(""),
            settings,
        }
    }

    /// Judges by other settings from now on. What state it is in stays; what the window has
    /// counted is forgotten if it is to span another time.
    pub fn retune(&mut self, settings: Settings) {
        if self.settings.window != settings.window {
            self.window = Window::new(settings.window);
        }
        self.settings = settings;
    }

    /// Asks for a call whose time is over at `deadline`.
    #[inline]
    pub fn admit(&mut self, now: Instant, deadline: Instant) -> Admission {
        if self.forced.is_none() && matches!(self.phase, Phase::Closed) {
            return Admission {
                verdict: Ok(self.plain()),
                transition: None,
            };
        }
        self.admit_with_care(now, deadline)
    }

    fn admit_with_care(&mut self, now: Instant, deadline: Instant) -> Admission {
        let (from, ended) = (self.state(), self.expire(now));
        let verdict = match self.mode() {
            Mode::Auto => self.ask(now, deadline),
            Mode::Shadow => Ok(self.ask(now, deadline).unwrap_or_else(|_| self.plain())),
            Mode::ForcedClosed => Ok(self.plain()),
            Mode::ForcedOpen => {
                let expires = self.forced.as_ref().and_then(|forced| forced.expires);
                let wait = expires.map_or(LONGEST, |at| at.saturating_duration_since(now));
                Err(self.refused(wait))
            }
        };
        Admission {
            verdict,
            transition: self.change(now, from, ended),
        }
    }

    /// As the machine itself decides, whatever the mode.
    fn ask(&mut self, now: Instant, deadline: Instant) -> Result<Ticket, Refused> {
        if let Phase::Open { until, .. } = self.phase {
            if now < until {
                return Err(self.refused(until - now));
            }
            self.ramp("its wait is over; the next calls are probes");
        }
        let Phase::HalfOpen(ramp) = &mut self.phase else {
            return Ok(self.plain());
        };
        match ramp.take(now, deadline) {
            Ok(serial) => Ok(Ticket {
                generation: self.generation,
                probe: Some(serial),
            }),
            Err(wait) => Err(self.refused(wait)),
        }
    }

    /// Takes the outcome of an admitted call, which took `took`. `jitter` in 0.0..=1.0 spreads
    /// the wait if it opens.
    #[must_use = "a change is to be reported"]
    pub fn settle(
        &mut self,
        now: Instant,
        ticket: Ticket,
        verdict: Verdict,
        took: Duration,
        jitter: f64,
    ) -> Option<Transition> {
        let (from, ended) = (self.state(), self.expire(now));
        if ticket.generation == self.generation {
            let slow = self.settings.slow_call.is_some_and(|most| took > most);
            match self.phase {
                Phase::Closed => self.count(now, verdict, slow, jitter),
                Phase::Open { .. } => {}
                Phase::HalfOpen(_) => {
                    if let Some(serial) = ticket.probe {
                        self.probed(now, serial, verdict, slow, jitter);
                    }
                }
            }
        }
        self.change(now, from, ended)
    }

    /// Takes a ticket back whose call has no outcome: it was dropped, cancelled, or never sent.
    pub fn give_back(&mut self, ticket: Ticket) {
        if let (Phase::HalfOpen(ramp), Some(serial)) = (&mut self.phase, ticket.probe) {
            if ticket.generation == self.generation {
                ramp.give_back(serial);
            }
        }
    }

    /// An active probe, which spent no call, was answered. Ends the wait of an open breaker; it
    /// never closes one, since what answers a ping need not serve calls.
    #[must_use = "a change is to be reported"]
    pub fn probe_succeeded(&mut self, now: Instant) -> Option<Transition> {
        let (from, ended) = (self.state(), self.expire(now));
        if let Phase::Open { not_before, .. } = self.phase {
            let early = not_before.is_some_and(|at| now < at);
            if self.mode() != Mode::ForcedOpen && !early {
                self.ramp("an active probe was answered; the next calls are probes");
            }
        }
        self.change(now, from, ended)
    }

    /// Opens a new breaker as one was left by an earlier life of the daemon, for the rest of its
    /// wait.
    #[must_use = "a change is to be reported"]
    pub fn resume(&mut self, now: Instant, wait: Duration, reason: &str) -> Option<Transition> {
        let from = self.state();
        self.openings = 1;
        self.open(now, wait.min(self.settings.recovery_timeout), reason);
        self.change(now, from, None)
    }

    /// Whether calls pass.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen(_) => State::HalfOpen,
        }
    }

    fn plain(&self) -> Ticket {
        Ticket {
            generation: self.generation,
            probe: None,
        }
    }

    fn refused(&self, wait: Duration) -> Refused {
        Refused {
            retry_after: wait.max(LEAST),
            reason: Arc::clone(&self.reason),
        }
    }

    /// An outcome while closed.
    fn count(&mut self, now: Instant, verdict: Verdict, slow: bool, jitter: f64) {
        let halves = match verdict {
            Verdict::Excluded => return,
            Verdict::Success => 0,
            Verdict::Weak => 1,
            Verdict::Failure | Verdict::Busy { .. } => 2,
        };
        match verdict {
            Verdict::Failure => self.in_a_row = self.in_a_row.saturating_add(1),
            Verdict::Success | Verdict::Weak => self.in_a_row = 0,
            Verdict::Busy { .. } | Verdict::Excluded => {}
        }
        let totals = self.window.add(now, [1, halves, u32::from(slow)]);
        if self.mode() == Mode::ForcedClosed {
            return;
        }
        if let Some(why) = self.trips_by(totals) {
            let asked = match verdict {
                Verdict::Busy { retry_after } => retry_after,
                Verdict::Success | Verdict::Failure | Verdict::Weak | Verdict::Excluded => None,
            };
            self.trip(now, &why, asked, jitter);
        }
    }

    /// Why it must open, if it must. In the usual case this is integer arithmetic.
    fn trips_by(&self, [calls, halves, slow]: [u64; 3]) -> Option<String> {
        let settings = &self.settings;
        if self.in_a_row >= settings.failure_threshold.max(1) {
            return Some(format!("{} failures in a row", self.in_a_row));
        }
        if calls < u64::from(settings.minimum_calls.max(1)) {
            return None;
        }
        let good = 2 * calls - halves;
        let wanted = u64::from(settings.success_rate);
        if good * 100 < wanted * 2 * calls {
            return Some(format!(
                "only {} % of {calls} calls succeeded in {:?}, less than {wanted} %",
                good * 50 / calls,
                settings.window
            ));
        }
        let most = u64::from(settings.slow_rate.max(1));
        let limit = settings.slow_call?;
        (slow * 100 >= most * calls).then(|| {
            format!(
                "{slow} of {calls} calls in {:?} took longer than {limit:?}, {most} % or more",
                settings.window
            )
        })
    }

    /// The outcome of a probe.
    fn probed(&mut self, now: Instant, serial: u64, verdict: Verdict, slow: bool, jitter: f64) {
        let Phase::HalfOpen(ramp) = &mut self.phase else {
            return;
        };
        match verdict {
            Verdict::Excluded => {
                ramp.give_back(serial);
            }
            Verdict::Busy { retry_after } => {
                let wait = retry_after.unwrap_or(FIRST);
                let until = after(now, wait.min(self.settings.recovery_timeout));
                ramp.give_back(serial);
                ramp.not_before = ramp.not_before.max(Some(until));
            }
            // Also when its permit was taken back at the deadline: that it failed is news.
            Verdict::Failure => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.trip(now, "a probe failed", None, jitter);
            }
            Verdict::Success | Verdict::Weak if slow => {
                self.trip(now, "a probe was slow", None, jitter);
            }
            Verdict::Success | Verdict::Weak => {
                if ramp.pass(serial) {
                    let why = format!("{} probes in a row succeeded", ramp.climbed);
                    self.close(now, &why);
                }
            }
        }
    }

    fn trip(&mut self, now: Instant, why: &str, asked: Option<Duration>, jitter: f64) {
        // It closed and soon had to open again: that was no recovery.
        let healthy = self.closed_since.is_some_and(|since| {
            matches!(self.phase, Phase::Closed)
                && now.saturating_duration_since(since) >= self.settings.window
        });
        if healthy {
            self.openings = 0;
        }
        let cap = LONGEST.min(self.settings.recovery_timeout);
        let wait = equal_jitter(doubled(FIRST, self.openings, cap), jitter);
        let asked = asked.map(|asked| asked.min(self.settings.recovery_timeout));
        self.openings = self.openings.saturating_add(1);
        self.trips += 1;
        self.open(now, wait.max(asked.unwrap_or_default()), why);
        if let (Phase::Open { not_before, .. }, Some(asked)) = (&mut self.phase, asked) {
            *not_before = Some(after(now, asked));
        }
    }

    pub(super) fn open(&mut self, now: Instant, wait: Duration, why: &str) {
        let until = after(now, wait);
        self.enter(
            Phase::Open {
                until,
                not_before: None,
            },
            why,
        );
    }

    fn ramp(&mut self, why: &str) {
        let ramp = Ramp::new(self.settings.half_open_max_calls);
        self.enter(Phase::HalfOpen(ramp), why);
    }

    pub(super) fn close(&mut self, now: Instant, why: &str) {
        self.window.clear();
        self.in_a_row = 0;
        self.closed_since = Some(now);
        self.enter(Phase::Closed, why);
    }

    fn enter(&mut self, phase: Phase, why: &str) {
        self.phase = phase;
        self.generation += 1;
        self.reason = Arc::from(why);
    }
}

/// A point in time that a caller may rely on to come.
fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or(now)
}
