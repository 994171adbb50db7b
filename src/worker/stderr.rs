//! A worker's stderr: always drained, because a full pipe hangs the worker; cut into bounded lines;
//! logged at a bounded rate; the last lines kept for failure reports. It judges no line: what a
//! worker writes to stderr says nothing about its health. A line may begin with its own priority as
//! `<N>` (sd-daemon(3)), as programs written for systemd do; the others are informational.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::observe::logger::WORKER;
use log::Level;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

/// Longest logged line in bytes; the rest of a longer one is read and thrown away.
const LINE_BYTES: usize = 4096;
/// Longest kept line in characters: failure reports travel to clients.
const KEPT_CHARACTERS: usize = 512;
/// Lines kept for failure reports.
const KEPT_LINES: usize = 20;
/// Lines logged a second in the long run: two a call is usual, a traceback is about fifty.
const LINES_PER_SECOND: u32 = 200;
/// Lines logged at once before the rate counts.
const LINES_BURST: u32 = 1000;
/// Priority of a line that does not say its own, see syslog(3).
const INFORMATIONAL: u8 = 6;

/// The last lines a worker wrote to stderr; clones show the same lines, also after the worker's end.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Tail {
    /// At most the last 20 lines, oldest first, each at most 512 characters of printable text.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    pub(super) fn push(&self, line: &str) {
        let kept = line.chars().take(KEPT_CHARACTERS).collect();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(kept);
    }
}

/// Reads `stderr` until its end in a task of its own and logs its lines under the names of the
/// server and the worker. The task ends when every process that inherited the pipe is gone; after a
/// worker's death wait for it only a short while, then abort it: a grandchild may live on.
pub fn drain(
    stderr: impl AsyncRead + Send + Unpin + 'static,
    server: Arc<str>,
    worker: u64,
) -> (Tail, JoinHandle<()>) {
    let tail = Tail::default();
    let task = tokio::spawn(run(
        stderr,
        tail.clone(),
        Instant::now,
        move |priority, line: &str| {
            log::log!(
                target: WORKER, level(priority), server = &*server, worker = worker,
                priority = priority, line = line; "{server} worker {worker}: {line}"
            );
        },
    ));
    (tail, task)
}

async fn run(
    mut stderr: impl AsyncRead + Unpin,
    tail: Tail,
    clock: impl Fn() -> Instant,
    log: impl Fn(u8, &str),
) {
    let mut buffer = [0; 2048];
    let mut cutter = LineCutter::default();
    let mut gate = Gate::new(clock());
    let mut report = |line: &str, now| {
        let (priority, line) = split_priority(line);
        tail.push(line);
        match gate.admit(now) {
            Verdict::Suppress => {}
            Verdict::Log { suppressed: 0 } => log(priority, line),
            Verdict::Log { suppressed } => {
                log(INFORMATIONAL, &suppressed_lines(suppressed));
                log(priority, line);
            }
        }
    };
    loop {
        match stderr.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                let now = clock();
                let read = buffer.get(..length).unwrap_or_default();
                cutter.feed(read, |line| report(line, now));
            }
        }
    }
    cutter.finish(|line| report(line, clock()));
    if gate.suppressed > 0 {
        log(INFORMATIONAL, &suppressed_lines(gate.suppressed));
    }
}

fn suppressed_lines(count: u64) -> String {
    format!("({count} lines suppressed)")
}

/// The priority that a line begins with, and the line without it. 0 becomes 1: journald writes 0 on
/// every terminal of the machine, which is not a worker's to decide.
fn split_priority(line: &str) -> (u8, &str) {
    match line.as_bytes() {
        [b'<', digit @ b'0'..=b'7', b'>', _, ..] => {
            let rest = line.get(3..).unwrap_or_default().trim_start();
            ((digit - b'0').max(1), rest)
        }
        _ => (INFORMATIONAL, line),
    }
}

/// What the filter of the log knows a priority as.
fn level(priority: u8) -> Level {
    match priority {
        0..=3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        _ => Level::Debug,
    }
}

/// Bytes in, printable lines out; holds at most [`LINE_BYTES`].
#[derive(Default)]
struct LineCutter {
    line: Vec<u8>,
    cut: bool,
}

impl LineCutter {
    fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            self.append(line);
            self.emit(&mut each);
            rest = after.get(1..).unwrap_or_default();
        }
        self.append(rest);
    }

    fn finish(&mut self, mut each: impl FnMut(&str)) {
        self.emit(&mut each);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES - self.line.len();
        self.cut |= bytes.len() > room;
        self.line
            .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn emit(&mut self, each: &mut impl FnMut(&str)) {
        let mut line = printable(&self.line);
        if self.cut {
            line.push_str(" (cut)");
        }
        self.line.clear();
        self.cut = false;
        if !line.trim().is_empty() {
            each(line.trim_end());
        }
    }
}

/// The line as text a terminal or a log can show: invalid UTF-8 replaced, tabs as spaces, terminal
/// colours and other control characters left out.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\t' => out.push(' '),
            // ESC [ parameters final: a colour or a cursor movement.
            '\u{1b}' if characters.next_if_eq(&'[').is_some() => {
                while characters
                    .next_if(|next| matches!(next, '\u{20}'..='\u{3f}'))
                    .is_some()
                {}
                characters.next_if(|next| matches!(next, '\u{40}'..='\u{7e}'));
            }
            _ if character.is_control() => {}
            _ => out.push(character),
        }
    }
    out
}

/// How many lines may be logged now: a bucket of [`LINES_BURST`], refilled by [`LINES_PER_SECOND`].
struct Gate {
    lines: u32,
    refilled: Instant,
    suppressed: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Log { suppressed: u64 },
    Suppress,
}

impl Gate {
    fn new(now: Instant) -> Self {
        Self {
            lines: LINES_BURST,
            refilled: now,
            suppressed: 0,
        }
    }

    fn admit(&mut self, now: Instant) -> Verdict {
        let each = Duration::from_secs(1) / LINES_PER_SECOND;
        let earned = now.saturating_duration_since(self.refilled).as_nanos() / each.as_nanos();
        if earned > 0 {
            let earned = u32::try_from(earned)
                .unwrap_or(LINES_BURST)
                .min(LINES_BURST);
            self.lines = self.lines.saturating_add(earned).min(LINES_BURST);
            self.refilled = if self.lines == LINES_BURST {
                now
            } else {
                self.refilled + each * earned
            };
        }
        if self.lines == 0 {
            self.suppressed += 1;
            return Verdict::Suppress;
        }
        self.lines -= 1;
        Verdict::Log {
            suppressed: std::mem::take(&mut self.suppressed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    async fn logged(input: &[u8]) -> (Vec<String>, Vec<String>) {
        let (lines, tail) = ranked(input).await;
        (lines.into_iter().map(|(_, line)| line).collect(), tail)
    }

    async fn ranked(input: &[u8]) -> (Vec<(u8, String)>, Vec<String>) {
        let tail = Tail::default();
        let lines = RefCell::new(Vec::new());
        let start = Instant::now();
        run(
            input,
            tail.clone(),
            || start,
            |priority, line| lines.borrow_mut().push((priority, line.to_owned())),
        )
        .await;
        (lines.into_inner(), tail.lines())
    }

    #[tokio::test]
    async fn lines_come_out_clean() {
        let (lines, tail) = logged(b"plain\r\n\x1b[1;31mred\x1b[0m\n\n\xff\ttab\x07\nlast").await;
        assert_eq!(lines, ["plain", "red", "\u{fffd} tab", "last"]);
        assert_eq!(tail, lines);
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_the_next_one_whole() {
        let mut input = vec![b'x'; 3 * LINE_BYTES];
        input.extend_from_slice(b"\nnext\n");
        let (lines, tail) = logged(&input).await;
        assert_eq!(lines[0], format!("{} (cut)", "x".repeat(LINE_BYTES)));
        assert_eq!(lines[1..], ["next"]);
        assert_eq!(tail[0].len(), KEPT_CHARACTERS);
    }

    #[tokio::test]
    async fn a_line_may_say_its_priority_but_not_shout_at_the_whole_machine() {
        let (lines, tail) = ranked(b"<3>bad\n<7> fine\n<0>all\n<8>x\n<3>\n <3>y\nz<3>\n").await;
        let wanted = [
            (3, "bad"),
            (7, "fine"),
            (1, "all"),
            (6, "<8>x"),
            (6, "<3>"),
            (6, " <3>y"),
            (6, "z<3>"),
        ];
        assert_eq!(lines, wanted.map(|(n, line)| (n, line.to_owned())));
        assert_eq!(tail[0], "bad");
        assert_eq!(
            [3, 4, 5, 7].map(level),
            [Level::Error, Level::Warn, Level::Info, Level::Debug]
        );
    }

    #[test]
    fn no_line_holds_more_than_its_bound() {
        let mut cutter = LineCutter::default();
        for _ in 0..1000 {
            cutter.feed(&[b'x'; 1000], |_| panic!("no line has ended"));
            assert!(cutter.line.len() <= LINE_BYTES);
        }
    }

    #[tokio::test]
    async fn a_flood_is_counted_and_its_end_kept() {
        let input: String = (0..3000).map(|number| format!("{number}\n")).collect();
        let (lines, tail) = logged(input.as_bytes()).await;
        assert_eq!(lines.len(), 1001);
        assert_eq!(lines[1000], "(2000 lines suppressed)");
        assert_eq!(tail.len(), KEPT_LINES);
        assert_eq!(tail[19], "2999");
    }

    #[test]
    fn the_gate_refills_at_its_rate_and_never_above_its_burst() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let mut admitted = |now| {
            (0..5000)
                .filter(|_| gate.admit(now) != Verdict::Suppress)
                .count()
        };
        assert_eq!(admitted(start), 1000);
        assert_eq!(admitted(start + Duration::from_millis(500)), 100);
        assert_eq!(admitted(start + Duration::from_secs(3600)), 1000);
    }

    #[test]
    fn the_count_of_suppressed_lines_is_told_once() {
        let start = Instant::now();
        let mut gate = Gate {
            lines: 0,
            refilled: start,
            suppressed: 0,
        };
        assert_eq!(gate.admit(start), Verdict::Suppress);
        let later = start + Duration::from_secs(1);
        assert_eq!(gate.admit(later), Verdict::Log { suppressed: 1 });
        assert_eq!(gate.admit(later), Verdict::Log { suppressed: 0 });
    }
}
