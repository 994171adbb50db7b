//! Ten times more calls than a server can take, most of them of one greedy principal: the server
//! works on as much as ever, each modest principal gets its share, and every refusal says when to
//! come back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::daemon::{Daemon, chaos};
use support::http::PATIENCE;
use support::mcp::{MODERN, post, response, with_meta};

const MODEST: [&str; 4] = ["ann", "bob", "cid", "dot"];
const GREEDY: &str = "greedy";
/// Calls that are at work at a time.
const PLACES: usize = 8;
const SPAN: Duration = Duration::from_secs(4);
/// As a tool argument: long enough that the server's places are what is short, not the machine.
const WORK_MS: u64 = 100;

fn daemon(server: &str, of_greedy: &str) -> Daemon {
    let mut principals = String::new();
    for name in MODEST.iter().chain([&GREEDY]) {
        let hash = Sha256::digest(name.as_bytes());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let more = if *name == GREEDY { of_greedy } else { "" };
        writeln!(
            principals,
            "[[principals]]\nname = \"{name}\"\ntoken_sha256 = \"{hash}\"\n{more}"
        )
        .unwrap();
    }
    Daemon::ready(&format!(
        "[rate_limit]\nrate = 0\n[servers.a]\n{}concurrency = 4\n\
         pool = {{ min_size = 2, max_size = 2 }}\n{server}{principals}",
        chaos(&[])
    ))
}

/// One call of a principal.
fn call(daemon: &Daemon, token: &str) -> Value {
    let params = with_meta(json!({"name": "slow", "arguments": {"ms": WORK_MS}}));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let bearer = format!("Bearer {token}");
    let headers = [
        ("MCP-Protocol-Version", MODERN),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "slow"),
        ("Authorization", bearer.as_str()),
    ];
    response(post(daemon.address(), "/mcp", &headers, &body.to_string()))
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    served: usize,
    refused: usize,
    /// Clients that were never served.
    starved: usize,
}

/// So many clients of each principal, all calling as fast as they can; those of the greedy one come
/// back at once when refused, the others when they are told to. `once`: until each was served.
fn load(daemon: &Daemon, clients: &[(&'static str, usize)], once: bool) -> Vec<Count> {
    let counts = Mutex::new(vec![Count::default(); clients.len()]);
    thread::scope(|scope| {
        for (at, (name, number)) in clients.iter().enumerate() {
            for _ in 0..*number {
                let counts = &counts;
                scope.spawn(move || {
                    let mut mine = Count::default();
                    let end = Instant::now() + if once { PATIENCE } else { SPAN };
                    while Instant::now() < end {
                        let answer = call(daemon, name);
                        if answer.get("result").is_some() {
                            mine.served += 1;
                            if once {
                                break;
                            }
                            continue;
                        }
                        let data = &answer["error"]["data"];
                        let hint = data["retryAfterMs"].as_u64();
                        let hint = hint.unwrap_or_else(|| panic!("no hint: {answer}"));
                        assert_eq!(data["retryable"], true, "{answer}");
                        mine.refused += 1;
                        let greedy = *name == GREEDY;
                        thread::sleep(Duration::from_millis(if greedy { 50 } else { hint }));
                    }
                    let all = &mut counts.lock().unwrap()[at];
                    all.served += mine.served;
                    all.refused += mine.refused;
                    all.starved += usize::from(mine.served == 0);
                });
            }
        }
    });
    counts.into_inner().unwrap()
}

#[test]
fn a_greedy_principal_takes_no_share_of_the_modest_ones() {
    // The queue is shorter than the greed.
    let daemon = daemon("queue_size = 48\n", "");
    let alone = load(&daemon, &[(GREEDY, PLACES)], false)[0].served;
    let mut clients = vec![(GREEDY, PLACES * 10)];
    clients.extend(MODEST.map(|name| (name, 8)));
    let counts = load(&daemon, &clients, false);
    let total: usize = counts.iter().map(|c| c.served).sum();
    println!("alone {alone}, together {total}: {counts:?}");
    assert!(total * 10 >= alone * 7, "{total} of {alone}: {counts:?}");
    let fair = total / clients.len();
    for (count, (name, _)) in counts.iter().zip(&clients).skip(1) {
        assert!(
            count.served * 10 >= fair * 8,
            "{name}: {count:?} of {fair}, {counts:?}"
        );
        // At most while the greedy one's first burst fills all there is.
        assert!(count.refused * 2 <= count.served, "{name}: {counts:?}");
    }
    assert!(counts[0].refused > 0, "it was no overload: {counts:?}");
    // Who comes back when it was told to gets in, even where it is one of many.
    let patient: Vec<_> = MODEST.iter().map(|name| (*name, PLACES * 3)).collect();
    let counts = load(&daemon, &patient, true);
    println!("patient: {counts:?}");
    for count in &counts {
        assert!(count.refused > 0, "it was no overload: {counts:?}");
        assert_eq!(count.starved, 0, "told to come back in vain: {counts:?}");
    }
}

#[test]
fn a_greedy_principal_that_is_limited_is_refused_and_the_others_never() {
    let limit = "rate_limit = { rate = 5, burst_size = 5 }\n";
    let daemon = daemon("", limit);
    let mut clients = vec![(GREEDY, PLACES)];
    clients.extend(MODEST.map(|name| (name, 2)));
    let counts = load(&daemon, &clients, false);
    println!("{counts:?}");
    let most = 5 + 5 * (usize::try_from(SPAN.as_secs()).unwrap() + 2);
    assert!(counts[0].served <= most, "{counts:?}");
    assert!(counts[0].refused > counts[0].served, "{counts:?}");
    for count in &counts[1..] {
        assert_eq!(count.refused, 0, "{counts:?}");
        assert!(count.served > counts[0].served, "{counts:?}");
    }
}
