//! A worker that costs next to nothing, so that a measurement shows the daemon and not the
//! worker: both eras in one process, one tool `echo`, all complete frames of a read answered with
//! one write. It is no example of a good server: it checks nothing.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Room for a read; a burst of 100 calls is about half of it.
const ROOM: usize = 64 * 1024;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: &'a str,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Params<'a> {
    #[serde(borrow, default)]
    arguments: Arguments<'a>,
    #[serde(rename = "protocolVersion", borrow, default)]
    version: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Arguments<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

const DISCOVERED: &str = r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":60000,"cacheScope":"public","resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"echo","version":"1"}}}"#;
const TOOLS: &str = r#"{"tools":[{"name":"echo","description":"Gives its text back.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}}],"ttlMs":60000,"cacheScope":"public","resultType":"complete"}"#;

/// Appends the answer to one line, if it wants one.
fn answer(line: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let Ok(Request {
        id: Some(id),
        method,
        params,
    }) = serde_json::from_slice(line)
    else {
        return Ok(());
    };
    let params: Params<'_> = params
        .and_then(|p| serde_json::from_str(p.get()).ok())
        .unwrap_or_default();
    write!(out, r#"{{"jsonrpc":"2.0","id":{id},"#)?;
    match method {
        "tools/call" => {
            let text = params.arguments.text.map_or(r#""""#, RawValue::get);
            write!(
                out,
                r#""result":{{"content":[{{"type":"text","text":{text}}}],"resultType":"complete"}}"#
            )?;
        }
        "tools/list" => write!(out, r#""result":{TOOLS}"#)?,
        "server/discover" => write!(out, r#""result":{DISCOVERED}"#)?,
        "initialize" => {
            let version = params.version.map_or(r#""2025-11-25""#, RawValue::get);
            write!(
                out,
                r#""result":{{"protocolVersion":{version},"capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"echo","version":"1"}}}}"#
            )?;
        }
        "ping" => out.extend_from_slice(br#""result":{}"#),
        _ => out.extend_from_slice(br#""error":{"code":-32601,"message":"Method not found"}"#),
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn main() -> io::Result<()> {
    // As files: the standard streams would copy through buffers of their own.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut buffer = vec![0; ROOM];
    let mut filled = 0;
    let mut out = Vec::with_capacity(ROOM);
    loop {
        if filled == buffer.len() {
            buffer.resize(filled * 2, 0);
        }
        let read = input.read(buffer.get_mut(filled..).unwrap_or_default())?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let whole = buffer
            .get(..filled)
            .and_then(|b| b.iter().rposition(|b| *b == b'\n'));
        let Some(end) = whole else {
            continue;
        };
        out.clear();
        for line in buffer.get(..end).unwrap_or_default().split(|b| *b == b'\n') {
            answer(line, &mut out)?;
        }
        output.write_all(&out)?;
        buffer.copy_within(end + 1..filled, 0);
        filled -= end + 1;
    }
}
