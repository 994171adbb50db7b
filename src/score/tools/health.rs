//! The tool that says how the server is.

use serde_json::json;

use super::schema::{count, object, typed};
use super::{Answer, Arguments, Context, READS, Tool, answer};

pub(super) const HEALTH_CHECK: Tool = Tool {
    name: "health_check",
    title: "Health",
    description: "True counts of what the server keeps and of the calls it has taken.",
    hints: READS,
    input: || object(json!({}), &[]),
    output: || {
        object(
            json!({
                "status": typed("string", "ok: a server that answers is well"),
                "version": typed("string", "Version of the program"),
                "scores": count("Scores kept"),
                "notes": count("Note heads in them, grace notes left out"),
                "calls": count("Tool calls taken in this life, this one included"),
            }),
            &[],
        )
    },
    run: health_check,
};

fn health_check(context: &mut Context<'_>, _: Arguments<'_>) -> Answer {
    let notes: usize = context
        .library
        .iter()
        .map(|(_, score)| score.note_count())
        .sum();
    answer(&json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "scores": context.library.len(),
        "notes": notes,
        "calls": context.calls,
    }))
}
