//! What a worker says beside its answers, and about itself.

use std::fs;

use serde_json::{Map, Value, json};

use super::call::Call;
use super::request::SUBSCRIPTION_KEY;
use super::worker::Worker;
use super::{locked, sleep_ms};

const LOG_LEVEL_KEY: &str = "io.modelcontextprotocol/logLevel";

impl Worker {
    pub(crate) fn report_progress(&self, call: &Call) {
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

    pub(crate) fn log_lines(&self, call: &Call) {
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
    pub(crate) fn tell_change(&self, method: &str, params: Value, modern: bool) {
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
}

pub(crate) fn environment() -> Value {
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
pub(crate) fn limits() -> Value {
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
