//! Sessions that are open and do nothing, with or without the stream on which a client waits for
//! what the server has to say.

use std::io::Read as _;

use super::Failure;
use super::calls::handshake;
use super::http::Connection;

/// Opens `count` sessions. With `streams` each one keeps a connection with an open GET.
pub(crate) async fn open(
    address: &str,
    path: &str,
    count: usize,
    streams: bool,
) -> Result<Vec<Connection>, Failure> {
    let mut opener = Connection::open(address).await?;
    let mut held = Vec::new();
    for _ in 0..count {
        let session = handshake(&mut opener, address, path, "").await?;
        if streams {
            let get = format!(
                "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\
                 MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: {session}\r\n\r\n"
            );
            let mut connection = Connection::open(address).await?;
            connection.send(get.as_bytes()).await?;
            let status = connection.begin().await?;
            if status != 200 {
                return Err(format!("GET: status {status}").into());
            }
            held.push(connection);
        }
    }
    Ok(held)
}

/// Returns when the other end closes stdin.
pub(crate) fn until_stdin_ends() -> Result<(), Failure> {
    std::io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}
