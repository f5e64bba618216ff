//! Writing: anywhere, with holes, past the end; truncate and fallocate.

use ftpfs::fs::{Change, PreallocateMode};

use crate::world::{APPEND, READ, WRITE, World, errno, pattern};

#[test]
fn a_write_anywhere_arrives_where_it_was_written() {
    let world = World::new();
    let mut content = pattern(200_000, 1);
    world.put("/file", &content);
    let handle = world.open("/file", WRITE).unwrap();
    for (at, len, seed) in [
        (0, 10, 2),
        (65_530, 20, 3),
        (199_990, 10, 4),
        (100_000, 70_000, 5),
        (65_536, 65_536, 6),
    ] {
        world.write(handle, at as u64, &pattern(len, seed));
        content[at..at + len].copy_from_slice(&pattern(len, seed));
    }
    world.close(handle).unwrap();
    assert!(world.on("/file").unwrap() == content);
}

#[test]
fn a_gap_behind_the_end_is_zeros_here_and_there() {
    for old in [&b""[..], b"old"] {
        let world = World::new();
        world.put("/file", old);
        let handle = world.open("/file", WRITE).unwrap();
        world.write(handle, 100_000, b"end");
        let mut expected = old.to_vec();
        expected.resize(100_000, 0);
        expected.extend_from_slice(b"end");
        assert_eq!(world.size("/file"), 100_003);
        assert!(world.read_handle(handle).unwrap() == expected);
        world.close(handle).unwrap();
        assert!(world.on("/file").unwrap() == expected);
    }
}

#[test]
fn two_writers_share_one_file() {
    let world = World::new();
    let (one, two) = (
        world.create("/file", WRITE).unwrap(),
        world.open("/file", WRITE).unwrap(),
    );
    world.write(one, 0, b"aaaa");
    world.write(two, 2, b"bbbb");
    assert_eq!(world.read_handle(one).unwrap(), b"aabbbb");
    world.close(one).unwrap();
    assert_eq!(
        world.on("/file").unwrap(),
        b"aabbbb",
        "a close brings up what all have written"
    );
    world.write(two, 6, b"cc");
    world.close(two).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"aabbbbcc");
}

#[test]
fn a_close_of_a_reader_uploads_nothing() {
    let world = World::new();
    let (writer, reader) = (
        world.create("/file", WRITE).unwrap(),
        world.open("/file", READ).unwrap(),
    );
    world.write(writer, 0, b"content");
    world.close(reader).unwrap();
    assert_eq!(world.on("/file"), None);
    world.close(writer).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"content");
}

#[test]
fn a_file_is_cut_off_and_grows_with_zeros() {
    let content = pattern(100_000, 1);
    for len in [0, 1, 50_000, 65_536, 99_999, 100_000, 100_001, 150_000] {
        for through_handle in [false, true] {
            let world = World::new();
            world.put("/file", &content);
            let mut expected = content.clone();
            expected.resize(len, 0);
            if through_handle {
                let handle = world.open("/file", WRITE).unwrap();
                let change = Change {
                    size: Some(len as u64),
                    ..Change::default()
                };
                let attr = world
                    .fs
                    .setattr(world.ino("/file"), &change, Some(handle))
                    .unwrap();
                assert_eq!(attr.size, len as u64);
                assert!(world.read_handle(handle).unwrap() == expected);
                world.close(handle).unwrap();
            } else {
                world.truncate("/file", len as u64).unwrap();
            }
            assert!(
                world.on("/file").unwrap() == expected,
                "{len}, handle {through_handle}"
            );
            assert!(world.cat("/file").unwrap() == expected);
        }
    }
}

#[test]
fn fallocate_grows_reserves_and_zeroes() {
    let world = World::new();
    world.put("/file", b"0123456789");
    let handle = world.open("/file", WRITE).unwrap();
    let allocate = |range, mode| world.fs.fallocate(handle, range, mode).map_err(errno);
    allocate(0..100, PreallocateMode::Reserve).unwrap();
    assert_eq!(world.size("/file"), 10);
    allocate(0..5, PreallocateMode::Grow).unwrap();
    assert_eq!(world.size("/file"), 10);
    allocate(8..14, PreallocateMode::Grow).unwrap();
    assert_eq!(world.size("/file"), 14);
    allocate(2..4, PreallocateMode::Zero).unwrap();
    allocate(13..100, PreallocateMode::Zero).unwrap();
    allocate(50..100, PreallocateMode::Zero).unwrap();
    assert_eq!(world.size("/file"), 14);
    assert_eq!(
        allocate(0..u64::MAX, PreallocateMode::Grow),
        Err(libc::EFBIG)
    );
    world.close(handle).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"01\x00\x00456789\0\0\0\0");
}

#[test]
fn a_write_beyond_the_largest_size_is_efbig() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    let written = world.fs.write(handle, i64::MAX as u64, b"x").map_err(errno);
    assert_eq!(written, Err(libc::EFBIG));
    let written = world.fs.write(handle, u64::MAX, b"xy").map_err(errno);
    assert_eq!(written, Err(libc::EFBIG));
    world.close(handle).unwrap();
}

#[test]
fn a_failure_names_the_file_that_the_user_knows() {
    let world = World::new();
    let handle = world.create("/log", WRITE).unwrap();
    let failures = [
        world.fs.write(handle, u64::MAX, b"xy").unwrap_err(),
        world
            .fs
            .fallocate(handle, 0..u64::MAX, PreallocateMode::Grow)
            .unwrap_err(),
    ];
    for failure in failures {
        assert_eq!(failure.to_string(), "/log: too large");
    }
    world.close(handle).unwrap();
    // There is no path that this could be about.
    let unknown = world.fs.write(handle, 0, b"x").unwrap_err();
    assert_eq!(unknown.to_string(), "no longer known");
}

#[test]
fn appending_goes_to_the_end_that_other_writers_have_made() {
    let world = World::new();
    world.put("/log", b"one,");
    let (log, other) = (
        world.open("/log", APPEND).unwrap(),
        world.open("/log", WRITE).unwrap(),
    );
    world.write(other, 4, b"two,");
    world.write(log, 0, b"three,");
    world.fs.fsync(log).unwrap();
    world.write(log, 0, b"four");
    world.close(log).unwrap();
    world.close(other).unwrap();
    assert_eq!(world.on("/log").unwrap(), b"one,two,three,four");
}

#[test]
fn a_huge_sparse_file_costs_no_memory_until_it_is_sent() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    world.write(handle, 1 << 39, b"x");
    assert_eq!(world.size("/file"), (1 << 39) + 1);
    assert_eq!(world.read(handle, (1 << 39) - 2, 10).unwrap(), b"\0\0x");
    world.unlink("/file").unwrap();
    world.fs.release(handle);
}
