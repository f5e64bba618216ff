//! A change that timed out and may still be carried out: whether the server can have done with it is found out later.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Says whether the server has done with all that was sent on a connection, or will never do it. Asks nobody and never waits.
type IsOver = Box<dyn FnMut() -> bool + Send>;

/// What was sent on a connection that is given up, whose end was not seen. Taken by the one who watches it.
#[derive(Clone)]
pub struct Late(Arc<Mutex<Option<IsOver>>>);

/// The watch over it.
pub struct Watch(IsOver);

impl Late {
    /// Over once `is_over` says so.
    pub fn new(is_over: impl FnMut() -> bool + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(is_over)))))
    }

    /// The watch, for the first who asks.
    pub fn take(&self) -> Option<Watch> {
        let mut watch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watch.take().map(Watch)
    }
}

impl Watch {
    /// Whether nothing of it can happen any more.
    pub fn is_over(&mut self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Late")
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
