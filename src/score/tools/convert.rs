//! Tools that make a new score or a text from a score.

use serde_json::{Value, json};

use super::arguments::check_id;
use super::schema::{self, count, object, typed};
use super::{Answer, Arguments, CREATES, Context, READS, Tool, answer};
use crate::score::library::Stored;
use crate::score::model::Interval;
use crate::score::{abc, musicxml};

pub(super) const TRANSPOSE: Tool = Tool {
    name: "transpose",
    title: "Transpose a score",
    description: "Stores the score moved by an interval as a new score. A named interval keeps the \
        spelling (M3 above B is D#); semitones take the key with the fewest accidentals.",
    hints: CREATES,
    input: || {
        object(
            json!({
                "score_id": schema::score_id(),
                "interval": {
                    "type": ["string", "integer"],
                    "description": "An interval such as M3, -m2, P5, A4, P8, or semitones such as 4 or -1",
                },
                "result_id": typed(
                    "string",
                    "Id of the new score; left out, it is score_id with _transposed_ and the interval",
                ),
            }),
            &["result_id"],
        )
    },
    output: || {
        object(
            json!({
                "score_id": typed("string", "Id of the score that was moved"),
                "result_id": typed("string", "Id of the new score"),
                "interval": typed("string", "The interval"),
                "semitones": typed("integer", "Semitones moved, negative downwards"),
                "existed": typed("boolean", "Whether the same score was there before"),
                "num_notes": count("Note heads, grace notes left out"),
            }),
            &[],
        )
    },
    run: transpose,
};

fn transpose(context: &mut Context<'_>, arguments: Arguments<'_>) -> Answer {
    let score_id = arguments.text("score_id");
    let score = context.score(score_id)?;
    let wrong = |shown: &str| {
        format!(
            "interval: {shown:?} is no interval; write e.g. M3, -m2, P5, or semitones from -108 to 108"
        )
    };
    let given = match arguments.value("interval") {
        Some(Value::String(name)) => name.trim().chars().take(16).collect(),
        other => other.map(Value::to_string).unwrap_or_default(),
    };
    let semitones = given.parse::<i32>().ok();
    let interval = match semitones {
        Some(semitones) => Interval::of_semitones(semitones, score.opening_fifths()),
        None => Interval::named(&given),
    };
    let interval = interval.ok_or_else(|| wrong(&given))?;
    let moved = score
        .transposed(interval, semitones.is_some())
        .map_err(|what| format!("interval: {what}; choose another interval or give semitones"))?;
    let result_id = match arguments.value("result_id") {
        Some(_) => arguments.new_id("result_id")?.to_owned(),
        None => format!("{score_id}_transposed_{given}"),
    };
    check_id(&result_id).map_err(|what| format!("result_id: {what}"))?;
    let num_notes = moved.note_count();
    let stored = context
        .library
        .put(&result_id, moved)
        .map_err(|what| format!("result_id: {what}"))?;
    answer(&json!({
        "score_id": score_id,
        "result_id": result_id,
        "interval": given,
        "semitones": interval.semitones(),
        "existed": stored == Stored::Same,
        "num_notes": num_notes,
    }))
}

pub(super) const EXPORT_SCORE: Tool = Tool {
    name: "export_score",
    title: "Export a score",
    description: "The score as text, MusicXML or ABC, in the answer itself; no file is written.",
    hints: READS,
    input: || {
        object(
            json!({
                "score_id": schema::score_id(),
                "format": {
                    "type": "string",
                    "enum": ["musicxml", "abc"],
                    "default": "musicxml",
                    "description": "The format of the text",
                },
            }),
            &["format"],
        )
    },
    output: || {
        object(
            json!({
                "score_id": typed("string", "Id of the score"),
                "format": { "type": "string", "enum": ["musicxml", "abc"] },
                "content": typed("string", "The score as text"),
            }),
            &[],
        )
    },
    run: export_score,
};

fn export_score(context: &mut Context<'_>, arguments: Arguments<'_>) -> Answer {
    let score_id = arguments.text("score_id");
    let score = context.score(score_id)?;
    let (format, content) = match arguments.text("format") {
        "abc" => ("abc", abc::write(score)),
        _ => {
            let content = musicxml::write(score);
            (
                "musicxml",
                content.map_err(|what| format!("score_id: {score_id:?}: {what}"))?,
            )
        }
    };
    answer(&json!({ "score_id": score_id, "format": format, "content": content }))
}
