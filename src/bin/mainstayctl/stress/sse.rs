//! Server-sent events out of the bytes of a body, cut anywhere, as the HTML standard says. It knows
//! nothing of what they carry.

/// Bytes of one event that are kept; a longer one is an error.
const LIMIT: usize = 32 << 20;

/// One event. `id` is the last one the stream has given so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// What has come of a stream so far.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// A CR was the last byte: an LF now belongs to it.
    after_cr: bool,
    begun: bool,
    data: String,
    has_data: bool,
    last_id: Option<String>,
    retry_ms: Option<u64>,
}

impl Parser {
    /// The id to resume from.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How long the server wants to be left alone before a resumption.
    pub(crate) fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// A resumed stream begins anew, but goes on with the ids.
    pub(crate) fn resumed(&mut self) {
        *self = Self {
            last_id: self.last_id.take(),
            retry_ms: self.retry_ms,
            ..Self::default()
        };
    }

    /// The events that these bytes complete, or nothing if one is too large.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Option<Vec<Event>> {
        let mut events = Vec::new();
        for byte in bytes {
            let follows = std::mem::take(&mut self.after_cr);
            match byte {
                b'\n' if follows => {}
                b'\n' | b'\r' => {
                    self.after_cr = *byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.end_line(&line));
                }
                byte => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() > LIMIT {
                return None;
            }
        }
        Some(events)
    }

    fn end_line(&mut self, line: &[u8]) -> Option<Event> {
        let text = String::from_utf8_lossy(line);
        let mut text = text.as_ref();
        if !std::mem::replace(&mut self.begun, true) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            let data = std::mem::take(&mut self.data);
            let id = self.last_id.clone();
            return std::mem::take(&mut self.has_data).then_some(Event { id, data });
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.last_id = Some(value.to_owned()),
            "retry" => self.retry_ms = value.parse().ok().or(self.retry_ms),
            // A comment has an empty field; others are not for us.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(id: Option<&str>, data: &str) -> Event {
        Event {
            id: id.map(ToOwned::to_owned),
            data: data.to_owned(),
        }
    }

    const STREAM: &str = "\u{feff}: hello\nid: 1-0\nretry: 40\ndata: \n\nevent: message\r\nid:1-1\r\n\
                          data: {\"a\":1}\r\n\r\ndata: two\rdata:  lines\r\rid: 9\n\ndata: cut off";

    #[test]
    fn a_stream_with_all_there_is() {
        let mut parser = Parser::default();
        let events = parser.feed(STREAM.as_bytes()).unwrap();
        let wanted = [
            event(Some("1-0"), ""),
            event(Some("1-1"), "{\"a\":1}"),
            event(Some("1-1"), "two\n lines"),
        ];
        assert_eq!(events, wanted);
        assert_eq!((parser.last_id(), parser.retry_ms()), (Some("9"), Some(40)));
        parser.resumed();
        assert_eq!(
            parser.feed(b"data: x\n\n").unwrap(),
            [event(Some("9"), "x")]
        );
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut parser = Parser::default();
        let chunk = vec![b'x'; 1 << 20];
        assert!((0..33).any(|_| parser.feed(&chunk).is_none()));
    }

    proptest! {
        #[test]
        fn where_it_is_cut_does_not_matter(cuts in proptest::collection::vec(1..9_usize, 0..60)) {
            let (mut parser, mut events) = (Parser::default(), Vec::new());
            let mut rest = STREAM.as_bytes();
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                events.extend(parser.feed(now).unwrap());
                rest = later;
            }
            events.extend(parser.feed(rest).unwrap());
            prop_assert_eq!(events, Parser::default().feed(STREAM.as_bytes()).unwrap());
        }
    }
}
