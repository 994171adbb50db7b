//! Frames between two streams: one JSON text a line.

use std::io::{self, BufRead, Read, Write};

use super::rpc::{self, Failure};
use super::{Options, Server};

/// The longest line read. A source of 1 MiB, every character escaped, still fits.
const MAX_FRAME_BYTES: usize = 8 << 20;
/// A buffer larger than this is given back after its frame.
const KEPT_BUFFER_BYTES: usize = 64 << 10;

/// Serves frames from `input` on `output` until `input` ends. Blocking and single-threaded: the
/// answer to a frame is flushed before the next is read.
///
/// # Errors
/// The first failure to read or write, a closed `output` among them.
pub fn run(mut input: impl BufRead, mut output: impl Write, options: Options) -> io::Result<()> {
    let mut server = Server::new(options);
    let mut frame = Vec::new();
    loop {
        frame.clear();
        frame.shrink_to(KEPT_BUFFER_BYTES);
        let limit = MAX_FRAME_BYTES as u64 + 1;
        if input.by_ref().take(limit).read_until(b'\n', &mut frame)? == 0 {
            return Ok(());
        }
        let whole = frame.last() == Some(&b'\n');
        let answer = if frame.len() > MAX_FRAME_BYTES && !whole {
            skip_line(&mut input)?;
            let what =
                format!("the frame is larger than {MAX_FRAME_BYTES} bytes; send a smaller one");
            Some(rpc::failure(
                None,
                &Failure::new(rpc::INVALID_REQUEST, what),
            ))
        } else {
            server.handle(&frame)
        };
        if let Some(mut answer) = answer {
            answer.push(b'\n');
            output.write_all(&answer)?;
            output.flush()?;
        }
    }
}

/// Discards the rest of a line without keeping it.
fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let chunk = input.fill_buf()?;
        let end = memchr::memchr(b'\n', chunk);
        let length = end.map_or(chunk.len(), |at| at + 1);
        if length == 0 {
            return Ok(());
        }
        input.consume(length);
        if end.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(input: &[u8]) -> Vec<String> {
        let mut output = Vec::new();
        run(input, &mut output, Options::default()).unwrap();
        let text = String::from_utf8(output).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn one_line_in_one_line_out() {
        let input = b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"ping\"}\n\n\
            {\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\r\n\
            {\"jsonrpc\":\"2.0\",\"id\":\"last\",\"method\":\"ping\"}";
        let expected = [
            r#"{"jsonrpc":"2.0","id":0,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":"last","result":{}}"#,
        ];
        assert_eq!(answers(input), expected);
    }

    #[test]
    fn a_line_too_long_is_refused_and_the_next_one_served() {
        let mut input = vec![b'x'; 2 * MAX_FRAME_BYTES];
        input.extend_from_slice(b"\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n");
        let answers = answers(&input);
        assert_eq!(answers.len(), 2);
        assert!(answers[0].contains("\"id\":null") && answers[0].contains("-32600"));
        assert_eq!(answers[1], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    }
}
