//! A change that timed out and may still be carried out: whether the server can have done with it is found out later.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Says whether the server has done with all that was sent on a connection, or will never do it. Asks nobody and never waits.
type IsOver = Box<dyn FnMut() -> bool + Send>;

/// What was sent on a connection that is given up, whose end was not seen.
#[derive(Clone)]
pub struct Late(Arc<Mutex<IsOver>>);

impl Late {
    /// Over once `is_over` says so.
    pub fn new(is_over: impl FnMut() -> bool + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(is_over))))
    }

    /// Whether nothing of it can happen any more.
    pub fn is_over(&self) -> bool {
        let mut is_over = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        is_over()
    }

    /// Whether both are about the same connection and what was sent on it.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Late")
    }
}
