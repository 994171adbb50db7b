//! XML as small trees, read piece by piece, guarded.
//!
//! Owns what may be dangerous in XML: depth, entities, document types. Knows no music.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::score::source::SourceError;

/// The deepest nesting accepted; MusicXML itself needs about ten levels.
const MAX_DEPTH: usize = 64;

/// One element with everything in it.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
    /// Where it begins in the source, in bytes.
    pub(super) place: usize,
}

impl Element {
    /// The first child of a name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Every child of a name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The trimmed text of the first child of a name.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim())
    }

    /// The value of an attribute.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A child of the element being read, opened but not read.
pub(super) struct Opened {
    pub(super) element: Element,
    empty: bool,
}

/// Walks through a source.
pub(super) struct Walker<'a> {
    source: &'a str,
    reader: Reader<&'a [u8]>,
    depth: usize,
}

impl<'a> Walker<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        let mut reader = Reader::from_str(source);
        reader.config_mut().check_end_names = true;
        Self {
            source,
            reader,
            depth: 0,
        }
    }

    /// An error at a place in the source.
    pub(super) fn error_at(&self, place: usize, what: impl Into<String>) -> SourceError {
        let bytes = self.source.as_bytes();
        let before = &bytes[..place.min(bytes.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let column = 1 + String::from_utf8_lossy(&before[start..]).chars().count();
        SourceError::at(line, column, what)
    }

    /// An error where the walk stands.
    pub(super) fn error(&self, what: impl Into<String>) -> SourceError {
        self.error_at(self.place(), what)
    }

    fn place(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    /// Steps to the next child of the element being read; `None` at its end (or the document's).
    pub(super) fn open(&mut self) -> Result<Option<Opened>, SourceError> {
        loop {
            let place = self.place();
            match self.event()? {
                Event::Start(start) => {
                    let element = head(&start, place);
                    self.deeper()?;
                    return Ok(Some(Opened {
                        element,
                        empty: false,
                    }));
                }
                Event::Empty(start) => {
                    let element = head(&start, place);
                    return Ok(Some(Opened {
                        element,
                        empty: true,
                    }));
                }
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    return Ok(None);
                }
                Event::Eof if self.depth > 0 => {
                    return Err(self.error("the document ends in the middle"));
                }
                Event::Eof => return Ok(None),
                _ => {}
            }
        }
    }

    /// Reads the rest of an opened element.
    pub(super) fn tree(&mut self, opened: Opened) -> Result<Element, SourceError> {
        let mut current = opened.element;
        if opened.empty {
            return Ok(current);
        }
        let mut above: Vec<Element> = Vec::new();
        loop {
            let place = self.place();
            match self.event()? {
                Event::Start(start) => {
                    let child = head(&start, place);
                    self.deeper()?;
                    above.push(std::mem::replace(&mut current, child));
                }
                Event::Empty(start) => current.children.push(head(&start, place)),
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    let Some(parent) = above.pop() else {
                        return Ok(current);
                    };
                    let child = std::mem::replace(&mut current, parent);
                    current.children.push(child);
                }
                Event::Text(text) => {
                    let text = text.decode();
                    current
                        .text
                        .push_str(&text.map_err(|error| self.error(error.to_string()))?);
                }
                Event::CData(text) => {
                    let text = text.decode();
                    current
                        .text
                        .push_str(&text.map_err(|error| self.error(error.to_string()))?);
                }
                Event::GeneralRef(entity) => {
                    let name = entity
                        .decode()
                        .map(std::borrow::Cow::into_owned)
                        .unwrap_or_default();
                    let number = entity.resolve_char_ref().ok().flatten();
                    let letter = number.or(match name.as_str() {
                        "amp" => Some('&'),
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "quot" => Some('"'),
                        "apos" => Some('\''),
                        _ => None,
                    });
                    current.text.push(letter.ok_or_else(|| {
                        self.error(format!(
                            "entity &{name}; is not supported; only XML's own five are"
                        ))
                    })?);
                }
                Event::Eof => return Err(self.error("the document ends in the middle")),
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) | Event::DocType(_) => {}
            }
        }
    }

    /// Steps over the rest of an opened element.
    pub(super) fn skip(&mut self, opened: &Opened) -> Result<(), SourceError> {
        if opened.empty {
            return Ok(());
        }
        while let Some(inner) = self.open()? {
            self.skip(&inner)?;
        }
        Ok(())
    }

    /// Whether an opened element has anything in it.
    pub(super) fn enters(opened: &Opened) -> bool {
        !opened.empty
    }

    fn event(&mut self) -> Result<Event<'a>, SourceError> {
        let event = self.reader.read_event();
        let event =
            event.map_err(|error| self.error(format!("this is no well-formed XML: {error}")))?;
        if let Event::DocType(doctype) = &event {
            // A document type's address is never fetched; what it declares itself is not supported.
            if doctype.contains(&b'[') {
                return Err(self.error(
                    "a DOCTYPE with an internal subset is not supported; remove the part in brackets",
                ));
            }
        }
        Ok(event)
    }

    fn deeper(&mut self) -> Result<(), SourceError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("elements are nested more than {MAX_DEPTH} deep")));
        }
        Ok(())
    }
}

/// An element without its content. Duplicate attributes are not looked for: the first one counts.
fn head(start: &BytesStart<'_>, place: usize) -> Element {
    let mut attributes = start.attributes();
    let attributes = attributes.with_checks(false).flatten();
    Element {
        name: String::from_utf8_lossy(start.local_name().as_ref()).into_owned(),
        attributes: attributes
            .filter(|attribute| {
                matches!(
                    attribute.key.as_ref(),
                    b"id" | b"number" | b"type" | b"direction"
                )
            })
            .take(8)
            .map(|attribute| {
                let name = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
                (name, String::from_utf8_lossy(&attribute.value).into_owned())
            })
            .collect(),
        place,
        ..Element::default()
    }
}
