//! What the daemon says about itself: events in the log, the status line, the metrics page. It
//! reads [`crate::broker::snapshot`], which is plain data, and knows nothing else of the crate:
//! not who counts, not how a page travels.

mod backlog;
pub mod causes;
pub mod durations;
pub mod escape;
pub mod event;
mod fields;
mod guard_metrics;
mod identity;
pub mod journald;
pub mod kind;
mod line;
pub mod logger;
pub mod metrics;
pub mod pulse;
mod sentence;
pub mod status;
