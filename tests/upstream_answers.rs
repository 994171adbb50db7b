//! What mainstay makes of an upstream's answers, good and bad ones. The upstream is a script: it
//! says what no well-made server says, and tells what it was asked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use support::daemon::{Daemon, until};
use support::mcp::{self, Session, text};
use support::script::{Asked, Script, Wire, legacy, reply, reply_json, say};

/// A daemon before this script, for the legacy era.
fn before(script: &Script, more: &str) -> Daemon {
    Daemon::ready(&server("http", script, more))
}

fn server(scheme: &str, script: &Script, more: &str) -> String {
    let address = script.address();
    format!("[servers.far]\nurl = \"{scheme}://{address}/mcp\"\nera = \"legacy\"\n{more}")
}

/// A finished call's answer with this text.
fn result(asked: &Asked, text: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": asked.json()["id"], "result": {
        "content": [{"type": "text", "text": text}]}})
}

/// What a client is told about a call that such an upstream answers.
fn refused(
    more: &str,
    call: impl Fn(&Asked, &mut dyn Wire) -> bool + Send + Sync + 'static,
) -> Value {
    let script = Script::start(legacy(call));
    let daemon = before(&script, more);
    let answer = Session::open(&daemon).call("x", &json!({}));
    assert_eq!(script.count("tools/call"), 1, "it is not made again");
    answer["error"].clone()
}

fn message(error: &Value) -> &str {
    error["message"]
        .as_str()
        .unwrap_or_else(|| panic!("no error: {error}"))
}

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

/// SHA-256 of `of-the-client`.
const CLIENT: &str = "1ea3057d5194f1c8bb6a9dfc2d084d0e14f5eebb52f59681b3094ff944894d2e";

#[test]
fn the_credential_of_the_upstream_is_sent_and_that_of_the_client_is_not() {
    let script = Script::start(legacy(|asked, wire| reply_json(wire, &result(asked, "ok"))));
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "of-the-upstream\n").unwrap();
    let more = format!(
        "[servers.far.upstream]\nbearer_file = {:?}\nheaders = {{ X-Tenant = \"music\" }}\n\
         [[principals]]\nname = \"client\"\ntoken_sha256 = [{CLIENT:?}]\n",
        token.display().to_string()
    );
    let daemon = before(&script, &more);
    let token = ("Authorization", "Bearer of-the-client");
    let hello = mcp::initialize(mcp::LATEST).to_string();
    let hello = mcp::post(daemon.address(), "/mcp", &[token], &hello);
    let id = hello.header("mcp-session-id").unwrap().to_owned();
    let headers = [
        token,
        ("Cookie", "of=the-client"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("Mcp-Session-Id", id.as_str()),
        ("MCP-Protocol-Version", mcp::LATEST),
    ];
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}});
    let answer = mcp::response(mcp::post(
        daemon.address(),
        "/mcp",
        &headers,
        &call.to_string(),
    ));
    assert_eq!(text(&answer), "ok");
    for asked in script.asked() {
        assert_eq!(
            asked.header("authorization"),
            Some("Bearer of-the-upstream"),
            "{asked:?}"
        );
        assert_eq!(asked.header("x-tenant"), Some("music"));
        assert!(!format!("{asked:?}").contains("of-the-client"), "{asked:?}");
        assert!(!format!("{asked:?}").contains("192.0.2.1"), "{asked:?}");
        assert!(
            !format!("{asked:?}").contains(&id),
            "sessions are its own: {asked:?}"
        );
    }
    assert!(
        !daemon.log().contains("of-the-upstream"),
        "the token is not logged"
    );
}

#[test]
fn every_message_says_what_the_revision_wants() {
    let script = Script::start(legacy(|asked, wire| reply_json(wire, &result(asked, "ok"))));
    let daemon = before(&script, "pool.max_size = 1\n");
    Session::open(&daemon).text("x", &json!({}));
    daemon.stop();
    let asked = script.asked();
    assert_eq!(asked[0].what(), "initialize");
    assert_eq!(asked[0].header("mcp-session-id"), None);
    assert_eq!(
        asked[1].what(),
        "notifications/initialized",
        "nothing overtakes it"
    );
    for later in &asked[1..] {
        assert_eq!(later.header("mcp-session-id"), Some("s-1"), "{later:?}");
        assert_eq!(later.header("mcp-protocol-version"), Some("2025-11-25"));
    }
    for post in asked.iter().filter(|a| a.method == "POST") {
        assert_eq!(
            post.header("accept"),
            Some("application/json, text/event-stream")
        );
        assert_eq!(post.header("content-type"), Some("application/json"));
    }
    assert_eq!(script.count("GET"), 1);
    assert_eq!(
        script.count("DELETE"),
        1,
        "the session is closed at the end"
    );
}

#[test]
fn nothing_overtakes_the_end_of_the_handshake() {
    let (opened, early) = (AtomicBool::new(false), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&early);
    let inner = legacy(|asked, wire| reply_json(wire, &result(asked, "ok")));
    let script = Script::start(move |asked, wire| {
        match asked.what().as_str() {
            "initialize" => {}
            "notifications/initialized" => {
                // A slow server, which refuses everything until it has taken this.
                thread::sleep(Duration::from_millis(300));
                opened.store(true, Ordering::Relaxed);
            }
            _ if opened.load(Ordering::Relaxed) => {}
            _ => drop(count.fetch_add(1, Ordering::Relaxed)),
        }
        inner(asked, wire)
    });
    let daemon = before(&script, "pool.max_size = 1\n");
    assert_eq!(Session::open(&daemon).text("x", &json!({})), "ok");
    assert_eq!(early.load(Ordering::Relaxed), 0, "{:?}", script.asked());
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = Script::start(|_, wire| reply(wire, "200 OK", ""));
    let location = format!("http://{}/mcp", elsewhere.address());
    let to = location.clone();
    let error = refused("", move |_, wire| {
        reply(
            wire,
            &format!("307 Temporary Redirect\r\nLocation: {to}"),
            "",
        )
    });
    assert!(
        message(&error).contains(&format!("redirect to {location}")),
        "{error}"
    );
    assert!(elsewhere.asked().is_empty());
}

#[test]
fn refusals_by_status_say_which() {
    let table = [
        (
            "429 Too Many Requests\r\nRetry-After: 7",
            "answered 429 Too Many Requests",
        ),
        (
            "503 Service Unavailable\r\nRetry-After: 7",
            "answered 503 Service Unavailable",
        ),
        ("502 Bad Gateway", "answered 502 Bad Gateway"),
        ("401 Unauthorized", "bearer_file"),
        ("418 I'm a teapot", "without an MCP error"),
        ("200 OK\r\nContent-Type: text/html", "text/html"),
        ("202 Accepted", "answered 202 to a request"),
        (
            "200 OK\r\nContent-Type: application/json",
            "no MCP response",
        ),
    ];
    for (head, part) in table {
        let error = refused("", move |_, wire| reply(wire, head, "{}"));
        assert!(message(&error).contains(part), "{head}: {error}");
        // What was declined may be repeated, when it is said; of all else nobody knows.
        let data = match head {
            _ if head.contains("Retry-After") => json!(["overloaded", 7000, true]),
            "401 Unauthorized" => json!(["overloaded", 1000, true]),
            _ => json!(["worker_lost", null, false]),
        };
        let found = &error["data"];
        let found = json!([found["reason"], found["retryAfterMs"], found["retryable"]]);
        assert_eq!(found, data, "{head}: {error}");
    }
}

#[test]
fn an_error_in_a_400_is_the_answer() {
    let error = refused("", |asked, wire| {
        let body = json!({"jsonrpc": "2.0", "id": asked.json()["id"],
            "error": {"code": -32602, "message": "no such tool", "data": {"x": 1.0}}});
        reply(
            wire,
            "400 Bad Request\r\nContent-Type: application/json",
            &body.to_string(),
        )
    });
    assert_eq!(
        error,
        json!({"code": -32602, "message": "no such tool", "data": {"x": 1.0}})
    );
}

#[test]
fn a_session_that_is_gone_is_replaced_under_the_living_one() {
    let calls = AtomicUsize::new(0);
    let script = Script::start(legacy(move |asked, wire| {
        if calls.fetch_add(1, Ordering::Relaxed) == 0 {
            return reply(wire, "404 Not Found", "");
        }
        reply_json(wire, &result(asked, "again"))
    }));
    let daemon = before(&script, "");
    let session = Session::open(&daemon);
    // It was refused unseen, so it can be made again behind the client's back.
    assert_eq!(session.text("x", &json!({})), "again");
    assert!(script.count("initialize") >= 2, "it was initialised again");
}

#[test]
fn a_session_of_a_client_has_one_of_its_own_at_the_upstream() {
    let script = Script::start(legacy(|asked, wire| {
        let session = asked.header("mcp-session-id").unwrap().to_owned();
        reply_json(wire, &result(asked, &session))
    }));
    let daemon = before(&script, "state = \"session\"\n");
    daemon.until("a spare is warm", |s| s.ready == 1);
    let (one, other) = (Session::open(&daemon), Session::open(&daemon));
    let id = one.text("x", &json!({}));
    assert_eq!(one.text("x", &json!({})), id);
    assert_ne!(other.text("x", &json!({})), id);
    // What the spare was warmed with is closed when the client's own initialize replaces it.
    until("the first session is closed", || {
        let asked = script.asked();
        let closed = asked.iter().filter(|a| a.method == "DELETE");
        closed
            .map(|a| a.header("mcp-session-id"))
            .any(|s| s == Some("s-1"))
            .then_some(())
    });
    assert_eq!(one.delete(), 200);
    until("its session is closed", || {
        let asked = script.asked();
        asked
            .iter()
            .any(|a| a.method == "DELETE" && a.header("mcp-session-id") == Some(&id))
            .then_some(())
    });
}

#[test]
fn a_stream_that_is_closed_on_purpose_is_resumed() {
    let script = Script::start(legacy(|asked, wire| match asked.header("last-event-id") {
        None => {
            let id = asked.json()["id"].clone();
            say(wire, &format!("{EVENTS}id: e-{id}\nretry: 10\ndata:\n\n"));
            false
        }
        Some(after) => {
            let id: u64 = after.strip_prefix("e-").unwrap().parse().unwrap();
            let answer = json!({"jsonrpc": "2.0", "id": id, "result": {
                "content": [{"type": "text", "text": "resumed"}]}});
            say(wire, &format!("{EVENTS}data: {answer}\n\n"));
            false
        }
    }));
    let daemon = before(&script, "");
    assert_eq!(Session::open(&daemon).text("x", &json!({})), "resumed");
    assert_eq!(script.count("tools/call"), 1, "it is not made again");
}

#[test]
fn a_stream_that_ends_without_an_answer_is_a_loss() {
    let error = refused("", |_, wire| {
        say(
            wire,
            &format!("{EVENTS}data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}}\n\n"),
        );
        false
    });
    assert_eq!(error["code"], -31005);
    assert!(
        message(&error).contains("ended its stream without an answer"),
        "{error}"
    );
}

#[test]
fn silence_within_an_answer_ends_with_idle_timeout() {
    let more = "[servers.far.upstream]\nidle_timeout = \"300ms\"\n";
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
        EVENTS,
    ] {
        let error = refused(more, move |_, wire| say(wire, head));
        assert!(message(&error).contains("was silent for 0.3 s"), "{error}");
    }
}

#[test]
fn answers_over_the_limit_are_discarded() {
    let more = "max_message_bytes = \"64K\"\n";
    let large = "x".repeat(100_000);
    let text = large.clone();
    let error = refused(more, move |asked, wire| {
        reply_json(wire, &result(asked, &text))
    });
    assert_eq!(error["code"], -31010, "{error}");
    let error = refused(more, move |asked, wire| {
        // The id comes after what is too large.
        let id = &asked.json()["id"];
        say(
            wire,
            &format!(
                "{EVENTS}data: {{\"jsonrpc\":\"2.0\",\"result\":\"{large}\",\"id\":{id}}}\n\n"
            ),
        );
        false
    });
    assert_eq!(error["code"], -31010, "{error}");
}

#[test]
fn line_breaks_and_pieces_do_not_matter() {
    let script = Script::start(legacy(|asked, wire| {
        let id = &asked.json()["id"];
        let body = format!(
            "{{\n \"jsonrpc\": \"2.0\",\r\n \"id\": {id},\n \"result\": {{\"content\":\n[{{\"type\":\"text\",\"text\":\"a\"}}]}}\n}}\n"
        );
        reply(
            wire,
            "200 OK\r\nContent-Type: Application/JSON; charset=utf-8",
            &body,
        )
    }));
    let daemon = before(&script, "");
    assert_eq!(Session::open(&daemon).text("x", &json!({})), "a");
}

#[test]
fn a_missing_token_is_said_by_name() {
    let script = Script::start(legacy(|_, _| false));
    let more = "[servers.far.upstream]\nbearer_file = \"/nowhere/token\"\n";
    let daemon = Daemon::start(&server("http", &script, more));
    let down = daemon.until("it fails", |s| s.last_failure.is_some());
    let what = down.last_failure.unwrap().what;
    assert!(
        what.contains("bearer_file /nowhere/token cannot be read"),
        "{what}"
    );
    assert!(script.asked().is_empty(), "nothing is sent without it");
}

/// A TLS server with a certificate for 127.0.0.1, and the authority it is from, as PEM.
fn tls() -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    (Arc::new(config), authority.pem())
}

#[test]
fn tls_is_believed_by_ca_file_and_by_nothing_else() {
    let (config, pem) = tls();
    let (_, other) = tls();
    let wrap = move |stream: TcpStream| -> Option<Box<dyn Wire>> {
        let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        Some(Box::new(StreamOwned::new(tls, stream)))
    };
    let script = Script::wrapped(
        wrap,
        legacy(|asked, wire| reply_json(wire, &result(asked, "secret"))),
    );
    let dir = tempfile::tempdir().unwrap();
    let ca_file = |name: &str, pem: &str| {
        let path = dir.path().join(name);
        fs::write(&path, pem).unwrap();
        format!("ca_file = {:?}\n", path.display().to_string())
    };
    let upstream = "pool.max_size = 1\n[servers.far.upstream]\nconnect_timeout = \"200ms\"\n";
    let good = format!("{upstream}{}", ca_file("ca.pem", &pem));
    let daemon = Daemon::ready(&server("https", &script, &good));
    assert_eq!(Session::open(&daemon).text("x", &json!({})), "secret");
    let before = script.asked().len();
    for more in [
        upstream.to_owned(),
        format!("{upstream}{}", ca_file("other.pem", &other)),
    ] {
        let daemon = Daemon::start(&server("https", &script, &more));
        let down = daemon.until("it fails", |s| s.last_failure.is_some());
        let why = format!("{down:?}");
        assert!(why.contains("invalid peer certificate"), "{why}");
    }
    assert_eq!(
        script.asked().len(),
        before,
        "nothing was said to a stranger"
    );
}
