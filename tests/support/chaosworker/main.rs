//! A scripted MCP stdio worker that misbehaves on request: the other side of every test about
//! failing workers. `--x` options shape the whole process, tools one call; `tools/list` names the
//! tools with their arguments. It shares no code with the daemon, so that both cannot be wrong in
//! the same way.
//!
//! Start and end:
//! - `--start-delay MS`, `--start-cpu MS`: takes that long, asleep or burning, before it reads.
//! - `--die-at-start CODE`: crash loop. `--die-while FILE`: the same while that file exists, so that
//!   removing it is the repair. `--die-on METHOD`: dies of such a request (`initialize`, ...).
//! - `--ignore eof,int,term`: does not end by these. `--never-answer`: reads and says nothing.
//! - `--stop-reading-after N`: reads no more than so many messages.
//! - `--fork-child`: a child that holds stdout and stderr; `--fork-child-group`: the same in a process
//!   group of its own; `--daemonise`: a grandchild in a session of its own, its parent gone.
//! - `--wrap N`: N levels of shell and wrapper above the worker itself, as `npx` makes them.
//!
//! Protocol:
//! - `--era legacy|modern|both|lock` (default both; lock: the first message decides, as in the Python
//!   SDK 2), `--reject-reinit`, `--silent-discover` and `--die-on-discover` (what old servers do with
//!   an unknown first request).
//! - `--banner`, `--junk-start N`: lines on stdout that are no frames, before the first one.
//! - `--stderr-flood BYTES_PER_S`, `--no-newline`: talks on stderr all the time, in lines or in one.
//! - `--serial`: one call at a time. `--ignore-cancel`: a cancelled call is answered all the same.
//! - `--refuse-after N`, `--refuse-as tool|rpc`: from the N+1st call on each one is refused.
//!
//! State and effects:
//! - `--log FILE`: the effects ledger, one JSON line for each executed call, cancellation and
//!   `initialize`. Every line is one appending write: workers share the file.
//! - `--cap N`, `--ttl S`: the store drops its oldest entries silently, or those older than S seconds.
//! - `--create-race`: `create` looks first and writes later. `--poison-scratch`: `create` keeps a cache
//!   in the scratch directory (`HOME`), written in place and never checked.
//! - `--health lie|leak`: `health_check` says "unhealthy" though all is well, or leaves a file a call.
//! - `--relay COMMAND`, `--lie FROM=TO`: is no worker of its own, but passes lines between its caller
//!   and COMMAND and puts TO for FROM in the answers: a server that answers wrongly.
//!
//! The methods `bytes/result` and `bytes/error` answer with the very bytes of their `params`.

mod call;
mod catalog;
mod effect;
mod fault;
mod ledger;
mod offspring;
mod options;
mod question;
mod relay;
mod report;
mod request;
mod store;
mod wire;
mod worker;

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use options::Options;
use serde_json::{Value, json};
use worker::Worker;

fn main() -> ExitCode {
    let options = Options::parse();
    if options.has("--sleep") {
        thread::sleep(Duration::from_secs(3600));
        return ExitCode::SUCCESS;
    }
    if options.has("--orphan") {
        return offspring::orphan();
    }
    if let Some(levels) = options.number("--wrap").filter(|levels| *levels > 0) {
        return offspring::wrap(levels - 1);
    }
    if let Some(command) = options.value("--relay") {
        return relay::relay(command, options.value("--lie").unwrap_or_default());
    }
    let worker = Worker::new(options);
    worker.begin();
    let mut left = worker.options.number("--stop-reading-after");
    for line in io::stdin().lock().split(b'\n') {
        let Ok(line) = line else { break };
        if !line.trim_ascii().is_empty() && !worker.options.has("--never-answer") {
            worker.receive(&line);
        }
        left = left.map(|left| left.saturating_sub(1));
        while left == Some(0) {
            thread::park();
        }
    }
    while worker.options.ignores("eof") {
        thread::park();
    }
    // Like a busy SDK server: calls still running in threads die with the process.
    ExitCode::SUCCESS
}

#[expect(
    clippy::disallowed_methods,
    reason = "dying at once is what is asked for"
)]
fn die(code: u64) -> ! {
    std::process::exit(i32::try_from(code).unwrap_or(1))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sleep_ms(ms: u64) {
    thread::sleep(Duration::from_millis(ms));
}

/// `{"content": [{"type": "text", "text": ...}]}`
fn text(text: impl Into<String>) -> Value {
    json!({"content": [{"type": "text", "text": text.into()}]})
}

/// The same with `isError`.
fn tool_error(message: impl Into<String>) -> Value {
    let mut result = text(message);
    result["isError"] = true.into();
    result
}
