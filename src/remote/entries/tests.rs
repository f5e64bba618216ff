//! What is put in comes out, in the order of the names, whatever was done before.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    record::{KINDS, PRECISIONS, UNIQUE_BYTES_MAX},
    *,
};
use crate::{
    budget::Budget,
    remote::{EntryKind, Modified, Permissions},
};

fn entry(name: &str, size: u64) -> RemoteEntry {
    let mut entry = RemoteEntry::new(name.as_bytes(), EntryKind::File);
    entry.size = Some(size);
    entry
}

fn any_entry() -> impl Strategy<Value = RemoteEntry> {
    let some_bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 1..200));
    let time = (any::<i64>(), 0..1_000_000_000_u32, 0..PRECISIONS.len());
    let known = (
        prop::option::of(any::<u64>()),
        prop::option::of(time),
        prop::option::of(0..0o10_000_u32),
        prop::option::of(any::<u16>()),
    );
    let name = prop::collection::vec(any::<u8>(), 1..4);
    (name, 0..KINDS.len(), known, some_bytes(), some_bytes()).prop_map(
        |(name, kind, (size, time, mode, permissions), target, unique)| RemoteEntry {
            name: name.into(),
            kind: KINDS[kind],
            size,
            modified: time.map(|(seconds, nanoseconds, precision)| Modified {
                seconds,
                nanoseconds,
                precision: PRECISIONS[precision],
            }),
            mode,
            target: target.map(Into::into),
            permissions: permissions.map(Permissions::from_bits),
            unique: unique.map(Into::into),
        },
    )
}

/// Both hold the same, and each look finds it.
fn assert_same(entries: &Entries, model: &BTreeMap<Box<[u8]>, RemoteEntry>) {
    assert_eq!(entries.len(), model.len());
    assert_eq!(entries.is_empty(), model.is_empty());
    for (index, (name, expected)) in model.iter().enumerate() {
        let expected = Some(expected.as_borrowed());
        assert_eq!(entries.find(name), expected);
        assert_eq!(entries.position(name), Some(index));
        assert_eq!(entries.get(index), expected);
    }
    assert_eq!(entries.get(model.len()), None);
    let all = entries.iter().map(EntryRef::to_entry);
    assert!(all.eq(model.values().cloned()));
    for start in [0, 1, model.len() / 2, model.len(), model.len() + 1] {
        let behind = entries.iter_from(start).map(EntryRef::to_entry);
        assert!(behind.eq(model.values().skip(start).cloned()));
    }
}

proptest! {
    #[test]
    fn they_are_what_was_put_in(
        first in prop::collection::vec(any_entry(), 0..150),
        changes in prop::collection::vec((any_entry(), any::<bool>()), 0..40),
    ) {
        let mut model = BTreeMap::new();
        for entry in &first {
            model.insert(entry.name.clone(), entry.clone());
        }
        let mut entries: Entries = first.into_iter().collect();
        assert_same(&entries, &model);
        let (before, model_before) = (entries.clone(), model.clone());
        for (entry, is_removal) in changes {
            if is_removal {
                prop_assert_eq!(entries.remove(&entry.name), model.remove(&entry.name).is_some());
            } else {
                entries.upsert(entry.as_borrowed());
                model.insert(entry.name.clone(), entry);
            }
        }
        assert_same(&entries, &model);
        assert_same(&before, &model_before);
        let sizeless = entries.map(|entry| entry.size = None);
        prop_assert_eq!(sizeless.len(), model.len());
        prop_assert!(sizeless.iter().all(|entry| entry.size.is_none()));
    }
}

#[test]
fn many_in_any_order_take_little_and_all_of_it_is_counted() {
    const COUNT: u64 = 100_000;
    // 48 271 has no factor in common with the count, so that each number comes once.
    let orders: [fn(u64) -> u64; 3] = [
        |index| index,
        |index| COUNT - 1 - index,
        |index| index * 48_271 % COUNT,
    ];
    for (place, of) in orders.into_iter().enumerate() {
        let budget = Budget::new(usize::MAX);
        let mut gathering = Gathering::in_budget(&budget);
        for index in 0..COUNT {
            let number = of(index);
            let mut entry = entry(&format!("file number {number:07}.txt"), number);
            entry.mode = Some(0o644);
            entry.modified = Some(Modified::from_seconds(1_772_183_112));
            entry.unique = Some(format!("801U{number:X}").as_bytes().into());
            gathering.push(entry.as_borrowed());
        }
        let entries = gathering.finish();
        assert_eq!(entries.len(), 100_000);
        assert!(entries.iter().map(|entry| entry.size.unwrap()).eq(0..COUNT));
        assert_eq!(budget.used(), entries.bytes());
        // Those that come in order fill their segments.
        let each_max = if place == 0 { 60 } else { 110 };
        assert!(
            entries.bytes() < each_max * 100_000,
            "{place}: {}",
            entries.bytes()
        );
        let shared = entries.clone();
        assert_eq!(budget.used(), entries.bytes());
        drop((entries, shared));
        assert_eq!(budget.used(), 0);
    }
}

#[test]
fn the_shortest_lines_do_not_take_much_more_than_their_text() {
    let mut gathering = Gathering::default();
    for index in 0..200_000_u32 {
        let name = index.to_be_bytes();
        gathering.push(EntryRef::new(&name[1..], EntryKind::File));
    }
    let bytes = gathering.finish().bytes();
    assert!(bytes < 16 * 200_000, "{bytes}");
}

#[test]
fn what_is_longer_than_any_is_known_no_more() {
    let mut link = RemoteEntry::new(&b"l"[..], EntryKind::Symlink);
    link.target = Some(vec![b't'; TARGET_BYTES_MAX + 1].into());
    link.unique = Some(vec![b'u'; UNIQUE_BYTES_MAX + 1].into());
    let entries: Entries = [link].into_iter().collect();
    let link = entries.find(b"l").unwrap();
    assert_eq!((link.target, link.unique), (None, None));
}
