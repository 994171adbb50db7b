//! The start options. What they mean is said in `main.rs`; an unknown one ends the process, so that
//! a test with a typing error does not pass by testing nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::die;

const WITH_VALUE: &[&str] = &[
    "--cap",
    "--die-at-start",
    "--die-on",
    "--die-while",
    "--era",
    "--health",
    "--ignore",
    "--junk-start",
    "--lie",
    "--log",
    "--refuse-after",
    "--refuse-as",
    "--relay",
    "--start-cpu",
    "--start-delay",
    "--stderr-flood",
    "--stop-reading-after",
    "--ttl",
    "--wrap",
];
const FLAGS: &[&str] = &[
    "--banner",
    "--create-race",
    "--daemonise",
    "--die-on-discover",
    "--fork-child",
    "--fork-child-group",
    "--ignore-cancel",
    "--never-answer",
    "--no-newline",
    "--orphan",
    "--poison-scratch",
    "--reject-reinit",
    "--serial",
    "--silent-discover",
    "--sleep",
];

pub(crate) struct Options {
    flags: BTreeSet<String>,
    values: BTreeMap<String, String>,
}

impl Options {
    pub(crate) fn parse() -> Self {
        let mut options = Self {
            flags: BTreeSet::new(),
            values: BTreeMap::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            if name == "--help" {
                eprintln!("options: {FLAGS:?}, with a value: {WITH_VALUE:?}; see main.rs");
                die(0);
            } else if WITH_VALUE.contains(&name.as_str()) {
                let value = arguments.next().unwrap_or_default();
                options.values.insert(name, value);
            } else if FLAGS.contains(&name.as_str()) {
                options.flags.insert(name);
            } else {
                eprintln!("chaosworker: unknown option {name}");
                die(64);
            }
        }
        options
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }

    pub(crate) fn ignores(&self, what: &str) -> bool {
        self.value("--ignore")
            .is_some_and(|list| list.split(',').any(|one| one == what))
    }
}
