//! The actor of one server: keeps its pool as the pool law says and paces restarts; replacing those
//! that are there is `replace`'s. It is woken by events; its interval is only a net.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::handshake::Opening;
use super::member::{Locked, Member, Phase};
use super::memory;
use super::server::Server;
use super::start;
use crate::config;
use crate::fault::{self, Part};
use crate::mcp::era::Era;
use crate::observe::event::{Event, emit};
use crate::observe::pulse::{Place, SUPERVISORS};
use crate::policy::pool::{Law, Verdict, View, decide};
use crate::policy::refusal::{Reason, Refusal};

/// Ages and numbers of calls are no events: how often they are looked at.
const RECYCLE_LOOK: Duration = Duration::from_secs(1);
/// The log is told of refused calls this often.
const REFUSALS: Duration = Duration::from_secs(10);
/// Every so many failed starts of a server of unknown era, one is not probed but initialised.
const PROBES_IN_A_ROW: u32 = 3;
/// It turns this often at least, to show that it lives.
const TURN: Duration = Duration::from_millis(500);
/// Workers beyond what is needed are kept this long.
const SURPLUS: Duration = Duration::from_secs(60);

/// Keeps the server until it is told to stop, then until its last worker is gone.
pub async fn run(server: Arc<Server>) {
    let pulse = SUPERVISORS.join(server.name());
    let mut news = server.standing().subscribe();
    let mut last_check = Instant::now();
    let mut memory = memory::Watch::new(Instant::now());
    let mut refusals = Refusals::default();
    loop {
        fault::hold(Part::Supervisor).await;
        pulse.beat();
        if news.borrow_and_update().stopping {
            break;
        }
        server.expire(Instant::now());
        server.patrol();
        let wait = server.balance();
        let health_check = server.config().pool.health_check_interval;
        let net = Instant::now() + wait.min(health_check).min(TURN);
        let due = server.deadlines().next().map_or(net, |at| at.min(net));
        let due = match server.has_processes() {
            true => due.min(memory.next()),
            false => due,
        };
        tokio::select! {
            () = server.pressure().notified() => {}
            () = tokio::time::sleep_until(due.into()) => {}
            changed = news.changed() => if changed.is_err() { break },
        }
        server.recycle();
        refusals.tell(&server);
        let now = Instant::now();
        server.weigh(&mut memory, now);
        server.press(&memory, now);
        if last_check.elapsed() >= health_check {
            last_check = Instant::now();
            server.check_idle();
        }
    }
    server.stop_all(&pulse).await;
}

/// The refusals that the log has been told of.
#[derive(Default)]
struct Refusals {
    seen: [u64; Reason::ALL.len()],
    told: Option<Instant>,
}

impl Refusals {
    /// Tells what came since the last time, at most every ten seconds.
    fn tell(&mut self, server: &Server) {
        if self.told.is_some_and(|at| at.elapsed() < REFUSALS) {
            return;
        }
        for (reason, count) in server.stats().refusals_since(&mut self.seen) {
            self.told = Some(Instant::now());
            emit(&Event::CallsRefused {
                server: server.name().to_owned(),
                reason: reason.as_str().to_owned(),
                count,
            });
        }
    }
}

impl Server {
    /// Ends the streams that only wait for news: subscriptions, politely, and the standalone
    /// streams of sessions.
    pub fn end_idle_streams(&self) {
        for listen in self.listens() {
            listen.finish();
        }
        for session in self.sessions() {
            session.standalone().close();
        }
    }

    /// Ends the subscriptions of modern clients whose owner is like this.
    pub fn end_listens(&self, like: impl Fn(Option<&str>) -> bool) {
        for listen in self.listens() {
            if like(listen.owner()) {
                listen.finish();
            }
        }
    }

    /// Takes no calls any more and stops the workers; `run` returns when all are gone.
    pub fn stop(&self) {
        self.standing().send_modify(|s| s.stopping = true);
        for era in [Era::Legacy, Era::Modern] {
            self.lane(era).refuse_waiters(&Refusal::draining());
        }
    }

    async fn stop_all(&self, pulse: &Place) {
        loop {
            pulse.beat();
            let (left, starting): (Vec<Arc<Member>>, usize) = {
                let roster = self.roster();
                (
                    roster.members.values().cloned().collect(),
                    roster.starting.len(),
                )
            };
            if left.is_empty() && starting == 0 {
                return;
            }
            for member in left {
                member.worker.stop();
            }
            // Woken by each end; the sleep is for a worker that starts just now.
            tokio::select! {
                () = self.pressure().notified() => {}
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
    }

    /// How long the actor sleeps if nothing happens: `recovery.check_interval`, the net under the
    /// events.
    fn net(&self) -> Duration {
        let config = self.config();
        let (pool, net) = (&config.pool, config.recovery.check_interval);
        if pool.max_age.is_some() || pool.max_calls.is_some() || self.outdated() > 0 {
            net.min(RECYCLE_LOOK)
        } else {
            net
        }
    }

    /// Applies the pool law; returns when to look again.
    fn balance(self: &Arc<Self>) -> Duration {
        let standing = self.standing().borrow().clone();
        let era = self.config().era;
        if era == config::Era::Auto && standing.legacy.is_none() && standing.modern.is_none() {
            // Nothing is known: one worker finds out. Should the question itself be what kills
            // it, now and then one is only initialised.
            let failures = self.roster().restart.failures(Instant::now());
            let opening = match failures % PROBES_IN_A_ROW {
                n if n == PROBES_IN_A_ROW - 1 => Opening::Legacy,
                _ => Opening::Probe,
            };
            let wanted = self.view(Era::Legacy).waiting > 0 || self.has_askers();
            return self.start(1, opening, wanted, 1);
        }
        let mut wait = self.net();
        if standing.legacy == Some(true) || (standing.legacy.is_none() && era == config::Era::Auto)
        {
            let opening = match standing {
                _ if standing.mixed => Opening::Mixed,
                _ if self.no_reinitialize.load(Ordering::Relaxed) => Opening::Fresh,
                _ => Opening::Legacy,
            };
            // One worker tells whether there is a legacy era at all.
            let most = if standing.legacy.is_none() {
                1
            } else {
                usize::MAX
            };
            wait = wait.min(self.keep(Era::Legacy, opening, most));
        }
        if standing.modern == Some(true) && !standing.mixed {
            wait = wait.min(self.keep(Era::Modern, Opening::Modern, usize::MAX));
        }
        wait
    }

    /// Whether somebody waits to learn the era, or whether the breaker is open any more.
    fn has_askers(&self) -> bool {
        self.standing().receiver_count() > 1 || self.patrolling.load(Ordering::Relaxed)
    }

    fn view(&self, era: Era) -> View {
        let service_time = self.stats().median();
        let lane = self.lane(era).look(service_time);
        let roster = self.roster();
        let of_era = |m: &Arc<Member>| match era {
            Era::Legacy => m.locked() != Locked::Modern,
            Era::Modern => m.locked() == Locked::Modern,
        };
        let opened_for = |o: &Opening| match era {
            Era::Legacy => *o != Opening::Modern,
            Era::Modern => *o == Opening::Modern,
        };
        View {
            ready: lane.members,
            idle: lane.idle,
            bound: roster
                .members
                .iter()
                .filter(|(_, m)| m.phase() == Phase::Ready && of_era(m) && m.session().is_some())
                .count(),
            starting: roster.starting.values().filter(|o| opened_for(o)).count(),
            in_flight: lane.in_flight,
            waiting: lane.waiting,
            longest_wait: lane.longest_wait,
            service_time,
            start_time: roster.start_time,
        }
    }

    pub(super) fn law(&self, era: Era) -> Law {
        let pool = &self.config().pool;
        // The era that most clients start with is kept warm; the other when it is asked for.
        let main = match era {
            Era::Legacy => true,
            Era::Modern => {
                self.standing().borrow().legacy == Some(false)
                    || self.modern_wanted.load(Ordering::Relaxed)
            }
        };
        Law {
            min_size: if main {
                pool.min_size
            } else {
                1.min(pool.min_size)
            },
            max_size: if self.guards().is_shedding() {
                // Memory is short: no growth, but what keeps it serving is started again.
                pool.min_size.clamp(1, pool.max_size)
            } else {
                pool.max_size
            },
            concurrency: self.lane(era).concurrency(),
            start_cap: self.shared().start_cap,
            bound: era == Era::Legacy && self.binds_sessions(),
            ..Law::default()
        }
    }

    fn keep(self: &Arc<Self>, era: Era, opening: Opening, most: usize) -> Duration {
        let view = self.view(era);
        let law = self.law(era);
        let total = {
            let roster = self.roster();
            let waiting_to_be_started = roster
                .starting
                .keys()
                .filter(|id| !roster.members.contains_key(id))
                .count();
            // A stuck worker on its way out is not waited for, but no more than one in five at a time.
            let mut stuck = (law.max_size / 5).max(1);
            let living = roster.members.values().filter(|m| {
                let excused = m.is_condemned() && stuck > 0;
                stuck -= usize::from(excused);
                m.phase() != Phase::Gone && !excused
            });
            living.count() + waiting_to_be_started
        };
        // One worker holds the state of all; a server whose processes are locked to one era needs
        // one for each.
        let others = match self.config().state {
            config::State::Shared => 0,
            config::State::None | config::State::Session => {
                total.saturating_sub(view.ready + view.bound + view.starting)
            }
        };
        let owned = view.ready + view.bound + view.starting;
        let room = law.max_size.saturating_sub(owned + others);
        self.lane(era)
            .expect(room > 0, room > 0 || view.starting > 0);
        match decide(view, law, others) {
            Verdict::Start(count) => {
                self.roster().surplus_since.remove(&era);
                let count = count.min(most.saturating_sub(view.ready + view.starting));
                let wanted = view.waiting > 0 || self.has_askers();
                self.start(count, opening, wanted, self.shared().start_cap)
            }
            Verdict::Surplus(_) => self.shrink(era),
            Verdict::Keep => {
                self.roster().surplus_since.remove(&era);
                // A full house with the wrong era: an idle worker of the other one makes room.
                if view.ready + view.starting == 0 && view.waiting > 0 && others > 0 {
                    self.make_room(era);
                }
                self.net()
            }
        }
    }

    fn make_room(&self, era: Era) {
        let other = match era {
            Era::Legacy => Era::Modern,
            Era::Modern => Era::Legacy,
        };
        let idle = self
            .lane(other)
            .members()
            .into_iter()
            .find(|m| m.leases() == 0);
        if let Some(member) = idle {
            self.retire(member.id());
        }
    }

    /// Starts workers if the pace allows it now; returns when to look again.
    fn start(
        self: &Arc<Self>,
        count: usize,
        opening: Opening,
        wanted: bool,
        cap: usize,
    ) -> Duration {
        let now = Instant::now();
        // Before the lock is taken: it looks at the roster too.
        let net = self.net();
        let mut begun = Vec::new();
        {
            let mut roster = self.roster();
            if roster.starting.len() >= cap {
                return net;
            }
            let wait = roster.restart.wait(now, wanted);
            if wait > Duration::ZERO {
                return wait;
            }
            // After a failure one at a time: a broken server must not cost more than it has to.
            let most = if roster.restart.is_failing() { 1 } else { cap };
            let room = most.saturating_sub(roster.starting.len());
            for _ in 0..count.min(room) {
                roster.restart.started(now);
                let id = self.number_worker();
                roster.starting.insert(id, opening);
                begun.push(id);
            }
        }
        for id in begun {
            tokio::spawn(start::run(Arc::clone(self), id, opening));
        }
        net
    }

    /// Ends one idle worker when there have been too many for a while; returns when to look again.
    fn shrink(&self, era: Era) -> Duration {
        let now = Instant::now();
        let left = {
            let mut roster = self.roster();
            let since = *roster.surplus_since.entry(era).or_insert(now);
            let patience = if self.is_trimmed() {
                Duration::ZERO
            } else {
                SURPLUS
            };
            let left = patience.saturating_sub(now.duration_since(since));
            if left.is_zero() {
                roster.surplus_since.remove(&era);
            }
            left
        };
        if !left.is_zero() {
            return left;
        }
        let idle = self
            .lane(era)
            .members()
            .into_iter()
            .filter(|m| m.leases() == 0 && !m.is_pinned(now))
            .max_by_key(|m| m.id());
        if let Some(member) = idle {
            self.retire(member.id());
        }
        // Its end wakes the actor, for the next one.
        self.net()
    }
}
