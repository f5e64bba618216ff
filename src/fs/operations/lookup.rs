//! Names to inodes and inodes to attributes.
//!
//! What is shown comes, in this order, from what programs have written and the server does not have yet, from a fresh listing
//! of the directory, and from the server.

use std::time::Duration;

use super::{
    Filesystem,
    attr::{Attr, Found, SpaceInfo},
};
use crate::{
    fs::{
        error::{FsError, FsErrorKind, Result},
        number::Ino,
    },
    remote::RemotePath,
};

/// The space that is shown where the server does not report it: more than any transfer needs, less than file managers' limits.
const UNKNOWN_SPACE: u64 = 16 << 40;

impl Filesystem {
    /// Looks a name up without asking the server; `None` when it must be asked.
    pub fn lookup_cached(&self, parent: Ino, name: &[u8]) -> Option<Result<Found>> {
        let path = match self.child_path(parent, name) {
            Ok(path) => path,
            Err(error) => return Some(Err(error)),
        };
        if let Some(found) = self.view.ahead_of_server(parent, name, &path) {
            return Some(Ok(found));
        }
        let listing = self.server.tree().listings().fresh(&path.parent()?)?;
        let entry = listing.find(name);
        if entry.is_none() && !listing.lacks(name) && !self.server.hidden().is_hidden(name) {
            return None;
        }
        if let Some(entry) = &entry
            && self.server.tree().must_ask_size(entry.kind, entry.size)
        {
            return None;
        }
        Some(Ok(self.view.found(
            parent,
            name,
            entry.as_deref(),
            self.server.tree().remaining(&listing),
        )))
    }

    /// Looks a name up; every positive answer counts as one look-up of its inode.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Found> {
        let path = self.child_path(parent, name)?;
        if let Some(found) = self.view.ahead_of_server(parent, name, &path) {
            return Ok(found);
        }
        let (entry, ttl) = self.server.tree().entry_with_ttl(&path)?;
        Ok(self.view.found(parent, name, entry.as_deref(), ttl))
    }

    /// Attributes without asking the server; `None` when it must be asked.
    pub fn getattr_cached(&self, ino: Ino) -> Option<Result<(Attr, Duration)>> {
        if ino == Ino::ROOT {
            return Some(Ok((self.view.root_attr(), self.server.tree().dir_ttl())));
        }
        let path = match self.view.attr_ahead(ino) {
            Some(attr) => return Some(Ok((attr, Duration::ZERO))),
            None => self.inodes.path(ino)?,
        };
        let listing = self.server.tree().listings().fresh(&path.parent()?)?;
        let entry = listing.find(path.name()?)?;
        if self.server.tree().must_ask_size(entry.kind, entry.size) {
            return None;
        }
        Some(
            self.view
                .seen_attr(ino, &path, &entry)
                .map(|attr| (attr, self.server.tree().remaining(&listing))),
        )
    }

    /// Attributes and how long they may be kept.
    pub fn getattr(&self, ino: Ino) -> Result<(Attr, Duration)> {
        if ino == Ino::ROOT {
            return Ok((self.view.root_attr(), self.server.tree().dir_ttl()));
        }
        if let Some(attr) = self.view.attr_ahead(ino) {
            return Ok((attr, Duration::ZERO));
        }
        let path = self.inodes.path_of(ino)?;
        let (entry, ttl) = self.server.tree().entry_with_ttl(&path)?;
        let entry = entry.ok_or_else(|| FsError::new(FsErrorKind::NotFound, &path))?;
        Ok((self.view.seen_attr(ino, &path, &entry)?, ttl))
    }

    /// The kernel forgets `count` look-ups of an inode.
    pub fn forget(&self, ino: Ino, count: u64) {
        self.inodes.forget(ino, count);
    }

    /// Free space, as far as the server reports it.
    pub fn space(&self) -> Result<SpaceInfo> {
        let free = self.server.remote().space(&RemotePath::root())?;
        // Only the free part is known of servers that report any (AVBL).
        let free = free.unwrap_or(UNKNOWN_SPACE);
        Ok(SpaceInfo { total: free, free })
    }
}
