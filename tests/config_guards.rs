//! What a configuration says of limits, breakers, memory, retries, tools and principals, and what
//! is said about one that is wrong there.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mainstay::config::{
    Config, Failure, Principal, Server, Tokens, Tool, effective_toml, from_str, parse_hash,
};
use mainstay::policy::bucket::Limit;
use mainstay::policy::class::Class;
use mainstay::policy::{breaker, memory, retry};
use std::time::Duration;

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const OTHER: &str = "60303AE22B998861BCE3B28F33EEC1BE758A213C86C93C076DBE9F558C11C752";

fn good(text: &str) -> Config {
    let config = from_str("f", text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    let printed = effective_toml(&config);
    let again = from_str("p", &printed).unwrap_or_else(|errors| panic!("{printed}\n{errors}"));
    assert_eq!(again, config, "what is printed reads back");
    config
}

fn bad(text: &str) -> String {
    match from_str("f", text) {
        Ok(config) => panic!("accepted: {text}\n{config:?}"),
        Err(errors) => errors.to_string(),
    }
}

/// A server `a` with these lines, which begin at line 3 of the file.
fn server(lines: &str) -> String {
    format!("[servers.a]\ncommand = [\"x\"]\n{lines}\n")
}

fn only(text: &str) -> Server {
    good(text).servers.remove(0)
}

fn limit(rate: u32, burst_size: u32, refill: u64) -> Limit {
    Limit {
        rate,
        burst_size,
        refill_interval: Duration::from_millis(refill),
    }
}

#[test]
fn the_defaults_are_those_of_the_policies() {
    let config = good(&server(""));
    assert_eq!(config.rate_limit, limit(100, 200, 10));
    assert!(!config.auth.required && config.principals.is_empty());
    let a = &config.servers[0];
    assert_eq!(a.breaker, breaker::Settings::default());
    assert_eq!(a.memory, memory::Limits::default());
    assert_eq!(a.retry, retry::Settings::default());
    assert_eq!((a.rate_limit, &a.failure), (None, &Failure::default()));
    assert_eq!(a.recovery.hold, Duration::from_secs(45));
    let seconds = Duration::from_secs;
    assert_eq!(
        (a.call_timeout, a.max_call_timeout),
        (seconds(300), seconds(3600))
    );
    assert_eq!(a.queue_bytes, 64 << 20);
    assert!(!a.trust_annotations && !a.adaptive_concurrency);
    assert!(only("").trust_annotations, "the score server is ours");
}

#[test]
fn every_key_of_a_server_is_read() {
    let a = only(&server(
        r#"
        queue_bytes = "5M"
        call_timeout = "9s"
        max_call_timeout = "10s"
        retry_safe = ["b", "a", "b"]
        trust_annotations = true
        adaptive_concurrency = true
        recovery.hold = "7s"
        memory = { soft_limit = "1M", hard_limit = "2M", check_interval = "3s" }
        retry = { attempts = 1, budget_percent = 0, budget_per_second = 0 }
        rate_limit = { rate = 5, burst_size = 6, refill_interval = "7ms" }
        failure = { pointer = "/status", equals = "error", caller_codes = [-32000, 0, 5] }
        [servers.a.breaker]
        failure_threshold = 1
        recovery_timeout = "2s"
        half_open_max_calls = 3
        window = "4s"
        minimum_calls = 5
        success_rate = 6
        slow_call = "7s"
        slow_rate = 8
        "#,
    ));
    let seconds = Duration::from_secs;
    assert_eq!(a.queue_bytes, 5 << 20);
    assert_eq!(
        (a.call_timeout, a.max_call_timeout),
        (seconds(9), seconds(10))
    );
    assert_eq!(a.retry_safe.iter().collect::<Vec<_>>(), ["a", "b"]);
    assert!(a.trust_annotations && a.adaptive_concurrency);
    assert_eq!(a.recovery.hold, seconds(7));
    let memory = memory::Limits {
        soft_limit: 1 << 20,
        hard_limit: 2 << 20,
        check_interval: seconds(3),
    };
    assert_eq!(a.memory, memory);
    let retry = retry::Settings {
        attempts: 1,
        budget_percent: 0,
        budget_per_second: 0,
    };
    assert_eq!(a.retry, retry);
    assert_eq!(a.rate_limit, Some(limit(5, 6, 7)));
    let failure = Failure {
        pointer: Some("/status".to_owned()),
        equals: Some("error".to_owned()),
        caller_codes: Some(vec![-32000, 0, 5]),
    };
    assert_eq!(a.failure, failure);
    let breaker = breaker::Settings {
        failure_threshold: 1,
        recovery_timeout: seconds(2),
        half_open_max_calls: 3,
        window: seconds(4),
        minimum_calls: 5,
        success_rate: 6,
        slow_call: Some(seconds(7)),
        slow_rate: 8,
    };
    assert_eq!(a.breaker, breaker);
}

#[test]
fn every_key_of_a_tool_is_read() {
    let a = only(&server(
        r#"
        breaker.window = "3s"
        [servers.a.tools.all]
        call_timeout = "1s"
        retry_safe = false
        rate_limit.rate = 2
        class = "background"
        breaker.failure_threshold = 9
        failure.equals = "x"
        failure.pointer = "/a"
        [servers.a.tools."a \"b\"\n"]
        failure = {}
        "#,
    ));
    let all = Tool {
        call_timeout: Some(Duration::from_secs(1)),
        retry_safe: Some(false),
        rate_limit: Some(limit(2, 4, 10)),
        class: Some(Class::Background),
        breaker: Some(breaker::Settings {
            failure_threshold: 9,
            window: Duration::from_secs(3),
            ..breaker::Settings::default()
        }),
        failure: Some(Failure {
            pointer: Some("/a".to_owned()),
            equals: Some("x".to_owned()),
            caller_codes: None,
        }),
    };
    assert_eq!(a.tools["all"], all, "what is left out is the server's");
    let odd = Tool {
        failure: Some(Failure::default()),
        ..Tool::default()
    };
    assert_eq!(a.tools["a \"b\"\n"], odd);
}

#[test]
fn principals_are_read_with_their_tokens() {
    let config = good(&format!(
        r#"
        rate_limit = {{ rate = 50, refill_interval = "20ms" }}
        auth.required = true
        [[principals]]
        name = "alice"
        token_sha256 = ["{HASH}", "{OTHER}"]
        [[principals]]
        name = "b.o-b_@x"
        class = "critical"
        token_file = "/t"
        rate_limit.burst_size = 7
        [[principals]]
        name = "carol"
        token_credential = "c"
        rate_limit.rate = 0
        "#
    ));
    assert_eq!(config.rate_limit, limit(50, 100, 20), "twice the rate");
    assert!(config.auth.required);
    let principal = |name: &str, class, tokens, rate_limit| Principal {
        name: name.to_owned(),
        class,
        tokens,
        rate_limit,
    };
    let hashes = vec![parse_hash(HASH).unwrap(), parse_hash(OTHER).unwrap()];
    let expected = [
        principal("alice", Class::Normal, Tokens::Hashes(hashes), None),
        principal(
            "b.o-b_@x",
            Class::Critical,
            Tokens::File("/t".into()),
            Some(limit(50, 7, 20)),
        ),
        principal(
            "carol",
            Class::Normal,
            Tokens::Credential("c".to_owned()),
            Some(limit(0, 100, 20)),
        ),
    ];
    assert_eq!(config.principals, expected);
    assert_eq!(hashes_of(HASH), hashes_of(&HASH.to_uppercase()));
}

fn hashes_of(hash: &str) -> Tokens {
    let text = format!("[[principals]]\nname = \"a\"\ntoken_sha256 = \"{hash}\"\n");
    good(&text).principals.remove(0).tokens
}

#[test]
fn top_level_tables_are_defaults_key_by_key() {
    let config = good(
        "[breaker]\nwindow = \"3s\"\nslow_call = \"1s\"\n[memory]\nhard_limit = \"5G\"\n\
         [recovery]\nhold = \"1s\"\n[servers.a]\ncommand = [\"x\"]\ndefault = true\n\
         breaker.window = \"2s\"\nmemory.soft_limit = \"4G\"\n[servers.b]\ncommand = [\"y\"]\n\
         breaker.slow_call = \"0s\"\n",
    );
    let [a, b] = config.servers.as_slice() else {
        panic!("{config:?}")
    };
    let seconds = Duration::from_secs;
    assert_eq!(
        (a.breaker.window, a.breaker.slow_call),
        (seconds(2), Some(seconds(1)))
    );
    assert_eq!((b.breaker.window, b.breaker.slow_call), (seconds(3), None));
    assert_eq!(
        (a.memory.soft_limit, a.memory.hard_limit),
        (4 << 30, 5 << 30)
    );
    assert_eq!(
        (b.memory.soft_limit, b.memory.hard_limit),
        (2 << 30, 5 << 30)
    );
    assert_eq!((a.recovery.hold, b.recovery.hold), (seconds(1), seconds(1)));
}

#[test]
fn what_a_worker_may_have_follows_from_the_memory_of_its_server() {
    let memory = |text: &str| only(text).limits.memory;
    let gib = 1_u64 << 30;
    let limits = only(&server("")).limits;
    assert_eq!(
        (limits.memory, limits.pids, limits.cpu_weight),
        (2 * gib, Some(512), 100)
    );
    let three = "memory = { soft_limit = \"1G\", hard_limit = \"4G\" }";
    assert_eq!(memory(&server(three)), 3 * gib);
    // Never so little that nothing starts, never more than all together.
    let tight = "memory = { soft_limit = \"1000M\", hard_limit = \"1001M\" }";
    assert_eq!(memory(&server(tight)), 256 << 20);
    let small = "memory = { soft_limit = \"9M\", hard_limit = \"10M\" }";
    assert_eq!(memory(&server(small)), 10 << 20);
    let written = "limits = { memory = \"1G\", pids = 0, cpu_weight = 7 }";
    let limits = only(&server(written)).limits;
    assert_eq!(
        (limits.memory, limits.pids, limits.cpu_weight),
        (gib, None, 7)
    );
    // What holds for all is cut down to the server's own.
    let all = "[limits]\nmemory = \"3G\"\npids = 9\nopen_files = 99\n";
    let limits = only(&format!("{all}{}", server("limits.pids = 8"))).limits;
    assert_eq!(
        (limits.memory, limits.pids, limits.open_files),
        (3 * gib, Some(8), 99)
    );
    assert_eq!(memory(&format!("{all}{}", server(small))), 10 << 20);
    // A server that runs elsewhere has no worker to limit.
    let far = good(&format!("{all}[servers.a]\nurl = \"http://[::1]/x\"\n"));
    assert_eq!(far.servers[0].limits.pids, Some(512));
}

#[test]
fn the_cgroup_is_chosen_by_name() {
    use mainstay::config::Cgroup;
    assert_eq!(good("").cgroup, Cgroup::Auto);
    assert_eq!(good("cgroup = \"own\"").cgroup, Cgroup::Own);
    assert_eq!(good("cgroup = \"off\"").cgroup, Cgroup::Off);
    assert!(bad("cgroup = \"on\"").contains("cgroup: "));
}

#[test]
fn a_limit_of_zero_is_none_and_a_timeout_nobody_wrote_gives_way() {
    let a = only(&server(
        "rate_limit = { rate = 0 }\ntools.t.rate_limit.rate = 0",
    ));
    assert_eq!((a.rate_limit, a.tools["t"].rate_limit), (None, None));
    assert_eq!(good("rate_limit.rate = 0").rate_limit, limit(0, 200, 10));
    let long = only(&server("call_timeout = \"2h\""));
    assert_eq!(long.max_call_timeout, Duration::from_secs(7200));
    let short = only(&server("max_call_timeout = \"1s\""));
    assert_eq!(short.call_timeout, Duration::from_secs(1));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn impossible_values_of_a_server_are_named() {
    let table = [
        (
            "breaker.recovery_timeout = 60",
            "breaker.recovery_timeout: wants a time span with its unit; found the integer 60; write \"60s\" for seconds (ms, s, m, h, d)",
        ),
        (
            "rate_limit = { rate = 1, refill_interval = 0.01 }",
            "rate_limit.refill_interval: wants a time span with its unit; found the number 0.01; write \"10ms\" (ms, s, m, h, d)",
        ),
        (
            "rate_limit = { rate = 1, refill_interval = nan }",
            "rate_limit.refill_interval: wants a time span with its unit; found the number nan",
        ),
        (
            "memory.soft_limit_gb = 2.0",
            "memory.soft_limit_gb: is written with its unit here, such as soft_limit = \"2G\"",
        ),
        (
            "memory.hard_limit = 4",
            "memory.hard_limit: wants a size from \"1M\" to \"1024T\"; found the integer 4",
        ),
        (
            "memory.hard_limit = \"1G\"",
            "memory.hard_limit: is 1G, not more than soft_limit, 2G (as it is without the key); raise it or lower soft_limit",
        ),
        (
            "memory.soft_limit = \"4G\"",
            "memory.hard_limit: is 4G (as it is without the key), not more than soft_limit, 4G; raise it or lower soft_limit",
        ),
        (
            "limits.memory = \"5G\"",
            "limits.memory: is more than memory.hard_limit, 4G, which all workers of the server share; lower it or raise that",
        ),
        (
            "limits.memory = \"1K\"",
            "limits.memory: wants a size from \"1M\" to \"1024T\"; found the string \"1K\"",
        ),
        (
            "limits.pids = 5000000",
            "limits.pids: wants a whole number from 0 to 4194304 (without quotes); found the integer 5000000",
        ),
        (
            "limits.cpu_weight = 0",
            "limits.cpu_weight: wants a whole number from 1 to 10000 (without quotes); found the integer 0",
        ),
        (
            "breaker.failure_threshold = 0",
            "breaker.failure_threshold: wants a whole number from 1 to 1000000 (without quotes); found the integer 0",
        ),
        (
            "breaker.success_rate = 0.8",
            "breaker.success_rate: wants a whole number from 0 to 100 (without quotes); found the number 0.8",
        ),
        (
            "breaker.slow_rate = 0",
            "breaker.slow_rate: wants a whole number from 1 to 100 (without quotes); found the integer 0",
        ),
        (
            "breaker.threshold = 5",
            "breaker.threshold: unknown key; did you mean `failure_threshold`?",
        ),
        (
            "failure_threshold = 5",
            "failure_threshold: unknown key; did you mean `breaker.failure_threshold`?",
        ),
        (
            "retry.attempts = 0",
            "retry.attempts: wants a whole number from 1 to 100 (without quotes); found the integer 0",
        ),
        (
            "rate_limit = 5",
            "rate_limit: wants a table, [servers.a.rate_limit]; found the integer 5",
        ),
        (
            "rate_limit.burst_size = 5",
            "rate_limit: has no `rate`; add the calls a second, such as rate = 10",
        ),
        (
            "rate_limit = { rate = 1, burst_size = 0 }",
            "rate_limit.burst_size: wants a whole number from 1 to 1000000 (without quotes); found the integer 0",
        ),
        (
            "rate_limit = { rate = 100, burst_size = 9, refill_interval = \"100ms\" }",
            "rate_limit: a rate of 100 with a refill_interval of \"100ms\" gives 10 calls at a time, more than burst_size, 9, so that the rate could not be reached; shorten refill_interval",
        ),
        (
            "call_timeout = \"2s\"\nmax_call_timeout = \"1s\"",
            "call_timeout: \"2s\" is more than max_call_timeout, \"1s\"; lower it or raise the other",
        ),
        (
            "queue_bytes = \"1M\"",
            "queue_bytes: is 1048576, less than listen.max_body_bytes, 4194304: a request could never be passed on; raise it or lower the other",
        ),
        (
            "retry_safe = true",
            "retry_safe: wants a list of strings, such as [\"list_files\"]; found true",
        ),
        (
            "failure.pointer = \"$.status\"",
            "failure.pointer: is no JSON pointer (RFC 6901); each part begins with a slash: \"/content/0/text/status\"",
        ),
        (
            "failure.equals = \"error\"",
            "failure.equals: says nothing without `pointer`; add where the value is to be found",
        ),
        (
            "failure.caller_codes = -32602",
            "failure.caller_codes: wants a list of whole numbers, such as [-32602]; found the integer -32602",
        ),
        (
            "failure.caller_codes = [\"-32602\"]",
            "failure.caller_codes[0]: wants a whole number (without quotes); found the string \"-32602\"",
        ),
        (
            "tools.t.call_timeout = \"2h\"",
            "tools.t.call_timeout: \"2h\" is more than the server's max_call_timeout, \"1h\"; lower it or raise the other",
        ),
        (
            "tools.t.call_timeout = \"0s\"",
            "tools.t.call_timeout: must be longer than zero; without the key it is as the server's",
        ),
        (
            "tools.t.class = \"bulk\"",
            "tools.t.class: wants one of \"critical\", \"normal\", \"background\"; found the string \"bulk\"",
        ),
        (
            "retry_safe = [\"t\"]\ntools.t.retry_safe = false",
            "tools.t.retry_safe: is false, and the server's `retry_safe` names this tool; remove one",
        ),
        (
            "tools.t.timeout = \"1s\"",
            "tools.t.timeout: unknown key; did you mean `call_timeout`?",
        ),
    ];
    for (lines, message) in table {
        let line = 2 + lines.lines().count();
        let line = if lines.starts_with("call_timeout") {
            3
        } else {
            line
        };
        let expected = format!("f:{line}: servers.a.{message}");
        assert_eq!(bad(&server(lines)), expected, "{lines}");
    }
}

#[test]
fn impossible_principals_are_named() {
    const MAKE_ONE: &str = "`mainstayctl token NAME` makes a token and prints the lines to write";
    let with = |lines: &str| format!("[[principals]]\nname = \"a\"\n{lines}\n");
    let token = format!("token_sha256 = \"{HASH}\"");
    let table = [
        (
            "auth.required = true".to_owned(),
            format!("f:1: auth.required: nobody could call, there are no [[principals]]; add one: {MAKE_ONE}"),
        ),
        (
            "[principals]".to_owned(),
            "f:1: principals: wants a list of tables, each [[principals]]; found a table".to_owned(),
        ),
        (
            format!("[[principals]]\n{token}"),
            "f:1: principals[0]: has no `name`; add one, such as name = \"alice\"".to_owned(),
        ),
        (
            format!("[[principals]]\nname = \"a b\"\n{token}"),
            "f:2: principals[0].name: is no name of a principal; use 1 to 64 of the characters A-Z a-z 0-9 _ - . @".to_owned(),
        ),
        (
            format!("[[principals]]\nname = \"anonymous@127.0.0.1\"\n{token}"),
            "f:2: principals[0].name: begins with \"anonymous\", as the names of callers without a token do; choose another".to_owned(),
        ),
        (
            with(""),
            format!("f:1: principals[0]: has no token; add `token_sha256`, `token_file` or `token_credential`: {MAKE_ONE}"),
        ),
        (
            with(&format!("{token}\ntoken_file = \"/t\"")),
            "f:1: principals[0]: has its tokens in more than one place; keep one of `token_sha256`, `token_file`, `token_credential`".to_owned(),
        ),
        (
            with("token_sha256 = []"),
            format!("f:3: principals[0].token_sha256: is empty; {MAKE_ONE}"),
        ),
        (
            with("token_file = \"t\""),
            "f:3: principals[0].token_file: wants an absolute path, such as \"/etc/mainstay/alice.sha256\"; found \"t\": it would depend on where the daemon was started".to_owned(),
        ),
        (
            with("token_credential = \"../t\""),
            "f:3: principals[0].token_credential: is no name of a credential; write it as in LoadCredential=, without a path".to_owned(),
        ),
        (
            format!("{}{}", with(&token), with(&token.replace(HASH, OTHER))),
            "f:4: principals[1]: a is already defined in line 1; rename or remove one".to_owned(),
        ),
        (
            format!("{}[[principals]]\nname = \"b\"\n{token}", with(&token)),
            format!("f:4: principals[1]: has a token that a has too; give each its own: {MAKE_ONE}"),
        ),
    ];
    for (text, message) in table {
        assert_eq!(bad(&text), message, "{text}");
    }
}

/// What stands in the place of a hash may be a token, and errors go into logs.
#[test]
fn no_error_repeats_a_token() {
    let secret = "mst_s3cret";
    let hex = &"5ec3e7".repeat(12)[..66];
    for line in [
        format!("token = \"{secret}\""),
        format!("token_sha256 = \"{secret}\""),
        format!("token_sha256 = [\"{secret}\"]"),
        format!("token_sha256 = \"{hex}\""),
    ] {
        let message = bad(&format!("[[principals]]\nname = \"a\"\n{line}\n"));
        assert!(message.contains("mainstayctl token NAME"), "{message}");
        assert!(
            !message.contains(secret) && !message.contains(hex),
            "{message}"
        );
    }
}
