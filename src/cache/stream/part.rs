//! What a stream reads, and how that ends.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

use super::{IDLE_MAX, SKIP_BYTES_MAX, Stream, WINDOW_BYTES_MIN};
use crate::{
    cache::block::{BLOCK_BYTES, FileId, Version},
    remote::{RemoteError, RemotePath},
};

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
    /// The lane it belongs to; 0 for none.
    pub(in crate::cache) lane: u64,
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
            lane: 0,
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

impl Stream {
    /// Makes it stop `more` bytes ahead, where others are to go on; returns where. `None` if it has a limit already, or the
    /// file ends before.
    pub(in crate::cache) fn set_limit_ahead(&self, more: u64) -> Option<u64> {
        let mut window = self.lock();
        let ahead = window.end.saturating_add(BLOCK_BYTES as u64 + more);
        let limit = ahead.div_ceil(BLOCK_BYTES as u64) * BLOCK_BYTES as u64;
        if window.limit < u64::MAX || limit >= self.source.version.size {
            return None;
        }
        window.limit = limit;
        Some(limit)
    }

    /// Lets it go on to the end of the file, on its own from now on, if it was to stop at `limit` and still can.
    pub(in crate::cache) fn unlimit(&self, limit: u64) -> bool {
        let mut window = self.lock();
        if window.limit != limit || window.is_over() || self.is_bounded {
            return false;
        }
        window.limit = u64::MAX;
        window.is_helper = false;
        true
    }

    /// What is left for the stream that goes on with this one, for a read at `position` in a run that goes on at `head`.
    pub(in crate::cache) fn resumes(&self, head: u64, position: u64) -> Option<Part> {
        let window = self.lock();
        match window.ended {
            Some(End::Yielded(end))
                if (end..window.limit).contains(&position)
                    && head <= end.saturating_add(SKIP_BYTES_MAX)
                    && !self.is_idle(&window, IDLE_MAX) =>
            {
                Some(Part {
                    limit: window.limit,
                    ..Part::from(end)
                })
            }
            _ => None,
        }
    }
}
