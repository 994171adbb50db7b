//! What the kernel counts about the memory of a cgroup (`memory.events`). Counters only grow while
//! the cgroup is there, and begin at 0 with it.

/// How often each thing happened, in a cgroup or below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// Use was above `memory.high` and the processes were throttled.
    pub high: u64,
    /// Use was about to pass `memory.max`.
    pub max: u64,
    /// Memory could not be had at the limit.
    pub oom: u64,
    /// Processes killed for want of memory, be it of the cgroup, of one above it or of the machine.
    pub oom_kill: u64,
    /// Times that it was killed as a whole (`memory.oom.group`); 0 before Linux 5.17.
    pub oom_group_kill: u64,
}

impl MemoryEvents {
    /// From the kernel's text; what is not there is 0.
    pub(super) fn parse(text: &str) -> Self {
        let mut events = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(name), Some(count)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(count) = count.parse() else {
                continue;
            };
            match name {
                "high" => events.high = count,
                "max" => events.max = count,
                "oom" => events.oom = count,
                "oom_kill" => events.oom_kill = count,
                "oom_group_kill" => events.oom_group_kill = count,
                _ => {}
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_name() {
        let text = "low 0\nhigh 4\nmax 3\noom 2\noom_kill 5\noom_group_kill 1\nsock_throttled 9\n";
        let events = MemoryEvents {
            high: 4,
            max: 3,
            oom: 2,
            oom_kill: 5,
            oom_group_kill: 1,
        };
        assert_eq!(MemoryEvents::parse(text), events);
        // Old kernels have fewer; no text makes more than counters of it.
        for text in ["", "oom_kill", "oom_kill x\n", "oom_kill -1\n"] {
            assert_eq!(MemoryEvents::parse(text), MemoryEvents::default());
        }
    }
}
