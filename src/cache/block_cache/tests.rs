//! Tests of the block cache.

use super::*;

const FILE: FileId = FileId(1);
const BLOCK: u64 = BLOCK_BYTES as u64;

fn version(size: u64) -> Version {
    Version {
        size,
        modified: None,
        epoch: 0,
    }
}

fn whole(index: u64) -> Block {
    Block::copy_of(
        index * BLOCK,
        &vec![u8::try_from(index).unwrap(); BLOCK_BYTES],
    )
}

fn has(cache: &BlockCache, index: u64) -> bool {
    cache.get(FILE, &version(9), index).is_some()
}

#[test]
fn least_recently_used_block_makes_room_and_the_budget_holds() {
    let budget = 3 * (BLOCK_BYTES + OVERHEAD_BYTES);
    let cache = BlockCache::new(budget);
    for index in 0..3 {
        cache.insert(FILE, &version(9), whole(index));
    }
    assert!(has(&cache, 0));
    cache.insert(FILE, &version(9), whole(3));
    assert!(has(&cache, 0) && !has(&cache, 1) && has(&cache, 2) && has(&cache, 3));
    for index in 0..100 {
        cache.insert(FILE, &version(9), whole(index));
        assert!(cache.bytes() <= budget);
    }
}

#[test]
fn reservations_push_blocks_out_and_stop_at_the_budget() {
    let budget = 4 * BLOCK_BYTES;
    let cache = BlockCache::new(budget);
    for index in 0..3 {
        cache.insert(FILE, &version(9), whole(index));
    }
    assert!(cache.reserve(2 * BLOCK_BYTES));
    assert!(cache.bytes() <= budget);
    assert!(has(&cache, 2) && !has(&cache, 0));
    assert!(!cache.reserve(3 * BLOCK_BYTES));
    cache.settle(FILE, &version(9), [whole(7)].into_iter(), 2 * BLOCK_BYTES);
    assert!(has(&cache, 7) && has(&cache, 2));
    assert!(cache.reserve(budget));
    assert_eq!(cache.bytes(), budget);
    cache.insert(FILE, &version(9), whole(1));
    assert!(!has(&cache, 1));
}

#[test]
fn blocks_are_of_one_version_and_of_one_file() {
    let cache = BlockCache::new(1 << 20);
    cache.insert(FILE, &version(9), whole(0));
    cache.insert(FileId(2), &version(9), whole(0));
    let mut changed = version(9);
    changed.epoch = 1;
    assert!(cache.get(FILE, &changed, 0).is_none());
    cache.insert(FILE, &changed, Block::copy_of(0, b"new"));
    assert_eq!(
        cache.get(FILE, &changed, 0).unwrap().slice(1, 9).unwrap(),
        "ew"
    );
    assert!(!has(&cache, 0), "the older version is gone");
    cache.invalidate(FILE);
    assert!(cache.get(FILE, &changed, 0).is_none());
    assert!(cache.get(FileId(2), &version(9), 0).is_some());
    cache.invalidate(FileId(2));
    assert_eq!(cache.bytes(), 0);
}

#[test]
fn parts_are_sliced_without_a_copy_and_the_end_is_known() {
    let cache = BlockCache::new(1 << 20);
    let source = Bytes::from(vec![7; 10]);
    let mut block = Block::new(BLOCK);
    block.push(source.slice(..4), 10);
    block.push(source.slice(4..), 0);
    block.set_ends_file();
    let seen = version(BLOCK + 10);
    cache.insert(FILE, &seen, block);
    let Found::Bytes(slice) = cache.slice(FILE, &seen, BLOCK + 1, 100) else {
        panic!()
    };
    assert_eq!((slice.len(), slice.as_ptr()), (3, source[1..].as_ptr()));
    let Found::Bytes(slice) = cache.slice(FILE, &seen, BLOCK + 4, 100) else {
        panic!()
    };
    assert_eq!(slice.len(), 6);
    assert!(matches!(
        cache.slice(FILE, &seen, BLOCK + 10, 1),
        Found::End
    ));
    assert!(matches!(cache.slice(FILE, &seen, 5 * BLOCK, 1), Found::End));
    assert!(matches!(cache.slice(FILE, &seen, 0, 1), Found::Nothing));
    assert!(matches!(
        cache.slice(FILE, &version(9), BLOCK + 10, 1),
        Found::Nothing
    ));
}

#[test]
fn a_lesser_part_of_a_block_does_not_replace_the_greater() {
    let cache = BlockCache::new(1 << 20);
    cache.insert(FILE, &version(9), whole(0));
    cache.insert(FILE, &version(9), Block::copy_of(100, b"part"));
    assert_eq!(cache.get(FILE, &version(9), 0).unwrap().end(), BLOCK);
}

#[test]
fn buffers_of_evicted_blocks_are_used_again_unless_somebody_holds_them() {
    let cache = BlockCache::new(16 * BLOCK_BYTES);
    let fill = || {
        let buffer = cache.buffer(BLOCK_BYTES);
        let at = buffer.as_ptr();
        let mut block = Block::new(0);
        block.push(buffer.freeze(), BLOCK_BYTES);
        cache.insert(FILE, &version(9), block);
        at
    };
    let evict = || (1..16).for_each(|index| cache.insert(FILE, &version(9), whole(index)));
    let first = fill();
    let reader = cache.get(FILE, &version(9), 0).unwrap();
    evict();
    assert_ne!(fill(), first);
    assert_eq!(reader.start(), 0);
    cache.invalidate(FILE);
    let second = fill();
    evict();
    assert_eq!(cache.buffer(BLOCK_BYTES).as_ptr(), second);
    assert!(cache.bytes() <= 16 * BLOCK_BYTES);
}
