//! One call: which thread it runs in, what it is recorded as, and what its tool does.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use serde_json::{Value, json};

use super::fault::{flood_stderr, growing_cost};
use super::report::{environment, limits};
use super::worker::{Worker, burn};
use super::{die, locked, sleep_ms, text};

pub(crate) struct Call {
    pub(crate) id: Value,
    pub(crate) modern: bool,
    pub(crate) tool: String,
    pub(crate) arguments: Value,
    pub(crate) params: Value,
}

impl Call {
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.arguments[name].as_u64().unwrap_or(0)
    }

    pub(crate) fn string(&self, name: &str) -> &str {
        self.arguments[name].as_str().unwrap_or_default()
    }

    /// The frame that answers it.
    pub(crate) fn frame(&self, mut result: Value) -> Value {
        if self.modern && result.get("resultType").is_none() {
            result["resultType"] = "complete".into();
        }
        json!({"jsonrpc": "2.0", "id": self.id, "result": result})
    }

    /// Whether other calls are answered while it runs.
    fn waits(&self) -> bool {
        match self.tool.as_str() {
            "slow" | "late" | "progress" | "cpu" | "bomb" | "create" => true,
            tool if tool.starts_with("ask_") => !self.modern,
            tool => tool.starts_with("effect"),
        }
    }
}

impl Worker {
    /// Blocking tools run here, in the reading thread; the others in a thread of their own.
    pub(crate) fn call(self: &Arc<Self>, call: Call) {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(refusal) = self.refuse(&call, number) {
            if let Some(result) = refusal {
                self.send(&call.frame(result));
            }
            return;
        }
        // A question has to be able to read its answer.
        let asks = call.tool.starts_with("ask_");
        if call.waits() && (asks || !self.options.has("--serial")) {
            let worker = Arc::clone(self);
            thread::spawn(move || worker.run(&call));
        } else {
            self.run(&call);
        }
    }

    fn run(&self, call: &Call) {
        if call.tool == "exit" && call.arguments["when"] == "before" {
            die(call.number("code"));
        }
        // An effect records itself, when it takes place.
        if !call.tool.starts_with("effect") {
            self.record(call);
        }
        let answer = self.perform(call);
        let dropped = call.tool != "late" && locked(&self.cancelled).contains(&call.id.to_string());
        if let (Some(answer), false) = (answer, dropped) {
            self.send(&call.frame(answer));
        }
        if call.tool == "exit" || call.arguments["crash"] == "after_answer" {
            die(call.number("code"));
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
            "echo" => text(call.string("text")),
            "slow" | "late" => {
                sleep_ms(call.number("ms"));
                text("slept")
            }
            "wedge" => {
                self.wedge(call.number("ms"), call.arguments["cpu"] == true);
                text("wedged")
            }
            "wedge_growing" => {
                let cost = growing_cost(call.number("notes")).as_millis();
                self.wedge(u64::try_from(cost).unwrap_or(u64::MAX), true);
                text("wedged")
            }
            "hang" => return None,
            "exit" if call.arguments["when"] == "answered" => text("bye"),
            "exit" => die(call.number("code")),
            "leak" => {
                self.leak(call.number("bytes"));
                text("leaked")
            }
            "bomb" => {
                self.bomb(call);
                return None;
            }
            "cpu" => {
                let ms = call.number("ms");
                for _ in 1..call.number("threads") {
                    thread::spawn(move || burn(ms));
                }
                burn(ms);
                text("burnt")
            }
            "junk" => {
                self.junk(call.number("lines"));
                text("junk")
            }
            "garbage" => return self.garbage(call),
            "line" => {
                self.line(call.number("bytes"), call.arguments["newline"] != false);
                text("written")
            }
            "huge" => {
                self.huge(call);
                return None;
            }
            "partial" => {
                self.partial(call);
                return None;
            }
            "stderr" => {
                flood_stderr(call.number("bytes"), call.arguments["newline"] == true);
                text("written")
            }
            "pid" => {
                text(json!({"pid": std::process::id(), "children": self.children()}).to_string())
            }
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
                let mut frame = call.frame(text("misdirected"));
                frame["id"] = "nobody-used-this-id".into();
                self.send(&frame);
                return None;
            }
            "duplicate_id" => {
                self.send(&call.frame(text("first")));
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
                let uri = call.string("uri");
                if call.modern || locked(&self.subscribed).contains(uri) {
                    let params = json!({"uri": uri});
                    self.tell_change("notifications/resources/updated", params, call.modern);
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
                text(json!({"children": self.children()}).to_string())
            }
            "daemonise" => {
                self.daemonise();
                text(json!({"children": self.children()}).to_string())
            }
            "fork_bomb" => self.fork_bomb(call),
            "create" => self.create(call),
            "random_create" => self.random_create(call),
            "list" => self.list(),
            "delete" => self.delete(call),
            "history" => self.history(call),
            "effect" | "effect_idempotent" | "effect_read_only" => self.effect(call),
            "health_check" => self.health_check(),
            unknown => {
                let message = format!("Unknown tool: {unknown}");
                self.error(&call.id, -32602, &message, Value::Null);
                return None;
            }
        })
    }
}
