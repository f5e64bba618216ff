//! The room on the server: how far files may grow, and what is not sent again to a server that has none.

use std::time::Duration;

use ftpfs::{
    fs::Round,
    remote::{RemoteErrorKind as Kind, memory::Operation},
};

use crate::world::{APPEND, TRUNCATE, WRITE, World, errno, path, pattern};

const GIB: u64 = 1 << 30;

/// What a program does.
type MakeRoom = fn(&World);

/// A server that reports so much free space.
fn with_free(free: u64) -> World {
    let world = World::on_server(|behaviour| behaviour.space = Some(free));
    world.put("/file", b"content");
    world
}

fn allocate(world: &World, at: &str, len: u64) -> Result<(), i32> {
    let handle = world.open(at, WRITE).unwrap();
    let grown = world
        .fs
        .fallocate(handle, 0..len, ftpfs::fs::PreallocateMode::Grow);
    world
        .fs
        .setattr(
            world.ino(at),
            &ftpfs::fs::Change {
                size: Some(7),
                ..Default::default()
            },
            Some(handle),
        )
        .unwrap();
    world.close(handle).unwrap();
    grown.map_err(errno)
}

/// Lets the next uploads meet a full server.
fn fill(world: &World, kind: Kind) {
    for nth in 1..=30 {
        world.server.fail_next(Operation::Put, nth, kind);
        world.server.fail_next(Operation::OpenUpload, nth, kind);
    }
}

fn uploads(world: &World) -> u64 {
    world.calls(Operation::Put) + world.calls(Operation::OpenUpload)
}

/// A file that a full server did not take at its close, nor afterwards by itself.
fn refused(world: &World, at: &str, kind: Kind) {
    let handle = world.create(at, TRUNCATE).unwrap();
    world.write(handle, 0, &pattern(3000, 1));
    fill(world, kind);
    let told = match kind {
        Kind::NoSpace => libc::ENOSPC,
        _ => libc::EDQUOT,
    };
    assert_eq!(world.close(handle), Err(told));
    world.server.forget_faults();
    world.server.forget_calls();
    for _ in 0..3 {
        world.fs.retry();
        world.advance(Duration::from_mins(5));
    }
    assert_eq!(uploads(world), 0, "sent again by itself");
    assert_eq!(world.cat(at).unwrap(), pattern(3000, 1));
}

// SEMANTICS: S-too-large
#[test]
fn a_file_grows_at_once_as_far_as_the_server_has_room() {
    let world = with_free(3 * GIB);
    assert_eq!(allocate(&world, "/file", 3 * GIB + 7), Ok(()));
    assert_eq!(allocate(&world, "/file", 3 * GIB + 8), Err(libc::EFBIG));
    let handle = world.open("/file", WRITE).unwrap();
    let far = world.fs.write(handle, 1 << 39, b"x").map_err(errno);
    assert_eq!(far, Err(libc::EFBIG));
    world.close(handle).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"content");
    // Where it reports nothing, the limit of the mount is all there is.
    let world = World::new();
    world.put("/file", b"content");
    assert_eq!(allocate(&world, "/file", 1 << 40), Ok(()));
    assert_eq!(allocate(&world, "/file", (1 << 40) + 1), Err(libc::EFBIG));
}

// SEMANTICS: S-too-large
#[test]
fn many_holes_count_as_one() {
    let world = with_free(2 * GIB);
    let handle = world.open("/file", WRITE).unwrap();
    let mut at = 0;
    let refused = loop {
        at += GIB / 2;
        assert!(at < 10 * GIB, "holes without end");
        if let Err(error) = world.fs.write(handle, at, b"x") {
            break error.errno();
        }
    };
    assert_eq!(refused, libc::EFBIG);
    assert_eq!(at, 2 * GIB + GIB / 2, "the first that is too far");
}

// SEMANTICS: S-too-large
#[test]
fn the_free_space_is_asked_for_once_and_never_for_ordinary_writes() {
    let world = with_free(100 * GIB);
    world.save("/new", &pattern(3_000_000, 1)).unwrap();
    let handle = world.open("/new", APPEND).unwrap();
    world.write(handle, 0, b"more");
    world.close(handle).unwrap();
    world.truncate("/new", 4_000_000).unwrap();
    assert_eq!(world.calls(Operation::Space), 0);
    let handle = world.open("/file", WRITE).unwrap();
    for step in 1..20 {
        world.fs.write(handle, step * 2 * GIB, b"x").unwrap();
    }
    assert_eq!(world.calls(Operation::Space), 1);
    // It takes no wait of a thread that must not wait.
    let cached = |at| world.fs.write_cached_by(handle, 0, at, b"x");
    assert!(cached(60 * GIB).unwrap().is_ok());
    world.advance(Duration::from_secs(10));
    assert!(cached(80 * GIB).is_none(), "too old");
    world.fs.write(handle, 80 * GIB, b"x").unwrap();
    world.truncate("/file", 7).unwrap();
}

// SEMANTICS: S-no-space
#[test]
fn what_a_full_server_refused_goes_up_when_a_program_asks_or_writes() {
    for kind in [Kind::NoSpace, Kind::QuotaExceeded] {
        let world = World::new();
        refused(&world, "/file", kind);
        let handle = world.open("/file", WRITE).unwrap();
        world.fs.fsync(handle).unwrap();
        assert_eq!(world.on("/file").unwrap(), pattern(3000, 1));
        world.close(handle).unwrap();

        let world = World::new();
        refused(&world, "/file", kind);
        let handle = world.open("/file", WRITE).unwrap();
        world.write(handle, 0, b"changed");
        fill(&world, Kind::Disconnected);
        world.close(handle).unwrap_err();
        world.server.forget_faults();
        world.fs.retry();
        assert_eq!(world.on("/file").unwrap()[..7], *b"changed");

        let world = World::new();
        refused(&world, "/file", kind);
        world.rename("/file", "/moved").unwrap();
        assert_eq!(world.on("/moved").unwrap(), pattern(3000, 1));
    }
}

// SEMANTICS: S-no-space
#[test]
fn what_a_full_server_refused_goes_up_when_this_mount_has_made_room() {
    let makers: [(&str, MakeRoom); 4] = [
        ("unlink", |world| world.unlink("/other").unwrap()),
        ("truncate", |world| world.truncate("/other", 10).unwrap()),
        ("rename over", |world| {
            world.rename("/small", "/other").unwrap();
        }),
        ("unlink of an open file", |world| {
            let handle = world.open("/other", WRITE).unwrap();
            world.unlink("/other").unwrap();
            world.fs.retry();
            world.close(handle).unwrap();
        }),
    ];
    for (what, make_room) in makers {
        let world = World::new();
        world.put("/other", &pattern(100_000, 2));
        world.put("/small", b"small");
        refused(&world, "/file", Kind::NoSpace);
        make_room(&world);
        assert_eq!(world.fs.retry(), Round::Well, "{what}");
        assert_eq!(world.on("/file"), Some(pattern(3000, 1)), "{what}");
    }
}

// SEMANTICS: S-no-space
#[test]
fn what_a_full_server_refused_goes_up_when_it_reports_enough_more_space() {
    let world = with_free(1000);
    refused(&world, "/new", Kind::NoSpace);
    let report = |free| {
        world
            .server
            .set_behaviour(|behaviour| behaviour.space = Some(free));
        world.advance(Duration::from_mins(5));
        world.fs.retry()
    };
    assert_eq!(report(2000), Round::InVain);
    assert_eq!(uploads(&world), 0, "still too little");
    assert_eq!(report(3000), Round::Well);
    assert_eq!(world.on("/new").unwrap(), pattern(3000, 1));
    // A quota that is not what the server reports: only more than ever counts.
    refused(&world, "/second", Kind::QuotaExceeded);
    assert_eq!(report(3000), Round::InVain);
    assert_eq!(report(2000), Round::InVain);
    assert_eq!(report(3000), Round::InVain);
    assert_eq!(uploads(&world), 0);
    assert_eq!(report(4000), Round::Well);
    assert_eq!(world.on("/second").unwrap(), pattern(3000, 1));
}

// SEMANTICS: S-no-space
#[test]
fn the_end_of_a_mount_keeps_it_and_sends_the_others() {
    let world = World::new();
    refused(&world, "/file", Kind::NoSpace);
    let handle = world.create("/other", TRUNCATE).unwrap();
    world.write(handle, 0, b"other");
    assert!(!world.fs.drain(Duration::from_mins(10)), "at once");
    assert_eq!(world.on("/other").unwrap(), b"other");
    assert_eq!(world.calls(Operation::Put), 1, "the other one");
    let unsent = world.fs.keep_unsent();
    assert_eq!(unsent.len(), 1);
    assert_eq!(unsent[0].error.errno(), libc::ENOSPC);
    let kept = unsent[0].kept.as_ref().unwrap();
    assert_eq!(std::fs::read(&kept.copy).unwrap(), pattern(3000, 1));
    assert!(world.server.read_file(&path("/file")).is_none());
}

// SEMANTICS: S-no-space
#[test]
fn one_file_that_does_not_fit_keeps_no_other_back() {
    let world = World::new();
    refused(&world, "/large", Kind::NoSpace);
    let handle = world.create("/small", TRUNCATE).unwrap();
    world.write(handle, 0, b"small");
    fill(&world, Kind::Disconnected);
    world.close(handle).unwrap_err();
    world.server.forget_faults();
    assert_eq!(world.fs.retry(), Round::Well);
    assert_eq!(world.on("/small").unwrap(), b"small");
    assert!(world.on("/large").is_none());
}
