//! What a configuration means, and what is said about one that means nothing.

use mainstay::config::{
    Config, Environment, Era, Landlock, Overrides, Program, Server, State, effective_toml,
    from_str, known_keys, load,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONFFILE: &str = include_str!("../etc/mainstay/mainstay.toml");

fn good(text: &str) -> Config {
    from_str("f", text).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn bad(text: &str) -> String {
    match from_str("f", text) {
        Ok(config) => panic!("accepted: {text}\n{config:?}"),
        Err(errors) => errors.to_string(),
    }
}

/// A server `a` with these lines added.
fn server(lines: &str) -> String {
    format!("[servers.a]\ncommand = [\"x\"]\n{lines}\n")
}

fn only(text: &str) -> Server {
    let mut config = good(text);
    assert_eq!(config.servers.len(), 1);
    config.servers.remove(0)
}

#[test]
fn nothing_means_the_score_server_on_loopback() {
    let config = good("");
    assert_eq!(config.listen.http, "127.0.0.1:8000".parse().unwrap());
    assert_eq!(config.state_dir, Path::new("/var/lib/mainstay"));
    assert_eq!(
        config.admin.socket,
        Path::new("/run/mainstay/mainstay.sock")
    );
    let [score] = config.servers.as_slice() else {
        panic!("{config:?}")
    };
    assert_eq!(
        (score.name.as_str(), &score.program),
        ("score", &Program::BuiltinScore)
    );
    assert!(score.default);
    assert_eq!((score.era, score.state), (Era::Mixed, State::Shared));
    assert_eq!((score.pool.min_size, score.pool.max_size), (1, 1));
}

#[test]
fn four_lines_are_a_server() {
    let music = only(
        "[servers.music]\ncommand = [\"comparer-mcp\"]\nconcurrency = 4\npool = { min_size = 2, max_size = 3 }\n",
    );
    assert_eq!(
        music.program,
        Program::Command(vec!["comparer-mcp".to_owned()])
    );
    assert!(music.default, "the only server is the default");
    assert_eq!(
        (music.era, music.state, music.concurrency),
        (Era::Auto, State::None, 4)
    );
    assert_eq!((music.pool.min_size, music.pool.max_size), (2, 3));
    assert_eq!(music.pool.acquire_timeout, Duration::from_secs(5));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one value per key")]
fn every_key_is_read() {
    let config = good(
        r#"
        state_dir = "/s"
        [listen]
        http = "[::1]:0"
        max_connections = 7
        max_body_bytes = 1024
        header_timeout = "1s"
        keepalive_interval = "2s"
        retry = "3ms"
        allowed_hosts = ["MCP.example:1", "[::1]"]
        allowed_origins = ["https://App.example"]
        [admin]
        socket = "/a/s"
        [sessions]
        max = 8
        idle_timeout = "1h"
        stream_buffer_bytes = "2K"
        stream_retention = "1m"
        [servers.b]
        builtin = "score"
        [servers.a]
        command = ["p", "", "q"]
        default = true
        env = { A = "1", B = "" }
        env_pass = ["C", "C", "D"]
        cwd = "/w"
        era = "legacy"
        state = "session"
        concurrency = 0x10
        pool.min_size = 0
        pool.max_size = 1
        pool.health_check_interval = "9s"
        pool.acquire_timeout = "8s"
        pool.max_age = "7h"
        pool.max_calls = 6
        recovery.restart_delay = "5ms"
        recovery.max_restart_attempts = 4
        recovery.check_interval = "3s"
        start_timeout = "2m"
        stop_grace = "1s"
        max_message_bytes = "1K"
        write_queue_bytes = "1K"
        queue_size = 1_000
        limits = { open_files = 16, core_bytes = "1G", processes = 99 }
        sandbox = { landlock = "on", read_paths = ["/r", "/q"], write_paths = ["/w"] }
        "#,
    );
    let seconds = Duration::from_secs;
    assert_eq!(config.state_dir, Path::new("/s"));
    assert_eq!(config.admin.socket, Path::new("/a/s"));
    let listen = &config.listen;
    assert_eq!(listen.http, "[::1]:0".parse().unwrap());
    assert_eq!((listen.max_connections, listen.max_body_bytes), (7, 1024));
    assert_eq!(
        (listen.header_timeout, listen.keepalive_interval),
        (seconds(1), seconds(2))
    );
    assert_eq!(listen.retry, Duration::from_millis(3));
    assert_eq!(listen.allowed_hosts, ["mcp.example:1", "[::1]"]);
    assert_eq!(listen.allowed_origins, ["https://app.example"]);
    let sessions = &config.sessions;
    assert_eq!((sessions.max, sessions.stream_buffer_bytes), (8, 2048));
    assert_eq!(
        (sessions.idle_timeout, sessions.stream_retention),
        (seconds(3600), seconds(60))
    );
    let [a, b] = config.servers.as_slice() else {
        panic!("{config:?}")
    };
    assert_eq!(
        (a.name.as_str(), b.name.as_str()),
        ("a", "b"),
        "sorted by name"
    );
    assert_eq!((a.default, b.default), (true, false));
    assert_eq!(
        a.program,
        Program::Command(vec!["p".into(), String::new(), "q".into()])
    );
    let env = [
        ("A".to_owned(), "1".to_owned()),
        ("B".to_owned(), String::new()),
    ];
    assert_eq!(a.env, BTreeMap::from(env));
    assert_eq!(a.env_pass, ["C", "D"]);
    assert_eq!(a.cwd, Some(PathBuf::from("/w")));
    assert_eq!(
        (a.era, a.state, a.concurrency),
        (Era::Legacy, State::Session, 16)
    );
    assert_eq!((a.pool.min_size, a.pool.max_size), (0, 1));
    assert_eq!(
        (a.pool.health_check_interval, a.pool.acquire_timeout),
        (seconds(9), seconds(8))
    );
    assert_eq!(
        (a.pool.max_age, a.pool.max_calls),
        (Some(seconds(7 * 3600)), Some(6))
    );
    assert_eq!(a.recovery.restart_delay, Duration::from_millis(5));
    assert_eq!(
        (a.recovery.max_restart_attempts, a.recovery.check_interval),
        (4, seconds(3))
    );
    assert_eq!((a.start_timeout, a.stop_grace), (seconds(120), seconds(1)));
    assert_eq!(
        (a.max_message_bytes, a.write_queue_bytes, a.queue_size),
        (1024, 1024, 1000)
    );
    assert_eq!((a.limits.open_files, a.limits.core_bytes), (16, 1 << 30));
    assert_eq!(a.limits.processes, Some(99));
    assert_eq!(a.sandbox.landlock, Landlock::On);
    assert_eq!(a.sandbox.read_paths, [Path::new("/r"), Path::new("/q")]);
    assert_eq!(a.sandbox.write_paths, [Path::new("/w")]);

    let again = good(&effective_toml(&config));
    assert_eq!(again, config, "what is printed reads back");
}

#[test]
fn what_is_printed_reads_back() {
    let quotes =
        "[servers.a]\ncommand = [\"a \\\"b\\\" \\\\ \\n '''\", \"é\"]\nenv = { A = \"\\t\" }\n";
    for text in [
        "",
        CONFFILE,
        quotes,
        &server("state = \"shared\""),
        &server("limits.core_bytes = 3"),
    ] {
        let config = good(text);
        let printed = effective_toml(&config);
        assert_eq!(good(&printed), config, "{printed}");
    }
}

#[test]
fn top_level_pool_and_recovery_are_defaults_key_by_key() {
    let config = good(
        "[servers.a]\ncommand = [\"x\"]\ndefault = true\n[servers.a.pool]\nmin_size = 2\n\
         [servers.a.recovery]\ncheck_interval = \"1s\"\n[servers.b]\ncommand = [\"y\"]\n\
         [servers.c]\ncommand = [\"z\"]\nstate = \"shared\"\n\
         [pool]\nmin_size = 3\nmax_size = 4\nmax_calls = 9\n[recovery]\nrestart_delay = \"2s\"\n",
    );
    let sizes: Vec<_> = config
        .servers
        .iter()
        .map(|s| (s.pool.min_size, s.pool.max_size, s.pool.max_calls))
        .collect();
    assert_eq!(sizes, [(2, 4, Some(9)), (3, 4, Some(9)), (1, 1, Some(9))]);
    let a = &config.servers[0].recovery;
    assert_eq!(
        (a.restart_delay, a.check_interval),
        (Duration::from_secs(2), Duration::from_secs(1))
    );
    assert_eq!(
        config.servers[1].recovery.check_interval,
        Duration::from_secs(30)
    );
}

#[test]
fn a_default_min_size_gives_way_and_a_written_one_does_not() {
    assert_eq!(only(&server("pool.max_size = 2")).pool.min_size, 2);
    assert_eq!(
        only(&format!("[pool]\nmax_size = 3\n{}", server("")))
            .pool
            .min_size,
        3
    );
    let shared = only(&server(
        "state = \"shared\"\npool = { min_size = 0, max_size = 1 }",
    ));
    assert_eq!((shared.pool.min_size, shared.pool.max_size), (0, 1));
    assert_eq!(
        bad(&format!(
            "[pool]\nmin_size = 4\n{}",
            server("pool.max_size = 3")
        )),
        "f:2: servers.a.pool.min_size: 4 is more than max_size, 3; lower min_size or raise max_size"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn impossible_values_are_named_with_line_and_key() {
    // Lines of a server begin at line 3 of the file.
    let table = [
        (
            "pool = { min_size = 30 }",
            "f:3: servers.a.pool.min_size: 30 is more than max_size, 20 (the default); lower min_size or raise max_size",
        ),
        (
            "pool = { min_size = 9, max_size = 8 }",
            "f:3: servers.a.pool.min_size: 9 is more than max_size, 8; lower min_size or raise max_size",
        ),
        (
            "state = \"shared\"\npool.max_size = 2",
            "f:4: servers.a.pool.max_size: 2 cannot be combined with state = \"shared\", which one worker holds for all; remove it, or set `state` to \"none\" or \"session\"",
        ),
        (
            "state = \"session\"\npool.max_size = 0",
            "f:4: servers.a.pool.max_size: wants a whole number from 1 to 10000 (without quotes); found the integer 0",
        ),
        (
            "era = \"modern\"\nstate = \"session\"",
            "f:4: servers.a.state: \"session\" cannot be combined with era = \"modern\", which has no sessions; use \"none\" or \"shared\"",
        ),
        (
            "concurrency = 0",
            "f:3: servers.a.concurrency: wants a whole number from 1 to 10000 (without quotes); found the integer 0",
        ),
        (
            "concurrency = -8",
            "f:3: servers.a.concurrency: wants a whole number from 1 to 10000 (without quotes); found the integer -8",
        ),
        (
            "concurrency = \"8\"",
            "f:3: servers.a.concurrency: wants a whole number from 1 to 10000 (without quotes); found the string \"8\"",
        ),
        (
            "concurrency = 99999999999999999999",
            "f:3: servers.a.concurrency: wants a whole number from 1 to 10000 (without quotes); found the integer 99999999999999999999",
        ),
        (
            "pool.max_calls = 1.5",
            "f:3: servers.a.pool.max_calls: wants a whole number, at least 0 (without quotes); found the number 1.5",
        ),
        (
            "default = \"yes\"",
            "f:3: servers.a.default: wants true or false (without quotes); found the string \"yes\"",
        ),
        (
            "start_timeout = 30",
            "f:3: servers.a.start_timeout: wants a time span with its unit; found the integer 30; write \"30s\" for seconds (ms, s, m, h, d)",
        ),
        (
            "start_timeout = \"30\"",
            "f:3: servers.a.start_timeout: \"30\" has no unit; write \"30s\" for seconds (ms, s, m, h, d)",
        ),
        (
            "start_timeout = \"0s\"",
            "f:3: servers.a.start_timeout: must be longer than zero; the default is \"30s\"",
        ),
        (
            "stop_grace = \"400d\"",
            "f:3: servers.a.stop_grace: \"400d\" is too long; the most is \"365d\"",
        ),
        (
            "stop_grace = true",
            "f:3: servers.a.stop_grace: wants a time span, such as \"30s\"; found true",
        ),
        (
            "max_message_bytes = 0",
            "f:3: servers.a.max_message_bytes: wants a size from \"1K\" to \"1T\"; found the integer 0",
        ),
        (
            "max_message_bytes = \"16MB\"",
            "f:3: servers.a.max_message_bytes: \"16MB\" has no known unit; write K, M, G or T (powers of 1024), such as \"4M\"",
        ),
        (
            "max_message_bytes = [1]",
            "f:3: servers.a.max_message_bytes: wants a size, such as \"4M\"; found a list",
        ),
        (
            "write_queue_bytes = \"1M\"",
            "f:3: servers.a.write_queue_bytes: is 1048576, less than listen.max_body_bytes, 4194304: a request could never be passed on; raise it or lower the other",
        ),
        (
            "state = \"sesion\"",
            "f:3: servers.a.state: wants one of \"none\", \"session\", \"shared\"; found the string \"sesion\"; did you mean \"session\"?",
        ),
        (
            "era = 2026",
            "f:3: servers.a.era: wants one of \"auto\", \"legacy\", \"modern\", \"mixed\"; found the integer 2026",
        ),
        (
            "builtin = \"score\"",
            "f:3: servers.a.builtin: stands beside `command`; a server has one or the other, remove one",
        ),
        (
            "url = \"http://127.0.0.1:1/mcp\"",
            "f:3: servers.a.url: stands beside `command` or `builtin`; a server has one of the three, remove the others",
        ),
        (
            "args = [\"-y\"]",
            "f:3: servers.a.args: belongs into `command`: command = [\"program\", \"argument\"]",
        ),
        (
            "cwd = \"music\"",
            "f:3: servers.a.cwd: wants an absolute path, such as \"/srv/music\"; found \"music\": it would depend on where the daemon was started",
        ),
        (
            "cwd = \"/a\\u0000\"",
            "f:3: servers.a.cwd: contains a NUL byte, which the operating system does not accept; remove it",
        ),
        (
            "env = { A = 1 }",
            "f:3: servers.a.env.A: wants a string, such as \"text\"; found the integer 1",
        ),
        (
            "env = { \"A=B\" = \"\" }",
            "f:3: servers.a.env.\"A=B\": is no variable name; use A-Z a-z 0-9 _, not beginning with a digit",
        ),
        (
            "env = { A = \"\" }\nenv_pass = [\"A\"]",
            "f:4: servers.a.env_pass[0]: A is also set in `env`; remove it here or there",
        ),
        (
            "env_pass = [\n\"A\",\n\"1\"]",
            "f:5: servers.a.env_pass[1]: \"1\" is no variable name; use A-Z a-z 0-9 _, not beginning with a digit",
        ),
        (
            "env_pass = \"A\"",
            "f:3: servers.a.env_pass: wants a list of strings, such as [\"HF_TOKEN\"]; found the string \"A\"",
        ),
        (
            "pool = 5",
            "f:3: servers.a.pool: wants a table, [servers.a.pool]; found the integer 5",
        ),
        (
            "pool.minsize = 5",
            "f:3: servers.a.pool.minsize: unknown key; did you mean `min_size`?",
        ),
        (
            "max_calls = 5",
            "f:3: servers.a.max_calls: unknown key; did you mean `pool.max_calls`?",
        ),
        (
            "limits.xyzzy = 5",
            "f:3: servers.a.limits.xyzzy: unknown key; known here: `open_files`, `core_bytes`, `processes`, `memory`, `pids`, `cpu_weight`",
        ),
        (
            "limits.open_files = 3",
            "f:3: servers.a.limits.open_files: wants a whole number from 16 to 1073741824 (without quotes); found the integer 3",
        ),
        (
            "sandbox.landlock = \"yes\"",
            "f:3: servers.a.sandbox.landlock: wants one of \"auto\", \"on\", \"off\"; found the string \"yes\"",
        ),
        (
            "sandbox.read_paths = [\"/a\", \"b\"]",
            "f:3: servers.a.sandbox.read_paths[1]: wants an absolute path, such as \"/srv/music\"; found \"b\": it would depend on where the daemon was started",
        ),
        (
            "recovery.max_restart_attempts = 0",
            "f:3: servers.a.recovery.max_restart_attempts: wants a whole number from 1 to 4294967295 (without quotes); found the integer 0",
        ),
    ];
    for (lines, message) in table {
        assert_eq!(bad(&server(lines)), message, "{lines}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn impossible_files_are_named_with_line_and_key() {
    let table = [
        (
            "[listen]\nhttp = 8000",
            "f:2: listen.http: wants a string, such as \"127.0.0.1:8000\"; found the integer 8000",
        ),
        (
            "[listen]\nhttp = \"localhost:8000\"",
            "f:2: listen.http: \"localhost:8000\" is no IP address with a port; write \"127.0.0.1:8000\"",
        ),
        (
            "[listen]\nhttps = \"\"",
            "f:2: listen.https: unknown key; did you mean `http`?",
        ),
        (
            "http = \"\"",
            "f:1: http: unknown key; did you mean `listen.http`?",
        ),
        (
            "[listen]\nallowed_hosts = [\"a\", \"http://b\"]",
            "f:2: listen.allowed_hosts[1]: \"http://b\" is no host; write it without scheme and path, such as \"mcp.example\"",
        ),
        (
            "[listen]\nallowed_hosts = [\"a b\"]",
            "f:2: listen.allowed_hosts[0]: \"a b\" is no host; write \"NAME\" or \"NAME:PORT\", such as \"mcp.example\"",
        ),
        (
            "[listen]\nallowed_origins = [\"*\"]",
            "f:2: listen.allowed_origins[0]: \"*\" contains a wildcard, which is not supported; list each origin",
        ),
        (
            "[listen]\nallowed_origins = [\"https://a/\"]",
            "f:2: listen.allowed_origins[0]: \"https://a/\" has a path; an origin ends after host and port, without a slash",
        ),
        (
            "\n\n[quotas]\nfailure_threshold = 5",
            "f:3: quotas: unknown key; known here: `listen`, `sessions`, `state_dir`, `cgroup`, `admin`, `pool`, `recovery`, `breaker`, `memory`, `limits`, `rate_limit`, `auth`, `principals`, `servers`",
        ),
        (
            "[pool]\nmin_size = 21",
            "f:2: pool.min_size: 21 is more than max_size, 20 (the default); lower min_size or raise max_size",
        ),
        (
            "state_dir = \"state\"",
            "f:1: state_dir: wants an absolute path, such as \"/var/lib/mainstay\"; found \"state\": it would depend on where the daemon was started",
        ),
        (
            "[[servers]]\ncommand = [\"x\"]",
            "f:1: servers: wants a table, [servers]; found a list of tables",
        ),
        (
            "[servers]\na = [\"x\"]",
            "f:2: servers.a: wants a table, [servers.a]; found a list",
        ),
        (
            "[servers.a]",
            "f:1: servers.a: has no `command` and no `url`; add the program to run: command = [\"program\", \"argument\"]",
        ),
        (
            "[servers.a]\nurl = \"b/mcp\"",
            "f:2: servers.a.url: \"b/mcp\" is no URL; write it like \"https://mcp.example/mcp\"",
        ),
        (
            "[servers.a]\ncommand = []",
            "f:2: servers.a.command: is empty; write the program to run: [\"program\", \"argument\"]",
        ),
        (
            "[servers.a]\ncommand = [\"\"]",
            "f:2: servers.a.command: is empty; write the program to run: [\"program\", \"argument\"]",
        ),
        (
            "[servers.a]\ncommand = \"npx -y pkg\"",
            "f:2: servers.a.command: wants a list; there is no shell to split a line: [\"npx\", \"-y\", \"pkg\"]",
        ),
        (
            "[servers.a]\ncommand = \"sh -c 'a b'\"",
            "f:2: servers.a.command: wants a list; there is no shell to split a line: [\"program\", \"argument\"]",
        ),
        (
            "[servers.a]\ncommand = [\"a\", 1]",
            "f:2: servers.a.command[1]: wants a string, such as \"text\"; found the integer 1",
        ),
        (
            "[servers.a]\nbuiltin = \"scores\"",
            "f:2: servers.a.builtin: wants one of \"score\"; found the string \"scores\"; did you mean \"score\"?",
        ),
        (
            "[servers.\"a b\"]\ncommand = [\"x\"]",
            "f:1: servers.\"a b\": is no server name; use 1 to 64 of the characters A-Z a-z 0-9 _ -",
        ),
        (
            "[servers.a]\ncommand = [\"x\"]\n[servers.a]\ncommand = [\"y\"]",
            "f:3: `a` is defined twice; rename or remove one",
        ),
        (
            "[servers.b]\ncommand = [\"x\"]\n[servers.a]\ncommand = [\"y\"]",
            "f:3: servers: none of a, b is the default; set default = true in the one to be served at /mcp",
        ),
        (
            "[servers.b]\ncommand = [\"x\"]\ndefault = true\n[servers.a]\ncommand = [\"y\"]\ndefault = true",
            "f:3: servers.b.default: servers.a is the default too (f:6); only one server is served at /mcp, remove `default = true` from all others",
        ),
        (
            "[servers.s]\nbuiltin = \"score\"\npool.max_size = 2",
            "f:3: servers.s.pool.max_size: 2 cannot be combined with state = \"shared\", which one worker holds for all; remove it, or set `state` to \"none\" or \"session\"",
        ),
    ];
    for (text, message) in table {
        assert_eq!(bad(text), message, "{text}");
    }
}

#[test]
fn every_error_is_told_at_once_by_line() {
    let text = "[listen]\nport = 80\n[servers.a]\ncommand = []\nstate = \"x\"\n\
                [servers.b]\ndefault = 1\n[sessions]\nmax = 0\nidle_timeout = \"0s\"\n";
    let lines: Vec<String> = bad(text)
        .lines()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": "))
        .collect();
    assert_eq!(
        lines,
        [
            "f:2: listen.port",
            "f:3: servers",
            "f:4: servers.a.command",
            "f:5: servers.a.state",
            "f:6: servers.b",
            "f:7: servers.b.default",
            "f:9: sessions.max",
            "f:10: sessions.idle_timeout",
        ]
    );
}

#[test]
fn text_that_is_no_toml_is_named_with_its_line() {
    for (text, line) in [
        ("[listen]\nhttp = 127.0.0.1:8000\n", "f:2: "),
        ("[listen\n", "f:1: "),
        ("a = \"x\n", "f:1: "),
        ("a = [1,\n", "f:1: "),
        ("\n\nfoo\n", "f:3: "),
        ("{}", "f:1: "),
        ("a\u{0}b = 1", "f:1: "),
    ] {
        let message = bad(text);
        assert!(message.starts_with(line), "{text:?}: {message}");
        assert!(message.contains("is no TOML: "), "{text:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn what_is_there_twice_is_told_once() {
    let text = "[a]\nb = 1\nc = 1\n[a]\nb = 1\nc = 1\n[d]\ne = 1\ne = 2\n";
    assert_eq!(
        bad(text),
        "f:4: `a` is defined twice; rename or remove one\nf:9: `e` is defined twice; rename or remove one"
    );
}

#[test]
fn columns_count_characters() {
    let errors = from_str("f", "\"é\" = 1\n[servers.a]\ncommand = [\"é\", 7]\n").unwrap_err();
    let places: Vec<_> = errors
        .0
        .iter()
        .map(|error| (error.line, error.column))
        .collect();
    assert_eq!(places, [(Some(1), Some(1)), (Some(3), Some(17))]);
    let errors = from_str("f", "\u{feff}x = 1").unwrap_err();
    assert_eq!(errors.0.len(), 1, "a byte order mark is no error: {errors}");
}

#[test]
fn rubbish_is_refused_in_bounded_time_and_space() {
    let many: String = (0..5_000).map(|n| format!("k{n} = 1\n")).collect();
    let errors = from_str("f", &many).unwrap_err();
    assert_eq!(errors.0.len(), 101);
    assert_eq!(
        errors.0[100].to_string(),
        "f: 4900 more errors; correct these first"
    );
    let wide = format!("{}\ncommand = [{}]", "[servers.a]", "1,".repeat(20_000));
    assert_eq!(from_str("f", &wide).unwrap_err().0.len(), 101);
    let deep = format!("a = {}", "[".repeat(20_000));
    assert!(from_str("f", &deep).is_err());
    let long = format!("\"{}\\n\" = \"{}\"", "k".repeat(10_000), "v".repeat(10_000));
    let message = bad(&long);
    assert!(
        message.len() < 500 && message.lines().count() == 1,
        "{message}"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_panics_and_every_error_is_a_line(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "[servers.a]", "[[", "]", "\n", " = ", "\"", "command", "env", "pool", ".", "{", "}",
                "min_size", "''", "\\u0000", "é", "\r", "1", "-", "0x", "1e9", "1979-05-27", ",",
                "[", "#", "\u{7f}", "servers", "\"5s\"", "true", "listen", "http", "allowed_hosts",
            ]),
            0..40,
        )
    ) {
        let text = words.concat();
        let lines = text.split('\n').count();
        if let Err(errors) = from_str("f", &text) {
            proptest::prop_assert!(!errors.0.is_empty());
            for error in errors.0 {
                proptest::prop_assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)));
                proptest::prop_assert!(!error.to_string().contains(['\n', '\r']), "{error:?}");
            }
        }
    }
}

// Files, overrides and directories.

fn load_dir(dir: &Path) -> Result<Config, String> {
    let file = dir.join("mainstay.toml");
    load(Some(&file), &Overrides::default(), &Environment::default())
        .map_err(|errors| errors.to_string().replace(&*dir.to_string_lossy(), "D"))
}

#[test]
fn servers_d_is_read_in_order_beside_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("servers.d")).unwrap();
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    write("mainstay.toml", "[pool]\nmax_size = 2\n");
    write(
        "servers.d/a.toml",
        "[servers.music]\ncommand = [\"m\"]\ndefault = true\n",
    );
    write("servers.d/b.toml", "[servers.time]\ncommand = [\"t\"]\n");
    for ignored in ["c.toml.example", ".d.toml", "README", "e.toml~"] {
        write(&format!("servers.d/{ignored}"), "not = [toml");
    }
    let config = load_dir(dir).unwrap();
    let servers: Vec<_> = config
        .servers
        .iter()
        .map(|s| (s.name.as_str(), s.pool.max_size))
        .collect();
    assert_eq!(servers, [("music", 2), ("time", 2)]);

    write(
        "servers.d/b.toml",
        "[pool]\nmin_size = 1\n[servers.music]\ncommand = [\"t\"]\n",
    );
    assert_eq!(
        load_dir(dir).unwrap_err(),
        "D/servers.d/b.toml:1: pool: belongs into mainstay.toml; here only [servers.NAME] may stand\n\
         D/servers.d/b.toml:3: servers.music: is already defined at D/servers.d/a.toml:1; rename or remove one"
    );

    // What is missing may stand in the file that could not be read: no word about the default.
    write("servers.d/a.toml", "[servers.music\n");
    write(
        "servers.d/b.toml",
        "[servers.x]\ncommand = [\"t\"]\n[servers.y]\ncommand = [\"t\"]\n",
    );
    let message = load_dir(dir).unwrap_err();
    assert!(
        message.starts_with("D/servers.d/a.toml:1: is no TOML: "),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert_eq!(
        load_dir(dir).unwrap_err(),
        "D/mainstay.toml: there is no such file; create it or name another one"
    );
    fs::create_dir_all(dir.join("mainstay.toml")).unwrap();
    assert_eq!(
        load_dir(dir).unwrap_err(),
        "D/mainstay.toml: is a directory; name the file in it, such as mainstay.toml"
    );
    fs::remove_dir(dir.join("mainstay.toml")).unwrap();
    fs::write(dir.join("mainstay.toml"), b"a = 1\nb = \"\xff\"\n").unwrap();
    assert_eq!(
        load_dir(dir).unwrap_err(),
        "D/mainstay.toml:2: is no UTF-8 text; save the file as UTF-8"
    );
    fs::write(dir.join("mainstay.toml"), vec![b'\n'; (1 << 20) + 1]).unwrap();
    assert_eq!(
        load_dir(dir).unwrap_err(),
        "D/mainstay.toml: is larger than 1M, which no configuration is"
    );
    fs::write(dir.join("mainstay.toml"), vec![b'\n'; 1 << 20]).unwrap();
    load_dir(dir).unwrap();
    fs::write(dir.join("servers.d"), "").unwrap();
    assert_eq!(
        load_dir(dir).unwrap_err(),
        "D/servers.d: cannot be read: Not a directory (os error 20)"
    );
}

#[test]
fn the_command_line_goes_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mainstay.toml");
    fs::write(
        &file,
        "state_dir = \"/file\"\n[listen]\nhttp = \"127.0.0.1:1\"\n",
    )
    .unwrap();
    let environment = Environment {
        state_directory: Some("/systemd".into()),
        ..Environment::default()
    };
    let get = |overrides: &Overrides| load(Some(&file), overrides, &environment).unwrap();
    let config = get(&Overrides::default());
    assert_eq!(config.state_dir, Path::new("/file"));
    assert_eq!(
        config.admin.socket,
        Path::new("/run/mainstay/mainstay.sock")
    );
    let overrides = Overrides {
        listen: Some("127.0.0.1:2".parse().unwrap()),
        state_dir: Some("/given".into()),
    };
    let config = get(&overrides);
    assert_eq!(config.listen.http.port(), 2);
    assert_eq!(config.state_dir, Path::new("/given"));
    assert_eq!(config.admin.socket, Path::new("/given/mainstay.sock"));
    let relative = get(&Overrides {
        state_dir: Some("given".into()),
        ..Overrides::default()
    });
    assert!(relative.state_dir.is_absolute() && relative.state_dir.ends_with("given"));
    fs::write(&file, "[admin]\nsocket = \"/chosen\"\n").unwrap();
    assert_eq!(get(&overrides).admin.socket, Path::new("/chosen"));
}

#[test]
fn directories_come_from_the_surroundings() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mainstay.toml");
    fs::write(&file, "").unwrap();
    let user = Environment {
        uid: 1000,
        ..Environment::default()
    };
    let home = Environment {
        home: Some("/home/u".into()),
        ..user.clone()
    };
    let xdg = Environment {
        xdg_state_home: Some("/x".into()),
        xdg_runtime_dir: Some("/r".into()),
        ..home.clone()
    };
    let systemd = Environment {
        state_directory: Some("/sd".into()),
        runtime_directory: Some("/rd".into()),
        ..xdg.clone()
    };
    let table = [
        (
            &Environment::default(),
            "/var/lib/mainstay",
            "/run/mainstay/mainstay.sock",
        ),
        (
            &home,
            "/home/u/.local/state/mainstay",
            "/home/u/.local/state/mainstay/mainstay.sock",
        ),
        (&xdg, "/x/mainstay", "/r/mainstay/mainstay.sock"),
        (&systemd, "/sd", "/rd/mainstay.sock"),
    ];
    for (environment, state, socket) in table {
        let config = load(Some(&file), &Overrides::default(), environment).unwrap();
        assert_eq!(
            (config.state_dir, config.admin.socket),
            (state.into(), socket.into())
        );
    }
    let message = load(Some(&file), &Overrides::default(), &user)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "environment: state_dir: no directory to keep state in: STATE_DIRECTORY, XDG_STATE_HOME \
         and HOME are not set; give --state-dir DIR or set state_dir"
    );
}

#[test]
fn the_socket_path_must_fit() {
    let socket = |length: usize| format!("/{}", "s".repeat(length - 1));
    let text = |length| format!("[admin]\nsocket = \"{}\"\n", socket(length));
    assert_eq!(good(&text(107)).admin.socket, Path::new(&socket(107)));
    assert_eq!(
        bad(&text(108)),
        format!(
            "f:2: admin.socket: {} is 108 bytes long, the path of a Unix socket may have 107; set a shorter one",
            socket(108)
        )
    );
}

// The conffile as installed.

/// The conffile with every `#key = value` and `#[table]` line uncommented.
fn uncommented(conffile: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    conffile.lines().map(line).collect()
}

/// Keys that the reader knows and the text does not give. Keys without a default stand in a
/// comment, `# key = example` or `# [servers.NAME.key]`, or have a table to stand in.
fn missing(conffile: &str) -> Vec<String> {
    let text: toml::Table = uncommented(conffile)
        .parse()
        .unwrap_or_else(|error| panic!("{error}"));
    let shown = |key: &str| {
        conffile.lines().any(|line| {
            line.starts_with(&format!("# {key} = "))
                || (line.starts_with("# [servers.") && line.ends_with(&format!(".{key}]")))
        }) || conffile.contains(&format!("\n# [[{key}]]\n"))
            || conffile.contains(&format!("\n# [servers.score.{key}."))
    };
    let given = |path: &str| {
        let mut parts = path
            .split('.')
            .map(|part| if part == "NAME" { "score" } else { part });
        let first = parts.next().and_then(|part| text.get(part));
        parts.fold(first, |value, part| value?.get(part)).is_some()
    };
    let known = known_keys();
    assert!(known.len() > 50, "{known:?}");
    let last = |path: &String| path.rsplit('.').next().unwrap_or_default().to_owned();
    known
        .into_iter()
        .filter(|path| !given(path) && !shown(&last(path)))
        .collect()
}

/// A server with what stands above `#[servers.score]`, uncommented.
fn top_level(conffile: &str) -> Server {
    let text = conffile
        .split("#[servers.score]")
        .next()
        .unwrap_or_default();
    only(&format!("{}\n{}", uncommented(text), server("")))
}

#[test]
fn the_conffile_names_every_key_with_its_default() {
    assert_eq!(good(CONFFILE), good(""), "as installed, it changes nothing");
    assert_eq!(
        good(&uncommented(CONFFILE)),
        good(""),
        "and shows the defaults"
    );
    assert_eq!(missing(CONFFILE), Vec::<String>::new());
    // [pool] and [recovery] for a server that takes them as they are.
    assert_eq!(top_level(CONFFILE), only(&server("")));
}

#[test]
fn the_test_of_the_conffile_sees_drift() {
    let cut = CONFFILE.replacen("#max_age = \"0s\"\n", "", 1);
    assert_eq!(missing(&cut), ["pool.max_age"]);
    assert_eq!(
        missing(&CONFFILE.replace("# cwd = ", "# cwd: ")),
        ["servers.NAME.cwd"]
    );
    let changed = CONFFILE.replace("#queue_size = 1024", "#queue_size = 1025");
    assert_ne!(good(&uncommented(&changed)), good(""));
    let changed = CONFFILE.replacen("#acquire_timeout = \"5s\"", "#acquire_timeout = \"6s\"", 1);
    assert_ne!(top_level(&changed), only(&server("")));
}

#[test]
fn the_examples_are_good_and_four_lines() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/mainstay/servers.d");
    let mut seen = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert_eq!(good(&text).servers.len(), 1);
        assert_eq!(
            text.lines().filter(|line| !line.starts_with('#')).count(),
            4,
            "{text}"
        );
        seen += 1;
    }
    assert_eq!(seen, 2);
}
