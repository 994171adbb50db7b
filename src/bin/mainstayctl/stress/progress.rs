//! How a run is going, on stderr: one line that is written again on a terminal, one every 10 s
//! elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay::config::format_span;
use tokio::time::sleep;

use super::report::span;
use super::tally::{Figures, Tally};

const ON_A_TERMINAL: Duration = Duration::from_millis(500);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Tells until it is aborted.
pub(crate) async fn tell(tally: Arc<Tally>, lasts: Duration) {
    let terminal = io::stderr().is_terminal();
    let step = if terminal { ON_A_TERMINAL } else { ELSEWHERE };
    let begun = Instant::now();
    let mut before = 0;
    loop {
        sleep(step).await;
        let (line, calls) = {
            let figures = tally.figures();
            let done = figures.calls - before;
            (
                line(&figures, begun.elapsed(), lasts, done, step),
                figures.calls,
            )
        };
        before = calls;
        // Nobody to tell it to is no reason to stop.
        let _ = if terminal {
            write!(io::stderr(), "\r\x1b[K{line}")
        } else {
            writeln!(io::stderr(), "{line}")
        };
    }
}

/// Takes the line away before the report.
pub(crate) fn clear() {
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
fn line(
    figures: &Figures,
    elapsed: Duration,
    lasts: Duration,
    done: u64,
    step: Duration,
) -> String {
    let time = |percent| {
        figures
            .latency
            .percentile(percent)
            .map_or("-".to_owned(), span)
    };
    format!(
        "{} of {}  {:.0} calls/s  p50 {}  p99 {}  {} failed of {}  {} kills",
        format_span(Duration::from_secs(elapsed.as_secs())),
        format_span(lasts),
        done as f64 / step.as_secs_f64(),
        time(50),
        time(99),
        figures.calls - figures.good,
        figures.calls,
        figures.kills,
    )
}
