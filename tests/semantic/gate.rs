//! Changes that find their session dead, or come too late after the look: they are sent again after another look, and only for what was meant.

use std::time::Duration;

use ftpfs::{
    fs::RenameMode,
    remote::{RemoteErrorKind as Kind, memory::Operation},
};

use crate::world::{APPEND, EXCLUSIVE, TRUNCATE, World, path, pattern};

const MIB: usize = 1 << 20;

/// Something that a program does, the operation of the server that changes something for it, and what is there afterwards.
type Doing = (
    &'static str,
    Operation,
    fn(&World) -> Result<(), i32>,
    &'static [(&'static str, Option<&'static [u8]>)],
);

const DOINGS: &[Doing] = &[
    (
        "a new small file",
        Operation::Put,
        |world| world.save("/new", b"new"),
        &[("/new", Some(b"new"))],
    ),
    (
        "a small file that is replaced",
        Operation::OpenUpload,
        |world| world.save("/file", b"new"),
        &[("/file", Some(b"new"))],
    ),
    (
        "the rename that puts a file in the place of another",
        Operation::Rename,
        |world| world.save("/file", b"new"),
        &[("/file", Some(b"new"))],
    ),
    (
        "an append",
        Operation::OpenUpload,
        |world| {
            let handle = world.open("/file", APPEND)?;
            world.write(handle, 0, b" and more");
            world.close(handle)
        },
        &[("/file", Some(b"old and more"))],
    ),
    (
        "a rename",
        Operation::Rename,
        |world| world.rename("/file", "/new"),
        &[("/new", Some(b"old")), ("/file", None)],
    ),
    (
        "a rename over a file",
        Operation::Rename,
        |world| world.rename("/other", "/file"),
        &[("/file", Some(b"other")), ("/other", None)],
    ),
    (
        "a removal",
        Operation::RemoveFile,
        |world| world.unlink("/file"),
        &[("/file", None)],
    ),
    (
        "the removal of a directory",
        Operation::RemoveDir,
        |world| world.rmdir("/dir"),
        &[],
    ),
    (
        "a new directory",
        Operation::MakeDir,
        |world| world.mkdir("/newdir"),
        &[],
    ),
];

fn world() -> World {
    let world = World::new();
    world.put("/file", b"old");
    world.put("/other", b"other");
    world.server.write_dir(&path("/dir"));
    world.names("/").unwrap();
    world
}

// SEMANTICS: S-reconnect
#[test]
fn a_change_whose_session_had_died_while_it_was_idle_is_sent_again_after_a_look() {
    for (what, operation, run, after) in DOINGS {
        let world = world();
        world.server.idle_session_dies(*operation);
        assert_eq!(run(&world), Ok(()), "{what}");
        for (name, content) in *after {
            assert_eq!(world.on(name).as_deref(), *content, "{what}: {name}");
        }
        world.eventually("no file of ours is left", |world| {
            world.leftovers().is_empty()
        });
    }
}

// SEMANTICS: S-tenet-evidence
#[test]
fn a_change_that_would_leave_too_late_after_the_look_waits_for_another_one() {
    for (what, operation, run, after) in DOINGS {
        let world = world();
        let clock = world.clock.clone();
        // As long a wait for a session.
        world
            .server
            .before(*operation, move |_| clock.advance(Duration::from_secs(3)));
        assert_eq!(run(&world), Ok(()), "{what}");
        for (name, content) in *after {
            assert_eq!(world.on(name).as_deref(), *content, "{what}: {name}");
        }
    }
}

// SEMANTICS: S-exclusive, S-conflict
#[test]
fn what_others_make_while_a_change_waits_for_its_session_is_not_overwritten() {
    for is_large in [false, true] {
        let world = world();
        let (operation, data) = if is_large {
            (Operation::OpenUpload, pattern(100_000, 1))
        } else {
            (Operation::Put, b"ours".to_vec())
        };
        let handle = world.create("/new", EXCLUSIVE).unwrap();
        world.write(handle, 0, &data);
        let clock = world.clock.clone();
        world.server.before(operation, move |server| {
            server.write_file(&path("/new"), b"theirs");
            clock.advance(Duration::from_secs(3));
        });
        assert_eq!(world.close(handle), Err(libc::ESTALE), "{is_large}");
        assert_eq!(world.on("/new").unwrap(), b"theirs", "{is_large}");
    }
    let world = world();
    let clock = world.clock.clone();
    world.server.before(Operation::Rename, move |server| {
        server.write_file(&path("/new"), b"theirs");
        clock.advance(Duration::from_secs(3));
    });
    let renamed = world.rename_as("/file", "/new", RenameMode::NoReplace);
    assert_eq!(renamed, Err(libc::EEXIST));
    assert_eq!(world.on("/new").unwrap(), b"theirs");
}

// SEMANTICS: S-conflict
#[test]
fn what_others_put_in_the_place_of_a_file_before_ours_takes_it_stays() {
    let world = world();
    world.put("/large", &pattern(2 * MIB, 1));
    world.expire();
    let handle = world.open("/large", crate::world::WRITE).unwrap();
    world.write(handle, 0, b"ours");
    let clock = world.clock.clone();
    // Between the look and the rename.
    world.server.before(Operation::Rename, move |server| {
        server.write_file(&path("/large"), b"theirs");
        clock.advance(Duration::from_secs(3));
    });
    assert_eq!(world.close(handle), Err(libc::ESTALE));
    assert_eq!(world.on("/large").unwrap(), b"theirs");
}

// SEMANTICS: S-replace-refused
#[test]
fn what_others_put_in_the_place_of_a_file_that_is_moved_aside_is_brought_back() {
    let world = World::on_server(|server| {
        server.rename_over = ftpfs::remote::memory::RenameOver::Refuses;
    });
    world.put("/file", b"old");
    let handle = world.open("/file", crate::world::WRITE).unwrap();
    world.write(handle, 0, b"new");
    // The first rename is refused, the second one moves the file aside.
    world.server.after(Operation::Rename, |server| {
        server.write_file(&path("/file"), b"theirs, and longer");
    });
    assert_eq!(world.close(handle), Err(libc::ESTALE));
    assert_eq!(world.on("/file").unwrap(), b"theirs, and longer");
}

// SEMANTICS: S-unlink
#[test]
fn a_removal_that_was_heard_by_a_session_that_died_succeeds() {
    let world = world();
    world.server.before(Operation::RemoveFile, |server| {
        server.remove(&path("/file"));
    });
    world.server.idle_session_dies(Operation::RemoveFile);
    assert_eq!(world.unlink("/file"), Ok(()));
    assert_eq!(world.on("/file"), None);
}

// SEMANTICS: S-unlink
#[test]
fn a_removal_whose_confirmation_was_lost_is_not_sent_again_by_itself() {
    let world = world();
    world
        .server
        .lose_reply(Operation::RemoveFile, 1, Kind::Disconnected);
    assert_eq!(world.unlink("/file"), Err(libc::EIO));
    assert_eq!(world.calls(Operation::RemoveFile), 1);
}

// SEMANTICS: S-tenet-evidence
#[test]
fn a_server_that_never_has_a_session_in_time_gets_nothing() {
    let world = world();
    for _ in 0..3 {
        let clock = world.clock.clone();
        world.server.before(Operation::RemoveFile, move |_| {
            clock.advance(Duration::from_secs(3));
        });
    }
    assert_eq!(world.unlink("/file"), Err(libc::ETIMEDOUT));
    assert_eq!(world.on("/file").unwrap(), b"old");
    let truncating = world.open("/file", TRUNCATE).unwrap();
    world.close(truncating).unwrap();
}
