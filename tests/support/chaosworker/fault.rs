//! What a call can do to its own process: block it, fill it, burn it, make it talk.

use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::call::Call;
use super::worker::{Worker, burn};
use super::{locked, sleep_ms, text, tool_error};

/// What `bomb` allocates at most unless it is told a `limit`: the machine has other users.
const BOMB_LIMIT: u64 = 1 << 30;

impl Worker {
    /// Nothing else is answered meanwhile: the reading thread is here, and the output is held.
    pub(crate) fn wedge(&self, ms: u64, cpu: bool) {
        let _nothing_else = locked(&self.output);
        if cpu { burn(ms) } else { sleep_ms(ms) }
    }

    /// Keeps so many bytes for ever, written to, so that they are resident.
    pub(crate) fn leak(&self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(0);
        locked(&self.hoard).push(vec![1; bytes]);
    }

    /// Leaks at a pace until killed or at its limit; then it hangs with what it has.
    pub(crate) fn bomb(&self, call: &Call) {
        let (step, pause) = (call.number("bytes_per_s") / 50, Duration::from_millis(20));
        let limit = call.arguments["limit"].as_u64().unwrap_or(BOMB_LIMIT);
        let mut kept = 0;
        while kept < limit {
            self.leak(step.max(1));
            kept += step.max(1);
            thread::sleep(pause);
        }
    }

    /// Fails in one of the ways servers have.
    pub(crate) fn fail(&self, call: &Call) -> Option<Value> {
        let message = "failed as asked";
        match call.string("kind") {
            "rpc" => {
                let code = call.arguments["code"].as_i64().unwrap_or(-32603);
                self.error(&call.id, code, message, json!({"kind": "rpc"}));
                None
            }
            "tool" => Some(tool_error(message)),
            "empty" => Some(json!({"content": []})),
            _ => Some(text(
                json!({"status": "error", "message": message}).to_string(),
            )),
        }
    }

    /// Whether the call is one too many, and if so its refusal, sent or to be sent.
    pub(crate) fn refuse(&self, call: &Call, number: u64) -> Option<Option<Value>> {
        let limit = self.options.number("--refuse-after")?;
        if number <= limit {
            return None;
        }
        let message = format!("refused after {limit} calls");
        Some(match self.options.value("--refuse-as") {
            Some("rpc") => {
                self.error(&call.id, -32000, &message, Value::Null);
                None
            }
            _ => Some(tool_error(message)),
        })
    }

    /// Always "healthy", unless `--health lie` (the opposite of the truth) or `leak` (the truth, and
    /// a file left for each call).
    pub(crate) fn health_check(&self) -> Value {
        let kind = self.options.value("--health");
        if kind == Some("leak") {
            let number = self
                .counter
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let home = std::env::var_os("HOME").unwrap_or_default();
            let path = std::path::Path::new(&home).join(format!("health-{number}"));
            if let Err(error) = std::fs::write(&path, "probe") {
                eprintln!("chaosworker: {}: {error}", path.display());
            }
        }
        let status = if kind == Some("lie") {
            "unhealthy"
        } else {
            "healthy"
        };
        text(json!({"status": status}).to_string())
    }
}

/// What a tool costs whose work grows faster than its input, as measured on a real server: 60 ms for
/// 165 notes, 11 s for 1,340, minutes for 4,049.
pub(crate) fn growing_cost(notes: u64) -> Duration {
    let notes = u32::try_from(notes).map_or(f64::from(u32::MAX), f64::from);
    Duration::from_secs_f64((notes.powf(2.5) / 5.8e6).min(3600.0))
}

pub(crate) fn flood_stderr(bytes: u64, newline: bool) {
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

/// Talks on stderr at a pace as long as the process lives.
pub(crate) fn flood_for_ever(bytes_per_s: u64, newline: bool) {
    thread::spawn(move || {
        loop {
            flood_stderr((bytes_per_s / 100).max(1), newline);
            sleep_ms(10);
        }
    });
}
