//! A file that others have changed since it was opened: which one stays, and where the other one goes.

use std::time::Duration;

use ftpfs::{
    config::OnConflict,
    fs::{Change, HandleId},
    remote::{
        RemoteErrorKind as Kind,
        memory::{Content, Operation},
    },
};

use crate::{
    unsent::{kept, unsent},
    world::{APPEND, EXCLUSIVE, READ, TRUNCATE, WRITE, World, errno, path, pattern},
};

const MIB: usize = 1 << 20;

const POLICIES: [OnConflict; 3] = [OnConflict::KeepBoth, OnConflict::Fail, OnConflict::Ours];

/// How a file of ours meets one of others.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// It is written anew as a whole.
    Replaced,
    /// It is written here and there.
    ChangedInside,
    /// The same, so large that only the changes would go up.
    Patched,
    /// It is a new one, of so many bytes.
    New(usize),
    /// It could not be sent when it was closed, and is tried again later.
    Retried,
    /// The same, and the mount ends.
    Drained,
}

const WAYS: [Way; 8] = [
    Way::Replaced,
    Way::ChangedInside,
    Way::Patched,
    Way::New(4),
    Way::New(100_000),
    Way::New(3 * MIB),
    Way::Retried,
    Way::Drained,
];

fn world(policy: OnConflict) -> World {
    World::with(|setup| setup.fs.on_conflict = policy)
}

/// The files beside `/file.txt` that are called after it: name and content.
fn copies(world: &World) -> Vec<(String, Vec<u8>)> {
    let is_copy = |name: &String| name.contains(".ftpfs-conflict-");
    let tree = world.server.tree().into_iter();
    let found = tree.filter_map(|(path, node)| match node.content {
        Content::File(content) => Some((path.to_string(), content)),
        _ => None,
    });
    found.filter(|(name, _)| is_copy(name)).collect()
}

/// The bytes that were kept on this machine, without the lists of what they are.
fn kept_copies(world: &World) -> Vec<Vec<u8>> {
    let mut kept = kept(world);
    kept.retain(|bytes| !bytes.starts_with(b"# /"));
    kept
}

/// Writes a file, and has others change it before it is closed; what was written, and what close said.
fn meet(world: &World, way: Way, theirs: &[u8]) -> (Vec<u8>, Result<(), i32>) {
    let name = "/file.txt";
    let others_come = || {
        world.advance(Duration::from_mins(5));
        world.put(name, theirs);
    };
    let change = |old: usize, at: usize, ours: &[u8]| {
        world.put(name, &pattern(old, 1));
        let handle = world.open(name, WRITE).unwrap();
        world.write(handle, at as u64, ours);
        others_come();
        (ours.to_vec(), world.close(handle))
    };
    match way {
        Way::Replaced => change(1_000, 0, &pattern(1_200, 2)),
        Way::ChangedInside => change(1_000, 300, b"ours"),
        Way::Patched => change(2 * MIB, 300, b"ours"),
        Way::New(len) => {
            let ours = pattern(len, 3);
            let handle = world.create(name, EXCLUSIVE).unwrap();
            for (index, part) in ours.chunks(128 << 10).enumerate() {
                world.write(handle, index as u64 * (128 << 10), part);
            }
            others_come();
            (ours, world.close(handle))
        }
        Way::Retried | Way::Drained => {
            let ours = b"could not be sent".to_vec();
            unsent(world, name, &ours);
            others_come();
            if way == Way::Retried {
                world.fs.retry();
            } else {
                world.fs.drain(Duration::ZERO);
                world.fs.keep_unsent();
            }
            (ours, Err(libc::ESTALE))
        }
    }
}

// SEMANTICS: S-conflict, S-conflict-part
#[test]
fn no_byte_of_either_side_is_lost() {
    let theirs = b"theirs, and newer";
    for (policy, way) in POLICIES
        .into_iter()
        .flat_map(|policy| WAYS.map(|way| (policy, way)))
    {
        let world = world(policy);
        let what = format!("{policy:?}, {way:?}");
        let (ours, told) = meet(&world, way, theirs);
        let is_whole = !matches!(way, Way::ChangedInside | Way::Patched);
        if policy == OnConflict::Ours && is_whole {
            assert!(
                told.is_ok() || matches!(way, Way::Retried | Way::Drained),
                "{what}"
            );
            assert!(world.on("/file.txt").unwrap() == ours, "{what}");
            assert!(
                copies(&world).is_empty() && kept(&world).is_empty(),
                "{what}"
            );
            continue;
        }
        assert_eq!(told, Err(libc::ESTALE), "{what}");
        assert!(world.on("/file.txt").unwrap() == theirs, "{what}");
        let copies = copies(&world);
        let kept = kept_copies(&world);
        if policy == OnConflict::KeepBoth && is_whole {
            assert_eq!((copies.len(), kept.len()), (1, 0), "{what}");
            let (name, content) = &copies[0];
            assert!(*content == ours, "{what}");
            let (before, after) = name.split_once(".ftpfs-conflict-").unwrap();
            assert_eq!((before, after.split_once('.').unwrap().1), ("/file", "txt"));
            assert_eq!(
                name.len(),
                "/file.ftpfs-conflict-20261128-063000-0a1b2c3d.txt".len()
            );
            assert!(
                world.names("/").unwrap().contains(&name[1..].to_owned()),
                "{what}"
            );
        } else {
            assert_eq!((copies.len(), kept.len()), (0, 1), "{what}");
            let at = if is_whole { 0 } else { 300 };
            assert!(kept[0][at..][..ours.len()] == ours, "{what}");
        }
        if (policy, way) != (OnConflict::Fail, Way::Drained) {
            assert_eq!(world.cat("/file.txt").unwrap(), theirs, "{what}");
            assert_eq!(world.fs.progress().files_left, 0, "{what}");
            world.drain();
        }
        world.eventually("no temporary file is left", |world| {
            world.leftovers().is_empty()
        });
        assert!(
            world.on("/file.txt").unwrap() == theirs,
            "{what}: nothing comes later"
        );
    }
}

/// A file with a conflict that its first handle was told of, and another handle of it.
fn told_of_conflict() -> (World, HandleId, HandleId) {
    let world = World::new();
    world.put("/file", b"old content");
    let handles = [(); 2].map(|()| world.open("/file", WRITE).unwrap());
    world.write(handles[0], 0, b"ours, as a whole");
    world.advance(Duration::from_mins(5));
    world.put("/file", b"theirs");
    assert_eq!(world.fs.fsync(handles[0]).map_err(errno), Err(libc::ESTALE));
    (world, handles[0], handles[1])
}

// SEMANTICS: S-conflict
#[test]
fn what_was_open_for_writing_shows_theirs_and_writes_nothing_into_it() {
    let (world, told, other) = told_of_conflict();
    for handle in [told, other] {
        assert_eq!(world.read_handle(handle).unwrap(), b"theirs");
        let wrote = world.fs.write(handle, 0, b"OURS").map_err(errno);
        assert_eq!(wrote, Err(libc::ESTALE));
        let cut = Change {
            size: Some(1),
            ..Change::default()
        };
        let ino = world.ino("/file");
        let cut = world.fs.setattr(ino, &cut, Some(handle)).map_err(errno);
        assert_eq!(cut.map(drop), Err(libc::ESTALE));
        assert_eq!(
            world.close(handle),
            Err(libc::ESTALE),
            "who has not heard of it hears of it"
        );
    }
    assert_eq!(world.on("/file").unwrap(), b"theirs");
    assert_eq!(copies(&world).len(), 1);
    let again = world.open("/file", APPEND).unwrap();
    world.write(again, 6, b" and ours");
    world.close(again).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"theirs and ours");
}

// SEMANTICS: S-conflict
#[test]
fn who_only_reads_goes_on_reading() {
    let world = World::new();
    world.put("/file", b"old content");
    let reader = world.open("/file", READ).unwrap();
    let writer = world.open("/file", WRITE).unwrap();
    world.write(writer, 0, b"ours, as a whole");
    world.advance(Duration::from_mins(5));
    world.put("/file", b"theirs");
    assert_eq!(world.close(writer), Err(libc::ESTALE));
    assert_eq!(world.read_handle(reader).unwrap(), b"theirs");
    world.close(reader).unwrap();
}

// SEMANTICS: S-conflict
#[test]
fn what_is_written_while_the_copy_goes_up_is_stored_too() {
    let world = World::new();
    world.put("/file", b"old content");
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 0, b"ours, as a whole");
    world.advance(Duration::from_mins(5));
    world.put("/file", b"theirs");
    let fs = std::sync::Arc::downgrade(&world.fs);
    world.server.before(Operation::Put, move |_| {
        fs.upgrade().unwrap().write(handle, 0, b"OURS").unwrap();
    });
    assert_eq!(world.close(handle), Err(libc::ESTALE));
    let contents: Vec<_> = copies(&world).into_iter().map(|copy| copy.1).collect();
    assert_eq!(contents.len(), 2);
    assert!(contents.contains(&b"OURS, as a whole".to_vec()));
    assert_eq!(world.on("/file").unwrap(), b"theirs");
    assert_eq!(world.fs.progress().files_left, 0);
}

// SEMANTICS: S-conflict-part
#[test]
fn what_cannot_be_stored_beside_theirs_is_kept_here() {
    for kind in [Kind::NoSpace, Kind::Refused, Kind::Disconnected] {
        let world = World::new();
        let handle = world.create("/file", EXCLUSIVE).unwrap();
        world.write(handle, 0, b"ours");
        world.advance(Duration::from_mins(5));
        world.put("/file", b"theirs");
        for nth in 1..=12 {
            world.server.fail_next(Operation::Put, nth, kind);
            world.server.fail_next(Operation::OpenUpload, nth, kind);
        }
        assert_eq!(world.close(handle), Err(libc::ESTALE), "{kind:?}");
        world.server.forget_faults();
        assert_eq!(kept(&world), [b"ours"], "{kind:?}");
        assert_eq!(world.on("/file").unwrap(), b"theirs", "{kind:?}");
        assert_eq!(world.cat("/file").unwrap(), b"theirs", "{kind:?}");
        world.drain();
        assert_eq!(copies(&world), [], "{kind:?}");
    }
}

// SEMANTICS: S-conflict
#[test]
fn a_name_of_full_length_has_a_copy_too() {
    let world = World::new();
    let name = format!("/{}.txt", "ä".repeat(125));
    let handle = world.create(&name, EXCLUSIVE).unwrap();
    world.write(handle, 0, b"ours");
    world.advance(Duration::from_mins(5));
    world.put(&name, b"theirs");
    assert_eq!(world.close(handle), Err(libc::ESTALE));
    let copies = copies(&world);
    assert_eq!((copies.len(), copies[0].1.as_slice()), (1, &b"ours"[..]));
}

// SEMANTICS: S-conflict
#[test]
fn who_may_not_read_the_file_may_not_read_its_copy() {
    let world = World::new();
    world.put("/file", b"old content");
    world.server.set_mode(&path("/file"), 0o600);
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 0, b"ours, as a whole");
    world.advance(Duration::from_mins(5));
    world.put("/file", b"theirs");
    assert_eq!(world.close(handle), Err(libc::ESTALE));
    let tree = world.server.tree();
    let copy = tree.iter().find(|(path, _)| **path != self::path("/file"));
    assert_eq!(copy.unwrap().1.mode, 0o600);
}

// SEMANTICS: S-conflict
#[test]
fn a_new_file_without_a_byte_leaves_no_copy() {
    let world = World::new();
    let handle = world.create("/file", EXCLUSIVE).unwrap();
    world.advance(Duration::from_mins(5));
    world.put("/file", b"theirs");
    assert_eq!(world.close(handle), Err(libc::ESTALE));
    assert!(copies(&world).is_empty() && kept(&world).is_empty());
    assert_eq!(world.cat("/file").unwrap(), b"theirs");
}

// SEMANTICS: S-conflict
#[test]
fn a_directory_is_never_replaced() {
    for policy in POLICIES {
        let world = world(policy);
        world.put("/file", b"old content");
        let handle = world.open("/file", WRITE).unwrap();
        world.write(handle, 0, b"ours, as a whole");
        world.advance(Duration::from_mins(5));
        world.server.remove(&path("/file"));
        world.server.write_dir(&path("/file"));
        assert_eq!(world.close(handle), Err(libc::EISDIR), "{policy:?}");
        assert!(world.is_dir_on_server("/file"), "{policy:?}");
        assert_eq!(kept(&world), [b"ours, as a whole"], "{policy:?}");
    }
}

// SEMANTICS: S-upload-failed
#[test]
fn a_retry_after_others_have_removed_the_file_makes_it_again() {
    for is_new in [true, false] {
        let world = World::new();
        if !is_new {
            world.put("/file", b"old");
        }
        unsent(&world, "/file", b"ours");
        world.advance(Duration::from_mins(5));
        world.server.remove(&path("/file"));
        world.fs.retry();
        assert_eq!(world.on("/file").unwrap(), b"ours", "{is_new}");
        assert!(copies(&world).is_empty() && kept(&world).is_empty());
    }
}

// SEMANTICS: S-upload-failed
#[test]
fn a_retry_finds_the_file_where_this_mount_has_put_it() {
    let world = World::new();
    world.server.write_dir(&path("/dir"));
    for name in ["/removed", "/renamed", "/dir/moved", "/over"] {
        unsent(&world, name, name.as_bytes());
    }
    world.unlink("/removed").unwrap();
    world.rename("/renamed", "/new name").unwrap();
    world.rename("/dir", "/other").unwrap();
    world.put("/source", b"source");
    world.expire();
    world.rename("/source", "/over").unwrap();
    // Others come to the names that are free now.
    let free = ["/removed", "/renamed"];
    for name in free {
        world.put(name, b"theirs");
    }
    world.advance(Duration::from_mins(5));
    world.fs.retry();
    world.drain();
    for name in free {
        assert_eq!(world.on(name).unwrap(), b"theirs", "{name}");
    }
    assert_eq!(world.on("/new name").unwrap(), b"/renamed");
    assert_eq!(world.on("/other/moved").unwrap(), b"/dir/moved");
    assert_eq!(world.on("/over").unwrap(), b"source");
    assert!(copies(&world).is_empty() && kept(&world).is_empty());
}

// SEMANTICS: S-conflict-emptied
#[test]
fn a_file_that_is_emptied_is_looked_at_however_lately_it_was_empty() {
    for way in ["open", "truncate", "ftruncate"] {
        for (size, seconds) in [(5000, 0), (5000, 3), (70_000, 3), (2 << 20, 3)] {
            let world = World::new();
            world.put("/file", b"");
            let opened = world.open("/file", WRITE).unwrap();
            world.advance(Duration::from_secs(seconds));
            world.put("/file", &pattern(size, 1));
            match way {
                "open" => {
                    let handle = world.open("/file", TRUNCATE).unwrap();
                    world.close(handle).unwrap();
                }
                "truncate" => world.truncate("/file", 0).unwrap(),
                _ => {
                    let change = Change {
                        size: Some(0),
                        ..Change::default()
                    };
                    let ino = world.ino("/file");
                    world.fs.setattr(ino, &change, Some(opened)).unwrap();
                    world.fs.flush(opened).unwrap();
                }
            }
            assert_eq!(world.on("/file").unwrap(), b"", "{way} {size}");
            world.write(opened, 0, b"ours");
            world.close(opened).unwrap();
            assert_eq!(world.on("/file").unwrap(), b"ours", "{way} {size}");
        }
    }
}

// SEMANTICS: S-conflict-emptied
#[test]
fn what_others_have_put_into_an_emptied_file_does_not_come_back_when_it_is_made_longer() {
    for seconds in [0, 3] {
        let world = World::new();
        world.save("/file", b"").unwrap();
        world.advance(Duration::from_secs(seconds));
        world.put("/file", b"theirs");
        let handle = world.create("/file", TRUNCATE).unwrap();
        world.truncate("/file", 3).unwrap();
        assert_eq!(world.on("/file").unwrap(), [0; 3], "{seconds}");
        assert_eq!(world.read_handle(handle).unwrap(), [0; 3], "{seconds}");
        world.close(handle).unwrap();
    }
}

// SEMANTICS: S-conflict-emptied
#[test]
fn what_was_written_to_an_empty_file_and_is_taken_back_does_not_hide_what_others_have_put_there() {
    let world = World::new();
    world.save("/file", b"").unwrap();
    let first = world.open("/file", WRITE).unwrap();
    world.write(first, 1, b"ours");
    world.put("/file", b"theirs");
    let second = world.create("/file", TRUNCATE).unwrap();
    world.close(second).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"");
    world.close(first).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"");
}

// SEMANTICS: S-conflict-emptied
#[test]
fn an_empty_file_that_others_have_removed_is_not_taken_for_emptied() {
    let world = World::new();
    world.save("/file", b"").unwrap();
    world.server.remove(&path("/file"));
    // The kernel looks it up again.
    assert_eq!(world.open("/file", TRUNCATE), Err(libc::ESTALE));
    assert!(!world.exists("/file"));
    world.save("/file", b"").unwrap();
    world.server.remove(&path("/file"));
    assert_eq!(world.truncate("/file", 0), Err(libc::ESTALE));
    world.save("/file", b"").unwrap();
    let handle = world.open("/file", WRITE).unwrap();
    world.server.remove(&path("/file"));
    let again = world.create("/file", TRUNCATE).unwrap();
    world.close(again).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"");
    world.fs.release(handle);
}

// SEMANTICS: S-conflict-emptied
#[test]
fn to_empty_what_is_empty_costs_one_look_and_sends_nothing() {
    let world = World::new();
    world.save("/file", b"").unwrap();
    for way in ["open", "truncate"] {
        let before = world.requests();
        match way {
            "open" => {
                let handle = world.create("/file", TRUNCATE).unwrap();
                world.close(handle).unwrap();
            }
            _ => world.truncate("/file", 0).unwrap(),
        }
        assert_eq!(world.requests() - before, 1, "{way}");
    }
}

// SEMANTICS: S-conflict-emptied
#[test]
fn a_new_file_that_is_opened_twice_to_be_emptied_has_emptied_nothing() {
    let world = World::new();
    let first = world.create("/file", TRUNCATE).unwrap();
    let second = world.create("/file", TRUNCATE).unwrap();
    world.write(second, 0, b"ours");
    world.put("/file", b"theirs");
    world.advance(Duration::from_mins(5));
    assert_eq!(world.close(second), Err(libc::ESTALE));
    world.fs.release(first);
    assert_eq!(world.on("/file").unwrap(), b"theirs");
    assert_eq!(copies(&world)[0].1, b"ours");
}
