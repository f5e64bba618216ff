//! How READs that come at once, or one after the other, are placed.

use super::*;

const FILE: FileId = FileId(1);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// One handle.
#[derive(Default)]
struct Handle {
    id: u64,
    front: Front,
}

impl Handle {
    fn new(id: u64) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    fn place(&self) -> (u64, &Front) {
        (self.id, &self.front)
    }

    fn begin<'a>(&self, under_way: &'a UnderWay, offset: u64, len: u64) -> Begun<'a> {
        under_way.begin(FILE, self.place(), offset, usize::try_from(len).unwrap())
    }

    fn arrive(&self, under_way: &UnderWay, offset: u64, len: u64) {
        under_way.arrive(FILE, self.place(), offset, usize::try_from(len).unwrap());
    }
}

/// All orders of four.
fn orders() -> Vec<[u64; 4]> {
    let all = (0..256).map(|n| [n / 64, n / 16 % 4, n / 4 % 4, n % 4]);
    all.filter(|order| (0..4).all(|read| order.contains(&read)))
        .collect()
}

#[test]
fn reads_that_arrive_in_order_have_one_head_whoever_of_them_begins_first() {
    for order in orders() {
        let (under_way, handle) = (UnderWay::default(), Handle::new(1));
        (0..4).for_each(|read| handle.arrive(&under_way, read * MIB, MIB));
        let begun = order.map(|read| handle.begin(&under_way, read * MIB, MIB));
        for read in &begun {
            assert_eq!(read.head(), 0, "{order:?}");
            assert!(matches!(read.pattern(), Pattern::Continues(from) if from <= read.offset()));
        }
        assert_eq!(under_way.lock().len(), 4, "each was taken over");
        drop(begun);
        assert!(under_way.lock().is_empty());
    }
}

#[test]
fn a_read_that_another_event_loop_brings_late_belongs_to_its_sequence() {
    let (under_way, handle) = (UnderWay::default(), Handle::new(1));
    for (offset, len) in [(MIB, MIB), (0, MIB), (3 * MIB, 256 * KIB), (2 * MIB, MIB)] {
        handle.arrive(&under_way, offset, len);
    }
    for (offset, len) in [(3 * MIB, 256 * KIB), (MIB, MIB), (2 * MIB, MIB), (0, MIB)] {
        let begun = handle.begin(&under_way, offset, len);
        assert!(matches!(begun.pattern(), Pattern::Continues(from) if from <= offset));
        assert_eq!(begun.head(), 0);
        std::mem::forget(begun);
    }
}

#[test]
fn a_head_moves_on_with_the_reads_that_are_answered() {
    let (under_way, handle) = (UnderWay::default(), Handle::new(1));
    let first = handle.begin(&under_way, 0, MIB);
    let second = handle.begin(&under_way, MIB, MIB);
    let third = handle.begin(&under_way, 2 * MIB, MIB);
    assert_eq!(third.head(), 0);
    drop(first);
    assert_eq!(third.head(), MIB);
    // It waits for nothing that the others would wait for too.
    second.fetches();
    assert_eq!(third.head(), 2 * MIB);
    drop(second);
    assert_eq!(third.head(), 2 * MIB);
}

#[test]
fn reads_far_apart_stand_by_themselves_also_at_once() {
    let (under_way, handle) = (UnderWay::default(), Handle::new(1));
    for read in [7, 3, 900, 12, 5000].map(|place| place * 64 * KIB) {
        let begun = handle.begin(&under_way, read, 4 * KIB);
        assert_eq!(begun.pattern(), Pattern::Random, "{read}");
        assert_eq!(begun.head(), read);
        std::mem::forget(begun);
    }
}

#[test]
fn reads_of_two_handles_side_by_side_are_one_run() {
    let under_way = UnderWay::default();
    let (one, other) = (Handle::new(1), Handle::new(2));
    let _first = one.begin(&under_way, 10 * MIB, MIB);
    let second = other.begin(&under_way, 11 * MIB, MIB);
    assert_eq!(second.head(), 10 * MIB);
    let elsewhere = under_way.begin(FileId(2), other.place(), 12 * MIB, 4096);
    assert_eq!(elsewhere.head(), 12 * MIB, "another file");
}

#[test]
fn a_read_again_starts_nothing_and_a_seek_back_begins_a_sequence() {
    let (under_way, handle) = (UnderWay::default(), Handle::new(1));
    let pattern = |offset| handle.begin(&under_way, offset, 4 * KIB).pattern();
    assert_eq!(pattern(100 * KIB), Pattern::Random);
    assert_eq!(pattern(104 * KIB), Pattern::Continues(104 * KIB));
    assert_eq!(pattern(100 * KIB), Pattern::Random, "again");
    assert_eq!(pattern(108 * KIB), Pattern::Continues(108 * KIB));
    assert_eq!(pattern(8 * KIB), Pattern::Random, "back");
    assert_eq!(pattern(12 * KIB), Pattern::Continues(12 * KIB));
}

#[test]
fn what_never_begins_is_forgotten_with_its_file_and_never_too_much() {
    let (under_way, handle) = (UnderWay::default(), Handle::new(1));
    for read in 0..2 * READS_MAX as u64 {
        handle.arrive(&under_way, read * MIB, MIB);
    }
    assert_eq!(under_way.lock().len(), READS_MAX);
    let begun = handle.begin(&under_way, 0, MIB);
    under_way.forget(FILE);
    assert_eq!(under_way.lock().len(), 1, "what a worker has stays");
    drop(begun);
    assert!(under_way.lock().is_empty());
}
