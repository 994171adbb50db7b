//! The thread that beats: looks at every vital part, asks the policy, sends one datagram. From its
//! first look on it allocates nothing, takes no lock that a task of the runtime takes, touches no
//! disk and waits for nothing but its own timer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::RuntimeMetrics;

use super::starvation::Meter;
use super::teller::{Kind, Report, Reports};
use crate::observe::pulse::{ACCEPTOR, DISPATCHER, SUPERVISORS, TIMERS};
use crate::policy::liveness::{Liveness, RUNTIME, Stuck, Token, VITAL, Verdict, Vital};
use crate::sys::notify::Socket;

/// Longest time between two looks: parts are missed to the second.
const LOOK: Duration = Duration::from_millis(500);

/// What the thread is given.
pub(super) struct Watch {
    runtime: RuntimeMetrics,
    interval: Duration,
    socket: Option<Socket>,
    ended: Arc<AtomicBool>,
}

/// Where a part shows that it moves.
enum Sign {
    /// In its pulse.
    Pulse(fn() -> Option<Instant>),
    /// In what the runtime counts of one of its threads.
    Thread {
        number: usize,
        seen: (u64, Duration),
    },
}

/// The pulse of a part of [`VITAL`]; `None` for one that does not exist yet (the journal).
fn pulse(part: &Vital) -> Option<Sign> {
    Some(Sign::Pulse(match part.name {
        "acceptor" => || ACCEPTOR.last(),
        "dispatcher" => || DISPATCHER.last(),
        "supervisor" => || SUPERVISORS.last(),
        "timers" => || TIMERS.last(),
        _ => return None,
    }))
}

impl Sign {
    /// When the part moved last, as far as is known at `now`.
    fn last(&mut self, runtime: &RuntimeMetrics, now: Instant) -> Option<Instant> {
        match self {
            // A part that is not there is not missed.
            Self::Pulse(last) => Some(last().unwrap_or(now)),
            Self::Thread { number, seen } => {
                // A task cannot be pinned to a thread. But a thread that is parked waits for work,
                // which is its life; one that is not counts the time of the tasks it has run, at
                // least once every 61 of them. Neither moves while one task holds it.
                let parks = runtime.worker_park_unpark_count(*number);
                let is = (parks, runtime.worker_total_busy_duration(*number));
                let parked = parks % 2 == 1;
                let moved = parked || is != *seen;
                *seen = is;
                moved.then_some(now)
            }
        }
    }
}

impl Watch {
    pub(super) fn new(
        runtime: RuntimeMetrics,
        interval: Duration,
        socket: Option<Socket>,
        ended: Arc<AtomicBool>,
    ) -> Self {
        Self {
            runtime,
            interval,
            socket,
            ended,
        }
    }

    /// Beats until it is ended.
    pub(super) fn run(self, reports: &Reports) {
        let (liveness, mut signs) = self.parts();
        let mut beat = Beat {
            watch: &self,
            liveness,
            reports,
            warned: None,
            triggered: None,
        };
        let mut meter = Meter::new(self.interval / 4);
        let pause = LOOK.min(self.interval / 8);
        while !self.ended.load(Ordering::Relaxed) {
            let now = Instant::now();
            for (token, sign) in &mut signs {
                if let Some(last) = sign.last(&self.runtime, now) {
                    beat.liveness.beat(*token, last);
                }
            }
            let starved = meter.look(now, pause);
            beat.act(now, starved);
            std::thread::park_timeout(pause);
        }
    }

    fn parts(&self) -> (Liveness, Vec<(Token, Sign)>) {
        let mut parts = Vec::new();
        let mut signs = Vec::new();
        for part in VITAL {
            if let Some(sign) = pulse(&part) {
                parts.push(part);
                signs.push(sign);
            }
        }
        for number in 0..self.runtime.num_workers() {
            // One name for each thread, once in the life of the process.
            let name = format!("{} thread {number}", RUNTIME.name);
            parts.push(Vital {
                name: Box::leak(name.into_boxed_str()),
                ..RUNTIME
            });
            let seen = (0, Duration::ZERO);
            signs.push(Sign::Thread { number, seen });
        }
        let liveness = Liveness::new(parts, self.interval, Instant::now());
        let tokens: Vec<Token> = liveness.tokens().map(|(token, _)| token).collect();
        (liveness, tokens.into_iter().zip(signs).collect())
    }

    fn send(&self, message: &[u8]) {
        if let Some(socket) = &self.socket {
            // A manager that does not read has its own reasons; there is nobody to tell from here.
            let _ = socket.send(message);
        }
    }
}

struct Beat<'w> {
    watch: &'w Watch,
    liveness: Liveness,
    reports: &'w Reports,
    warned: Option<Stuck>,
    triggered: Option<Instant>,
}

impl Beat<'_> {
    fn act(&mut self, now: Instant, starved: bool) {
        match self.liveness.verdict(now, starved) {
            Verdict::Withhold(_) => {}
            Verdict::Rest => self.moves(now),
            Verdict::Beat => {
                self.watch.send(b"WATCHDOG=1");
                self.moves(now);
            }
            Verdict::Starved(stuck) => {
                self.watch.send(b"WATCHDOG=1");
                self.report(Kind::Starved, stuck);
            }
            Verdict::Warn(stuck) => {
                self.warned = Some(stuck);
                self.report(Kind::Silent, stuck);
            }
            Verdict::Trigger(stuck) => self.trigger(now, stuck),
        }
    }

    /// The reason comes before the deed, unless the log is what is stuck.
    fn trigger(&mut self, now: Instant, stuck: Stuck) {
        if self.watch.socket.is_none() {
            return;
        }
        let since = *self.triggered.get_or_insert_with(|| {
            self.reports.forget_told();
            self.reports.send(Report {
                kind: Kind::Triggered,
                stuck,
            });
            now
        });
        let late = since + self.watch.interval / 20;
        while !self.reports.is_told() && Instant::now() < late {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.watch.send(b"WATCHDOG=trigger");
    }

    /// Nothing is stuck, or it is excused.
    fn moves(&mut self, now: Instant) {
        if self.liveness.stuck(now).next().is_none() {
            self.triggered = None;
            if let Some(stuck) = self.warned.take() {
                self.report(Kind::Moves, stuck);
            }
        }
    }

    fn report(&self, kind: Kind, stuck: Stuck) {
        self.reports.send(Report { kind, stuck });
    }
}
