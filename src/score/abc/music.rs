//! Music code: notes, rests, chords, grace notes, tuplets, ties and what surrounds them.

use super::cursor::Cursor;
use super::voice::Voice;
use crate::score::model::{Beat, Meter, Note, Pitch, Step, Tuplet};
use crate::score::source::{Budget, SourceError};

/// Reads one element of music code (not a bar line, not a field) into `voice`.
pub(super) fn element(
    cursor: &mut Cursor<'_>,
    voice: &mut Voice,
    budget: &mut Budget,
) -> Result<(), SourceError> {
    let start = (cursor.line(), cursor.column());
    let at = |what: String| SourceError::at(start.0, start.1, what);
    let Some(next) = cursor.peek() else {
        return Ok(());
    };
    match next {
        '"' | '!' | '+' => skip_quoted(cursor, next)?,
        '{' => graces(cursor, voice, budget)?,
        '(' => opening(cursor, voice)?,
        '-' => {
            cursor.next();
            voice.tie().map_err(at)?;
        }
        '<' | '>' => {
            let marks = cursor.take_while(|letter| letter == next).len();
            let marks = u32::try_from(marks).unwrap_or(u32::MAX);
            voice.break_rhythm(marks, next == '>').map_err(at)?;
        }
        '&' => {
            cursor.next();
            voice.overlay().map_err(at)?;
        }
        '[' => {
            budget.take(1).map_err(at)?;
            let (notes, length) = chord(cursor, voice, budget)?;
            voice.place(notes, length).map_err(at)?;
        }
        'z' | 'x' => {
            cursor.next();
            let length = length(cursor, voice.setting.unit)?;
            budget.take(1).map_err(at)?;
            voice.place(Vec::new(), length).map_err(at)?;
        }
        'Z' | 'X' => {
            cursor.next();
            let count = cursor.number()?.unwrap_or(1);
            budget
                .take(usize::try_from(count).unwrap_or(usize::MAX))
                .map_err(at)?;
            voice.rest_measures(count).map_err(at)?;
        }
        'y' => {
            cursor.next();
            cursor.take_while(|letter| letter.is_ascii_digit() || letter == '/');
        }
        '\\' => {
            cursor.next();
            if !cursor.rest().trim().is_empty() {
                return Err(at("a backslash must end its line".into()));
            }
            cursor.take_while(|_| true);
        }
        // Slur ends, beam breaks, line breaks and characters reserved by the standard.
        ')' | '`' | '$' | '*' | ';' | '?' | '@' | '#' => {
            cursor.next();
        }
        '^' | '_' | '=' | 'A'..='G' | 'a'..='g' => {
            budget.take(1).map_err(at)?;
            let (pitch, length) = note(cursor, voice)?;
            voice
                .place(vec![Note { pitch, tied: false }], length)
                .map_err(at)?;
        }
        // Decorations, built in or defined by `U:`.
        '.' | '~' | 'H'..='W' | 'h'..='w' => {
            cursor.next();
        }
        other => return Err(at(format!("{other:?} means nothing in music"))),
    }
    Ok(())
}

/// A note with its length, in the order accidental, letter, octave, length.
fn note(cursor: &mut Cursor<'_>, voice: &mut Voice) -> Result<(Pitch, Beat), SourceError> {
    let start = (cursor.line(), cursor.column());
    let marks = cursor.take_while(|letter| matches!(letter, '^' | '_' | '='));
    let accidental = match marks {
        "" => None,
        "^" => Some(1),
        "^^" => Some(2),
        "_" => Some(-1),
        "__" => Some(-2),
        "=" => Some(0),
        _ => {
            return Err(SourceError::at(
                start.0,
                start.1,
                format!("{marks:?} is no accidental"),
            ));
        }
    };
    if !marks.is_empty()
        && cursor
            .peek()
            .is_some_and(|next| next == '/' || next.is_ascii_digit())
    {
        return Err(cursor.error("microtones are not supported"));
    }
    let letter = cursor.peek().filter(|letter| letter.is_ascii_alphabetic());
    let Some((letter, step)) = letter.and_then(|letter| Some((letter, Step::from_letter(letter)?)))
    else {
        return Err(cursor.error("an accidental needs a note from A to G after it"));
    };
    cursor.next();
    let mut octave = if letter.is_ascii_lowercase() { 5 } else { 4 };
    for mark in cursor
        .take_while(|letter| matches!(letter, ',' | '\''))
        .chars()
    {
        octave += if mark == ',' { -1 } else { 1 };
    }
    let pitch = voice
        .pitch(step, octave, accidental)
        .map_err(|what| SourceError::at(start.0, start.1, what))?;
    Ok((pitch, length(cursor, voice.setting.unit)?))
}

/// A chord in brackets; it lasts as long as its first note, times the length after the bracket.
fn chord(
    cursor: &mut Cursor<'_>,
    voice: &mut Voice,
    budget: &mut Budget,
) -> Result<(Vec<Note>, Beat), SourceError> {
    let open = cursor.error("a chord is not closed on its line");
    cursor.next();
    let mut notes: Vec<Note> = Vec::new();
    let mut first = None;
    loop {
        match cursor.peek() {
            None => return Err(open),
            Some(']') => break,
            Some(quote @ ('"' | '!' | '+')) => skip_quoted(cursor, quote)?,
            Some('^' | '_' | '=' | 'A'..='G' | 'a'..='g') => {
                budget.take(1).map_err(|what| cursor.error(what))?;
                let (pitch, length) = note(cursor, voice)?;
                first.get_or_insert(length);
                let tied = cursor.eat('-');
                // A unison is written twice but sounds once.
                if !notes.iter().any(|note| note.pitch == pitch) {
                    notes.push(Note { pitch, tied });
                }
            }
            Some(' ' | '\t' | '(' | ')' | '.' | '~' | 'H'..='W' | 'h'..='w') => {
                cursor.next();
            }
            Some(other) => return Err(cursor.error(format!("{other:?} means nothing in a chord"))),
        }
    }
    cursor.next();
    let Some(first) = first else {
        return Err(SourceError {
            what: "the chord holds no note".into(),
            ..open
        });
    };
    Ok((notes, length(cursor, first)?))
}

/// Grace notes in braces: notes without time.
fn graces(
    cursor: &mut Cursor<'_>,
    voice: &mut Voice,
    budget: &mut Budget,
) -> Result<(), SourceError> {
    let open = cursor.error("grace notes are not closed on their line");
    cursor.next();
    cursor.eat('/');
    loop {
        budget.take(1).map_err(|what| cursor.error(what))?;
        match cursor.peek() {
            None => return Err(open),
            Some('}') => break,
            Some('[') => {
                let (notes, _) = chord(cursor, voice, budget)?;
                voice.grace(notes);
            }
            Some('^' | '_' | '=' | 'A'..='G' | 'a'..='g') => {
                let (pitch, _) = note(cursor, voice)?;
                voice.grace(vec![Note { pitch, tied: false }]);
            }
            Some(' ' | '\t' | '(' | ')' | '-' | '<' | '>' | '.' | '~') => {
                cursor.next();
            }
            Some(other) => {
                return Err(cursor.error(format!("{other:?} means nothing among grace notes")));
            }
        }
    }
    cursor.next();
    Ok(())
}

/// After `(`: a tuplet when a digit follows, else a slur, which changes no note.
fn opening(cursor: &mut Cursor<'_>, voice: &mut Voice) -> Result<(), SourceError> {
    let start = cursor.error("");
    cursor.next();
    if cursor.peek() == Some('&') {
        return Err(cursor.error("overlays of several bars are not supported; use & in each bar"));
    }
    let Some(actual) = cursor.number()? else {
        return Ok(());
    };
    let (mut normal, mut count) = (None, None);
    if cursor.eat(':') {
        normal = cursor.number()?;
        if cursor.eat(':') {
            count = cursor.number()?;
        }
    }
    let normal = normal.or_else(|| usual_normal(actual, &voice.setting.meter));
    let count = count.unwrap_or(actual);
    let sane = |number: u32| (1..=99).contains(&number);
    match (u16::try_from(actual), normal.map(u16::try_from)) {
        (Ok(above), Some(Ok(below))) if sane(actual) && sane(u32::from(below)) && sane(count) => {
            let ratio = Tuplet {
                actual: above,
                normal: below,
            };
            voice.begin_tuplet(ratio, count);
            Ok(())
        }
        _ => Err(SourceError {
            what: format!("({actual} is no tuplet: its numbers go from 1 to 99, alone from 2 to 9"),
            ..start
        }),
    }
}

/// The time a tuplet takes when the source does not say: the table of ABC 2.1, section 4.13.
fn usual_normal(actual: u32, meter: &Meter) -> Option<u32> {
    let compound = match meter {
        Meter::Beats { groups, unit: 8 } => {
            groups.len() == 1 && matches!(groups.first(), Some(6 | 9 | 12))
        }
        Meter::Beats { .. } | Meter::Free => false,
    };
    match actual {
        2 | 4 | 8 => Some(3),
        3 | 6 => Some(2),
        5 | 7 | 9 => Some(if compound { 3 } else { 2 }),
        _ => None,
    }
}

/// The length after a note: `3`, `/2`, `3/2`, `/`, `//`, times `unit`.
fn length(cursor: &mut Cursor<'_>, unit: Beat) -> Result<Beat, SourceError> {
    let start = cursor.error("the note's length is zero, too long or too fine");
    let above = cursor.number()?.unwrap_or(1);
    let slashes = cursor.take_while(|letter| letter == '/').len();
    let below = match (slashes, cursor_number_after(cursor, slashes)?) {
        (0, _) => 1,
        (1, Some(number)) => number,
        (_, Some(_)) => return Err(start),
        (count, None) if count <= 16 => 1 << count,
        _ => return Err(start),
    };
    unit.scaled(i64::from(above), i64::from(below))
        .filter(|length| !length.is_zero())
        .ok_or(start)
}

fn cursor_number_after(
    cursor: &mut Cursor<'_>,
    slashes: usize,
) -> Result<Option<u32>, SourceError> {
    if slashes == 0 {
        Ok(None)
    } else {
        cursor.number()
    }
}

/// Steps over `"text"`, `!decoration!` or `+decoration+`.
fn skip_quoted(cursor: &mut Cursor<'_>, quote: char) -> Result<(), SourceError> {
    let open = cursor.error(format!("{quote} is not closed on its line"));
    cursor.next();
    cursor.take_through(quote).map(|_| ()).ok_or(open)
}
