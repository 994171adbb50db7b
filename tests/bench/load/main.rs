//! Load for the benchmarks: many keep-alive clients on one thread, light enough to share two
//! cores with what it measures. It checks every answer (right id, right text) and prints one line
//! of JSON. See `tests/bench/run`.
//!
//! ```text
//! load modern|legacy|raw ADDR:PORT PATH CLIENTS SECONDS WARMUP   calls
//! load stdio PROGRAM SECONDS                                     calls over pipes, no daemon
//! load sessions|streams ADDR:PORT PATH COUNT                     idle sessions, until stdin ends
//! load plan FILE                                                 groups of clients, see plan.rs
//! ```

mod calls;
mod http;
mod idle;
mod plan;
mod script;
mod stdio;
mod tally;

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use script::Script;

const USAGE: &str = "usage: load modern|legacy|raw ADDR:PORT PATH CLIENTS SECONDS WARMUP, \
                     load stdio PROGRAM SECONDS, load sessions|streams ADDR:PORT PATH COUNT, \
                     or load plan FILE";

/// What can go wrong in here: anything, and all of it ends the run.
pub(crate) type Failure = Box<dyn Error>;

fn seconds(text: &str) -> Result<Duration, Failure> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let line = match args.as_slice() {
        ["stdio", program, span] => stdio::run(program, seconds(span)?)?,
        ["plan", file] => {
            let plan = serde_json::from_slice(&std::fs::read(file)?)?;
            runtime.block_on(plan::run(&plan))?
        }
        [mode @ ("sessions" | "streams"), address, path, count] => {
            let held = idle::open(address, path, count.parse()?, *mode == "streams");
            return runtime.block_on(async {
                let held = held.await?;
                say("ready")?;
                idle::until_stdin_ends()?;
                drop(held);
                Ok(())
            });
        }
        [mode, address, path, clients, span, warmup] => {
            let script = match *mode {
                "modern" => Script::Modern,
                "legacy" => Script::Legacy,
                "raw" => Script::Raw,
                _ => return Err(USAGE.into()),
            };
            let plan = calls::Plan {
                script,
                address: (*address).to_owned(),
                path: (*path).to_owned(),
                clients: clients.parse()?,
                span: seconds(span)?,
                warmup: seconds(warmup)?,
            };
            runtime.block_on(calls::run(plan))?
        }
        _ => return Err(USAGE.into()),
    };
    say(&line)
}

fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
