//! Names to inodes and inodes to attributes.
//!
//! What is shown comes, in this order, from what programs have written and the server does not have yet, from a fresh listing
//! of the directory, and from the server.

use std::{sync::Arc, time::Duration};

use super::{
    Attr, Filesystem, FsError, FsErrorKind, Result,
    error::NAME_BYTES_MAX,
    evidence::RELIST_ENTRIES_MAX,
    file::{Base, OpenFile},
    inode::ROOT,
};
use crate::{
    cache::{CachedListing, Version},
    remote::{EntryKind, RemoteEntry, RemoteError, RemoteErrorKind, RemotePath},
};

/// The answer to a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The attributes; `None` when nothing has the name.
    pub attr: Option<Attr>,
    /// How long the answer may be kept.
    pub ttl: Duration,
}

/// What the caller wanted of a path that the server refused, for finding the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// To read or replace a file's content.
    Content,
    /// To upload a file that may not be there yet.
    Upload,
    /// To remove a file.
    RemoveFile,
    /// To remove a directory.
    RemoveDir,
    /// To give another name.
    Rename,
    /// To make something new.
    Make,
    /// To set mode or time.
    Attributes,
    /// To list a directory.
    List,
}

impl Filesystem {
    /// Looks a name up without asking the server; `None` when it must be asked.
    pub fn lookup_cached(&self, parent: u64, name: &[u8]) -> Option<Result<Found>> {
        let path = match self.child_path(parent, name) {
            Ok(path) => path,
            Err(error) => return Some(Err(error)),
        };
        if let Some(found) = self.ahead_of_server(parent, name, &path) {
            return Some(Ok(found));
        }
        let listing = self.listings.fresh(&path.parent()?)?;
        let entry = listing.find(name);
        if entry.is_none() && !listing.lacks(name) && !self.is_temporary(name) {
            return None;
        }
        Some(Ok(self.found(
            parent,
            name,
            entry.map(Arc::as_ref),
            self.remaining(&listing),
        )))
    }

    /// Looks a name up; every positive answer counts as one look-up of its inode.
    pub fn lookup(&self, parent: u64, name: &[u8]) -> Result<Found> {
        let path = self.child_path(parent, name)?;
        if let Some(found) = self.ahead_of_server(parent, name, &path) {
            return Ok(found);
        }
        let (entry, ttl) = self.entry_with_ttl(&path)?;
        Ok(self.found(parent, name, entry.as_deref(), ttl))
    }

    /// Attributes without asking the server; `None` when it must be asked.
    pub fn getattr_cached(&self, ino: u64) -> Option<Result<(Attr, Duration)>> {
        if ino == ROOT {
            return Some(Ok((self.root_attr(), self.dir_ttl)));
        }
        let path = match self.attr_ahead(ino) {
            Some(attr) => return Some(Ok((attr, Duration::ZERO))),
            None => self.inodes.path(ino)?,
        };
        let listing = self.listings.fresh(&path.parent()?)?;
        let entry = listing.find(path.name()?)?.clone();
        Some(
            self.seen_attr(ino, &path, &entry)
                .map(|attr| (attr, self.remaining(&listing))),
        )
    }

    /// Attributes and how long they may be kept.
    pub fn getattr(&self, ino: u64) -> Result<(Attr, Duration)> {
        if ino == ROOT {
            return Ok((self.root_attr(), self.dir_ttl));
        }
        if let Some(attr) = self.attr_ahead(ino) {
            return Ok((attr, Duration::ZERO));
        }
        let path = self.path(ino)?;
        let (entry, ttl) = self.entry_with_ttl(&path)?;
        let entry = entry.ok_or_else(|| FsError::new(FsErrorKind::NotFound, &path))?;
        Ok((self.seen_attr(ino, &path, &entry)?, ttl))
    }

    /// The kernel forgets `count` look-ups of an inode.
    pub fn forget(&self, ino: u64, count: u64) {
        self.inodes.forget(ino, count);
    }

    /// The entry at a path as the server shows it; `None` when there is none.
    pub(super) fn entry(&self, path: &RemotePath) -> Result<Option<Arc<RemoteEntry>>> {
        self.entry_with_ttl(path).map(|(entry, _)| entry)
    }

    fn entry_with_ttl(&self, path: &RemotePath) -> Result<(Option<Arc<RemoteEntry>>, Duration)> {
        let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
            let root = RemoteEntry::new(&b"/"[..], EntryKind::Directory);
            return Ok((Some(Arc::new(root)), self.dir_ttl));
        };
        if self.is_temporary(name) {
            return Ok((None, Duration::ZERO));
        }
        if self.listings.fresh(&dir).is_none()
            && let Some(old) = self.listings.last_known(&dir)
            && old.entries().len() > RELIST_ENTRIES_MAX
        {
            let old = old.find(name);
            // Servers follow a link when they are asked for it alone.
            if let Some(link) = old.filter(|entry| entry.kind == EntryKind::Symlink) {
                return Ok((Some(link.clone()), self.dir_ttl));
            }
            return Ok((self.stat(path, old)?.map(Arc::new), self.dir_ttl));
        }
        let listing = match self.listings.list(&*self.remote, &dir) {
            Ok(listing) => listing,
            // A directory that may be entered and not listed: its entries can be asked for one by one.
            Err(error) if error.kind() == RemoteErrorKind::Refused => {
                return Ok((self.stat(path, None)?.map(Arc::new), self.dir_ttl));
            }
            Err(error) => return Err(error.into()),
        };
        let ttl = self.remaining(&listing);
        match listing.find(name) {
            Some(entry) => Ok((Some(entry.clone()), ttl)),
            None if listing.lacks(name) => Ok((None, ttl)),
            None => {
                let entry = self.stat(path, None)?;
                if let Some(entry) = &entry {
                    self.listings.upsert(&dir, entry.clone());
                }
                Ok((entry.map(Arc::new), ttl))
            }
        }
    }

    /// One entry asked for alone, with what only a listing tells taken from an older one.
    fn stat(
        &self,
        path: &RemotePath,
        old: Option<&Arc<RemoteEntry>>,
    ) -> Result<Option<RemoteEntry>> {
        let Some(mut entry) = self.remote.stat(path)? else {
            return Ok(None);
        };
        if let Some(old) = old.filter(|old| old.kind == entry.kind) {
            entry.mode = entry.mode.or(old.mode);
            entry.modified = entry.modified.or(old.modified);
            entry.size = entry.size.or(old.size);
        }
        Ok(Some(entry))
    }

    fn remaining(&self, listing: &CachedListing) -> Duration {
        listing
            .expires()
            .saturating_duration_since(self.clock.now())
    }

    /// The answer for an entry that the server shows (or does not).
    fn found(&self, parent: u64, name: &[u8], entry: Option<&RemoteEntry>, ttl: Duration) -> Found {
        let entry = entry.filter(|_| !self.is_temporary(name));
        let attr = entry.map(|entry| {
            let ino = self.inodes.look_up(parent, name, entry.kind);
            self.attr_of(ino, entry)
        });
        Found { attr, ttl }
    }

    /// The answer for a name behind which a file is ahead of the server.
    fn ahead_of_server(&self, parent: u64, name: &[u8], path: &RemotePath) -> Option<Found> {
        let file = self.inodes.file_named(parent, name)?;
        let attr = self.overlay(&file, path)?;
        let ino = self.inodes.look_up(parent, name, EntryKind::File);
        Some(Found {
            attr: Some(Attr { ino, ..attr }),
            ttl: Duration::ZERO,
        })
    }

    pub(super) fn attr_ahead(&self, ino: u64) -> Option<Attr> {
        let file = self.inodes.file(ino)?;
        let path = self.inodes.path(ino).unwrap_or_else(RemotePath::root);
        self.overlay(&file, &path)
    }

    /// The attributes of a file whose handles see something else than the server shows.
    fn overlay(&self, file: &OpenFile, path: &RemotePath) -> Option<Attr> {
        let state = file.lock();
        if !state.is_ahead() {
            return None;
        }
        let mut entry = RemoteEntry::new(path.name().unwrap_or_default(), EntryKind::File);
        entry.size = Some(state.size());
        entry.mode = state
            .wanted
            .mode
            .or(state.base.as_ref().and_then(|base| base.mode));
        entry.modified = Some(state.wanted.modified.unwrap_or(state.written).into());
        Some(self.attr(file.ino, &entry))
    }

    /// The attributes of an entry under its number, an open file behind it told what the server shows.
    pub(super) fn attr_of(&self, ino: u64, entry: &RemoteEntry) -> Attr {
        let Some(file) = self.inodes.file(ino) else {
            return self.attr(ino, entry);
        };
        self.observe(&file, entry);
        let state = file.lock();
        let mut attr = self.attr(ino, entry);
        if let Some(base) = state
            .base
            .as_ref()
            .filter(|_| entry.kind == EntryKind::File)
        {
            attr.size = state.size();
            if let Some(modified) = base.version.modified {
                attr.modified = modified.to_system_time();
            }
        }
        attr
    }

    fn seen_attr(&self, ino: u64, path: &RemotePath, entry: &RemoteEntry) -> Result<Attr> {
        if self.inodes.kind(ino) != Some(entry.kind) {
            // Another kind of thing took the name: this inode is gone.
            return Err(FsError::new(FsErrorKind::NotFound, path));
        }
        Ok(self.attr_of(ino, entry))
    }

    /// Tells an open file what the server shows of it now.
    pub(super) fn observe(&self, file: &OpenFile, entry: &RemoteEntry) {
        let mut state = file.lock();
        let is_same = state.base.as_ref().is_some_and(|base| {
            // LIST shows minutes of another clock: where MDTM was asked, only another size means other content.
            let is_coarse = base.asked.is_some() && !entry.has_exact_time();
            is_same_content(&base.version, entry)
                || is_coarse && entry.size.is_none_or(|size| size == base.version.size)
        });
        if let Some(base) = state.base.as_mut().filter(|_| is_same) {
            // The next upload keeps it.
            base.mode = entry.mode.or(base.mode);
        } else if let Some(base) = self.base_of(entry)
            && state.rebase(base)
        {
            log::debug!("{} has changed on the server", entry.name.escape_ascii());
        }
    }

    /// What a listing's entry says of a file's content; `None` when it does not tell the size.
    pub(super) fn base_of(&self, entry: &RemoteEntry) -> Option<Base> {
        let version = Version {
            size: entry.size?,
            modified: entry.modified,
            epoch: self.next_epoch(),
        };
        Some(Base {
            version,
            mode: entry.mode,
            asked: None,
            is_mode_asked: false,
        })
    }

    /// Finds the reason of a server's refusal in a fresh listing of the directory.
    pub(super) fn explain(&self, error: RemoteError, path: &RemotePath, intent: Intent) -> FsError {
        // bftpd says 451 and swiftp 450 to what is not there, bftpd 553 to whoever reads it. Their words stand where the listing
        // tells nothing better.
        let is_told = match error.kind() {
            RemoteErrorKind::Refused => false,
            RemoteErrorKind::Failed | RemoteErrorKind::Busy | RemoteErrorKind::NameRefused => true,
            _ => {
                if !matches!(intent, Intent::Content | Intent::List) {
                    self.forget_if_unknown(&error, &[path]);
                }
                return error.into();
            }
        };
        let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
            return error.into();
        };
        let kind = match self.listings.refetch(&*self.remote, &dir) {
            Ok(listing) => match listing.find(name) {
                None if !listing.lacks(name)
                    && !matches!(intent, Intent::Make | Intent::Upload) =>
                {
                    return error.into();
                }
                None if matches!(intent, Intent::Make | Intent::Upload) => {
                    FsErrorKind::AccessDenied
                }
                None => FsErrorKind::NotFound,
                Some(entry) => self.reason(entry.kind, path, intent),
            },
            Err(refused) if refused.kind() == RemoteErrorKind::Refused => {
                match self.remote.stat(&dir) {
                    Ok(None) => FsErrorKind::NotFound,
                    Ok(Some(_)) | Err(_) => FsErrorKind::AccessDenied,
                }
            }
            Err(other) => return other.into(),
        };
        if is_told && kind == FsErrorKind::AccessDenied {
            return error.into();
        }
        // The server's own long name limit hides behind the same 550.
        if kind == FsErrorKind::AccessDenied && name.len() > NAME_BYTES_MAX {
            return FsError::explained(FsErrorKind::NameTooLong, error);
        }
        FsError::explained(kind, error)
    }

    /// Why the server may have refused something about an entry that is there.
    fn reason(&self, kind: EntryKind, path: &RemotePath, intent: Intent) -> FsErrorKind {
        let is_dir = kind == EntryKind::Directory;
        match intent {
            Intent::Content | Intent::Upload | Intent::RemoveFile if is_dir => {
                FsErrorKind::IsADirectory
            }
            Intent::Content | Intent::Upload | Intent::RemoveFile => FsErrorKind::AccessDenied,
            Intent::RemoveDir | Intent::List if !is_dir => FsErrorKind::NotADirectory,
            Intent::RemoveDir => match self.listings.refetch(&*self.remote, path) {
                Ok(listing) if !listing.entries().is_empty() || !listing.is_whole() => {
                    FsErrorKind::NotEmpty
                }
                _ => FsErrorKind::AccessDenied,
            },
            Intent::List | Intent::Rename => FsErrorKind::AccessDenied,
            Intent::Make => FsErrorKind::Exists,
            // What chmod(2) and utimensat(2) say to those who do not own the file.
            Intent::Attributes => FsErrorKind::NotPermitted,
        }
    }
}

/// Whether an entry shows the content of a version: the same size, and times that agree as far as both are known.
fn is_same_content(version: &Version, entry: &RemoteEntry) -> bool {
    entry.size.is_none_or(|size| size == version.size)
        && match (version.modified, entry.modified) {
            (Some(one), Some(other)) => one.agrees_with(other),
            _ => true,
        }
}
