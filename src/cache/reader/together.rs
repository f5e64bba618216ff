//! READs that come at once, in any order, as the kernel sends them for a program that reads on.

use super::{
    tests::{KIB, MIB, Scene},
    *,
};
use crate::cache::{FileId, testing::eventually};

/// How long a read is given to find its stream, or to start one that it should not.
const HEAD_START: std::time::Duration = std::time::Duration::from_millis(3);

/// The READs `order`, numbers of MiB behind `start`, each through its cursor, from as many threads, which begin in that order.
fn read_at_once(scene: &Scene, reader: &Reader, start: usize, order: &[(usize, &Cursor)]) {
    std::thread::scope(|scope| {
        for (read, cursor) in order {
            let (offset, cursor) = (start + read * MIB, *cursor);
            scope.spawn(move || scene.check(reader, cursor, offset, MIB));
            std::thread::sleep(HEAD_START);
        }
        scene.server.hold_from(None);
    });
}

const ORDERS: [[usize; 4]; 5] = [
    [0, 1, 2, 3],
    [3, 2, 1, 0],
    [2, 3, 0, 1],
    [1, 3, 0, 2],
    [3, 0, 1, 2],
];

// SEMANTICS: S-read
#[test]
fn reads_that_come_at_once_are_one_download_whatever_their_order() {
    for (order, budget) in ORDERS
        .iter()
        .flat_map(|order| [(order, 64 * MIB), (order, 12 * MIB)])
    {
        let scene = Scene::with(16 * MIB, budget, 3);
        let (reader, cursor) = (scene.reader(1), scene.cursor());
        scene.check(&reader, &cursor, 0, 256 * KIB);
        let batches = (256 * KIB..12 * MIB).step_by(4 * MIB);
        for start in batches {
            // Nothing of it has come when they do.
            scene.server.hold_from(Some(start as u64));
            for read in 0..4 {
                let offset = (start + read * MIB) as u64;
                let _ = reader.read_cached(&cursor, offset, MIB);
            }
            let order = order.map(|read| (read, &cursor));
            read_at_once(&scene, &reader, start, &order);
        }
        assert_eq!(
            scene.server.downloads(),
            [(0, None)],
            "{order:?} of {budget}"
        );
    }
}

// SEMANTICS: S-read
#[test]
fn the_first_reads_of_a_file_may_come_at_once() {
    for order in ORDERS {
        let scene = Scene::new(16 * MIB);
        let (reader, cursor) = (scene.reader(1), scene.cursor());
        scene.server.hold_from(Some(0));
        for read in 0..4 {
            scene
                .engine
                .expect(FileId(1), &cursor, (read * MIB) as u64, MIB);
        }
        let reads = order.map(|read| (read, &cursor));
        read_at_once(&scene, &reader, 0, &reads);
        assert_eq!(scene.server.downloads(), [(0, None)], "{order:?}");
    }
}

// SEMANTICS: S-read
#[test]
fn two_handles_read_on_at_once_with_one_download() {
    for order in ORDERS {
        let scene = Scene::new(16 * MIB);
        let (reader, one, other) = (scene.reader(1), scene.cursor(), scene.cursor());
        scene.server.hold_from(Some(MIB as u64));
        scene.check(&reader, &one, 0, MIB);
        let cursors = [&one, &one, &other, &other];
        for (read, cursor) in cursors.iter().enumerate() {
            let offset = ((1 + read) * MIB) as u64;
            assert!(reader.read_cached(cursor, offset, MIB).is_none());
        }
        let reads = order.map(|read| (read, cursors[read]));
        read_at_once(&scene, &reader, MIB, &reads);
        assert_eq!(scene.server.downloads(), [(0, None)], "{order:?}");
    }
}

#[test]
fn random_reads_at_once_through_one_handle_fetch_exactly_what_was_asked() {
    let scene = Scene::new(32 * MIB);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    let places = [17, 3, 29, 8, 11, 26].map(|place| place * MIB);
    for place in places {
        let _ = reader.read_cached(&cursor, place as u64, 4 * KIB);
    }
    std::thread::scope(|scope| {
        for place in places {
            let (scene, reader, cursor) = (&scene, &reader, &cursor);
            scope.spawn(move || scene.check(reader, cursor, place, 4 * KIB));
        }
    });
    let mut opened = scene.server.downloads();
    opened.sort_unstable();
    let mut exact = places.map(|place| (place as u64, Some(4 * KIB as u64)));
    exact.sort_unstable();
    assert_eq!(opened, exact);
}

#[test]
fn reads_at_once_after_a_seek_are_one_stream_more() {
    for order in ORDERS {
        let scene = Scene::new(32 * MIB);
        let (reader, cursor) = (scene.reader(1), scene.cursor());
        scene.check(&reader, &cursor, 0, MIB);
        for read in 0..4 {
            let offset = (20 + read) * MIB;
            let _ = reader.read_cached(&cursor, offset as u64, MIB);
        }
        let reads = order.map(|read| (read, &cursor));
        read_at_once(&scene, &reader, 20 * MIB, &reads);
        // The first of them may be fetched by itself.
        let opened = scene.server.downloads();
        assert!(opened.len() <= 3, "{order:?}: {opened:?}");
        assert!(
            opened[1..]
                .iter()
                .all(|(offset, _)| *offset <= 21 * MIB as u64)
        );
    }
}

#[test]
fn a_read_that_never_begins_holds_nobody_up() {
    let scene = Scene::new(16 * MIB);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    scene.check(&reader, &cursor, 0, 128 * KIB);
    scene.server.hold_from(Some(512 * KIB as u64));
    assert!(reader.read_cached(&cursor, 600 * KIB as u64, MIB).is_none());
    scene.server.hold_from(None);
    for offset in (2 * MIB..14 * MIB).step_by(MIB) {
        scene.check(&reader, &cursor, offset, MIB);
    }
    reader.close();
    eventually("all ends", || scene.server.downloads_open() == 0);
}
