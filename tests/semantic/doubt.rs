//! Changes whose outcome was not known: what is done when the next try finds something else than the last one left.

use std::time::Duration;

use ftpfs::remote::{
    RemoteErrorKind as Kind,
    memory::{Operation, Treatment},
};

use crate::world::{APPEND, EXCLUSIVE, TRUNCATE, WRITE, World, path, pattern};

const MIB: usize = 1 << 20;

/// An append through such a handle whose confirmation was lost, as was what came of it.
fn broken_append(mode: ftpfs::fs::OpenMode) -> (World, ftpfs::fs::HandleId) {
    let world = World::new();
    world.put("/log", &pattern(1000, 1));
    let handle = world.open("/log", mode).unwrap();
    world.write(handle, 1000, b"line\n");
    world.server.lose_reply(
        Operation::Finish,
        1,
        Kind::TimedOut(ftpfs::remote::Phase::Reply),
    );
    let failed = world.fs.fsync(handle).map_err(|error| error.errno());
    assert_eq!(failed, Err(libc::ETIMEDOUT));
    world.server.forget_faults();
    (world, handle)
}

// SEMANTICS: S-append
#[test]
fn a_tail_never_brings_zeros_for_what_only_the_server_had() {
    for now in [None, Some(0), Some(10), Some(500)] {
        let (world, handle) = broken_append(APPEND);
        match now {
            None => drop(world.server.remove(&path("/log"))),
            Some(len) => world.put("/log", &pattern(len, 7)),
        }
        world.fs.fsync(handle).unwrap();
        let expected = [pattern(now.unwrap_or(0), 7), b"line\n".to_vec()].concat();
        assert!(world.on("/log").unwrap() == expected, "{now:?}");
        world.close(handle).unwrap();
        assert!(world.on("/log").unwrap() == expected, "{now:?}");
    }
}

// SEMANTICS: S-append
#[test]
fn an_append_that_has_arrived_is_not_repeated() {
    let (world, handle) = broken_append(APPEND);
    let whole = [pattern(1000, 1), b"line\n".to_vec()].concat();
    assert!(world.on("/log").unwrap() == whole);
    world.close(handle).unwrap();
    assert!(world.on("/log").unwrap() == whole);
}

/// A server that has stored some of a new file, or all of it, and refuses it then.
// SEMANTICS: S-conflict
#[test]
fn a_new_file_that_is_refused_at_its_end_is_ours_all_the_same() {
    let world = World::new();
    let handle = world.create("/new", EXCLUSIVE).unwrap();
    world.write(handle, 0, b"content");
    world.server.lose_reply(Operation::Put, 1, Kind::Refused);
    let refused = world.fs.fsync(handle).map_err(|error| error.errno());
    assert_eq!(refused, Err(libc::EACCES));
    world.put("/new", b"cont");
    world.fs.fsync(handle).unwrap();
    world.close(handle).unwrap();
    assert_eq!(world.on("/new").unwrap(), b"content");
    assert_eq!(world.names("/").unwrap(), ["new"]);
}

// SEMANTICS: S-append
#[test]
fn what_was_written_at_an_offset_does_not_move_with_the_end_of_the_file() {
    for len in [120, 40, 0] {
        let world = World::new();
        world.put("/file", &pattern(100, 1));
        let handle = world.open("/file", WRITE).unwrap();
        world.write(handle, 100, b"record one");
        world.advance(Duration::from_secs(3));
        world.put("/file", &pattern(len, 2));
        let told = world.fs.fsync(handle).map_err(|error| error.errno());
        assert_eq!(told, Err(libc::ESTALE), "{len}");
        assert!(world.on("/file").unwrap() == pattern(len, 2), "{len}");
        world.fs.release(handle);
    }
}

// SEMANTICS: S-patch
#[test]
fn ranges_are_not_repeated_in_another_file_of_the_same_size() {
    for is_replaced in [false, true] {
        let world = World::new();
        world.try_patch();
        world.put("/file", &pattern(2 * MIB, 1));
        let handle = world.open("/file", WRITE).unwrap();
        world.write(handle, 70_000, b"changed");
        world
            .server
            .lose_reply(Operation::Finish, 1, Kind::Disconnected);
        assert!(world.fs.fsync(handle).is_err());
        let mut expected = pattern(2 * MIB, 1);
        expected[70_000..70_007].copy_from_slice(b"changed");
        world.advance(Duration::from_secs(10));
        if is_replaced {
            expected = pattern(2 * MIB, 2);
            world.put("/file", &expected);
        }
        let told = world.fs.fsync(handle).map_err(|error| error.errno());
        let wanted = if is_replaced {
            Err(libc::ESTALE)
        } else {
            Ok(())
        };
        assert_eq!(told, wanted);
        assert!(world.on("/file").unwrap() == expected, "{is_replaced}");
        world.fs.release(handle);
    }
}

/// The end of the next upload times out.
fn time_out_once(world: &World) {
    let mut is_first = true;
    world.server.treat_calls(Some(Box::new(move |_, call| {
        if call.operation == Operation::Finish && std::mem::take(&mut is_first) {
            Treatment::Late(Kind::TimedOut(ftpfs::remote::Phase::Reply))
        } else {
            Treatment::Usual
        }
    })));
}

// SEMANTICS: S-patch
#[test]
fn ranges_that_arrive_late_are_known_again_after_the_file_was_emptied() {
    let world = World::new();
    world.try_patch();
    world.put("/file", &pattern(2 * MIB, 1));
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 70_000, b"changed");
    time_out_once(&world);
    assert_eq!(world.close(handle), Err(libc::ETIMEDOUT));
    // Its name is busy for as long as the server may not have done with it.
    let handle = world.open("/file", TRUNCATE).unwrap();
    world.write(handle, 0, b"newer");
    assert_eq!(world.close(handle), Err(libc::EBUSY));
    assert!(world.on("/file").unwrap()[70_000..].starts_with(b"changed"));
    world.advance(Duration::from_secs(121));
    let round = world.fs.retry();
    assert_eq!(world.names("/").unwrap(), ["file"]);
    assert!(world.on("/file").unwrap() == b"newer", "{round:?}");
}

// SEMANTICS: S-names-temporary
#[test]
fn a_scratch_file_that_may_be_stored_late_is_removed_later() {
    let world = World::new();
    world.put("/file", &pattern(2 * MIB, 1));
    // That files can be removed is known by two.
    for removed in ["/one", "/two"] {
        let handle = world.create(removed, EXCLUSIVE).unwrap();
        world.close(handle).unwrap();
        world.unlink(removed).unwrap();
    }
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 70_000, b"changed");
    time_out_once(&world);
    world.close(handle).unwrap();
    let hidden = || {
        let names = world.server.tree().into_keys().map(|path| path.to_string());
        names.filter(|path| path.contains("ftpfs-")).count()
    };
    // Were it removed now, it could come again.
    assert_eq!(hidden(), 1);
    world.advance(Duration::from_secs(121));
    world.fs.pay_debts();
    assert_eq!(hidden(), 0);
}

// SEMANTICS: S-tenet-whole
#[test]
fn a_part_of_a_new_file_is_known_again_after_the_file_was_changed() {
    for at in [0, 3, 500] {
        let world = World::new();
        let mut content = pattern(1000, 1);
        let handle = world.create("/file", EXCLUSIVE).unwrap();
        world.write(handle, 0, &content);
        world
            .server
            .fail_after_bytes(Operation::Put, 400, Kind::Disconnected);
        world
            .server
            .fail_next(Operation::Settle, 1, Kind::Disconnected);
        assert!(world.fs.fsync(handle).is_err());
        assert_eq!(world.on("/file").unwrap().len(), 400);
        world.write(handle, at, b"HEAD");
        let at = usize::try_from(at).unwrap();
        content[at..at + 4].copy_from_slice(b"HEAD");
        world.close(handle).unwrap();
        assert!(world.on("/file").unwrap() == content, "{at}");
    }
}

// SEMANTICS: S-hot-folder
#[test]
fn a_file_that_was_confirmed_is_delivered_once_whatever_is_asked_behind_it() {
    for is_lost in [false, true] {
        let world = World::new();
        world.server.write_dir(&path("/hot"));
        let handle = world.create("/hot/file", EXCLUSIVE).unwrap();
        world.write(handle, 0, b"content");
        world.server.after(Operation::Put, |server| {
            assert!(server.remove(&path("/hot/file")));
        });
        if is_lost {
            world
                .server
                .fail_next(Operation::Settle, 1, Kind::Disconnected);
        }
        world.close(handle).unwrap();
        world.fs.retry();
        assert_eq!(world.server.calls_on(Operation::Put, &path("/hot/file")), 1);
        assert!(!world.exists("/hot/file"));
    }
}

// SEMANTICS: S-hot-folder
#[test]
fn a_directory_with_a_delivered_file_that_is_open_can_be_renamed() {
    let world = World::new();
    world.server.write_dir(&path("/hot"));
    let handle = world.create("/hot/file", EXCLUSIVE).unwrap();
    world.write(handle, 0, b"content");
    world.server.after(Operation::Put, |server| {
        assert!(server.remove(&path("/hot/file")));
    });
    world.fs.fsync(handle).unwrap();
    world.rename("/hot", "/moved").unwrap();
    world.write(handle, 7, b" and more");
    world.close(handle).unwrap();
    assert_eq!(world.on("/moved/file").unwrap(), b"content and more");
}

// SEMANTICS: S-append
#[test]
fn a_change_after_a_broken_append_is_not_made_to_another_file_of_the_same_size() {
    let world = World::new();
    world.put("/file", &pattern(100, 1));
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 100, b"tail");
    let lost = Kind::TimedOut(ftpfs::remote::Phase::Reply);
    world.server.fail_next(Operation::WriteAll, 1, lost);
    assert!(world.fs.fsync(handle).is_err());
    world.write(handle, 0, b"start");
    world.advance(Duration::from_secs(10));
    world.put("/file", &pattern(100, 2));
    let told = world.fs.fsync(handle).map_err(|error| error.errno());
    assert_eq!(told, Err(libc::ESTALE));
    assert!(world.on("/file").unwrap() == pattern(100, 2));
    world.fs.release(handle);
}

/// The server has confirmed it, and others have removed it before its size was known.
// SEMANTICS: S-hot-folder
#[test]
fn a_new_file_that_is_gone_is_sent_again_with_what_was_written_since() {
    for len in [3, 100_000] {
        let world = World::new();
        let handle = world.create("/new", EXCLUSIVE).unwrap();
        world.write(handle, 0, &pattern(len, 1));
        world.server.fail_next(Operation::Settle, 1, Kind::Busy);
        assert!(world.fs.fsync(handle).is_err());
        world.write(handle, len as u64, b"more");
        world.server.remove(&path("/new"));
        world.fs.fsync(handle).unwrap();
        let expected = [pattern(len, 1), b"more".to_vec()].concat();
        assert!(world.on("/new").unwrap() == expected, "{len}");
        world.close(handle).unwrap();
    }
}
