//! Another configuration for a server that runs: what holds from the next call on is put in place
//! at once; workers that were started by the old one are replaced by `replace`, successors first.
//! Calls in flight keep the rule they were accepted under. It decides nothing: what may be changed
//! in place, and what takes another server, is `config::diff`'s.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::guards::Guards;
use super::member::Phase;
use super::rules::Rules;
use super::server::Server;
use crate::config;
use crate::mcp::era::Era;
use crate::policy::restart::Restart;

impl Server {
    /// Takes a configuration of the same name, era and state in the place of the present one.
    pub fn retune(self: &Arc<Self>, config: config::Server) {
        let before = self.config();
        if *before == config {
            return;
        }
        let bounds = Self::bounds(&config);
        self.set_rules(Rules::retuned(&self.rules(), &config));
        self.guards().retune(&config);
        if let Some(Err(error)) = self
            .group()
            .map(|group| group.set_memory_max(config.memory.hard_limit))
        {
            log::warn!("server {}: {error}", self.name());
        }
        let recovery = &config.recovery;
        let (delay, attempts) = (recovery.restart_delay, recovery.max_restart_attempts);
        let is_renewed = !before.has_same_workers(&config);
        {
            let mut roster = self.roster();
            if is_renewed {
                // How starts of the old program went says nothing about the new one.
                roster.restart = Restart::new(delay, attempts);
            } else {
                roster.restart.retune(delay, attempts);
            }
        }
        self.set_config(config);
        if is_renewed {
            self.no_reinitialize.store(false, Ordering::Relaxed);
            self.standing().send_modify(|s| s.down = None);
        }
        for era in Era::ALL {
            self.lane(era).retune(&bounds);
        }
        for session in self.sessions() {
            if let Some(lane) = session.own_lane() {
                lane.retune(&bounds);
            }
        }
        self.wake();
    }

    /// Workers that run by a configuration that is not in force any more, and by when they go: true
    /// for those that stay until their session ends.
    fn old_workers(&self) -> Vec<bool> {
        let config = self.config();
        let roster = self.roster();
        let members = roster.members.values();
        let old = members.filter(|m| m.phase() == Phase::Ready && m.is_outdated(&config));
        old.map(|m| m.session().is_some()).collect()
    }

    /// Workers that are still to be replaced because of a reload.
    #[must_use]
    pub fn outdated(&self) -> usize {
        self.old_workers().iter().filter(|bound| !**bound).count()
    }

    /// Workers of before the last reload that stay as long as the session they belong to.
    #[must_use]
    pub fn outlived(&self) -> usize {
        self.old_workers().iter().filter(|bound| **bound).count()
    }
}

impl Guards {
    fn retune(&self, config: &config::Server) {
        self.gate().retune(config.breaker.clone());
        self.budget().retune(config.retry);
    }
}
