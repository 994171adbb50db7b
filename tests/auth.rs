//! Who calls: tokens that are known, tokens that are not, none at all; whose a session is; where
//! the hashes of tokens may be; and that no token ever gets into the log.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use support::daemon::Daemon;
use support::http::{self, Response};
use support::mcp;

const OLD: &str = "alices-first-token";
const ALICE: &str = "mainstay_alices-second-token~+/.==";
const BOB: &str = "bobs-token";
const LIST: &str = r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#;

fn hash(token: &str) -> String {
    let hash = Sha256::digest(token.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Alice with two tokens, as while one takes the place of the other, and Bob with one.
fn principals() -> String {
    format!(
        "[[principals]]\nname = \"alice\"\ntoken_sha256 = [\"{}\", \"{}\"]\n\
         [[principals]]\nname = \"bob\"\ntoken_sha256 = \"{}\"\n",
        hash(OLD),
        hash(ALICE),
        hash(BOB)
    )
}

fn request(
    daemon: &Daemon,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Response {
    let mut all = vec![mcp::ACCEPT, mcp::JSON];
    all.extend_from_slice(headers);
    http::send(
        daemon.address(),
        method,
        path,
        &all,
        body.map(str::as_bytes),
    )
}

/// A legacy handshake with this value of `Authorization`; the answer.
fn hello(daemon: &Daemon, authorization: Option<&str>) -> Response {
    let body = mcp::initialize(mcp::LATEST).to_string();
    let headers: Vec<_> = authorization
        .iter()
        .map(|a| ("Authorization", *a))
        .collect();
    request(daemon, "POST", "/mcp", &headers, Some(&body))
}

/// The session that a handshake opened.
fn session(daemon: &Daemon, authorization: Option<&str>) -> String {
    let answer = hello(daemon, authorization);
    assert_eq!(answer.status, 200);
    answer.header("mcp-session-id").unwrap().to_owned()
}

/// A request, the standalone stream and the end of a session; their statuses.
fn statuses(daemon: &Daemon, id: &str, authorization: Option<&str>) -> [u16; 3] {
    ["POST", "GET", "DELETE"].map(|method| {
        let mut headers = vec![("Mcp-Session-Id", id)];
        headers.extend(authorization.map(|a| ("Authorization", a)));
        let body = (method == "POST").then_some(LIST);
        let answer = request(daemon, method, "/mcp", &headers, body);
        let status = answer.status;
        if status == 404 {
            // Exactly what an unknown id gets.
            let unknown = answer.json();
            let error = json!({"code": -32001, "message": "Session not found"});
            assert_eq!(unknown["error"], error);
        }
        status
    })
}

/// Checks a 401 and gives its challenge.
fn challenge(answer: Response) -> String {
    assert_eq!(answer.status, 401);
    let challenge = answer.header("www-authenticate").unwrap().to_owned();
    let body = answer.json();
    assert_eq!(
        (&body["jsonrpc"], &body["id"]),
        (&json!("2.0"), &json!(null))
    );
    assert_eq!(body["error"]["code"], -32600, "{body}");
    challenge
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn a_known_token_is_let_in_and_any_other_is_not() {
    let daemon = Daemon::ready(&principals());
    for good in [
        bearer(OLD),
        bearer(ALICE),
        bearer(BOB),
        format!("bearer  {BOB}"),
    ] {
        assert_eq!(hello(&daemon, Some(&good)).status, 200, "{good}");
    }
    assert_eq!(hello(&daemon, None).status, 200, "strangers are let in");
    let id = session(&daemon, None);
    for bad in [
        bearer("nobodys-token"),
        bearer(&BOB[1..]),
        bearer(&hash(BOB)),
        BOB.to_owned(),
        "Bearer".to_owned(),
        format!("Basic {BOB}"),
        format!("Bearer {BOB} {BOB}"),
    ] {
        let invalid = "Bearer error=\"invalid_token\"";
        assert_eq!(challenge(hello(&daemon, Some(&bad))), invalid, "{bad}");
        for method in ["GET", "DELETE"] {
            let headers = [("Authorization", bad.as_str()), ("Mcp-Session-Id", &id)];
            let answer = request(&daemon, method, "/mcp", &headers, None);
            assert_eq!(challenge(answer), invalid, "{method} {bad}");
        }
    }
    let (alice, bob) = (bearer(ALICE), bearer(BOB));
    let both = [("Authorization", alice.as_str()), ("Authorization", &bob)];
    let body = mcp::initialize(mcp::LATEST).to_string();
    challenge(request(&daemon, "POST", "/mcp", &both, Some(&body)));
    assert_eq!(
        statuses(&daemon, &id, None),
        [200; 3],
        "it outlived all that"
    );
}

#[test]
fn with_auth_required_nobody_is_let_in_without_a_token() {
    let text = format!("[auth]\nrequired = true\n{}", principals());
    let daemon = Daemon::ready(&text);
    assert_eq!(challenge(hello(&daemon, None)), "Bearer");
    let body = mcp::initialize(mcp::LATEST).to_string();
    for path in [
        format!("/mcp?access_token={BOB}"),
        format!("/servers/score/mcp?token={BOB}"),
    ] {
        let answer = request(&daemon, "POST", &path, &[], Some(&body));
        assert_eq!(challenge(answer), "Bearer", "a query is not looked at");
    }
    for method in ["GET", "DELETE", "PUT"] {
        assert_eq!(
            challenge(request(&daemon, method, "/mcp", &[], None)),
            "Bearer"
        );
    }
    let modern = mcp::modern(daemon.address(), &json!(1), "tools/list", &json!({}));
    assert_eq!(challenge(modern), "Bearer");
    let preflight = request(&daemon, "OPTIONS", "/mcp", &[], None);
    assert_eq!(preflight.status, 204, "browsers ask without a token");
    for path in [
        "/health",
        "/livez",
        "/readyz",
        "/metrics",
        "/servers/score/health",
    ] {
        assert_eq!(daemon.get(path).status, 200, "{path}");
    }
    assert_eq!(hello(&daemon, Some(&bearer(BOB))).status, 200);
}

#[test]
fn a_session_is_its_principals_own() {
    let daemon = Daemon::ready(&principals());
    let (alice, bob) = (bearer(ALICE), bearer(BOB));
    let id = session(&daemon, Some(&alice));
    for thief in [Some(bob.as_str()), None] {
        assert_eq!(statuses(&daemon, &id, thief), [404; 3], "{thief:?}");
    }
    assert_eq!(statuses(&daemon, "0123456789abcdef", Some(&bob)), [404; 3]);
    // Another token of the same principal will do, and only its own DELETE ends the session.
    assert_eq!(statuses(&daemon, &id, Some(&bearer(OLD))), [200; 3]);
    assert_eq!(statuses(&daemon, &id, Some(&alice)), [404; 3]);
    let open = session(&daemon, None);
    assert_eq!(statuses(&daemon, &open, Some(&bob)), [404; 3]);
    assert_eq!(statuses(&daemon, &open, None), [200; 3]);
}

#[test]
fn hashes_may_be_in_a_file_or_a_credential() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("alice");
    let text = format!("# two tokens\n\n{}\n  {}  -\n", hash(OLD), hash(ALICE));
    fs::write(&file, text).unwrap();
    fs::write(dir.path().join("bob.cred"), hash(BOB)).unwrap();
    let credentials = dir.path().display().to_string();
    let text = format!(
        "[[principals]]\nname = \"alice\"\ntoken_file = {file:?}\n\
         [[principals]]\nname = \"bob\"\ntoken_credential = \"bob.cred\"\n"
    );
    let environment = [("CREDENTIALS_DIRECTORY", credentials.as_str())];
    let daemon = Daemon::start_as(dir, "", &text, &environment).until_healthy();
    for token in [OLD, ALICE, BOB] {
        assert_eq!(hello(&daemon, Some(&bearer(token))).status, 200, "{token}");
    }
    challenge(hello(&daemon, Some(&bearer("other"))));
}

/// Starts a daemon that must not come up; its exit code and its only line.
fn fails(dir: &Path, lines: &str) -> (i32, String) {
    let config = dir.join("mainstay.toml");
    let text = format!("[listen]\nhttp = \"127.0.0.1:0\"\n[[principals]]\nname = \"a\"\n{lines}\n");
    fs::write(&config, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mainstayd"))
        .arg("--config")
        .arg(&config)
        .arg("--state-dir")
        .arg(dir.join("state"))
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let text = text.replace(&dir.display().to_string(), "D");
    (output.status.code().unwrap(), text.trim_end().to_owned())
}

#[test]
fn tokens_that_cannot_be_read_are_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t");
    let from_file = format!("token_file = {file:?}");
    let none = "principal a has its token hashes in credential c, but CREDENTIALS_DIRECTORY is not \
                set; start mainstayd by systemd with LoadCredential=c:PATH, or use token_file";
    let absent = "the token hashes of principal a cannot be read from D/t: No such file or directory \
                  (os error 2); let the daemon's user read it, one hash a line";
    let failed = |lines: &str, why: &str| {
        assert_eq!(fails(dir.path(), lines), (78, format!("mainstayd: {why}")));
    };
    failed("token_credential = \"c\"", none);
    failed(&from_file, absent);
    fs::write(&file, "# nothing\n").unwrap();
    failed(
        &from_file,
        "D/t has no token hash (principal a); `mainstayctl token a` makes one",
    );
    fs::write(&file, format!("{}\n{ALICE}\n", hash(BOB))).unwrap();
    failed(
        &from_file,
        "line 2 of D/t is no SHA-256 in 64 hexadecimal digits (principal a); `mainstayctl token a` \
         makes a token and prints its hash",
    );
    fs::write(&file, hash(BOB)).unwrap();
    let shared = format!("{from_file}\n{}", principals());
    failed(
        &shared,
        "principals a and bob have the same token; give each its own",
    );
}

#[test]
fn no_token_is_ever_logged() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("MAINSTAY_LOG", "trace")];
    let daemon = Daemon::start_as(dir, "", &principals(), &environment).until_healthy();
    let secret = "nobodys-secret-token";
    let id = session(&daemon, Some(&bearer(BOB)));
    statuses(&daemon, &id, Some(&bearer(BOB)));
    for bad in [bearer(secret), format!("Basic {secret}"), secret.to_owned()] {
        challenge(hello(&daemon, Some(&bad)));
    }
    let answer = hello(&daemon, Some(&bearer(secret))).text();
    let log = daemon.stop();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    for word in [BOB, secret, &hash(BOB)] {
        assert!(
            !log.contains(word) && !answer.contains(word),
            "{word} in {log}"
        );
    }
}

#[test]
fn mainstayctl_makes_tokens_that_work() {
    let ctl = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstayctl"));
        command.args(["token", name]).output().unwrap()
    };
    let made = ctl("carol");
    assert_eq!(made.status.code(), Some(0));
    let lines = String::from_utf8(made.stdout).unwrap();
    let token = lines
        .lines()
        .find_map(|l| l.split_once("Bearer "))
        .unwrap()
        .1;
    let daemon = Daemon::ready(&lines);
    assert_eq!(hello(&daemon, Some(&bearer(token))).status, 200);
    assert!(
        !lines
            .split("[[principals]]")
            .nth(1)
            .unwrap()
            .contains(token)
    );
    let wrong = ctl("no name");
    assert_eq!(wrong.status.code(), Some(64));
    assert!(wrong.stdout.is_empty());
}
