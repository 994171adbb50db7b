//! An MCP client of one era: requests out, results in, by JSON or by a stream of events that is
//! resumed where it broke.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::connection::{Connection, piece, whole};
use super::failure::Failure;
use super::sse::{Event, Parser};
use super::target::Target;

const LEGACY_VERSION: &str = "2025-11-25";
const MODERN_VERSION: &str = "2026-07-28";
/// A server that does not say how long to wait before a resumption.
const RETRY: Duration = Duration::from_secs(1);
/// Longest wait a server may ask for.
const RETRY_MOST: Duration = Duration::from_secs(10);
/// How long the end of a stream may take after the answer.
const END_OF_STREAM: Duration = Duration::from_secs(1);

/// The two forms of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Era {
    /// A session, 2025-11-25.
    Legacy,
    /// Stateless, 2026-07-28.
    Modern,
}

impl Era {
    /// As it is written.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

/// The headers of a session.
struct Session {
    id: Option<String>,
    version: String,
}

/// One client.
pub(crate) struct Client {
    era: Era,
    connection: Connection,
    session: Option<Session>,
    next: u64,
}

impl Client {
    pub(crate) fn new(target: Arc<Target>, source: Option<IpAddr>, era: Era) -> Self {
        Self {
            era,
            connection: Connection::new(target, source),
            session: None,
            next: 0,
        }
    }

    /// Whether calls can be made: a legacy client has to open its session first.
    pub(crate) fn is_open(&self) -> bool {
        self.era == Era::Modern || self.session.is_some()
    }

    /// After a call that was given up: its connection is in the middle of something.
    pub(crate) fn abandon(&mut self) {
        self.connection.drop_it();
    }

    /// Opens the session.
    pub(crate) async fn open(&mut self) -> Result<Value, Failure> {
        let params = json!({
            "protocolVersion": LEGACY_VERSION, "capabilities": {}, "clientInfo": client_info(),
        });
        self.session = None;
        let (id, body) = self.message("initialize", &params);
        let response = self.connection.send("POST", &[], &body).await?;
        let header = response.headers().get("mcp-session-id");
        let session = header.and_then(|id| id.to_str().ok().map(ToOwned::to_owned));
        let result = self.answer(response, id).await?;
        let version = result["protocolVersion"].as_str().unwrap_or_default();
        self.session = Some(Session {
            id: session,
            version: version.to_owned(),
        });
        let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let response = self.post(&note.to_string(), &[]).await?;
        match (
            response.status().as_u16(),
            whole(response.into_body()).await?,
        ) {
            (202, _) => Ok(result),
            (status, body) => Err(Failure::status(status, &String::from_utf8_lossy(&body))),
        }
    }

    /// Sends a request and returns its result. A session that is gone is forgotten.
    pub(crate) async fn request(&mut self, method: &str, params: &Value) -> Result<Value, Failure> {
        let (id, body) = self.message(method, params);
        let mut headers = Vec::new();
        if self.era == Era::Modern {
            headers.push(("mcp-protocol-version", MODERN_VERSION));
            headers.push(("mcp-method", method));
            headers.extend(params["name"].as_str().map(|name| ("mcp-name", name)));
        }
        let sent = self.post(&body, &headers).await;
        let result = match sent {
            Ok(response) => self.answer(response, id).await,
            Err(failure) => Err(failure),
        };
        if result.as_ref().is_err_and(|failure| failure.session_lost) {
            self.session = None;
        }
        result
    }

    /// Ends the session.
    pub(crate) async fn close(&mut self) {
        let headers = self.headers();
        if self
            .session
            .take()
            .is_some_and(|session| session.id.is_some())
        {
            let _ = self
                .connection
                .send("DELETE", &borrowed(&headers), "")
                .await;
        }
    }

    fn message(&mut self, method: &str, params: &Value) -> (u64, String) {
        self.next += 1;
        let mut params = params.clone();
        if self.era == Era::Modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
                "io.modelcontextprotocol/clientInfo": client_info(),
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        let message =
            json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params});
        (self.next, message.to_string())
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if let Some(session) = &self.session {
            headers.extend(session.id.clone().map(|id| ("mcp-session-id", id)));
            headers.push(("mcp-protocol-version", session.version.clone()));
        }
        headers
    }

    async fn post(
        &mut self,
        body: &str,
        more: &[(&str, &str)],
    ) -> Result<Response<Incoming>, Failure> {
        let headers = self.headers();
        let headers = [borrowed(&headers).as_slice(), more].concat();
        self.connection.send("POST", &headers, body).await
    }

    /// The result in an answer.
    async fn answer(&mut self, response: Response<Incoming>, id: u64) -> Result<Value, Failure> {
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type");
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if status == 200 && kind.starts_with("text/event-stream") {
            return self.stream(response.into_body(), id).await;
        }
        let body = whole(response.into_body()).await?;
        let message = serde_json::from_slice(&body);
        match (status, message) {
            // An error may come with a status of its own.
            (_, Ok(message)) if answers(&message, id) => outcome(&message),
            (200, Ok(message)) => Err(Failure::wrong(format!("not for request {id}: {message}"))),
            (200, Err(error)) => Err(Failure::unreadable(error)),
            (status, _) => Err(Failure::status(status, &String::from_utf8_lossy(&body))),
        }
    }

    /// Reads events until the answer; where the stream breaks it is resumed, if it gave an id.
    async fn stream(&mut self, mut body: Incoming, id: u64) -> Result<Value, Failure> {
        let mut parser = Parser::default();
        loop {
            let broken = loop {
                match piece(&mut body).await {
                    Ok(Some(bytes)) => {
                        let events = parser.feed(&bytes);
                        let events = events.ok_or_else(|| Failure::unreadable("a huge event"))?;
                        if let Some(result) = find(&events, id)? {
                            if timeout(END_OF_STREAM, whole(body)).await.is_err() {
                                self.connection.drop_it();
                            }
                            return result;
                        }
                    }
                    Ok(None) => break Failure::connection("the stream ended before the answer"),
                    Err(failure) => break failure,
                }
            };
            let (Some(last), Some(_)) = (parser.last_id().map(ToOwned::to_owned), &self.session)
            else {
                return Err(broken);
            };
            let wait = parser.retry_ms().map_or(RETRY, Duration::from_millis);
            sleep(wait.min(RETRY_MOST)).await;
            let mut headers = self.headers();
            headers.push(("last-event-id", last));
            let response = self.connection.send("GET", &borrowed(&headers), "").await?;
            let status = response.status().as_u16();
            body = response.into_body();
            if status != 200 {
                let text = whole(body).await?;
                return Err(Failure::status(status, &String::from_utf8_lossy(&text)));
            }
            parser.resumed();
        }
    }
}

/// The answer among events, if it is there.
fn find(events: &[Event], id: u64) -> Result<Option<Result<Value, Failure>>, Failure> {
    for event in events.iter().filter(|event| !event.data.is_empty()) {
        let message: Value = serde_json::from_str(&event.data).map_err(Failure::unreadable)?;
        if answers(&message, id) {
            return Ok(Some(outcome(&message)));
        }
        if message.get("method").is_none() {
            return Err(Failure::wrong(format!("not for request {id}: {message}")));
        }
    }
    Ok(None)
}

fn answers(message: &Value, id: u64) -> bool {
    message["id"] == id && message.get("method").is_none()
}

fn outcome(message: &Value) -> Result<Value, Failure> {
    match (message.get("result"), message.get("error")) {
        (Some(result), None) => Ok(result.clone()),
        (None, Some(error)) => Err(Failure::error(error)),
        _ => Err(Failure::unreadable("neither a result nor an error")),
    }
}

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    let pairs = headers.iter();
    pairs.map(|(name, value)| (*name, value.as_str())).collect()
}

fn client_info() -> Value {
    json!({"name": "mainstayctl-stress", "version": env!("CARGO_PKG_VERSION")})
}

#[cfg(test)]
mod tests {
    use super::super::target::Address;
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A server that gives these answers, each on a connection of its own, and returns what it was
    /// asked.
    async fn served(answers: &[&str]) -> (Client, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Address::at(listener.local_addr().unwrap())
            .resolve()
            .unwrap();
        let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let server = tokio::spawn(async move {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                requests.push(String::from_utf8_lossy(&request[..length]).into_owned());
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: ";
                stream
                    .write_all(format!("{head}{answer}").as_bytes())
                    .await
                    .unwrap();
            }
            requests
        });
        let mut client = Client::new(Arc::new(target), None, Era::Legacy);
        client.session = Some(Session {
            id: Some("s".to_owned()),
            version: LEGACY_VERSION.to_owned(),
        });
        (client, server)
    }

    #[tokio::test]
    async fn a_stream_that_breaks_is_resumed() {
        let (mut client, server) = served(&[
            "text/event-stream\r\n\r\nid: 7-0\nretry: 1\ndata: \n\nid: 7-1\ndata: {\"method\":\"x\"}\n\nda",
            "text/event-stream\r\n\r\nid: 7-2\ndata: {\"id\":1,\"result\":{\"a\":1}}\n\n",
        ])
        .await;
        let result = client.request("ping", &json!({})).await;
        assert_eq!(result.unwrap(), json!({"a": 1}));
        let requests = server.await.unwrap();
        assert!(requests[1].starts_with("GET /mcp "), "{}", requests[1]);
        assert!(
            requests[1].contains("last-event-id: 7-1\r\n"),
            "{}",
            requests[1]
        );
        assert!(
            requests[1].contains("mcp-session-id: s\r\n"),
            "{}",
            requests[1]
        );
    }

    #[tokio::test]
    async fn answers_that_are_none_fail() {
        for (answer, kind) in [
            (
                "application/json\r\n\r\n{\"id\":2,\"result\":{}}",
                "wrong answer",
            ),
            ("application/json\r\n\r\n{\"id\":1", "unreadable answer"),
            (
                "application/json\r\n\r\n{\"id\":1,\"error\":{\"code\":-5}}",
                "error -5",
            ),
            (
                "text/event-stream\r\n\r\ndata: {\"id\":2,\"result\":{}}\n\n",
                "wrong answer",
            ),
            ("text/event-stream\r\n\r\ndata: {\"id\":", "connection"),
        ] {
            let (mut client, server) = served(&[answer]).await;
            let failure = client.request("ping", &json!({})).await.unwrap_err();
            assert_eq!(failure.kind, kind, "{answer}: {}", failure.example);
            server.await.unwrap();
        }
    }
}
