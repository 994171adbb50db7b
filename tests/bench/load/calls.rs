//! Clients that call without a pause, each on a connection of its own.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Failure;
use super::http::Connection;
use super::script::{Call, Script, message};
use super::tally::Tally;

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) script: Script,
    pub(crate) address: String,
    pub(crate) path: String,
    pub(crate) clients: usize,
    pub(crate) span: Duration,
    pub(crate) warmup: Duration,
}

/// Runs all clients and returns the line to print.
pub(crate) async fn run(plan: Plan) -> Result<String, Failure> {
    let mut ready = Vec::new();
    for client in 0..plan.clients {
        ready.push(prepare(&plan, client).await?);
    }
    let from = Instant::now() + plan.warmup;
    let until = from + plan.span;
    let mut clients = JoinSet::new();
    for (connection, call) in ready {
        clients.spawn(one(connection, call, from, until));
    }
    let mut tally = Tally::default();
    while let Some(done) = clients.join_next().await {
        tally.add(done??);
    }
    Ok(tally.json(plan.span))
}

async fn one(
    mut connection: Connection,
    mut call: Call,
    from: Instant,
    until: Instant,
) -> std::io::Result<Tally> {
    let mut tally = Tally::default();
    loop {
        let start = Instant::now();
        if start >= until {
            return Ok(tally);
        }
        connection.send(&call.request).await?;
        let answer = connection.answer(false).await?;
        let end = Instant::now();
        tally.all += 1;
        if start >= from && end <= until {
            tally.took(end - start);
        }
        if !call.is_answered_by(answer.status, connection.body()) {
            tally.wrong(answer.status, connection.body());
        }
        call.next();
    }
}

async fn prepare(plan: &Plan, client: usize) -> Result<(Connection, Call), Failure> {
    let mut connection = Connection::open(&plan.address).await?;
    let headers = match plan.script {
        Script::Modern | Script::Raw => {
            "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n"
                .to_owned()
        }
        Script::Legacy => {
            let session = handshake(&mut connection, &plan.address, &plan.path, "").await?;
            format!("MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: {session}\r\n")
        }
    };
    let message = message(plan.script, client);
    let head = post(&plan.address, &plan.path, &headers, message.len());
    let call = Call::new(&head, &message, client, plan.script != Script::Raw);
    Ok((connection, call))
}

/// The head of a POST with so long a body.
pub(crate) fn post(address: &str, path: &str, headers: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{headers}Content-Length: {length}\r\n\r\n"
    )
}

/// Opens a legacy session and returns its id. `headers` are sent besides.
pub(crate) async fn handshake(
    connection: &mut Connection,
    address: &str,
    path: &str,
    headers: &str,
) -> Result<String, Failure> {
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"load","version":"1"}}}"#;
    let head = post(address, path, headers, hello.len());
    connection.send(format!("{head}{hello}").as_bytes()).await?;
    let answer = connection.answer(true).await?;
    let session = answer
        .head
        .lines()
        .find_map(|l| l.strip_prefix("mcp-session-id: "))
        .ok_or_else(|| {
            let body = String::from_utf8_lossy(connection.body());
            format!("no session: {} {body}", answer.status)
        })?
        .to_owned();
    let done = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let headers =
        format!("{headers}MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: {session}\r\n");
    let head = post(address, path, &headers, done.len());
    connection.send(format!("{head}{done}").as_bytes()).await?;
    let answer = connection.answer(false).await?;
    if answer.status != 202 {
        return Err(format!("notifications/initialized: status {}", answer.status).into());
    }
    Ok(session)
}
