//! Directory handles: a snapshot of a listing, and what is not on the server yet.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{Attr, Filesystem, Result, inode::KernelNames, lookup::Intent};
use crate::{
    cache::CachedListing,
    remote::{EntryKind, RemoteEntry},
};

/// What one directory handle shows: the listing at the time of opendir, then files that have no entry yet.
#[derive(Debug)]
pub(crate) struct DirHandle {
    ino: u64,
    listing: Arc<CachedListing>,
    unborn: Vec<Arc<[u8]>>,
    pages: DirPages,
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

/// One entry for the kernel.
#[derive(Debug)]
pub struct DirItem<'a> {
    /// Where reading goes on behind this entry.
    pub next_offset: u64,
    /// The name.
    pub name: &'a [u8],
    /// What it is.
    pub kind: EntryKind,
    /// The inode that it has, or will have when it is looked up.
    pub ino: u64,
}

/// Where directory entries go; the kernel's buffer, or a test's list.
pub trait DirSink {
    /// Takes an entry; false when it did not fit.
    fn add(&mut self, item: &DirItem<'_>) -> bool;

    /// Takes an entry with its attributes; false when it did not fit. The default is for sinks that never ask for them.
    fn add_with_attr(&mut self, item: &DirItem<'_>, attr: &Attr, ttl: Duration) -> bool {
        let _ = (attr, ttl);
        self.add(item)
    }
}

/// `.` and `..` come first.
const DOTS: [&[u8]; 2] = [b".", b".."];

impl Filesystem {
    /// Opens a directory: takes a snapshot of what it holds.
    pub fn opendir(&self, ino: u64) -> Result<u64> {
        let path = self.path(ino)?;
        // Its siblings are listed while it is; what is below it is known only then.
        self.guess_directories(&path);
        let listing = match self.listings.list(&*self.remote, &path) {
            Ok(listing) => listing,
            Err(error) => return Err(self.explain(error, &path, Intent::List)),
        };
        self.guess_directories(&path);
        Ok(self.open_listing(ino, listing))
    }

    /// Opens a directory whose listing is at hand; `None` when the server must be asked.
    pub fn opendir_cached(&self, ino: u64) -> Option<u64> {
        let path = self.inodes.path(ino)?;
        let listing = self.listings.fresh(&path)?;
        self.guess_directories(&path);
        Some(self.open_listing(ino, listing))
    }

    fn open_listing(&self, ino: u64, listing: Arc<CachedListing>) -> u64 {
        let mut unborn = Vec::new();
        for (name, file) in self.inodes.files_in(ino) {
            if listing.find(&name).is_none() && file.lock().needs_upload() {
                unborn.push(name);
            }
        }
        self.handles.add_dir(DirHandle {
            ino,
            pages: self.pages_for(ino, &listing, &unborn),
            listing,
            unborn,
            given_to: AtomicU64::new(0),
        })
    }

    /// Pages hold nothing that can change while the listing does not: names that have no entry yet, names that are hidden.
    fn pages_for(&self, ino: u64, listing: &CachedListing, unborn: &[Arc<[u8]>]) -> DirPages {
        let entries = listing.entries();
        let is_changing =
            !unborn.is_empty() || entries.iter().any(|entry| self.is_temporary(&entry.name));
        let kernel_names = || self.inodes.kernel_names(ino, entries.len());
        let is_useless =
            self.dir_ttl.is_zero() || is_changing || kernel_names() == KernelNames::Bare;
        if is_useless || !self.handles.join_pages(ino, listing.id()) {
            return DirPages::Bypass;
        }
        // A name shown from a page brings no attributes, so one that the kernel does not know costs a look-up of its own.
        // Asked again, for only from here on does nobody fill the pages with another listing.
        if kernel_names() == KernelNames::Of(listing.id()) {
            return DirPages::Keep;
        }
        self.inodes.set_kernel_names(ino, KernelNames::Unknown);
        DirPages::Fill
    }

    /// What the kernel may do with its pages of the names for an open directory.
    pub fn dir_pages(&self, handle: u64) -> DirPages {
        let dir = self.handles.dir(handle);
        dir.map_or(DirPages::Bypass, |dir| dir.pages)
    }

    /// Hands out the entries from `offset` on until the sink is full.
    pub fn readdir(
        &self,
        ino: u64,
        handle: u64,
        offset: u64,
        sink: &mut dyn DirSink,
    ) -> Result<()> {
        let dir = self.handles.dir(handle)?;
        // Behind the last entry the kernel asks once more, in either way.
        if dir.pages == DirPages::Fill && offset < dir.end() {
            self.inodes.set_kernel_names(ino, KernelNames::Bare);
        }
        dir.visit(offset, |next_offset, name, entry| {
            let kind = entry.map_or(EntryKind::File, |entry| entry.kind);
            if DOTS.contains(&name) {
                return sink.add(&DirItem {
                    next_offset,
                    name,
                    kind: EntryKind::Directory,
                    ino,
                });
            }
            if self.is_temporary(name) {
                return true;
            }
            sink.add(&DirItem {
                next_offset,
                name,
                kind,
                // cp -r opens the files in the order of these.
                ino: self.inodes.number(ino, name),
            })
        });
        Ok(())
    }

    /// Hands out the entries with their attributes; each that fitted counts as one look-up.
    pub fn readdirplus(
        &self,
        ino: u64,
        handle: u64,
        offset: u64,
        sink: &mut dyn DirSink,
    ) -> Result<()> {
        let dir = self.handles.dir(handle)?;
        let mut reached = offset;
        let ttl = dir
            .listing
            .expires()
            .saturating_duration_since(self.clock.now());
        // A name that was removed since the snapshot must not come to life again in the kernel's cache.
        let path = self.inodes.path(ino);
        let current = path.and_then(|path| self.listings.last_known(&path));
        let is_current = current
            .as_ref()
            .is_some_and(|now| now.id() == dir.listing.id());
        dir.visit(offset, |next_offset, name, entry| {
            if DOTS.contains(&name) {
                let item = DirItem {
                    next_offset,
                    name,
                    kind: EntryKind::Directory,
                    ino,
                };
                return sink.add_with_attr(
                    &item,
                    &Attr {
                        ino,
                        ..self.root_attr()
                    },
                    Duration::ZERO,
                );
            }
            let still = match (&current, entry) {
                (Some(now), Some(_)) if !is_current => now.find(name).cloned(),
                (_, entry) => entry.cloned(),
            };
            let has_fitted = match still {
                _ if self.is_temporary(name) => true,
                Some(entry) => self.add_entry(ino, next_offset, &entry, ttl, sink),
                None => self.add_unborn(ino, next_offset, name, sink),
            };
            if has_fitted {
                reached = next_offset;
            }
            has_fitted
        });
        if is_current && dir.has_given(offset, reached) {
            self.inodes.set_kernel_names(
                ino,
                match dir.pages {
                    DirPages::Bypass => KernelNames::Unknown,
                    DirPages::Fill | DirPages::Keep => KernelNames::Of(dir.listing.id()),
                },
            );
        }
        Ok(())
    }

    fn add_entry(
        &self,
        dir: u64,
        next_offset: u64,
        entry: &RemoteEntry,
        ttl: Duration,
        sink: &mut dyn DirSink,
    ) -> bool {
        let name = &entry.name;
        let (ino, file) = self.inodes.look_up_with_file(dir, name, entry.kind);
        let (attr, ttl) = match file.and_then(|_| self.getattr_cached(ino)) {
            Some(Ok(seen)) => seen,
            _ => (self.attr(ino, entry), ttl),
        };
        let item = DirItem {
            next_offset,
            name,
            kind: entry.kind,
            ino,
        };
        let has_fitted = sink.add_with_attr(&item, &attr, ttl);
        if !has_fitted {
            self.inodes.forget(ino, 1);
        }
        has_fitted
    }

    fn add_unborn(&self, dir: u64, next_offset: u64, name: &[u8], sink: &mut dyn DirSink) -> bool {
        let Some(Ok(found)) = self.lookup_cached(dir, name) else {
            return true;
        };
        let Some(attr) = found.attr else { return true };
        let item = DirItem {
            next_offset,
            name,
            kind: attr.kind,
            ino: attr.ino,
        };
        let has_fitted = sink.add_with_attr(&item, &attr, found.ttl);
        if !has_fitted {
            self.inodes.forget(attr.ino, 1);
        }
        has_fitted
    }

    /// Closes a directory.
    pub fn releasedir(&self, handle: u64) {
        if let Some(dir) = self.handles.remove_dir(handle)
            && dir.pages != DirPages::Bypass
        {
            self.handles.leave_pages(dir.ino);
        }
    }
}

impl DirHandle {
    /// Takes note that everything from `offset` to `reached` was given with attributes; whether all was, now.
    fn has_given(&self, offset: u64, reached: u64) -> bool {
        let extend = |to| (offset <= to && to < reached).then_some(reached);
        let has_grown = self.given_to.fetch_update(Relaxed, Relaxed, extend).is_ok();
        has_grown && reached >= self.end()
    }

    /// The offset behind the last listed entry.
    fn end(&self) -> u64 {
        (DOTS.len() + self.listing.entries().len()) as u64
    }

    /// Calls `add` with (offset behind it, name, entry unless unborn) until it returns false.
    fn visit(
        &self,
        offset: u64,
        mut add: impl FnMut(u64, &[u8], Option<&Arc<RemoteEntry>>) -> bool,
    ) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let dots = DOTS.iter().map(|name| (*name, None));
        let entries = self.listing.entries();
        // Straight to the place: a large directory is read in many pieces.
        let skipped = start.saturating_sub(DOTS.len()).min(entries.len());
        let listed = entries.get(skipped..).unwrap_or_default();
        let listed = listed.iter().map(|entry| (&*entry.name, Some(entry)));
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
