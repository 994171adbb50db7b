//! The ABC reader follows ABC 2.1, construct by construct, against lists written by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where it fails"
)]

use mainstay::score::abc::{read, write};

/// Every note head as `part:onset+length pitch`, `~` marking a tie.
fn notes(source: &str) -> String {
    let score = read(source).unwrap_or_else(|error| panic!("{error}\n{source}"));
    let starts = score.starts().unwrap();
    let mut all = Vec::new();
    for (index, part) in score.parts.iter().enumerate() {
        for (measure, start) in part.measures.iter().zip(&starts) {
            for event in measure.events() {
                let onset = start.plus(event.onset).unwrap().quarters();
                for note in &event.notes {
                    let tie = if note.tied { "~" } else { "" };
                    let length = event.length.quarters();
                    all.push(format!("{index}:{onset}+{length} {}{tie}", note.pitch));
                }
            }
        }
    }
    all.join(", ")
}

#[test]
fn music_means_what_the_standard_says() {
    let head = "M:4/4\nL:1/4\nK:C\n";
    for (music, expected) in [
        (
            "C, c' C/ C3/2",
            "0:0+1 C3, 0:1+1 C6, 0:2+0.5 C4, 0:2.5+1.5 C4",
        ),
        ("C// C/4 C2", "0:0+0.25 C4, 0:0.25+0.25 C4, 0:0.5+2 C4"),
        ("^C c C|C", "0:0+1 C#4, 0:1+1 C#5, 0:2+1 C#4, 0:3+1 C4"),
        ("^^C __D =E", "0:0+1 C##4, 0:1+1 Dbb4, 0:2+1 E4"),
        ("^F-|F F", "0:0+1 F#4~, 0:1+1 F#4, 0:2+1 F4"),
        ("C-D", "0:0+1 C4, 0:1+1 D4"),
        ("C-z C", "0:0+1 C4, 0:2+1 C4"),
        (
            "[CE-G]2 [CE]",
            "0:0+2 C4, 0:0+2 E4~, 0:0+2 G4, 0:2+1 C4, 0:2+1 E4",
        ),
        ("[C2E]2-|[C4E4]", "0:0+4 C4~, 0:0+4 E4~, 0:4+4 C4, 0:4+4 E4"),
        (
            "C>D E<<F",
            "0:0+1.5 C4, 0:1.5+0.5 D4, 0:2+0.25 E4, 0:2.25+1.75 F4",
        ),
        (
            "{ga}C {/b}D",
            "0:0+0 G5, 0:0+0 A5, 0:0+1 C4, 0:1+0 B5, 0:1+1 D4",
        ),
        (
            "(2C/D/ (4CDEF",
            "0:0+0.75 C4, 0:0.75+0.75 D4, 0:1.5+0.75 C4, 0:2.25+0.75 D4, 0:3+0.75 E4, 0:3.75+0.75 F4",
        ),
        ("(5:4:1C D", "0:0+0.8 C4, 0:0.8+1 D4"),
        (
            "CD & EF|G",
            "0:0+1 C4, 0:1+1 D4, 0:0+1 E4, 0:1+1 F4, 0:2+1 G4",
        ),
        ("C|Z2|D", "0:0+1 C4, 0:9+1 D4"),
        ("C y2 x D", "0:0+1 C4, 0:2+1 D4"),
        (
            "\"Am\"!trill!.~TC (DE) `F\\",
            "0:0+1 C4, 0:1+1 D4, 0:2+1 E4, 0:3+1 F4",
        ),
        (
            "[K:D]F [L:1/8]F [K:C]F % F",
            "0:0+1 F#4, 0:1+0.5 F#4, 0:1.5+0.5 F4",
        ),
        ("|:C:|[1 D:|2 E||", "0:0+1 C4, 0:1+1 D4, 0:2+1 E4"),
        (
            "[V:a]C|[V:b]D|\nV:a\nE|\nw: la la\n[V:b]F|",
            "0:0+1 C4, 0:1+1 E4, 1:0+1 D4, 1:1+1 F4",
        ),
        (
            "[I:propagate-accidentals octave]^C c C",
            "0:0+1 C#4, 0:1+1 C5, 0:2+1 C#4",
        ),
        ("[I:propagate-accidentals not]^C C", "0:0+1 C#4, 0:1+1 C4"),
    ] {
        assert_eq!(notes(&format!("{head}{music}\n")), expected, "{music}");
    }
}

#[test]
fn headers_set_the_scene() {
    assert_eq!(notes("X:1\nT:A\nM:6/8\nK:Em\nF|\n"), "0:0+0.5 F#4");
    assert_eq!(notes("M:2/4\nK:C\nC|\n"), "0:0+0.25 C4");
    assert_eq!(
        notes("L:1/4\nV:1 clef=treble-8\nV:2 octave=1\nK:C\nV:1\nC|\nV:2\nC|\n"),
        "0:0+1 C3, 1:0+1 C5"
    );
    assert_eq!(
        notes("%%begintext\nC D E\n%%endtext\nL:1/4\nK:C bass\nC|\n"),
        "0:0+1 C4"
    );
    assert_eq!(notes("\u{feff}L:1/4\r\nK:C\r\nC|\r\n\r\n"), "0:0+1 C4");
}

#[test]
fn faults_are_found_by_line_and_column() {
    for (source, expected) in [
        ("", "line 1, column 1: the tune has no K: field"),
        ("CDE", "line 1, column 1: a tune begins with fields"),
        ("K:C\n", "line 1, column 1: the tune has no music"),
        ("T:é\nK:H\nC", "line 2, column 3: \"H\" is no key"),
        ("K:C\nCé", "line 2, column 2: 'é' means nothing"),
        ("K:C\né", "line 2, column 1: 'é'"),
        ("K:C\nC [M:4/0] D", "line 2, column 3: \"4/0\" is no meter"),
        ("K:C\nC [CE", "line 2, column 3: a chord is not closed"),
        ("K:C\nC []", "line 2, column 3: the chord holds no note"),
        ("K:C\nC {c", "line 2, column 3: grace notes are not closed"),
        ("K:C\n\"Am C", "line 2, column 1: \" is not closed"),
        ("K:C\nC0 D", "line 2, column 2: the note's length"),
        ("K:C\nC ^/2D", "line 2, column 4: microtones"),
        ("K:C\nC ^z", "line 2, column 4: an accidental needs a note"),
        ("K:C\n>C", "line 2, column 1: a broken rhythm mark"),
        ("K:C\n-C", "line 2, column 1: a tie needs"),
        ("K:C\n(1:0CD", "line 2, column 1: (1 is no tuplet"),
        (
            "K:C\nM:none\nZ|",
            "line 3, column 1: a rest of whole measures needs a meter",
        ),
        ("K:C\nC'''''''''", "line 2, column 1: the note lies outside"),
        (
            "K:C\nC|\n\nX:2\nK:C\nC|",
            "line 4, column 1: there is text after",
        ),
        ("m:a=b\nK:C\nC", "line 1, column 3: macros"),
        ("K:C\nC (&D&)", "line 2, column 4: overlays of several bars"),
        (
            "%%propagate-accidentals maybe\nK:C\nC",
            "line 1, column 3: accidentals propagate",
        ),
    ] {
        let error = read(source).map(|_| ()).expect_err(source).to_string();
        assert!(error.starts_with(expected), "{source:?}: {error}");
    }
}

#[test]
fn the_writer_says_an_accidental_that_a_tie_would_hide() {
    // The tie leads into the overlay; the natural F after it must not be taken for its end.
    let score = read("L:1/4\nM:4/4\nK:C\n^F4-|=F4 & ^F4|\n").unwrap();
    assert_eq!(read(&write(&score)).unwrap(), score, "{}", write(&score));
}
