//! An open directory: a snapshot of its listing, and what is not on the server yet.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::number::Ino;
use crate::{cache::CachedListing, remote::EntryRef};

/// What one directory handle shows: the listing at the time of opendir, then files that have no entry yet.
#[derive(Debug)]
pub(crate) struct DirHandle {
    pub(crate) ino: Ino,
    pub(crate) listing: Arc<CachedListing>,
    /// Names that are not on the server yet.
    unborn: Vec<Arc<[u8]>>,
    pub(crate) pages: DirPages,
    /// Up to which offset the kernel was given everything with attributes.
    given_to: AtomicU64,
}

/// What the kernel may do with its pages of a directory's names for one handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirPages {
    /// Neither show what is in them nor fill them.
    Bypass,
    /// Drop what is in them; fill them with what it is given.
    Fill,
    /// Show what is in them.
    Keep,
}

/// `.` and `..` come first.
pub(crate) const DOTS: [&[u8]; 2] = [b".", b".."];

impl DirHandle {
    /// Of the directory `ino` with this listing.
    pub(crate) fn new(
        ino: Ino,
        listing: Arc<CachedListing>,
        unborn: Vec<Arc<[u8]>>,
        pages: DirPages,
    ) -> Self {
        Self {
            ino,
            listing,
            unborn,
            pages,
            given_to: AtomicU64::new(0),
        }
    }

    /// Takes note that everything from `offset` to `reached` was given with attributes; whether all was, now.
    pub(crate) fn has_given(&self, offset: u64, reached: u64) -> bool {
        let extend = |to| (offset <= to && to < reached).then_some(reached);
        let has_grown = self.given_to.fetch_update(Relaxed, Relaxed, extend).is_ok();
        has_grown && reached >= self.end()
    }

    /// The offset after the last listed entry.
    pub(crate) fn end(&self) -> u64 {
        (DOTS.len() + self.listing.entries().len()) as u64
    }

    /// Calls `add` with (offset after it, name, entry unless unborn) until it returns false.
    pub(crate) fn visit(
        &self,
        offset: u64,
        mut add: impl FnMut(u64, &[u8], Option<EntryRef<'_>>) -> bool,
    ) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let dots = DOTS.iter().map(|name| (*name, None));
        let entries = self.listing.entries();
        // Straight to the place: a large directory is read in many pieces.
        let skipped = start.saturating_sub(DOTS.len()).min(entries.len());
        let listed = entries.iter_from(skipped);
        let listed = listed.map(|entry| (entry.name, Some(entry)));
        let unborn_start = start.saturating_sub(DOTS.len() + entries.len());
        let unborn = self
            .unborn
            .iter()
            .skip(unborn_start)
            .map(|name| (&**name, None));
        let all = dots.skip(start).chain(listed).chain(unborn);
        for (index, (name, entry)) in all.enumerate() {
            if !add((start + index + 1) as u64, name, entry) {
                return;
            }
        }
    }
}
