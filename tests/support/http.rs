//! A small blocking HTTP/1.1 client over a plain socket: status, headers, bodies with a length or
//! in chunks, server-sent events. It shares no code with the daemon, and sends what it is told to,
//! right or wrong. A silence of [`PATIENCE`] fails the test.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far above what any answer takes; only a hang gets there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Headers of a request or of an answer, in their order; names may repeat.
pub(crate) type Headers = Vec<(String, String)>;

/// An answer whose body has not been read yet.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    input: BufReader<TcpStream>,
    framing: Framing,
    pending: Vec<u8>,
    begun: Instant,
}

enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
    Done,
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) retry: Option<u64>,
    pub(crate) data: String,
}

impl Event {
    /// The message it carries.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error} in event {self:?}"))
    }
}

/// Sends one request on a connection of its own. `Host` and `Content-Length` are added unless
/// given; a body of `None` sends no length.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Response {
    send_raw(address, &compose(address, method, path, headers, body))
}

/// The bytes of such a request.
pub(crate) fn compose(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Vec<u8> {
    let named = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !named("host") {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body.filter(|_| !named("content-length")) {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// Sends these bytes and reads the head of the answer.
pub(crate) fn send_raw(address: SocketAddr, bytes: &[u8]) -> Response {
    Response::read(BufReader::new(write_raw(address, bytes)))
}

/// Sends these bytes and reads nothing yet.
pub(crate) fn write_raw(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // A server may answer and close before it has read everything.
    let _ = stream.write_all(bytes);
    stream
}

impl Response {
    fn read(mut input: BufReader<TcpStream>) -> Self {
        let mut line = String::new();
        input.read_line(&mut line).expect("the head of an answer");
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let mut headers = Headers::new();
        loop {
            line.clear();
            input.read_line(&mut line).expect("a header");
            match line.trim_end().split_once(':') {
                Some((name, value)) => {
                    headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                None => break,
            }
        }
        let mut response = Self {
            status,
            headers,
            input,
            framing: Framing::UntilClose,
            pending: Vec::new(),
            begun: Instant::now(),
        };
        response.framing = match (
            response.header("transfer-encoding"),
            response.header("content-length"),
        ) {
            _ if status == 204 || status == 304 => Framing::Done,
            (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
            (_, Some(length)) => Framing::Length(length.parse().expect("a content length")),
            _ => Framing::UntilClose,
        };
        response
    }

    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether the body is an event stream.
    pub(crate) fn is_stream(&self) -> bool {
        self.header("content-type") == Some("text/event-stream")
    }

    /// The next piece of the body; empty at its end. A connection that is cut ends it too.
    fn piece(&mut self) -> Vec<u8> {
        // Comments alone are no progress.
        assert!(
            self.begun.elapsed() < 2 * PATIENCE,
            "the answer does not end"
        );
        match self.try_piece() {
            Ok(piece) => piece,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Vec::new(),
            Err(error) => panic!("nothing more of the body came: {error}"),
        }
    }

    fn try_piece(&mut self) -> std::io::Result<Vec<u8>> {
        let mut piece = Vec::new();
        match self.framing {
            Framing::Done => {}
            Framing::Length(0) => self.framing = Framing::Done,
            Framing::Length(left) => {
                let some = self.input.fill_buf()?;
                let length = some.len().min(left);
                piece.extend_from_slice(&some[..length]);
                self.input.consume(length);
                self.framing = Framing::Length(left - length);
                assert!(length > 0, "the body ended {left} bytes early");
            }
            Framing::UntilClose => {
                let some = self.input.fill_buf()?;
                piece.extend_from_slice(some);
                let length = some.len();
                self.input.consume(length);
            }
            Framing::Chunked => {
                let mut line = String::new();
                self.input.read_line(&mut line)?;
                // An empty line: the connection was closed without the last chunk.
                let size = usize::from_str_radix(line.trim_end(), 16).unwrap_or(0);
                piece.resize(size, 0);
                self.input.read_exact(&mut piece)?;
                line.clear();
                self.input.read_line(&mut line)?;
                if size == 0 {
                    self.framing = Framing::Done;
                }
            }
        }
        Ok(piece)
    }

    /// The rest of the body.
    pub(crate) fn body(mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.pending);
        loop {
            let piece = self.piece();
            if piece.is_empty() {
                return all;
            }
            all.extend_from_slice(&piece);
        }
    }

    /// The rest of the body as text.
    pub(crate) fn text(self) -> String {
        String::from_utf8(self.body()).expect("a body in UTF-8")
    }

    /// The body as JSON.
    pub(crate) fn json(self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }

    /// The next event; `None` at the end of the stream. Comments are skipped.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let start = Instant::now();
        loop {
            // Comments keep the socket's own time-out from ever striking.
            assert!(start.elapsed() < PATIENCE, "no event came");
            while let Some(end) = self.pending.windows(2).position(|w| w == b"\n\n") {
                let block: Vec<u8> = self.pending.drain(..end + 2).collect();
                if let Some(event) = parse(&block) {
                    return Some(event);
                }
            }
            let piece = self.piece();
            if piece.is_empty() {
                assert_eq!(self.pending, b"", "the stream ended within an event");
                return None;
            }
            self.pending.extend_from_slice(&piece);
        }
    }

    /// All events to the end of the stream.
    pub(crate) fn events(mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.event()).collect()
    }

    /// The raw comment or event block that comes next, comments included.
    pub(crate) fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.pending.windows(2).position(|w| w == b"\n\n") {
                let block: Vec<u8> = self.pending.drain(..end + 2).collect();
                return Some(String::from_utf8(block).expect("events in UTF-8"));
            }
            let piece = self.piece();
            if piece.is_empty() {
                return None;
            }
            self.pending.extend_from_slice(&piece);
        }
    }

    /// Waits until the server closes the connection.
    pub(crate) fn wait_for_end(mut self) {
        while !self.piece().is_empty() {}
    }

    /// Cuts the connection as a client does that goes away.
    pub(crate) fn hang_up(self) {
        let _ = self.input.get_ref().shutdown(Shutdown::Both);
    }
}

fn parse(block: &[u8]) -> Option<Event> {
    let text = std::str::from_utf8(block).expect("events in UTF-8");
    let mut event = Event::default();
    let mut seen = false;
    for line in text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with(':'))
    {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        seen = true;
        match name {
            "id" => event.id = Some(value.to_owned()),
            "retry" => event.retry = Some(value.parse().expect("retry in milliseconds")),
            "data" => event.data.push_str(value),
            "event" => assert_eq!(value, "message", "the only event type of MCP"),
            other => panic!("field {other:?} in an event"),
        }
    }
    seen.then_some(event)
}
