//! From what the server tells of an entry to what programs see.

use std::time::SystemTime;

use super::Filesystem;
use crate::remote::{EntryKind, Modified, RemoteEntry};

/// Attributes of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// The inode number.
    pub ino: u64,
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits, masks applied.
    pub mode: u32,
    /// The owner that is shown.
    pub uid: u32,
    /// The group that is shown.
    pub gid: u32,
    /// Time of modification; FTP knows no other, so it stands for all.
    pub modified: SystemTime,
}

/// Space on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceInfo {
    /// Total bytes; a large constant where the server does not tell.
    pub total: u64,
    /// Free bytes.
    pub free: u64,
}

/// What files show whose server tells no mode.
const FILE_MODE: u32 = 0o644;
/// What directories show whose server tells no mode.
const DIR_MODE: u32 = 0o755;
/// The space that is shown where the server does not tell: more than any transfer needs, less than file managers' limits.
const UNKNOWN_SPACE: u64 = 16 << 40;

impl Filesystem {
    /// The attributes that an entry has under this mount.
    pub(super) fn attr(&self, ino: u64, entry: &RemoteEntry) -> Attr {
        let (default, mask) = match entry.kind {
            EntryKind::Directory => (DIR_MODE, self.config.dir_mask),
            _ => (FILE_MODE, self.config.file_mask),
        };
        let size = match entry.kind {
            EntryKind::File => entry.size.unwrap_or(0),
            EntryKind::Symlink => entry
                .target
                .as_ref()
                .map_or(0, |target| target.len() as u64),
            _ => 0,
        };
        Attr {
            ino,
            kind: entry.kind,
            size,
            mode: match entry.kind {
                EntryKind::Symlink => 0o777,
                _ => entry.mode.unwrap_or(default) & !mask & 0o7777,
            },
            uid: self.config.uid,
            gid: self.config.gid,
            modified: entry
                .modified
                .map_or(self.mounted, Modified::to_system_time),
        }
    }

    /// The attributes of the mounted directory itself, which stands in no listing.
    pub(super) fn root_attr(&self) -> Attr {
        let mut root = RemoteEntry::new(&b"/"[..], EntryKind::Directory);
        root.modified = None;
        self.attr(super::inode::ROOT, &root)
    }

    /// Free space, as far as the server tells.
    pub fn space(&self) -> super::Result<SpaceInfo> {
        let free = self.remote.space(&crate::remote::RemotePath::root())?;
        // Only the free part is known of servers that tell at all (AVBL).
        let free = free.unwrap_or(UNKNOWN_SPACE);
        Ok(SpaceInfo { total: free, free })
    }
}
