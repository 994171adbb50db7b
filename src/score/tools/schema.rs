//! Shorthand for the JSON Schemas of the tools.

use serde_json::{Map, Value, json};

/// An object with exactly these properties, all of them required but those in `optional`.
pub(super) fn object(properties: Value, optional: &[&str]) -> Value {
    let properties = match properties {
        Value::Object(properties) => properties,
        _ => Map::new(),
    };
    let required: Vec<_> = properties
        .keys()
        .filter(|name| !optional.contains(&name.as_str()))
        .cloned()
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// A value of one type with a description.
pub(super) fn typed(kind: &str, description: &str) -> Value {
    json!({ "type": kind, "description": description })
}

/// A count, 0 or more.
pub(super) fn count(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

/// The id of a score that is there.
pub(super) fn score_id() -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": super::arguments::MAX_ID,
        "description": "Id of the score",
    })
}

/// A value or null.
pub(super) fn or_null(kind: &str, description: &str) -> Value {
    json!({ "type": [kind, "null"], "description": description })
}

/// A list of values.
pub(super) fn list(items: Value, description: &str) -> Value {
    json!({ "type": "array", "items": items, "description": description })
}
