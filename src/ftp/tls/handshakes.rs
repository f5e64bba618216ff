//! What the handshakes of data connections came to: the doctor shows how many have resumed a session.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many there were of each kind.
#[derive(Debug, Default)]
pub(in crate::ftp) struct Handshakes {
    resumed: AtomicUsize,
    full: AtomicUsize,
}

impl Handshakes {
    /// One more.
    pub(super) fn note(&self, is_resumed: bool) {
        let counter = if is_resumed {
            &self.resumed
        } else {
            &self.full
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// How many have resumed a session, and how many have not.
    pub(super) fn counts(&self) -> (usize, usize) {
        let [resumed, full] = [&self.resumed, &self.full];
        (
            resumed.load(Ordering::Relaxed),
            full.load(Ordering::Relaxed),
        )
    }
}
