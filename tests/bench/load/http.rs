//! Just enough of an HTTP/1.1 client: one keep-alive connection, requests as prepared bytes,
//! answers by `Content-Length` or in chunks.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
}

/// A connection, with the body of its last answer.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    body: Vec<u8>,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not understood: {what}"),
    )
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// How the body is delimited; hyper writes header names in lower case.
enum Length {
    Known(usize),
    Chunked,
}

fn length(head: &[u8]) -> io::Result<Length> {
    if let Some(at) = find(head, b"content-length: ") {
        let digits = head.get(at + 16..).unwrap_or_default();
        let digits = digits.iter().take_while(|b| b.is_ascii_digit());
        let value = digits.fold(0, |n: usize, d| n * 10 + usize::from(d - b'0'));
        return Ok(Length::Known(value));
    }
    if find(head, b"transfer-encoding: chunked").is_some() {
        return Ok(Length::Chunked);
    }
    Err(broken("an answer of unknown length"))
}

impl Connection {
    pub(crate) async fn open(address: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(16 * 1024),
            body: Vec::with_capacity(4096),
        })
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.socket.write_all(request).await
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.socket.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Reads the head of an answer and takes it off the buffer: its status and how long its body
    /// is. `keep` keeps the text.
    async fn head(&mut self, keep: bool) -> io::Result<(Answer, Length)> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            self.more().await?;
        };
        let head = self.buffer.get(..end).unwrap_or_default();
        let status = head
            .get(9..12)
            .and_then(|s| std::str::from_utf8(s).ok())
            .and_then(|s| s.parse().ok())
            .ok_or_else(|| broken("a status line"))?;
        let text = if keep {
            String::from_utf8_lossy(head).into_owned()
        } else {
            String::new()
        };
        let length = length(head)?;
        self.buffer.drain(..end + 4);
        Ok((Answer { status, head: text }, length))
    }

    /// Reads one answer; its body is then in [`Connection::body`].
    pub(crate) async fn answer(&mut self, keep_head: bool) -> io::Result<Answer> {
        let (answer, length) = self.head(keep_head).await?;
        self.body.clear();
        match length {
            Length::Known(length) => {
                while self.buffer.len() < length {
                    self.more().await?;
                }
                self.body.extend(self.buffer.drain(..length));
            }
            Length::Chunked => while self.chunk().await? {},
        }
        Ok(answer)
    }

    /// Reads the head of an answer and leaves its body to come.
    pub(crate) async fn begin(&mut self) -> io::Result<u16> {
        Ok(self.head(false).await?.0.status)
    }

    /// Reads one chunk; false after the last.
    async fn chunk(&mut self) -> io::Result<bool> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                break end;
            }
            self.more().await?;
        };
        let size = self
            .buffer
            .get(..end)
            .and_then(|s| std::str::from_utf8(s).ok())
            .and_then(|s| usize::from_str_radix(s, 16).ok())
            .ok_or_else(|| broken("the size of a chunk"))?;
        let start = end + 2;
        while self.buffer.len() < start + size + 2 {
            self.more().await?;
        }
        let data = self.buffer.get(start..start + size).unwrap_or_default();
        self.body.extend_from_slice(data);
        self.buffer.drain(..start + size + 2);
        Ok(size > 0)
    }
}
