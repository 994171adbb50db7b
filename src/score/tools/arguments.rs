//! What a caller passed to a tool, checked against the tool's own schema.

use serde_json::{Map, Value};

/// The longest id of a score, in characters.
pub(super) const MAX_ID: usize = 128;

/// Arguments whose names and types fit the tool's schema.
pub(super) struct Arguments<'a> {
    given: &'a Map<String, Value>,
}

impl<'a> Arguments<'a> {
    /// Checks `given` against the properties of `schema`: unknown, missing and mistyped ones are
    /// refused by name, so that the schema a client reads is the one that is enforced.
    pub(super) fn new(
        tool: &str,
        schema: &Value,
        given: &'a Map<String, Value>,
    ) -> Result<Self, String> {
        let known = schema["properties"].as_object();
        for (name, value) in given {
            let Some(property) = known.and_then(|known| known.get(name)) else {
                let names: Vec<_> = known
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| name.as_str())
                    .collect();
                let names = if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                };
                return Err(format!(
                    "{name}: {tool} has no such argument; it takes {names}"
                ));
            };
            if !fits(property, value) {
                return Err(format!(
                    "{name}: {} was expected, not {}",
                    expected(property),
                    shown(value)
                ));
            }
        }
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !given.contains_key(name) {
                return Err(format!("{name}: {tool} needs this argument"));
            }
        }
        Ok(Self { given })
    }

    /// A string argument; empty if it was left out.
    pub(super) fn text(&self, name: &str) -> &'a str {
        self.given
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// An argument as it came.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.given.get(name)
    }

    /// The id of a score that is to be made.
    pub(super) fn new_id(&self, name: &str) -> Result<&'a str, String> {
        let id = self.text(name);
        check_id(id).map_err(|what| format!("{name}: {what}"))?;
        Ok(id)
    }
}

/// Whether `id` may name a new score.
pub(super) fn check_id(id: &str) -> Result<(), String> {
    let length = id.chars().count();
    if length == 0 || length > MAX_ID {
        return Err(format!("an id has 1 to {MAX_ID} characters, not {length}"));
    }
    if id == "*" {
        return Err("\"*\" means every score and cannot name one".into());
    }
    if id.chars().any(char::is_control) || id.trim() != id {
        return Err("an id has no control characters and no space at its ends".into());
    }
    Ok(())
}

/// Whether a value fits a property: its type (one or several) and its list of values.
fn fits(property: &Value, value: &Value) -> bool {
    let one = |kind: &str| match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        _ => false,
    };
    let kind = match &property["type"] {
        Value::String(kind) => one(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(one),
        _ => false,
    };
    let listed = property["enum"].as_array();
    kind && listed.is_none_or(|listed| listed.contains(value))
}

fn expected(property: &Value) -> String {
    if let Some(listed) = property["enum"].as_array() {
        let listed: Vec<_> = listed.iter().filter_map(Value::as_str).collect();
        return format!("one of {}", listed.join(", "));
    }
    match &property["type"] {
        Value::Array(kinds) => {
            let kinds: Vec<_> = kinds.iter().filter_map(Value::as_str).collect();
            format!("a {}", kinds.join(" or an "))
        }
        kind => format!("a {}", kind.as_str().unwrap_or("value")),
    }
}

/// A value in an error, cut so that a large one cannot fill the answer.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
