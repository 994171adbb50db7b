//! The few members of `params` that a proxy reads: routing, cancellation, progress, versions.
//! Everything is optional and borrowed; what is not listed here is nobody's business.

use serde::Deserialize;
use serde_json::value::RawValue;

/// `params` of any request or notification.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct Params<'a> {
    /// Metadata; see [`Meta`].
    #[serde(rename = "_meta", borrow, default)]
    pub meta: Option<&'a RawValue>,
    /// Tool or prompt.
    #[serde(borrow, default)]
    pub name: Option<&'a RawValue>,
    /// Resource.
    #[serde(borrow, default)]
    pub uri: Option<&'a RawValue>,
    /// Arguments of a tool.
    #[serde(borrow, default)]
    pub arguments: Option<&'a RawValue>,
    /// State of a multi-round-trip request, minted by one worker.
    #[serde(rename = "requestState", borrow, default)]
    pub request_state: Option<&'a RawValue>,
    /// Task, minted by one worker.
    #[serde(rename = "taskId", borrow, default)]
    pub task_id: Option<&'a RawValue>,
    /// The request that `notifications/cancelled` is about.
    #[serde(rename = "requestId", borrow, default)]
    pub request_id: Option<&'a RawValue>,
    /// The token of `notifications/progress`.
    #[serde(rename = "progressToken", borrow, default)]
    pub progress_token: Option<&'a RawValue>,
    /// The version `initialize` asks for.
    #[serde(rename = "protocolVersion", borrow, default)]
    pub protocol_version: Option<&'a RawValue>,
    /// Capabilities a client declares in `initialize`.
    #[serde(borrow, default)]
    pub capabilities: Option<&'a RawValue>,
    /// Log level.
    #[serde(borrow, default)]
    pub level: Option<&'a RawValue>,
}

/// `params._meta`.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct Meta<'a> {
    /// Unique per sender; rewritten when clients share a worker.
    #[serde(rename = "progressToken", borrow, default)]
    pub progress_token: Option<&'a RawValue>,
    /// Modern era: revision of this request.
    #[serde(rename = "io.modelcontextprotocol/protocolVersion", borrow, default)]
    pub protocol_version: Option<&'a RawValue>,
    /// Modern era: what the client can do.
    #[serde(rename = "io.modelcontextprotocol/clientCapabilities", borrow, default)]
    pub client_capabilities: Option<&'a RawValue>,
    /// Modern era: opts in to `notifications/message`.
    #[serde(rename = "io.modelcontextprotocol/logLevel", borrow, default)]
    pub log_level: Option<&'a RawValue>,
    /// Modern era: the listen a notification belongs to.
    #[serde(rename = "io.modelcontextprotocol/subscriptionId", borrow, default)]
    pub subscription_id: Option<&'a RawValue>,
}

/// Reads `params`; absent or unreadable ones (not an object, duplicate members) give `None`.
#[must_use]
pub fn params(raw: Option<&RawValue>) -> Option<Params<'_>> {
    object(raw?)
}

/// Reads an object into a struct. Without looking, serde would also take an array for one, its
/// items for the members in their order.
#[must_use]
pub fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    if !raw.get().starts_with('{') {
        return None;
    }
    serde_json::from_str(raw.get()).ok()
}

/// Reads the `_meta` of `params`, or that of a result, which has the same shape.
#[must_use]
pub fn meta<'a>(params: &Params<'a>) -> Option<Meta<'a>> {
    object(params.meta?)
}

/// A JSON string's value; `None` if it is something else.
#[must_use]
pub fn text(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

/// A JSON value that must be an object.
#[must_use]
pub fn is_object(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|r| r.get().starts_with('{'))
}

/// Whether the result of a `tools/call` says `isError: true`.
#[must_use]
pub fn is_error(result: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Said {
        #[serde(rename = "isError", default)]
        is_error: bool,
    }
    // Most results do not say so, and reading them is dear.
    memchr::memmem::find(result.get().as_bytes(), b"\"isError\"").is_some()
        && object::<Said>(result).is_some_and(|said| said.is_error)
}

/// Members of a `result` that bind later requests to the worker that made it.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct Affinity<'a> {
    /// Multi-round-trip state (2026-07-28).
    #[serde(rename = "requestState", borrow, default)]
    pub request_state: Option<&'a RawValue>,
    /// Task id, modern extension.
    #[serde(rename = "taskId", borrow, default)]
    pub task_id: Option<&'a RawValue>,
    /// Task object, 2025-11-25.
    #[serde(borrow, default)]
    pub task: Option<&'a RawValue>,
    /// Metadata.
    #[serde(rename = "_meta", borrow, default)]
    pub meta: Option<&'a RawValue>,
}

/// The keys a result binds to its worker: states and task ids, as raw JSON.
#[must_use]
pub fn affinity(result: &RawValue) -> Vec<&RawValue> {
    let text = result.get().as_bytes();
    if memchr::memmem::find(text, b"\"requestState\"").is_none()
        && memchr::memmem::find(text, b"\"taskId\"").is_none()
    {
        return Vec::new();
    }
    let Some(found) = object::<Affinity<'_>>(result) else {
        return Vec::new();
    };
    let nested = found
        .task
        .and_then(object::<Affinity<'_>>)
        .and_then(|t| t.task_id);
    [found.request_state, found.task_id, nested]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{affinity, meta, params};
    use serde_json::value::RawValue;

    #[test]
    fn states_and_tasks_are_found_where_they_may_stand() {
        let keys = |json: &str| {
            let raw = RawValue::from_string(json.to_owned()).unwrap();
            affinity(&raw)
                .iter()
                .map(|k| k.get().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            keys(r#"{"resultType":"input_required","requestState":"s"}"#),
            ["\"s\""]
        );
        assert_eq!(
            keys(r#"{"resultType":"task","taskId":"t","ttlMs":1}"#),
            ["\"t\""]
        );
        assert_eq!(
            keys(r#"{"task":{"taskId":"t","status":"working"}}"#),
            ["\"t\""]
        );
        assert!(keys(r#"{"content":[{"text":"\"taskId\""}]}"#).is_empty());
        assert!(keys(r#"["requestState", "taskId"]"#).is_empty());
    }

    #[test]
    fn an_array_has_no_members() {
        let raw = RawValue::from_string(r#"[["token"],"name"]"#.to_owned()).unwrap();
        assert!(params(Some(&raw)).is_none());
        let raw =
            RawValue::from_string(r#"{"_meta":["token","2026-07-28",{}]}"#.to_owned()).unwrap();
        assert!(meta(&params(Some(&raw)).unwrap()).is_none());
    }
}
