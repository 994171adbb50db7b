//! What an operator changes: modes of breakers, a worker, a server's traffic, the quarantine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::catalog::Catalog;
use super::control::{BreakerMode, Control, Impossible};
use super::member::{Member, Phase};
use super::server::Server;
use super::snapshot::LimitStatus;
use crate::observe::event::{Event, emit};
use crate::policy::breaker::Mode;
use crate::policy::permit::Gate;
use crate::policy::quarantine::Digest;

impl From<BreakerMode> for Mode {
    fn from(mode: BreakerMode) -> Self {
        match mode {
            BreakerMode::Open => Self::ForcedOpen,
            BreakerMode::Closed => Self::ForcedClosed,
            BreakerMode::Auto => Self::Auto,
            BreakerMode::Shadow => Self::Shadow,
        }
    }
}

impl Catalog {
    fn find(&self, name: &str) -> Result<Arc<Server>, Impossible> {
        self.named(name).ok_or_else(|| {
            Impossible(format!(
                "there is no server {name}; there is {}",
                self.names().join(", ")
            ))
        })
    }
}

impl Control for Catalog {
    fn set_breaker(
        &self,
        server: &str,
        tool: Option<&str>,
        mode: BreakerMode,
        expires: Option<Duration>,
        author: &str,
        reason: &str,
    ) -> Result<(), Impossible> {
        let server = self.find(server)?;
        let gate = server.gate_of(tool)?;
        let now = Instant::now();
        let mode = Mode::from(mode);
        let until = expires.map(|span| now + span);
        let change = gate.force(now, mode, author, reason, until);
        emit(&Event::BreakerSet {
            server: server.name().to_owned(),
            tool: tool.map(ToOwned::to_owned),
            mode: mode.as_str(),
            author: author.to_owned(),
            reason: reason.to_owned(),
            expires,
        });
        if let Some(mut change) = change {
            if mode == Mode::ForcedOpen {
                // It probes nothing while an operator holds it open.
                change.retry_in = expires;
            }
            server.report(tool, change);
        }
        server.wake();
        Ok(())
    }

    fn recycle(&self, worker: u64) -> Result<String, Impossible> {
        for server in self.every() {
            let member = server.roster().members.get(&worker).cloned();
            if let Some(member) = member {
                server.recycle_by_hand(&member)?;
                return Ok(server.name().to_owned());
            }
        }
        Err(Impossible(format!(
            "there is no worker {worker}; see `mainstayctl workers`"
        )))
    }

    fn drain(&self, server: &str, on: bool) -> Result<usize, Impossible> {
        let server = self.find(server)?;
        let members: Vec<Arc<Member>> = server.roster().members.values().cloned().collect();
        let in_flight = members.iter().map(|m| m.leases()).sum();
        if server.guards().set_drained(on) {
            emit(&Event::ServerDrained {
                server: server.name().to_owned(),
                on,
                in_flight,
            });
        }
        Ok(in_flight)
    }

    fn clear_quarantine(&self, server: &str, digest: Option<&str>) -> Result<usize, Impossible> {
        let server = self.find(server)?;
        let which = match digest {
            None => None,
            Some(text) => Some(Digest::parse(text).ok_or_else(|| {
                Impossible(format!(
                    "{text} is no digest; it has 16 hexadecimal digits, see `mainstayctl quarantine`"
                ))
            })?),
        };
        let count = server.guards().clear_quarantine(Instant::now(), which);
        if let (0, Some(digest)) = (count, digest) {
            return Err(Impossible(format!(
                "no call with the digest {digest} is quarantined at {}",
                server.name()
            )));
        }
        emit(&Event::QuarantineCleared {
            server: server.name().to_owned(),
            count,
        });
        Ok(count)
    }

    #[cfg(feature = "fault")]
    fn fault(&self, part: crate::fault::Part, time: Duration) -> Result<(), Impossible> {
        log::warn!("a fault on purpose begins: {part:?} stands still for {time:?}");
        let server = self.all().first().cloned();
        crate::fault::begin(part, time, move |time| {
            if let Some(server) = server {
                server.lane(crate::mcp::era::Era::Legacy).freeze(time);
            }
        });
        Ok(())
    }

    fn limits(&self, most: usize) -> Vec<LimitStatus> {
        let servers = self.all();
        let configs: Vec<_> = servers.iter().map(|s| s.config()).collect();
        let configs = configs.iter().map(AsRef::as_ref);
        match servers.first() {
            Some(first) => first.shared().limits.status(most, configs, Instant::now()),
            None => Vec::new(),
        }
    }
}

impl Server {
    fn gate_of(&self, tool: Option<&str>) -> Result<Gate, Impossible> {
        let Some(tool) = tool else {
            return Ok(self.guards().gate().clone());
        };
        let rules = self.rules();
        let found = rules.gated().find(|(name, _)| *name == tool);
        found.map(|(_, gate)| gate.clone()).ok_or_else(|| {
            Impossible(format!(
                "tool {tool} of server {0} has no breaker of its own; give it one with [servers.{0}.tools.{tool}.breaker]",
                self.name()
            ))
        })
    }

    fn recycle_by_hand(self: &Arc<Self>, member: &Arc<Member>) -> Result<(), Impossible> {
        if member.phase() != Phase::Ready || member.worker.is_stopping() {
            return Err(Impossible(format!(
                "worker {} is not ready; nothing to replace",
                member.id()
            )));
        }
        if member.session().is_some() {
            // Its session gets another one when it is gone.
            member.worker.stop();
            return Ok(());
        }
        if self.replace(member, "was asked to go by an operator") {
            Ok(())
        } else {
            Err(Impossible(format!(
                "server {} is replacing another worker just now, or its starts fail; try again when \
                 that is over",
                self.name()
            )))
        }
    }
}
