//! What is left under hidden names when the server goes away half-way, or the mount: it goes, or gets its own name again.

use ftpfs::remote::{
    RemoteErrorKind as Kind,
    memory::{Operation, RenameOver},
};

use crate::world::{READ, WRITE, World, path, pattern};

/// How a request breaks: before the server has heard of it, or after.
#[derive(Debug, Clone, Copy)]
enum Break {
    Before,
    After,
}

/// Lets the connection break at the nth rename, and the server be gone from then on.
fn break_rename(world: &World, nth: u64, how: Break) {
    let kind = Kind::Disconnected;
    match how {
        Break::Before => world.server.fail_next(Operation::Rename, nth, kind),
        Break::After => world.server.lose_reply(Operation::Rename, nth, kind),
    }
    for _ in 1..nth {
        world.server.before(Operation::Rename, |_| {});
    }
    world.server.before(Operation::Rename, move |server| {
        for nth in 1..20 {
            for operation in [
                Operation::Stat,
                Operation::List,
                Operation::Rename,
                Operation::RemoveFile,
            ] {
                server.fail_next(operation, nth, kind);
            }
        }
    });
}

/// Pays what is due, by this mount or by the next one after this was killed.
fn pay(world: &mut World, is_killed: bool) {
    world.server.forget_faults();
    if is_killed {
        world.kill();
        world.fs.adopt_debts();
    }
    assert!(world.fs.pay_debts(), "something is due");
}

// SEMANTICS: S-names-temporary
#[test]
fn a_removal_that_failed_is_tried_again() {
    for is_killed in [false, true] {
        let mut world = World::new();
        world.put("/file", b"content");
        let handle = world.open("/file", READ).unwrap();
        world.unlink("/file").unwrap();
        assert!(world.fs.pay_debts(), "nothing is due while it is open");
        assert_eq!(world.leftovers().len(), 1);
        assert_eq!(world.read_handle(handle).unwrap(), b"content");
        world
            .server
            .fail_next(Operation::RemoveFile, 1, Kind::Disconnected);
        world.fs.release(handle);
        assert_eq!(world.leftovers().len(), 1);
        pay(&mut world, is_killed);
        assert!(world.server.tree().is_empty());
    }
}

#[test]
fn what_is_gone_counts_as_removed_and_what_stays_is_not_asked_for_ever() {
    let world = World::new();
    world.put("/file", b"content");
    let handle = world.open("/file", READ).unwrap();
    world.unlink("/file").unwrap();
    let hidden = world.leftovers()[0].clone();
    for _ in 0..5 {
        world
            .server
            .fail_next(Operation::RemoveFile, 1, Kind::Refused);
        match world.calls(Operation::RemoveFile) {
            0 => world.fs.release(handle),
            _ => drop(world.fs.pay_debts()),
        }
    }
    assert_eq!(world.calls(Operation::RemoveFile), 3);
    assert!(world.fs.pay_debts(), "not asked again");
    assert_eq!(world.leftovers(), [hidden]);
}

// SEMANTICS: S-names-temporary
#[test]
fn an_unlink_of_an_open_file_that_breaks_off_loses_no_name() {
    for how in [Break::Before, Break::After] {
        for is_killed in [false, true] {
            let mut world = World::new();
            let content = pattern(300_000, 1);
            world.put("/dir/file", &content);
            let handle = world.open("/dir/file", READ).unwrap();
            break_rename(&world, 1, how);
            assert!(world.unlink("/dir/file").is_err());
            if is_killed {
                world.fs.release(handle);
            }
            pay(&mut world, is_killed);
            assert!(world.on("/dir/file").as_deref() == Some(&content));
            assert_eq!(world.leftovers(), Vec::<String>::new(), "{how:?}");
            assert!(world.exists("/dir/file"));
            if !is_killed {
                assert!(world.read_handle(handle).unwrap() == content);
                world.fs.release(handle);
            }
            assert!(world.cat("/dir/file").unwrap() == content);
        }
    }
}

// SEMANTICS: S-names-temporary
#[test]
fn a_rename_over_an_open_file_that_breaks_off_loses_no_name() {
    for nth in [1, 2] {
        for how in [Break::Before, Break::After] {
            for is_killed in [false, true] {
                let what = format!("rename {nth}, {how:?}, killed: {is_killed}");
                let mut world = World::new();
                let (old, new) = (pattern(300_000, 1), pattern(200_000, 2));
                world.put("/old", &old);
                world.put("/new", &new);
                let handle = world.open("/old", READ).unwrap();
                world.exists("/new");
                break_rename(&world, nth, how);
                assert!(world.rename("/new", "/old").is_err(), "{what}");
                if is_killed {
                    world.fs.release(handle);
                }
                pay(&mut world, is_killed);
                let has_happened = nth == 2 && matches!(how, Break::After);
                if has_happened {
                    assert!(world.on("/old").as_deref() == Some(&new), "{what}");
                    assert_eq!(world.on("/new"), None, "{what}");
                } else {
                    assert!(world.on("/old").as_deref() == Some(&old), "{what}");
                    assert!(world.on("/new").as_deref() == Some(&new), "{what}");
                }
                if !is_killed {
                    assert!(world.read_handle(handle).unwrap() == old, "{what}");
                    world.fs.release(handle);
                }
                assert_eq!(world.leftovers(), Vec::<String>::new(), "{what}");
                assert!(world.cat("/old").unwrap() == world.on("/old").unwrap());
            }
        }
    }
}

#[test]
fn an_old_file_that_was_moved_aside_comes_back_or_goes_when_the_new_one_is_there() {
    for nth in [1, 2, 3] {
        for how in [Break::Before, Break::After] {
            for is_killed in [false, true] {
                let what = format!("rename {nth}, {how:?}, killed: {is_killed}");
                let mut world = World::on_server(|server| server.rename_over = RenameOver::Refuses);
                let (old, new) = (pattern(30_000, 1), pattern(20_000, 2));
                world.put("/old", &old);
                world.put("/new", &new);
                world.exists("/new");
                // The first one is refused, the second moves the old file aside, the third brings the new one.
                break_rename(&world, nth, how);
                let _ = world.rename("/new", "/old");
                pay(&mut world, is_killed);
                let (at_old, at_new) = (world.on("/old"), world.on("/new"));
                let is_as_before =
                    at_old.as_deref() == Some(&old) && at_new.as_deref() == Some(&new);
                let has_happened = at_old.as_deref() == Some(&new) && at_new.is_none();
                assert!(is_as_before || has_happened, "{what}");
                assert_eq!(world.leftovers(), Vec::<String>::new(), "{what}");
            }
        }
    }
}

// SEMANTICS: S-names-temporary
#[test]
fn what_cannot_be_brought_back_because_the_name_is_taken_is_shown() {
    for is_killed in [false, true] {
        let mut world = World::new();
        world.put("/file", b"old content");
        let handle = world.open("/file", READ).unwrap();
        break_rename(&world, 1, Break::After);
        assert!(world.unlink("/file").is_err());
        world.fs.release(handle);
        let hidden = world.leftovers()[0].clone();
        world.put("/file", b"another client's");
        pay(&mut world, is_killed);
        assert_eq!(world.on("/file").unwrap(), b"another client's");
        assert_eq!(world.on(&hidden).unwrap(), b"old content");
        world.expire();
        let mut names = vec![hidden[1..].to_owned(), "file".to_owned()];
        names.sort();
        assert_eq!(world.names("/").unwrap(), names);
        assert_eq!(world.cat(&hidden).unwrap(), b"old content");
    }
}

// SEMANTICS: S-names-temporary
#[test]
fn an_empty_file_whose_name_is_taken_leaves_nothing() {
    for is_killed in [false, true] {
        for is_open in [false, true] {
            let what = format!("killed: {is_killed}, open: {is_open}");
            let mut world = World::new();
            world.put("/file", b"");
            let handle = world.open("/file", READ).unwrap();
            break_rename(&world, 1, Break::After);
            assert!(world.unlink("/file").is_err());
            if !is_open || is_killed {
                world.fs.release(handle);
            }
            world.put("/file", b"another client's");
            pay(&mut world, is_killed);
            assert_eq!(world.on("/file").unwrap(), b"another client's");
            assert_eq!(world.leftovers(), Vec::<String>::new(), "{what}");
            world.expire();
            assert_eq!(world.cat("/file").unwrap(), b"another client's", "{what}");
        }
    }
}

// SEMANTICS: S-names-temporary
#[test]
fn what_a_program_has_emptied_and_written_anew_leaves_no_old_copy() {
    for is_killed in [false, true] {
        let mut world = World::new();
        world.put("/file", b"old content");
        let handle = world.open("/file", WRITE).unwrap();
        let ino = world.ino("/file");
        break_rename(&world, 1, Break::After);
        assert!(world.unlink("/file").is_err());
        world.server.forget_faults();
        let change = ftpfs::fs::Change {
            size: Some(0),
            ..Default::default()
        };
        world.fs.setattr(ino, &change, Some(handle)).unwrap();
        world.write(handle, 0, b"new");
        world.close(handle).unwrap();
        pay(&mut world, is_killed);
        assert_eq!(world.on("/file").unwrap(), b"new");
        assert_eq!(world.leftovers(), Vec::<String>::new());
    }
}

// SEMANTICS: S-names-temporary
#[test]
fn a_file_is_not_taken_for_brought_back_by_a_server_that_was_seen_to_lie() {
    let mut world = World::on_server(|server| server.rename_over = RenameOver::Lies);
    world.put("/one", b"1");
    world.put("/other", b"2");
    world.rename("/one", "/other").unwrap();
    world.put("/file", b"content");
    world.expire();
    let handle = world.open("/file", READ).unwrap();
    break_rename(&world, 1, Break::After);
    assert!(world.unlink("/file").is_err());
    world.fs.release(handle);
    world.server.forget_faults();
    world.server.before(Operation::Rename, |server| {
        server.write_file(&path("/file"), b"another client's");
    });
    world.fs.pay_debts();
    pay(&mut world, false);
    let hidden = world.leftovers()[0].clone();
    world.expire();
    assert!(world.exists(&hidden), "it is shown");
    assert_eq!(world.on(&hidden).unwrap(), b"content");
    assert_eq!(world.on("/file").unwrap(), b"another client's");
}

#[test]
fn files_of_others_with_such_names_are_not_touched() {
    let mut world = World::new();
    let others = [
        "/.ftpfs-0123abcd-0123456789abcdef0123456789abcdef.tmp",
        "/.ftpfs-probe-0123456789abcdef",
        "/ftpfs-0123abcd-1.tmp",
    ];
    for name in others {
        world.put(name, b"theirs");
    }
    world.put("/file", b"content");
    let handle = world.open("/file", READ).unwrap();
    world.unlink("/file").unwrap();
    world
        .server
        .fail_next(Operation::RemoveFile, 1, Kind::Disconnected);
    world.fs.release(handle);
    pay(&mut world, true);
    let left: Vec<String> = world
        .server
        .tree()
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(left, others);
    assert!(world.server.node(&path("/file")).is_none());
}
