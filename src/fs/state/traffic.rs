//! How far the uploads of a file have come.

/// For what waits for their end.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// What the running upload has still to send, as far as that is known.
    on_way: u64,
    /// Bytes that were sent or fetched for uploads: changes while one makes progress.
    moved: u64,
}

impl Traffic {
    pub(crate) fn on_way(&self) -> u64 {
        self.on_way
    }

    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// An upload begins, or has ended (0): so much is to be sent.
    pub(super) fn begin(&mut self, bytes: u64) {
        self.on_way = bytes;
    }

    /// So much is to be sent, at least.
    pub(crate) fn expect(&mut self, bytes: u64) {
        self.on_way = self.on_way.max(bytes);
    }

    /// Bytes of an upload have left.
    pub(crate) fn note_sent(&mut self, bytes: u64) {
        self.on_way = self.on_way.saturating_sub(bytes);
        self.note_fetched(bytes);
    }

    /// Bytes that an upload needs have come.
    pub(crate) fn note_fetched(&mut self, bytes: u64) {
        self.moved = self.moved.wrapping_add(bytes);
    }
}
