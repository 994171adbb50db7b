//! What one worker minted comes back to it, whoever is free: request states, subscriptions. And
//! what a shared worker says reaches those whom it concerns, and nobody else.

mod support;

use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemon::{Daemon, chaos, signal, until};
use support::mcp::{self, Session, modern, modern_call};

#[test]
fn a_request_state_goes_back_to_the_worker_that_minted_it() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}era = \"modern\"\nconcurrency = 1\npool = {{ min_size = 2, max_size = 2 }}\n",
        chaos(&["--era", "modern"])
    ));
    daemon.until("two workers are ready", |s| s.ready == 2);
    let asked = mcp::response(modern_call(
        daemon.address(),
        &json!(1),
        "ask_sampling",
        &json!({}),
    ));
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required", "{asked}");
    // Its worker is the first that is free, so this keeps just that one busy.
    let address = daemon.address();
    let busy = std::thread::spawn(move || {
        mcp::response(modern_call(
            address,
            &json!(2),
            "slow",
            &json!({"ms": 2000}),
        ))
    });
    daemon.until("it is busy", |s| s.in_flight == 1);
    let repeat = json!({
        "name": "ask_sampling", "arguments": {},
        "requestState": result["requestState"],
        "inputResponses": {"ask": {"role": "assistant"}},
    });
    let answer = mcp::response(modern(daemon.address(), &json!(3), "tools/call", &repeat));
    assert_eq!(mcp::text(&answer), r#"{"role":"assistant"}"#, "{answer}");
    assert_eq!(mcp::text(&busy.join().unwrap()), "slept");
    // Without its worker the repeat is for any other, which says that it cannot read it.
    for worker in daemon.server().workers {
        signal(worker.pid, Signal::SIGKILL);
    }
    until("others serve", || {
        let answer = mcp::response(modern(daemon.address(), &json!(4), "tools/call", &repeat));
        (answer["error"]["code"] == -32602).then_some(())
    });
}

#[test]
fn updates_of_a_resource_reach_its_subscribers_across_the_death_of_a_worker() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_in(
        dir,
        "",
        &format!(
            "[servers.a]\n{}era = \"legacy\"\nstate = \"shared\"\n",
            chaos(&[])
        ),
    )
    .until_healthy();
    let (subscriber, other) = (Session::open(&daemon), Session::open(&daemon));
    let uri = json!({"uri": "chaos://state"});
    let answer = mcp::response(subscriber.request(&json!(1), "resources/subscribe", &uri));
    assert_eq!(answer["result"], json!({}));
    let mut streams = [subscriber.get(None), other.get(None)];
    for stream in &mut streams {
        assert_eq!(stream.event().unwrap().data, "", "the priming event");
    }
    assert_eq!(other.text("update_resource", &uri), "told");
    let news = streams[0].event().unwrap().json();
    assert_eq!(news["method"], "notifications/resources/updated");
    let pid = daemon.server().workers[0].pid;
    signal(pid, Signal::SIGKILL);
    daemon.until("another serves", |s| {
        s.ready == 1 && s.workers.iter().all(|w| w.pid != pid)
    });
    // The new worker is told asynchronously, so the first changes may concern nobody yet.
    for _ in 0..30 {
        assert_eq!(other.text("update_resource", &uri), "told");
        sleep(Duration::from_millis(20));
    }
    let news = streams[0].event().unwrap().json();
    assert_eq!(news["method"], "notifications/resources/updated");
    // All sessions hear of changed lists, the other one of nothing else.
    subscriber.text("list_changed", &json!({}));
    let heard: Value = streams[1].event().unwrap().json();
    assert!(
        heard["method"].as_str().unwrap().ends_with("list_changed"),
        "{heard}"
    );
}

#[test]
fn a_session_has_room_for_many_subscriptions_but_not_for_any_number() {
    let daemon = Daemon::ready(&format!(
        "[servers.a]\n{}era = \"legacy\"\nstate = \"shared\"\n",
        chaos(&[])
    ));
    let session = Session::open(&daemon);
    let subscribe = |n: usize| {
        let uri = json!({"uri": format!("chaos://{n}/{}", "x".repeat(50_000))});
        mcp::response(session.request(&json!(n), "resources/subscribe", &uri))
    };
    for n in 0..5 {
        assert_eq!(subscribe(n)["result"], json!({}));
    }
    let refused = subscribe(5);
    assert_eq!(
        refused["error"]["data"]["reason"], "overloaded",
        "{refused}"
    );
    assert_eq!(
        subscribe(4)["result"],
        json!({}),
        "one that is there is no new one"
    );
    // Ending one makes room again.
    let uri = json!({"uri": format!("chaos://0/{}", "x".repeat(50_000))});
    let ended = mcp::response(session.request(&json!(0), "resources/unsubscribe", &uri));
    assert_eq!(ended["result"], json!({}));
    assert_eq!(subscribe(5)["result"], json!({}));
}
