//! Bytes that could not be sent: shown, tried again, drained, kept.

use std::{cell::RefCell, sync::Arc, thread, time::Duration};

use ftpfs::{
    fs::{Progress, Round},
    remote::{RemoteErrorKind as Kind, memory::Operation},
};

use crate::world::{TRUNCATE, WRITE, World, path, pattern};

/// Makes a file whose closing failed.
pub(crate) fn unsent(world: &World, at: &str, content: &[u8]) {
    let handle = world.create(at, TRUNCATE).unwrap();
    world.write(handle, 0, content);
    for step in [Operation::Put, Operation::OpenUpload] {
        // Those of the close, and of what comes after it.
        for nth in 1..=8 {
            world.server.fail_next(step, nth, Kind::Disconnected);
        }
    }
    assert_eq!(world.close(handle), Err(libc::EIO));
    world.server.forget_faults();
}

/// What was kept on this machine.
pub(crate) fn kept(world: &World) -> Vec<Vec<u8>> {
    let Ok(dir) = std::fs::read_dir(world.spool_dir.path().join("unsent")) else {
        return Vec::new();
    };
    dir.map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn a_file_whose_close_failed_is_shown_with_its_new_content_and_sent_later() {
    let world = World::new();
    world.put("/file", b"old");
    unsent(&world, "/file", b"new content");
    assert_eq!(world.on("/file").unwrap(), b"old");
    assert_eq!(world.size("/file"), 11);
    assert_eq!(world.cat("/file").unwrap(), b"new content");
    world.expire();
    assert_eq!(world.cat("/file").unwrap(), b"new content");
    world.fs.retry();
    assert_eq!(world.on("/file").unwrap(), b"new content");
    assert_eq!(world.cat("/file").unwrap(), b"new content");
}

#[test]
fn the_next_close_sends_what_the_first_could_not() {
    let world = World::new();
    unsent(&world, "/file", b"content");
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 7, b" more");
    world.close(handle).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"content more");
}

#[test]
fn a_new_file_whose_close_failed_can_be_listed_renamed_and_removed() {
    let world = World::new();
    unsent(&world, "/a", b"a");
    unsent(&world, "/b", b"b");
    let mut names = world.names("/").unwrap();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    world.rename("/a", "/c").unwrap();
    world.unlink("/b").unwrap();
    world.drain();
    assert_eq!(world.names("/").unwrap(), ["c"]);
    assert_eq!(world.on("/c").unwrap(), b"a");
    assert_eq!(world.server.tree().len(), 1);
}

#[test]
fn drain_sends_everything_also_of_files_still_open() {
    let world = World::new();
    unsent(&world, "/closed", b"closed");
    let handle = world.create("/open", WRITE).unwrap();
    world.write(handle, 0, b"open");
    let large = world.create("/large", WRITE).unwrap();
    for index in 0..16 {
        world.write(large, index * (128 << 10), &pattern(128 << 10, index));
    }
    let before = world.fs.progress();
    assert_eq!(before.files_left, 3);
    assert_eq!(before.bytes_left, 6 + 4 + (2 << 20));
    assert!(world.fs.drain(Duration::ZERO));
    assert_eq!(world.fs.progress(), Progress::default());
    assert_eq!(world.on("/closed").unwrap(), b"closed");
    assert_eq!(world.on("/open").unwrap(), b"open");
    assert_eq!(world.on("/large").unwrap().len(), 2 << 20);
}

// SEMANTICS: S-drain
#[test]
fn the_bytes_of_a_long_upload_are_counted_while_they_are_sent() {
    const LEN: u64 = 8 << 20;
    let world = World::new();
    world.put("/file", &vec![0; usize::try_from(LEN).unwrap()]);
    let handle = world.open("/file", WRITE).unwrap();
    // Not in order, and too much for a patch: the whole goes up, a part of it fetched first.
    for start in [3 << 20, 0] {
        world.write(handle, start, &pattern(5 << 20, start));
    }
    world
        .server
        .set_behaviour(|behaviour| behaviour.can_patch = false);
    let (sender, seen) = std::sync::mpsc::channel();
    for _ in 0..4 {
        let fs = Arc::downgrade(&world.fs);
        let sender = sender.clone();
        world.server.before(Operation::WriteAll, move |_| {
            sender.send(fs.upgrade().unwrap().progress()).unwrap();
        });
    }
    assert!(world.fs.drain(Duration::ZERO));
    let seen: Vec<_> = seen.try_iter().collect();
    assert_eq!(seen.len(), 4);
    for pair in seen.windows(2) {
        assert_eq!(pair[1].files_left, 1);
        assert!(pair[1].bytes_left < pair[0].bytes_left, "{pair:?}");
        assert!(pair[1].bytes_moved > pair[0].bytes_moved, "{pair:?}");
    }
}

#[test]
fn a_drain_leaves_out_what_is_written_while_it_runs() {
    let world = World::new();
    unsent(&world, "/first", b"first");
    let later = world.create("/later", WRITE).unwrap();
    let fs = Arc::downgrade(&world.fs);
    world.server.before(Operation::Put, move |_| {
        fs.upgrade().unwrap().write(later, 0, b"later").unwrap();
    });
    assert!(world.fs.drain(Duration::ZERO));
    assert_eq!(world.on("/first").unwrap(), b"first");
    world.drain();
    assert_eq!(world.on("/later").unwrap(), b"later");
}

#[test]
fn what_drain_cannot_send_is_kept_on_this_machine_and_named() {
    let world = World::new();
    unsent(&world, "/file", b"content");
    world.server.fail_next(Operation::Put, 1, Kind::NoSpace);
    assert!(!world.fs.drain(Duration::ZERO));
    assert_eq!(kept(&world), [b""; 0], "the mount may still send it");
    let unsent = world.fs.keep_unsent();
    assert_eq!(unsent.len(), 1);
    assert_eq!(unsent[0].path, "/file");
    assert_eq!(unsent[0].error.errno(), libc::ENOSPC);
    assert_eq!(
        std::fs::read(&unsent[0].kept.as_ref().unwrap().copy).unwrap(),
        b"content"
    );
    assert_eq!(unsent[0].kept.as_ref().unwrap().ranges, None);
}

// SEMANTICS: S-kept
#[test]
fn of_a_file_that_the_server_has_in_part_only_what_was_written_is_kept_with_a_list_of_it() {
    use std::os::unix::fs::MetadataExt;
    const LEN: u64 = 64 << 20;
    let world = World::new();
    world.put("/large", &vec![b's'; usize::try_from(LEN).unwrap()]);
    let handle = world.open("/large", WRITE).unwrap();
    world.write(handle, 1 << 20, &pattern(4096, 1));
    let middle = 10 << 20;
    world.write(handle, middle, b"\0patch");
    let unsent = world.fs.keep_unsent();
    let kept = unsent[0].kept.as_ref().unwrap();
    let metadata = std::fs::metadata(&kept.copy).unwrap();
    assert_eq!(metadata.len(), LEN);
    assert!(metadata.blocks() * 512 < 1 << 20, "{}", metadata.blocks());
    let bytes = std::fs::read(&kept.copy).unwrap();
    assert!(bytes[1 << 20..][..4096] == pattern(4096, 1));
    assert_eq!(bytes[10 << 20..][..6], *b"\0patch");
    let list = std::fs::read_to_string(kept.ranges.as_ref().unwrap()).unwrap();
    let lines: Vec<_> = list.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, ["1048576 4096", "10485760 6"]);
    assert!(list.starts_with("# /large\n"), "{list}");
}

#[test]
fn what_the_server_will_never_take_is_kept_and_the_servers_file_is_shown_again() {
    for (is_new, shown) in [(false, Ok(b"old".to_vec())), (true, Err(libc::ENOENT))] {
        let world = World::new();
        if !is_new {
            world.put("/file", b"old");
        }
        let handle = world.create("/file", TRUNCATE).unwrap();
        world.write(handle, 0, b"new content");
        for step in [Operation::Put, Operation::OpenUpload] {
            for nth in 1..=6 {
                world.server.fail_next(step, nth, Kind::Refused);
            }
        }
        assert_eq!(world.close(handle), Err(libc::EACCES));
        world.server.forget_faults();
        assert_eq!(kept(&world), [b"new content"]);
        assert_eq!(world.cat("/file"), shown);
        world.drain();
        assert_eq!(world.on("/file"), shown.ok());
    }
}

// SEMANTICS: S-upload-failed
#[test]
fn a_refused_login_keeps_the_file_in_the_mount_until_the_server_lets_us_in_again() {
    let world = World::new();
    let handle = world.create("/file", TRUNCATE).unwrap();
    world.write(handle, 0, b"content");
    for nth in 1..=6 {
        world
            .server
            .fail_next(Operation::Put, nth, Kind::LoginRefused);
    }
    assert_eq!(world.close(handle), Err(libc::EACCES));
    world.fs.retry();
    world.server.forget_faults();
    assert!(kept(&world).is_empty());
    assert_eq!(world.cat("/file").unwrap(), b"content");
    world.fs.retry();
    assert_eq!(world.on("/file").unwrap(), b"content");
}

/// A server that lets nobody log in for an upload.
fn lock_out(world: &World) {
    for nth in 1..=1000 {
        for step in [Operation::Put, Operation::OpenUpload] {
            world.server.fail_next(step, nth, Kind::LoginRefused);
        }
    }
}

// SEMANTICS: S-upload-failed
#[test]
fn a_round_of_retries_ends_at_the_first_refused_login_and_the_next_goes_on_behind_it() {
    let world = World::new();
    lock_out(&world);
    let names = ["/a", "/b", "/c"];
    for name in names {
        assert_eq!(world.save(name, name.as_bytes()), Err(libc::EACCES));
    }
    world.server.forget_calls();
    for round in 1..=3 {
        assert_eq!(world.fs.retry(), Round::InVain);
        assert_eq!(world.calls(Operation::Put), round);
    }
    for name in names {
        let tried = world.server.calls_on(Operation::Put, &path(name));
        assert_eq!(tried, 1, "{name}");
    }
    world.server.forget_faults();
    assert_eq!(world.fs.retry(), Round::Well);
    for name in names {
        assert_eq!(world.on(name).unwrap(), name.as_bytes());
    }
    assert_eq!(world.fs.retry(), Round::Well, "nothing is left to do");
}

// SEMANTICS: S-upload-failed
#[test]
fn of_many_unsent_files_some_wait_on_the_disk() {
    const LEN: usize = 6 << 20;
    let world = World::new();
    let in_dir = |world: &World| std::fs::read_dir(world.spool_dir.path()).unwrap().count();
    lock_out(&world);
    for number in 0..14 {
        let name = format!("/{number}");
        assert_eq!(world.save(&name, &pattern(LEN, number)), Err(libc::EACCES));
    }
    // 84 MiB, of which 32 may stay in memory, half of --spool-memory-total.
    assert!((8..=10).contains(&in_dir(&world)), "{}", in_dir(&world));
    assert!(world.cat("/13").unwrap() == pattern(LEN, 13));
    let handle = world.open("/13", WRITE).unwrap();
    world.write(handle, 0, b"changed");
    assert_eq!(world.close(handle), Err(libc::EACCES));
    world.server.forget_faults();
    assert_eq!(world.fs.retry(), Round::Well);
    assert!(world.on("/12").unwrap() == pattern(LEN, 12));
    assert_eq!(world.on("/13").unwrap()[..7], *b"changed");
    assert_eq!(in_dir(&world), 0);
}

/// What was logged on this test's thread, at warn and above.
struct Said;

thread_local! {
    static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl log::Log for Said {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            SAID.with_borrow_mut(|said| said.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

#[test]
fn a_failed_upload_is_logged_only_where_no_program_is_told() {
    // Another test of this program may have been first.
    let _ = log::set_logger(&Said);
    log::set_max_level(log::LevelFilter::Warn);
    let world = World::new();
    let handle = world.create("/file", TRUNCATE).unwrap();
    world.write(handle, 0, b"content");
    world.server.fail_next(Operation::Put, 1, Kind::NoSpace);
    world.server.fail_next(Operation::Put, 2, Kind::NoSpace);
    assert!(world.fs.flush(handle).is_err());
    assert_eq!(
        SAID.take(),
        [""; 0],
        "the program's error is logged by who answers it"
    );
    world.fs.release(handle);
    let said = SAID.take();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("/file") && said[0].contains("no space"),
        "{said:?}"
    );
}

#[test]
fn an_unsent_file_is_opened_and_truncated_like_any_other() {
    let world = World::new();
    unsent(&world, "/file", b"content");
    world.truncate("/file", 3).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"con");
}

#[test]
fn retrying_goes_on_in_the_background_and_ends_with_the_filesystem() {
    let world = World::new();
    world.fs.start_retrying().unwrap();
    let weak = Arc::downgrade(&world.fs);
    drop(world);
    thread::sleep(Duration::from_millis(20));
    assert!(
        weak.upgrade().is_none(),
        "the thread does not keep the filesystem"
    );
}

#[test]
fn a_directory_with_an_unsent_file_is_removed_after_it() {
    let world = World::new();
    world.server.write_dir(&path("/dir"));
    unsent(&world, "/dir/file", b"1");
    assert_eq!(world.rmdir("/dir"), Err(libc::ENOTEMPTY));
    world.unlink("/dir/file").unwrap();
    world.rmdir("/dir").unwrap();
    world.drain();
    assert!(world.server.tree().is_empty());
}
