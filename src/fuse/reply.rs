//! Replies: results of the filesystem to what fuser sends.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    time::{Duration, UNIX_EPOCH},
};

use fuser::{
    Errno, FileAttr, FileType, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite,
};

use crate::{
    fs::{Attr, DirItem, DirPages, DirSink, Found, Ino, Opened, SpaceInfo},
    remote::EntryKind,
};

/// An inode number is used again only after the kernel has forgotten what had it, so one generation is enough.
pub(super) const GENERATION: Generation = Generation(0);

/// The unit of `st_blocks`.
const STAT_BLOCK_BYTES: u64 = 512;

/// What programs take as the best size of a read or write. 4096: `cp` uses 128 KiB whatever is said here, and stdio
/// would read this much for each seek.
const BLOCK_SIZE: u32 = 4096;

/// A reply that can say no.
pub(super) trait Refuse {
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ty),* $(,)?) => {
        $(impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}

refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
);

pub(super) fn file_type(kind: EntryKind) -> FileType {
    match kind {
        // Opened here, a pipe, socket or device would be one of this machine.
        EntryKind::File | EntryKind::Special => FileType::RegularFile,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink => FileType::Symlink,
    }
}

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.size.div_ceil(STAT_BLOCK_BYTES),
        atime: attr.modified,
        mtime: attr.modified,
        ctime: attr.modified,
        crtime: attr.modified,
        kind: file_type(attr.kind),
        perm: u16::try_from(attr.mode & 0o7777).unwrap_or(0),
        // 1 for directories too: it tells find(1) not to count on links for the number of subdirectories.
        nlink: 1,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// The answer to a look-up; an absent name is an inode number of 0, which the kernel keeps as long as it may.
pub(super) fn found(found: &Found, reply: ReplyEntry) {
    match &found.attr {
        Some(attr) => reply.entry(&found.ttl, &file_attr(attr), GENERATION),
        None if found.ttl.is_zero() => reply.error(Errno::ENOENT),
        None => {
            let nothing = Attr {
                ino: Ino(0),
                kind: EntryKind::File,
                size: 0,
                mode: 0,
                uid: 0,
                gid: 0,
                modified: UNIX_EPOCH,
            };
            reply.entry(&found.ttl, &file_attr(&nothing), GENERATION);
        }
    }
}

pub(super) fn space(space: &SpaceInfo, reply: ReplyStatfs) {
    let unit = u64::from(BLOCK_SIZE);
    let (total, free) = (space.total / unit, space.free / unit);
    let name_max = 255;
    // FTP tells nothing of inodes; 0 of 0 is what filesystems without them say.
    reply.statfs(total, free, free, 0, 0, BLOCK_SIZE, name_max, BLOCK_SIZE);
}

/// The flags that tell the kernel what to do with its pages of a directory.
pub(super) fn dir_flags(pages: DirPages) -> FopenFlags {
    match pages {
        DirPages::Bypass => FopenFlags::empty(),
        DirPages::Fill => FopenFlags::FOPEN_CACHE_DIR,
        DirPages::Keep => FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
    }
}

/// Fills a readdir reply.
pub(super) struct Plain<'a>(pub(super) &'a mut ReplyDirectory);

impl DirSink for Plain<'_> {
    fn add(&mut self, item: &DirItem<'_>) -> bool {
        let ino = INodeNo(item.ino.0);
        !self.0.add(
            ino,
            item.next_offset,
            file_type(item.kind),
            OsStr::from_bytes(item.name),
        )
    }
}

/// What the kernel may do with its pages of a file that was opened.
pub(super) fn open_flags(opened: &Opened) -> FopenFlags {
    if opened.is_content_known {
        FopenFlags::FOPEN_KEEP_CACHE
    } else {
        FopenFlags::empty()
    }
}

/// Fills a readdirplus reply.
pub(super) struct Plus<'a>(pub(super) &'a mut ReplyDirectoryPlus);

impl DirSink for Plus<'_> {
    fn add(&mut self, _: &DirItem<'_>) -> bool {
        // readdirplus carries attributes with every entry.
        true
    }

    fn add_with_attr(&mut self, item: &DirItem<'_>, attr: &Attr, ttl: Duration) -> bool {
        let name = OsStr::from_bytes(item.name);
        let ino = INodeNo(attr.ino.0);
        !self.0.add(
            ino,
            item.next_offset,
            name,
            &ttl,
            &file_attr(attr),
            GENERATION,
        )
    }
}
