//! Reading: any pattern, over what was written, and while the server's file changes.

use std::time::Duration;

use ftpfs::remote::{Phase, RemoteErrorKind as Kind, memory::Operation};

use crate::world::{READ, WRITE, World, path, pattern};

const MIB: usize = 1 << 20;

#[test]
fn every_place_is_read_as_it_lies_on_the_server() {
    for cache in [0, 64 << 20] {
        let world = World::with(|setup| setup.cache.bytes_max = cache);
        let content = pattern(MIB + 12_345, 1);
        world.put("/file", &content);
        let handle = world.open("/file", READ).unwrap();
        let len = content.len();
        for (at, count) in [
            (0, 1),
            (1, 4096),
            (len - 1, 1),
            (len - 1, 100),
            (len, 10),
            (len + 5, 10),
            (300_000, 128 << 10),
            (262_143, 2),
            (0, len),
            (len / 2, len),
            (262_144, 262_144),
            (5, 0),
        ] {
            let expected = &content[at.min(len)..(at + count).min(len)];
            assert!(
                world.read(handle, at as u64, count).unwrap() == expected,
                "{count} at {at}"
            );
        }
        assert!(world.read_handle(handle).unwrap() == content);
        let backwards = (0..len.div_ceil(100_000)).rev().all(|index| {
            let at = index * 100_000;
            world.read(handle, at as u64, 100_000).unwrap() == content[at..(at + 100_000).min(len)]
        });
        assert!(backwards);
    }
}

#[test]
fn two_handles_read_one_file_at_two_places() {
    let world = World::new();
    let content = pattern(2 * MIB, 1);
    world.put("/file", &content);
    let (one, two) = (
        world.open("/file", READ).unwrap(),
        world.open("/file", READ).unwrap(),
    );
    for index in 0..8 {
        let (low, high) = (index * 100_000, MIB + index * 100_000);
        assert!(world.read(one, low as u64, 100_000).unwrap() == content[low..low + 100_000]);
        assert!(world.read(two, high as u64, 100_000).unwrap() == content[high..high + 100_000]);
    }
}

#[test]
fn what_was_written_covers_what_lies_on_the_server() {
    let world = World::new();
    let mut content = pattern(300_000, 1);
    world.put("/file", &content);
    let handle = world.open("/file", WRITE).unwrap();
    for (at, data) in [
        (0, &b"start"[..]),
        (100_000, b"middle"),
        (299_998, b"end and more"),
    ] {
        world.write(handle, at as u64, data);
        content.resize(content.len().max(at + data.len()), 0);
        content[at..at + data.len()].copy_from_slice(data);
    }
    assert!(world.read_handle(handle).unwrap() == content);
    let other = world.open("/file", READ).unwrap();
    assert!(
        world.read_handle(other).unwrap() == content,
        "another handle sees it too"
    );
    world.close(handle).unwrap();
    assert!(world.read_handle(other).unwrap() == content);
    assert!(world.cat("/file").unwrap() == content);
}

#[test]
fn bytes_behind_a_cut_do_not_come_back() {
    let world = World::new();
    world.put("/file", &pattern(10_000, 1));
    let handle = world.open("/file", WRITE).unwrap();
    let ino = world.ino("/file");
    for len in [100, 5000] {
        let change = ftpfs::fs::Change {
            size: Some(len),
            ..Default::default()
        };
        world.fs.setattr(ino, &change, Some(handle)).unwrap();
    }
    let expected = [&pattern(10_000, 1)[..100], &vec![0; 4900]].concat();
    assert!(world.read_handle(handle).unwrap() == expected);
    world.close(handle).unwrap();
    assert!(world.on("/file").unwrap() == expected);
}

#[test]
fn a_file_that_grew_on_the_server_is_read_to_its_new_end_after_the_ttl() {
    let world = World::new();
    world.put("/log", b"one,");
    let handle = world.open("/log", READ).unwrap();
    assert_eq!(world.read_handle(handle).unwrap(), b"one,");
    world.put("/log", b"one,two");
    world.expire();
    assert_eq!(world.size("/log"), 7);
    assert_eq!(world.read_handle(handle).unwrap(), b"one,two");
}

#[test]
fn a_file_that_shrank_ends_where_it_ends_now() {
    let world = World::new();
    world.put("/file", &pattern(500_000, 1));
    let handle = world.open("/file", READ).unwrap();
    assert_eq!(world.read(handle, 0, 10).unwrap().len(), 10);
    world.clock.advance(Duration::from_secs(1));
    world.put("/file", b"short");
    world.expire();
    assert_eq!(world.size("/file"), 5);
    assert_eq!(world.read_handle(handle).unwrap(), b"short");
    assert_eq!(world.read(handle, 100, 10).unwrap(), b"");
}

#[test]
fn a_read_that_fails_says_why_and_the_next_succeeds() {
    let table = [
        (Kind::Disconnected, libc::EIO),
        (Kind::Failed, libc::EIO),
        (Kind::Busy, libc::EBUSY),
        (Kind::Refused, libc::EACCES),
        (Kind::TimedOut(Phase::Data), libc::ETIMEDOUT),
        (Kind::Protocol, libc::EIO),
    ];
    for (kind, errno) in table {
        for step in [Operation::OpenDownload, Operation::Read] {
            let world = World::new();
            let content = pattern(100_000, 1);
            world.put("/file", &content);
            let handle = world.open("/file", READ).unwrap();
            world.server.fail_next(step, 1, kind);
            assert_eq!(
                world.read(handle, 50_000, 1000),
                Err(errno),
                "{kind:?} at {step:?}"
            );
            assert!(world.read(handle, 50_000, 1000).unwrap() == content[50_000..51_000]);
            assert!(world.read_handle(handle).unwrap() == content);
        }
    }
}

/// A program reads on after a download broke off, in the same handle or in another; others may have replaced the file meanwhile.
fn after_a_break(is_replaced: bool, is_reopened: bool) {
    let world = World::new();
    let (old, new) = (pattern(900_000, 1), pattern(700_000, 2));
    world.put("/file", &old);
    let handle = world.open("/file", READ).unwrap();
    world
        .server
        .fail_next(Operation::Read, 2, Kind::Disconnected);
    // What the first answer has brought is kept.
    assert_eq!(world.read(handle, 0, 800_000), Err(libc::EIO));
    if is_replaced {
        world.put("/file", &new);
    }
    let now = if is_replaced { &new } else { &old };
    let case = format!("replaced: {is_replaced}, opened anew: {is_reopened}");
    if is_reopened {
        world.fs.release(handle);
        assert!(world.cat("/file").unwrap() == *now, "{case}");
        return;
    }
    let asked = || world.calls(Operation::Settle) + world.calls(Operation::List);
    let before = asked();
    let read = world.read(handle, 1000, 500_000).unwrap();
    assert!(read == now[1000..501_000], "{case}");
    assert!(world.read_handle(handle).unwrap() == *now, "{case}");
    assert_eq!(asked() - before, 1, "asked once");
    world.fs.release(handle);
}

// SEMANTICS: S-read-broken
#[test]
fn what_came_before_a_break_is_never_joined_to_another_version() {
    for is_replaced in [false, true] {
        for is_reopened in [false, true] {
            after_a_break(is_replaced, is_reopened);
        }
    }
}

// SEMANTICS: S-read-written
#[test]
fn what_was_written_and_sent_is_not_mixed_with_what_others_have_put_there_since() {
    let world = World::new();
    world.put("/file", &pattern(5000, 1));
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 5000, &pattern(5000, 2));
    world.fs.fsync(handle).unwrap();
    let theirs = pattern(10_000, 3);
    world.put("/file", &theirs);
    assert!(world.read(handle, 1, 20_000).unwrap() == theirs[1..]);
}

// SEMANTICS: S-removed-elsewhere
#[test]
fn a_file_removed_behind_our_back_is_enoent_for_its_reader() {
    let world = World::new();
    world.put("/file", b"content");
    let handle = world.open("/file", READ).unwrap();
    world.server.remove(&path("/file"));
    assert_eq!(world.read(handle, 0, 10), Err(libc::ENOENT));
}

#[test]
fn what_was_read_once_is_not_fetched_again() {
    let world = World::new();
    let content = pattern(500_000, 1);
    world.put("/file", &content);
    assert!(world.cat("/file").unwrap() == content);
    let before = world.requests();
    assert!(world.cat("/file").unwrap() == content);
    assert_eq!(world.requests(), before);
}

#[test]
fn a_random_reader_fetches_what_it_asked_for() {
    let world = World::new();
    world.put("/file", &pattern(4 * MIB, 1));
    let handle = world.open("/file", READ).unwrap();
    for at in [3 * MIB, MIB, 2 * MIB] {
        world.read(handle, at as u64, 4096).unwrap();
    }
    assert_eq!(world.calls(Operation::OpenDownload), 3);
    assert!(world.calls(Operation::Read) <= 6);
}

#[test]
fn a_server_that_hands_out_single_bytes_is_read_all_the_same() {
    let world = World::on_server(|server| server.read_bytes_max = Some(7));
    let content = pattern(5000, 1);
    world.put("/file", &content);
    let handle = world.open("/file", READ).unwrap();
    assert!(world.read(handle, 1000, 3000).unwrap() == content[1000..4000]);
    assert!(world.cat("/file").unwrap() == content);
}

#[test]
fn a_new_file_reads_as_empty_without_asking() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    let before = world.requests();
    assert_eq!(world.read_handle(handle).unwrap(), b"");
    assert_eq!(world.requests(), before);
}
