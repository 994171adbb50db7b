//! How far the daemon goes when it is told that memory is short for itself: a little at once, more
//! while it is told again, and back step by step when nobody says so any more. What the steps are is
//! done elsewhere.

use std::time::{Duration, Instant};

/// What one step gives is waited for before the next.
const STEP: Duration = Duration::from_secs(2);
/// Without a word for this long it goes back by one step.
const CALM: Duration = Duration::from_secs(30);

/// How far it goes; each includes those before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    #[default]
    Well,
    /// What is kept only for convenience goes: answered streams, workers beyond the minimum.
    Trim,
    /// Pools do not grow, and the less important calls are refused.
    Shed,
    /// Connections are closed once they are idle.
    Close,
}

impl Level {
    const ALL: [Self; 4] = [Self::Well, Self::Trim, Self::Shed, Self::Close];

    /// What is done, in words.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::Well => "nothing is held back",
            Self::Trim => "answered streams are dropped, idle workers beyond the minimum end",
            Self::Shed => "pools do not grow, calls of class background are refused",
            Self::Close => "connections are closed when they are idle",
        }
    }

    fn by(self, steps: isize) -> Self {
        let at = (self as usize).saturating_add_signed(steps);
        Self::ALL.get(at).copied().unwrap_or(Self::Close)
    }
}

/// The level, and how it came about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Strain {
    level: Level,
    told: Option<Instant>,
    stepped: Option<Instant>,
}

impl Strain {
    /// It was told that memory is short. Returns what is to be done now, the last step again if there
    /// is none beyond; nothing while the last one has not had its time.
    pub fn told(&mut self, now: Instant) -> Option<Level> {
        self.told = Some(now);
        let early = |at| now.saturating_duration_since(at) < STEP;
        if self.stepped.is_some_and(early) {
            return None;
        }
        self.stepped = Some(now);
        self.level = self.level.by(1);
        Some(self.level)
    }

    /// Time has passed. Returns the level if it is lower now.
    pub fn look(&mut self, now: Instant) -> Option<Level> {
        if now < self.relief()? {
            return None;
        }
        // The next step back takes as long again.
        self.told = Some(now);
        self.level = self.level.by(-1);
        Some(self.level)
    }

    /// When it goes back by a step; `None` if all is well.
    #[must_use]
    pub fn relief(&self) -> Option<Instant> {
        let told = self.told.filter(|_| self.level > Level::Well)?;
        Some(told + CALM)
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, Strain};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// Words at these seconds, and the level after each.
    fn after(words: &[u64]) -> Vec<Option<Level>> {
        let (mut strain, start) = (Strain::default(), Instant::now());
        let told = |at: &u64| strain.told(start + Duration::from_secs(*at));
        words.iter().map(told).collect()
    }

    #[test]
    fn it_goes_further_while_it_is_told_again() {
        use Level::{Close, Shed, Trim};
        let steps = after(&[0, 1, 2, 3, 4, 5, 6]);
        let wanted = [
            Some(Trim),
            None,
            Some(Shed),
            None,
            Some(Close),
            None,
            Some(Close),
        ];
        assert_eq!(steps, wanted);
    }

    #[test]
    fn it_goes_back_by_a_step_each_half_minute_of_silence() {
        let (mut strain, start) = (Strain::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(strain.look(at(0)), None);
        assert_eq!(strain.told(at(0)), Some(Level::Trim));
        assert_eq!(strain.told(at(2)), Some(Level::Shed));
        assert_eq!(strain.told(at(3)), None, "but it counts");
        assert_eq!(strain.look(at(32)), None);
        assert_eq!(strain.look(at(33)), Some(Level::Trim));
        assert_eq!(strain.look(at(62)), None);
        assert_eq!(strain.relief(), Some(at(63)));
        assert_eq!(strain.look(at(63)), Some(Level::Well));
        assert_eq!((strain.relief(), strain.look(at(500))), (None, None));
        assert_eq!(strain.told(at(501)), Some(Level::Trim));
    }

    proptest! {
        #[test]
        fn it_never_steps_up_twice_within_two_seconds_and_always_comes_to_rest(
            gaps in prop::collection::vec((0u64..40_000, any::<bool>()), 1..60),
        ) {
            let (mut strain, mut now) = (Strain::default(), Instant::now());
            let mut last: Option<Instant> = None;
            let mut level = Level::Well;
            for (gap, word) in gaps {
                now += Duration::from_millis(gap);
                let step = if word { strain.told(now) } else { strain.look(now) };
                if let Some(new) = step {
                    if word {
                        prop_assert!(new > level || new == Level::Close);
                        prop_assert!(last.is_none_or(|at| now - at >= Duration::from_secs(2)));
                        last = Some(now);
                    } else {
                        prop_assert!(new < level);
                    }
                    level = new;
                }
            }
            while let Some(at) = strain.relief() {
                prop_assert!(strain.look(at).is_some());
            }
        }
    }
}
