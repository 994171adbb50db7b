//! Tools that look for keys and chords.

use serde::Serialize;
use serde_json::json;

use super::schema::{self, count, list, object, typed};
use super::{Answer, Arguments, Context, READS, Tool, answer};
use crate::score::analysis::{Chord, KeyGuess, guess_keys, slices};
use crate::score::model::Pitch;

/// How many other keys are named beside the best.
const ALTERNATIVES: usize = 5;
/// The most chords one answer lists, and the most pitches in them: what keeps it below a few MiB.
const MAX_CHORDS: usize = 10_000;
const MAX_CHORD_PITCHES: usize = 60_000;

pub(super) const KEY_ANALYSIS: Tool = Tool {
    name: "key_analysis",
    title: "Find the key",
    description: "The key that fits the score best by the Krumhansl-Schmuckler method: how long each \
        pitch class sounds, correlated with the profiles of all 24 major and minor keys.",
    hints: READS,
    input: || object(json!({ "score_id": schema::score_id() }), &[]),
    output: || {
        object(
            json!({
                "score_id": typed("string", "Id of the score"),
                "key": typed("string", "The best key, e.g. F# minor"),
                "tonic": typed("string", "Its tonic"),
                "mode": { "type": "string", "enum": ["major", "minor"], "description": "Its mode" },
                "confidence": typed("number", "Its correlation, -1 to 1"),
                "alternatives": list(
                    object(
                        json!({
                            "key": typed("string", "A key"),
                            "tonic": typed("string", "Its tonic"),
                            "mode": { "type": "string", "enum": ["major", "minor"] },
                            "confidence": typed("number", "Its correlation"),
                        }),
                        &[],
                    ),
                    "The next best keys, best first",
                ),
            }),
            &[],
        )
    },
    run: key_analysis,
};

#[derive(Serialize)]
struct Key {
    key: String,
    tonic: String,
    mode: &'static str,
    confidence: f64,
}

impl From<KeyGuess> for Key {
    fn from(guess: KeyGuess) -> Self {
        Self {
            key: format!("{} {}", guess.tonic, guess.mode.name()),
            tonic: guess.tonic,
            mode: guess.mode.name(),
            confidence: guess.correlation,
        }
    }
}

#[derive(Serialize)]
struct KeyAnswer<'a> {
    score_id: &'a str,
    #[serde(flatten)]
    best: Key,
    alternatives: Vec<Key>,
}

fn key_analysis(context: &mut Context<'_>, arguments: Arguments<'_>) -> Answer {
    let score_id = arguments.text("score_id");
    let guesses = guess_keys(context.score(score_id)?);
    let mut guesses = guesses
        .map_err(|what| format!("score_id: {score_id:?}: {what}"))?
        .into_iter()
        .map(Key::from);
    let best = guesses.next().ok_or("no key was found")?;
    let alternatives = guesses.take(ALTERNATIVES).collect();
    answer(&KeyAnswer {
        score_id,
        best,
        alternatives,
    })
}

pub(super) const CHORD_ANALYSIS: Tool = Tool {
    name: "chord_analysis",
    title: "Name the chords",
    description: "Cuts the score wherever a note of any part begins or ends and names what sounds \
        between the cuts: triads and seventh chords with their root, anything else by its notes.",
    hints: READS,
    input: || object(json!({ "score_id": schema::score_id() }), &[]),
    output: || {
        object(
            json!({
                "score_id": typed("string", "Id of the score"),
                "total_chords": count("Slices in which something sounds"),
                "truncated": typed("boolean", "Whether chord_progression leaves the last ones out"),
                "chord_progression": list(
                    object(
                        json!({
                            "offset": typed("number", "Start in quarter notes"),
                            "duration": typed("number", "Length in quarter notes"),
                            "pitches": list(json!({ "type": "string" }), "What sounds, from the lowest"),
                            "root": schema::or_null("string", "Root of a triad or seventh chord"),
                            "quality": typed("string", "E.g. minor, dominant-seventh, interval, other"),
                            "symbol": typed("string", "Chord symbol, e.g. G7/B"),
                        }),
                        &[],
                    ),
                    "The chords in time order",
                ),
            }),
            &[],
        )
    },
    run: chord_analysis,
};

#[derive(Serialize)]
struct NamedSlice {
    offset: f64,
    duration: f64,
    pitches: Vec<String>,
    root: Option<String>,
    quality: &'static str,
    symbol: String,
}

#[derive(Serialize)]
struct ChordAnswer<'a> {
    score_id: &'a str,
    total_chords: usize,
    truncated: bool,
    chord_progression: Vec<NamedSlice>,
}

fn chord_analysis(context: &mut Context<'_>, arguments: Arguments<'_>) -> Answer {
    let score_id = arguments.text("score_id");
    let score = context.score(score_id)?;
    let mut total_chords = 0;
    let mut pitches = 0;
    let mut chord_progression = Vec::new();
    slices(score, |slice| {
        total_chords += 1;
        pitches += slice.pitches.len();
        if total_chords <= MAX_CHORDS && pitches <= MAX_CHORD_PITCHES {
            let chord = Chord::of(&slice.pitches);
            chord_progression.push(NamedSlice {
                offset: slice.onset.quarters(),
                duration: slice.length.quarters(),
                pitches: slice.pitches.iter().map(Pitch::to_string).collect(),
                root: chord.root,
                quality: chord.quality.name(),
                symbol: chord.symbol,
            });
        }
    });
    if total_chords == 0 {
        return Err(format!(
            "score_id: {score_id:?} has no pitched notes, so it has no chords"
        ));
    }
    answer(&ChordAnswer {
        score_id,
        total_chords,
        truncated: total_chords > chord_progression.len(),
        chord_progression,
    })
}
