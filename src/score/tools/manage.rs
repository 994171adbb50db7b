//! Tools that put scores in, look at them and take them out.

use serde::Serialize;
use serde_json::{Value, json};

use super::schema::{self, count, list, object, or_null, typed};
use super::{Answer, Arguments, CREATES, Context, DELETES, READS, Tool, answer};
use crate::score::library::Stored;
use crate::score::model::{Score, Sign};
use crate::score::{abc, musicxml, tunes};

pub(super) const IMPORT_SCORE: Tool = Tool {
    name: "import_score",
    title: "Import a score",
    description: "Reads a score from ABC, MusicXML (score-partwise) or the built-in tunes and keeps \
        it under score_id. Importing the same content again under the same id is no error and says \
        existed: true; other content under an id that is taken is refused and changes nothing.",
    hints: CREATES,
    input: || {
        let names: Vec<_> = tunes::names().collect();
        object(
            json!({
                "score_id": schema::score_id(),
                "source": typed("string", &format!(
                    "The score itself as text (at most 1 MiB), or with source_type corpus the name \
                     of a built-in tune: {}", names.join(", "))),
                "source_type": {
                    "type": "string",
                    "enum": ["auto", "abc", "musicxml", "corpus"],
                    "default": "auto",
                    "description": "What source is; auto looks at it",
                },
            }),
            &["source_type"],
        )
    },
    output: || {
        object(
            json!({
                "score_id": typed("string", "Id of the score"),
                "existed": typed("boolean", "Whether the same score was there before"),
                "source_type": typed("string", "What the source was: abc, musicxml or corpus"),
                "num_parts": count("Parts"),
                "num_measures": count("Measures of the longest part"),
                "num_notes": count("Note heads, grace notes left out"),
            }),
            &[],
        )
    },
    run: import_score,
};

fn import_score(context: &mut Context<'_>, arguments: Arguments<'_>) -> Answer {
    let id = arguments.new_id("score_id")?;
    let (source_type, score) = read_source(arguments.text("source"), arguments.text("source_type"))
        .map_err(|what| format!("source: {what}"))?;
    let summary = score.summary();
    let stored = context
        .library
        .put(id, score)
        .map_err(|what| format!("score_id: {what}"))?;
    answer(&json!({
        "score_id": id,
        "existed": stored == Stored::Same,
        "source_type": source_type,
        "num_parts": summary.parts,
        "num_measures": summary.measures,
        "num_notes": summary.notes,
    }))
}

/// Reads `source` as what it is said to be, or as what it looks like.
fn read_source(source: &str, source_type: &str) -> Result<(&'static str, Score), String> {
    let start = source.trim_start_matches('\u{feff}').trim_start();
    let guessed = match source_type {
        "" | "auto" if tunes::find(source.trim()).is_some() => "corpus",
        "" | "auto" if start.starts_with('<') || start.starts_with("PK") => "musicxml",
        "" | "auto" => "abc",
        named => named,
    };
    match guessed {
        "corpus" => {
            let tune = tunes::find(source.trim()).ok_or_else(|| {
                let names: Vec<_> = tunes::names().collect();
                let asked: String = source.chars().take(40).collect();
                format!(
                    "there is no built-in tune {asked:?}; there are {}",
                    names.join(", ")
                )
            })?;
            let score = abc::read(tune).map_err(|error| error.to_string())?;
            Ok(("corpus", score))
        }
        "musicxml" => {
            let score = musicxml::read(source).map_err(|error| format!("bad MusicXML, {error}"))?;
            Ok(("musicxml", score))
        }
        _ => {
            let score = abc::read(source).map_err(|error| format!("bad ABC, {error}"))?;
            Ok(("abc", score))
        }
    }
}

pub(super) const LIST_SCORES: Tool = Tool {
    name: "list_scores",
    title: "List scores",
    description: "Lists every score that is kept, sorted by id.",
    hints: READS,
    input: || object(json!({}), &[]),
    output: || {
        object(
            json!({
                "count": count("Scores kept"),
                "scores": list(
                    object(
                        json!({
                            "score_id": typed("string", "Id of the score"),
                            "title": or_null("string", "Its title"),
                            "num_parts": count("Parts"),
                            "num_measures": count("Measures of the longest part"),
                            "num_notes": count("Note heads, grace notes left out"),
                        }),
                        &[],
                    ),
                    "The scores, sorted by id",
                ),
            }),
            &[],
        )
    },
    run: list_scores,
};

fn list_scores(context: &mut Context<'_>, _: Arguments<'_>) -> Answer {
    let scores: Vec<_> = context
        .library
        .iter()
        .map(|(id, score)| {
            let summary = score.summary();
            json!({
                "score_id": id,
                "title": score.title,
                "num_parts": summary.parts,
                "num_measures": summary.measures,
                "num_notes": summary.notes,
            })
        })
        .collect();
    answer(&json!({ "count": scores.len(), "scores": scores }))
}

pub(super) const SCORE_INFO: Tool = Tool {
    name: "score_info",
    title: "Describe a score",
    description: "Title, composer, sizes, signatures and pitch range of one score, as written: \
        repeats are not unfolded.",
    hints: READS,
    input: || object(json!({ "score_id": schema::score_id() }), &[]),
    output: || {
        object(
            json!({
                "score_id": typed("string", "Id of the score"),
                "title": or_null("string", "Its title"),
                "composer": or_null("string", "Its composer"),
                "num_parts": count("Parts"),
                "part_names": list(json!({ "type": "string" }), "Names of the parts, top down"),
                "num_measures": count("Measures of the longest part"),
                "num_notes": count("Note heads, grace notes left out"),
                "duration_quarters": typed("number", "Length in quarter notes"),
                "time_signatures": list(json!({ "type": "string" }), "Meters in order, each once"),
                "key_signatures": list(json!({ "type": "string" }), "Key signatures in order, each once"),
                "pitch_range": {
                    "type": ["object", "null"],
                    "properties": {
                        "lowest": { "type": "string" },
                        "highest": { "type": "string" },
                    },
                    "required": ["lowest", "highest"],
                    "additionalProperties": false,
                    "description": "Lowest and highest note; null without pitched notes",
                },
            }),
            &[],
        )
    },
    run: score_info,
};

#[derive(Serialize)]
struct Range {
    lowest: String,
    highest: String,
}

fn score_info(context: &mut Context<'_>, arguments: Arguments<'_>) -> Answer {
    let id = arguments.text("score_id");
    let score = context.score(id)?;
    let summary = score.summary();
    let (mut meters, mut keys): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for sign in score.signs() {
        let (names, name) = match sign {
            Sign::Meter(meter) => (&mut meters, meter.name()),
            Sign::Key(key) => (&mut keys, key.name()),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let sounding = score.soundings();
    let lowest = sounding
        .iter()
        .map(|note| note.pitch)
        .min_by_key(|pitch| pitch.midi());
    let highest = sounding
        .iter()
        .map(|note| note.pitch)
        .max_by_key(|pitch| pitch.midi());
    let range = lowest.zip(highest).map(|(lowest, highest)| Range {
        lowest: lowest.to_string(),
        highest: highest.to_string(),
    });
    let part_names: Vec<_> = score.parts.iter().map(|part| part.name.as_str()).collect();
    answer(&json!({
        "score_id": id,
        "title": score.title,
        "composer": score.composer,
        "num_parts": summary.parts,
        "part_names": part_names,
        "num_measures": summary.measures,
        "num_notes": summary.notes,
        "duration_quarters": summary.duration.quarters(),
        "time_signatures": meters,
        "key_signatures": keys,
        "pitch_range": range,
    }))
}

pub(super) const DELETE_SCORE: Tool = Tool {
    name: "delete_score",
    title: "Delete scores",
    description: "Forgets one score, or with score_id \"*\" every score. An id that is not there is \
        no error: deleted_count is 0.",
    hints: DELETES,
    input: || object(json!({ "score_id": schema::score_id() }), &[]),
    output: || {
        object(
            json!({
                "score_id": typed("string", "Id that was given"),
                "deleted_count": count("Scores that were deleted"),
            }),
            &[],
        )
    },
    run: delete_score,
};

fn delete_score(context: &mut Context<'_>, arguments: Arguments<'_>) -> Answer {
    let id = arguments.text("score_id");
    let deleted: Value = match id {
        "*" => context.library.clear().into(),
        _ => u64::from(context.library.remove(id)).into(),
    };
    answer(&json!({ "score_id": id, "deleted_count": deleted }))
}
