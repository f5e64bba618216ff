//! Files that others may not read: at no moment are their bytes on the server with a mode that lets others in.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ftpfs::{
    fs::Change,
    remote::{
        RemoteErrorKind,
        memory::{Content, MemoryRemote, Operation},
    },
};

use crate::world::{APPEND, TRUNCATE, WRITE, World, path, pattern};

/// How often each operation is watched.
const WATCHED_MAX: usize = 60;

/// Whether, before any command of a change, a file had content that others may read whom `mode` keeps out.
fn watch(world: &World, mode: u32) -> Arc<AtomicBool> {
    let was_open = Arc::new(AtomicBool::new(false));
    for operation in [
        Operation::OpenUpload,
        Operation::WriteAll,
        Operation::Finish,
        Operation::Settle,
        Operation::Put,
        Operation::Rename,
        Operation::RemoveFile,
    ] {
        for _ in 0..WATCHED_MAX {
            let was_open = was_open.clone();
            world.server.before(operation, move |server| {
                if is_open(server, mode) {
                    was_open.store(true, Ordering::Relaxed);
                }
            });
        }
    }
    was_open
}

/// Whether a file that holds something lets others in whom `mode` keeps out.
fn is_open(server: &MemoryRemote, mode: u32) -> bool {
    let tree = server.tree();
    tree.iter().any(|(at, node)| {
        let is_in_room = at.parent().and_then(|dir| server.node(&dir));
        let is_closed = is_in_room.is_some_and(|dir| dir.mode == 0o700);
        let has_content = matches!(&node.content, Content::File(bytes) if !bytes.is_empty());
        has_content && !is_closed && node.mode & !mode & 0o077 != 0
    })
}

fn mode_on_server(world: &World, at: &str) -> u32 {
    world.server.node(&path(at)).unwrap().mode
}

/// Makes a file as `install -m` does.
fn make(world: &World, at: &str, mode: u32, content: &[u8]) -> Result<(), i32> {
    let (_, opened) = world.create_with(at, mode, TRUNCATE)?;
    for (index, part) in content.chunks(128 << 10).enumerate() {
        world.write(opened.handle, index as u64 * (128 << 10), part);
    }
    world.close(opened.handle)
}

// SEMANTICS: S-private
#[test]
fn a_file_that_others_may_not_read_has_its_mode_before_its_content() {
    for (mode, sizes) in [
        (0o600, [5, 100_000, 3_000_000]),
        (0o640, [1, 70_000, 1 << 20]),
    ] {
        for (can_overwrite, tells_mode) in [(true, true), (true, false), (false, true)] {
            let world = World::on_server(|server| {
                server.can_overwrite = can_overwrite;
                server.tells_mode = tells_mode;
            });
            let was_open = watch(&world, mode);
            for (number, size) in sizes.into_iter().enumerate() {
                let at = format!("/file{number}");
                let content = pattern(size, number as u64);
                make(&world, &at, mode, &content).unwrap();
                assert!(world.on(&at).unwrap() == content, "{mode:o} {size}");
                assert_eq!(mode_on_server(&world, &at), mode, "{size}");
                // And once more over it.
                if can_overwrite {
                    world.save(&at, &pattern(size + 1, 7)).unwrap();
                    assert_eq!(mode_on_server(&world, &at), mode, "{size}");
                }
            }
            world.eventually("nothing is left", |world| world.leftovers().is_empty());
            assert!(
                !was_open.load(Ordering::Relaxed),
                "{mode:o} {can_overwrite} {tells_mode}"
            );
        }
    }
}

// SEMANTICS: S-private
#[test]
fn the_watch_sees_a_file_that_is_open_for_a_moment() {
    let world = World::on_server(|server| server.can_set_mode = false);
    let was_open = watch(&world, 0o600);
    make(&world, "/file", 0o600, &pattern(3_000_000, 1)).unwrap();
    world.save("/file", b"over it").unwrap();
    assert!(was_open.load(Ordering::Relaxed));
}

// SEMANTICS: S-private
#[test]
fn where_new_files_are_as_narrow_nothing_is_done_twice() {
    let world = World::on_server(|server| server.file_mode = 0o600);
    world.mkdir("/d").unwrap();
    make(&world, "/d/first", 0o600, b"shows what new files get").unwrap();
    world.server.forget_calls();
    make(&world, "/d/second", 0o600, b"content").unwrap();
    assert_eq!(world.calls(Operation::Put), 1);
    assert_eq!(world.calls(Operation::Rename), 0);
    // In another directory it may be otherwise.
    world.mkdir("/e").unwrap();
    world
        .server
        .set_behaviour(|server| server.file_mode = 0o644);
    let was_open = watch(&world, 0o600);
    make(&world, "/e/file", 0o600, b"content").unwrap();
    assert!(!was_open.load(Ordering::Relaxed));
}

// SEMANTICS: S-private
#[test]
fn a_file_that_is_closed_to_others_gets_its_new_bytes_after_that() {
    for at in ["/small", "/large", "/empty"] {
        let world = World::new();
        world.put("/small", b"old");
        world.put("/large", &pattern(2 << 20, 1));
        world.put("/empty", b"");
        let handle = world.open(at, APPEND).unwrap();
        world.write(handle, 0, b"secret");
        let seen = Arc::new(AtomicBool::new(false));
        for operation in [Operation::OpenUpload, Operation::Put] {
            let seen = seen.clone();
            world.server.before(operation, move |server| {
                let node = server.node(&path(at)).unwrap();
                seen.store(node.mode == 0o600, Ordering::Relaxed);
            });
        }
        let change = Change {
            mode: Some(0o600),
            ..Change::default()
        };
        world.setattr(at, &change).unwrap();
        world.close(handle).unwrap();
        assert!(world.on(at).unwrap().ends_with(b"secret"), "{at}");
        assert!(seen.load(Ordering::Relaxed), "{at}");
    }
}

// SEMANTICS: S-private
#[test]
fn a_server_without_modes_gets_the_file_all_the_same() {
    for can_overwrite in [true, false] {
        let world = World::on_server(|server| {
            server.can_set_mode = false;
            server.can_overwrite = can_overwrite;
        });
        for size in [5, 100_000, 3_000_000] {
            let at = format!("/file{size}");
            make(&world, &at, 0o600, &pattern(size, 1)).unwrap();
            assert!(world.on(&at).unwrap() == pattern(size, 1));
        }
        world.eventually("nothing is left", |world| world.leftovers().is_empty());
    }
}

// SEMANTICS: S-private
#[test]
fn a_mount_that_is_killed_leaves_no_private_directory_behind() {
    let mut world = World::on_server(|server| server.can_overwrite = false);
    world
        .server
        .fail_next(Operation::Finish, 1, RemoteErrorKind::Disconnected);
    for nth in 1..200 {
        world
            .server
            .fail_next(Operation::RemoveDir, nth, RemoteErrorKind::Disconnected);
        world
            .server
            .fail_next(Operation::RemoveFile, nth, RemoteErrorKind::Disconnected);
    }
    let (_, opened) = world.create_with("/file", 0o600, WRITE).unwrap();
    world.write(opened.handle, 0, &pattern(100_000, 1));
    let _ = world.close(opened.handle);
    assert!(!world.leftovers().is_empty());
    world.kill();
    world.server.forget_faults();
    // A thread of the first mount may own its list for a moment longer.
    world.eventually("nothing is left", |world| {
        world.fs.adopt_debts();
        world.fs.pay_debts() && world.leftovers().is_empty()
    });
}
