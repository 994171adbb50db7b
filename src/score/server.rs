//! The server as a pure core: one frame in, at most one frame out.
//!
//! Owns the methods of both eras. Touches no stream, no clock and no file.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::era::{self, Era};
use super::library::{Library, Options};
use super::rpc::{self, Failure, INVALID_PARAMS, Incoming, METHOD_NOT_FOUND};
use super::tools;

/// How long a client may keep the list of tools: it changes only with the program.
const LIST_TTL_MS: u32 = 3_600_000;

const INSTRUCTIONS: &str = "Keeps music scores in memory and analyses them. Import a score first \
(ABC, MusicXML, or the name of a built-in tune as source_type corpus), then ask for its key or \
chords, transpose it, or export it. Scores are shared by all clients of this server.";

/// The built-in music-notation server.
#[derive(Debug)]
pub struct Server {
    library: Library,
    calls: u64,
}

impl Server {
    /// A server without scores.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            library: Library::new(options),
            calls: 0,
        }
    }

    /// Takes one frame and gives its answer; notifications, responses and empty frames have none.
    pub fn handle(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        match rpc::read(frame) {
            Incoming::Silent => None,
            Incoming::Wrong(failure) => Some(rpc::failure(None, &failure)),
            Incoming::Request { id, method, params } => {
                Some(match self.request(id, &method, params) {
                    Ok(answer) => answer,
                    Err(failure) => rpc::failure(Some(id), &failure),
                })
            }
        }
    }

    fn request(
        &mut self,
        id: &RawValue,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Vec<u8>, Failure> {
        let params = match params.map(|params| serde_json::from_str::<Map<_, _>>(params.get())) {
            None => Map::new(),
            Some(Ok(params)) => params,
            Some(Err(error)) => {
                return Err(Failure::new(
                    INVALID_PARAMS,
                    format!("params must be an object: {error}"),
                ));
            }
        };
        let era = era::of(method, &params)?;
        match (era, method) {
            (Era::Legacy, "initialize") => Ok(rpc::success(id, &initialize(&params)?)),
            (Era::Legacy, "ping") => Ok(rpc::success(id, &Map::new())),
            (Era::Modern, "server/discover") => Ok(rpc::success(id, &discover())),
            // Nothing here ever changes, so the acknowledged set is empty; the subscription lives
            // until its client cancels it, and no result is due.
            (Era::Modern, "subscriptions/listen") => Ok(rpc::acknowledgement(id)),
            (_, "tools/list") => Ok(rpc::success(id, &list(era, &params)?)),
            (_, "tools/call") => Ok(rpc::success(id, &self.call(era, &params)?)),
            _ => Err(Failure::new(
                METHOD_NOT_FOUND,
                format!("method {method:?} is not served"),
            )),
        }
    }

    fn call(&mut self, era: Era, params: &Map<String, Value>) -> Result<CallResult, Failure> {
        let name = params.get("name").and_then(Value::as_str);
        let name =
            name.ok_or_else(|| Failure::new(INVALID_PARAMS, "params.name must name a tool"))?;
        let tool = tools::find(name)
            .ok_or_else(|| Failure::new(INVALID_PARAMS, format!("there is no tool {name:?}")))?;
        let none = Map::new();
        let arguments = match params.get("arguments") {
            None | Some(Value::Null) => &none,
            Some(Value::Object(arguments)) => arguments,
            Some(_) => {
                return Err(Failure::new(
                    INVALID_PARAMS,
                    "params.arguments must be an object",
                ));
            }
        };
        self.calls = self.calls.saturating_add(1);
        let result_type = (era == Era::Modern).then_some("complete");
        Ok(match tool.call(&mut self.library, self.calls, arguments) {
            Ok(answer) => CallResult::good(answer, result_type),
            Err(what) => CallResult::bad(what, result_type),
        })
    }
}

/// The result of a tool: the answer as JSON and the same JSON as text, or what went wrong as text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallResult {
    content: [Text; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_content: Option<Box<RawValue>>,
    is_error: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
}

#[derive(Serialize)]
struct Text {
    r#type: &'static str,
    text: String,
}

impl CallResult {
    fn good(answer: Box<RawValue>, result_type: Option<&'static str>) -> Self {
        let text = answer.get().to_owned();
        Self {
            content: [Text {
                r#type: "text",
                text,
            }],
            structured_content: Some(answer),
            is_error: false,
            result_type,
        }
    }

    fn bad(text: String, result_type: Option<&'static str>) -> Self {
        Self {
            content: [Text {
                r#type: "text",
                text,
            }],
            structured_content: None,
            is_error: true,
            result_type,
        }
    }
}

fn initialize(params: &Map<String, Value>) -> Result<Value, Failure> {
    let asked = params.get("protocolVersion").and_then(Value::as_str);
    let asked = asked
        .ok_or_else(|| Failure::new(INVALID_PARAMS, "params.protocolVersion must be a string"))?;
    Ok(json!({
        "protocolVersion": era::negotiate(asked),
        "capabilities": { "tools": {} },
        "serverInfo": server_info(),
        "instructions": INSTRUCTIONS,
    }))
}

fn discover() -> Value {
    json!({
        "resultType": "complete",
        "supportedVersions": [era::MODERN],
        "capabilities": { "tools": {} },
        "instructions": INSTRUCTIONS,
        "ttlMs": LIST_TTL_MS,
        "cacheScope": "public",
        "_meta": { "io.modelcontextprotocol/serverInfo": server_info() },
    })
}

fn list(era: Era, params: &Map<String, Value>) -> Result<Value, Failure> {
    if params.get("cursor").is_some_and(|cursor| !cursor.is_null()) {
        let what = "params.cursor is none of this server's: the list has one page";
        return Err(Failure::new(INVALID_PARAMS, what));
    }
    let mut result = json!({ "tools": tools::catalogue() });
    if era == Era::Modern {
        result["resultType"] = json!("complete");
        result["ttlMs"] = json!(LIST_TTL_MS);
        result["cacheScope"] = json!("public");
    }
    Ok(result)
}

fn server_info() -> Value {
    json!({
        "name": "mainstay-score",
        "title": "mainstay score server",
        "version": env!("CARGO_PKG_VERSION"),
    })
}
