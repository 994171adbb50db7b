//! What holds for the calls of each tool: how long they may take, whether they may be made twice,
//! how much they matter. Rules of configured tools are made once; every other tool has the server's.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config;
use crate::policy::class::Class;
use crate::policy::permit::Gate;

/// Tools whose annotations are remembered; names come from outside.
const TOOLS: usize = 10_000;

/// What holds for one tool.
#[derive(Debug)]
pub struct Rule {
    /// The tool, where it has a rule of its own.
    pub tool: Option<String>,
    /// How long a call may take.
    pub call_timeout: Duration,
    /// How long it may take with all its progress.
    pub max_call_timeout: Duration,
    /// Whether it may be made twice, where the operator says so.
    pub retry_safe: Option<bool>,
    /// How much it matters, at most.
    pub class: Class,
    /// The tool's own breaker.
    pub gate: Option<Gate>,
    /// Which answers are failures.
    pub failure: Failure,
}

/// Which answers are failures; see `[servers.NAME.failure]`.
#[derive(Debug)]
pub struct Failure {
    pointer: Option<String>,
    equals: Option<String>,
    caller_codes: Vec<i64>,
}

/// JSON-RPC codes that say that the caller made a mistake.
const CALLER_CODES: [i64; 3] = [-32600, -32601, -32602];

impl Failure {
    fn new(tool: Option<&config::Failure>, server: &config::Failure) -> Self {
        let own = |f: &config::Failure| f.pointer.is_some();
        let predicate = tool.filter(|f| own(f)).unwrap_or(server);
        let codes = tool
            .and_then(|f| f.caller_codes.clone())
            .or_else(|| server.caller_codes.clone());
        Self {
            pointer: predicate.pointer.clone(),
            equals: predicate.equals.clone(),
            caller_codes: codes.unwrap_or_else(|| CALLER_CODES.to_vec()),
        }
    }

    /// Whether an error with this code is the caller's own fault.
    #[must_use]
    pub fn is_callers(&self, code: i64) -> bool {
        self.caller_codes.contains(&code)
    }

    /// Whether this result says that it failed although it looks like a success.
    #[must_use]
    pub fn finds(&self, result: &RawValue) -> bool {
        let Some(pointer) = &self.pointer else {
            return false;
        };
        let Ok(root) = serde_json::from_str::<Value>(result.get()) else {
            return false;
        };
        match (follow(root, pointer), &self.equals) {
            (None | Some(Value::Null | Value::Bool(false)), None) | (None, Some(_)) => false,
            (Some(_), None) => true,
            (Some(Value::String(text)), Some(wanted)) => text == *wanted,
            (Some(value), Some(wanted)) => {
                serde_json::to_string(&value).is_ok_and(|v| v == *wanted)
            }
        }
    }
}

/// The value behind a JSON pointer (RFC 6901); a string on the way that holds JSON is read as JSON.
fn follow(mut value: Value, pointer: &str) -> Option<Value> {
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        if let Value::String(text) = &value {
            value = serde_json::from_str(text).ok()?;
        }
        value = match value {
            Value::Object(mut members) => members.remove(&token)?,
            Value::Array(mut items) => {
                let index = token.parse::<usize>().ok().filter(|i| *i < items.len())?;
                items.swap_remove(index)
            }
            _ => return None,
        };
    }
    Some(value)
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
        let rule = |name: Option<&str>, tool: &config::Tool, listed: bool| {
            Arc::new(Rule {
                tool: name.map(ToOwned::to_owned),
                call_timeout: tool.call_timeout.unwrap_or(config.call_timeout),
                max_call_timeout: config
                    .max_call_timeout
                    .max(tool.call_timeout.unwrap_or_default()),
                retry_safe: tool.retry_safe.or(listed.then_some(true)),
                class: tool.class.unwrap_or(Class::Critical),
                gate: tool.breaker.clone().map(Gate::new),
                failure: Failure::new(tool.failure.as_ref(), &config.failure),
            })
        };
        let mut tools: HashMap<String, Arc<Rule>> = config
            .tools
            .iter()
            .map(|(name, tool)| {
                let listed = config.retry_safe.contains(name);
                (name.clone(), rule(Some(name), tool, listed))
            })
            .collect();
        for name in &config.retry_safe {
            tools
                .entry(name.clone())
                .or_insert_with(|| rule(Some(name), &config::Tool::default(), true));
        }
        Self {
            common: rule(None, &config::Tool::default(), false),
            tools,
            trusted: config.trust_annotations,
            annotated_safe: RwLock::default(),
        }
    }

    /// The rules that another configuration asks for. Breakers go on with what they know, and so do
    /// annotations.
    #[must_use]
    pub fn retuned(&self, config: &config::Server) -> Self {
        let mut rules = Self::new(config);
        for (name, gate) in self.gated() {
            let asked = config.tools.get(name).and_then(|t| t.breaker.clone());
            let (Some(settings), Some(rule)) = (asked, rules.tools.get_mut(name)) else {
                continue;
            };
            gate.retune(settings);
            if let Some(rule) = Arc::get_mut(rule) {
                rule.gate = Some(gate.clone());
            }
        }
        if rules.trusted && self.trusted {
            let known = self.annotated_safe.read();
            let known = known.unwrap_or_else(PoisonError::into_inner).clone();
            rules.annotated_safe = RwLock::new(known);
        }
        rules
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

    /// The rules of tools that have a breaker of their own.
    pub fn gated(&self) -> impl Iterator<Item = (&str, &Gate)> {
        let tools = self.tools.iter();
        tools.filter_map(|(name, rule)| Some((name.as_str(), rule.gate.as_ref()?)))
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

#[cfg(test)]
mod tests {
    use super::Failure;
    use crate::config;
    use serde_json::value::RawValue;

    fn finds(pointer: &str, equals: Option<&str>, result: &str) -> bool {
        let failure = config::Failure {
            pointer: Some(pointer.to_owned()),
            equals: equals.map(ToOwned::to_owned),
            caller_codes: None,
        };
        let raw = RawValue::from_string(result.to_owned()).unwrap();
        Failure::new(None, &failure).finds(&raw)
    }

    #[test]
    fn an_error_inside_a_success_is_found() {
        let hidden = r#"{"content":[{"type":"text","text":"{\"status\":\"error\"}"}]}"#;
        assert!(finds("/content/0/text/status", Some("error"), hidden));
        assert!(!finds("/content/0/text/status", Some("fatal"), hidden));
        assert!(!finds("/content/1/text/status", Some("error"), hidden));
        assert!(!finds("/content/0/text/status", None, "{}"));
        assert!(finds("/error", None, r#"{"error":{}}"#));
        assert!(!finds("/error", None, r#"{"error":null}"#));
        assert!(finds("/a~1b", Some("3"), r#"{"a/b":3}"#));
    }

    #[test]
    fn which_codes_are_the_callers_fault_can_be_told() {
        let server = config::Failure::default();
        assert!(Failure::new(None, &server).is_callers(-32602));
        let tool = config::Failure {
            caller_codes: Some(vec![-1]),
            ..config::Failure::default()
        };
        let both = Failure::new(Some(&tool), &server);
        assert!(both.is_callers(-1) && !both.is_callers(-32602));
    }
}
