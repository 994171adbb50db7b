//! Tools that change something outside of the process, once for each execution, and the moments at
//! which they can die. The ledger has the truth; tests compare it with what clients were told.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::call::Call;
use super::worker::Worker;
use super::{die, sleep_ms, text};

impl Worker {
    /// `ms` pass before the effect, or behind it if `when` is `after`. The value is new each time.
    pub(crate) fn effect(&self, call: &Call) -> Value {
        let (ms, late) = (call.number("ms"), call.arguments["when"] == "after");
        let crash = call.string("crash");
        if crash == "before_effect" {
            die(9);
        }
        if !late {
            sleep_ms(ms);
        }
        let number = self.effects.fetch_add(1, Ordering::Relaxed);
        let value = format!("{}-{number}", std::process::id());
        self.log(&json!({
            "pid": std::process::id(), "tool": call.tool, "effect": call.arguments["id"], "value": value,
        }));
        if late {
            sleep_ms(ms);
        }
        if crash == "after_effect" {
            die(9);
        }
        text(value)
    }
}
