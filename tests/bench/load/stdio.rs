//! The same call over pipes, straight to the worker: what no daemon can be faster than.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Failure;
use super::script::{Call, Script, message};
use super::tally::Tally;

/// Calls `program` for `span` and returns the line to print.
pub(crate) fn run(program: &str, span: Duration) -> Result<String, Failure> {
    let mut worker = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = worker.stdin.take().ok_or("no stdin")?;
    let mut output = worker.stdout.take().ok_or("no stdout")?;
    let mut call = Call::new("", &(message(Script::Modern, 0) + "\n"), 0, true);
    let mut buffer = vec![0; 64 * 1024];
    let mut tally = Tally::default();
    let begin = Instant::now();
    while begin.elapsed() < span {
        let start = Instant::now();
        input.write_all(&call.request)?;
        let mut filled = 0;
        while !buffer.get(..filled).is_some_and(|b| b.ends_with(b"\n")) {
            let read = output.read(buffer.get_mut(filled..).unwrap_or_default())?;
            if read == 0 {
                return Err("the worker ended, or its answer has no end".into());
            }
            filled += read;
        }
        tally.took(start.elapsed());
        tally.all += 1;
        let answer = buffer.get(..filled).unwrap_or_default();
        if !call.is_answered_by(200, answer) {
            tally.wrong(200, answer);
        }
        call.next();
    }
    let line = tally.json(begin.elapsed());
    drop(input);
    worker.wait()?;
    Ok(line)
}
