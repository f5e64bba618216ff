//! One client of the server: a mount, whose connections end with it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::MemoryRemote;
use crate::budget::Budget;

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    is_gone: AtomicBool,
    calls: AtomicUsize,
    /// Its memory for listings.
    pub(super) budget: Arc<Budget>,
}

/// A call that is under way.
pub(super) struct UnderWay<'a>(&'a Client);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Client {
    /// One with so much memory for listings.
    pub(super) fn new(listing_bytes_max: usize) -> Self {
        Self {
            is_gone: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            budget: Budget::new(listing_bytes_max),
        }
    }

    /// A call begins; `None` when the client is gone.
    pub(super) fn begin(&self) -> Option<UnderWay<'_>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let call = UnderWay(self);
        (!self.is_gone()).then_some(call)
    }

    /// Whether nothing of it reaches the server any more.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }
}

impl MemoryRemote {
    /// The same server for another client, which can be [cut off](Self::cut_off) by itself.
    #[must_use]
    pub fn connect(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            client: Arc::new(Client::new(self.client.budget.bytes_max())),
        }
    }

    /// The client is gone: all that it and its clones ask from now on fails, and the server does nothing of it.
    pub fn cut_off(&self) {
        self.client.is_gone.store(true, Ordering::SeqCst);
    }

    /// Waits until no call of this client is under way on another thread.
    pub fn await_calls(&self) {
        while self.client.calls.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
    }
}
