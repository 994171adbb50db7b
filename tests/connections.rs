//! Connections: a client that waits between requests is left alone, one that dribbles its request
//! head or its body is not waited for, and there are no more of them than allowed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use support::daemon::{Daemon, until};
use support::http::PATIENCE;

const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn daemon(listen: &str) -> Daemon {
    Daemon::start_with(listen, "[servers.a]\nbuiltin = \"score\"\n")
}

fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes next: the beginning of an answer, `closed`, or `silence` until the time-out.
fn read(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) => "closed".to_owned(),
        Ok(n) => String::from_utf8_lossy(&buffer[..n]).into_owned(),
        Err(error) if error.kind() == ErrorKind::WouldBlock => "silence".to_owned(),
        Err(_) => "closed".to_owned(),
    }
}

#[test]
fn an_idle_connection_is_not_a_slow_one() {
    let daemon = daemon("header_timeout = \"300ms\"");
    let mut stream = connect(&daemon);
    for _ in 0..3 {
        stream.write_all(REQUEST).unwrap();
        assert!(read(&mut stream).starts_with("HTTP/1.1 200"));
        // Longer than any time-out for a head.
        sleep(Duration::from_millis(800));
    }
}

#[test]
fn a_request_head_that_dribbles_in_is_cut_off() {
    let daemon = daemon("header_timeout = \"300ms\"");
    // At once, and after a good request on the same connection; nothing sent at all counts too.
    for (first, head) in [
        (false, "GET /livez HTTP/1.1\r\nHo"),
        (true, "G"),
        (false, ""),
    ] {
        let mut stream = connect(&daemon);
        if first {
            stream.write_all(REQUEST).unwrap();
            assert!(read(&mut stream).starts_with("HTTP/1.1 200"));
        }
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(read(&mut stream), "closed", "{head:?}");
    }
}

#[test]
fn an_event_stream_may_be_silent_for_as_long_as_it_likes() {
    let daemon = daemon("header_timeout = \"300ms\"").until_healthy();
    let session = support::mcp::Session::open(&daemon);
    let mut stream = session.get(None);
    assert_eq!(stream.event().unwrap().data, "", "the priming event");
    sleep(Duration::from_millis(1000));
    // Still there: it ends with the session, and only then.
    let reader = std::thread::spawn(move || stream.event());
    sleep(Duration::from_millis(100));
    assert!(!reader.is_finished(), "the stream was closed");
    assert_eq!(session.delete(), 200);
    assert!(reader.join().unwrap().is_none());
}

#[test]
fn connections_beyond_the_limit_wait_their_turn() {
    let daemon = daemon("max_connections = 2");
    let held = [connect(&daemon), connect(&daemon)];
    for stream in &held {
        let mut stream = stream.try_clone().unwrap();
        stream.write_all(REQUEST).unwrap();
        assert!(read(&mut stream).starts_with("HTTP/1.1 200"));
    }
    let mut third = connect(&daemon);
    third.write_all(REQUEST).unwrap();
    third
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    assert_eq!(
        read(&mut third),
        "silence",
        "it was served beside two others"
    );
    drop(held);
    until("its turn comes", || {
        read(&mut third).starts_with("HTTP/1.1 200").then_some(())
    });
}
