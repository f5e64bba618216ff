//! Attributes as programs see them, and the space on the server.

use std::time::{Duration, SystemTime};

use crate::{fs::number::Ino, remote::EntryKind};

/// Attributes of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// The inode number.
    pub ino: Ino,
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
    /// Total bytes; a large constant where the server does not report it.
    pub total: u64,
    /// Free bytes.
    pub free: u64,
}

/// The answer to a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The attributes; `None` when nothing has the name.
    pub attr: Option<Attr>,
    /// How long the answer may be kept.
    pub ttl: Duration,
}
