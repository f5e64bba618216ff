//! Servers that refuse, pretend or tell little.

use ftpfs::remote::{
    Precision, Remote, RemoteErrorKind as Kind,
    memory::{Operation, RenameOver},
};

use crate::world::{APPEND, TRUNCATE, WRITE, World, path, pattern};

#[test]
fn files_are_replaced_on_servers_that_do_not_rename_over() {
    for rename_over in [RenameOver::Refuses, RenameOver::Lies] {
        for dots in [None, Some(Kind::Refused), Some(Kind::NameRefused)] {
            let world = World::on_server(|server| {
                server.rename_over = rename_over;
                server.dot_names_refused = dots;
            });
            world.put("/file", b"old");
            for round in 0..3 {
                let content = pattern(5000, round);
                world.save("/file", &content).unwrap();
                assert!(
                    world.on("/file").unwrap() == content,
                    "{rename_over:?} {dots:?} {round}"
                );
                assert_eq!(world.leftovers(), Vec::<String>::new());
            }
        }
    }
}

#[test]
fn a_file_that_vanished_is_uploaded_again_where_renames_do_not_replace() {
    for rename_over in [RenameOver::Refuses, RenameOver::Lies] {
        let world = World::on_server(|server| server.rename_over = rename_over);
        world.put("/file", b"old");
        world.save("/file", b"new").unwrap();
        let handle = world.open("/file", TRUNCATE).unwrap();
        world.write(handle, 0, b"newer");
        world.server.remove(&path("/file"));
        world.close(handle).unwrap();
        assert_eq!(world.on("/file").unwrap(), b"newer", "{rename_over:?}");
    }
}

// SEMANTICS: S-profile
#[test]
fn what_one_mount_has_found_out_serves_the_next() {
    let world = World::on_server(|server| server.rename_over = RenameOver::Refuses);
    world.put("/file", b"old");
    assert!(!world.server.habits().no_rename_over);
    world.save("/file", b"new").unwrap();
    assert!(
        !world.server.habits().no_rename_over,
        "one refusal may have another reason"
    );
    world.save("/file", b"newer").unwrap();
    let habits = world.server.habits();
    assert!(habits.no_rename_over && !habits.no_rename);
    let next = World::on_server(|server| {
        server.rename_over = RenameOver::Refuses;
        server.habits = habits;
    });
    next.put("/file", b"old");
    next.save("/file", b"new").unwrap();
    assert_eq!(next.on("/file").unwrap(), b"new");
    // Aside, and into its place: none is tried in vain.
    assert_eq!(next.calls(Operation::Rename), 2);
}

// SEMANTICS: S-no-rename
#[test]
fn a_server_that_does_not_rename_has_its_files_written_in_place() {
    let world = World::on_server(|server| server.can_rename = false);
    world.put("/file", b"old");
    for round in 0..3 {
        // Large enough to be streamed while it is written.
        let content = pattern(2 << 20, round);
        world.save("/file", &content).unwrap();
        assert!(world.on("/file").unwrap() == content, "{round}");
        world.save("/new", &content).unwrap();
        assert!(world.on("/new").unwrap() == content, "{round}");
        world.eventually("no leftovers", |world| world.leftovers().is_empty());
    }
    assert_eq!(world.rename("/file", "/other"), Err(libc::EOPNOTSUPP));
    assert!(world.exists("/file"));
}

// SEMANTICS: S-replace-in-place
#[test]
fn where_no_temporary_file_can_be_made_the_old_file_stays() {
    for kind in [
        Kind::Refused,
        Kind::NameRefused,
        Kind::NoSpace,
        Kind::QuotaExceeded,
        Kind::Busy,
        Kind::Failed,
    ] {
        for len in [10, 2 << 20] {
            let world = World::new();
            let old = pattern(3 << 20, 9);
            world.put("/file", &old);
            let content = pattern(len, 1);
            let handle = world.open("/file", TRUNCATE).unwrap();
            for (index, part) in content.chunks(128 << 10).enumerate() {
                world.write(handle, (index * (128 << 10)) as u64, part);
            }
            for nth in 1..=4 {
                world.server.fail_next(Operation::OpenUpload, nth, kind);
            }
            let failed = world.fs.fsync(handle);
            assert!(failed.is_err(), "{kind:?} {len}");
            assert!(world.on("/file").unwrap() == old, "{kind:?} {len}");
            world.server.forget_faults();
            world.fs.fsync(handle).unwrap();
            assert!(world.on("/file").unwrap() == content, "{kind:?} {len}");
            assert!(!world.server.habits().no_dot_names, "{kind:?}");
            world.fs.release(handle);
        }
    }
}

// SEMANTICS: S-replace-in-place
#[test]
fn a_directory_that_takes_no_new_names_keeps_its_files() {
    let world = World::on_server(|server| {
        server.closed_dirs.insert(path("/closed"));
    });
    world.put("/closed/file", b"old");
    let content = pattern(2 << 20, 1);
    assert_eq!(world.save("/closed/file", &content), Err(libc::EACCES));
    assert_eq!(world.on("/closed/file").unwrap(), b"old");
    // An append needs no other name.
    let handle = world.open("/closed/file", APPEND).unwrap();
    world.write(handle, 0, b" and more");
    world.close(handle).unwrap();
    assert_eq!(world.on("/closed/file").unwrap(), b"old and more");
    let handle = world.create("/closed/new", WRITE).unwrap();
    assert_eq!(world.close(handle), Err(libc::EACCES));
    assert!(
        !world.exists("/closed/new"),
        "what the server never takes is shown no longer"
    );
    world.save("/open", b"1").unwrap();
    assert_eq!(world.on("/open").unwrap(), b"1");
}

#[test]
fn a_server_that_forbids_overwriting_has_its_files_replaced() {
    let world = World::on_server(|server| server.can_overwrite = false);
    world.put("/file", b"old");
    world.save("/file", b"new").unwrap();
    assert_eq!(world.on("/file").unwrap(), b"new");
    world.put("/empty", b"");
    world.expire();
    world.save("/empty", b"new").unwrap();
    assert_eq!(world.on("/empty").unwrap(), b"new");
}

#[test]
fn a_server_that_can_do_next_to_nothing_keeps_every_byte() {
    let world = World::on_server(|server| {
        server.rename_over = RenameOver::Refuses;
        server.can_append = false;
        server.can_patch = false;
        server.can_set_mode = false;
        server.can_set_time = false;
        server.tells_mode = false;
        server.list_precision = Precision::Minute;
        server.dot_names_refused = Some(Kind::NameRefused);
        server.read_bytes_max = Some(1000);
    });
    let mut content = pattern(1 << 21, 1);
    world.save("/file", &content).unwrap();
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 1 << 20, b"inside");
    content[1 << 20..(1 << 20) + 6].copy_from_slice(b"inside");
    world.close(handle).unwrap();
    let handle = world.open("/file", APPEND).unwrap();
    world.write(handle, 0, b"behind");
    content.extend_from_slice(b"behind");
    world.close(handle).unwrap();
    assert!(world.on("/file").unwrap() == content);
    assert!(world.cat("/file").unwrap() == content);
    world.rename("/file", "/other").unwrap();
    assert!(world.cat("/other").unwrap() == content);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn what_a_server_refused_for_good_is_not_asked_again() {
    let world = World::on_server(|server| server.rename_over = RenameOver::Refuses);
    world.put("/a", b"old");
    world.save("/a", b"new").unwrap();
    world.save("/a", b"newer").unwrap();
    world.server.forget_calls();
    world.save("/a", b"newest").unwrap();
    assert_eq!(
        world.calls(Operation::Rename),
        2,
        "aside and into place, no rename over before"
    );
}

#[test]
fn times_told_to_the_minute_do_not_make_a_file_look_changed() {
    let world = World::on_server(|server| server.list_precision = Precision::Minute);
    world.put("/file", &pattern(5000, 1));
    let handle = world.open("/file", WRITE).unwrap();
    world.read_handle(handle).unwrap();
    world.expire();
    world.attr("/file");
    let before = world.calls(Operation::OpenDownload);
    world.read_handle(handle).unwrap();
    assert_eq!(world.calls(Operation::OpenDownload), before);
}
