//! Replacing parts of a message while every other byte stays as it was: ids, progress tokens and
//! subscription ids when clients share a worker. It knows offsets, not protocol.

use serde_json::value::RawValue;
use std::ops::Range;

/// Where `part`, which must borrow from `whole`, lies in it.
#[must_use]
pub fn range_of(whole: &[u8], part: &RawValue) -> Range<usize> {
    let start = (part.get().as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    let end = start.wrapping_add(part.get().len());
    debug_assert!(start <= end && end <= whole.len());
    start..end
}

/// One replacement.
#[derive(Debug)]
pub struct Edit<'a> {
    /// Bytes to replace.
    pub range: Range<usize>,
    /// What to put there.
    pub with: &'a [u8],
}

/// `source` with the edits applied and every raw line break turned into a space, so that the
/// result is one frame; `newline` appends the frame's end. (In valid JSON a raw line break can
/// only be white space between tokens.) Edits that overlap or lie outside are left out.
#[must_use]
pub fn splice(source: &[u8], edits: &mut [Edit<'_>], newline: bool) -> Vec<u8> {
    edits.sort_by_key(|e| e.range.start);
    let grow: usize = edits.iter().map(|e| e.with.len()).sum();
    let mut out = Vec::with_capacity(source.len() + grow + 1);
    let mut at = 0;
    for edit in edits.iter() {
        let Some(kept) = source.get(at..edit.range.start) else {
            continue;
        };
        out.extend_from_slice(kept);
        out.extend_from_slice(edit.with);
        at = edit.range.end;
    }
    out.extend_from_slice(source.get(at..).unwrap_or_default());
    if memchr::memchr2(b'\n', b'\r', &out).is_some() {
        for byte in &mut out {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
    if newline {
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Edit, range_of, splice};
    use crate::mcp::envelope::{Message, parse};
    use proptest::prelude::*;

    #[test]
    fn only_the_named_bytes_change() {
        let line = b"{ \"id\" : \"a\",\n\"jsonrpc\":\"2.0\",\"method\":\"m\",\"x\":1.0}";
        let Ok(Message::Request { id, .. }) = parse(line) else {
            unreachable!()
        };
        let out = splice(
            line,
            &mut [Edit {
                range: range_of(line, id),
                with: b"7",
            }],
            true,
        );
        assert_eq!(
            out,
            b"{ \"id\" : 7, \"jsonrpc\":\"2.0\",\"method\":\"m\",\"x\":1.0}\n"
        );
    }

    proptest! {
        #[test]
        fn an_id_replaced_and_restored_gives_the_same_bytes(
            id in prop_oneof!["(0|-?[1-9][0-9]{0,29})", "\"[ -!#-\\[\\]-~]{0,20}\""],
            tail in "[ -!#-\\[\\]-~]{0,40}",
        ) {
            let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"m\",\"params\":{{\"k\":\"{tail}\"}}}}");
            let down = {
                let Ok(Message::Request { id, .. }) = parse(line.as_bytes()) else { unreachable!() };
                splice(line.as_bytes(), &mut [Edit { range: range_of(line.as_bytes(), id), with: b"123" }], false)
            };
            let Ok(Message::Request { id: down_id, .. }) = parse(&down) else { unreachable!() };
            prop_assert_eq!(down_id.get(), "123");
            let up = splice(&down, &mut [Edit { range: range_of(&down, down_id), with: id.as_bytes() }], false);
            prop_assert_eq!(up, line.into_bytes());
        }
    }
}
