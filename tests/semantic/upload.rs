//! Which plan brings a change up, and what it costs.

use ftpfs::remote::{Remote as _, RemoteErrorKind, memory::Operation};

use crate::world::{APPEND, TRUNCATE, WRITE, World, path, pattern};

const MIB: usize = 1 << 20;

#[test]
fn a_small_new_file_costs_one_exchange_and_a_look() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    world.write(handle, 0, b"content");
    world.server.forget_calls();
    world.close(handle).unwrap();
    assert_eq!(world.calls(Operation::Put), 1);
    assert_eq!(world.requests(), 2);
    assert_eq!(world.server.bytes_received(), 7);
}

#[test]
fn a_tail_of_4_kib_on_a_large_file_sends_4_kib() {
    let world = World::new();
    let old = pattern(3 * MIB, 1);
    world.put("/file", &old);
    let handle = world.open("/file", APPEND).unwrap();
    world.write(handle, 0, &pattern(4096, 2));
    world.close(handle).unwrap();
    assert_eq!(world.server.bytes_received(), 4096);
    assert_eq!(world.calls(Operation::OpenDownload), 0);
    assert!(world.on("/file").unwrap() == [old, pattern(4096, 2)].concat());
}

#[test]
fn a_patch_of_4_kib_in_2_mib_sends_4_kib() {
    let world = World::new();
    world.try_patch();
    let (received, read) = (
        world.server.bytes_received(),
        world.calls(Operation::OpenDownload),
    );
    let mut content = pattern(2 * MIB, 1);
    world.put("/file", &content);
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 123_456, &pattern(4096, 2));
    world.close(handle).unwrap();
    assert_eq!(world.server.bytes_received() - received, 4096);
    // Once, to read back what was written: the size does not tell.
    assert_eq!(world.calls(Operation::OpenDownload) - read, 1);
    content[123_456..123_456 + 4096].copy_from_slice(&pattern(4096, 2));
    assert!(world.on("/file").unwrap() == content);
}

#[test]
fn where_a_server_does_not_keep_the_rest_the_whole_file_goes_up() {
    let world = World::on_server(|server| server.can_patch = false);
    world.try_patch();
    let received = world.server.bytes_received();
    let mut content = pattern(2 * MIB, 1);
    world.put("/file", &content);
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 123_456, &pattern(4096, 2));
    world.close(handle).unwrap();
    assert_eq!(world.server.bytes_received() - received, 2 * MIB as u64);
    content[123_456..123_456 + 4096].copy_from_slice(&pattern(4096, 2));
    assert!(world.on("/file").unwrap() == content);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn where_a_server_does_not_append_the_whole_file_goes_up_and_it_is_not_asked_again() {
    let world = World::on_server(|server| server.can_append = false);
    world.put("/log", b"one,");
    for word in [&b"two,"[..], b"three"] {
        let handle = world.open("/log", APPEND).unwrap();
        world.write(handle, 0, word);
        world.close(handle).unwrap();
    }
    assert_eq!(world.on("/log").unwrap(), b"one,two,three");
    assert_eq!(
        world.server.calls_on(Operation::OpenUpload, &path("/log")),
        1
    );
}

#[test]
fn what_is_appended_goes_behind_what_others_have_appended() {
    let world = World::new();
    world.put("/log", b"one,");
    let handle = world.open("/log", APPEND).unwrap();
    world.write(handle, 0, b"two");
    world.put("/log", b"one,other");
    world.close(handle).unwrap();
    assert_eq!(
        world.on("/log").unwrap(),
        b"one,othertwo",
        "nobody's bytes are lost"
    );
}

#[test]
fn many_changed_ranges_go_up_as_one_whole() {
    let world = World::new();
    let mut content = pattern(2 * MIB, 1);
    world.put("/file", &content);
    let handle = world.open("/file", WRITE).unwrap();
    for index in 0..100 {
        world.write(handle, index * 20_000, b"changed");
        let at = index as usize * 20_000;
        content[at..at + 7].copy_from_slice(b"changed");
    }
    world.close(handle).unwrap();
    assert!(world.on("/file").unwrap() == content);
    assert_eq!(world.server.bytes_received(), 2 * MIB as u64);
}

#[test]
fn a_change_and_a_tail_in_one_go_up_together() {
    let world = World::new();
    world.try_patch();
    let received = world.server.bytes_received();
    let old = pattern(2 * MIB, 1);
    world.put("/file", &old);
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 5, b"change");
    world.write(handle, old.len() as u64, b"tail");
    world.close(handle).unwrap();
    let mut expected = [&old[..], b"tail"].concat();
    expected[5..11].copy_from_slice(b"change");
    assert!(world.on("/file").unwrap() == expected);
    assert_eq!(world.server.bytes_received() - received, 10);
}

/// How many scratch or temporary files the server was sent.
fn uploads(world: &World) -> u64 {
    world.calls(Operation::OpenUpload) + world.calls(Operation::Put)
}

/// Changes 4 KiB inside a large file of `dir`; how many uploads that took.
fn patch_in(world: &World, dir: &str) -> u64 {
    let at = format!("{dir}/file");
    let mut content = pattern(2 * MIB, 1);
    world.put(&at, &content);
    world.expire();
    let before = uploads(world);
    let handle = world.open(&at, WRITE).unwrap();
    world.write(handle, 123_456, &pattern(4096, 2));
    world.close(handle).unwrap();
    content[123_456..123_456 + 4096].copy_from_slice(&pattern(4096, 2));
    assert!(world.on(&at).unwrap() == content, "{dir}");
    uploads(world) - before
}

// SEMANTICS: S-patch
#[test]
fn no_scratch_file_is_made_before_it_is_known_that_files_can_be_removed() {
    const WHOLE: u64 = 1;
    const TRIAL_AND_PATCH: u64 = 3;
    const PATCH: u64 = 1;
    let mut world = World::on_server(|server| server.habits.removals = 0);
    world.mkdir("/a").unwrap();
    world.mkdir("/b").unwrap();
    let sent = |world: &World, dir| {
        let before = world.server.bytes_received();
        let uploads = patch_in(world, dir);
        let is_whole = world.server.bytes_received() - before > MIB as u64;
        (uploads, is_whole)
    };
    assert_eq!(sent(&world, "/a"), (WHOLE, true));
    world.save("/a/other", b"x").unwrap();
    world.unlink("/a/other").unwrap();
    // Each directory may be another disk.
    for dir in ["/a", "/b"] {
        assert_eq!(sent(&world, dir), (TRIAL_AND_PATCH, false), "{dir}");
        assert_eq!(sent(&world, dir), (PATCH, false), "{dir}");
    }
    assert_eq!(world.leftovers(), Vec::<String>::new());
    // Removed twice: known to the next mount too.
    world.restart();
    assert_eq!(sent(&world, "/a"), (TRIAL_AND_PATCH, false));
}

// SEMANTICS: S-patch
#[test]
fn where_a_scratch_file_cannot_be_removed_no_other_is_made() {
    let world = World::new();
    world.mkdir("/a").unwrap();
    world.mkdir("/b").unwrap();
    for nth in 1..20 {
        world
            .server
            .fail_next(Operation::RemoveFile, nth, RemoteErrorKind::Refused);
    }
    patch_in(&world, "/a");
    assert_eq!(world.server.habits().removals, 0);
    let left = world.leftovers();
    patch_in(&world, "/b");
    assert_eq!(world.leftovers(), left);
}

#[test]
fn a_file_that_vanished_under_its_writer_comes_back_whole() {
    let world = World::new();
    world.put("/file", b"old");
    let handle = world.open("/file", TRUNCATE).unwrap();
    world.write(handle, 0, b"new content");
    world.server.remove(&path("/file"));
    world.close(handle).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"new content");
}

#[test]
fn a_file_that_vanished_with_bytes_only_it_had_is_an_error_and_what_was_written_is_kept() {
    let world = World::new();
    world.put("/file", b"0123456789");
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 2, b"XX");
    world.server.remove(&path("/file"));
    assert_eq!(
        world.fs.flush(handle).map_err(|error| error.errno()),
        Err(libc::ENOENT)
    );
    world.fs.release(handle);
    let kept = std::fs::read_dir(world.spool_dir.path().join("unsent")).unwrap();
    let mut kept: Vec<_> = kept.map(|file| file.unwrap().path()).collect();
    // The second is the list of the ranges that were written.
    kept.sort_by_key(|path| path.extension().is_some_and(|name| name == "ranges"));
    assert_eq!(kept.len(), 2);
    let kept = std::fs::read(&kept[0]).unwrap();
    assert_eq!(&kept[2..4], b"XX");
}

#[test]
fn an_upload_keeps_the_old_files_mode() {
    let world = World::new();
    world.put("/script", &pattern(5000, 1));
    world.server.set_mode(&path("/script"), 0o750);
    world.save("/script", b"rewritten").unwrap();
    assert_eq!(world.server.node(&path("/script")).unwrap().mode, 0o750);
}

#[test]
fn a_second_close_of_an_unchanged_file_costs_nothing() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    world.write(handle, 0, b"content");
    world.fs.flush(handle).unwrap();
    let before = world.requests();
    world.fs.flush(handle).unwrap();
    world.fs.fsync(handle).unwrap();
    world.close(handle).unwrap();
    assert_eq!(world.requests(), before);
}

#[test]
fn bytes_read_back_after_an_upload_need_no_server() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    world.write(handle, 0, b"content");
    world.fs.fsync(handle).unwrap();
    let before = world.requests();
    assert_eq!(world.read_handle(handle).unwrap(), b"content");
    assert_eq!(world.requests(), before);
}

#[test]
fn an_upload_into_a_directory_that_vanished_is_enoent() {
    let world = World::new();
    world.server.write_dir(&path("/dir"));
    let handle = world.create("/dir/file", WRITE).unwrap();
    world.write(handle, 0, b"1");
    world.server.remove(&path("/dir"));
    assert_eq!(world.close(handle), Err(libc::ENOENT));
}

#[test]
fn a_spool_larger_than_its_memory_moves_to_a_file_and_arrives_whole() {
    for memory in [0, 100_000] {
        let world = World::with(|setup| setup.fs.spool_memory_bytes_max = memory);
        let content = pattern(600_000, 3);
        world.save("/file", &content).unwrap();
        assert!(world.on("/file").unwrap() == content);
        assert!(world.cat("/file").unwrap() == content);
        let handle = world.open("/file", WRITE).unwrap();
        world.write(handle, 300_000, b"changed");
        assert_eq!(
            world.read(handle, 299_998, 11).unwrap()[2..9],
            b"changed"[..]
        );
        world.close(handle).unwrap();
        assert_eq!(&world.on("/file").unwrap()[300_000..300_007], b"changed");
    }
}

#[test]
fn a_full_server_is_enospc_for_every_plan_and_the_old_file_stays() {
    let world = World::new();
    world.put("/file", b"old");
    let handle = world.open("/file", TRUNCATE).unwrap();
    world.write(handle, 0, &pattern(MIB + MIB / 2, 1));
    world
        .server
        .fail_next(Operation::Finish, 1, RemoteErrorKind::NoSpace);
    assert_eq!(
        world.fs.flush(handle).map_err(|error| error.errno()),
        Err(libc::ENOSPC)
    );
    assert_eq!(world.on("/file").unwrap(), b"old");
    world.eventually("no temporary file is left", |world| {
        world.leftovers().is_empty()
    });
    world.close(handle).unwrap();
    assert!(world.on("/file").unwrap() == pattern(MIB + MIB / 2, 1));
}

// SEMANTICS: S-conflict-emptied
#[test]
fn a_file_that_others_have_replaced_is_replaced_by_who_closes_last() {
    let world = World::new();
    world.put("/file", b"old content");
    let handle = world.open("/file", WRITE).unwrap();
    world.truncate("/file", 0).unwrap();
    world.write(handle, 0, b"ours");
    world.put("/file", b"theirs");
    world.close(handle).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"ours");
}

// SEMANTICS: S-patch
#[test]
fn a_change_of_the_first_bytes_sends_the_whole_file() {
    for (at, extra) in [(0, None), (0, Some(2 * MIB - 5)), (0, Some(2 * MIB))] {
        let world = World::new();
        let mut content = pattern(2 * MIB, 1);
        world.put("/file", &content);
        let handle = world.open("/file", WRITE).unwrap();
        world.write(handle, at, b"HEAD");
        content[..4].copy_from_slice(b"HEAD");
        if let Some(extra) = extra {
            world.write(handle, extra as u64, b"there");
            content.resize(content.len().max(extra + 5), 0);
            content[extra..extra + 5].copy_from_slice(b"there");
        }
        world.close(handle).unwrap();
        assert!(world.on("/file").unwrap() == content, "{extra:?}");
        assert_eq!(world.server.bytes_received(), content.len() as u64);
    }
}
