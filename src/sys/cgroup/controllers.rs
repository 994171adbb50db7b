//! The three controllers a worker is limited by. Which of them a machine offers differs; having
//! none is a state like any other.

/// A set of controllers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controllers {
    /// `memory`: how much it may use, and who is killed when it uses more.
    pub memory: bool,
    /// `pids`: how many processes and threads it may have.
    pub pids: bool,
    /// `cpu`: its share when others want the CPU too.
    pub cpu: bool,
}

impl Controllers {
    /// From a list of names as the kernel writes it. Others are not looked at.
    pub(super) fn parse(text: &str) -> Self {
        let has = |name| text.split_whitespace().any(|word| word == name);
        Self {
            memory: has("memory"),
            pids: has("pids"),
            cpu: has("cpu"),
        }
    }

    /// The names of those in the set.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        self.all()
            .filter_map(|(name, is)| is.then_some(name))
            .collect()
    }

    /// The names of those that are not in the set.
    #[must_use]
    pub fn missing(self) -> Vec<&'static str> {
        self.all()
            .filter_map(|(name, is)| (!is).then_some(name))
            .collect()
    }

    fn all(self) -> impl Iterator<Item = (&'static str, bool)> {
        [
            ("memory", self.memory),
            ("pids", self.pids),
            ("cpu", self.cpu),
        ]
        .into_iter()
    }

    /// What is in both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            memory: self.memory && other.memory,
            pids: self.pids && other.pids,
            cpu: self.cpu && other.cpu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_by_name() {
        let some = Controllers::parse("cpuset cpu io memory hugetlb\n");
        assert_eq!(some.names(), ["memory", "cpu"]);
        assert_eq!(some.missing(), ["pids"]);
        let all = Controllers::parse("pids memory cpu");
        assert_eq!(all.and(some), some);
        assert_eq!(Controllers::parse("cpuset"), Controllers::default());
    }
}
