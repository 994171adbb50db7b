//! What a client of the load says: the bytes of one call, prepared once, with the places where
//! its number goes. All clients count from the same number, so that their ids collide.

use std::ops::Range;

/// The first number; ten digits, so that every call has the same length.
const FIRST: u64 = 1_000_000_000;
const DIGITS: usize = 10;

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// 2026-07-28, stateless, JSON answers.
    Modern,
    /// 2025-11-25, in a session, streamed answers.
    Legacy,
    /// Anything that takes a POST; the answer is not looked at.
    Raw,
}

/// The metadata of a modern request, with the comma behind it.
pub(crate) const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"load","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}},"#;

/// One client's call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Vec<u8>,
    places: [Range<usize>; 2],
    number: u64,
    id: Vec<u8>,
    text: Vec<u8>,
    checked: bool,
}

/// The JSON-RPC message of one call.
pub(crate) fn message(script: Script, client: usize) -> String {
    let meta = if script == Script::Legacy { "" } else { META };
    format!(
        r#"{{"jsonrpc":"2.0","id":{FIRST},"method":"tools/call","params":{{{meta}"name":"echo","arguments":{{"text":"{client:04}-{FIRST}"}}}}}}"#
    )
}

impl Call {
    /// Prepares the call of `client`, after `head` (which ends with an empty line, or is empty).
    pub(crate) fn new(head: &str, message: &str, client: usize, checked: bool) -> Self {
        let request = format!("{head}{message}").into_bytes();
        let digits = FIRST.to_string();
        let mut found = message.match_indices(&digits).map(|(at, _)| {
            let start = head.len() + at;
            start..start + DIGITS
        });
        let places = [found.next().unwrap_or(0..0), found.next().unwrap_or(0..0)];
        Self {
            request,
            places,
            number: FIRST,
            id: format!(r#""id":{digits},"#).into_bytes(),
            text: format!(r#""text":"{client:04}-{digits}""#).into_bytes(),
            checked,
        }
    }

    /// Turns to the next number.
    pub(crate) fn next(&mut self) {
        self.number += 1;
        let digits = self.number.to_string();
        for place in &self.places {
            if let Some(place) = self.request.get_mut(place.clone()) {
                place.copy_from_slice(digits.as_bytes());
            }
        }
        let (id, text) = (self.id.len() - 1, self.text.len() - 1);
        for (needle, end) in [(&mut self.id, id), (&mut self.text, text)] {
            if let Some(place) = needle.get_mut(end - DIGITS..end) {
                place.copy_from_slice(digits.as_bytes());
            }
        }
    }

    /// Whether this is the answer to this call and to no other.
    pub(crate) fn is_answered_by(&self, status: u16, body: &[u8]) -> bool {
        let holds = |needle: &[u8]| memchr::memmem::find(body, needle).is_some();
        status == 200 && (!self.checked || (holds(&self.id) && holds(&self.text)))
    }
}
