//! Opening and reading directories.

use std::{sync::Arc, time::Duration};

use super::{Filesystem, attr::Attr};
use crate::{
    cache::CachedListing,
    fs::{
        dir_handle::{DOTS, DirHandle, DirPages},
        error::{FsError, FsErrorKind, Result},
        inode::KernelNames,
        number::{HandleId, Ino},
        server::Intent,
    },
    remote::{EntryKind, EntryRef},
};

/// One entry for the kernel.
#[derive(Debug)]
pub struct DirItem<'a> {
    /// Where reading goes on after this entry.
    pub next_offset: u64,
    /// The name.
    pub name: &'a [u8],
    /// What it is.
    pub kind: EntryKind,
    /// The inode that it has, or will have when it is looked up.
    pub ino: Ino,
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

/// Takes note of whether anything fitted: a reply without an entry is the end of the directory to the kernel.
struct Watched<'a> {
    sink: &'a mut dyn DirSink,
    has_added: bool,
    is_full: bool,
}

impl<'a> Watched<'a> {
    fn new(sink: &'a mut dyn DirSink) -> Self {
        Self {
            sink,
            has_added: false,
            is_full: false,
        }
    }

    fn note(&mut self, has_fitted: bool) -> bool {
        self.has_added |= has_fitted;
        self.is_full |= !has_fitted;
        has_fitted
    }

    /// Fails when there is an entry and the buffer is too small for it, as getdents(2) does.
    fn check(&self) -> Result<()> {
        if self.is_full && !self.has_added {
            return Err(FsError::about(FsErrorKind::Invalid, None));
        }
        Ok(())
    }
}

impl DirSink for Watched<'_> {
    fn add(&mut self, item: &DirItem<'_>) -> bool {
        let has_fitted = self.sink.add(item);
        self.note(has_fitted)
    }

    fn add_with_attr(&mut self, item: &DirItem<'_>, attr: &Attr, ttl: Duration) -> bool {
        let has_fitted = self.sink.add_with_attr(item, attr, ttl);
        self.note(has_fitted)
    }
}

impl Filesystem {
    /// Opens a directory: takes a snapshot of what it holds.
    pub fn opendir(&self, ino: Ino) -> Result<HandleId> {
        let path = self.inodes.path_of(ino)?;
        // Its siblings are listed while it is; what is below it is known only then.
        self.guesses.opened_dir(&path);
        let listing = match self.server.tree().list(&path) {
            Ok(listing) => listing,
            Err(error) => return Err(self.server.explain(error, &path, Intent::List)),
        };
        self.guesses.opened_dir(&path);
        Ok(open_listing(self, ino, listing))
    }

    /// Opens a directory whose listing is at hand; `None` when the server must be asked.
    pub fn opendir_cached(&self, ino: Ino) -> Option<HandleId> {
        let path = self.inodes.path(ino)?;
        let listing = self.server.tree().listings().fresh(&path)?;
        self.guesses.opened_dir(&path);
        Some(open_listing(self, ino, listing))
    }

    /// What the kernel may do with its pages of the names for an open directory.
    pub fn dir_pages(&self, handle: HandleId) -> DirPages {
        let dir = self.handles.dir(handle);
        dir.map_or(DirPages::Bypass, |dir| dir.pages)
    }

    /// Hands out the entries from `offset` on until the sink is full.
    pub fn readdir(
        &self,
        ino: Ino,
        handle: HandleId,
        offset: u64,
        sink: &mut dyn DirSink,
    ) -> Result<()> {
        let dir = self.handles.dir(handle)?;
        let mut sink = Watched::new(sink);
        // After the last entry the kernel asks once more, in either way.
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
            if self.server.hidden().is_hidden(name) {
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
        sink.check()
    }

    /// Hands out the entries with their attributes; each that fitted counts as one look-up.
    pub fn readdirplus(
        &self,
        ino: Ino,
        handle: HandleId,
        offset: u64,
        sink: &mut dyn DirSink,
    ) -> Result<()> {
        let dir = self.handles.dir(handle)?;
        let mut sink = Watched::new(sink);
        let mut reached = offset;
        let ttl = self.server.tree().remaining(&dir.listing);
        // A name that was removed since the snapshot must not come to life again in the kernel's cache.
        let path = self.inodes.path(ino);
        let current = path.and_then(|path| self.server.tree().listings().last_known(&path));
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
                        ..self.view.root_attr()
                    },
                    Duration::ZERO,
                );
            }
            let still = match (&current, entry) {
                (Some(now), Some(_)) if !is_current => now.entries().find(name),
                (_, entry) => entry,
            };
            let has_fitted = match still {
                _ if self.server.hidden().is_hidden(name) => true,
                Some(entry) => add_entry(self, ino, next_offset, entry, ttl, &mut sink),
                None => add_unborn(self, ino, next_offset, name, &mut sink),
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
        sink.check()
    }

    /// Closes a directory.
    pub fn releasedir(&self, handle: HandleId) {
        if let Some(dir) = self.handles.remove_dir(handle)
            && dir.pages != DirPages::Bypass
        {
            self.handles.leave_pages(dir.ino);
        }
    }
}

fn open_listing(fs: &Filesystem, ino: Ino, listing: Arc<CachedListing>) -> HandleId {
    let mut unborn = Vec::new();
    for (name, file) in fs.inodes.files_in(ino) {
        if !listing.has(&name) && file.lock().needs_upload() {
            unborn.push(name);
        }
    }
    let pages = pages_for(fs, ino, &listing, &unborn);
    fs.handles
        .add_dir(DirHandle::new(ino, listing, unborn, pages))
}

/// Pages hold nothing that can change while the listing does not: names that have no entry yet, names that are hidden.
fn pages_for(fs: &Filesystem, ino: Ino, listing: &CachedListing, unborn: &[Arc<[u8]>]) -> DirPages {
    let entries = listing.entries();
    let is_changing = !unborn.is_empty()
        || entries
            .iter()
            .any(|entry| fs.server.hidden().is_hidden(entry.name));
    let kernel_names = || fs.inodes.kernel_names(ino, entries.len());
    let is_useless =
        fs.server.tree().dir_ttl().is_zero() || is_changing || kernel_names() == KernelNames::Bare;
    if is_useless || !fs.handles.join_pages(ino, listing.id()) {
        return DirPages::Bypass;
    }
    // A name shown from a page brings no attributes, so one that the kernel does not know costs a look-up of its own.
    // Asked again, for only from here on does no handle fill the pages with another listing.
    if kernel_names() == KernelNames::Of(listing.id()) {
        return DirPages::Keep;
    }
    fs.inodes.set_kernel_names(ino, KernelNames::Unknown);
    DirPages::Fill
}

fn add_entry(
    fs: &Filesystem,
    dir: Ino,
    next_offset: u64,
    entry: EntryRef<'_>,
    ttl: Duration,
    sink: &mut dyn DirSink,
) -> bool {
    let name = entry.name;
    let (ino, file) = fs.inodes.look_up_with_file(dir, name, entry.kind);
    let (attr, ttl) = match file.and_then(|_| fs.getattr_cached(ino)) {
        Some(Ok(seen)) => seen,
        // The kernel asks for it when a program wants to know.
        _ if fs.server.tree().must_ask_size(entry.kind, entry.size) => {
            (fs.view.attr(ino, entry), Duration::ZERO)
        }
        _ => (fs.view.attr(ino, entry), ttl),
    };
    let item = DirItem {
        next_offset,
        name,
        kind: entry.kind,
        ino,
    };
    let has_fitted = sink.add_with_attr(&item, &attr, ttl);
    if !has_fitted {
        fs.inodes.forget(ino, 1);
    }
    has_fitted
}

fn add_unborn(
    fs: &Filesystem,
    dir: Ino,
    next_offset: u64,
    name: &[u8],
    sink: &mut dyn DirSink,
) -> bool {
    let Some(Ok(found)) = fs.lookup_cached(dir, name) else {
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
        fs.inodes.forget(attr.ino, 1);
    }
    has_fitted
}
