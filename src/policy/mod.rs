//! Pure decisions: when to restart, how many workers to keep, why a call is refused. Time and
//! randomness come in as arguments, effects go out as values; nothing here does I/O or owns a
//! clock, so every rule can be tested by a table.

pub mod backoff;
pub mod breaker;
pub mod bucket;
pub mod buckets;
pub mod bulkhead;
pub mod class;
pub mod codel;
pub mod concurrency;
pub mod fair_queue;
pub mod leak;
pub mod limiter;
pub mod liveness;
pub mod memory;
pub mod outcome;
pub mod permit;
pub mod pool;
pub mod quarantine;
pub mod refusal;
pub mod restart;
pub mod retry;
mod slab;
pub mod stop_rule;
pub mod strain;
mod sync;
pub mod window;
