//! How large files may become.
//!
//! A file goes up with zeros in its holes, so one byte at a huge offset would fill the server. What a program writes in order is not in
//! question: it takes as long as it takes, and the server says when it is full.

use std::sync::Arc;

use crate::{
    fs::{
        file::OpenFile,
        inode::Inodes,
        server::{Server, Space},
        state::FileState,
    },
    remote::RemotePath,
};

/// Larger holes are compared with the free space that the server reports. 1 GiB: the holes that database and virtual disk files begin
/// with are smaller, and any server has taken as many zeros in a minute or two.
const HOLES_BYTES_MAX: u64 = 1 << 30;

/// How a file would grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// As files do.
    Ordinary,
    /// With more holes than are let through unasked.
    Holes,
    /// Beyond the limit.
    Beyond,
}

/// See the module.
#[derive(Debug)]
pub(super) struct GrowthLimit {
    server: Arc<Server>,
    inodes: Arc<Inodes>,
    bytes_max: u64,
}

impl GrowthLimit {
    /// No file may grow beyond `bytes_max`.
    pub(super) fn new(server: Arc<Server>, inodes: Arc<Inodes>, bytes_max: u64) -> Self {
        Self {
            server,
            inodes,
            bytes_max,
        }
    }

    /// How a file would grow that is made to end at `end`, with bytes of its own from `start` on.
    pub(super) fn of(&self, state: &FileState, start: u64, end: u64) -> Growth {
        let size = state.size();
        let holes = || state.changes().hole_bytes() + start.saturating_sub(size);
        match end {
            _ if end <= size => Growth::Ordinary,
            _ if end > self.bytes_max => Growth::Beyond,
            _ if holes() <= HOLES_BYTES_MAX => Growth::Ordinary,
            _ => Growth::Holes,
        }
    }

    /// Whether a file may grow like that; `None` when the server must be asked first.
    pub(super) fn allows_cached(&self, file: &OpenFile, growth: Growth, end: u64) -> Option<bool> {
        match (growth, self.dir(file)) {
            (Growth::Ordinary, _) => Some(true),
            (Growth::Beyond, _) => {
                self.refuse(file, end, "--max-file-size is", self.bytes_max);
                Some(false)
            }
            // Nothing of it goes up.
            (Growth::Holes, None) => Some(true),
            (Growth::Holes, Some(dir)) => {
                let space = self.server.room().recent(&dir)?;
                Some(self.has_room(file, end, space))
            }
        }
    }

    /// The same; asks.
    pub(super) fn allows(&self, file: &OpenFile, growth: Growth, end: u64) -> bool {
        if growth == Growth::Holes {
            self.ask(file);
        }
        self.allows_cached(file, growth, end).unwrap_or(true)
    }

    /// Asks the server what is free where a file lies.
    pub(super) fn ask(&self, file: &OpenFile) {
        if let Some(dir) = self.dir(file) {
            self.server.room().ask(&dir);
        }
    }

    fn has_room(&self, file: &OpenFile, end: u64, space: Space) -> bool {
        let Space::Free(free) = space else {
            return true;
        };
        let old = file.lock().on_server().len();
        let fits = end <= old.saturating_add(free);
        if !fits {
            self.refuse(file, end, "the bytes that the server has free are", free);
        }
        fits
    }

    fn dir(&self, file: &OpenFile) -> Option<RemotePath> {
        self.inodes.path(file.ino)?.parent()
    }

    fn refuse(&self, file: &OpenFile, end: u64, what: &str, limit: u64) {
        let name = Inodes::describe_path(self.inodes.path(file.ino).as_ref());
        log::warn!("{name} does not grow to {end} bytes: {what} {limit}");
    }
}
