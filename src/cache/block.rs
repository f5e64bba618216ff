//! Blocks of file content: what one is, where in its file it lies, and which content of the file it is of.

use bytes::{Bytes, BytesMut};

use crate::remote::{Modified, Reported};

/// The size of a block, which starts at a multiple of it. 256 KiB: two READs of the kernel's usual 128 KiB; bigger ones cost
/// more to throw away, smaller ones more to keep account of.
pub const BLOCK_BYTES: usize = 256 << 10;

/// A file, as the caller numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u64);

/// Which content of a file is meant: what was seen of it, and how often we changed it ourselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Version {
    /// Its size in bytes.
    pub size: u64,
    /// When the server says that it was modified.
    pub modified: Option<Modified>,
    /// Counts our own changes.
    pub epoch: u64,
}

impl Version {
    /// What of it the server has reported.
    pub fn reported(&self) -> Reported {
        Reported {
            size: self.size,
            modified: self.modified,
        }
    }

    /// Takes the epoch of what was known before, where size and time are the same: nobody has changed the file since.
    pub fn adopt_epoch(&mut self, known: Option<Self>) -> bool {
        let same = known.filter(|known| known.size == self.size && known.modified == self.modified);
        if let Some(known) = same {
            self.epoch = known.epoch;
        }
        same.is_some()
    }
}

/// Content of a file that lies within one block's bounds; the whole block, or the part of it that was fetched.
#[derive(Debug, Clone)]
pub struct Block {
    start: u64,
    len: usize,
    /// In order and without gaps; several where a reader waited for the first while the rest was on its way.
    parts: Vec<Bytes>,
    /// The memory behind the parts, which may be more than their length.
    allocated: usize,
    /// Whether the file ends where this block ends.
    ends_file: bool,
}

impl Block {
    /// An empty block that starts at this offset of the file.
    pub(super) fn new(start: u64) -> Self {
        Self {
            start,
            len: 0,
            parts: Vec::with_capacity(1),
            allocated: 0,
            ends_file: false,
        }
    }

    /// A block of its own memory with a copy of `content`, which starts at `start` in the file and may not cross a
    /// block's bound.
    pub fn copy_of(start: u64, content: &[u8]) -> Self {
        let mut block = Self::new(start);
        block.push(Bytes::copy_from_slice(content), content.len());
        block
    }

    /// How many bytes it holds.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The memory behind its bytes.
    pub(super) fn allocated(&self) -> usize {
        self.allocated
    }

    /// What it holds, in order.
    pub(super) fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// Adds what follows; `allocated` is the memory that it takes and that was not counted with an earlier part.
    pub(super) fn push(&mut self, part: Bytes, allocated: usize) {
        self.len += part.len();
        self.allocated += allocated;
        self.parts.push(part);
        debug_assert!(self.len == 0 || self.index() == index_of(self.end() - 1));
    }

    /// Whether the file ends where this block ends.
    pub(super) fn ends_file(&self) -> bool {
        self.ends_file
    }

    pub(super) fn set_ends_file(&mut self) {
        self.ends_file = true;
    }

    /// Which block of the file it is.
    pub fn index(&self) -> u64 {
        index_of(self.start)
    }

    /// The offset in the file where it starts.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The offset in the file behind its last byte.
    pub fn end(&self) -> u64 {
        self.start + self.len as u64
    }

    /// What lies at `position` in the file, at most `len` bytes, at least one, fewer where a part ends; no copy.
    pub fn slice(&self, position: u64, len: usize) -> Option<Bytes> {
        let mut skip = usize::try_from(position.checked_sub(self.start)?).ok()?;
        for part in &self.parts {
            if skip < part.len() {
                return Some(part.slice(skip..part.len().min(skip.saturating_add(len))));
            }
            skip -= part.len();
        }
        None
    }

    /// Whether all that `other` tells is in this block too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.start <= other.start
            && self.end() >= other.end()
            && (self.ends_file || !other.ends_file)
    }

    /// The buffer of a whole block that nobody else holds any more.
    pub(super) fn into_buffer(mut self) -> Option<BytesMut> {
        if self.len != BLOCK_BYTES || self.parts.len() != 1 {
            return None;
        }
        let buffer = self.parts.pop()?.try_into_mut().ok()?;
        (buffer.len() == BLOCK_BYTES).then_some(buffer)
    }
}

/// The block of a file that an offset lies in.
pub(super) fn index_of(offset: u64) -> u64 {
    offset / BLOCK_BYTES as u64
}

/// The last block of a file.
pub(super) fn last_index(version: &Version) -> u64 {
    index_of(version.size.saturating_sub(1))
}

/// What the cache knows of one place in a file.
#[derive(Debug)]
pub(super) enum Found {
    /// At least one byte of it.
    Bytes(Bytes),
    /// The file ends at or before it.
    End,
    /// Nothing.
    Nothing,
}
