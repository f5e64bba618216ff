//! `--verify`: what the server's checksums prove, and what is done when they say that other bytes have arrived.

use ftpfs::remote::{
    Algorithm, Phase, RemoteErrorKind as Kind,
    memory::{Behaviour, MemoryRemote, Operation},
};

use crate::world::{APPEND, EXCLUSIVE, TRUNCATE, WRITE, World, path, pattern};

const MIB: usize = 1 << 20;

/// A mount with `--verify` of a server that computes checksums.
fn world_on(behaviour: impl FnOnce(&mut Behaviour)) -> World {
    World::with(|setup| {
        setup.fs.verifies_uploads = true;
        setup.behaviour.checksum = Some(Algorithm::Crc32);
        behaviour(&mut setup.behaviour);
    })
}

fn world() -> World {
    world_on(|_| {})
}

/// Changes one byte of the file of that name, and nothing else.
fn flip(server: &MemoryRemote, name: &str, at: usize) {
    let tree = server.tree();
    let mut found = tree.keys().filter(|path| path.to_string().ends_with(name));
    let path = found.next().expect("there is such a file");
    let mut bytes = server.read_file(path).unwrap();
    bytes[at] ^= 1;
    server.write_file(path, &bytes);
}

fn fsync(world: &World, handle: ftpfs::fs::HandleId) -> Result<(), i32> {
    world.fs.fsync(handle).map_err(|error| error.errno())
}

// SEMANTICS: S-verify
#[test]
fn a_replacement_that_arrives_with_another_byte_leaves_the_old_file() {
    // Sent at close, and while it is written.
    for len in [1000, 3 * MIB] {
        let world = world();
        world.put("/f", b"old");
        let new = pattern(len, 1);
        let handle = world.open("/f", TRUNCATE).unwrap();
        world.server.after(Operation::Finish, move |server| {
            flip(server, ".tmp", len / 2);
        });
        for (index, piece) in new.chunks(128 << 10).enumerate() {
            world.write(handle, index as u64 * (128 << 10), piece);
        }
        assert_eq!(fsync(&world, handle), Err(libc::EIO), "{len}");
        assert_eq!(world.on("/f").unwrap(), b"old");
        assert_eq!(world.calls(Operation::Rename), 0);
        world.eventually("what was sent is removed", |world| {
            world.leftovers().is_empty()
        });
        world.close(handle).unwrap();
        assert!(world.on("/f").unwrap() == new, "{len}");
    }
}

// SEMANTICS: S-verify
#[test]
fn a_file_stored_under_its_own_name_with_another_byte_is_replaced_by_the_next_try() {
    // In one exchange; and in place, on a server that knows no renaming.
    for (len, operation) in [(1000, Operation::Put), (100_000, Operation::Finish)] {
        let world = world_on(|server| server.can_rename = operation == Operation::Put);
        // What the server does not know is found out.
        world.save("/other", &pattern(100_000, 2)).unwrap();
        world
            .server
            .after(operation, move |server| flip(server, "/f", len - 1));
        let handle = world.create("/f", EXCLUSIVE).unwrap();
        let new = pattern(len, 1);
        world.write(handle, 0, &new);
        assert_eq!(fsync(&world, handle), Err(libc::EIO), "{len}");
        assert!(world.on("/f").unwrap() != new, "{len}");
        world.close(handle).unwrap();
        assert!(world.on("/f").unwrap() == new, "{len}");
        assert_eq!(world.names("/").unwrap(), ["f", "other"]);
    }
}

// SEMANTICS: S-verify
#[test]
fn an_append_that_arrives_with_another_byte_is_put_right_by_the_next_try() {
    let world = world();
    world.put("/log", &pattern(1000, 1));
    world
        .server
        .after(Operation::Finish, |server| flip(server, "/log", 1002));
    let handle = world.open("/log", APPEND).unwrap();
    world.write(handle, 1000, b"line\n");
    assert_eq!(fsync(&world, handle), Err(libc::EIO));
    world.close(handle).unwrap();
    let whole = [pattern(1000, 1), b"line\n".to_vec()].concat();
    assert!(world.on("/log").unwrap() == whole);
}

// SEMANTICS: S-verify
#[test]
fn a_change_inside_is_read_back_only_where_there_is_no_checksum_of_a_range() {
    for checks_ranges in [true, false] {
        let world = world_on(|server| server.checks_ranges = checks_ranges);
        let old = pattern(2 * MIB, 1);
        world.put("/f", &old);
        let handle = world.open("/f", WRITE).unwrap();
        world.write(handle, 70_000, b"changed");
        world.close(handle).unwrap();
        let read_back = world.server.downloads().contains(&(70_000, Some(7)));
        assert_eq!(read_back, !checks_ranges);
        // A byte that is lost on the way is noticed in both ways.
        let handle = world.open("/f", WRITE).unwrap();
        world
            .server
            .after(Operation::Finish, |server| flip(server, "/f", 80_000));
        world.write(handle, 80_000, b"again");
        assert_eq!(fsync(&world, handle), Err(libc::EIO), "{checks_ranges}");
        world.fs.release(handle);
    }
}

// SEMANTICS: S-verify
#[test]
fn a_checksum_that_does_not_come_is_no_failure_and_asked_for_twice() {
    let world = world();
    for number in 0..4 {
        let timed_out = Kind::TimedOut(Phase::Reply);
        world.server.forget_faults();
        world.server.fail_next(Operation::Checksum, 1, timed_out);
        world.save(&format!("/f{number}"), b"content").unwrap();
    }
    assert_eq!(world.calls(Operation::Checksum), 2);
    let refused = world_on(|server| server.checksum = None);
    refused.save("/f", b"content").unwrap();
    assert_eq!(refused.on("/f").unwrap(), b"content");
}

// SEMANTICS: S-verify
#[test]
fn a_wrong_checksum_of_the_right_bytes_is_no_failure() {
    let world = world();
    for number in 0..5 {
        let name = format!("/f{number}");
        let (before, after) = (name.clone(), name.clone());
        world
            .server
            .before(Operation::Checksum, move |server| flip(server, &before, 0));
        world
            .server
            .after(Operation::Checksum, move |server| flip(server, &after, 0));
        world.save(&name, b"content").unwrap();
        assert_eq!(world.on(&name).unwrap(), b"content");
    }
    assert_eq!(world.calls(Operation::Checksum), 3);
}

// SEMANTICS: S-verify-limits
#[test]
fn what_others_append_to_in_the_same_moment_is_not_verified() {
    let world = world();
    world.put("/log", b"first\n");
    let handle = world.open("/log", APPEND).unwrap();
    world.write(handle, 6, b"ours\n");
    world.server.after(Operation::Finish, |server| {
        server.write_file(&path("/log"), b"first\nours\ntheirs\n");
    });
    world.close(handle).unwrap();
    assert_eq!(world.calls(Operation::Checksum), 0);
    world.save("/empty", b"").unwrap();
    assert_eq!(world.calls(Operation::Checksum), 0);
}

// SEMANTICS: S-verify
#[test]
fn without_the_option_no_checksum_is_asked_for() {
    let world = World::on_server(|server| server.checksum = Some(Algorithm::Md5));
    world.save("/f", b"content").unwrap();
    world.save("/f", b"more content").unwrap();
    assert_eq!(world.calls(Operation::Checksum), 0);
    assert_eq!(world.server.calls_on(Operation::Settle, &path("/f")), 1);
}
