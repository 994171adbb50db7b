//! Newline framing of a worker's stdout with bounded memory. It survives what real programs
//! print: blank lines, CRLF, a byte order mark, half lines, lines without end. It does not know
//! what a frame means.

use bytes::{Buf, BytesMut};

/// What was found in the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// One line without its end, never empty.
    Line(&'a [u8]),
    /// A line longer than the limit began; its bytes are discarded up to the next newline. This is
    /// its head, at most [`HEAD`] bytes, which may tell whose answer it was.
    Oversize(&'a [u8]),
}

/// Splits a byte stream into lines.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    /// Bytes at the front already handed out, dropped at the next call.
    consumed: usize,
    /// Bytes known to hold no newline.
    scanned: usize,
    limit: usize,
    discarding: bool,
}

/// How much is read at a time; one pipe buffer.
const CHUNK: usize = 64 * 1024;
/// Bytes of an oversize line that are shown.
pub const HEAD: usize = 4096;
/// A buffer that grew for one big frame is given back beyond this size.
const KEEP: usize = 256 * 1024;

impl FrameReader {
    /// A reader that refuses lines longer than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            consumed: 0,
            scanned: 0,
            limit,
            discarding: false,
        }
    }

    /// The buffer to read into; grows to at most `limit` plus one chunk.
    pub fn space(&mut self) -> &mut BytesMut {
        self.drop_consumed();
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(CHUNK);
        &mut self.buffer
    }

    /// The next frame, if a whole one is there.
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        loop {
            self.drop_consumed();
            let Some(found) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) else {
                if self.discarding {
                    self.buffer.clear();
                    self.scanned = 0;
                    return None;
                }
                self.scanned = self.buffer.len();
                if self.buffer.len() > self.limit {
                    self.discarding = true;
                    self.consumed = self.buffer.len();
                    self.scanned = 0;
                    return Some(Frame::Oversize(head(&self.buffer)));
                }
                return None;
            };
            let end = self.scanned + found;
            self.scanned = 0;
            self.consumed = end + 1;
            if self.discarding {
                self.discarding = false;
                continue;
            }
            if end > self.limit {
                return Some(Frame::Oversize(head(&self.buffer[..end])));
            }
            if trim(&self.buffer[..end]).is_empty() {
                continue;
            }
            return Some(Frame::Line(trim(&self.buffer[..end])));
        }
    }

    /// What is left when the stream ends: a last line that has no newline.
    pub fn finish(&mut self) -> Option<Frame<'_>> {
        self.drop_consumed();
        if self.discarding || trim(&self.buffer).is_empty() {
            return None;
        }
        self.consumed = self.buffer.len();
        Some(Frame::Line(trim(&self.buffer)))
    }

    fn drop_consumed(&mut self) {
        self.buffer.advance(std::mem::take(&mut self.consumed));
    }
}

fn head(line: &[u8]) -> &[u8] {
    line.get(..HEAD).unwrap_or(line)
}

/// Without a byte order mark and surrounding white space.
fn trim(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(line)
        .trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::{Frame, FrameReader, HEAD};
    use proptest::prelude::*;

    fn lines(reader: &mut FrameReader, input: &[u8], step: usize) -> Vec<Option<Vec<u8>>> {
        let mut out = Vec::new();
        for part in input.chunks(step.max(1)) {
            reader.space().extend_from_slice(part);
            while let Some(frame) = reader.next_frame() {
                out.push(match frame {
                    Frame::Line(line) => Some(line.to_vec()),
                    Frame::Oversize(head) => {
                        assert!(head.len() <= HEAD && input.windows(head.len()).any(|w| w == head));
                        None
                    }
                });
            }
        }
        out
    }

    #[test]
    fn blank_lines_crlf_and_bom_are_tolerated() {
        let got = lines(
            &mut FrameReader::new(100),
            b"\xef\xbb\xbf{1}\r\n\n  \r\n{2}\n{3",
            3,
        );
        assert_eq!(got, [Some(b"{1}".to_vec()), Some(b"{2}".to_vec())]);
    }

    #[test]
    fn a_line_without_end_is_discarded_in_bounded_memory() {
        let mut reader = FrameReader::new(1000);
        let mut got = lines(&mut reader, &vec![b'x'; 10_000_000], 4096);
        assert!(reader.buffer.capacity() < 200_000);
        got.extend(lines(&mut reader, b"tail\n{ok}\n", 4));
        assert_eq!(got, [None, Some(b"{ok}".to_vec())]);
    }

    #[test]
    fn the_last_line_needs_no_newline() {
        let mut reader = FrameReader::new(100);
        reader.space().extend_from_slice(b"{last}");
        assert_eq!(reader.next_frame(), None);
        assert_eq!(reader.finish(), Some(Frame::Line(b"{last}")));
        assert_eq!(reader.finish(), None);
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_does_not_matter(
            parts in prop::collection::vec("[a-z{}\r]{0,30}", 0..20), step in 1usize..40,
        ) {
            let input = parts.join("\n").into_bytes();
            let whole = lines(&mut FrameReader::new(25), &input, usize::MAX);
            prop_assert_eq!(lines(&mut FrameReader::new(25), &input, step), whole);
        }
    }
}
