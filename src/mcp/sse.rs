//! Server-sent events as the Streamable HTTP transport uses them: encoding, and the ids by which
//! a client resumes a stream. It does not know where events are kept.

use std::fmt;
use std::time::Duration;

/// Position of an event: the stream within its session, and the event within the stream. On the
/// wire `STREAM-SEQ`, the stream in base 36.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// Number of the stream; 0 is the session's standalone stream.
    pub stream: u64,
    /// Number of the event; 0 is the priming event.
    pub seq: u64,
}

impl EventId {
    /// Reads an id of ours; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (stream, seq) = text.split_once('-')?;
        let plain = |s: &str| {
            !s.is_empty() && s.len() <= 20 && s.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        if !plain(stream) || !plain(seq) {
            return None;
        }
        Some(Self {
            stream: u64::from_str_radix(stream, 36).ok()?,
            seq: seq.parse().ok()?,
        })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0u8; 13];
        let mut at = digits.len();
        let mut rest = self.stream;
        loop {
            at -= 1;
            let digit = u8::try_from(rest % 36).unwrap_or(0);
            if let Some(slot) = digits.get_mut(at) {
                *slot = if digit < 10 {
                    b'0' + digit
                } else {
                    b'a' + digit - 10
                };
            }
            rest /= 36;
            if rest == 0 || at == 0 {
                break;
            }
        }
        for digit in digits.get(at..).unwrap_or_default() {
            write!(f, "{}", char::from(*digit))?;
        }
        write!(f, "-{}", self.seq)
    }
}

/// One event that carries a message. `data` must be a single line.
pub fn event(out: &mut Vec<u8>, id: Option<EventId>, data: &[u8]) {
    use std::io::Write as _;
    out.reserve(data.len() + 40);
    if let Some(id) = id {
        // Writing to a Vec cannot fail.
        let _ = writeln!(out, "id: {id}");
    }
    out.extend_from_slice(b"event: message\ndata: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// The first event of a resumable stream (MCP 2025-11-25, SEP-1699): an id, empty data and how
/// long to wait before reconnecting.
pub fn priming(out: &mut Vec<u8>, id: EventId, retry: Duration) {
    use std::io::Write as _;
    let _ = write!(out, "id: {id}\nretry: {}\ndata: \n\n", retry.as_millis());
}

/// A comment; keeps proxies from closing a silent connection.
pub const KEEPALIVE: &[u8] = b": keepalive\n\n";

#[cfg(test)]
mod tests {
    use super::{EventId, event, priming};
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn events_have_the_form_of_the_html_standard() {
        let id = EventId { stream: 36, seq: 7 };
        let mut out = Vec::new();
        priming(
            &mut out,
            EventId { stream: 36, seq: 0 },
            Duration::from_millis(500),
        );
        event(&mut out, Some(id), b"{}");
        event(&mut out, None, b"[]");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "id: 10-0\nretry: 500\ndata: \n\nid: 10-7\nevent: message\ndata: {}\n\nevent: message\ndata: []\n\n"
        );
    }

    #[test]
    fn ids_of_others_are_refused() {
        for bad in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1-+1",
            "1-1-1",
            "zzzzzzzzzzzzzzzz-1",
            "1-x",
            "a b-1",
        ] {
            assert_eq!(EventId::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn ids_read_back(stream: u64, seq: u64) {
            let id = EventId { stream, seq };
            prop_assert_eq!(EventId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn reading_any_text_does_not_panic(text in ".*") {
            let _ = EventId::parse(&text);
        }
    }
}
