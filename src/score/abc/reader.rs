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
