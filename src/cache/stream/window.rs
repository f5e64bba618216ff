//! What a stream holds: the window of published blocks, and the buffer that is being filled behind it.

use std::{collections::VecDeque, time::Instant};

use bytes::{Bytes, BytesMut};

use super::part::{End, Part};
use crate::cache::block::{Block, index_of};

/// Guarded by `Stream::window`; of the locks of this room only the block cache's is taken under it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each set by somebody else"
)]
pub(super) struct Window {
    pub(super) blocks: VecDeque<Block>,
    /// The offset behind the last published byte.
    pub(super) end: u64,
    /// The offset up to which readers have taken or skipped bytes.
    pub(super) consumed: u64,
    /// How far beyond `consumed` the thread may read.
    pub(super) size: usize,
    /// Where the thread stops; `u64::MAX` if nowhere before the end of the file.
    pub(super) limit: u64,
    /// Whether it fetches ahead of another stream.
    pub(super) is_helper: bool,
    /// The offsets that readers wait for.
    pub(super) targets: Vec<u64>,
    /// Whether the thread has found no room, and waits for a good piece of it.
    pub(super) is_full: bool,
    pub(super) is_cancelled: bool,
    /// Whether it is to give its connection up, so that its reader goes on with a new one.
    pub(super) is_to_yield: bool,
    /// When its download was opened.
    pub(super) opened: Option<Instant>,
    pub(super) ended: Option<End>,
    /// Whether it was noticed that it gave way.
    pub(super) is_reported: bool,
    pub(super) last_used: Instant,
    /// The cursor that read last.
    pub(super) last_cursor: u64,
}

/// The buffer that the thread reads into.
pub(super) struct Filling {
    /// The offset in the file of the buffer's first byte.
    start: u64,
    pub(super) buffer: BytesMut,
    pub(super) filled: usize,
    /// The buffer's memory, until it is counted with the first part published of it.
    allocated: usize,
}

impl Filling {
    pub(super) fn new(start: u64, buffer: BytesMut) -> Self {
        let allocated = buffer.len();
        Self {
            start,
            buffer,
            filled: 0,
            allocated,
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.start + self.filled as u64
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled == self.buffer.len()
    }

    pub(super) fn take(&mut self) -> (u64, Bytes, usize) {
        let start = self.start;
        let part = if self.is_full() {
            std::mem::take(&mut self.buffer)
        } else {
            self.buffer.split_to(self.filled)
        };
        self.start += self.filled as u64;
        self.filled = 0;
        (start, part.freeze(), std::mem::take(&mut self.allocated))
    }
}

impl Window {
    pub(super) fn new(part: &Part, now: Instant) -> Self {
        Self {
            blocks: VecDeque::new(),
            end: part.start,
            consumed: part.start,
            size: part.window_bytes,
            limit: part.limit,
            is_helper: part.is_helper,
            targets: Vec::new(),
            is_full: false,
            is_cancelled: false,
            is_to_yield: false,
            opened: None,
            ended: None,
            is_reported: false,
            last_used: now,
            last_cursor: 0,
        }
    }

    /// What may be read now beyond `filled_end`.
    pub(super) fn room(&self, filled_end: u64) -> usize {
        let limit = self.consumed.saturating_add(self.size as u64);
        let limit = limit.min(self.limit);
        usize::try_from(limit.saturating_sub(filled_end)).unwrap_or(usize::MAX)
    }

    pub(super) fn is_wanted(&self, filled_end: u64) -> bool {
        self.targets.iter().any(|target| *target > filled_end)
    }

    /// Whether somebody waits for what is filled and not yet published.
    pub(super) fn is_awaited(&self, filled_end: u64) -> bool {
        self.targets
            .iter()
            .any(|target| *target > self.end && *target <= filled_end)
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_cancelled || self.ended.is_some()
    }

    pub(super) fn base(&self) -> u64 {
        self.blocks.front().map_or(self.end, Block::start)
    }

    pub(super) fn append(&mut self, filling: &mut Filling) {
        if filling.filled == 0 {
            return;
        }
        let (start, part, allocated) = filling.take();
        if self
            .blocks
            .back()
            .is_none_or(|block| block.index() != index_of(start))
        {
            self.blocks.push_back(Block::new(start));
        }
        if let Some(block) = self.blocks.back_mut() {
            block.push(part, allocated);
            self.end = block.end();
        }
    }

    pub(super) fn slice(&self, position: u64, len: usize) -> Option<Bytes> {
        let first = self.blocks.front()?.index();
        let index = usize::try_from(index_of(position).checked_sub(first)?).ok()?;
        self.blocks.get(index)?.slice(position, len)
    }
}
