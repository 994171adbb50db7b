//! Who is let in: Host and Origin against DNS rebinding, CORS for pages that are allowed.

mod support;

use serde_json::json;
use support::daemon::{Daemon, chaos};
use support::http::{self, Response};
use support::mcp::{ACCEPT, JSON, LATEST, initialize};

fn daemon(listen: &str) -> Daemon {
    let servers = format!("[servers.a]\n{}pool = {{ min_size = 1 }}\n", chaos(&[]));
    let daemon = Daemon::start_with(listen, &servers);
    daemon.until("a worker is ready", |s| s.ready > 0);
    daemon
}

fn hello(daemon: &Daemon, headers: &[(&str, &str)]) -> Response {
    let mut all = vec![ACCEPT, JSON];
    all.extend_from_slice(headers);
    let body = initialize(LATEST).to_string();
    http::send(
        daemon.address(),
        "POST",
        "/mcp",
        &all,
        Some(body.as_bytes()),
    )
}

fn statuses(daemon: &Daemon, name: &str, table: &[(&str, u16)]) {
    for (value, status) in table {
        let headers = match name {
            "Host" => vec![("Host", *value)],
            name => vec![("Host", "localhost"), (name, *value)],
        };
        let answer = hello(daemon, &headers);
        assert_eq!(answer.status, *status, "{name}: {value}");
        if *status == 403 {
            assert_eq!(answer.header("mcp-session-id"), None);
            assert_eq!(answer.header("access-control-allow-origin"), None);
            let body = answer.json();
            assert_eq!(
                (&body["id"], &body["error"]["code"]),
                (&json!(null), &json!(-32600))
            );
        }
    }
}

#[test]
fn by_default_only_loopback_may_call() {
    let daemon = daemon("");
    let port = daemon.address().port();
    statuses(
        &daemon,
        "Host",
        &[
            ("localhost", 200),
            ("LocalHost:9", 200),
            (&format!("127.0.0.1:{port}"), 200),
            ("127.0.0.1", 200),
            ("[::1]:80", 200),
            ("evil.example", 403),
            (&format!("evil.example:{port}"), 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example", 403),
            ("localhost:evil", 403),
            ("192.0.2.1", 403),
            ("0.0.0.0", 403),
            ("localhost@evil.example", 403),
        ],
    );
    statuses(
        &daemon,
        "Origin",
        &[
            ("http://localhost", 200),
            ("http://localhost:5173", 200),
            ("https://127.0.0.1:1", 200),
            ("HTTP://LOCALHOST", 200),
            ("http://[::1]:3000", 200),
            ("http://evil.example", 403),
            ("http://localhost.evil.example", 403),
            ("http://localhost:80.evil.example", 403),
            ("null", 403),
            ("file://", 403),
            ("", 403),
            ("localhost", 403),
            ("http://localhost/path", 403),
            ("chrome-extension://abc", 403),
            ("http://localhost, http://evil.example", 403),
        ],
    );
    let local = ("Origin", "http://localhost");
    for (headers, what) in [
        (
            vec![("Host", "localhost"), ("Host", "evil.example")],
            "two hosts",
        ),
        (
            vec![("Host", "localhost"), ("Host", "localhost")],
            "the same host twice",
        ),
        (
            vec![
                ("Host", "localhost"),
                local,
                ("Origin", "http://evil.example"),
            ],
            "two origins",
        ),
        (
            vec![("Host", "localhost"), local, local],
            "the same origin twice",
        ),
        (
            vec![("Host", "evil.example"), ("Origin", "http://evil.example")],
            "both evil",
        ),
    ] {
        // HTTP itself forbids a second Host, so 400 is as good.
        let status = hello(&daemon, &headers).status;
        assert!(matches!(status, 400 | 403), "{what}: {status}");
    }
    let body = initialize(LATEST).to_string();
    let bare = format!(
        "POST /mcp HTTP/1.1\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let status = http::send_raw(daemon.address(), bare.as_bytes()).status;
    assert!(matches!(status, 400 | 403), "no Host at all: {status}");
    let absolute = bare.replace(
        "POST /mcp HTTP/1.1\r\n",
        "POST http://evil.example/mcp HTTP/1.1\r\nHost: localhost\r\n",
    );
    let status = http::send_raw(daemon.address(), absolute.as_bytes()).status;
    assert!(
        matches!(status, 400 | 403),
        "a Host in the request line: {status}"
    );
    assert_eq!(daemon.server().sessions, 10, "one for each 200");
}

#[test]
fn every_method_and_path_of_the_endpoint_is_guarded() {
    let daemon = daemon("");
    for method in ["GET", "POST", "DELETE", "OPTIONS", "PUT"] {
        for path in [
            "/mcp",
            "/servers/a/mcp",
            "/servers/unknown/mcp",
            "/elsewhere",
        ] {
            for header in [("Host", "evil.example"), ("Origin", "http://evil.example")] {
                let answer = http::send(
                    daemon.address(),
                    method,
                    path,
                    &[ACCEPT, JSON, header],
                    None,
                );
                assert_eq!(answer.status, 403, "{method} {path} {header:?}");
            }
        }
    }
    // The views quote what workers wrote; that the process lives is no secret.
    for foreign in [("Host", "evil.example"), ("Origin", "http://evil.example")] {
        for (path, status) in [
            ("/livez", 200),
            ("/health", 403),
            ("/readyz", 403),
            ("/metrics", 403),
            ("/servers/a/health", 403),
        ] {
            let answer = http::send(daemon.address(), "GET", path, &[foreign], None);
            assert_eq!(answer.status, status, "{path} {foreign:?}");
        }
    }
    for path in ["/health", "/readyz", "/metrics", "/servers/a/health"] {
        assert_eq!(daemon.get(path).status, 200, "{path}");
    }
}

#[test]
fn configured_names_replace_the_loopback_ones() {
    let daemon = daemon(
        "allowed_hosts = [\"mcp.example\", \"other.example:81\"]\n\
         allowed_origins = [\"https://app.example\"]\n",
    );
    statuses(
        &daemon,
        "Host",
        &[
            ("mcp.example", 200),
            ("MCP.example:8443", 200),
            ("other.example:81", 200),
            ("other.example:82", 403),
            ("other.example", 403),
            ("localhost", 403),
            ("x.mcp.example", 403),
        ],
    );
    for (origin, status) in [
        ("https://app.example", 200),
        ("https://APP.example", 200),
        ("http://app.example", 403),
        ("https://app.example:444", 403),
        ("http://localhost", 403),
    ] {
        let answer = hello(&daemon, &[("Host", "mcp.example"), ("Origin", origin)]);
        assert_eq!(answer.status, status, "{origin}");
    }
}

#[test]
fn a_page_that_is_let_in_may_read_the_answer() {
    let daemon = daemon("");
    let origin = "http://localhost:5173";
    let preflight = http::send(
        daemon.address(),
        "OPTIONS",
        "/mcp",
        &[
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            (
                "Access-Control-Request-Headers",
                "content-type,mcp-method,mcp-param-x",
            ),
        ],
        None,
    );
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some(origin)
    );
    let methods = preflight.header("access-control-allow-methods").unwrap();
    for method in ["GET", "POST", "DELETE"] {
        assert!(methods.contains(method), "{methods}");
    }
    assert_eq!(
        preflight.header("access-control-allow-headers"),
        Some("content-type,mcp-method,mcp-param-x")
    );
    let with_origin = hello(&daemon, &[("Origin", origin)]);
    assert_eq!(
        with_origin.header("access-control-allow-origin"),
        Some(origin)
    );
    assert_eq!(
        with_origin.header("access-control-expose-headers"),
        Some("Mcp-Session-Id, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate")
    );
    assert_eq!(with_origin.header("vary"), Some("Origin"));
    let without = hello(&daemon, &[]);
    assert_eq!(without.header("access-control-allow-origin"), None);
    // Errors can be read as well, or a page could not tell why.
    let wrong = http::send(
        daemon.address(),
        "POST",
        "/mcp",
        &[("Origin", origin)],
        None,
    );
    assert_eq!(wrong.status, 406);
    assert_eq!(wrong.header("access-control-allow-origin"), Some(origin));
}
