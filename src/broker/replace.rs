//! Workers that are replaced although they live: old ones, those that a reload has made outdated,
//! those an operator wants gone, those that run without their full environment, idle ones that give no sign of life. The successor comes
//! first wherever the pool would serve nobody otherwise. Starting for want of workers is
//! `supervise`'s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handshake::{self, Opening};
use super::member::{Locked, Member, Phase};
use super::server::{Replacement, Server};
use super::start;
use super::stats::bump;
use crate::config;
use crate::mcp::era::Era;
use crate::observe::event::{Event, emit};
use crate::policy::pool::recycle_token;

impl Server {
    /// Replaces workers that are due for it, a few at a time and successors first. Never under state
    /// that somebody still needs.
    pub(super) fn recycle(self: &Arc<Self>) {
        let config = self.config();
        let now = Instant::now();
        let is_well = {
            let roster = self.roster();
            roster.restart.failures(now) == 0
        };
        for era in [Era::Legacy, Era::Modern] {
            for member in self.lane(era).members() {
                // There is no hurry: a successor waits for the starts that the pool needs.
                if self.roster().starting.len() >= self.shared().start_cap {
                    return;
                }
                let due = self
                    .due(&member, &config, is_well)
                    .filter(|_| !member.is_pinned(now));
                if due.is_some_and(|reason| !self.replace(&member, &reason)) {
                    return;
                }
            }
        }
    }

    /// Why a worker should be replaced, if it should.
    fn due(&self, member: &Member, config: &Arc<config::Server>, is_well: bool) -> Option<String> {
        if member.is_outdated(config) {
            return Some("was started by a configuration that is not in force any more".to_owned());
        }
        if config.state == config::State::Shared {
            return None;
        }
        let pool = &config.pool;
        if pool.max_calls.is_some_and(|max| member.served() >= max) {
            return Some(format!("has served {} calls", member.served()));
        }
        if pool.max_age.is_some_and(|max| member.age() > max) {
            return Some(format!("is {} s old", member.age().as_secs()));
        }
        // What it was started without may be what its tools need: back to normal, once starts
        // have not failed for a while.
        (member.is_bare() && is_well).then(|| "runs without the variables of env_pass".to_owned())
    }

    /// Starts the successor of a worker, which ends once that one is ready and its calls are done.
    /// One or a fifth of the pool at a time; false if as many are being replaced just now, or starts
    /// are paced.
    pub(super) fn replace(self: &Arc<Self>, member: &Arc<Member>, reason: &str) -> bool {
        let opening = match member.locked() {
            Locked::Modern => Opening::Modern,
            Locked::Mixed => Opening::Mixed,
            Locked::Legacy => Opening::Legacy,
            Locked::Fresh => Opening::Fresh,
        };
        let now = Instant::now();
        let successor = {
            let mut roster = self.roster();
            let busy = roster.replacing.len() >= recycle_token(self.config().pool.max_size);
            let known = roster.replacing.iter().any(|r| r.old == member.id());
            if busy || known || roster.restart.wait(now, true) > Duration::ZERO {
                return false;
            }
            let successor = self.number_worker();
            roster.restart.started(now);
            roster.starting.insert(successor, opening);
            roster.replacing.push(Replacement {
                old: member.id(),
                successor,
            });
            successor
        };
        emit(&Event::WorkerRecycled {
            server: self.name().to_owned(),
            worker: member.id(),
            reason: reason.to_owned(),
        });
        bump(&self.stats().recycled);
        tokio::spawn(start::run(Arc::clone(self), successor, opening));
        true
    }

    /// Takes a worker out of service once its calls are done. One that has given no sign of life
    /// is not waited for.
    pub(super) fn retire(&self, id: u64) {
        let Some(member) = self.roster().members.get(&id).cloned() else {
            return;
        };
        member.enter(Phase::Draining);
        self.leave_lanes(&member);
        if member.is_suspect() {
            member.worker.kill();
            return;
        }
        tokio::spawn(async move {
            while member.leases() > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            member.worker.stop();
        });
    }

    /// Asks idle workers for a sign of life. A busy one is never asked: its calls will tell.
    pub(super) fn check_idle(self: &Arc<Self>) {
        let members: Vec<Arc<Member>> = self.roster().members.values().cloned().collect();
        for member in members {
            if member.phase() != Phase::Ready
                || member.leases() > 0
                || member.locked() == Locked::Fresh
            {
                continue;
            }
            let server = Arc::clone(self);
            tokio::spawn(async move {
                let patience = server.config().start_timeout;
                let answer = handshake::is_alive(&member, patience).await;
                if let Err(what) = answer {
                    server.eject(&member, &what.to_string());
                }
            });
        }
    }

    /// Ends an idle worker that gave no sign of life. The last ones that serve stay until there is
    /// a successor: it may be the machine that is slow, and then all of them are.
    fn eject(self: &Arc<Self>, member: &Arc<Member>, what: &str) {
        let last = {
            let roster = self.roster();
            if member.leases() > 0 || member.worker.is_stopping() || member.phase() != Phase::Ready
            {
                return;
            }
            let is_modern = |m: &Member| m.locked() == Locked::Modern;
            let era = if is_modern(member) {
                Era::Modern
            } else {
                Era::Legacy
            };
            let others = roster.members.values().filter(|m| {
                m.id() != member.id()
                    && m.phase() == Phase::Ready
                    && m.session().is_none()
                    && is_modern(m) == is_modern(member)
                    && !m.worker.is_stopping()
            });
            let others = others.count();
            let own = member.session().is_some() || self.config().state == config::State::Shared;
            let last = !own && others < self.law(era).min_serving;
            if !last {
                // Under the lock: two that are asked at a time must not count on each other.
                member.worker.kill();
            }
            last
        };
        log::warn!(
            "server {}: worker {} was asked for a sign of life, {what}; it is replaced",
            self.name(),
            member.id()
        );
        if last {
            member.suspect();
            self.replace(member, "gave no sign of life");
        }
    }
}
