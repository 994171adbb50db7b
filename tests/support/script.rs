//! An HTTP server that answers by script and remembers what it was asked: the upstream of tests in
//! which it must say what no real one says. One thread a connection, plain or over TLS.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use super::http::Headers;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) headers: Headers,
    pub(crate) body: String,
}

impl Asked {
    /// The first header of this name, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body; null if it is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The method of the message in the body, or of the request if there is none.
    pub(crate) fn what(&self) -> String {
        let body = self.json();
        body["method"].as_str().unwrap_or(&self.method).to_owned()
    }
}

/// A connection, for whoever writes the answer.
pub(crate) trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// Answers one request; false closes the connection.
pub(crate) type Handler = dyn Fn(&Asked, &mut dyn Wire) -> bool + Send + Sync;

/// The server.
pub(crate) struct Script {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Script {
    /// Answers with `handler`.
    pub(crate) fn start(
        handler: impl Fn(&Asked, &mut dyn Wire) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::wrapped(|stream| Some(Box::new(stream)), handler)
    }

    /// The same behind a layer such as TLS.
    pub(crate) fn wrapped(
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Wire>> + Send + Sync + 'static,
        handler: impl Fn(&Asked, &mut dyn Wire) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let stopping = Arc::new(AtomicBool::new(false));
        let (log, end) = (Arc::clone(&asked), Arc::clone(&stopping));
        let handler: Arc<Handler> = Arc::new(handler);
        let wrap = Arc::new(wrap);
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                // A silent connection ends with the daemon that made it; this is the net.
                stream
                    .set_read_timeout(Some(Duration::from_secs(60)))
                    .unwrap();
                let (log, handler, wrap) =
                    (Arc::clone(&log), Arc::clone(&handler), Arc::clone(&wrap));
                thread::spawn(move || {
                    if let Some(wire) = wrap(stream) {
                        serve(wire, &log, &*handler);
                    }
                });
            }
        });
        Self {
            address,
            asked,
            stopping,
            acceptor: Some(acceptor),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often it was asked this; see [`Asked::what`].
    pub(crate) fn count(&self, what: &str) -> usize {
        self.asked().iter().filter(|a| a.what() == what).count()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn serve(wire: Box<dyn Wire>, log: &Mutex<Vec<Asked>>, handler: &Handler) {
    let mut wire = BufReader::new(wire);
    while let Some(asked) = read(&mut wire) {
        log.lock().unwrap().push(asked.clone());
        if !handler(&asked, wire.get_mut()) {
            return;
        }
    }
}

fn read(wire: &mut BufReader<Box<dyn Wire>>) -> Option<Asked> {
    let mut line = String::new();
    wire.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let method = line.split(' ').next()?.to_owned();
    let mut headers = Headers::new();
    loop {
        line.clear();
        wire.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            None => break,
        }
    }
    let length = headers.iter().find(|(n, _)| n == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, n)| n.parse().unwrap())];
    wire.read_exact(&mut body).ok()?;
    Some(Asked {
        method,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

/// Writes a whole answer. The wire may be gone: that is the other side's business.
pub(crate) fn reply(wire: &mut dyn Wire, head: &str, body: &str) -> bool {
    let length = body.len();
    say(
        wire,
        &format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}"),
    )
}

/// Writes these bytes.
pub(crate) fn say(wire: &mut dyn Wire, text: &str) -> bool {
    wire.write_all(text.as_bytes())
        .and_then(|()| wire.flush())
        .is_ok()
}

/// Answers 200 with JSON.
pub(crate) fn reply_json(wire: &mut dyn Wire, body: &Value) -> bool {
    reply(
        wire,
        "200 OK\r\nContent-Type: application/json",
        &body.to_string(),
    )
}

/// A legacy server with sessions, `s-1` and so on, that has one tool, whose calls are left to `call`.
pub(crate) fn legacy(
    call: impl Fn(&Asked, &mut dyn Wire) -> bool + Send + Sync + 'static,
) -> impl Fn(&Asked, &mut dyn Wire) -> bool + Send + Sync + 'static {
    let sessions = AtomicUsize::new(0);
    move |asked, wire| {
        let message = asked.json();
        let result = |value: Value| json!({"jsonrpc": "2.0", "id": message["id"], "result": value});
        match message["method"].as_str() {
            Some("initialize") => {
                let body = result(
                    json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "script", "version": "1"}}),
                );
                let number = sessions.fetch_add(1, Ordering::Relaxed) + 1;
                let head = format!(
                    "200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s-{number}"
                );
                reply(wire, &head, &body.to_string())
            }
            Some("tools/list") => reply_json(wire, &result(json!({"tools": []}))),
            Some("ping") => reply_json(wire, &result(json!({}))),
            Some("tools/call") => call(asked, wire),
            Some(method) if method.starts_with("notifications/") => reply(wire, "202 Accepted", ""),
            None if asked.method == "GET" && asked.header("last-event-id").is_some() => {
                call(asked, wire)
            }
            _ => reply(wire, "405 Method Not Allowed", ""),
        }
    }
}
