//! How often a caller may call: the burst, the pace after it, whose limit is whose, what is never
//! limited, and what the answers say about it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::daemon::{Daemon, chaos};
use support::http::{self, Response};
use support::mcp::{self, Session};

/// With the hashes of `alices-token` and `bobs-token`.
const PRINCIPALS: &str = r#"
[[principals]]
name = "alice"
token_sha256 = "a618979c7230855bb4703c14571b974e8bb577c80e83f7839304729ec5445a13"
[[principals]]
name = "bob"
token_sha256 = "c8258ff6b71789efe9c0371433bac953652370c1282f9823825b913e2c9a89c4"
"#;

/// What an answer says about a limit: `q` and `w` of the policy, `r` and `t` of what is left.
fn told(answer: &Response, name: &str) -> [u64; 4] {
    let number = |header: &str, key: &str| -> u64 {
        let value = answer
            .header(header)
            .unwrap_or_else(|| panic!("no {header}"));
        let item = value
            .split(", ")
            .find(|item| item.starts_with(&format!("\"{name}\";")));
        let item = item.unwrap_or_else(|| panic!("no {name} in {header}: {value}"));
        let part = item
            .split(';')
            .find_map(|part| part.strip_prefix(&format!("{key}=")));
        part.unwrap().parse().unwrap()
    };
    [
        number("ratelimit-policy", "q"),
        number("ratelimit-policy", "w"),
        number("ratelimit", "r"),
        number("ratelimit", "t"),
    ]
}

/// The error of a refusal, its form checked: HTTP 200, headers and body of one opinion.
fn refused(answer: Response, name: &str) -> Value {
    assert_eq!(answer.status, 200);
    let [_, _, left, after] = told(&answer, name);
    let retry = answer.header("retry-after").unwrap().parse::<u64>();
    assert_eq!((left, retry.unwrap()), (0, after));
    let error = answer.json()["error"].clone();
    assert_eq!(error["code"], -31001, "{error}");
    assert_eq!(error["data"]["reason"], "rate_limited");
    assert_eq!(error["data"]["retryable"], true);
    let millis = error["data"]["retryAfterMs"].as_u64().unwrap();
    assert!(
        millis > 0 && millis <= after * 1000,
        "{millis} ms, {after} s"
    );
    error
}

fn is_refused(answer: &Response) -> bool {
    answer.header("retry-after").is_some()
}

fn list(session: &Session) -> Response {
    session.request(&json!(1), "tools/list", &json!({}))
}

/// Lists until it is refused; how many were served, and the refusal.
fn exhaust(session: &Session) -> (u64, Response) {
    for served in 0..10_000 {
        let answer = list(session);
        if is_refused(&answer) {
            return (served, answer);
        }
        assert!(mcp::response(answer)["result"]["tools"].is_array());
    }
    panic!("no limit");
}

/// Tokens that may have come meanwhile at this rate a second. They come every 10 ms, so the first
/// of them may have been on their way before.
fn refilled(since: Instant, rate: f64) -> f64 {
    (since.elapsed().as_secs_f64() + 0.01) * rate
}

#[test]
fn the_burst_passes_and_the_next_call_is_told_when_to_come_back() {
    let daemon = Daemon::ready("[rate_limit]\nrate = 1\nburst_size = 200\n");
    let start = Instant::now();
    // The first call of the burst is the handshake.
    let session = Session::open(&daemon);
    let first = list(&session);
    let [burst, window, left, after] = told(&first, "burst");
    assert_eq!(
        (burst, window, first.header("retry-after")),
        (200, 200, None)
    );
    assert!(
        (left == 198 && after == 2) || refilled(start, 1.0) >= 1.0,
        "{left} {after}"
    );

    let (more, refusal) = exhaust(&session);
    let served = 2 + more;
    assert!(served >= 200, "{served} of 200");
    assert!(
        served as f64 <= 200.0 + refilled(start, 1.0),
        "{served} of 200"
    );
    let error = refused(refusal, "burst");
    let text = error["message"].as_str().unwrap();
    assert!(
        text.starts_with("anonymous@127.0.0.1 may make 1 calls a second"),
        "{text}"
    );

    // The session lives, and whoever waits as told gets in.
    let pong = mcp::response(session.request(&json!(7), "ping", &json!({})));
    assert_eq!(pong["result"], json!({}));
    let error = refused_now(&session);
    sleep(Duration::from_millis(
        error["data"]["retryAfterMs"].as_u64().unwrap(),
    ));
    assert!(!is_refused(&list(&session)));
    let counters = daemon.server().counters;
    assert_eq!(counters.refusals["rate_limited"], counters.calls["refused"]);
}

/// A refusal, after as many calls as it takes.
fn refused_now(session: &Session) -> Value {
    refused(exhaust(session).1, "burst")
}

#[test]
fn after_the_burst_the_rate_holds_and_who_waits_is_served() {
    let daemon = Daemon::ready("[rate_limit]\nrate = 50\nburst_size = 5\n");
    let start = Instant::now();
    let session = Session::open(&daemon);
    let mut served = 1;
    let mut refusals = 0;
    while served < 60 {
        let answer = list(&session);
        if !is_refused(&answer) {
            served += 1;
            continue;
        }
        refusals += 1;
        let wait = refused(answer, "burst")["data"]["retryAfterMs"]
            .as_u64()
            .unwrap();
        assert!(wait <= 30, "a token comes every 20 ms, not in {wait}");
        sleep(Duration::from_millis(wait));
        assert!(!is_refused(&list(&session)), "it waited as it was told");
        served += 1;
    }
    let most = 5.0 + refilled(start, 50.0);
    assert!(f64::from(served) <= most, "{served} served of {most}");
    assert!(refusals > 0 || f64::from(served) <= refilled(start, 50.0));
}

fn modern_list(address: SocketAddr, token: Option<&str>) -> Response {
    let params = mcp::with_meta(json!({}));
    let body = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/list", "params": params});
    let value = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![
        ("MCP-Protocol-Version", mcp::MODERN),
        ("Mcp-Method", "tools/list"),
    ];
    headers.extend(value.as_deref().map(|value| ("Authorization", value)));
    mcp::post(address, "/mcp", &headers, &body.to_string())
}

#[test]
fn each_principal_has_its_own_limit_in_both_eras() {
    let daemon = Daemon::ready(&format!(
        "[rate_limit]\nrate = 1\nburst_size = 3\n{PRINCIPALS}\
         [principals.rate_limit]\nrate = 0\n"
    ));
    let address = daemon.address();
    let alice = || modern_list(address, Some("alices-token"));
    let last = (0..20).map(|_| alice()).find(is_refused).unwrap();
    let error = refused(last, "burst");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("alice may make 1")
    );
    // Her refused calls cost nobody else anything, strangers least.
    let stranger = modern_list(address, None);
    assert_eq!((stranger.status, told(&stranger, "burst")[2]), (200, 2));
    for _ in 0..20 {
        let bob = modern_list(address, Some("bobs-token"));
        assert_eq!(
            (bob.status, bob.header("ratelimit")),
            (200, None),
            "no limit"
        );
    }
    let session = Session::open(&daemon);
    refused(exhaust(&session).1, "burst");
}

#[test]
fn a_server_and_a_tool_can_have_limits_of_their_own() {
    let daemon = Daemon::ready(&format!(
        "[rate_limit]\nrate = 1000\nburst_size = 1000\n[servers.a]\ndefault = true\n{}\
         pool = {{ min_size = 1, max_size = 1 }}\nera = \"legacy\"\n\
         rate_limit = {{ rate = 1, burst_size = 60 }}\n\
         tools.echo.rate_limit = {{ rate = 1, burst_size = 3 }}\n\
         [servers.b]\nbuiltin = \"score\"\n",
        chaos(&[])
    ));
    let session = Session::open(&daemon);
    let echo = || session.start(&json!(1), "echo", &json!({"text": "x"}));
    let answer = echo();
    assert_eq!(told(&answer, "burst")[0], 1000);
    assert_eq!(told(&answer, "server")[0], 60);
    assert_eq!(told(&answer, "tool")[0], 3);
    let refusal = (0..20).map(|_| echo()).find(is_refused).unwrap();
    let error = refused(refusal, "tool");
    let text = error["message"].as_str().unwrap();
    assert!(text.contains("for tool echo of server a"), "{text}");
    // Other tools of the server go on, until its own limit.
    let other = session.start(&json!(1), "pid", &json!({}));
    assert!(!is_refused(&other));
    let refusal = exhaust(&session).1;
    assert_eq!(told(&refusal, "server")[2], 0);
    let error = refusal.json()["error"].clone();
    assert!(
        error["message"].as_str().unwrap().contains("at server a"),
        "{error}"
    );
    let elsewhere = Session::open_at(&daemon, "/servers/b/mcp", mcp::LATEST);
    assert!(!is_refused(&list(&elsewhere)));
}

#[test]
fn views_answers_and_cancellations_are_never_limited() {
    let daemon = Daemon::ready(&format!(
        "[rate_limit]\nrate = 1\nburst_size = 4\n[servers.a]\n{}\
         pool = {{ min_size = 1, max_size = 1 }}\nera = \"legacy\"\n",
        chaos(&[])
    ));
    let session = Session::open(&daemon);
    let slow = session.start(&json!("slow"), "slow", &json!({"ms": 60_000}));
    refused_now(&session);
    for path in [
        "/health",
        "/livez",
        "/readyz",
        "/metrics",
        "/servers/a/health",
    ] {
        for _ in 0..20 {
            let answer = daemon.get(path);
            assert_eq!(
                (answer.status, answer.header("ratelimit")),
                (200, None),
                "{path}"
            );
        }
    }
    let before = daemon.server().counters.unrouted;
    for _ in 0..20 {
        // An answer to nothing, and a notification that is dropped: both are taken.
        let answer = session.post(r#"{"jsonrpc":"2.0","id":99,"result":{}}"#);
        assert_eq!((answer.status, answer.header("ratelimit")), (202, None));
        session.notify("notifications/roots/list_changed", &json!({}));
    }
    assert!(
        daemon.server().counters.unrouted > before,
        "dropped and counted"
    );
    session.notify("notifications/cancelled", &json!({"requestId": "slow"}));
    daemon.until("the call is cancelled", |s| {
        s.counters.calls["cancelled"] == 1
    });
    drop(slow);
    let get = session.get(None);
    assert_eq!(get.status, 200);
    get.hang_up();
    assert_eq!(session.delete(), 200);
}

#[test]
fn without_a_rate_nothing_is_limited_or_said() {
    let daemon = Daemon::ready("[rate_limit]\nrate = 0\n");
    for _ in 0..250 {
        let answer = modern_list(daemon.address(), None);
        assert_eq!(
            (answer.status, answer.header("ratelimit-policy")),
            (200, None)
        );
    }
}

/// The defaults are those of the seed, in force without a word of configuration.
#[test]
fn a_limit_is_on_by_default() {
    let daemon = Daemon::ready("# rate_limit\n");
    let answer = modern_list(daemon.address(), None);
    let policy = answer.header("ratelimit-policy");
    assert_eq!(policy, Some("\"burst\";q=200;w=2"));
    let wrong = http::send(daemon.address(), "POST", "/mcp", &[], None);
    assert_eq!(
        (wrong.status, wrong.header("ratelimit")),
        (406, None),
        "no request yet"
    );
}
