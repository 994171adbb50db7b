//! Reading server-sent events (WHATWG HTML, section 9.2.6) with bounded memory, as they come from
//! an upstream: any line end, comments, data in several lines. It does not know what an event
//! means, nor when to reconnect.

use std::time::Duration;

use super::frame::HEAD;

/// One event, or what is told beside events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An event with data; its line ends are spaces, which is what they mean between JSON tokens.
    Message(Vec<u8>),
    /// An event larger than the limit was discarded; the head of its data.
    Oversize(Vec<u8>),
}

/// Splits a byte stream into events and keeps what a reconnection needs.
#[derive(Debug)]
pub struct EventReader {
    limit: usize,
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    id: Option<String>,
    last_id: Option<String>,
    retry: Option<Duration>,
    /// The last byte was a CR: a LF after it belongs to the same line end.
    after_cr: bool,
    /// The line or the data has become too long; what follows of it is discarded.
    line_over: bool,
    data_over: bool,
    begun: bool,
}

/// Longest event id that is kept; a longer one is as good as none.
const LONGEST_ID: usize = 4096;
/// Room for field names beside the data itself.
const FIELD_NAME: usize = 16;

impl EventReader {
    /// A reader that discards events with more than `limit` bytes of data.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            id: None,
            last_id: None,
            retry: None,
            after_cr: false,
            line_over: false,
            data_over: false,
            begun: false,
        }
    }

    /// The id to resume after, if an event had one.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How long to wait before reconnecting, if the server said so.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// A new connection begins: what was half read is forgotten, what was learned is kept.
    pub fn restart(&mut self) {
        self.line.clear();
        self.data.clear();
        self.has_data = false;
        self.id = None;
        self.after_cr = false;
        self.line_over = false;
        self.data_over = false;
        self.begun = false;
    }

    /// Takes bytes; `each` gets every event that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Event)) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes.first() == Some(&b'\n') {
                bytes = bytes.get(1..).unwrap_or_default();
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                self.keep(bytes);
                return;
            };
            let (part, rest) = bytes.split_at(end);
            self.keep(part);
            self.after_cr = rest.first() == Some(&b'\r');
            bytes = rest.get(1..).unwrap_or_default();
            if let Some(event) = self.end_line() {
                each(event);
            }
        }
    }

    fn keep(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > self.limit + FIELD_NAME {
            // The head is kept: it may tell whose answer it was.
            let room = HEAD.saturating_sub(self.line.len()).min(part.len());
            self.line
                .extend_from_slice(part.get(..room).unwrap_or_default());
            self.line.truncate(HEAD.max(FIELD_NAME));
            self.line_over = true;
        }
        if !self.line_over {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) -> Option<Event> {
        let mut line = std::mem::take(&mut self.line);
        let over = std::mem::take(&mut self.line_over);
        if !std::mem::replace(&mut self.begun, true) && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let colon = memchr::memchr(b':', &line).unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => self.add_data(value, over),
            b"id" if !over && value.len() <= LONGEST_ID && !value.contains(&0) => {
                self.id = String::from_utf8(value.to_vec()).ok();
            }
            b"retry" => {
                let text = std::str::from_utf8(value).ok();
                let number = text.filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
                if let Some(number) = number.and_then(|t| t.parse().ok()) {
                    self.retry = Some(Duration::from_millis(number));
                }
            }
            // Comments have an empty name; event types say nothing in MCP.
            _ => {}
        }
        None
    }

    fn add_data(&mut self, value: &[u8], over: bool) {
        if self.has_data && !self.data_over {
            self.data.push(b' ');
        }
        self.has_data = true;
        if self.data_over {
            return;
        }
        if over || self.data.len() + value.len() > self.limit {
            self.data_over = true;
            let room = HEAD.saturating_sub(self.data.len()).min(value.len());
            self.data
                .extend_from_slice(value.get(..room).unwrap_or_default());
            self.data.truncate(HEAD);
        } else {
            self.data.extend_from_slice(value);
        }
    }

    fn dispatch(&mut self) -> Option<Event> {
        // An id counts once its event is whole; that of an event without data too.
        if let Some(id) = self.id.take() {
            self.last_id = (!id.is_empty()).then_some(id);
        }
        let data = std::mem::take(&mut self.data);
        let over = std::mem::take(&mut self.data_over);
        self.has_data = false;
        if data.is_empty() {
            return None;
        }
        Some(if over {
            Event::Oversize(data)
        } else {
            Event::Message(data)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, EventReader};
    use proptest::prelude::*;
    use std::time::Duration;

    fn read(reader: &mut EventReader, input: &[u8], step: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for part in input.chunks(step.max(1)) {
            reader.feed(part, |event| events.push(event));
        }
        events
    }

    fn message(text: &str) -> Event {
        Event::Message(text.into())
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let mut reader = EventReader::new(100);
        let input =
            b"\xef\xbb\xbf: hello\nid: 1-0\nretry: 500\ndata: \n\nevent: message\r\nid:2\r\n\
            data: {\"a\":\r\ndata: 1}\r\n\r\ndata:{}\r\rid: 3\ndata: half";
        let got = read(&mut reader, input, 1);
        assert_eq!(got, [message("{\"a\": 1}"), message("{}")]);
        assert_eq!(reader.last_id(), Some("2"));
        assert_eq!(reader.retry(), Some(Duration::from_millis(500)));
        reader.restart();
        assert_eq!(read(&mut reader, b"data: x\n\n", 99), [message("x")]);
    }

    #[test]
    fn what_is_too_large_is_discarded_in_bounded_memory() {
        let mut reader = EventReader::new(10_000);
        let mut input = b"data: {\"id\":7,".to_vec();
        input.extend(vec![b'x'; 5_000_000]);
        input.extend_from_slice(b"\n\ndata: ok\n\n");
        let got = read(&mut reader, &input, 5000);
        let [Event::Oversize(head), ok] = got.as_slice() else {
            panic!("{}", got.len());
        };
        assert!(head.starts_with(b"{\"id\":7,xxx") && head.len() <= 4096);
        assert_eq!(*ok, message("ok"));
        assert!(reader.line.capacity() + reader.data.capacity() < 50_000);
        let many = b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(10_000);
        assert!(read(&mut reader, &many, 4096).is_empty());
        assert!(reader.data.len() < 20_000);
        assert!(matches!(
            read(&mut reader, b"\n", 1)[..],
            [Event::Oversize(_)]
        ));
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_does_not_matter(
            lines in prop::collection::vec("(data: [a-z]{0,9}|id: [a-z0-9]{0,3}|: c|)", 0..20),
            end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
            step in 1usize..9,
        ) {
            let input = lines.join(end).into_bytes();
            let (mut one, mut other) = (EventReader::new(12), EventReader::new(12));
            prop_assert_eq!(read(&mut one, &input, step), read(&mut other, &input, usize::MAX));
            prop_assert_eq!(one.last_id(), other.last_id());
        }

        #[test]
        fn any_bytes_are_survived(input in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = EventReader::new(20);
            read(&mut reader, &input, 7);
        }
    }
}
