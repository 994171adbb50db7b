//! The effects ledger: a file that every worker of a test appends to.

use std::fs::OpenOptions;
use std::io::Write as _;

use serde_json::{Value, json};

use super::call::Call;
use super::worker::Worker;

impl Worker {
    /// That a call is executed.
    pub(crate) fn record(&self, call: &Call) {
        self.log(&json!({
            "pid": std::process::id(), "id": call.id, "tool": call.tool, "arguments": call.arguments,
        }));
    }

    pub(crate) fn log(&self, line: &Value) {
        let Some(path) = self.options.value("--log") else {
            return;
        };
        // One write of an appended line: workers share the file.
        let file = OpenOptions::new().create(true).append(true).open(path);
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = written {
            eprintln!("chaosworker: {path}: {error}");
        }
    }
}
