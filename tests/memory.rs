//! The memory of a server's workers, with real processes that take what they want: above the soft
//! limit the fattest idle one goes and background is refused, near the hard limit the one that grew
//! is killed, and nobody else notices.

mod support;

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, until};
use support::http::PATIENCE;
use support::mcp::Session;

const MIB: u64 = 1 << 20;

fn daemon(limits: &str) -> Daemon {
    Daemon::ready(&format!(
        "[servers.a]\n{}concurrency = 1\npool = {{ min_size = 2, max_size = 2 }}\n{limits}\n\
         [servers.a.tools.pid]\nclass = \"background\"\n",
        chaos(&[])
    ))
}

#[test]
fn above_the_soft_limit_the_fattest_goes_and_background_is_refused() {
    let daemon = daemon("memory = { soft_limit = \"150M\", hard_limit = \"2G\" }");
    let session = Session::open(&daemon);
    daemon.until("both are ready", |s| s.ready == 2);
    session.text("pid", &json!({}));
    session.text("leak", &json!({"bytes": 200 * MIB}));
    let fat = daemon.until("one is fat", |s| {
        s.workers.iter().any(|w| w.memory_bytes > Some(150 * MIB))
    });
    let fat = fat.workers.iter().max_by_key(|w| w.memory_bytes);
    let fat = fat.map(|w| w.id);
    daemon.until("memory is short", |s| s.pressure.is_some());
    let refused = session.call("pid", &json!({}));
    assert_eq!(
        refused["error"]["data"]["reason"], "overloaded",
        "{refused}"
    );
    assert!(
        refused["error"]["data"]["retryAfterMs"].is_u64(),
        "{refused}"
    );
    assert_eq!(session.text("echo", &json!({"text": "normal"})), "normal");
    let after = daemon.until("the fattest is replaced", |s| {
        s.ready == 2 && s.workers.iter().all(|w| Some(w.id) != fat)
    });
    assert!(after.counters.recycled >= 1, "{after:?}");
    assert_eq!(after.counters.deaths, 0, "politely: {after:?}");
    let log = daemon.log();
    for event in [
        "event=memory_soft",
        "event=shed_started",
        "event=worker_recycled",
    ] {
        assert!(log.contains(event), "{event} in\n{log}");
    }
}

#[test]
fn near_the_hard_limit_the_one_that_grew_is_killed_and_nobody_else() {
    let daemon = daemon("memory = { soft_limit = \"100M\", hard_limit = \"200M\" }");
    let pid = daemon.pid();
    let session = Session::open(&daemon);
    let before = daemon.until("both are ready", |s| s.ready == 2);
    // It keeps what it took, and works on: near the limit there is no waiting for its call.
    let bomb = session.start(
        &json!("bomb"),
        "leak",
        &json!({"bytes": 400 * MIB, "ms": 600_000}),
    );
    let after = daemon.until("one was killed and replaced", |s| {
        let old = |id| before.workers.iter().any(|w| w.id == id);
        s.ready == 2 && s.workers.iter().filter(|w| old(w.id)).count() == 1
    });
    drop(bomb);
    assert_eq!(session.text("echo", &json!({"text": "on"})), "on");
    assert_eq!(daemon.pid(), pid);
    let log = daemon.log();
    assert!(log.contains("event=memory_hard"), "{after:?}\n{log}");
}

#[test]
fn a_worker_that_leaks_is_replaced_before_the_soft_limit_and_no_call_fails() {
    const SOFT: u64 = 400 * MIB;
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}concurrency = 1\npool = {{ min_size = 1, max_size = 2 }}\n\
         memory = {{ soft_limit = {SOFT}, hard_limit = \"4G\" }}\n",
        chaos(&[])
    ));
    let session = Session::open(&daemon);
    let first = daemon.until("it is ready", |s| s.ready == 1).workers[0].id;
    let mut most = 0;
    let began = Instant::now();
    loop {
        let answer = session.text("leak", &json!({"bytes": MIB}));
        assert_eq!(answer, "leaked");
        let status = daemon.server();
        most = most.max(status.workers.iter().filter_map(|w| w.memory_bytes).sum());
        if status.workers.iter().all(|w| w.id != first) && status.ready > 0 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{status:?}\n{}", daemon.log());
        // Ten a second for each sample that the guard takes while it knows little.
        sleep(Duration::from_millis(20));
    }
    let status = daemon.server();
    assert!(most < SOFT, "{most}: above the soft limit");
    assert_eq!(status.counters.calls.get("lost"), Some(&0), "{status:?}");
    assert_eq!(
        (status.counters.deaths, status.counters.memory_kills),
        (0, 0)
    );
    let log = daemon.log();
    assert!(!log.contains("event=memory_soft"), "too late:\n{log}");
    let leak = log.lines().find(|line| line.contains("event=leak_found"));
    let leak = leak.unwrap_or_else(|| panic!("no leak was told:\n{log}"));
    for word in ["a call of leak", "tool=leak", "bytes_a_call=10"] {
        assert!(leak.contains(word), "{word} in {leak}");
    }
    let recycled = log
        .lines()
        .find(|line| line.contains("event=worker_recycled"));
    assert!(
        recycled.is_some_and(|line| line.contains("leaks 10")),
        "{log}"
    );
}

#[test]
fn where_others_hold_state_in_a_worker_a_leak_is_only_told() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}state = \"shared\"\n\
         memory = {{ soft_limit = \"8G\", hard_limit = \"9G\" }}\n",
        chaos(&[])
    ));
    let session = Session::open(&daemon);
    let began = Instant::now();
    while !daemon.log().contains("event=leak_found") {
        session.text("leak", &json!({"bytes": MIB}));
        assert!(began.elapsed() < PATIENCE, "{}", daemon.log());
        sleep(Duration::from_millis(20));
    }
    let told = daemon.until("it is shown", |s| {
        s.workers
            .iter()
            .any(|w| w.leak_bytes_a_call > Some(MIB / 2))
    });
    assert_eq!(told.counters.recycled, 0);
}

#[test]
fn told_that_memory_is_short_the_daemon_gives_way_step_by_step() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("pressure");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let name = fifo.display().to_string();
    let daemon = Daemon::start_as(
        dir,
        "",
        &format!(
            "[servers.a]\n{}concurrency = 1\npool = {{ min_size = 1, max_size = 4 }}\n\
             [servers.a.tools.pid]\nclass = \"background\"\n",
            chaos(&[])
        ),
        &[
            ("MEMORY_PRESSURE_WATCH", name.as_str()),
            ("MEMORY_PRESSURE_WRITE", "c29tZSAyMDAwMDAgMjAwMDAwMAA="),
        ],
    );
    daemon.until("it is ready", |s| s.ready >= 1);
    let session = Session::open(&daemon);
    let worker: Value = serde_json::from_str(&session.text("env", &json!({}))).unwrap();
    assert!(worker.get("HOME").is_some(), "{worker}");
    let hidden = |name: &str| worker.get(name).is_none();
    assert!(hidden("MEMORY_PRESSURE_WATCH") && hidden("MEMORY_PRESSURE_WRITE"));
    // Calls that wait make the pool grow.
    let slow: Vec<_> = (0..3)
        .map(|n| session.start(&json!(format!("slow-{n}")), "slow", &json!({"ms": 3000})))
        .collect();
    daemon.until("it has grown", |s| s.ready >= 3);
    for call in slow {
        call.wait_for_end();
    }
    let tell = || {
        let mut writer = OpenOptions::new().write(true).open(&fifo).unwrap();
        writer.write_all(b"x").unwrap();
    };
    let level = |n: u8| {
        until("the next level is reached", || {
            let word = format!("event=own_memory_short level={n}");
            tell();
            daemon.log().contains(&word).then_some(())
        });
    };
    level(1);
    daemon.until("idle workers beyond the minimum are gone", |s| {
        s.workers.len() == 1
    });
    level(2);
    daemon.until("memory is short", |s| s.pressure.is_some());
    let refused = session.call("pid", &json!({}));
    assert_eq!(
        refused["error"]["data"]["reason"], "overloaded",
        "{refused}"
    );
    let detail = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(detail.contains("the daemon itself is short"), "{refused}");
    let mut idle = TcpStream::connect(daemon.address()).unwrap();
    idle.set_read_timeout(Some(PATIENCE)).unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    level(3);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    assert_eq!(session.text("echo", &json!({"text": "normal"})), "normal");
}
