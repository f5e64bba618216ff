//! rename: over, not over, of directories, of open files; and on servers that do it badly.

use std::time::Duration;

use ftpfs::{
    fs::RenameMode,
    remote::{
        Remote, RemoteErrorKind,
        memory::{Operation, RenameOver},
    },
};

use crate::world::{READ, TRUNCATE, WRITE, World, path, pattern};

const KINDS: [RenameOver; 3] = [RenameOver::Replaces, RenameOver::Refuses, RenameOver::Lies];

#[test]
fn a_rename_costs_one_request() {
    let world = World::new();
    world.put("/a", b"1");
    world.put("/dir/x", b"");
    world.ino("/a");
    world.names("/dir").unwrap();
    world.server.forget_calls();
    world.rename("/a", "/dir/b").unwrap();
    assert_eq!(world.calls(Operation::Rename), 1);
    assert!(world.requests() <= 1 + world.calls(Operation::Stat));
    assert!(!world.exists("/a"));
    assert_eq!(world.cat("/dir/b").unwrap(), b"1");
}

#[test]
fn a_rename_over_a_file_replaces_it_on_every_server() {
    for kind in KINDS {
        let world = World::on_server(|server| server.rename_over = kind);
        world.put("/new", b"new");
        world.put("/file", b"old");
        for round in 0..2 {
            world.rename("/new", "/file").unwrap();
            assert!(!world.exists("/new"), "{kind:?}");
            assert_eq!(world.cat("/file").unwrap(), b"new");
            assert_eq!(
                world.on("/file").unwrap(),
                b"new",
                "{kind:?} in round {round}"
            );
            assert_eq!(world.on("/new"), None);
            assert_eq!(world.leftovers(), Vec::<String>::new());
            world.put("/new", b"new");
            world.put("/file", b"old");
            world.expire();
        }
    }
}

#[test]
fn noreplace_refuses_a_target_that_exists_even_if_nobody_listed_it_yet() {
    let world = World::new();
    world.put("/a", b"a");
    assert!(!world.exists("/b"));
    world.put("/b", b"b");
    world.clock.advance(Duration::from_secs(3));
    let outcome = world.rename_as("/a", "/b", RenameMode::NoReplace);
    assert_eq!(outcome, Err(libc::EEXIST));
    assert_eq!(world.on("/b").unwrap(), b"b");
    world.rename_as("/a", "/c", RenameMode::NoReplace).unwrap();
    assert_eq!(world.on("/c").unwrap(), b"a");
}

#[test]
fn noreplace_asks_nothing_where_the_listing_is_nearly_new() {
    let world = World::new();
    world.put("/a", b"a");
    assert!(!world.exists("/b"));
    let before = world.calls(Operation::Stat);
    world.rename_as("/a", "/b", RenameMode::NoReplace).unwrap();
    assert_eq!(world.calls(Operation::Stat), before);
}

// SEMANTICS: S-rename-noreplace
#[test]
fn a_server_that_lies_is_not_believed_about_a_free_name_either() {
    for (mode, was_seen) in [RenameMode::Replace, RenameMode::NoReplace]
        .into_iter()
        .flat_map(|mode| [(mode, true), (mode, false)])
    {
        for source in ["/file", "/dir"] {
            let world = World::on_server(|server| server.rename_over = RenameOver::Lies);
            if was_seen {
                world.put("/one", b"1");
                world.put("/other", b"2");
                world.rename("/one", "/other").unwrap();
                assert!(world.server.habits().pretends_to_rename);
            }
            world.put("/file", b"ours");
            world.put("/dir/x", b"inside");
            world.expire();
            assert!(!world.exists("/new") && world.exists(source));
            world.put("/new", b"theirs");
            let renamed = world.rename_as(source, "/new", mode);
            let case = format!("{source} {mode:?} {was_seen}");
            assert!(world.server.habits().pretends_to_rename, "{case}");
            if source == "/file" && mode == RenameMode::Replace {
                assert_eq!(renamed, Ok(()), "{case}");
                assert_eq!(world.on("/new").unwrap(), b"ours");
                assert_eq!(world.on("/file"), None);
            } else {
                assert_eq!(renamed, Err(libc::EEXIST), "{case}");
                assert_eq!(world.on("/new").unwrap(), b"theirs");
                assert_eq!(world.on("/file").unwrap(), b"ours");
                assert_eq!(world.on("/dir/x").unwrap(), b"inside");
            }
            assert_eq!(world.leftovers(), Vec::<String>::new(), "{case}");
            // A free one is renamed to all the same.
            world.rename_as("/dir/x", "/y", mode).unwrap();
            assert_eq!(world.on("/y").unwrap(), b"inside");
        }
    }
}

// SEMANTICS: S-replace-refused
#[test]
fn a_new_file_whose_name_others_take_is_stored_beside_it_on_a_server_that_lies() {
    let world = World::on_server(|server| server.rename_over = RenameOver::Lies);
    let content = pattern(2 << 20, 1);
    let handle = world.create("/new", TRUNCATE).unwrap();
    world.write(handle, 0, &content);
    world.server.before(Operation::Rename, |server| {
        server.write_file(&path("/new"), b"theirs");
    });
    assert!(world.close(handle).is_err());
    world.drain();
    assert_eq!(world.on("/new").unwrap(), b"theirs");
    let tree = world.server.tree();
    let copy = tree
        .keys()
        .find(|path| path.to_string().contains("-conflict-"));
    assert!(world.on(&copy.unwrap().to_string()).unwrap() == content);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

// SEMANTICS: S-rename-noreplace
#[test]
fn a_rename_on_a_server_that_has_not_lied_costs_no_look() {
    for kind in KINDS {
        let world = World::on_server(|server| server.rename_over = kind);
        world.put("/a", b"1");
        assert!(!world.exists("/b"));
        let before = world.requests();
        world.rename("/a", "/b").unwrap();
        assert_eq!(world.requests() - before, 1, "{kind:?}");
    }
}

#[test]
fn kinds_that_do_not_fit_are_refused_as_posix_says() {
    let world = World::new();
    world.put("/file", b"1");
    world.put("/full/x", b"1");
    world.server.write_dir(&path("/dir"));
    world.server.write_dir(&path("/empty"));
    assert_eq!(world.rename("/file", "/dir"), Err(libc::EISDIR));
    assert_eq!(world.rename("/dir", "/file"), Err(libc::ENOTDIR));
    assert_eq!(world.rename("/dir", "/full"), Err(libc::ENOTEMPTY));
    assert_eq!(world.rename("/nothing", "/x"), Err(libc::ENOENT));
    world.rename("/full", "/empty").unwrap();
    assert_eq!(world.on("/empty/x").unwrap(), b"1");
}

#[test]
fn a_directory_takes_an_empty_ones_place_on_every_server_that_answers_the_truth() {
    for kind in [RenameOver::Replaces, RenameOver::Refuses] {
        let world = World::on_server(|server| server.rename_over = kind);
        world.put("/full/x", b"1");
        world.server.write_dir(&path("/empty"));
        world.rename("/full", "/empty").unwrap();
        assert_eq!(world.on("/empty/x").unwrap(), b"1", "{kind:?}");
        assert!(!world.exists("/full"));
        assert_eq!(world.cat("/empty/x").unwrap(), b"1");
    }
}

#[test]
fn a_directory_takes_an_empty_ones_place_on_a_server_that_lies() {
    let world = World::on_server(|server| server.rename_over = RenameOver::Lies);
    world.put("/full/x", b"1");
    world.server.write_dir(&path("/empty"));
    world.rename("/full", "/empty").unwrap();
    assert_eq!(world.on("/empty/x").unwrap(), b"1");
    assert_eq!(world.on("/full/x"), None);
    assert_eq!(world.cat("/empty/x").unwrap(), b"1");
}

#[test]
fn a_directory_that_the_server_does_not_let_be_renamed_is_eacces() {
    let world = World::new();
    world.put("/dir/x", b"1");
    world
        .server
        .fail_next(Operation::Rename, 1, RemoteErrorKind::Refused);
    assert_eq!(world.rename("/dir", "/other"), Err(libc::EACCES));
    world
        .server
        .fail_next(Operation::Rename, 1, RemoteErrorKind::Refused);
    assert_eq!(world.rename("/dir/x", "/dir/y"), Err(libc::EACCES));
    assert_eq!(world.cat("/dir/x").unwrap(), b"1");
}

#[test]
fn a_file_that_vanished_behind_our_back_is_enoent() {
    let world = World::new();
    world.put("/a", b"1");
    world.ino("/a");
    world.server.remove(&path("/a"));
    assert_eq!(world.rename("/a", "/b"), Err(libc::ENOENT));
    assert!(!world.exists("/a"));
}

#[test]
fn files_open_below_a_renamed_directory_go_on_working() {
    let world = World::new();
    let content = pattern(300 << 10, 1);
    world.put("/dir/read", &content);
    world.put("/dir/write", b"old");
    let reader = world.open("/dir/read", READ).unwrap();
    assert_eq!(world.read(reader, 0, 10).unwrap(), &content[..10]);
    let writer = world.open("/dir/write", WRITE).unwrap();
    world.write(writer, 3, b" unsent");
    world.rename("/dir", "/moved").unwrap();
    world.write(writer, 0, b"NEW");
    assert_eq!(world.read_handle(reader).unwrap(), content);
    world.close(writer).unwrap();
    assert_eq!(world.on("/moved/write").unwrap(), b"NEW unsent");
    assert!(!world.is_dir_on_server("/dir"));
}

#[test]
fn an_open_file_that_is_renamed_over_is_read_to_its_end() {
    for kind in KINDS {
        let world = World::on_server(|server| server.rename_over = kind);
        let content = pattern(300 << 10, 1);
        world.put("/file", &content);
        world.put("/new", b"new");
        let handle = world.open("/file", READ).unwrap();
        world.rename("/new", "/file").unwrap();
        assert_eq!(world.read_handle(handle).unwrap(), content, "{kind:?}");
        assert_eq!(world.cat("/file").unwrap(), b"new");
        assert_eq!(world.names("/").unwrap(), ["file"]);
        world.fs.release(handle);
        assert_eq!(world.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn a_rename_over_that_fails_leaves_the_old_file_in_its_place() {
    for is_open in [false, true] {
        for kind in KINDS {
            for nth in 1..=3 {
                for lost in [false, true] {
                    let world = World::on_server(|server| server.rename_over = kind);
                    world.put("/new", b"new");
                    world.put("/file", b"old");
                    let handle = is_open.then(|| world.open("/file", READ).unwrap());
                    let broken = RemoteErrorKind::Disconnected;
                    if lost {
                        world.server.lose_reply(Operation::Rename, nth, broken);
                    } else {
                        world.server.fail_next(Operation::Rename, nth, broken);
                    }
                    let outcome = world.rename("/new", "/file");
                    let case =
                        format!("{kind:?}, open {is_open}, call {nth}, lost {lost}: {outcome:?}");
                    world.expire();
                    if outcome.is_ok() {
                        assert_eq!(world.on("/file").as_deref(), Some(&b"new"[..]), "{case}");
                    } else {
                        // A lost reply may have been a success; the old file never is nowhere.
                        let seen = world.on("/file");
                        let is_old = seen.as_deref() == Some(b"old") && world.on("/new").is_some();
                        let is_new = lost && seen.as_deref() == Some(b"new");
                        assert!(is_old || is_new, "{case}: {:?}", world.server.tree().keys());
                    }
                    if let Some(handle) = handle {
                        assert_eq!(
                            world.read_handle(handle).as_deref(),
                            Ok(&b"old"[..]),
                            "{case}"
                        );
                        world.fs.release(handle);
                    }
                    let shown = world.cat("/file");
                    assert_eq!(shown.ok(), world.on("/file"), "{case}");
                }
            }
        }
    }
}

#[test]
fn unsent_bytes_go_to_the_server_before_their_file_is_renamed() {
    let world = World::new();
    let handle = world.create("/part", WRITE).unwrap();
    world.write(handle, 0, b"content");
    world.rename("/part", "/whole").unwrap();
    assert_eq!(world.on("/whole").unwrap(), b"content");
    world.write(handle, 7, b" more");
    world.close(handle).unwrap();
    assert_eq!(world.on("/whole").unwrap(), b"content more");
    assert_eq!(world.on("/part"), None);
}

#[test]
fn a_file_not_yet_on_the_server_is_renamed_over_and_does_not_come_back() {
    let world = World::new();
    world.put("/new", b"new");
    let handle = world.create("/file", TRUNCATE).unwrap();
    world.write(handle, 0, b"unsent");
    world.rename("/new", "/file").unwrap();
    assert_eq!(world.read_handle(handle).unwrap(), b"unsent");
    world.close(handle).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"new");
    assert_eq!(world.cat("/file").unwrap(), b"new");
}

#[test]
fn a_rename_to_the_same_name_changes_nothing() {
    let world = World::new();
    world.put("/a", b"1");
    world.rename("/a", "/a").unwrap();
    assert_eq!(world.on("/a").unwrap(), b"1");
    assert_eq!(
        world.rename_as("/a", "/a", RenameMode::NoReplace),
        Err(libc::EEXIST)
    );
}

#[test]
fn a_renamed_file_keeps_its_attributes_without_asking() {
    let world = World::new();
    world.put("/a", b"12345");
    world.server.set_mode(&path("/a"), 0o600);
    let before = world.attr("/a");
    world.rename("/a", "/b").unwrap();
    world.server.forget_calls();
    let after = world.attr("/b");
    assert_eq!(after, before);
    assert_eq!(world.requests(), 0);
}

#[test]
fn swapping_through_a_third_name_works_with_open_files() {
    let world = World::new();
    world.put("/a", b"a");
    world.put("/b", b"b");
    let (a, b) = (
        world.open("/a", WRITE).unwrap(),
        world.open("/b", WRITE).unwrap(),
    );
    world.rename("/a", "/c").unwrap();
    world.rename("/b", "/a").unwrap();
    world.rename("/c", "/b").unwrap();
    world.write(a, 1, b"A");
    world.write(b, 1, b"B");
    world.close(a).unwrap();
    world.close(b).unwrap();
    assert_eq!(world.on("/b").unwrap(), b"aA");
    assert_eq!(world.on("/a").unwrap(), b"bB");
}
