//! What passes between the service manager and the daemon: sockets by name, READY and what follows,
//! heartbeats, and the end. The manager is one of the tests' own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use support::daemon::{chaos, until, within_reach};
use support::http;
use support::service_manager::{ServiceManager, Unit, open_path};

fn tcp(address: &str) -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    (listener.into(), address)
}

fn livez(address: SocketAddr) -> u16 {
    http::send(address, "GET", "/livez", &[], None).status
}

fn ctl(socket: &Path, user: Option<u32>) -> Output {
    use std::os::unix::process::CommandExt as _;
    let reach = tempfile::tempdir().unwrap();
    fs::set_permissions(reach.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = within_reach(env!("CARGO_BIN_EXE_mainstayctl"), reach.path());
    let mut command = Command::new(program);
    command.arg("--socket").arg(socket).arg("status");
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.output().unwrap()
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

#[test]
fn ready_is_said_when_there_is_something_to_serve_and_stopping_at_the_end() {
    let (socket, address) = tcp("127.0.0.1:0");
    let slow = chaos(&["--start-delay", "300"]);
    let mut manager = ServiceManager::start(Unit {
        config: format!("[servers.slow]\n{slow}[servers.slow.pool]\nmin_size = 1\n"),
        sockets: vec![("http", socket)],
        ..Unit::default()
    });
    manager.hear("READY=1");
    assert_eq!(http::send(address, "GET", "/readyz", &[], None).status, 200);
    let fields = manager.fields();
    let ready = fields.iter().position(|f| *f == "READY").unwrap();
    assert!(fields[..ready].contains(&"STATUS"), "{fields:?}");
    assert!(
        fields[..ready].contains(&"EXTEND_TIMEOUT_USEC"),
        "{fields:?}"
    );
    let manager = manager.stop();
    let fields = manager.fields();
    let rest = &fields[ready + 1..];
    assert!(!rest.contains(&"READY"), "{fields:?}");
    let stopping = rest.iter().position(|f| *f == "STOPPING").unwrap();
    assert!(
        rest[stopping..].contains(&"EXTEND_TIMEOUT_USEC"),
        "{fields:?}"
    );
}

/// An upgrade must not cost whoever connects just then.
#[test]
fn a_request_that_comes_right_after_the_stop_is_answered() {
    use std::io::Write as _;
    let (socket, address) = tcp("127.0.0.1:0");
    let mut manager = ServiceManager::start(Unit {
        sockets: vec![("http", socket)],
        ..Unit::default()
    });
    manager.hear("READY=1");
    let mut open = TcpStream::connect(address).unwrap();
    until("the connection is accepted", || {
        (manager.client().status().unwrap().connections == 1).then_some(())
    });
    manager.signal(Signal::SIGTERM);
    manager.hear("STOPPING=1");
    write!(open, "GET /livez HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    // To its end: it is not kept open either.
    open.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    manager.wait();
}

#[test]
fn a_server_that_fails_is_said_and_does_not_keep_the_others_waiting() {
    let mut manager = ServiceManager::start(Unit {
        config: format!(
            "[servers.bad]\n{}[servers.good]\ndefault = true\n{}",
            chaos(&["--die-at-start", "7"]),
            chaos(&[])
        ),
        ..Unit::default()
    });
    manager.hear("READY=1");
    let status = manager.client().status().unwrap();
    assert_eq!(status.health, mainstay::broker::snapshot::Health::Degraded);
    drop(manager.stop());
}

/// The order of sockets changes between releases of systemd.
#[test]
fn sockets_are_taken_by_name_in_any_order_and_the_others_closed() {
    for swapped in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = open_path(dir.path(), "control");
        let control = UnixListener::bind(&path).unwrap();
        let ((first, one), (second, two), (other, closed)) =
            (tcp("127.0.0.1:0"), tcp("127.0.0.1:0"), tcp("127.0.0.1:0"));
        let mut sockets = vec![
            ("http", first),
            ("control", control.into()),
            ("mainstay.socket", other),
            ("http", second),
        ];
        if swapped {
            sockets.reverse();
        }
        let mut manager = ServiceManager::start(Unit {
            sockets,
            ..Unit::default()
        });
        manager.hear("READY=1");
        assert_eq!((livez(one), livez(two)), (200, 200));
        assert!(TcpStream::connect(closed).is_err(), "it is left open");
        let log = manager.log();
        assert!(log.contains("a socket named \"mainstay.socket\""), "{log}");
        assert!(
            log.contains("listen.http, 127.0.0.1:0, is not used"),
            "{log}"
        );
        assert!(!manager.dir().join("admin.sock").exists());
        if is_root() {
            // Otherwise the test has the user of the daemon and its workers.
            assert!(ctl(&path, None).status.success(), "{log}");
        }
        drop(manager.stop());
        assert!(path.exists(), "the file is the service manager's");
    }
}

/// A worker that had the listener could answer in place of the daemon.
#[test]
fn pitfall_next_no_worker_gets_a_socket_or_the_variables() {
    let (socket, _) = tcp("127.0.0.1:0");
    let mut manager = ServiceManager::start(Unit {
        sockets: vec![("http", socket)],
        environment: vec![("WATCHDOG_USEC", "10000000".to_owned())],
        ..Unit::default()
    });
    manager.hear("READY=1");
    let workers: Vec<u32> = manager.client().status().unwrap().servers[0]
        .workers
        .iter()
        .map(|worker| worker.pid)
        .collect();
    let sockets = |pid: u32| -> Vec<_> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        entries
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .collect()
    };
    assert!(!workers.is_empty());
    for worker in workers {
        let environment = fs::read(format!("/proc/{worker}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        for name in ["LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_"] {
            assert!(!environment.contains(name), "{environment:?}");
        }
        // stdin and stdout, which are one.
        let sockets = sockets(worker);
        assert_eq!(sockets.len(), 2, "{sockets:?}");
        assert_eq!(sockets[0], sockets[1]);
    }
    drop(manager.stop());
}

#[test]
fn who_has_the_user_of_the_workers_may_not_ask_at_a_socket_of_the_manager() {
    const NOBODY: u32 = 65534;
    let user = is_root().then_some(NOBODY);
    let dir = tempfile::tempdir().unwrap();
    let path = open_path(dir.path(), "control");
    let control = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let mut manager = ServiceManager::start(Unit {
        // Nothing configured is the built-in server.
        config: String::new(),
        sockets: vec![("control", control.into())],
        user,
        ..Unit::default()
    });
    manager.hear("READY=1");
    let asked = ctl(&path, user);
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(
        !asked.status.success() && said.contains("permission_denied"),
        "{said}"
    );
    if is_root() {
        assert!(ctl(&path, None).status.success());
        // Others whom the file lets in: on a real system members of its group.
        assert!(ctl(&path, Some(NOBODY - 1)).status.success());
    }
    drop(manager.stop());
}

#[test]
fn what_is_no_listening_socket_is_an_error_of_the_configuration() {
    let udp: OwnedFd = UdpSocket::bind("127.0.0.1:0").unwrap().into();
    let mut manager = ServiceManager::start(Unit {
        sockets: vec![("http", udp)],
        ..Unit::default()
    });
    assert_eq!(manager.wait().code(), Some(78));
    let said = "the socket named \"http\": it is a datagram socket";
    assert!(manager.log().contains(said), "{}", manager.log());
    let message = manager.hear_now("STATUS=");
    assert!(
        message.contains(said) && message.ends_with("\nEXIT_STATUS=78"),
        "{message}"
    );
}

/// Whoever waits at the socket would have it started again at once, for ever.
#[test]
fn a_wrong_configuration_turns_away_who_waits_before_it_ends() {
    for by_signal in [false, true] {
        let (socket, address) = tcp("127.0.0.1:0");
        let mut waiting = TcpStream::connect(address).unwrap();
        let mut manager = ServiceManager::start(Unit {
            config: "[servers.a]\ncommand = [\"true\"]\nstate = \"sesion\"\n".to_owned(),
            sockets: vec![("http", socket)],
            ..Unit::default()
        });
        let message = manager.hear("STATUS=");
        assert!(
            message.contains("sesion") && message.contains("\nEXIT_STATUS=78"),
            "{message}"
        );
        assert_eq!(waiting.read(&mut [0]).unwrap(), 0);
        if by_signal {
            manager.signal(Signal::SIGTERM);
            assert_eq!(manager.wait().signal(), Some(15));
        } else {
            // It goes on for a while.
            assert_eq!(
                TcpStream::connect(address).unwrap().read(&mut [0]).unwrap(),
                0
            );
            assert_eq!(manager.wait().code(), Some(78));
        }
        assert!(!manager.fields().contains(&"READY"));
    }
}

/// Row 44 of the chaos matrix: the socket is missing, or nobody reads it.
#[test]
fn a_manager_that_is_gone_or_deaf_is_no_reason_to_wait_or_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let deaf = dir.path().join("deaf");
    let bound = std::os::unix::net::UnixDatagram::bind(&deaf).unwrap();
    let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"full", &deaf).is_ok() {}
    for address in [deaf.as_path(), &dir.path().join("gone")] {
        let (socket, http) = tcp("127.0.0.1:0");
        let manager = ServiceManager::start(Unit {
            sockets: vec![("http", socket)],
            environment: vec![
                ("NOTIFY_SOCKET", address.display().to_string()),
                ("WATCHDOG_USEC", "200000".to_owned()),
            ],
            ..Unit::default()
        });
        until("it serves", || {
            (http::send(http, "GET", "/readyz", &[], None).status == 200).then_some(())
        });
        drop(manager.stop());
    }
    drop(bound);
}

#[test]
fn heartbeats_are_sent_if_they_are_wanted_of_this_process() {
    let mut manager = ServiceManager::start(Unit {
        environment: vec![("WATCHDOG_USEC", "1000000".to_owned())],
        ..Unit::default()
    });
    for _ in 0..8 {
        manager.hear("WATCHDOG=1");
    }
    // Nobody but the daemon itself is at its listener.
    for _ in 0..1000 {
        assert_eq!(manager.client().status().unwrap().connections, 0);
    }
    drop(manager.stop());
}

#[cfg(not(feature = "fault"))]
#[test]
fn a_build_for_use_has_no_faults_on_purpose() {
    let mut manager = ServiceManager::start(Unit::default());
    manager.hear("READY=1");
    let (part, time) = (
        mainstay::fault::Part::Timers,
        std::time::Duration::from_secs(1),
    );
    let refused = manager.client().fault(part, time).unwrap_err().to_string();
    assert!(refused.contains("no faults built in"), "{refused}");
    drop(manager.stop());
}
