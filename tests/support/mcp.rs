//! MCP clients of both eras, as plain as they can be: what an SDK would send, and the raw answers.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::http::{self, Event, Response};

/// The newest revision of the legacy era.
pub(crate) const LATEST: &str = "2025-11-25";
/// The modern revision.
pub(crate) const MODERN: &str = "2026-07-28";
/// What a client of either era accepts.
pub(crate) const ACCEPT: (&str, &str) = ("Accept", "application/json, text/event-stream");
/// What it sends.
pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A legacy session.
pub(crate) struct Session {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) result: Value,
    next: AtomicU64,
}

/// The `initialize` of a client that can be asked anything.
pub(crate) fn initialize(version: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": version,
        "capabilities": {"sampling": {}, "elicitation": {}, "roots": {}},
        "clientInfo": {"name": "test", "version": "1"},
    }})
}

/// POST of a JSON body with the headers every client sends.
pub(crate) fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut all = vec![ACCEPT, JSON];
    all.extend_from_slice(headers);
    http::send(address, "POST", path, &all, Some(body.as_bytes()))
}

impl Session {
    /// Opens a session at the default server.
    pub(crate) fn open(daemon: &Daemon) -> Self {
        Self::open_at(daemon, "/mcp", LATEST)
    }

    /// Opens one elsewhere, or in an older revision.
    pub(crate) fn open_at(daemon: &Daemon, path: &str, version: &str) -> Self {
        let address = daemon.address();
        let answer = post(address, path, &[], &initialize(version).to_string());
        assert_eq!(answer.status, 200);
        let id = answer.header("mcp-session-id").map(ToOwned::to_owned);
        let body = answer.json();
        let id = id.unwrap_or_else(|| panic!("no session: {body}"));
        let result = body["result"].clone();
        let session = Self {
            address,
            path: path.to_owned(),
            id,
            version: result["protocolVersion"].as_str().unwrap().to_owned(),
            result,
            next: AtomicU64::new(1),
        };
        session.notify("notifications/initialized", &json!({}));
        session
    }

    /// POST within the session.
    pub(crate) fn post(&self, body: &str) -> Response {
        let headers = [
            ("Mcp-Session-Id", self.id.as_str()),
            ("MCP-Protocol-Version", self.version.as_str()),
        ];
        post(self.address, &self.path, &headers, body)
    }

    /// A notification.
    pub(crate) fn notify(&self, method: &str, params: &Value) {
        let body = json!({"jsonrpc": "2.0", "method": method, "params": params});
        let answer = self.post(&body.to_string());
        assert_eq!(answer.status, 202, "{method}");
        assert_eq!(answer.text(), "", "{method}");
    }

    /// A request, its answer not read yet.
    pub(crate) fn request(&self, id: &Value, method: &str, params: &Value) -> Response {
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let answer = self.post(&body.to_string());
        assert_eq!(answer.status, 200, "{method}");
        answer
    }

    /// A tool call, its answer not read yet.
    pub(crate) fn start(&self, id: &Value, tool: &str, arguments: &Value) -> Response {
        let params = json!({"name": tool, "arguments": arguments});
        self.request(id, "tools/call", &params)
    }

    /// A tool call with the next free id; the whole answer.
    pub(crate) fn call(&self, tool: &str, arguments: &Value) -> Value {
        let id = json!(self.next.fetch_add(1, Ordering::Relaxed));
        let answer = response(self.start(&id, tool, arguments));
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// The text a tool answers with.
    pub(crate) fn text(&self, tool: &str, arguments: &Value) -> String {
        text(&self.call(tool, arguments))
    }

    /// GET: the standalone stream, or a resumption.
    pub(crate) fn get(&self, last_event_id: Option<&str>) -> Response {
        let mut headers = vec![
            ("Accept", "text/event-stream"),
            ("Mcp-Session-Id", self.id.as_str()),
            ("MCP-Protocol-Version", self.version.as_str()),
        ];
        headers.extend(last_event_id.map(|id| ("Last-Event-ID", id)));
        http::send(self.address, "GET", &self.path, &headers, None)
    }

    /// DELETE; the status.
    pub(crate) fn delete(&self) -> u16 {
        let headers = [("Mcp-Session-Id", self.id.as_str())];
        http::send(self.address, "DELETE", &self.path, &headers, None).status
    }
}

/// The response at the end of an answer, be it JSON or a stream.
pub(crate) fn response(answer: Response) -> Value {
    if !answer.is_stream() {
        return answer.json();
    }
    let events = messages(answer);
    let last = events.last().expect("a stream with an answer").json();
    assert!(
        last.get("result").or(last.get("error")).is_some(),
        "the stream ended without a response: {last}"
    );
    last
}

/// The messages of a stream, its priming event left out.
pub(crate) fn messages(answer: Response) -> Vec<Event> {
    let mut events = answer.events();
    events.retain(|e| !e.data.is_empty());
    events
}

/// The text of a tool's answer.
pub(crate) fn text(answer: &Value) -> String {
    let text = answer["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("no text: {answer}"))
        .to_owned()
}

/// Code, reason and `retryable` of a refusal.
pub(crate) fn refusal(answer: &Value) -> (i64, String, bool) {
    let (error, data) = (&answer["error"], &answer["error"]["data"]);
    let told = (|| {
        let reason = data["reason"].as_str()?.to_owned();
        Some((
            error["code"].as_i64()?,
            reason,
            data["retryable"].as_bool()?,
        ))
    })();
    told.unwrap_or_else(|| panic!("no refusal: {answer}"))
}

/// `params` with the metadata of a modern request.
pub(crate) fn with_meta(mut params: Value) -> Value {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    });
    match params.get_mut("_meta").and_then(Value::as_object_mut) {
        None => params["_meta"] = meta,
        Some(given) => {
            for (key, value) in meta.as_object().unwrap() {
                given.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    params
}

/// The bytes of a modern request as an SDK sends it.
fn modern_bytes(address: SocketAddr, id: &Value, method: &str, params: &Value) -> Vec<u8> {
    let params = with_meta(params.clone());
    let name = match method {
        "resources/read" => params["uri"].as_str(),
        _ => params["name"].as_str(),
    };
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
    let mut headers = vec![
        ACCEPT,
        JSON,
        ("MCP-Protocol-Version", MODERN),
        ("Mcp-Method", method),
    ];
    headers.extend(name.map(|name| ("Mcp-Name", name)));
    http::compose(address, "POST", "/mcp", &headers, Some(body.as_bytes()))
}

/// A modern request, its answer not read yet.
pub(crate) fn modern(address: SocketAddr, id: &Value, method: &str, params: &Value) -> Response {
    http::send_raw(address, &modern_bytes(address, id, method, params))
}

/// A modern tool call of which not even the head of the answer has been read: dropping it is what a
/// client does that does not want it any more.
pub(crate) fn modern_begun(address: SocketAddr, tool: &str, arguments: &Value) -> TcpStream {
    let params = json!({"name": tool, "arguments": arguments});
    let bytes = modern_bytes(address, &json!(1), "tools/call", &params);
    http::write_raw(address, &bytes)
}

/// A modern tool call, its answer not read yet.
pub(crate) fn modern_call(
    address: SocketAddr,
    id: &Value,
    tool: &str,
    arguments: &Value,
) -> Response {
    let params = json!({"name": tool, "arguments": arguments});
    modern(address, id, "tools/call", &params)
}
