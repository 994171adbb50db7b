//! A daemon whose vital parts stand still asks for its restart, and says why; one that the machine
//! keeps from running does not. Needs a build with faults: `cargo test --features fault --test
//! watchdog`.

#![cfg(feature = "fault")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use mainstay::fault::Part;
use nix::sys::signal::Signal;
use support::daemon::until;
use support::service_manager::{ServiceManager, Unit};

const SHORT: Duration = Duration::from_secs(4);

/// A daemon with this interval, once it is ready and its listener is watched.
fn watched(interval: Duration) -> ServiceManager {
    let mut manager = ServiceManager::start(Unit {
        environment: vec![("WATCHDOG_USEC", interval.as_micros().to_string())],
        ..Unit::default()
    });
    manager.hear("READY=1");
    for _ in 0..3 {
        manager.hear("WATCHDOG=1");
    }
    manager
}

/// Pitfall 17: each vital part, in turn.
#[test]
fn pitfall_17_a_part_that_stands_still_ends_the_heartbeat_with_the_reason_told() {
    for (name, part) in Part::ALL {
        let mut manager = watched(SHORT);
        manager
            .client()
            .fault(part, Duration::from_secs(60))
            .unwrap();
        let said = match part {
            Part::RuntimeThread | Part::Runtime => "the runtime thread ",
            // Whoever wants a place waits for the same lock: actor and threads follow.
            Part::Dispatcher => "the ",
            Part::Acceptor => "the acceptor of",
            Part::Supervisor => "the supervisor of",
            Part::Timers => "the timers of",
        };
        manager.hear("WATCHDOG=trigger");
        // The heartbeat does not wait for the log for long, and the test reads it later still.
        let told = |line: &str| line.contains(said) && line.contains("has not moved for");
        let reason = "asking the service manager to restart it";
        let log = until(&format!("the log tells of {name}"), || {
            let log = manager.log();
            (log.contains(reason) && log.lines().any(told)).then_some(log)
        });
        if part == Part::Dispatcher {
            assert!(
                log.contains("silent: ") && log.contains("dispatcher"),
                "{log}"
            );
        }
        // From the first silence on there was no heartbeat but the excuses of a busy machine.
        let excused = log.matches("the machine gives it no time").count();
        assert!(excused <= 3, "{name}:\n{log}");
        manager.signal(Signal::SIGKILL);
        manager.wait();
    }
}

fn was_left_alone(manager: ServiceManager) {
    let log = manager.stop().log();
    assert!(!log.contains("asking the service manager"), "{log}");
}

#[test]
fn a_part_that_moves_again_in_time_is_forgiven() {
    // It is missed after 4 s, and would cost a restart after 7.2 s. The first connection after the
    // fault is still accepted: up to a second is no silence.
    let mut manager = watched(Duration::from_secs(8));
    let fault = Duration::from_millis(5800);
    manager.client().fault(Part::Acceptor, fault).unwrap();
    manager.hear("STATUS=FAULT ON PURPOSE: acceptor");
    until("it moves again", || {
        manager
            .log()
            .contains("the acceptor of mainstayd moves again")
            .then_some(())
    });
    manager.hear("WATCHDOG=1");
    was_left_alone(manager);
}

/// All parts are silent when the process goes on, and none of them is to blame.
#[test]
fn a_process_that_was_stopped_for_a_while_goes_on() {
    let mut manager = watched(SHORT);
    manager.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(5));
    manager.listen();
    manager.signal(Signal::SIGCONT);
    for _ in 0..8 {
        manager.hear("WATCHDOG=1");
    }
    was_left_alone(manager);
}
