//! What a stream reads, and how that ends.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

use crate::{
    cache::block::{FileId, Version},
    remote::{RemoteError, RemotePath},
};

/// How far ahead of its reader a stream reads at first. 256 KiB: what a fast reader takes in a few milliseconds, and
/// not too much for one who wanted the first page alone.
pub(in crate::cache) const WINDOW_BYTES_MIN: usize = 256 << 10;

/// What all streams of one open file have in common.
#[derive(Debug, Clone)]
pub(in crate::cache) struct Source {
    pub(in crate::cache) file: FileId,
    pub(in crate::cache) version: Version,
    pub(in crate::cache) path: RemotePath,
    /// The bytes that have arrived by all streams of the engine.
    pub(in crate::cache) arrived: Arc<AtomicU64>,
    /// Set when a stream of this file stops reading because its window is full.
    pub(in crate::cache) is_held: Arc<AtomicBool>,
    /// Set when one of them fails.
    pub(in crate::cache) has_broken: Arc<AtomicBool>,
}

/// Which part of the file a stream is to read.
#[derive(Debug, Clone, Copy)]
pub(in crate::cache) struct Part {
    /// The first byte.
    pub(in crate::cache) start: u64,
    /// Where it stops; `u64::MAX` for the end of the file.
    pub(in crate::cache) limit: u64,
    /// Whether the server is told the limit, which then cannot be moved.
    pub(in crate::cache) is_bounded: bool,
    /// Whether it fetches ahead of another.
    pub(in crate::cache) is_helper: bool,
    /// The sequence it belongs to; 0 for none.
    pub(in crate::cache) sequence: u64,
    /// How far ahead of its reader it reads at first. A helper's window holds all of its part: nobody has to read for it to
    /// get on.
    pub(in crate::cache) window_bytes: usize,
}

impl Part {
    /// From there to the end of the file.
    pub(in crate::cache) fn from(start: u64) -> Self {
        Self {
            start,
            limit: u64::MAX,
            is_bounded: false,
            is_helper: false,
            sequence: 0,
            window_bytes: WINDOW_BYTES_MIN,
        }
    }
}

/// How a stream came to its end.
#[derive(Debug, Clone)]
pub(in crate::cache) enum End {
    /// The server said that the file ends at this offset.
    File(u64),
    /// The download failed.
    Failed(RemoteError),
    /// It has come to its limit, where another goes on.
    Limit,
    /// Nobody wanted it any more.
    Cancelled,
    /// It gave its session to somebody who waited for one; reading goes on at this offset.
    Yielded(u64),
}
