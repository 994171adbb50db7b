//! What goes out on stdout: whole frames, and all that is none.

use std::io::{self, Write as _};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::call::Call;
use super::worker::Worker;
use super::{die, locked, text};

/// A request whose parts stay bytes.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    method: String,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

impl Worker {
    pub(crate) fn write(&self, bytes: &[u8]) {
        let _turn = locked(&self.output);
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
    }

    pub(crate) fn send(&self, frame: &Value) {
        let mut line = frame.to_string().into_bytes();
        line.push(b'\n');
        self.write(&line);
    }

    pub(crate) fn junk(&self, lines: u64) {
        for number in 0..lines {
            self.write(format!("junk {number}: not a frame\n").as_bytes());
        }
    }

    pub(crate) fn error(&self, id: &Value, code: i64, message: &str, data: Value) {
        let mut error = json!({"code": code, "message": message});
        if !data.is_null() {
            error["data"] = data;
        }
        self.send(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
    }

    pub(crate) fn result(&self, id: &Value, modern: bool, mut result: Value) {
        if modern && result.get("resultType").is_none() {
            result["resultType"] = "complete".into();
        }
        self.send(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
    }

    pub(crate) fn notify(&self, method: &str, params: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Answers `bytes/result` and `bytes/error` without looking into what they carry.
    pub(crate) fn mirror(&self, line: &[u8]) -> Option<()> {
        let raw: Raw<'_> = serde_json::from_slice(line).ok()?;
        let member = raw.method.strip_prefix("bytes/")?;
        let (id, params) = (raw.id?, raw.params.map_or("null", RawValue::get));
        let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{params}}}\n");
        self.write(line.as_bytes());
        Some(())
    }

    /// One line of so many bytes that is no frame, not held in memory. Without `newline` whatever
    /// comes next is glued to it.
    pub(crate) fn line(&self, bytes: u64, newline: bool) {
        self.stream(b"", bytes, if newline { b"\n" } else { b"" });
    }

    /// An answer whose text is so long, in one frame, not held in memory.
    pub(crate) fn huge(&self, call: &Call) {
        let marker = "\u{1}";
        let frame = call.frame(text(marker)).to_string();
        if let Some((head, tail)) = frame.split_once("\\u0001") {
            let tail = format!("{tail}\n");
            self.stream(head.as_bytes(), call.number("bytes"), tail.as_bytes());
        }
    }

    fn stream(&self, head: &[u8], mut bytes: u64, tail: &[u8]) {
        let chunk = [b'x'; 64 * 1024];
        let _turn = locked(&self.output);
        let mut stdout = io::stdout().lock();
        let mut written = stdout.write_all(head);
        while bytes > 0 && written.is_ok() {
            let now = usize::try_from(bytes).map_or(chunk.len(), |left| left.min(chunk.len()));
            written = stdout.write_all(&chunk[..now]);
            bytes -= now as u64;
        }
        let _ = written
            .and_then(|()| stdout.write_all(tail))
            .and_then(|()| stdout.flush());
    }

    /// A line that is no good, or with `answer` the answer itself in such a dress.
    pub(crate) fn garbage(&self, call: &Call) -> Option<Value> {
        let inside = call.arguments["answer"] == true;
        let frame = call.frame(text("dressed")).to_string();
        let body: &[u8] = if inside {
            frame.as_bytes()
        } else {
            b"no frame"
        };
        let line = match call.string("kind") {
            // In a string of the frame, where only the encoding is wrong.
            "invalid_utf8" if inside => match frame.split_once("dressed") {
                Some((head, tail)) => [head.as_bytes(), b"\xff\xc3(", tail.as_bytes()].concat(),
                None => body.to_vec(),
            },
            "invalid_utf8" => [b"\xff\xfe\xc3\x28 ", body].concat(),
            "nul" => [b"\0", body, b"\0"].concat(),
            "cr" => [body, b"\r"].concat(),
            "lone_cr" => [b"\r", body, b"\r\r"].concat(),
            "bom" => [b"\xef\xbb\xbf", body].concat(),
            "escape" => [b"\x1b[31m", body, b"\x1b[0m"].concat(),
            _ => body.to_vec(),
        };
        self.write(&[line.as_slice(), b"\n"].concat());
        (!inside).then(|| text("written"))
    }

    /// Half of an answer, then death or silence.
    pub(crate) fn partial(&self, call: &Call) {
        let half = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"con",
            call.id
        );
        self.write(half.as_bytes());
        if call.arguments["exit"] != false {
            die(0);
        }
    }
}
