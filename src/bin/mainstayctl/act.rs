//! The commands that change something. Each says in one sentence what is so now, and how to take it
//! back.

use crate::args::{BreakerAction, QuarantineAction, WorkerAction};
use crate::outcome::{Outcome, print};
use crate::reach::client;
use crate::target::Target;
use mainstay::broker::control::BreakerMode;
use mainstay::config::format_span;
use mainstay::fault::Part;
use std::path::PathBuf;
use std::time::Duration;

/// `breaker open`, `close`, `shadow` and `auto`.
pub(crate) fn breaker(socket: Option<PathBuf>, action: &BreakerAction) -> Outcome {
    let (mode, target, lasts, reason) = match action {
        BreakerAction::Open(forced) => forced.parts(BreakerMode::Open),
        BreakerAction::Close(forced) => forced.parts(BreakerMode::Closed),
        BreakerAction::Shadow(forced) => forced.parts(BreakerMode::Shadow),
        BreakerAction::Auto { target, reason, .. } => {
            (BreakerMode::Auto, target, None, reason.as_deref())
        }
    };
    let tool = target.tool.as_deref();
    let author = client(socket)?.set_breaker(&target.server, tool, mode, lasts, reason)?;
    print(&breaker_set(target, mode, lasts, &author))
}

fn breaker_set(
    target: &Target,
    mode: BreakerMode,
    lasts: Option<Duration>,
    author: &str,
) -> String {
    let what = match mode {
        BreakerMode::Open => "forced open: every call is refused with breaker_open",
        BreakerMode::Closed => "forced closed: every call is let through",
        BreakerMode::Shadow => "in shadow: it decides and reports, every call is let through",
        BreakerMode::Auto => {
            return format!("the breaker of {target} decides by itself (set by {author})\n");
        }
    };
    let ends = match lasts {
        Some(time) => format!("for {}, then it decides by itself", format_span(time)),
        None => format!("until somebody runs `mainstayctl breaker auto {target}`"),
    };
    format!("the breaker of {target} is {what}\nset by {author}, {ends}\n")
}

/// `worker recycle`.
pub(crate) fn worker(socket: Option<PathBuf>, action: &WorkerAction) -> Outcome {
    let WorkerAction::Recycle { id } = action;
    let server = client(socket)?.recycle(*id)?;
    print(&format!(
        "worker {id} of {server} is being replaced: its successor starts first, then it ends once \
         its calls are done\n"
    ))
}

/// `drain`.
pub(crate) fn drain(socket: Option<PathBuf>, server: &str, undo: bool) -> Outcome {
    let in_flight = client(socket)?.drain(server, !undo)?;
    print(&if undo {
        format!("{server} takes calls again\n")
    } else {
        format!(
            "{server} takes no new calls; {} in flight and may finish; take it back with \
             `mainstayctl drain {server} --undo`\n",
            plural(in_flight, "call is", "calls are")
        )
    })
}

/// `fault`.
pub(crate) fn fault(socket: Option<PathBuf>, part: Part, lasts: Duration) -> Outcome {
    client(socket)?.fault(part, lasts)?;
    print(&format!(
        "{part:?} stands still for {}\n",
        format_span(lasts)
    ))
}

/// `quarantine clear`.
pub(crate) fn quarantine(socket: Option<PathBuf>, action: &QuarantineAction) -> Outcome {
    let QuarantineAction::Clear { server, digest } = action;
    let cleared = client(socket)?.clear_quarantine(server, digest.as_deref())?;
    print(&if cleared == 0 {
        format!("{server} has no call in quarantine\n")
    } else {
        format!(
            "{} of {server} may be sent to workers again\n",
            plural(cleared, "quarantined call", "quarantined calls")
        )
    })
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
