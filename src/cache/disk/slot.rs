//! One block on disk: a header that tells whose it is, and its bytes.
//!
//! ```text
//!   part file:  | slot 0 | slot 1 | ... | slot 63 |       a slot that was never written is a hole
//!   slot:       | header 128 bytes | up to 256 KiB of content | unused |
//!   header:     | magic | format | path | size, time | index | start, len | checksum | zeros |
//! ```
//!
//! The checksum covers the header and the content, so a write that was cut off is found out like any other damage, and
//! nothing has to be synchronised. It guards against accidents: whoever can write here can read and change the files anyway.

use std::{fs::File, hash::Hasher, io, os::unix::fs::FileExt};

use bytes::BytesMut;
use twox_hash::XxHash3_64;

use super::key::{FORMAT, FileKey, PART_BLOCKS};
use crate::cache::block::{BLOCK_BYTES, Block};

/// What a slot begins with.
const MAGIC: u32 = u32::from_le_bytes(*b"ftpB");

pub(super) const HEADER_BYTES: usize = 128;

/// Where the checksum stands in the header.
const CHECKSUM_AT: usize = 72;

/// From one slot to the next: a header and a whole block, rounded up to pages.
pub(super) const STRIDE: u64 = (BLOCK_BYTES + 4096) as u64;

/// What reading a slot brings.
#[derive(Debug)]
pub(super) enum Slot {
    Block(Block),
    /// Nothing was written there, or nothing that can be read.
    Absent,
    /// The checksum does not fit.
    Damaged,
}

struct Header([u8; HEADER_BYTES]);

/// Where in its part a block's slot begins.
fn offset(index: u64) -> u64 {
    index % PART_BLOCKS * STRIDE
}

/// How much of the disk a block of this length takes: whole pages.
pub(super) fn disk_bytes(len: usize) -> u64 {
    ((HEADER_BYTES + len) as u64).next_multiple_of(4096)
}

/// Reads a block; `buffer` provides the memory.
pub(super) fn read(
    file: &File,
    key: &FileKey,
    index: u64,
    buffer: impl FnOnce(usize) -> BytesMut,
) -> io::Result<Slot> {
    let Some(header) = Header::read(file, index)? else {
        return Ok(Slot::Absent);
    };
    let Some((start, len)) = header.extent(key, index) else {
        return Ok(Slot::Absent);
    };
    let mut content = buffer(len);
    match file.read_exact_at(&mut content, offset(index) + HEADER_BYTES as u64) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Slot::Damaged),
        other => other?,
    }
    if header.checksum() != header.checksum_with([&*content]) {
        return Ok(Slot::Damaged);
    }
    let mut block = Block::new(start);
    block.push(content.freeze(), len);
    if block.end() == key.size {
        block.set_ends_file();
    }
    Ok(Slot::Block(block))
}

/// Writes a block, unless there is one already that is as good.
pub(super) fn write(file: &File, key: &FileKey, block: &Block) -> io::Result<()> {
    let index = block.index();
    if let Some(old) = Header::read(file, index)?
        && let Some((start, len)) = old.extent(key, index)
    {
        let covers = start <= block.start() && start + len as u64 >= block.end();
        if covers || len > block.len() {
            return Ok(());
        }
        erase(file, index)?;
    }
    // The header comes last: whoever reads meanwhile finds nothing rather than damage.
    let mut at = offset(index) + HEADER_BYTES as u64;
    for part in block.parts() {
        file.write_all_at(part, at)?;
        at += part.len() as u64;
    }
    file.write_all_at(&Header::of(key, block).0, offset(index))
}

/// Lets a block be absent.
pub(super) fn erase(file: &File, index: u64) -> io::Result<()> {
    file.write_all_at(&[0; HEADER_BYTES], offset(index))
}

impl Header {
    fn of(key: &FileKey, block: &Block) -> Self {
        let mut header = Self::begun(key, block.index());
        header.put(
            64,
            &u32_of(block.start() % BLOCK_BYTES as u64).to_le_bytes(),
        );
        header.put(68, &u32_of(block.len() as u64).to_le_bytes());
        let checksum = header.checksum_with(block.parts().iter().map(|part| &**part));
        header.put(CHECKSUM_AT, &checksum.to_le_bytes());
        header
    }

    /// The fields that say whose block it is.
    fn begun(key: &FileKey, index: u64) -> Self {
        let mut header = Self([0; HEADER_BYTES]);
        header.put(0, &MAGIC.to_le_bytes());
        header.put(4, &FORMAT.to_le_bytes());
        header.put(8, &key.path.to_le_bytes());
        header.put(24, &key.size.to_le_bytes());
        header.put(32, &key.seconds.to_le_bytes());
        header.put(40, &key.nanoseconds.to_le_bytes());
        header.put(48, &index.to_le_bytes());
        header
    }

    /// What stands at a slot's begin; `None` behind the end of the file.
    fn read(file: &File, index: u64) -> io::Result<Option<Self>> {
        let mut header = Self([0; HEADER_BYTES]);
        match file.read_exact_at(&mut header.0, offset(index)) {
            Ok(()) => Ok(Some(header)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Offset in the file and length of the content, if it is of this file and place.
    fn extent(&self, key: &FileKey, index: u64) -> Option<(u64, usize)> {
        if self.0.get(..64) != Self::begun(key, index).0.get(..64) {
            return None;
        }
        let (start, len) = (self.number(64)?, self.number(68)?);
        let is_sound = len > 0 && start as usize + len as usize <= BLOCK_BYTES;
        let start = index * BLOCK_BYTES as u64 + u64::from(start);
        is_sound.then_some((start, len as usize))
    }

    fn checksum(&self) -> u64 {
        let bytes = self.0.get(CHECKSUM_AT..CHECKSUM_AT + 8);
        bytes.map_or(0, |bytes| {
            u64::from_le_bytes(bytes.try_into().unwrap_or_default())
        })
    }

    /// What the checksum has to be with this content.
    fn checksum_with<'a>(&self, content: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut hasher = XxHash3_64::with_seed(0);
        hasher.write(self.0.get(..CHECKSUM_AT).unwrap_or_default());
        for part in content {
            hasher.write(part);
        }
        hasher.finish()
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(field) = self.0.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }

    fn number(&self, at: usize) -> Option<u32> {
        let bytes = self.0.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }
}

/// A place in a block.
fn u32_of(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
