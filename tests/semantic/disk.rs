//! The disk cache: what the next mount need not fetch, and what it must.

use std::time::{Duration, SystemTime};

use ftpfs::{
    config::DiskConfig,
    fs::{Change, NewTime},
    remote::memory::Operation,
};

use crate::world::{World, path, pattern};

/// Several blocks, and a piece.
const LEN: usize = 900_000;

/// A mount with a disk cache. The directory lives as long as the test.
fn world() -> (World, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let disk = DiskConfig {
        dir: dir.path().join("blocks"),
        server: "user@host:21/".into(),
        bytes_max: 1 << 30,
    };
    (World::with(|setup| setup.cache.disk = Some(disk)), dir)
}

/// The time that files have in these tests: long ago, so that their content is kept.
fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000)
}

fn put_old(world: &World, at: &str, content: &[u8]) {
    world.put(at, content);
    world.server.touch(&path(at), long_ago());
}

/// Reads a file, and how many downloads that cost.
fn cat(world: &World, at: &str) -> (Vec<u8>, u64) {
    let before = world.calls(Operation::OpenDownload);
    let content = world.cat(at).unwrap();
    (content, world.calls(Operation::OpenDownload) - before)
}

#[track_caller]
fn assert_kept(world: &World, at: &str, content: &[u8]) {
    let (read, downloads) = cat(world, at);
    assert!(read == content);
    assert_eq!(downloads, 0);
}

#[track_caller]
fn assert_fetched(world: &World, at: &str, content: &[u8]) {
    let (read, downloads) = cat(world, at);
    assert!(read == content);
    assert_ne!(downloads, 0);
}

// SEMANTICS: S-disk-cache
#[test]
fn what_was_read_is_there_after_a_restart() {
    for len in [1, 5000, LEN, 1 << 20] {
        let (mut world, _dir) = world();
        let content = pattern(len, 1);
        put_old(&world, "/dir/file", &content);
        assert_fetched(&world, "/dir/file", &content);
        world.restart();
        assert_kept(&world, "/dir/file", &content);
    }
}

// SEMANTICS: S-disk-version
#[test]
fn what_others_changed_is_fetched() {
    let (mut world, _dir) = world();
    put_old(&world, "/file", &pattern(LEN, 1));
    assert_fetched(&world, "/file", &pattern(LEN, 1));
    world.restart();
    world.put("/file", &pattern(LEN, 2));
    let later = long_ago() + Duration::from_secs(1);
    world.server.touch(&path("/file"), later);
    assert_fetched(&world, "/file", &pattern(LEN, 2));
    world.restart();
    assert_kept(&world, "/file", &pattern(LEN, 2));
}

// SEMANTICS: S-disk-version
#[test]
fn what_was_rewritten_here_with_its_old_size_and_time_is_fetched() {
    let (mut world, _dir) = world();
    put_old(&world, "/file", &pattern(LEN, 1));
    assert_fetched(&world, "/file", &pattern(LEN, 1));
    // As rsync -t and cp -p do.
    world.save("/file", &pattern(LEN, 2)).unwrap();
    let change = Change {
        modified: Some(NewTime::At(long_ago())),
        ..Change::default()
    };
    world.setattr("/file", &change).unwrap();
    world.restart();
    assert_eq!(world.attr("/file").modified, long_ago());
    assert_fetched(&world, "/file", &pattern(LEN, 2));
}

// SEMANTICS: S-disk-version
#[test]
fn a_file_in_the_place_of_another_of_its_size_and_time_is_fetched() {
    let (mut world, _dir) = world();
    let files = [("/one", 1), ("/two", 2)];
    for (name, seed) in files {
        put_old(&world, name, &pattern(LEN, seed));
    }
    for (name, seed) in files {
        assert_fetched(&world, name, &pattern(LEN, seed));
    }
    world.rename("/one", "/two").unwrap();
    world.restart();
    assert_fetched(&world, "/two", &pattern(LEN, 1));
    assert!(!world.exists("/one"));
}

// SEMANTICS: S-disk-version
#[test]
fn directories_that_take_each_others_place_bring_their_files() {
    let (mut world, _dir) = world();
    let files = [
        ("/now/sub/file", 1),
        ("/next/sub/file", 2),
        ("/other/file", 3),
    ];
    for (name, seed) in files {
        put_old(&world, name, &pattern(LEN, seed));
    }
    for (name, seed) in files {
        assert_fetched(&world, name, &pattern(LEN, seed));
    }
    world.rename("/now", "/before").unwrap();
    world.rename("/next", "/now").unwrap();
    world.restart();
    assert_fetched(&world, "/now/sub/file", &pattern(LEN, 2));
    assert_fetched(&world, "/before/sub/file", &pattern(LEN, 1));
    assert_kept(&world, "/other/file", &pattern(LEN, 3));
}

#[test]
fn files_that_were_fetched_ahead_are_kept_too() {
    let (mut world, _dir) = world();
    let names: Vec<_> = (0..10).map(|number| format!("/dir/{number}")).collect();
    for name in &names {
        put_old(&world, name, name.as_bytes());
    }
    for round in 0..2 {
        let before = world.calls(Operation::OpenDownload);
        for name in &names {
            assert_eq!(world.cat(name).unwrap(), name.as_bytes());
        }
        let downloads = world.calls(Operation::OpenDownload) - before;
        assert_eq!(downloads, if round == 0 { names.len() as u64 } else { 0 });
        world.restart();
    }
}
