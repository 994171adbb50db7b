//! What clients were told about calls with an effect, held against what was done: the effects ledger
//! that chaosworkers write with `--log`. It decides whether a run was right; it knows no daemon.
//!
//! Each call has an id of its own, sent as the argument `id` of an `effect` tool. The rules, for each
//! id: at most one effect; told ok: exactly one, and the value that was told; told that it was not
//! executed: none; told nothing certain: none or one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use serde_json::Value;

/// What a client knows about one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Sent, and no answer yet.
    Invoked,
    /// Done, with this value.
    Ok(String),
    /// Certainly not done.
    Fail,
    /// Nobody knows.
    Unknown,
}

/// All calls of a run, from any number of threads.
#[derive(Default)]
pub(crate) struct History {
    calls: Mutex<BTreeMap<String, Outcome>>,
}

/// How many calls had which outcome.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) ok: usize,
    pub(crate) fail: usize,
    /// Of these some were executed.
    pub(crate) unknown: usize,
    /// Effects of the calls with an unknown outcome.
    pub(crate) unknown_done: usize,
}

impl History {
    /// A call is about to be sent; its id must be new.
    pub(crate) fn invoke(&self, id: &str) {
        let before = self
            .calls
            .lock()
            .unwrap()
            .insert(id.to_owned(), Outcome::Invoked);
        assert_eq!(before, None, "the id {id} is used twice");
    }

    pub(crate) fn ok(&self, id: &str, value: &str) {
        self.end(id, Outcome::Ok(value.to_owned()));
    }

    pub(crate) fn fail(&self, id: &str) {
        self.end(id, Outcome::Fail);
    }

    pub(crate) fn unknown(&self, id: &str) {
        self.end(id, Outcome::Unknown);
    }

    /// The same from a JSON-RPC answer: a result is ok, a refusal before execution fails, the rest
    /// is unknown.
    pub(crate) fn answered(&self, id: &str, answer: &Value) {
        let result = &answer["result"];
        let reason = answer["error"]["data"]["reason"].as_str();
        match (result["content"][0]["text"].as_str(), reason) {
            (Some(value), _) if result["isError"] != true => self.ok(id, value),
            (
                None,
                Some("rate_limited" | "breaker_open" | "overloaded" | "quarantined" | "draining"),
            ) => self.fail(id),
            _ => self.unknown(id),
        }
    }

    fn end(&self, id: &str, outcome: Outcome) {
        let before = self.calls.lock().unwrap().insert(id.to_owned(), outcome);
        assert_eq!(before, Some(Outcome::Invoked), "{id} is not in flight");
    }

    /// Counts, or every breach of the rules. Calls without an answer count as unknown.
    pub(crate) fn check(&self, ledger: &Path) -> Result<Tally, Vec<String>> {
        let calls = self.calls.lock().unwrap();
        let done = effects(ledger);
        let mut breaches = Vec::new();
        for id in done.keys().filter(|id| !calls.contains_key(*id)) {
            breaches.push(format!("{id}: done, and nobody asked for it"));
        }
        let mut tally = Tally::default();
        for (id, outcome) in &*calls {
            let values = done.get(id).map_or(&[][..], Vec::as_slice);
            if values.len() > 1 {
                breaches.push(format!("{id}: done {} times: {values:?}", values.len()));
            }
            match outcome {
                Outcome::Ok(told) => {
                    tally.ok += 1;
                    if values.is_empty() {
                        breaches.push(format!("{id}: told ok, and not done"));
                    } else if !values.contains(told) {
                        breaches.push(format!("{id}: told {told}, done {values:?}"));
                    }
                }
                Outcome::Fail => {
                    tally.fail += 1;
                    if !values.is_empty() {
                        breaches.push(format!("{id}: told that it was not executed, and done"));
                    }
                }
                Outcome::Invoked | Outcome::Unknown => {
                    tally.unknown += 1;
                    tally.unknown_done += values.len();
                }
            }
        }
        if breaches.is_empty() {
            Ok(tally)
        } else {
            Err(breaches)
        }
    }
}

/// The values of each id's effects; a line that cannot be read fails the test. No file, no effects.
fn effects(ledger: &Path) -> BTreeMap<String, Vec<String>> {
    let text = match fs::read_to_string(ledger) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => panic!("{}: {error}", ledger.display()),
    };
    let mut done: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let entry: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        if let Some(id) = entry["effect"].as_str() {
            let value = entry["value"].as_str().unwrap_or_default().to_owned();
            done.entry(id.to_owned()).or_default().push(value);
        }
    }
    done
}
