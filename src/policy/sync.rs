//! The lock that handles of policies share, in one place: the model test of `permit` puts a
//! scheduler's own types here.

pub(super) use std::sync::{Arc, Mutex};
