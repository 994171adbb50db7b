//! Nothing anybody sends makes the score server panic, hang or forget a note.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where it fails"
)]

use mainstay::score::model::{Score, Sounding};
use mainstay::score::{Options, Server, abc, musicxml, tunes};
use proptest::prelude::*;

fn settings() -> ProptestConfig {
    ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Every sounding note with ties joined, sorted: what has to survive a change of format.
fn sounds(score: &Score) -> Vec<(String, String, String)> {
    let show = |note: &Sounding| {
        (
            format!("{:?}", note.onset),
            format!("{:?}", note.end),
            note.pitch.to_string(),
        )
    };
    let mut all: Vec<_> = score.soundings().iter().map(show).collect();
    all.sort();
    all
}

fn ties(score: &Score) -> usize {
    let measures = score.parts.iter().flat_map(|part| &part.measures);
    let notes = measures
        .flat_map(|measure| measure.events())
        .flat_map(|event| &event.notes);
    notes.filter(|note| note.tied).count()
}

/// What is read can be written, and what was written reads as the same notes.
fn round_trip(score: &Score) {
    let text = abc::write(score);
    let again = abc::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(sounds(&again), sounds(score), "{text}");
    assert_eq!(ties(&again), ties(score), "{text}");
    if let Ok(text) = musicxml::write(score) {
        let again = musicxml::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(sounds(&again), sounds(score), "{text}");
        assert_eq!(ties(&again), ties(score), "{text}");
    }
}

fn tune(index: usize) -> &'static str {
    let name = tunes::names().nth(index).unwrap();
    tunes::find(name).unwrap()
}

/// `text` with some characters replaced, put in or taken out.
fn mutated(text: &str, edits: &[(usize, u8, char)]) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for (place, kind, letter) in edits {
        let place = place % letters.len().max(1);
        match kind % 3 {
            0 if place < letters.len() => letters[place] = *letter,
            1 if place < letters.len() => drop(letters.remove(place)),
            _ => letters.insert(place, *letter),
        }
    }
    letters.into_iter().collect()
}

/// Characters that mean something in ABC.
fn abc_letter() -> impl Strategy<Value = char> {
    let letters: Vec<char> = "CDEFGABcdefgabzxZ^_='`,/23456789(){}[]|:<>-&\"!. \n%KVML\\"
        .chars()
        .collect();
    prop::sample::select(letters)
}

fn edits<S: Strategy<Value = char>>(letter: S) -> impl Strategy<Value = Vec<(usize, u8, char)>> {
    prop::collection::vec((any::<usize>(), any::<u8>(), letter), 1..8)
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn any_bytes_are_answered_or_ignored(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        Server::new(Options::default()).handle(&frame);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        if let Ok(score) = abc::read(&format!("K:C\n{text}")) {
            round_trip(&score);
        }
        let _ = abc::read(&text);
        let _ = musicxml::read(&text);
        let _ = musicxml::read(&format!("<score-partwise><part id='P1'>{text}"));
    }

    #[test]
    fn music_of_random_letters_survives_both_formats(
        letters in prop::collection::vec(abc_letter(), 0..60),
    ) {
        let music: String = letters.into_iter().collect();
        if let Ok(score) = abc::read(&format!("M:4/4\nK:D\n{music}\n")) {
            round_trip(&score);
        }
    }

    #[test]
    fn a_damaged_tune_is_refused_or_survives_both_formats(
        index in 0_usize..8,
        edits in edits(abc_letter()),
    ) {
        if let Ok(score) = abc::read(&mutated(tune(index), &edits)) {
            round_trip(&score);
        }
    }

    #[test]
    fn a_damaged_document_is_refused_or_survives_both_formats(
        index in 0_usize..8,
        edits in edits(prop::sample::select("<>/&;\"0123456789ABCpitch \n".chars().collect::<Vec<_>>())),
    ) {
        let text = musicxml::write(&abc::read(tune(index)).unwrap()).unwrap();
        if let Ok(score) = musicxml::read(&mutated(&text, &edits)) {
            round_trip(&score);
        }
    }
}

#[test]
fn every_built_in_tune_survives_both_formats() {
    for index in 0..tunes::names().count() {
        let score = abc::read(tune(index)).unwrap();
        assert!(!sounds(&score).is_empty());
        round_trip(&score);
    }
}

#[test]
fn small_texts_that_ask_for_much_are_refused() {
    let header = "M:4/4\nL:1/8\nK:C\n";
    for (music, part) in [
        ("Z999999|", "50000 notes"),
        ("C999999|".repeat(10).as_str(), "too long"),
        ("Z9999|Z9999|", "10000 measures"),
        ("C/999999/9", "too fine"),
        (&"c".repeat(60_000), "50000 notes"),
        (&"&c".repeat(100), "overlays"),
        (&format!("{{{}}}", "c".repeat(60_000)), "50000 notes"),
        (
            &(0..100).map(|n| format!("[V:{n}]c")).collect::<String>(),
            "64 voices",
        ),
    ] {
        let read = abc::read(&format!("{header}{music}\n"));
        let error = read.map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains(part),
            "{}: {error}",
            &music[..20.min(music.len())]
        );
    }
    assert!(
        abc::read(&"x".repeat(2 << 20))
            .unwrap_err()
            .to_string()
            .contains("1048576")
    );
    assert!(
        musicxml::read(&"<".repeat(2 << 20))
            .unwrap_err()
            .to_string()
            .contains("1048576")
    );
}

#[test]
fn the_largest_score_is_analysed_in_an_answer_of_bounded_size() {
    // 49,000 notes in 14 voices of all lengths: many slices, many pitches in each.
    let mut source = String::from("M:none\nL:1/8\nK:C\n");
    for voice in 0..14 {
        source.push_str(&format!("V:{voice}\n"));
        let letter = ["C", "D", "E", "F", "G", "A", "B"][voice % 7];
        let octave = if voice < 7 { "," } else { "'" };
        source.push_str(&format!("{letter}{octave}{} ", voice + 1).repeat(3_500));
        source.push_str("|\n");
    }
    let mut server = Server::new(Options::default());
    let mut call = |name: &str, arguments: serde_json::Value| {
        let params = serde_json::json!({ "name": name, "arguments": arguments });
        let frame = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        server.handle(frame.to_string().as_bytes()).unwrap()
    };
    let imported = call(
        "import_score",
        serde_json::json!({ "score_id": "big", "source": source }),
    );
    assert!(String::from_utf8(imported).unwrap().contains("49000"));
    for tool in ["chord_analysis", "export_score", "key_analysis"] {
        let answer = call(tool, serde_json::json!({ "score_id": "big" }));
        assert!(answer.len() > 500, "{tool}: {}", answer.len());
        assert!(answer.len() < 24 << 20, "{tool}: {} bytes", answer.len());
    }
}
