//! When bytes last moved on any session: whoever waits for a session waits for as long as they do.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::ftp::deadline::Deadline;

/// The instant of the last progress, cheap to note for every piece of every transfer.
#[derive(Debug)]
pub(super) struct Progress {
    start: Instant,
    /// Milliseconds after `start`.
    last: AtomicU64,
}

impl Progress {
    /// No progress yet.
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// Bytes have moved.
    pub(super) fn note(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    /// `deadline`, or `timeout` after the last progress if that is later.
    pub(super) fn extend(&self, deadline: Deadline, timeout: Duration) -> Deadline {
        let last = self.start + Duration::from_millis(self.last.load(Ordering::Relaxed));
        deadline.or_later(last + timeout)
    }
}
