//! Several groups of clients at once, by a plan in JSON: each group calls one tool of one server in
//! one era, as one principal. What became of every call is counted; with `record` it is also told to
//! a file, one line each, to be held against a ledger of effects.
//!
//! ```text
//! {"address": "127.0.0.1:1", "seconds": 5, "warmup": 1, "record": "FILE",
//!  "groups": [{"name": "a", "era": "modern", "path": "/mcp", "clients": 4, "tool": "echo",
//!              "arguments": {"text": "$ID"}, "token": "...", "obey": true, "pause_ms": 10,
//!              "record": true}]}
//! ```
//!
//! `$ID` becomes a name of its own for each call. A refused client waits for as long as it was told
//! if it obeys, else for `pause_ms`, before its next call.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Failure;
use super::calls::{handshake, post};
use super::http::Connection;
use super::script::META;
use super::tally::Tally;

/// One client of a group.
struct Client {
    address: String,
    path: String,
    headers: String,
    /// The message before the number, before the name of the call, and behind it.
    message: [String; 3],
    names: bool,
    name: String,
    obey: bool,
    pause: Duration,
    record: bool,
}

/// What a group has seen.
#[derive(Default)]
struct Seen {
    tally: Tally,
    reasons: BTreeMap<String, u64>,
    /// Refusals that may be tried again but do not say when.
    without_hint: u64,
    /// Of the clients that waited as they were told: how many then got in, how many did not.
    obeyed: u64,
    obeyed_in_vain: u64,
    longest: Duration,
    records: Vec<Value>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.tally.add(other.tally);
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        self.without_hint += other.without_hint;
        self.obeyed += other.obeyed;
        self.obeyed_in_vain += other.obeyed_in_vain;
        self.longest = self.longest.max(other.longest);
        self.records.extend(other.records);
    }

    fn json(self, span: Duration) -> Result<Value, Failure> {
        let mut all: Value = serde_json::from_str(&self.tally.json(span))?;
        all["reasons"] = json!(self.reasons);
        all["without_hint"] = self.without_hint.into();
        all["obeyed"] = self.obeyed.into();
        all["obeyed_in_vain"] = self.obeyed_in_vain.into();
        all["longest_ms"] = json!(self.longest.as_secs_f64() * 1000.0);
        Ok(all)
    }
}

fn text<'v>(value: &'v Value, name: &str) -> Result<&'v str, Failure> {
    let found = value[name].as_str();
    Ok(found.ok_or_else(|| format!("{name} is missing in {value}"))?)
}

/// Runs the plan and returns the line to print: for each group what it has seen.
pub(crate) async fn run(plan: &Value) -> Result<String, Failure> {
    let address = text(plan, "address")?;
    let seconds = |name: &str| Duration::try_from_secs_f64(plan[name].as_f64().unwrap_or(0.0));
    let (span, warmup) = (seconds("seconds")?, seconds("warmup")?);
    let mut ready = Vec::new();
    for group in plan["groups"].as_array().into_iter().flatten() {
        for number in 0..group["clients"].as_u64().unwrap_or(1) {
            let client = prepare(address, group, number).await?;
            ready.push((text(group, "name")?.to_owned(), client));
        }
    }
    let from = Instant::now() + warmup;
    let until = from + span;
    let mut clients = JoinSet::new();
    for (group, (client, connection)) in ready {
        clients.spawn(async move { (group, client.call(connection, from, until).await) });
    }
    let mut groups: BTreeMap<String, Seen> = BTreeMap::new();
    while let Some(done) = clients.join_next().await {
        let (group, seen) = done?;
        groups.entry(group).or_default().add(seen?);
    }
    if let Some(path) = plan["record"].as_str() {
        let mut file = BufWriter::new(File::create(path)?);
        for record in groups.values().flat_map(|seen| &seen.records) {
            writeln!(file, "{record}")?;
        }
        file.flush()?;
    }
    let mut all = serde_json::Map::new();
    for (group, seen) in groups {
        all.insert(group, seen.json(span)?);
    }
    Ok(Value::from(all).to_string())
}

async fn prepare(
    address: &str,
    group: &Value,
    number: u64,
) -> Result<(Client, Connection), Failure> {
    let (path, tool) = (text(group, "path")?, text(group, "tool")?);
    let token = match group["token"].as_str() {
        Some(token) => format!("Authorization: Bearer {token}\r\n"),
        None => String::new(),
    };
    let mut connection = Connection::open(address).await?;
    let modern = group["era"] == "modern";
    let headers = if modern {
        format!(
            "{token}MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
        )
    } else {
        let session = handshake(&mut connection, address, path, &token).await?;
        format!("{token}MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: {session}\r\n")
    };
    let meta = if modern { META } else { "" };
    let arguments = group["arguments"].to_string();
    let (before, after) = arguments.split_once("$ID").unwrap_or((&arguments, ""));
    let client = Client {
        address: address.to_owned(),
        path: path.to_owned(),
        headers,
        message: [
            r#"{"jsonrpc":"2.0","id":"#.to_owned(),
            format!(
                r#","method":"tools/call","params":{{{meta}"name":"{tool}","arguments":{before}"#
            ),
            format!("{after}}}}}"),
        ],
        names: arguments.contains("$ID"),
        name: format!("{}-{number}", text(group, "name")?),
        obey: group["obey"] == true,
        pause: Duration::from_millis(group["pause_ms"].as_u64().unwrap_or(10)),
        record: group["record"] == true,
    };
    Ok((client, connection))
}

/// The JSON-RPC message of an answer, be it plain or the last event of a stream.
fn message(body: &[u8]) -> Value {
    let lines = body.rsplit(|b| *b == b'\n');
    let mut data = lines.map(|line| line.strip_prefix(b"data: ").unwrap_or(line));
    data.find_map(|line| serde_json::from_slice(line).ok())
        .unwrap_or_default()
}

impl Client {
    async fn call(
        self,
        mut connection: Connection,
        from: Instant,
        until: Instant,
    ) -> std::io::Result<Seen> {
        let [start, method, end] = &self.message;
        let mut seen = Seen::default();
        let mut obeyed = false;
        for number in 1u64.. {
            let begun = Instant::now();
            if begun >= until {
                break;
            }
            let name = format!("{}-{number}", self.name);
            let id = if self.names { name.as_str() } else { "" };
            let message_text = format!("{start}{number}{method}{id}{end}");
            let head = post(&self.address, &self.path, &self.headers, message_text.len());
            connection
                .send(format!("{head}{message_text}").as_bytes())
                .await?;
            let answer = connection.answer(false).await?;
            let took = begun.elapsed();
            let said = message(connection.body());
            seen.tally.all += 1;
            if answer.status != 200 || said["id"] != number {
                seen.tally.wrong(answer.status, connection.body());
            }
            let measured = begun >= from && Instant::now() <= until;
            let error = &said["error"];
            if self.record {
                seen.records.push(record(&name, &said));
            }
            if error.is_null() {
                if measured {
                    seen.tally.took(took);
                    seen.longest = seen.longest.max(took);
                }
                seen.obeyed += u64::from(obeyed);
                obeyed = false;
                continue;
            }
            let reason = error["data"]["reason"].as_str().unwrap_or("error");
            *seen.reasons.entry(reason.to_owned()).or_default() += 1;
            seen.obeyed_in_vain += u64::from(obeyed);
            let hint = error["data"]["retryAfterMs"].as_u64();
            let retryable = error["data"]["retryable"] == true;
            seen.without_hint += u64::from(retryable && hint.is_none());
            obeyed = self.obey && hint.is_some();
            let pause = match hint {
                Some(ms) if self.obey => Duration::from_millis(ms),
                _ => self.pause,
            };
            // Nobody stays for longer than the run.
            let left = until.saturating_duration_since(Instant::now());
            tokio::time::sleep(pause.min(left)).await;
        }
        Ok(seen)
    }
}

/// What the client was told of a call with an effect.
fn record(id: &str, said: &Value) -> Value {
    let reason = said["error"]["data"]["reason"].as_str();
    let value = said["result"]["content"][0]["text"].as_str();
    let outcome = match (value, reason) {
        (Some(_), _) if said["result"]["isError"] != true => "ok",
        (
            None,
            Some("rate_limited" | "breaker_open" | "overloaded" | "quarantined" | "draining"),
        ) => "fail",
        _ => "unknown",
    };
    json!({"id": id, "outcome": outcome, "value": value, "reason": reason})
}
