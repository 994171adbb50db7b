//! Reloads of a daemon that serves: what a good configuration changes, what a bad one does not, and
//! that neither costs a call.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, signal, until};
use support::http::PATIENCE;
use support::mcp::{LATEST, Session, initialize, modern_call, post, refusal, response, text};
use support::reload::{configure, configure_with, refused, reload, server, settled};

const SMALL: &str = "pool = { min_size = 2, max_size = 4 }";

/// Which generation of workers has answered.
fn generation(session: &Session) -> u32 {
    let environment: Value = serde_json::from_str(&session.text("env", &json!({}))).unwrap();
    environment["GENERATION"].as_str().unwrap().parse().unwrap()
}

/// Ends the clients also if the test fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn twenty_reloads_under_load_cost_no_call() {
    let daemon = Daemon::ready(&server("a", 0, SMALL));
    let (over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let daemon = &daemon;
    thread::scope(|scope| {
        let _ended = Ended(&over);
        for client in 0..3 {
            let (over, calls) = (&over, &calls);
            scope.spawn(move || {
                let session = Session::open(daemon);
                while !over.load(Ordering::Relaxed) {
                    let arguments = json!({"ms": 10 * client});
                    let answer = session.call("slow", &arguments);
                    assert!(answer.get("result").is_some(), "{answer}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let arguments = json!({"text": "here"});
                    let answer = modern_call(daemon.address(), &json!(1), "echo", &arguments);
                    let answer = response(answer);
                    assert_eq!(answer["result"]["content"][0]["text"], "here", "{answer}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for turn in 1..=20 {
            let before = calls.load(Ordering::Relaxed);
            let more = format!(
                "pool = {{ min_size = 2, max_size = {} }}\nconcurrency = {}\ncall_timeout = \"{turn}m\"",
                4 + turn % 3,
                4 + turn % 2,
            );
            configure(daemon, &server("a", turn / 2, &more));
            let said = reload(daemon);
            let class = if turn % 2 == 0 {
                "replaced: a ("
            } else {
                "retuned: a ("
            };
            assert!(said.contains(class), "{turn}: {said}");
            if turn % 4 == 0 {
                settled(daemon);
            }
            until("calls go on", || {
                (calls.load(Ordering::Relaxed) > before + 10).then_some(())
            });
        }
        settled(daemon);
        assert_eq!(generation(&Session::open(daemon)), 10);
        over.store(true, Ordering::Relaxed);
    });
    let counters = daemon.server().counters;
    assert_eq!(counters.calls.get("lost"), Some(&0), "{counters:?}");
    assert_eq!(counters.deaths, 0, "{}", daemon.log());
    assert_eq!(daemon.status().configuration.accepted, 20);
}

#[test]
fn a_bad_configuration_is_refused_with_every_error_and_changes_nothing() {
    let daemon = Daemon::ready(&server("a", 1, SMALL));
    let session = Session::open(&daemon);
    let slow = session.start(&json!("slow"), "slow", &json!({"ms": 500}));
    daemon.until("both workers are there", |s| s.ready == 2);
    let workers = |d: &Daemon| -> Vec<u64> { d.server().workers.iter().map(|w| w.id).collect() };
    let before = workers(&daemon);
    let bad = format!(
        "{}[servers.b]\ncommand = []\ncall_timeout = \"soon\"\nnonsense = 1\n",
        server(
            "a",
            2,
            "pool = { min_size = 9, max_size = 4 }\ndefault = true"
        )
    );
    configure(&daemon, &bad);
    let said = refused(&daemon);
    let file = daemon.dir().join("mainstay.toml").display().to_string();
    for part in [
        "the old one stays in force, nothing was changed: 4 errors",
        "servers.a.pool",
        "servers.b.command",
        "servers.b.call_timeout",
        "servers.b.nonsense",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert_eq!(said.matches(&format!("\n  {file}:")).count(), 4, "{said}");
    assert_eq!(text(&response(slow)), "slept");
    assert_eq!(generation(&session), 1);
    assert_eq!(workers(&daemon), before);
    let last = daemon.status().configuration.last.unwrap();
    assert!(!last.accepted && last.what.contains("servers."), "{last:?}");

    // The same by a signal: errors go to the log.
    let errors = || daemon.log().matches("servers.b.nonsense").count();
    let before = errors();
    signal(daemon.pid(), Signal::SIGHUP);
    until("the errors are logged", || {
        (errors() > before).then_some(())
    });
    assert!(
        daemon
            .log()
            .contains("SIGHUP asked for is refused with 4 errors")
    );
    assert_eq!(generation(&session), 1);

    // A file with tokens that cannot be read is as bad as a wrong key.
    let tokens = "[[principals]]\nname = \"p\"\ntoken_file = \"/nonexistent/tokens\"\n";
    configure(&daemon, &(server("a", 2, SMALL) + tokens));
    assert!(refused(&daemon).contains("/nonexistent/tokens"));
    assert_eq!(generation(&session), 1);

    configure(&daemon, &server("a", 2, SMALL));
    signal(daemon.pid(), Signal::SIGHUP);
    until("the repaired one is in force", || {
        (generation(&session) == 2).then_some(())
    });
    assert!(
        daemon.log().contains("was reloaded by SIGHUP: replaced: a"),
        "{}",
        daemon.log()
    );
}

#[test]
fn a_check_says_what_a_reload_would_do_and_does_nothing() {
    let daemon = Daemon::ready(&server("a", 1, SMALL));
    configure(&daemon, &server("a", 2, SMALL));
    let socket = daemon.dir().join("admin.sock");
    let (status, said, _) = support::reload::ctl(&socket, &["reload", "--check"]);
    assert_eq!(status, 0);
    assert!(
        said.contains("would do this:\n  replaced: a (env.GENERATION)"),
        "{said}"
    );
    assert_eq!(daemon.status().configuration.last, None);
    assert_eq!(generation(&Session::open(&daemon)), 1);
}

#[test]
fn a_removed_server_finishes_its_calls_and_takes_no_new_ones() {
    let both = server("a", 1, "default = true") + &server("b", 1, SMALL);
    let daemon = Daemon::ready(&both);
    let session = Session::open_at(&daemon, "/servers/b/mcp", LATEST);
    let slow = session.start(&json!("slow"), "slow", &json!({"ms": 1500}));
    configure(&daemon, &server("a", 1, "default = true"));
    let said = reload(&daemon);
    assert!(said.contains("removed: b; new calls are refused"), "{said}");
    let answer = session.call("echo", &json!({"text": "late"}));
    let (code, reason, _) = refusal(&answer);
    assert_eq!((code, reason.as_str()), (-31007, "draining"), "{answer}");
    assert!(
        answer
            .to_string()
            .contains("removed from the configuration"),
        "{answer}"
    );
    let body = initialize(LATEST).to_string();
    let opened = post(daemon.address(), "/servers/b/mcp", &[], &body).json();
    assert_eq!(refusal(&opened).1, "draining", "{opened}");
    assert_eq!(text(&response(slow)), "slept");
    until("it is gone", || {
        let servers = daemon.status().servers;
        (servers.len() == 1 && servers[0].name == "a").then_some(())
    });
    let answer = post(daemon.address(), "/servers/b/mcp", &[], &body);
    assert_eq!(answer.status, 404);
    assert_eq!(generation(&Session::open(&daemon)), 1);
    until("its workers are gone", || {
        (daemon.processes().len() == daemon.server().workers.len()).then_some(())
    });

    // It may come back under its name, and is another one then.
    configure(
        &daemon,
        &(server("a", 1, "default = true") + &server("b", 2, SMALL)),
    );
    assert!(reload(&daemon).contains("added: b"));
    let again = Session::open_at(&daemon, "/servers/b/mcp", LATEST);
    assert_eq!(generation(&again), 2);
    assert_eq!(
        session
            .post("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}")
            .status,
        404
    );
}

#[test]
fn another_default_server_serves_new_sessions_and_leaves_the_old_ones_where_they_are() {
    let two = |a: &str, b: &str| server("a", 1, a) + &server("b", 2, b);
    let daemon = Daemon::ready(&two("default = true", ""));
    let old = Session::open(&daemon);
    configure(&daemon, &two("", "default = true"));
    let said = reload(&daemon);
    assert!(said.contains("retuned: a (default)"), "{said}");
    assert!(said.contains("warning: /mcp is served by b now"), "{said}");
    assert_eq!(generation(&Session::open(&daemon)), 2);
    assert_eq!(generation(&old), 1);
    assert_eq!(daemon.server().name, "b");
}

#[test]
fn principals_are_changed_at_once() {
    let token = |name: &str| format!("{name}-token-{name}-token");
    let principal = |name: &str| {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(token(name));
        let hash: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        format!("[[principals]]\nname = \"{name}\"\ntoken_sha256 = [\"{hash}\"]\n")
    };
    let with = |principals: &str| {
        format!(
            "[auth]\nrequired = true\n{principals}{}",
            server("a", 1, SMALL)
        )
    };
    let daemon = Daemon::ready(&with(&(principal("alice") + &principal("bob"))));
    let ask = |name: &str, session: Option<&str>| {
        let bearer = format!("Bearer {}", token(name));
        let mut headers = vec![("Authorization", bearer.as_str())];
        headers.extend(session.map(|id| ("Mcp-Session-Id", id)));
        let body = match session {
            None => initialize(LATEST).to_string(),
            Some(_) => "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}".to_owned(),
        };
        post(daemon.address(), "/mcp", &headers, &body)
    };
    let open = |name: &str| {
        let answer = ask(name, None);
        let id = answer.header("mcp-session-id").map(ToOwned::to_owned);
        (answer.status, id.unwrap_or_default())
    };
    let ((_, alice), (_, bob)) = (open("alice"), open("bob"));
    assert_eq!(open("carol").0, 401);
    configure(&daemon, &with(&(principal("bob") + &principal("carol"))));
    let said = reload(&daemon);
    assert!(
        said.contains("principals: carol added, alice removed"),
        "{said}"
    );
    assert_eq!(ask("alice", Some(&alice)).status, 401);
    assert_eq!(ask("bob", Some(&bob)).status, 200);
    assert_eq!(open("carol").0, 200);
    // Of alice's session nothing is left, should she come back.
    assert_eq!(daemon.server().sessions, 2);
    configure(
        &daemon,
        &with(&(principal("alice") + &principal("bob") + &principal("carol"))),
    );
    reload(&daemon);
    assert_eq!(ask("alice", Some(&alice)).status, 404);
}

#[test]
fn a_program_that_does_not_start_replaces_nothing() {
    let daemon = Daemon::ready(&server("a", 1, SMALL));
    let session = Session::open(&daemon);
    let broken = format!("[servers.a]\n{}{SMALL}\n", chaos(&["--die-at-start", "3"]));
    configure(&daemon, &broken);
    reload(&daemon);
    until("it is seen that the new ones die", || {
        let status = daemon.server();
        (status.counters.deaths >= 2).then_some(())
    });
    let pending = daemon.status().configuration.pending;
    assert_eq!(pending, ["a has 2 workers still to be replaced"]);
    assert_eq!(generation(&session), 1);
    // What comes next is tried at once, however slow the starts of the broken one had become.
    configure(&daemon, &server("a", 2, SMALL));
    reload(&daemon);
    settled(&daemon);
    assert_eq!(generation(&session), 2);
    let failure = daemon.server().last_failure.unwrap();
    assert_eq!(failure.in_a_row, 0, "the failures are the broken one's");
    configure(
        &daemon,
        "[servers.a]\ncommand = [\"/nonexistent/program\"]\n",
    );
    let said = reload(&daemon);
    assert!(
        said.contains("warning: the program /nonexistent/program of server a is not there"),
        "{said}"
    );
    assert_eq!(generation(&session), 2);
}

#[test]
fn a_server_begun_anew_takes_over_when_it_can_serve_and_not_before() {
    let daemon = Daemon::ready(&server("a", 1, SMALL));
    let session = Session::open(&daemon);
    let broken = chaos(&["--die-at-start", "3"]);
    configure(
        &daemon,
        &format!("[servers.a]\n{broken}era = \"legacy\"\n{SMALL}\n"),
    );
    let said = reload(&daemon);
    assert!(said.contains("begun anew: a ("), "{said}");
    until("the new one is seen to fail", || {
        let pending = daemon.status().configuration.pending;
        pending
            .iter()
            .any(|p| p.contains("the last worker exited with status 3"))
            .then_some(())
    });
    assert_eq!(generation(&session), 1);
    assert_eq!(generation(&Session::open(&daemon)), 1);

    let slow = session.start(&json!("slow"), "slow", &json!({"ms": 3000}));
    configure(
        &daemon,
        &server("a", 2, &format!("era = \"legacy\"\n{SMALL}")),
    );
    reload(&daemon);
    daemon.until("the new one has taken over", |s| s.era == "legacy");
    assert_eq!(generation(&Session::open(&daemon)), 2);
    assert_eq!(text(&response(slow)), "slept");
    // A session of the old one is told to initialize again, as the protocol has it.
    let ping = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}";
    assert_eq!(session.post(ping).status, 404);
    settled(&daemon);
    assert_eq!(daemon.server().era, "legacy");
    assert!(
        !daemon.log().contains("event=server_down"),
        "nobody missed it"
    );
}

#[test]
fn a_session_keeps_the_worker_it_has() {
    let bound = "state = \"session\"\npool = { min_size = 1, max_size = 6 }";
    let daemon = Daemon::ready(&server("a", 1, bound));
    let old = Session::open(&daemon);
    assert_eq!(old.text("counter", &json!({})), "1");
    configure(&daemon, &server("a", 2, bound));
    let said = reload(&daemon);
    assert!(
        said.contains("sessions of a stay at the workers they have"),
        "{said}"
    );
    until("spares are new ones", || {
        let spare = Session::open(&daemon);
        let new = generation(&spare) == 2;
        // One of the old ones would keep its worker, too.
        assert_eq!(spare.delete(), 200);
        new.then_some(())
    });
    assert_eq!(generation(&old), 1);
    assert_eq!(old.text("counter", &json!({})), "2");
    until(
        "only the session's own worker is left of the old ones",
        || {
            let pending = daemon.status().configuration.pending;
            (pending == ["a has 1 old workers that stay until their sessions end"]).then_some(())
        },
    );
    assert_eq!(old.delete(), 200);
    settled(&daemon);
}

#[test]
fn what_takes_a_restart_is_said_until_it_is_done() {
    let daemon = Daemon::ready(&server("a", 1, SMALL));
    for turn in 2..4 {
        configure_with(&daemon, "http = \"127.0.0.1:1\"", &server("a", turn, SMALL));
        let said = reload(&daemon);
        assert!(said.contains("TAKES A RESTART: listen.http;"), "{said}");
        assert_eq!(daemon.status().configuration.restart, ["listen.http"]);
        settled(&daemon);
        assert_eq!(generation(&Session::open(&daemon)), turn);
    }
    configure(&daemon, &server("a", 3, SMALL));
    assert_eq!(reload(&daemon), "reloaded; nothing has changed\n");
    assert!(daemon.status().configuration.restart.is_empty());
}

#[test]
fn reloads_asked_for_at_once_are_done_one_after_the_other() {
    let daemon = Daemon::ready(&server("a", 1, SMALL));
    configure(&daemon, &server("a", 2, SMALL));
    let said = thread::scope(|scope| {
        let asked: Vec<_> = (0..6).map(|_| scope.spawn(|| reload(&daemon))).collect();
        let said = asked.into_iter().map(|one| one.join().unwrap());
        said.collect::<Vec<_>>()
    });
    let did = said.iter().filter(|s| s.contains("replaced: a")).count();
    let rest = said
        .iter()
        .filter(|s| s.contains("nothing has changed"))
        .count();
    assert_eq!((did, rest), (1, 5), "{said:?}");
    settled(&daemon);
    assert_eq!(daemon.status().configuration.accepted, 6);
}

#[test]
fn calls_that_wait_stay_and_are_served_by_the_new_settings() {
    let one = "pool = { min_size = 1, max_size = 1, acquire_timeout = \"30s\" }\nconcurrency = 1";
    let daemon = Daemon::ready(&server("a", 1, one));
    let session = Session::open(&daemon);
    thread::scope(|scope| {
        let slow = scope.spawn(|| session.text("slow", &json!({"ms": 4000})));
        daemon.until("it is busy", |s| s.in_flight == 1);
        let waiting: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| session.text("echo", &json!({"text": "here"}))))
            .collect();
        daemon.until("three wait", |s| s.queued == 3);
        // Less room than is taken already: nobody has to go for it.
        let less = "pool = { min_size = 1, max_size = 1, acquire_timeout = \"29s\" }\nconcurrency = 1\nqueue_size = 1";
        configure(&daemon, &server("a", 1, less));
        assert!(reload(&daemon).contains("retuned: a ("));
        assert_eq!(daemon.server().queued, 3);
        configure(
            &daemon,
            &server("a", 1, &less.replace("concurrency = 1", "concurrency = 2")),
        );
        reload(&daemon);
        for one in waiting {
            assert_eq!(one.join().unwrap(), "here");
        }
        assert!(
            !slow.is_finished(),
            "the place of the slow one was not the one they got"
        );
        assert_eq!(slow.join().unwrap(), "slept");
    });
}

#[test]
fn a_file_that_gives_nothing_holds_up_neither_calls_nor_the_end() {
    let daemon = Daemon::ready(&server("a", 1, SMALL));
    let pipe = daemon.dir().join("tokens");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let tokens = format!(
        "[[principals]]\nname = \"p\"\ntoken_file = {:?}\n",
        pipe.display().to_string()
    );
    configure(&daemon, &(server("a", 2, SMALL) + &tokens));
    let session = Session::open(&daemon);
    thread::scope(|scope| {
        let asked = scope.spawn(|| refused(&daemon));
        while !asked.is_finished() {
            assert_eq!(generation(&session), 1);
        }
        let said = asked.join().unwrap();
        assert!(said.contains("could not be read within 10 s"), "{said}");
    });
    assert!(refused(&daemon).contains("still waits for a file that gives nothing"));
    // Dropping the daemon fails the test if it does not end in time.
}

#[test]
fn the_service_manager_is_told_and_told_again_whatever_came_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let address = dir.path().join("notify");
    let manager = UnixDatagram::bind(&address).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = address.display().to_string();
    let environment = [("NOTIFY_SOCKET", address.as_str())];
    let own = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_as(own, "", &server("a", 1, SMALL), &environment);
    let next = |wanted: &str| loop {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).unwrap();
        let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if message.contains(wanted) {
            return message;
        }
        // A reload that was not said to begin cannot end.
        assert!(!message.contains("READY=1"), "{message} before {wanted}");
    };
    next("READY=1");
    for servers in ["nonsense = 1\n".to_owned(), server("a", 2, SMALL)] {
        configure(&daemon, &servers);
        signal(daemon.pid(), Signal::SIGHUP);
        let begun = next("RELOADING=1");
        let time = begun
            .lines()
            .find_map(|l| l.strip_prefix("MONOTONIC_USEC="));
        assert!(time.is_some_and(|t| t.parse::<u64>().is_ok()), "{begun}");
        next("READY=1");
    }
}
