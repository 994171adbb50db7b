//! The private directory of one worker.
