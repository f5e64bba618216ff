//! Blocks that wait to be written: a bounded number of bytes. What comes while there is no room is dropped, in long runs.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::key::Binding;
use crate::cache::block::Block;

/// What the writing thread has still to do.
pub(super) struct Queue {
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// Guarded by `Queue::waiting`; nothing else is taken under it.
#[derive(Default)]
struct Waiting {
    blocks: VecDeque<(Binding, Block)>,
    bytes: usize,
    /// Whether the disk was too slow and has not caught up yet.
    is_behind: bool,
    is_closed: bool,
    dropped: u64,
}

impl Queue {
    /// An empty queue for so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            waiting: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// How many bytes may wait.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Adds a block, if there is room. After it was full, half of it has to be free: a file of which every other block is
    /// there would be read with more round trips than one of which nothing is there.
    pub(super) fn push(&self, binding: Binding, block: &Block) {
        let mut waiting = self.lock();
        let room = if waiting.is_behind {
            self.bytes_max / 2
        } else {
            self.bytes_max
        };
        waiting.is_behind = waiting.bytes + block.allocated() > room;
        if waiting.is_behind || waiting.is_closed {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes += block.allocated();
        waiting.blocks.push_back((binding, block.clone()));
        drop(waiting);
        self.changed.notify_one();
    }

    /// Waits for the next block; `None` when all is done and there will be no more. `written` is the memory of the one before,
    /// which counts until it is written.
    pub(super) fn next(&self, written: usize) -> Option<(Binding, Block)> {
        let mut waiting = self.lock();
        waiting.bytes -= written;
        let mut waiting = self
            .changed
            .wait_while(waiting, |waiting| {
                waiting.blocks.is_empty() && !waiting.is_closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        waiting.blocks.pop_front()
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        if waiting.dropped > 0 {
            log::debug!("the disk was too slow for {} blocks", waiting.dropped);
        }
        drop(waiting);
        self.changed.notify_all();
    }

    /// Whether all is written.
    #[cfg(test)]
    pub(super) fn is_done(&self) -> bool {
        self.lock().bytes == 0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
