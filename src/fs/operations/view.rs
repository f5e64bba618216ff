//! What programs see of names: what the server shows, and over it what an open file knows better.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::attr::{Attr, Found};
use crate::{
    cache::Version,
    config::FsConfig,
    fs::{
        error::{FsError, FsErrorKind, Result},
        file::OpenFile,
        inode::Inodes,
        number::Ino,
        server::Server,
    },
    remote::{EntryKind, EntryRef, Modified, RemoteEntry, RemotePath},
};

/// What files show whose server shows no mode.
const FILE_MODE: u32 = 0o644;
/// What directories show whose server shows no mode.
const DIR_MODE: u32 = 0o755;
/// See the module.
#[derive(Debug)]
pub(super) struct View {
    server: Arc<Server>,
    inodes: Arc<Inodes>,
    uid: u32,
    gid: u32,
    only_user: Option<u32>,
    file_mask: u32,
    dir_mask: u32,
    /// What the root directory shows as its time.
    mounted: SystemTime,
}

impl View {
    /// Of a tree that was mounted at that time.
    pub(super) fn new(
        server: Arc<Server>,
        inodes: Arc<Inodes>,
        config: &FsConfig,
        mounted: SystemTime,
    ) -> Self {
        Self {
            server,
            inodes,
            uid: config.uid,
            gid: config.gid,
            only_user: config.only_user,
            file_mask: config.file_mask,
            dir_mask: config.dir_mask,
            mounted,
        }
    }

    /// The attributes that an entry has under this mount.
    pub(super) fn attr(&self, ino: Ino, entry: EntryRef<'_>) -> Attr {
        let (default, mask) = match entry.kind {
            EntryKind::Directory => (DIR_MODE, self.dir_mask),
            _ => (FILE_MODE, self.file_mask),
        };
        let size = match entry.kind {
            EntryKind::File => entry.size.unwrap_or(0),
            EntryKind::Symlink => entry.target.map_or(0, |target| target.len() as u64),
            _ => 0,
        };
        Attr {
            ino,
            kind: entry.kind,
            size,
            mode: match entry.kind {
                EntryKind::Symlink => 0o777,
                EntryKind::Special => 0,
                // Without setuid, setgid and sticky: a server gives no rights here.
                _ => entry.mode.unwrap_or(default) & !mask & 0o777,
            },
            uid: self.uid,
            gid: self.gid,
            modified: entry
                .modified
                .map_or(self.mounted, Modified::to_system_time),
        }
    }

    /// The attributes of the mounted directory itself, which stands in no listing.
    pub(super) fn root_attr(&self) -> Attr {
        let mut root = RemoteEntry::new(&b"/"[..], EntryKind::Directory);
        root.modified = None;
        let attr = self.attr(Ino::ROOT, root.as_borrowed());
        match self.only_user {
            Some(uid) => Attr {
                uid,
                mode: attr.mode & 0o700,
                ..attr
            },
            None => attr,
        }
    }

    /// The answer for an entry that the server shows (or does not).
    pub(super) fn found(
        &self,
        parent: Ino,
        name: &[u8],
        entry: Option<&RemoteEntry>,
        ttl: Duration,
    ) -> Found {
        let entry = entry.filter(|_| !self.server.hidden().is_hidden(name));
        let attr = entry.map(|entry| {
            let ino = self.inodes.look_up(parent, name, entry.kind);
            self.attr_of(ino, entry)
        });
        Found { attr, ttl }
    }

    /// The answer for a name behind which a file is ahead of the server.
    pub(super) fn ahead_of_server(
        &self,
        parent: Ino,
        name: &[u8],
        path: &RemotePath,
    ) -> Option<Found> {
        let file = self.inodes.file_named(parent, name)?;
        let attr = self.overlay(&file, Some(path))?;
        let ino = self.inodes.look_up(parent, name, EntryKind::File);
        Some(Found {
            attr: Some(Attr { ino, ..attr }),
            ttl: Duration::ZERO,
        })
    }

    pub(super) fn attr_ahead(&self, ino: Ino) -> Option<Attr> {
        let file = self.inodes.file(ino)?;
        let path = self.inodes.path(ino);
        self.overlay(&file, path.as_ref())
    }

    /// The attributes of a file whose handles see something else than the server shows.
    fn overlay(&self, file: &OpenFile, path: Option<&RemotePath>) -> Option<Attr> {
        let state = file.lock();
        if !state.is_ahead() {
            return None;
        }
        let name = path.and_then(RemotePath::name);
        let mut entry = RemoteEntry::new(name.unwrap_or_default(), EntryKind::File);
        entry.size = Some(state.size());
        let wanted = state.changes().wanted();
        let base = state.on_server().base();
        entry.mode = wanted.mode.or(base.and_then(|base| base.mode));
        let written = state.changes().written();
        entry.modified = Some(wanted.modified.unwrap_or(written).into());
        Some(self.attr(file.ino, entry.as_borrowed()))
    }

    /// The attributes of an entry under its number, after an open file behind it has taken over what the server shows.
    pub(super) fn attr_of(&self, ino: Ino, entry: &RemoteEntry) -> Attr {
        let Some(file) = self.inodes.file(ino) else {
            return self.attr(ino, entry.as_borrowed());
        };
        self.observe(&file, entry);
        let state = file.lock();
        let mut attr = self.attr(ino, entry.as_borrowed());
        let base = state.on_server().base();
        if let Some(base) = base.filter(|_| entry.kind == EntryKind::File) {
            attr.size = state.size();
            if let Some(modified) = base.version.modified {
                attr.modified = modified.to_system_time();
            }
        }
        attr
    }

    pub(super) fn seen_attr(
        &self,
        ino: Ino,
        path: &RemotePath,
        entry: &RemoteEntry,
    ) -> Result<Attr> {
        if self.inodes.kind(ino) != Some(entry.kind) {
            // Another kind of thing took the name: this inode is gone.
            return Err(FsError::new(FsErrorKind::NotFound, path));
        }
        Ok(self.attr_of(ino, entry))
    }

    /// An open file takes over what the server shows of it now.
    pub(super) fn observe(&self, file: &OpenFile, entry: &RemoteEntry) {
        let mut state = file.lock();
        let is_same = state.on_server().base().is_some_and(|base| {
            // LIST shows minutes of another clock: where MDTM was asked, only another size means other content.
            let is_coarse = base.asked.is_some() && !entry.has_exact_time();
            is_same_content(&base.version, entry)
                || is_coarse && entry.size.is_none_or(|size| size == base.version.size)
        });
        if is_same && let Some(base) = state.on_server_mut().base_mut() {
            // The next upload keeps it.
            base.mode = entry.mode.or(base.mode);
        } else if let Some(base) = self.server.versions().base_of(entry)
            && state.rebase(base)
        {
            log::debug!("{} has changed on the server", entry.name.escape_ascii());
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
