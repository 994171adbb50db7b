//! A value that is read by many and replaced now and then, as settings are by a reload. Whoever
//! reads it keeps what he got, however old it becomes. It knows nothing of what it holds.

use std::sync::{Arc, PoisonError, RwLock};

/// The value as it is now.
#[derive(Debug)]
pub struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    /// Begins with this one.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// The value. A read lock for as long as it takes to count a reference.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another one in its place; the old one is given back, dropped outside of the lock.
    pub fn set(&self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        std::mem::replace(
            &mut *self.0.write().unwrap_or_else(PoisonError::into_inner),
            value,
        )
    }
}
