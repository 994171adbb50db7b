//! `/metrics`: the page and its media type. What is on it is [`crate::observe::metrics`]' matter.

use crate::broker::snapshot::Snapshot;
pub use crate::observe::metrics::CONTENT_TYPE;

/// The body of `/metrics`.
#[must_use]
pub fn page(snapshot: &Snapshot) -> String {
    crate::observe::metrics::text(snapshot)
}
