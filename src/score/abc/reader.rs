//! Lines of an ABC tune: header, body, voices.

use super::cursor::Cursor;
use super::voice::{Propagation, Setting, Voice};
use super::{bar, field, music};
use crate::score::model::{Beat, KeySignature, Meter, Score};
use crate::score::source::{Budget, MAX_PARTS, MAX_SOURCE_BYTES, SourceError, text};

/// Reads one tune.
///
/// # Errors
/// The first thing that is no ABC 2.1, or that is beyond a limit, with its line and column.
pub fn read(source: &str) -> Result<Score, SourceError> {
    if source.len() > MAX_SOURCE_BYTES {
        let what = format!("the source is larger than {MAX_SOURCE_BYTES} bytes");
        return Err(SourceError::at(1, 1, what));
    }
    let mut reader = Reader::new();
    for (index, line) in source.split('\n').enumerate() {
        reader.line(line.trim_end_matches('\r'), index + 1)?;
    }
    reader.finish()
}

/// What has been read so far.
struct Reader {
    title: Option<String>,
    composer: Option<String>,
    meter: Option<Meter>,
    unit: Option<Beat>,
    key: Option<KeySignature>,
    octave: i32,
    propagation: Propagation,
    /// Voices named in the header, in order: id, name, octave shift.
    announced: Vec<(String, String, Option<i32>)>,
    voices: Vec<Voice>,
    current: usize,
    budget: Budget,
    in_body: bool,
    ended: bool,
    in_text_block: bool,
    last_line: usize,
}

impl Reader {
    fn new() -> Self {
        Self {
            title: None,
            composer: None,
            meter: None,
            unit: None,
            key: None,
            octave: 0,
            propagation: Propagation::Letter,
            announced: Vec::new(),
            voices: Vec::new(),
            current: 0,
            budget: Budget::default(),
            in_body: false,
            ended: false,
            in_text_block: false,
            last_line: 1,
        }
    }

    fn line(&mut self, line: &str, number: usize) -> Result<(), SourceError> {
        let line = if number == 1 {
            line.trim_start_matches('\u{feff}')
        } else {
            line
        };
        if let Some(directive) = line.strip_prefix("%%") {
            return self.directive(directive, number);
        }
        if self.in_text_block || line.starts_with('%') {
            return Ok(());
        }
        let line = without_comment(line);
        if line.trim().is_empty() {
            // An empty line ends a tune, a line of nothing but a comment does not.
            self.ended |= self.in_body;
            return Ok(());
        }
        if self.ended {
            let what =
                "there is text after the empty line that ended the tune; send one tune at a time";
            return Err(SourceError::at(number, 1, what));
        }
        self.last_line = number;
        match field_letter(line, self.in_body) {
            Some(letter) => {
                let value = &line[2..];
                let column = 3 + value
                    .chars()
                    .take_while(|letter| letter.is_whitespace())
                    .count();
                self.field(letter, value.trim())
                    .map_err(|what| SourceError::at(number, column, what))
            }
            None if self.in_body => self.music(line, number),
            // `+:` continues the field above; none that may be long matters here.
            None if line.starts_with("+:") => Ok(()),
            None => Err(SourceError::at(
                number,
                1,
                "a tune begins with fields such as T:, M:, L: and K:, and K: must come before the music",
            )),
        }
    }

    /// A line of music code; it may hold inline fields.
    fn music(&mut self, line: &str, number: usize) -> Result<(), SourceError> {
        if line.starts_with("+:") {
            return Ok(());
        }
        let mut cursor = Cursor::new(line, number, 1);
        loop {
            cursor.take_while(char::is_whitespace);
            if cursor.peek().is_none() {
                return Ok(());
            }
            if let Some((letter, value)) = inline_field(cursor.rest()) {
                let place = cursor.error("");
                self.field(letter, value.trim())
                    .map_err(|what| SourceError { what, ..place })?;
                cursor.take_through(']');
                continue;
            }
            let column = cursor.column();
            let bar = bar::read(&mut cursor)?;
            let voice = self.voice();
            match bar {
                Some(bar) => voice
                    .bar(&bar)
                    .map_err(|what| SourceError::at(number, column, what))?,
                None => {
                    let index = self.current;
                    music::element(&mut cursor, &mut self.voices[index], &mut self.budget)?;
                }
            }
        }
    }

    /// A field, at the start of a line or inline. The error is the rest of a sentence.
    fn field(&mut self, letter: char, value: &str) -> Result<(), String> {
        match letter {
            'T' if self.title.is_none() => self.title = text(value),
            'C' if self.composer.is_none() => self.composer = text(value),
            'K' => self.key_field(value)?,
            'M' => {
                let meter = field::meter(value)?;
                if self.in_body {
                    self.voice().set_meter(meter);
                } else {
                    self.meter = Some(meter);
                }
            }
            'L' => {
                let unit = field::unit_length(value)?;
                if self.in_body {
                    self.voice().setting.unit = unit;
                } else {
                    self.unit = Some(unit);
                }
            }
            'V' => self.voice_field(value)?,
            'I' => self.instruction(value)?,
            'm' => return Err("macros (m:) are not supported; write the notes out".into()),
            'X' if self.in_body => {
                return Err("a second tune begins; send one tune at a time".into());
            }
            _ => {}
        }
        Ok(())
    }

    /// `K:` ends the header; later ones change the current voice.
    fn key_field(&mut self, value: &str) -> Result<(), String> {
        let key = field::key(value)?;
        if self.in_body {
            let voice = self.voice();
            if let Some(octave) = key.octave {
                voice.setting.octave = octave;
            }
            if let Some(signature) = key.signature {
                voice.set_key(signature);
            }
            return Ok(());
        }
        self.in_body = true;
        self.octave = key.octave.unwrap_or(0);
        self.key = key.signature;
        for (id, name, octave) in std::mem::take(&mut self.announced) {
            self.add_voice(id, name, octave)?;
        }
        Ok(())
    }

    fn voice_field(&mut self, value: &str) -> Result<(), String> {
        let id = value
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned();
        if id.is_empty() {
            return Err("a voice needs a name: V:1".into());
        }
        let name = field::name_option(value).and_then(|name| text(&name));
        let octave = field::octave_option(value)?;
        if !self.in_body {
            if self.announced.len() >= MAX_PARTS {
                return Err(format!("there are more than {MAX_PARTS} voices"));
            }
            if !self.announced.iter().any(|(known, ..)| *known == id) {
                self.announced.push((id, name.unwrap_or_default(), octave));
            }
            return Ok(());
        }
        if let Some(index) = self.voices.iter().position(|voice| voice.id == id) {
            self.current = index;
            let voice = &mut self.voices[index];
            if let Some(name) = name {
                voice.name = name;
            }
            if let Some(octave) = octave {
                voice.setting.octave = octave;
            }
            return Ok(());
        }
        self.add_voice(id, name.unwrap_or_default(), octave)?;
        self.current = self.voices.len() - 1;
        Ok(())
    }

    fn add_voice(&mut self, id: String, name: String, octave: Option<i32>) -> Result<(), String> {
        if self.voices.len() >= MAX_PARTS {
            return Err(format!("there are more than {MAX_PARTS} voices"));
        }
        let setting = self.setting(octave);
        self.voices.push(Voice::new(id, name, setting));
        Ok(())
    }

    fn setting(&self, octave: Option<i32>) -> Setting {
        let meter = self.meter.clone().unwrap_or(Meter::Free);
        let implied = field::implied_unit(&meter).unwrap_or(Beat::whole(1));
        Setting {
            key: self.key.clone().unwrap_or_else(KeySignature::none),
            unit: self.unit.unwrap_or(implied),
            meter,
            octave: octave.unwrap_or(self.octave),
            propagation: self.propagation,
        }
    }

    /// The voice music goes to: the one last named, else the first, else one without a name.
    fn voice(&mut self) -> &mut Voice {
        if self.voices.is_empty() {
            let setting = self.setting(None);
            self.voices
                .push(Voice::new(String::new(), String::new(), setting));
        }
        &mut self.voices[self.current]
    }

    /// A stylesheet directive; only the reach of accidentals changes notes.
    fn directive(&mut self, directive: &str, number: usize) -> Result<(), SourceError> {
        let directive = directive.trim();
        if directive.starts_with("begin") {
            self.in_text_block = true;
        } else if directive.starts_with("end") {
            self.in_text_block = false;
        } else if !self.in_text_block {
            self.instruction(directive)
                .map_err(|what| SourceError::at(number, 3, what))?;
        }
        Ok(())
    }

    fn instruction(&mut self, instruction: &str) -> Result<(), String> {
        let Some(reach) = instruction.strip_prefix("propagate-accidentals") else {
            return Ok(());
        };
        self.propagation = match reach.trim() {
            "not" => Propagation::Not,
            "octave" => Propagation::Octave,
            "pitch" => Propagation::Letter,
            other => {
                return Err(format!(
                    "accidentals propagate not, octave or pitch, never {other:?}"
                ));
            }
        };
        for voice in &mut self.voices {
            voice.setting.propagation = self.propagation;
        }
        Ok(())
    }

    fn finish(self) -> Result<Score, SourceError> {
        let end = |what: String| SourceError::at(self.last_line, 1, what);
        if !self.in_body {
            return Err(end("the tune has no K: field".into()));
        }
        let parts: Result<Vec<_>, _> = self.voices.into_iter().map(Voice::finish).collect();
        let mut parts = parts.map_err(end)?;
        // A voice that was announced and never sung is no part.
        parts.retain(|part| !part.measures.is_empty());
        let mut score = Score {
            title: self.title,
            composer: self.composer,
            parts,
        };
        if score.parts.is_empty() {
            return Err(end("the tune has no music".into()));
        }
        if score.starts().is_none() {
            return Err(end("the tune is too long".into()));
        }
        score.settle_ties();
        Ok(score)
    }
}

/// The letter of a field line. In the body `A:|` is music, not a field.
fn field_letter(line: &str, in_body: bool) -> Option<char> {
    let mut letters = line.chars();
    let letter = letters.next().filter(char::is_ascii_alphabetic)?;
    let colon = letters.next() == Some(':');
    let repeat = in_body && matches!(letters.next(), Some('|' | ':'));
    (colon && !repeat).then_some(letter)
}

/// The field in `[K:G]`, if `rest` begins with one.
fn inline_field(rest: &str) -> Option<(char, &str)> {
    let inside = rest.strip_prefix('[')?;
    let letter = inside.chars().next().filter(char::is_ascii_alphabetic)?;
    let value = inside[1..].strip_prefix(':')?;
    let end = value.find(']')?;
    // `[c:|` is no field: no note is followed by a colon inside brackets but a field's letter is.
    Some((letter, &value[..end]))
}

/// The line without its comment; `\%` and a percent sign in quotes are no comment.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    for (at, letter) in line.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '%' if !quoted && !escaped => return &line[..at],
            _ => {}
        }
        escaped = letter == '\\';
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::write;
    use super::*;

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
}
