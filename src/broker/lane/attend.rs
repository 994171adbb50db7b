//! A net under the events of a lane: free places are given to whoever waits, should the event that
//! does so have been missed, and it is seen whether the queue is looked after at all.

use std::sync::Arc;
use std::time::Duration;

use super::Lane;

/// How long the end of a wait may be late.
const GRACE: Duration = Duration::from_secs(5);

impl Lane {
    /// Serves who waits; whether nobody has waited for longer than anybody may. Who waits leaves the
    /// queue by himself when his time is over, so that somebody is still there then is a fault.
    #[must_use]
    pub fn attend(self: &Arc<Self>) -> bool {
        // Only where there is a place: without one nothing leaves the queue, and that is when it is
        // judged for how long its callers wait. An outage is not theirs to pay for.
        let has_place = self.places().has_place(self.concurrency());
        if has_place {
            self.serve_waiters();
        }
        let limit = *self.longest.get() + GRACE;
        self.view().longest_wait.is_none_or(|wait| wait <= limit)
    }

    /// Keeps everybody from its places for so long: a fault on purpose. Blocks the thread.
    #[cfg(feature = "fault")]
    pub fn freeze(&self, time: Duration) {
        let _places = self.places();
        std::thread::sleep(time);
    }
}
