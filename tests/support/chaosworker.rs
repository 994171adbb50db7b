//! A scripted MCP stdio worker that misbehaves on request: the other side of every test about
//! failing workers. `--x` options shape the whole process, tools one call. It shares no code with the
//! daemon, so that both cannot be wrong in the same way.
//!
//! Options: `--era legacy|modern|both|lock` (default both; lock: the first message decides, as in
//! the Python SDK 2), `--start-delay MS`, `--start-cpu MS`, `--die-at-start CODE`, `--never-answer`,
//! `--banner`, `--junk-start N`, `--ignore eof,int,term`, `--ignore-cancel`, `--serial` (one call at a
//! time), `--fork-child` (a child that holds stdout and stderr), `--fork-child-group` (the same in a
//! process group of its own), `--reject-reinit`, `--silent-discover` and
//! `--die-on-discover` (what old servers do with an unknown first request), `--log FILE` (one JSON line per executed call,
//! cancellation and `initialize`: the effects ledger).
//!
//! The methods `bytes/result` and `bytes/error` answer with the very bytes of their `params`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

const MODERN: &str = "2026-07-28";
const LEGACY: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const SUBSCRIPTION_KEY: &str = "io.modelcontextprotocol/subscriptionId";
const LOG_LEVEL_KEY: &str = "io.modelcontextprotocol/logLevel";

/// Name, arguments (`name:type`, or `name:type:Header` if mirrored) and what it does.
const TOOLS: [(&str, &str, &str); 29] = [
    ("echo", "text:string", "Answers the text"),
    (
        "slow",
        "ms:integer",
        "Answers after a while; other calls are answered meanwhile",
    ),
    (
        "wedge",
        "ms:integer",
        "Blocks the whole process, then answers",
    ),
    (
        "exit",
        "code:integer when:string",
        "Exits without answer, before or after the effect",
    ),
    (
        "junk",
        "lines:integer",
        "Writes lines that are no frames, then answers",
    ),
    (
        "huge",
        "bytes:integer",
        "Answers a text of that size in one line",
    ),
    (
        "partial",
        "exit:boolean",
        "Writes half of its answer, then exits or stays silent",
    ),
    (
        "stderr",
        "bytes:integer newline:boolean",
        "Writes to stderr, then answers",
    ),
    ("pid", "", "Answers its process id and that of its child"),
    ("env", "", "Answers its environment as JSON"),
    (
        "limits",
        "",
        "Answers what the kernel says about the process",
    ),
    (
        "progress",
        "steps:integer ms:integer",
        "Reports each step, then answers",
    ),
    (
        "log",
        "lines:integer",
        "Sends log notifications, then answers",
    ),
    ("counter", "", "Counts its calls in memory"),
    (
        "ask_sampling",
        "",
        "Asks the client for a sample and answers what it said",
    ),
    (
        "ask_roots",
        "",
        "Asks the client for its roots and answers what it said",
    ),
    (
        "ask_elicitation",
        "",
        "Asks the user and answers what was said",
    ),
    ("wrong_id", "", "Answers under an id nobody used"),
    ("duplicate_id", "", "Answers twice"),
    (
        "both",
        "",
        "Answers with a result and an error in one frame",
    ),
    (
        "late",
        "ms:integer",
        "Answers after a while even if cancelled",
    ),
    (
        "stop_reading",
        "ms:integer",
        "Answers, then does not read its stdin for a while",
    ),
    (
        "list_changed",
        "",
        "Says that its tools changed, then answers",
    ),
    (
        "update_resource",
        "uri:string",
        "Says that a resource changed to whom it concerns",
    ),
    (
        "fail",
        "kind:string",
        "Fails: soft (inside a success), tool (isError), rpc (an error)",
    ),
    (
        "close_stdout",
        "",
        "Closes its stdin and stdout and lives on",
    ),
    ("write_file", "name:string", "Leaves a file in its HOME"),
    ("fork", "group:boolean", "Leaves one more child behind"),
    (
        "mirrored",
        "region:string:Region count:integer:Count flag:boolean:Flag",
        "Answers its arguments, which clients of the modern era mirror in headers",
    ),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Era {
    Legacy,
    Modern,
    Both,
    Lock,
}

struct Options {
    flags: BTreeSet<String>,
    values: BTreeMap<String, String>,
}

impl Options {
    fn parse() -> Self {
        const WITH_VALUE: [&str; 7] = [
            "--era",
            "--start-delay",
            "--start-cpu",
            "--die-at-start",
            "--junk-start",
            "--ignore",
            "--log",
        ];
        let mut options = Self {
            flags: BTreeSet::new(),
            values: BTreeMap::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            if WITH_VALUE.contains(&name.as_str()) {
                options
                    .values
                    .insert(name, arguments.next().unwrap_or_default());
            } else {
                options.flags.insert(name);
            }
        }
        options
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.values.get(name)?.parse().ok()
    }

    fn ignores(&self, what: &str) -> bool {
        self.values
            .get("--ignore")
            .is_some_and(|list| list.split(',').any(|one| one == what))
    }
}

/// What all calls of the process share.
struct Worker {
    options: Options,
    /// Held while writing a frame, and by a wedge, which nothing gets past.
    output: Mutex<()>,
    era: Mutex<Era>,
    initialised: AtomicBool,
    cancelled: Mutex<BTreeSet<String>>,
    subscribed: Mutex<BTreeSet<String>>,
    /// Open `subscriptions/listen` requests: their ids.
    listening: Mutex<Vec<Value>>,
    asked: Mutex<BTreeMap<String, Sender<Value>>>,
    children: Mutex<Vec<u32>>,
    counter: AtomicU64,
    next_ask: AtomicU64,
}

/// A request whose parts stay bytes.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    method: String,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// One call on its way.
struct Call {
    id: Value,
    modern: bool,
    tool: String,
    arguments: Value,
    params: Value,
}

fn main() {
    let options = Options::parse();
    if options.has("--sleep") {
        thread::sleep(Duration::from_secs(3600));
        return;
    }
    let era = match options.values.get("--era").map(String::as_str) {
        Some("legacy") => Era::Legacy,
        Some("modern") => Era::Modern,
        Some("lock") => Era::Lock,
        _ => Era::Both,
    };
    let worker = Arc::new(Worker {
        options,
        output: Mutex::new(()),
        era: Mutex::new(era),
        initialised: AtomicBool::new(false),
        cancelled: Mutex::default(),
        subscribed: Mutex::default(),
        listening: Mutex::default(),
        asked: Mutex::default(),
        children: Mutex::default(),
        counter: AtomicU64::new(0),
        next_ask: AtomicU64::new(0),
    });
    worker.begin();
    for line in io::stdin().lock().split(b'\n') {
        let Ok(line) = line else { break };
        if !line.trim_ascii().is_empty() && !worker.options.has("--never-answer") {
            worker.receive(&line);
        }
    }
    while worker.options.ignores("eof") {
        thread::park();
    }
    // Like a busy SDK server: calls still running in threads die with the process.
}

#[expect(
    clippy::disallowed_methods,
    reason = "dying at once is what is asked for"
)]
fn die(code: i32) -> ! {
    std::process::exit(code)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sleep_ms(ms: u64) {
    thread::sleep(Duration::from_millis(ms));
}

/// `{"content": [{"type": "text", "text": ...}]}`
fn text(text: impl Into<String>) -> Value {
    json!({"content": [{"type": "text", "text": text.into()}]})
}

impl Worker {
    fn begin(&self) {
        for (name, signal) in [
            ("int", signal_hook::consts::SIGINT),
            ("term", signal_hook::consts::SIGTERM),
        ] {
            if self.options.ignores(name) {
                let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
            }
        }
        if let Some(code) = self.options.number("--die-at-start") {
            eprintln!("Traceback: chaosworker dies at start");
            die(i32::try_from(code).unwrap_or(1));
        }
        sleep_ms(self.options.number("--start-delay").unwrap_or(0));
        let burnt = Instant::now();
        while burnt.elapsed()
            < Duration::from_millis(self.options.number("--start-cpu").unwrap_or(0))
        {
            std::hint::spin_loop();
        }
        if self.options.has("--banner") {
            self.write(b"\xef\xbb\xbfchaosworker 1.0 \xe2\x94\x80 ready\r\n\n");
        }
        self.junk(self.options.number("--junk-start").unwrap_or(0));
        if self.options.has("--fork-child") {
            self.fork(false);
        }
        if self.options.has("--fork-child-group") {
            self.fork(true);
        }
    }

    /// A child that inherits stdout and stderr and would outlive us.
    fn fork(&self, own_group: bool) {
        let Ok(program) = std::env::current_exe() else {
            return;
        };
        let mut command = Command::new(program);
        command.arg("--sleep").stdin(Stdio::null());
        if own_group {
            command.process_group(0);
        }
        match command.spawn() {
            Ok(child) => locked(&self.children).push(child.id()),
            Err(error) => eprintln!("chaosworker: no child: {error}"),
        }
    }

    fn write(&self, bytes: &[u8]) {
        let _turn = locked(&self.output);
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
    }

    fn send(&self, frame: &Value) {
        let mut line = frame.to_string().into_bytes();
        line.push(b'\n');
        self.write(&line);
    }

    fn junk(&self, lines: u64) {
        for number in 0..lines {
            self.write(format!("junk {number}: not a frame\n").as_bytes());
        }
    }

    fn error(&self, id: &Value, code: i64, message: &str, data: Value) {
        let mut error = json!({"code": code, "message": message});
        if !data.is_null() {
            error["data"] = data;
        }
        self.send(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
    }

    fn result(&self, id: &Value, modern: bool, mut result: Value) {
        if modern && result.get("resultType").is_none() {
            result["resultType"] = "complete".into();
        }
        self.send(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
    }

    fn notify(&self, method: &str, params: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Answers `bytes/result` and `bytes/error` without looking into what they carry.
    fn mirror(&self, line: &[u8]) -> Option<()> {
        let raw: Raw<'_> = serde_json::from_slice(line).ok()?;
        let member = raw.method.strip_prefix("bytes/")?;
        let (id, params) = (raw.id?, raw.params.map_or("null", RawValue::get));
        let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{params}}}\n");
        self.write(line.as_bytes());
        Some(())
    }

    fn receive(self: &Arc<Self>, line: &[u8]) {
        if self.mirror(line).is_some() {
            return;
        }
        let Ok(frame) = serde_json::from_slice::<Value>(line) else {
            return self.error(&Value::Null, -32700, "Parse error", Value::Null);
        };
        let id = frame.get("id").cloned();
        let params = frame.get("params").cloned().unwrap_or_else(|| json!({}));
        match (frame.get("method").and_then(Value::as_str), id) {
            (Some(method), Some(id)) => self.request(method, id, params),
            (Some("notifications/cancelled"), None) => {
                let request = &params["requestId"];
                locked(&self.listening).retain(|id| id != request);
                self.log(&json!({"pid": std::process::id(), "cancelled": request}));
                if !self.options.has("--ignore-cancel") {
                    locked(&self.cancelled).insert(request.to_string());
                }
            }
            (Some(_), None) => {}
            (None, Some(id)) => {
                if let Some(asked) = id.as_str().and_then(|id| locked(&self.asked).remove(id)) {
                    let _ = asked.send(frame);
                }
            }
            (None, None) => self.error(&Value::Null, -32600, "Invalid Request", Value::Null),
        }
    }

    fn request(self: &Arc<Self>, method: &str, id: Value, params: Value) {
        let version = params["_meta"][VERSION_KEY].as_str();
        if method == "server/discover" && self.options.has("--silent-discover") {
            return;
        }
        if method == "server/discover" && self.options.has("--die-on-discover") {
            die(3);
        }
        let looks_modern = version.is_some() || method == "server/discover";
        let era = {
            let mut era = locked(&self.era);
            if *era == Era::Lock {
                *era = if looks_modern {
                    Era::Modern
                } else {
                    Era::Legacy
                };
            }
            *era
        };
        let locks = self
            .options
            .values
            .get("--era")
            .is_some_and(|era| era == "lock");
        let unsupported = || json!({"supported": [MODERN], "requested": params["protocolVersion"]});
        match era {
            Era::Modern if method == "initialize" => {
                return self.error(&id, -32022, "Unsupported protocol version", unsupported());
            }
            Era::Modern if version.is_none() => {
                return self.error(&id, -32602, "_meta names no protocol version", Value::Null);
            }
            Era::Legacy if locks && looks_modern => {
                return self.error(&id, -32600, "the legacy era was chosen", Value::Null);
            }
            Era::Legacy | Era::Modern | Era::Both | Era::Lock => {}
        }
        let modern = looks_modern && era != Era::Legacy;
        match method {
            "tools/call" => self.call(Call {
                tool: params["name"].as_str().unwrap_or_default().to_owned(),
                arguments: params["arguments"].clone(),
                id,
                modern,
                params,
            }),
            _ if modern => self.modern_request(method, &id, &params),
            _ => self.legacy_request(method, &id, &params),
        }
    }

    fn legacy_request(&self, method: &str, id: &Value, params: &Value) {
        let result = match method {
            "initialize" => {
                let client = &params["clientInfo"]["name"];
                self.log(&json!({"pid": std::process::id(), "initialize": client}));
                let again = self.initialised.swap(true, Ordering::Relaxed);
                if again && self.options.has("--reject-reinit") {
                    return self.error(id, -32600, "already initialized", Value::Null);
                }
                let asked = params["protocolVersion"].as_str().unwrap_or_default();
                let version = if LEGACY.contains(&asked) {
                    asked
                } else {
                    LEGACY[0]
                };
                json!({"protocolVersion": version, "capabilities": capabilities(), "serverInfo": server_info()})
            }
            "ping" | "logging/setLevel" => json!({}),
            "resources/subscribe" => {
                locked(&self.subscribed)
                    .insert(params["uri"].as_str().unwrap_or_default().to_owned());
                json!({})
            }
            "resources/unsubscribe" => {
                locked(&self.subscribed).remove(params["uri"].as_str().unwrap_or_default());
                json!({})
            }
            _ => match listing(method, params) {
                Some(result) => result,
                None => return self.error(id, -32601, "Method not found", Value::Null),
            },
        };
        self.result(id, false, result);
    }

    fn modern_request(&self, method: &str, id: &Value, params: &Value) {
        let mut result = match method {
            "server/discover" => json!({
                "supportedVersions": [MODERN], "capabilities": capabilities(),
                "_meta": {"io.modelcontextprotocol/serverInfo": server_info()},
            }),
            "subscriptions/listen" => {
                locked(&self.listening).push(id.clone());
                let wanted = params["notifications"].clone();
                let meta = json!({SUBSCRIPTION_KEY: id});
                return self.notify(
                    "notifications/subscriptions/acknowledged",
                    json!({"notifications": wanted, "_meta": meta}),
                );
            }
            _ => match listing(method, params) {
                Some(result) => result,
                None => return self.error(id, -32601, "Method not found", Value::Null),
            },
        };
        result["ttlMs"] = 0.into();
        result["cacheScope"] = "private".into();
        self.result(id, true, result);
    }

    /// Blocking tools run here, in the reading thread; the others in a thread of their own.
    fn call(self: &Arc<Self>, call: Call) {
        let waits = matches!(call.tool.as_str(), "slow" | "late" | "progress")
            || (call.tool.starts_with("ask_") && !call.modern);
        let asks = call.tool.starts_with("ask_");
        if waits && (asks || !self.options.has("--serial")) {
            let worker = Arc::clone(self);
            thread::spawn(move || worker.run(&call));
        } else {
            self.run(&call);
        }
    }

    fn record(&self, call: &Call) {
        self.log(&json!({
            "pid": std::process::id(), "id": call.id, "tool": call.tool, "arguments": call.arguments,
        }));
    }

    fn log(&self, line: &Value) {
        let Some(path) = self.options.values.get("--log") else {
            return;
        };
        // One write of an appended line: workers share the file.
        let written = OpenOptions::new().create(true).append(true).open(path);
        if let Err(error) =
            written.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        {
            eprintln!("chaosworker: {path}: {error}");
        }
    }

    fn run(&self, call: &Call) {
        if call.tool == "exit" && call.arguments["when"] == "before" {
            die(i32::try_from(call.number("code")).unwrap_or(1));
        }
        self.record(call);
        let answer = self.perform(call);
        let dropped = call.tool != "late" && locked(&self.cancelled).contains(&call.id.to_string());
        if let (Some(answer), false) = (answer, dropped) {
            self.result(&call.id, call.modern, answer);
        }
        if call.tool == "stop_reading" {
            sleep_ms(call.number("ms"));
        }
    }

    /// The answer, or nothing when the tool has answered otherwise or not at all.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm a tool, to be read beside the table"
    )]
    fn perform(&self, call: &Call) -> Option<Value> {
        Some(match call.tool.as_str() {
            "echo" => text(call.arguments["text"].as_str().unwrap_or_default()),
            "slow" | "late" => {
                sleep_ms(call.number("ms"));
                text("slept")
            }
            "wedge" => {
                let _nothing_else = locked(&self.output);
                sleep_ms(call.number("ms"));
                text("wedged")
            }
            "exit" => die(i32::try_from(call.number("code")).unwrap_or(1)),
            "junk" => {
                self.junk(call.number("lines"));
                text("junk")
            }
            "huge" => text("x".repeat(usize::try_from(call.number("bytes")).unwrap_or(0))),
            "partial" => {
                self.write(
                    format!(
                        "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"con",
                        call.id
                    )
                    .as_bytes(),
                );
                if call.arguments["exit"] != false {
                    die(0);
                }
                return None;
            }
            "stderr" => {
                flood_stderr(call.number("bytes"), call.arguments["newline"] == true);
                text("written")
            }
            "pid" => text(
                json!({"pid": std::process::id(), "children": *locked(&self.children)}).to_string(),
            ),
            "env" => text(environment().to_string()),
            "limits" => text(limits().to_string()),
            "progress" => {
                self.report_progress(call);
                text("done")
            }
            "log" => {
                self.log_lines(call);
                text("logged")
            }
            "counter" => text((self.counter.fetch_add(1, Ordering::Relaxed) + 1).to_string()),
            "ask_sampling" | "ask_roots" | "ask_elicitation" => return self.ask(call),
            "wrong_id" => {
                self.result(
                    &json!("nobody-used-this-id"),
                    call.modern,
                    text("misdirected"),
                );
                return None;
            }
            "duplicate_id" => {
                self.result(&call.id, call.modern, text("first"));
                text("second")
            }
            "both" => {
                self.send(&json!({
                    "jsonrpc": "2.0", "id": call.id, "result": text("ok"), "error": {"code": 1, "message": "not ok"},
                }));
                return None;
            }
            "stop_reading" => text("not reading"),
            "list_changed" => {
                self.tell_change("notifications/tools/list_changed", json!({}), call.modern);
                text("told")
            }
            "update_resource" => {
                let uri = call.arguments["uri"].as_str().unwrap_or_default();
                if call.modern || locked(&self.subscribed).contains(uri) {
                    self.tell_change(
                        "notifications/resources/updated",
                        json!({"uri": uri}),
                        call.modern,
                    );
                }
                text("told")
            }
            "fail" => return self.fail(call),
            "close_stdout" => {
                // No safe way to close descriptors: become a program that has others in their place.
                let error = Command::new("sh")
                    .args(["-c", "exec sleep 3600 </dev/null >/dev/null"])
                    .exec();
                text(error.to_string())
            }
            "write_file" => {
                let name = call.arguments["name"].as_str().unwrap_or("file");
                let home = std::env::var_os("HOME").unwrap_or_default();
                let path = std::path::Path::new(&home).join(name);
                match fs::write(&path, "chaos") {
                    Ok(()) => text(path.display().to_string()),
                    Err(error) => text(format!("{}: {error}", path.display())),
                }
            }
            "mirrored" => text(call.arguments.to_string()),
            "fork" => {
                self.fork(call.arguments["group"] == true);
                text(json!({"children": *locked(&self.children)}).to_string())
            }
            unknown => {
                self.error(
                    &call.id,
                    -32602,
                    &format!("Unknown tool: {unknown}"),
                    Value::Null,
                );
                return None;
            }
        })
    }

    fn fail(&self, call: &Call) -> Option<Value> {
        match call.arguments["kind"].as_str() {
            Some("rpc") => {
                self.error(&call.id, -32603, "failed as asked", json!({"kind": "rpc"}));
                None
            }
            Some("tool") => {
                let mut result = text("failed as asked");
                result["isError"] = true.into();
                Some(result)
            }
            _ => Some(text(r#"{"status": "error", "message": "failed as asked"}"#)),
        }
    }

    fn report_progress(&self, call: &Call) {
        let token = &call.params["_meta"]["progressToken"];
        let steps = call.number("steps");
        for step in 1..=steps {
            sleep_ms(call.number("ms"));
            if !token.is_null() {
                self.notify(
                    "notifications/progress",
                    json!({"progressToken": token, "progress": step, "total": steps, "message": format!("step {step}")}),
                );
            }
        }
    }

    fn log_lines(&self, call: &Call) {
        if call.modern && call.params["_meta"].get(LOG_LEVEL_KEY).is_none() {
            return;
        }
        for line in 0..call.number("lines") {
            self.notify(
                "notifications/message",
                json!({"level": "info", "logger": "chaosworker", "data": format!("line {line}")}),
            );
        }
    }

    /// To everybody in the legacy era, to each open listen in the modern one.
    fn tell_change(&self, method: &str, params: Value, modern: bool) {
        if !modern {
            return self.notify(method, params);
        }
        let listening = locked(&self.listening).clone();
        for id in listening {
            let mut params = params.clone();
            params["_meta"] = json!({SUBSCRIPTION_KEY: id});
            self.notify(method, params);
        }
    }

    /// Legacy: a request of ours, its answer as text. Modern: `input_required`, which only the
    /// process that sent it can continue.
    fn ask(&self, call: &Call) -> Option<Value> {
        let (method, params) = match call.tool.as_str() {
            "ask_sampling" => (
                "sampling/createMessage",
                json!({"messages": [{"role": "user", "content": {"type": "text", "text": "Say something"}}], "maxTokens": 100}),
            ),
            "ask_roots" => ("roots/list", json!({})),
            _ => (
                "elicitation/create",
                json!({"message": "What is your name?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}),
            ),
        };
        if call.modern {
            let state = format!("{}", std::process::id());
            return match call.params["requestState"].as_str() {
                None => Some(json!({
                    "resultType": "input_required", "requestState": state,
                    "inputRequests": {"ask": {"method": method, "params": params}},
                })),
                Some(given) if given == state => {
                    Some(text(call.params["inputResponses"]["ask"].to_string()))
                }
                Some(_) => {
                    let data = json!({"reason": "invalid_request_state"});
                    self.error(&call.id, -32602, "not my request state", data);
                    None
                }
            };
        }
        let number = self.next_ask.fetch_add(1, Ordering::Relaxed);
        let id = format!("ask-{number}");
        let (sender, answer) = channel();
        locked(&self.asked).insert(id.clone(), sender);
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        let answer = answer
            .recv_timeout(Duration::from_secs(60))
            .unwrap_or_else(|_| json!({"error": "no answer"}));
        let said = answer
            .get("result")
            .or_else(|| answer.get("error"))
            .cloned()
            .unwrap_or_default();
        Some(text(said.to_string()))
    }
}

impl Call {
    fn number(&self, name: &str) -> u64 {
        self.arguments[name].as_u64().unwrap_or(0)
    }
}

fn capabilities() -> Value {
    json!({"tools": {"listChanged": true}, "resources": {"subscribe": true, "listChanged": true}, "logging": {}})
}

fn server_info() -> Value {
    json!({"name": "chaosworker", "version": "1.0"})
}

/// What both eras list alike.
fn listing(method: &str, params: &Value) -> Option<Value> {
    Some(match method {
        "tools/list" => {
            let tools: Vec<Value> = TOOLS
                .iter()
                .map(|(name, arguments, description)| {
                    let properties: Map<String, Value> = arguments
                        .split(' ')
                        .filter_map(|argument| argument.split_once(':'))
                        .map(|(name, kind)| (name.to_owned(), property(kind)))
                        .collect();
                    let schema = json!({"type": "object", "properties": properties});
                    json!({"name": name, "description": description, "inputSchema": schema})
                })
                .collect();
            json!({"tools": tools})
        }
        "resources/list" => json!({"resources": [{"uri": "chaos://state", "name": "state"}]}),
        "resources/templates/list" => json!({"resourceTemplates": []}),
        "resources/read" => json!({"contents": [{"uri": params["uri"], "text": "chaos"}]}),
        "prompts/list" => json!({"prompts": []}),
        _ => return None,
    })
}

/// The schema of an argument: `type`, or `type:Header`.
fn property(kind: &str) -> Value {
    match kind.split_once(':') {
        None => json!({"type": kind}),
        Some((kind, header)) => json!({"type": kind, "x-mcp-header": header}),
    }
}

fn flood_stderr(bytes: u64, newline: bool) {
    let mut chunk = [b'e'; 8192];
    if newline {
        for end in chunk.iter_mut().skip(79).step_by(80) {
            *end = b'\n';
        }
    }
    let mut left = usize::try_from(bytes).unwrap_or(0);
    let mut stderr = io::stderr().lock();
    while left > 0 {
        let now = left.min(chunk.len());
        if stderr.write_all(&chunk[..now]).is_err() {
            return;
        }
        left -= now;
    }
}

fn environment() -> Value {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned().into(),
            )
        })
        .collect::<Map<String, Value>>()
        .into()
}

/// /proc/self as text, and the open descriptors with what they are.
fn limits() -> Value {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let mut fds = Map::new();
    for number in fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
    {
        // The listing's own descriptor is closed again by now, or shows this directory.
        if let Ok(target) = fs::read_link(number.path()) {
            let target = target.display().to_string();
            if !target.ends_with("/fd") {
                fds.insert(
                    number.file_name().to_string_lossy().into_owned(),
                    target.into(),
                );
            }
        }
    }
    let cwd = std::env::current_dir()
        .map(|cwd| cwd.display().to_string())
        .unwrap_or_default();
    json!({
        "limits": read("limits"), "status": read("status"), "stat": read("stat"),
        "oom_score_adj": read("oom_score_adj").trim(), "cwd": cwd, "fds": fds,
    })
}
