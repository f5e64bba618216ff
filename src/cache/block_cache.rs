//! The blocks in memory: the cache that keeps them within a hard budget of bytes.
//!
//! The budget covers everything that this room holds of file content: the cached blocks, the buffers kept for
//! reuse, and what running streams have reserved for their windows.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use lru::LruCache;

use super::{
    block::{BLOCK_BYTES, Block, FileId, Found, Version, index_of, last_index},
    disk::DiskCache,
};
use crate::remote::RemotePath;

/// What a cached block costs besides its bytes: its place in the LRU and in the index, its parts.
const OVERHEAD_BYTES: usize = 256;

/// How many free buffers are kept for reuse. 4: what the streams of a busy moment return between two fetches. They
/// are set aside from the budget, and may take no more than a sixteenth of it.
const SPARE_MAX: usize = 4;

/// The cached blocks, least recently used first out. One version of each block is kept, the one inserted last.
pub struct BlockCache {
    /// What blocks and reservations may take: the budget less the room for spare buffers.
    bytes_max: usize,
    spare_max: usize,
    /// What is kept for the next mount.
    disk: Option<Arc<DiskCache>>,
    state: Mutex<State>,
}

/// Guarded by `BlockCache::state`; the last lock in this room's order, nothing else is taken under it.
struct State {
    blocks: LruCache<(FileId, u64), (Version, Block)>,
    /// Which blocks of a file are in `blocks`.
    files: HashMap<FileId, BTreeSet<u64>>,
    /// The sum of the weights in `blocks`.
    held: usize,
    /// What running streams may hold.
    reserved: usize,
    /// Whole blocks' buffers for reuse: cheaper than new ones, which have to be zeroed.
    spare: Vec<BytesMut>,
}

impl BlockCache {
    /// An empty cache that never holds more than `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        let spare_max = SPARE_MAX.min(bytes_max / BLOCK_BYTES / 16);
        Self {
            bytes_max: bytes_max - spare_max * BLOCK_BYTES,
            spare_max,
            disk: None,
            state: Mutex::new(State {
                blocks: LruCache::unbounded(),
                files: HashMap::new(),
                held: 0,
                reserved: 0,
                spare: Vec::new(),
            }),
        }
    }

    /// An empty cache with a second tier on disk; what waits to be written there is set aside from the budget.
    pub(super) fn with_disk(bytes_max: usize, disk: Arc<DiskCache>) -> Self {
        let queue_bytes_max = disk.queue_bytes_max().min(bytes_max);
        Self {
            disk: Some(disk),
            ..Self::new(bytes_max - queue_bytes_max)
        }
    }

    /// The second tier.
    pub(super) fn disk(&self) -> Option<&DiskCache> {
        self.disk.as_deref()
    }

    /// Tells under which path this file is read, so that its blocks are found on disk and kept there.
    pub fn bind(&self, file: FileId, version: &Version, path: &RemotePath) {
        if let Some(disk) = &self.disk {
            disk.bind(file, version, path);
        }
    }

    /// A block, whole or as far as it was fetched, if it is cached in this version.
    pub fn get(&self, file: FileId, version: &Version, index: u64) -> Option<Block> {
        let mut state = self.lock();
        state
            .blocks
            .get(&(file, index))
            .filter(|(v, _)| v == version)
            .map(|(_, b)| b.clone())
    }

    /// Keeps a block, if there is room for it; what was cached at its place is gone.
    pub fn insert(&self, file: FileId, version: &Version, block: Block) {
        self.offer(file, version, &block);
        self.insert_in(&mut self.lock(), file, version, block);
    }

    /// Drops all blocks of a file.
    pub fn invalidate(&self, file: FileId) {
        let mut state = self.lock();
        for index in state.files.remove(&file).unwrap_or_default() {
            if let Some((_, block)) = state.blocks.pop(&(file, index)) {
                state.held -= weight(&block);
            }
        }
    }

    /// How many bytes of memory are held and reserved: at most the budget.
    pub fn bytes(&self) -> usize {
        let state = self.lock();
        state.held + state.reserved + state.spare.len() * BLOCK_BYTES
    }

    /// What is known of the place `position` of a file: at most `len` bytes.
    pub(super) fn slice(
        &self,
        file: FileId,
        version: &Version,
        position: u64,
        len: usize,
    ) -> Found {
        let mut state = self.lock();
        if let Some((cached, block)) = state.blocks.get(&(file, index_of(position)))
            && cached == version
            && let Some(bytes) = block.slice(position, len)
        {
            return Found::Bytes(bytes);
        }
        let last = (file, last_index(version));
        match state.blocks.peek(&last) {
            Some((cached, block))
                if block.ends_file() && cached == version && position >= block.end() =>
            {
                Found::End
            }
            _ => Found::Nothing,
        }
    }

    /// The same of the disk. What is found there is cached in memory too.
    pub(super) fn load(&self, file: FileId, version: &Version, position: u64, len: usize) -> Found {
        let Some(disk) = &self.disk else {
            return Found::Nothing;
        };
        // At the end of the file, what is asked is whether the last block ends there.
        let index = index_of(position).min(last_index(version));
        let _alone = disk.load_alone(file, index);
        match self.slice(file, version, position, len) {
            Found::Nothing => {}
            found => return found,
        }
        let Some(block) = disk.read(file, version, index, |len| self.buffer(len)) else {
            return Found::Nothing;
        };
        let found = match block.slice(position, len) {
            Some(bytes) => Found::Bytes(bytes),
            None if block.ends_file() && position >= block.end() => Found::End,
            None => return Found::Nothing,
        };
        self.insert_in(&mut self.lock(), file, version, block);
        found
    }

    /// Lets the disk have what has arrived.
    pub(super) fn offer(&self, file: FileId, version: &Version, block: &Block) {
        if let Some(disk) = &self.disk {
            disk.offer(file, version, block);
        }
    }

    /// Lets the disk have what was fetched by itself, in as many blocks as it lies in.
    pub(super) fn offer_range(&self, file: FileId, version: &Version, start: u64, bytes: &Bytes) {
        if self.disk.is_none() {
            return;
        }
        let (mut rest, mut start) = (bytes.clone(), start);
        while !rest.is_empty() {
            let bound = (index_of(start) + 1) * BLOCK_BYTES as u64 - start;
            let len = usize::try_from(bound).map_or(rest.len(), |bound| bound.min(rest.len()));
            let mut block = Block::new(start);
            block.push(rest.split_to(len), len);
            start = block.end();
            self.offer(file, version, &block);
        }
    }

    /// Sets memory aside for a stream; blocks make room. Returns whether there was enough.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        let is_enough = self.make_room(&mut state, bytes);
        if is_enough {
            state.reserved += bytes;
        }
        is_enough
    }

    /// Takes over what a stream leaves behind, in exchange for what it had reserved.
    pub(super) fn settle(
        &self,
        file: FileId,
        version: &Version,
        blocks: impl Iterator<Item = Block>,
        reserved: usize,
    ) {
        let blocks: Vec<_> = blocks
            .inspect(|block| self.offer(file, version, block))
            .collect();
        let mut state = self.lock();
        state.reserved -= reserved;
        for block in blocks {
            self.insert_in(&mut state, file, version, block);
        }
    }

    /// A buffer of this length; its content is unspecified.
    pub(super) fn buffer(&self, len: usize) -> BytesMut {
        let spare = if len == BLOCK_BYTES {
            self.lock().spare.pop()
        } else {
            None
        };
        spare.unwrap_or_else(|| BytesMut::zeroed(len))
    }

    fn insert_in(&self, state: &mut State, file: FileId, version: &Version, block: Block) {
        let key = (file, block.index());
        if let Some((cached, known)) = state.blocks.peek(&key)
            && cached == version
            && known.covers(&block)
        {
            return;
        }
        state.take(key);
        if block.is_empty() || !self.make_room(state, weight(&block)) {
            self.recycle(state, block);
            return;
        }
        state.held += weight(&block);
        state.files.entry(file).or_default().insert(key.1);
        state.blocks.put(key, (*version, block));
    }

    /// Evicts until `bytes` more fit; returns whether they do.
    fn make_room(&self, state: &mut State, bytes: usize) -> bool {
        if state.reserved.saturating_add(bytes) > self.bytes_max {
            return false;
        }
        while state.held + state.reserved + bytes > self.bytes_max {
            let Some(key) = state.blocks.peek_lru().map(|(key, _)| *key) else {
                return false;
            };
            if let Some(block) = state.take(key) {
                self.recycle(state, block);
            }
        }
        true
    }

    fn recycle(&self, state: &mut State, block: Block) {
        if state.spare.len() < self.spare_max
            && let Some(buffer) = block.into_buffer()
        {
            state.spare.push(buffer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a block takes in the cache.
fn weight(block: &Block) -> usize {
    block.allocated() + OVERHEAD_BYTES
}

impl State {
    fn take(&mut self, key: (FileId, u64)) -> Option<Block> {
        let (_, block) = self.blocks.pop(&key)?;
        self.held -= weight(&block);
        if let Some(indexes) = self.files.get_mut(&key.0) {
            indexes.remove(&key.1);
            if indexes.is_empty() {
                self.files.remove(&key.0);
            }
        }
        Some(block)
    }
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("BlockCache")
            .field("bytes_max", &self.bytes_max)
            .field("blocks", &state.blocks.len())
            .field("held", &state.held)
            .field("reserved", &state.reserved)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
