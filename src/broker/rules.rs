//! What holds for the calls of each tool: how long they may take, whether they may be made twice,
//! how much they matter. Rules of configured tools are made once; every other tool has the server's.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config;
use crate::policy::class::Class;

/// Tools whose annotations are remembered; names come from outside.
const TOOLS: usize = 10_000;

/// What holds for one tool.
#[derive(Debug)]
pub struct Rule {
    /// How long a call may take.
    pub call_timeout: Duration,
    /// How long it may take with all its progress.
    pub max_call_timeout: Duration,
    /// Whether it may be made twice, where the operator says so.
    pub retry_safe: Option<bool>,
    /// How much it matters, at most.
    pub class: Class,
}

/// The rules of one server.
#[derive(Debug)]
pub struct Rules {
    common: Arc<Rule>,
    tools: HashMap<String, Arc<Rule>>,
    trusted: bool,
    annotated_safe: RwLock<BTreeSet<String>>,
}

impl Rules {
    /// The rules that a configuration asks for.
    #[must_use]
    pub fn new(config: &config::Server) -> Self {
        let rule = |tool: &config::Tool, listed: bool| {
            Arc::new(Rule {
                call_timeout: tool.call_timeout.unwrap_or(config.call_timeout),
                max_call_timeout: config
                    .max_call_timeout
                    .max(tool.call_timeout.unwrap_or_default()),
                retry_safe: tool.retry_safe.or(listed.then_some(true)),
                class: tool.class.unwrap_or(Class::Critical),
            })
        };
        let mut tools: HashMap<String, Arc<Rule>> = config
            .tools
            .iter()
            .map(|(name, tool)| (name.clone(), rule(tool, config.retry_safe.contains(name))))
            .collect();
        for name in &config.retry_safe {
            tools
                .entry(name.clone())
                .or_insert_with(|| rule(&config::Tool::default(), true));
        }
        Self {
            common: rule(&config::Tool::default(), false),
            tools,
            trusted: config.trust_annotations,
            annotated_safe: RwLock::default(),
        }
    }

    /// The rule for a tool by its raw JSON name; for everything else the common one.
    #[must_use]
    pub fn of(&self, tool: Option<&[u8]>) -> &Arc<Rule> {
        if self.tools.is_empty() {
            return &self.common;
        }
        let found = tool
            .and_then(|raw| std::str::from_utf8(raw).ok())
            .and_then(|raw| match raw.strip_prefix('"')?.strip_suffix('"')? {
                plain if !plain.contains('\\') => self.tools.get(plain),
                _ => self.tools.get(&serde_json::from_str::<String>(raw).ok()?),
            });
        found.unwrap_or(&self.common)
    }

    /// Whether annotations are worth asking for.
    #[must_use]
    pub fn trusts_annotations(&self) -> bool {
        self.trusted
    }

    /// Takes the annotations of the tools in a `tools/list` result, if they are trusted.
    pub fn learn(&self, result: &RawValue) {
        #[derive(Deserialize)]
        struct List {
            #[serde(default)]
            tools: Vec<Tool>,
        }
        #[derive(Deserialize)]
        struct Tool {
            name: String,
            #[serde(default)]
            annotations: Hints,
        }
        #[derive(Deserialize, Default)]
        struct Hints {
            #[serde(rename = "readOnlyHint", default)]
            read_only: Option<bool>,
            #[serde(rename = "idempotentHint", default)]
            idempotent: Option<bool>,
        }
        if !self.trusted {
            return;
        }
        let Ok(list) = serde_json::from_str::<List>(result.get()) else {
            return;
        };
        let mut safe = self
            .annotated_safe
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for tool in list.tools {
            let hinted = [tool.annotations.read_only, tool.annotations.idempotent];
            if !hinted.contains(&Some(true)) {
                safe.remove(&tool.name);
            } else if safe.len() < TOOLS {
                safe.insert(tool.name);
            }
        }
    }

    /// Whether the worker itself says that calls of this tool may be made twice, and is believed.
    #[must_use]
    pub fn is_annotated_safe(&self, tool: &str) -> bool {
        self.annotated_safe
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(tool)
    }
}
