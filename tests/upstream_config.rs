//! What a server with a `url` is told by its configuration, and what is said about a wrong one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstay::config::{Bearer, Program, Server, Upstream, effective_toml, from_str};
use std::time::Duration;

fn only(lines: &str) -> Server {
    let text = format!("[servers.a]\n{lines}\n");
    let mut config = from_str("f", &text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    config.servers.remove(0)
}

fn upstream(server: &Server) -> &Upstream {
    match &server.program {
        Program::Upstream(upstream) => upstream,
        other => panic!("{other:?}"),
    }
}

fn bad(lines: &str) -> String {
    let text = format!("[servers.a]\n{lines}\n");
    match from_str("f", &text) {
        Ok(config) => panic!("accepted: {text}\n{config:?}"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn a_url_brings_defaults_of_its_own() {
    let server = only("url = \"https://mcp.example/mcp\"");
    assert_eq!(
        server,
        Server {
            default: true,
            ..Server::new("a", server.program.clone())
        }
    );
    assert_eq!((server.pool.min_size, server.pool.max_size), (1, 4));
    assert_eq!(
        (server.concurrency, server.start_timeout.as_secs()),
        (64, 10)
    );
    assert_eq!(
        only("url = \"http://b\"\nstate = \"session\"")
            .pool
            .max_size,
        256
    );
    let text = "[pool]\nmin_size = 3\nmax_size = 9\nacquire_timeout = \"1s\"\n[servers.a]\nurl = \"http://b\"\n";
    let pool = &from_str("f", text).unwrap().servers[0].pool;
    assert_eq!(
        (pool.min_size, pool.max_size),
        (1, 4),
        "[pool] is about processes"
    );
    assert_eq!(pool.acquire_timeout, Duration::from_secs(1));
}

#[test]
fn all_of_it_is_written_down_again() {
    let server = only(
        "url = \"http://[::1]:80/x\"\npool.max_size = 2\n[servers.a.upstream]\n\
         connect_timeout = \"1s\"\nresponse_timeout = \"2s\"\nidle_timeout = \"3s\"\n\
         bearer_credential = \"t\"\nca_file = \"/ca.pem\"\nheaders = { X-Tenant = \"m\" }",
    );
    let wanted = Upstream {
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(3),
        bearer: Some(Bearer::Credential("t".into())),
        headers: [("x-tenant".to_owned(), "m".to_owned())].into(),
        ca_file: Some("/ca.pem".into()),
        ..Upstream::new("http://[::1]:80/x")
    };
    assert_eq!(*upstream(&server), wanted);
    let config = from_str("f", "[servers.a]\nurl = \"http://b\"\n[servers.a.upstream]\nbearer_file = \"/t\"\nheaders = { a = \"b\" }\n").unwrap();
    assert_eq!(from_str("g", &effective_toml(&config)).unwrap(), config);
}

#[test]
fn what_makes_no_sense_is_told() {
    let table = [
        (
            "upstream.idle_timeout = \"1s\"\ncommand = [\"x\"]",
            "upstream: is for servers with a `url`",
        ),
        (
            "url = \"http://b\"\ncommand = [\"x\"]",
            "url: stands beside",
        ),
        (
            "url = \"http://b\"\nenv = { A = \"b\" }",
            "env: is about a process",
        ),
        ("url = \"http://b\"\ncwd = \"/\"", "cwd: is about a process"),
        (
            "url = \"http://b\"\nlimits.open_files = 100",
            "limits: is about a process",
        ),
        (
            "url = \"http://u:p@b\"",
            "contains a user or password; use upstream.bearer_file",
        ),
        (
            "url = \"http://b\"\nupstream.headers.Authorization = \"x\"",
            "use bearer_file",
        ),
        (
            "url = \"http://b\"\nupstream.headers.Mcp-Session-Id = \"x\"",
            "set by mainstay",
        ),
        (
            "url = \"http://b\"\nupstream.headers.\"a b\" = \"x\"",
            "is no header name",
        ),
        (
            "url = \"http://b\"\nupstream.headers.a = \"x\\ny\"",
            "a value that no header can have",
        ),
        (
            "url = \"http://b\"\nupstream.bearer_credential = \"../x\"",
            "is no name of a credential",
        ),
        (
            "url = \"http://b\"\nupstream = { bearer_file = \"/a\", bearer_credential = \"a\" }",
            "stands beside `bearer_file`",
        ),
        (
            "url = \"http://b\"\nupstream.connect_timeout = \"0s\"",
            "must be longer than zero",
        ),
        (
            "url = \"http://b\"\nupstream.timeout = \"1s\"",
            "unknown key",
        ),
    ];
    for (lines, part) in table {
        let said = bad(lines);
        assert!(said.contains(part), "{lines}\n{said}");
        assert_eq!(said.lines().count(), 1, "said once:\n{said}");
    }
}
