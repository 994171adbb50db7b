//! The permits of a half-open breaker: one at first, twice as many each time all of a stage have
//! succeeded, up to a maximum; when a full stage has succeeded the ramp is climbed. A permit that
//! nobody settles is free again at its deadline, so a call that hangs holds up nobody for ever.

use std::time::{Duration, Instant};

/// Longest hint to a call that finds no free permit: a probe usually ends much sooner than at its
/// deadline.
const HINT: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug)]
struct Probe {
    serial: u64,
    deadline: Instant,
}

/// How far a half-open breaker is.
#[derive(Clone, Debug)]
pub(super) struct Ramp {
    most: u32,
    /// Permits of the present stage.
    stage: u32,
    /// Probes of this stage that succeeded.
    passed: u32,
    out: Vec<Probe>,
    serial: u64,
    /// Probes that succeeded in all.
    pub(super) climbed: u32,
    /// No probe before.
    pub(super) not_before: Option<Instant>,
}

impl Ramp {
    /// Stages of 1, 2, 4 and so on, the last one of `most`.
    pub(super) fn new(most: u32) -> Self {
        Self {
            most: most.max(1),
            stage: 1,
            passed: 0,
            out: Vec::new(),
            serial: 0,
            climbed: 0,
            not_before: None,
        }
    }

    /// A permit until `deadline`, or how long to wait for one.
    pub(super) fn take(&mut self, now: Instant, deadline: Instant) -> Result<u64, Duration> {
        if let Some(until) = self.not_before.filter(|until| now < *until) {
            return Err(until - now);
        }
        if self.free() == 0 {
            self.out.retain(|probe| probe.deadline > now);
        }
        if self.free() == 0 {
            let first = self.out.iter().map(|probe| probe.deadline).min();
            let wait = first.map_or(HINT, |first| first.saturating_duration_since(now));
            return Err(wait.min(HINT));
        }
        self.serial += 1;
        let serial = self.serial;
        self.out.push(Probe { serial, deadline });
        Ok(serial)
    }

    /// Takes a permit back; false if it was taken back before.
    pub(super) fn give_back(&mut self, serial: u64) -> bool {
        let found = self.out.iter().position(|probe| probe.serial == serial);
        found.map(|at| self.out.swap_remove(at)).is_some()
    }

    /// A probe succeeded; true if it was the last one needed.
    pub(super) fn pass(&mut self, serial: u64) -> bool {
        if !self.give_back(serial) {
            return false;
        }
        self.passed += 1;
        self.climbed = self.climbed.saturating_add(1);
        if self.passed < self.stage {
            return false;
        }
        let last = self.stage == self.most;
        self.stage = self.stage.saturating_mul(2).min(self.most);
        self.passed = 0;
        last
    }

    fn free(&self) -> u32 {
        let out = u32::try_from(self.out.len()).unwrap_or(u32::MAX);
        self.stage.saturating_sub(self.passed.saturating_add(out))
    }
}
