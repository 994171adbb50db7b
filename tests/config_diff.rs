//! What a reload makes of a changed key: every key the configuration knows is changed here once, and
//! what `config::diff` says must be what its table says. A new key fails this test until it has its
//! place in that table and its two values here.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mainstay::config::{Changes, Config, Effect, diff, effect, from_str, in_force, known_keys};

/// A key and two values of it, as TOML. `NAME` stands for the server `music`.
const VALUES: &[(&str, &str, &str)] = &[
    ("state_dir", "\"/var/lib/a\"", "\"/var/lib/b\""),
    ("admin.socket", "\"/run/a.sock\"", "\"/run/b.sock\""),
    ("listen.http", "\"127.0.0.1:8001\"", "\"127.0.0.1:8002\""),
    ("listen.max_connections", "10", "11"),
    ("listen.max_body_bytes", "\"1M\"", "\"2M\""),
    ("listen.header_timeout", "\"1s\"", "\"2s\""),
    ("listen.keepalive_interval", "\"1s\"", "\"2s\""),
    ("listen.retry", "\"1s\"", "\"2s\""),
    ("listen.allowed_hosts", "[\"a\"]", "[\"b\"]"),
    ("listen.allowed_origins", "[]", "[\"https://a\"]"),
    ("sessions.max", "10", "11"),
    ("sessions.idle_timeout", "\"1h\"", "\"2h\""),
    ("sessions.stream_buffer_bytes", "\"1M\"", "\"2M\""),
    ("sessions.stream_retention", "\"1m\"", "\"2m\""),
    ("rate_limit.rate", "10", "11"),
    ("rate_limit.burst_size", "20", "21"),
    ("rate_limit.refill_interval", "\"10ms\"", "\"20ms\""),
    ("auth.required", "false", "true"),
    ("pool.min_size", "1", "2"),
    ("pool.max_size", "10", "11"),
    ("pool.health_check_interval", "\"10s\"", "\"11s\""),
    ("pool.acquire_timeout", "\"10s\"", "\"11s\""),
    ("pool.max_age", "\"0s\"", "\"1h\""),
    ("pool.max_calls", "0", "9"),
    ("recovery.restart_delay", "\"2s\"", "\"3s\""),
    ("recovery.max_restart_attempts", "2", "3"),
    ("recovery.check_interval", "\"2s\"", "\"3s\""),
    ("recovery.hold", "\"2s\"", "\"3s\""),
    ("breaker.failure_threshold", "6", "7"),
    ("breaker.success_rate", "50", "60"),
    ("breaker.recovery_timeout", "\"6s\"", "\"7s\""),
    ("breaker.half_open_max_calls", "6", "7"),
    ("breaker.window", "\"20s\"", "\"30s\""),
    ("breaker.minimum_calls", "6", "7"),
    ("breaker.slow_call", "\"6s\"", "\"7s\""),
    ("memory.soft_limit", "\"100M\"", "\"200M\""),
    ("memory.hard_limit", "\"6G\"", "\"7G\""),
    ("memory.check_interval", "\"6s\"", "\"7s\""),
    ("cgroup", "\"auto\"", "\"off\""),
    ("limits.open_files", "100", "200"),
    ("limits.core_bytes", "\"1M\"", "\"2M\""),
    ("limits.processes", "100", "200"),
    ("limits.memory", "\"100M\"", "\"200M\""),
    ("limits.pids", "100", "200"),
    ("limits.cpu_weight", "100", "200"),
    ("servers.NAME.sandbox.landlock", "\"on\"", "\"off\""),
    ("servers.NAME.sandbox.read_paths", "[\"/a\"]", "[\"/b\"]"),
    ("servers.NAME.sandbox.write_paths", "[\"/a\"]", "[\"/b\"]"),
    ("servers.NAME.env", "{ A = \"1\" }", "{ A = \"2\" }"),
    ("servers.NAME.env_pass", "[]", "[\"LANG\"]"),
    ("servers.NAME.cwd", "\"/a\"", "\"/b\""),
    ("servers.NAME.era", "\"legacy\"", "\"modern\""),
    ("servers.NAME.state", "\"none\"", "\"session\""),
    ("servers.NAME.concurrency", "2", "3"),
    ("servers.NAME.adaptive_concurrency", "false", "true"),
    ("servers.NAME.start_timeout", "\"2s\"", "\"3s\""),
    ("servers.NAME.stop_grace", "\"2s\"", "\"3s\""),
    ("servers.NAME.max_message_bytes", "\"2M\"", "\"3M\""),
    ("servers.NAME.write_queue_bytes", "\"20M\"", "\"30M\""),
    ("servers.NAME.queue_size", "20", "30"),
    ("servers.NAME.queue_bytes", "\"20M\"", "\"30M\""),
    ("servers.NAME.call_timeout", "\"20s\"", "\"30s\""),
    ("servers.NAME.max_call_timeout", "\"2h\"", "\"3h\""),
    ("servers.NAME.retry_safe", "[]", "[\"echo\"]"),
    ("servers.NAME.trust_annotations", "false", "true"),
    ("servers.NAME.retry.attempts", "1", "2"),
    ("servers.NAME.retry.budget_percent", "1", "2"),
    ("servers.NAME.retry.budget_per_second", "1", "2"),
    ("servers.NAME.failure.pointer", "\"/a\"", "\"/b\""),
    ("servers.NAME.failure.caller_codes", "[-1]", "[-2]"),
    (
        "servers.NAME.tools.NAME.breaker",
        "{ minimum_calls = 6 }",
        "{ minimum_calls = 7 }",
    ),
    ("servers.NAME.tools.NAME.call_timeout", "\"6s\"", "\"7s\""),
    (
        "servers.NAME.tools.NAME.class",
        "\"normal\"",
        "\"background\"",
    ),
    (
        "servers.NAME.tools.NAME.failure",
        "{ pointer = \"/a\" }",
        "{ pointer = \"/b\" }",
    ),
    (
        "servers.NAME.tools.NAME.rate_limit",
        "{ rate = 6 }",
        "{ rate = 7 }",
    ),
    ("servers.NAME.tools.NAME.retry_safe", "false", "true"),
    ("servers.NAME.rate_limit.rate", "6", "7"),
];

/// Whole servers for keys that cannot stand beside `command`, or not alone.
const SERVERS: &[(&str, &str, &str)] = &[
    (
        "servers.NAME.command",
        "command = [\"a\"]",
        "command = [\"a\", \"b\"]",
    ),
    (
        "servers.NAME.builtin",
        "builtin = \"score\"\nera = \"auto\"\nstate = \"none\"",
        "command = [\"a\"]",
    ),
    (
        "servers.NAME.url",
        "url = \"https://a/mcp\"",
        "url = \"https://b/mcp\"",
    ),
    (
        "servers.NAME.breaker.slow_rate",
        "command = [\"a\"]\nbreaker = { slow_call = \"1s\", slow_rate = 50 }",
        "command = [\"a\"]\nbreaker = { slow_call = \"1s\", slow_rate = 60 }",
    ),
    (
        "servers.NAME.failure.equals",
        "command = [\"a\"]\nfailure = { pointer = \"/a\", equals = \"x\" }",
        "command = [\"a\"]\nfailure = { pointer = \"/a\", equals = \"y\" }",
    ),
    (
        "servers.NAME.rate_limit.burst_size",
        "command = [\"a\"]\nrate_limit = { rate = 1, burst_size = 6 }",
        "command = [\"a\"]\nrate_limit = { rate = 1, burst_size = 7 }",
    ),
    (
        "servers.NAME.rate_limit.refill_interval",
        "command = [\"a\"]\nrate_limit = { rate = 1, refill_interval = \"10ms\" }",
        "command = [\"a\"]\nrate_limit = { rate = 1, refill_interval = \"20ms\" }",
    ),
    (
        "servers.NAME.upstream.bearer_credential",
        "url = \"https://a/mcp\"\nupstream = { bearer_credential = \"a\" }",
        "url = \"https://a/mcp\"\nupstream = { bearer_credential = \"b\" }",
    ),
    (
        "servers.NAME.upstream.bearer_file",
        "url = \"https://a/mcp\"\nupstream = { bearer_file = \"/a\" }",
        "url = \"https://a/mcp\"\nupstream = { bearer_file = \"/b\" }",
    ),
    (
        "servers.NAME.upstream.ca_file",
        "url = \"https://a/mcp\"\nupstream = { ca_file = \"/a\" }",
        "url = \"https://a/mcp\"\nupstream = { ca_file = \"/b\" }",
    ),
    (
        "servers.NAME.upstream.connect_timeout",
        "url = \"https://a/mcp\"\nupstream = { connect_timeout = \"1s\" }",
        "url = \"https://a/mcp\"\nupstream = { connect_timeout = \"2s\" }",
    ),
    (
        "servers.NAME.upstream.response_timeout",
        "url = \"https://a/mcp\"\nupstream = { response_timeout = \"1s\" }",
        "url = \"https://a/mcp\"\nupstream = { response_timeout = \"2s\" }",
    ),
    (
        "servers.NAME.upstream.idle_timeout",
        "url = \"https://a/mcp\"\nupstream = { idle_timeout = \"1s\" }",
        "url = \"https://a/mcp\"\nupstream = { idle_timeout = \"2s\" }",
    ),
    (
        "servers.NAME.upstream.headers",
        "url = \"https://a/mcp\"\nupstream = { headers = { A = \"1\" } }",
        "url = \"https://a/mcp\"\nupstream = { headers = { A = \"2\" } }",
    ),
];

fn config(text: &str) -> Config {
    from_str("test", text).unwrap_or_else(|errors| panic!("{errors}\nin\n{text}"))
}

/// A configuration in which `key` has this value.
fn with(key: &str, value: &str) -> Config {
    // What one worker may use follows from the memory of all, unless it is written.
    let memory = match key.starts_with("memory.") {
        true => "limits = { memory = \"64M\" }\n",
        false => "",
    };
    match key.strip_prefix("servers.NAME.") {
        Some(key) => {
            let key = key.replace("NAME", "echo");
            config(&format!(
                "[servers.music]\ncommand = [\"a\"]\n{key} = {value}\n"
            ))
        }
        None => config(&format!(
            "{key} = {value}\n[servers.music]\ncommand = [\"a\"]\n{memory}[[principals]]\nname = \"p\"\n\
             token_sha256 = [\"{}\"]\n",
            "1".repeat(64)
        )),
    }
}

/// The keys that are below `key` where that is a table of the changed server.
fn has(keys: &[String], key: &str) -> bool {
    let key = key
        .trim_start_matches("servers.NAME.")
        .replace("NAME", "echo");
    let is_it = |one: &String| *one == key || one.starts_with(&format!("{key}."));
    keys.iter().any(is_it)
}

fn found(changes: &Changes, key: &str) -> Option<Effect> {
    let of = |list: &[mainstay::config::Changed]| list.iter().any(|c| has(&c.keys, key));
    match () {
        () if has(&changes.restart, key) => Some(Effect::Restart),
        () if has(&changes.general, key) || of(&changes.retuned) => Some(Effect::AtOnce),
        () if of(&changes.replaced) => Some(Effect::NewWorkers),
        () if of(&changes.renewed) => Some(Effect::NewServer),
        () => None,
    }
}

#[test]
fn every_key_is_seen_and_has_the_effect_that_the_table_says() {
    let single = VALUES
        .iter()
        .map(|(key, a, b)| (*key, with(key, a), with(key, b)));
    let whole = SERVERS.iter().map(|(key, a, b)| {
        let server = |lines: &str| config(&format!("[servers.music]\n{lines}\n"));
        (*key, server(a), server(b))
    });
    for (key, before, after) in single.chain(whole) {
        assert!(diff(&before, &before).is_empty(), "{key}");
        let changes = diff(&before, &after);
        assert_eq!(found(&changes, key), effect(key), "{key}: {changes:?}");
        let same_workers = before.servers[0].has_same_workers(&after.servers[0]);
        let expected = effect(key) != Some(Effect::NewWorkers);
        assert_eq!(
            same_workers, expected,
            "has_same_workers does not know {key}"
        );
        // What takes a restart is told again at the next reload; everything else is done.
        let left = diff(&in_force(&before, after.clone()), &after);
        let expected = effect(key) == Some(Effect::Restart);
        assert_eq!(!left.restart.is_empty(), expected, "{key}: {left:?}");
        assert!(
            Changes {
                restart: Vec::new(),
                ..left
            }
            .is_empty(),
            "{key}"
        );
    }
}

/// Tested below, or the same as another key: a default is read like the server's own.
fn is_elsewhere(key: &str) -> bool {
    let default_of = ["breaker", "memory", "pool", "recovery"];
    let own = key.strip_prefix("servers.NAME.").unwrap_or_default();
    let twin = VALUES.iter().any(|(other, ..)| *other == own)
        || default_of.iter().any(|t| key == format!("{t}.slow_rate"));
    key.starts_with("principals.") || key == "servers.NAME.default" || twin
}

#[test]
fn no_key_is_forgotten() {
    let all = known_keys();
    let is_table = |key: &str| all.iter().any(|k| k.starts_with(&format!("{key}.")));
    let mut forgotten = Vec::new();
    for key in all.iter().filter(|key| !is_table(key) && *key != "servers") {
        let tried = VALUES.iter().chain(SERVERS).any(|(known, ..)| known == key);
        if effect(key).is_none() || !(tried || is_elsewhere(key)) {
            forgotten.push(key);
        }
    }
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

#[test]
fn servers_come_and_go_by_name() {
    let old =
        config("[servers.a]\ncommand = [\"a\"]\ndefault = true\n[servers.b]\ncommand = [\"b\"]\n");
    let new =
        config("[servers.a]\ncommand = [\"a\"]\n[servers.c]\ncommand = [\"b\"]\ndefault = true\n");
    let changes = diff(&old, &new);
    assert_eq!(
        (changes.added, changes.removed),
        (vec!["c".to_owned()], vec!["b".to_owned()])
    );
    assert_eq!(changes.retuned[0].keys, ["default"]);
    assert!(changes.replaced.is_empty() && changes.renewed.is_empty());
}

#[test]
fn an_upstream_in_the_place_of_a_program_is_another_server() {
    let old = config("[servers.a]\ncommand = [\"a\"]\n");
    let new = config("[servers.a]\nurl = \"https://a/mcp\"\n");
    assert_eq!(diff(&old, &new).renewed[0].name, "a");
}

#[test]
fn principals_are_compared_by_name_and_their_secrets_not_told() {
    let principal = |name: &str, letter: &str| {
        format!(
            "[[principals]]\nname = \"{name}\"\ntoken_sha256 = [\"{}\"]\n",
            letter.repeat(64)
        )
    };
    let old = config(&(principal("a", "1") + &principal("b", "2") + &principal("c", "3")));
    let new = config(&(principal("b", "2") + &principal("c", "4") + &principal("d", "5")));
    let changes = diff(&old, &new);
    assert_eq!(changes.principals_removed, ["a"]);
    assert_eq!(changes.principals_added, ["d"]);
    assert_eq!(changes.principals_changed, ["c"]);
    assert!(!format!("{changes:?}").contains("444"));
    assert!(diff(&new, &new).is_empty());
}

#[test]
fn a_secret_in_the_environment_of_a_worker_is_named_and_not_told() {
    let with = |value| {
        config(&format!(
            "[servers.a]\ncommand = [\"a\"]\nenv = {{ KEY = {value:?} }}\n"
        ))
    };
    let changes = diff(&with("s3cret"), &with("other"));
    assert_eq!(changes.replaced[0].keys, ["env.KEY"]);
    assert!(!format!("{changes:?}").contains("s3cret"));
}
