//! Which arguments of which tools are mirrored in `Mcp-Param-*` headers (`x-mcp-header` in a
//! tool's input schema, MCP 2026-07-28): learned from the answers to `tools/list`.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// One mirrored argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// The header, in lower case, such as `mcp-param-region`.
    pub header: String,
    /// Where the argument stands: property names from the outside in.
    pub path: Vec<String>,
}

/// The rules, by tool.
#[derive(Debug, Default)]
pub struct ToolHeaders {
    tools: RwLock<HashMap<String, Arc<[Mirrored]>>>,
}

/// Tools remembered; names come from outside.
const TOOLS: usize = 10_000;
/// Nesting of properties looked at.
const DEPTH: usize = 8;

impl ToolHeaders {
    /// Takes the rules of the tools in a `tools/list` result.
    pub fn learn(&self, result: &RawValue) {
        #[derive(Deserialize)]
        struct List<'a> {
            #[serde(borrow, default)]
            tools: Vec<Tool<'a>>,
        }
        #[derive(Deserialize)]
        struct Tool<'a> {
            name: String,
            #[serde(rename = "inputSchema", borrow, default)]
            schema: Option<&'a RawValue>,
        }
        let Ok(list) = serde_json::from_str::<List<'_>>(result.get()) else {
            return;
        };
        let mut tools = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        for tool in list.tools {
            let schema = tool.schema.map(RawValue::get).unwrap_or_default();
            let mut found = Vec::new();
            if schema.contains("x-mcp-header") {
                if let Ok(schema) = serde_json::from_str::<Value>(schema) {
                    collect(&schema, &mut Vec::new(), &mut found);
                }
            }
            if found.is_empty() {
                tools.remove(&tool.name);
            } else if tools.len() < TOOLS || tools.contains_key(&tool.name) {
                tools.insert(tool.name, found.into());
            }
        }
    }

    /// The rules of one tool.
    #[must_use]
    pub fn of(&self, tool: &str) -> Option<Arc<[Mirrored]>> {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        tools.get(tool).map(Arc::clone)
    }
}

fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Mirrored>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    for (name, property) in properties {
        path.push(name.clone());
        if let Some(header) = property.get("x-mcp-header").and_then(Value::as_str) {
            found.push(Mirrored {
                header: format!("mcp-param-{}", header.to_ascii_lowercase()),
                path: path.clone(),
            });
        }
        if path.len() < DEPTH {
            collect(property, path, found);
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::{Mirrored, ToolHeaders};
    use serde_json::value::RawValue;

    #[test]
    fn rules_are_learned_and_forgotten_with_the_list() {
        let headers = ToolHeaders::default();
        let list = |schema: &str| {
            RawValue::from_string(format!(
                r#"{{"tools":[{{"name":"t","inputSchema":{schema}}}]}}"#
            ))
            .unwrap()
        };
        headers.learn(&list(
            r#"{"properties":{"a":{"properties":{"b":{"x-mcp-header":"Region"}}},"c":{}}}"#,
        ));
        assert_eq!(
            headers.of("t").as_deref(),
            Some(
                &[Mirrored {
                    header: "mcp-param-region".into(),
                    path: vec!["a".into(), "b".into()]
                }][..]
            )
        );
        headers.learn(&list(r#"{"properties":{}}"#));
        assert_eq!(headers.of("t"), None);
    }
}
