//! Where the reads of one open handle have got to.

use std::sync::atomic::{AtomicU64, Ordering};

use super::under_way::Front;

/// Where a handle's reads have got to.
#[derive(Debug)]
pub struct Cursor {
    front: Front,
    /// The stream that was read last.
    stream: AtomicU64,
    id: u64,
}

impl Cursor {
    /// A handle that has read nothing yet; the read engine numbers it.
    pub(super) fn numbered(id: u64) -> Self {
        Self {
            front: Front::default(),
            stream: AtomicU64::new(0),
            id,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The stream that it read last.
    pub(super) fn stream(&self) -> u64 {
        self.stream.load(Ordering::Relaxed)
    }

    pub(super) fn set_stream(&self, id: u64) {
        self.stream.store(id, Ordering::Relaxed);
    }

    pub(super) fn place(&self) -> (u64, &Front) {
        (self.id, &self.front)
    }
}
