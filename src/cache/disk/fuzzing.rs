//! What must hold whatever lies in the cache's directory, checked for the target `slot` of `fuzz/`.
#![allow(
    clippy::unwrap_used,
    reason = "a check panics where something does not hold"
)]

use std::{fs::File, hash::Hasher, os::unix::fs::FileExt};

use bytes::BytesMut;
use rustix::fs::{MemfdFlags, memfd_create};
use twox_hash::XxHash3_64;

use super::{
    key::{FileKey, PART_BLOCKS, PartKey},
    slot::{self, HEADER_BYTES, STRIDE, Slot},
};
use crate::cache::block::{BLOCK_BYTES, Block};

/// Where the fields of the header end that the checksum covers.
const COVERED_BYTES: usize = 72;

/// How many blocks a file can have whose size is an offset.
const BLOCKS_MAX: u64 = i64::MAX as u64 / BLOCK_BYTES as u64;

/// A block that is damaged on disk is not taken for one that is not.
///
/// The block number `index` of a file, with this content from `start` on, is written, and the bits of `damage` are flipped in the slot from
/// `at` on.
pub fn damaged_slot(index: u64, start: u32, content: &[u8], at: u16, damage: &[u8]) {
    let (file, key, block) = written(index, start, content);
    let begin = block.index() % PART_BLOCKS * STRIDE;
    let used = HEADER_BYTES + block.len();
    let at = usize::from(at) % used;
    let mut stored = vec![0; used];
    file.read_exact_at(&mut stored, begin).unwrap();
    let mut is_covered = false;
    for ((place, byte), flips) in stored.iter_mut().enumerate().skip(at).zip(damage) {
        *byte ^= flips;
        is_covered |= *flips != 0 && !(COVERED_BYTES + 8..HEADER_BYTES).contains(&place);
    }
    file.write_all_at(&stored, begin).unwrap();
    match read(&file, &key, block.index()) {
        Slot::Block(found) => {
            assert!(!is_covered, "damage was not noticed");
            assert_same(&found, &block);
        }
        Slot::Absent | Slot::Damaged => assert!(is_covered, "a whole block was not found"),
    }
    stands_after_all(&file, &key, &block);
}

/// Any bytes are no block, but for those that have this key and the right checksum; and a block can be written over them.
///
/// The slot holds `bytes`; behind `seals`, with the fields of the right key and the checksum.
pub fn any_slot(index: u64, start: u32, seals: Option<u32>, bytes: &[u8]) {
    let (file, key, block) = written(index, start, b"x");
    let begin = block.index() % PART_BLOCKS * STRIDE;
    let mut stored = bytes.to_vec();
    if let Some(len) = seals {
        let mut head = [0; 68];
        file.read_exact_at(&mut head, begin).unwrap();
        for (byte, sealed) in stored.iter_mut().zip(head) {
            *byte = sealed;
        }
        if let Some(field) = stored.get_mut(68..72) {
            field.copy_from_slice(&len.to_le_bytes());
        }
        let sum = checksum(&stored, len as usize);
        if let Some(field) = stored.get_mut(COVERED_BYTES..COVERED_BYTES + 8) {
            field.copy_from_slice(&sum.to_le_bytes());
        }
    }
    file.set_len(begin).unwrap();
    file.write_all_at(&stored, begin).unwrap();
    let found = read(&file, &key, block.index());
    if let Slot::Block(found) = &found {
        let sum = stored.get(COVERED_BYTES..COVERED_BYTES + 8).unwrap();
        assert_eq!(sum, checksum(&stored, found.len()).to_le_bytes());
        let content = stored.get(HEADER_BYTES..HEADER_BYTES + found.len());
        assert_eq!(content.unwrap(), bytes_of(found));
        assert_eq!(found.index(), block.index());
        assert_eq!((found.end() - 1) / BLOCK_BYTES as u64, block.index());
        assert_eq!(found.ends_file(), found.end() == key.size);
    }
    stands_after_all(&file, &key, &block);
}

/// Any name in the cache's directory is a part's or is not; what is one has one name.
pub fn part_name(name: &str) {
    if let Some(part) = PartKey::parse(name) {
        assert_eq!(PartKey::parse(&part.name()), Some(part));
    }
}

/// A file with one block in it: number `index`, from `start` on, as far as it fits.
fn written(index: u64, start: u32, content: &[u8]) -> (File, FileKey, Block) {
    let index = index % BLOCKS_MAX;
    let start = start as usize % BLOCK_BYTES;
    let content = content.get(..BLOCK_BYTES - start).unwrap_or(content);
    let content = if content.is_empty() { b"x" } else { content };
    let block = Block::copy_of(index * BLOCK_BYTES as u64 + start as u64, content);
    let key = FileKey {
        path: 0x0123_4567_89ab_cdef << 64 | 0xfedc_ba98_7654_3210,
        size: block.end() + index % 2,
        seconds: 1_772_366_400,
        nanoseconds: 0,
    };
    let file = File::from(memfd_create("slot", MemfdFlags::CLOEXEC).unwrap());
    slot::write(&file, &key, &block).unwrap();
    (file, key, block)
}

/// Whatever was in the slot: once it is found to be damaged, it is written anew, and what is there is at least as good.
fn stands_after_all(file: &File, key: &FileKey, block: &Block) {
    slot::write(file, key, block).unwrap();
    match read(file, key, block.index()) {
        Slot::Block(found) => {
            let covers = found.start() <= block.start() && found.end() >= block.end();
            assert!(covers || found.len() > block.len());
            return;
        }
        Slot::Damaged => slot::erase(file, block.index()).unwrap(),
        Slot::Absent => panic!("nothing was written"),
    }
    assert!(matches!(read(file, key, block.index()), Slot::Absent));
    slot::write(file, key, block).unwrap();
    match read(file, key, block.index()) {
        Slot::Block(found) => assert_same(&found, block),
        other => panic!("{other:?}"),
    }
}

fn read(file: &File, key: &FileKey, index: u64) -> Slot {
    let buffer = |len| {
        assert!((1..=BLOCK_BYTES).contains(&len));
        BytesMut::zeroed(len)
    };
    slot::read(file, key, index, buffer).unwrap()
}

fn checksum(stored: &[u8], len: usize) -> u64 {
    let content = stored.get(HEADER_BYTES..).unwrap_or_default();
    let content = content.get(..len).unwrap_or(content);
    let mut hasher = XxHash3_64::with_seed(0);
    hasher.write(stored.get(..COVERED_BYTES).unwrap_or_default());
    hasher.write(content);
    hasher.finish()
}

fn assert_same(found: &Block, block: &Block) {
    assert_eq!(found.start(), block.start());
    assert_eq!(bytes_of(found), bytes_of(block));
}

fn bytes_of(block: &Block) -> Vec<u8> {
    block.parts().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checks_hold_for_whole_and_damaged_slots() {
        for (at, damage) in [(0, &b""[..]), (70, b"\x01"), (100, b"\xff"), (130, b"\x80")] {
            damaged_slot(65, 4, b"content", at, damage);
        }
        damaged_slot(0, 0, b"", 200, b"\0\0\x01");
        let bytes = [b'x'; 300];
        for seals in [None, Some(0), Some(1), Some(172), Some(173), Some(u32::MAX)] {
            any_slot(3, 9, seals, &bytes);
            any_slot(u64::MAX, u32::MAX, seals, &bytes);
            any_slot(64, 0, seals, &[]);
        }
        part_name("0-1-2-3-4.v1");
        part_name("+0-1-2-3-4.v1");
    }
}
