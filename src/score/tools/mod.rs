//! The nine tools: what they are called, what they take, what they do.
//!
//! Owns the table of tools. An error of a tool is one sentence for the caller; the protocol around it
//! is the server's.

mod analyse;
mod arguments;
mod convert;
mod health;
mod manage;
mod schema;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::library::Library;
use super::model::Score;
use arguments::Arguments;

/// What a call gives: JSON, or a sentence that says what is wrong with which argument.
type Answer = Result<Box<RawValue>, String>;

/// What a tool may look at and change.
struct Context<'a> {
    library: &'a mut Library,
    /// Calls so far, this one included.
    calls: u64,
}

/// Promises about a tool's effects, in the words of the protocol.
struct Hints {
    read_only: bool,
    destructive: bool,
}

/// One tool.
pub(super) struct Tool {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    hints: Hints,
    input: fn() -> Value,
    output: fn() -> Value,
    run: fn(&mut Context<'_>, Arguments<'_>) -> Answer,
}

const READS: Hints = Hints {
    read_only: true,
    destructive: false,
};
const CREATES: Hints = Hints {
    read_only: false,
    destructive: false,
};
const DELETES: Hints = Hints {
    read_only: false,
    destructive: true,
};

static TOOLS: [Tool; 9] = [
    manage::IMPORT_SCORE,
    manage::LIST_SCORES,
    manage::SCORE_INFO,
    analyse::KEY_ANALYSIS,
    analyse::CHORD_ANALYSIS,
    convert::TRANSPOSE,
    convert::EXPORT_SCORE,
    manage::DELETE_SCORE,
    health::HEALTH_CHECK,
];

/// The tool of a name.
pub(super) fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

/// Every tool as `tools/list` shows it.
pub(super) fn catalogue() -> Vec<Value> {
    TOOLS.iter().map(Tool::describe).collect()
}

impl Tool {
    /// Runs the tool.
    pub(super) fn call(
        &self,
        library: &mut Library,
        calls: u64,
        given: &Map<String, Value>,
    ) -> Answer {
        let arguments = Arguments::new(self.name, &(self.input)(), given)?;
        (self.run)(&mut Context { library, calls }, arguments)
    }

    fn describe(&self) -> Value {
        json!({
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": (self.input)(),
            "outputSchema": (self.output)(),
            // All four are written out: the protocol's defaults assume the worst. Every tool here may
            // be repeated without a further effect, and none reaches beyond this process.
            "annotations": {
                "title": self.title,
                "readOnlyHint": self.hints.read_only,
                "destructiveHint": self.hints.destructive,
                "idempotentHint": true,
                "openWorldHint": false,
            },
        })
    }
}

impl Context<'_> {
    /// The score the caller named.
    fn score(&self, id: &str) -> Result<&Score, String> {
        self.library.get(id).ok_or_else(|| {
            format!("score_id: there is no score {id:?}; list_scores names those there are")
        })
    }
}

/// Turns an answer into the JSON that is sent, once for both places it goes to.
fn answer(value: &impl Serialize) -> Answer {
    serde_json::value::to_raw_value(value)
        .map_err(|error| format!("the answer cannot be written: {error}"))
}
