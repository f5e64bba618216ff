//! Where one stream stops and another goes on.

use super::{End, IDLE_MAX, Part, SKIP_BYTES_MAX, Stream};
use crate::cache::block::BLOCK_BYTES;

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
