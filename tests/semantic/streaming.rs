//! Files that go up while they are written.

use std::{sync::mpsc, time::Duration};

use ftpfs::remote::{RemoteErrorKind, memory::Operation};

use crate::world::{TRUNCATE, WRITE, World, path, pattern};

const MIB: usize = 1 << 20;
const PART: usize = 128 << 10;

fn write_all(world: &World, handle: ftpfs::fs::HandleId, content: &[u8]) {
    for (index, part) in content.chunks(PART).enumerate() {
        world.write(handle, (index * PART) as u64, part);
    }
}

#[test]
fn a_large_sequential_write_reaches_the_server_before_close() {
    let world = World::new();
    let content = pattern(3 * MIB, 1);
    let handle = world.create("/file", WRITE).unwrap();
    write_all(&world, handle, &content);
    world.eventually("most bytes are there", |world| {
        world.server.bytes_received() >= 2 * MIB as u64
    });
    assert_eq!(world.on("/file"), None, "never half under its own name");
    world.close(handle).unwrap();
    assert!(world.on("/file").unwrap() == content);
    assert_eq!(
        world.server.bytes_received(),
        3 * MIB as u64,
        "each byte once"
    );
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn a_small_file_is_not_streamed() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    write_all(&world, handle, &pattern(MIB - 1, 1));
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(world.calls(Operation::OpenUpload), 0);
    world.close(handle).unwrap();
}

#[test]
fn an_old_file_that_is_rewritten_stays_until_close() {
    let world = World::new();
    let old = pattern(2 * MIB, 1);
    world.put("/file", &old);
    let handle = world.open("/file", TRUNCATE).unwrap();
    let content = pattern(2 * MIB, 2);
    write_all(&world, handle, &content);
    world.eventually("the stream runs", |world| {
        world.server.bytes_received() >= MIB as u64
    });
    assert!(world.on("/file").unwrap() == old);
    world.close(handle).unwrap();
    assert!(world.on("/file").unwrap() == content);
}

#[test]
fn a_seek_back_gives_the_stream_up_and_the_file_is_right() {
    let world = World::new();
    let mut content = pattern(2 * MIB, 1);
    let handle = world.create("/file", WRITE).unwrap();
    write_all(&world, handle, &content);
    world.eventually("the stream runs", |world| {
        world.server.bytes_received() >= MIB as u64
    });
    world.write(handle, 10, b"header");
    content[10..16].copy_from_slice(b"header");
    world.close(handle).unwrap();
    assert!(world.on("/file").unwrap() == content);
    world.eventually("the given up part is removed", |world| {
        world.leftovers().is_empty()
    });
}

#[test]
fn a_file_cut_off_while_it_streams_is_right() {
    for len in [0, 1000, 2 * MIB + 5000] {
        let world = World::new();
        let mut content = pattern(2 * MIB, 1);
        let handle = world.create("/file", WRITE).unwrap();
        write_all(&world, handle, &content);
        world.eventually("the stream runs", |world| {
            world.server.bytes_received() >= MIB as u64
        });
        let change = ftpfs::fs::Change {
            size: Some(len as u64),
            ..Default::default()
        };
        world
            .fs
            .setattr(world.ino("/file"), &change, Some(handle))
            .unwrap();
        world.write(handle, len as u64, b"end");
        world.close(handle).unwrap();
        content.resize(len, 0);
        content.extend_from_slice(b"end");
        assert!(world.on("/file").unwrap() == content, "{len}");
        world.eventually("the given up part is removed", |world| {
            world.leftovers().is_empty()
        });
    }
}

#[test]
fn with_one_session_nothing_streams() {
    let world = World::with(|setup| setup.sessions_max = 1);
    let handle = world.create("/file", WRITE).unwrap();
    let content = pattern(2 * MIB, 1);
    write_all(&world, handle, &content);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(world.calls(Operation::OpenUpload), 0);
    world.close(handle).unwrap();
    assert!(world.on("/file").unwrap() == content);
}

#[test]
fn streams_take_half_of_the_sessions_at_most() {
    let world = World::with(|setup| setup.sessions_max = 4);
    let content = pattern(MIB + PART, 1);
    let handles: Vec<_> = (0..4)
        .map(|index| {
            let handle = world.create(&format!("/file{index}"), WRITE).unwrap();
            write_all(&world, handle, &content);
            handle
        })
        .collect();
    std::thread::sleep(Duration::from_millis(50));
    assert!(world.calls(Operation::OpenUpload) <= 2);
    for handle in handles {
        world.close(handle).unwrap();
    }
    for index in 0..4 {
        assert!(world.on(&format!("/file{index}")).unwrap() == content);
    }
}

#[test]
fn a_stream_that_the_server_breaks_is_replaced_by_a_whole_upload() {
    for kind in [
        RemoteErrorKind::Disconnected,
        RemoteErrorKind::Refused,
        RemoteErrorKind::Failed,
    ] {
        let world = World::new();
        world
            .server
            .fail_after_bytes(Operation::OpenUpload, 700_000, kind);
        let content = pattern(2 * MIB, 1);
        let handle = world.create("/file", WRITE).unwrap();
        write_all(&world, handle, &content);
        world.close(handle).unwrap();
        assert!(world.on("/file").unwrap() == content, "{kind:?}");
        assert_eq!(world.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn a_streamed_file_that_is_removed_before_close_leaves_nothing() {
    let world = World::new();
    world.server.write_dir(&path("/dir"));
    let handle = world.create("/dir/file", WRITE).unwrap();
    write_all(&world, handle, &pattern(2 * MIB, 1));
    world.eventually("the stream runs", |world| {
        world.server.bytes_received() >= MIB as u64
    });
    world.unlink("/dir/file").unwrap();
    world.rmdir("/dir").unwrap();
    world.close(handle).unwrap();
    world.eventually("the server is empty", |world| {
        world.server.tree().is_empty()
    });
}

#[test]
fn a_directory_is_removed_while_a_given_up_stream_is_still_cleaned_up() {
    let world = World::new();
    world.server.write_dir(&path("/dir"));
    let handle = world.create("/dir/file", WRITE).unwrap();
    write_all(&world, handle, &pattern(2 * MIB, 1));
    world.eventually("the stream runs", |world| {
        world.server.bytes_received() >= MIB as u64
    });
    // The thread that removes the stream's file is slow.
    let (go, wait) = mpsc::channel::<()>();
    world.server.before(Operation::RemoveFile, move |_| {
        let _ = wait.recv_timeout(Duration::from_secs(5));
    });
    world.unlink("/dir/file").unwrap();
    let removed = world.eventually_ok(|world| world.calls(Operation::RemoveFile) > 0);
    assert!(removed);
    world.rmdir("/dir").unwrap();
    drop(go);
    world.close(handle).unwrap();
    assert!(world.server.tree().is_empty());
}

#[test]
fn a_file_that_is_renamed_while_it_streams_arrives_under_its_new_name() {
    let world = World::new();
    world.server.write_dir(&path("/dir"));
    let content = pattern(3 * MIB, 1);
    let handle = world.create("/dir/part", WRITE).unwrap();
    write_all(&world, handle, &content[..2 * MIB]);
    world.rename("/dir/part", "/dir/whole").unwrap();
    world.rename("/dir", "/moved").unwrap();
    for (index, part) in content[2 * MIB..].chunks(PART).enumerate() {
        world.write(handle, (2 * MIB + index * PART) as u64, part);
    }
    world.close(handle).unwrap();
    assert!(world.on("/moved/whole").unwrap() == content);
    world.eventually("nothing else is there", |world| {
        world.server.tree().len() == 2
    });
}

#[test]
fn a_file_emptied_before_its_stream_has_begun_leaves_nothing() {
    let world = World::new();
    world.save("/file", b"").unwrap();
    let (go, wait) = mpsc::channel::<()>();
    world.server.before(Operation::OpenUpload, move |_| {
        let _ = wait.recv_timeout(Duration::from_secs(5));
    });
    let handle = world.open("/file", WRITE).unwrap();
    write_all(&world, handle, &pattern(2 * MIB, 1));
    world.eventually("the stream begins", |world| {
        world.calls(Operation::OpenUpload) == 1
    });
    let change = ftpfs::fs::Change {
        size: Some(0),
        ..Default::default()
    };
    let ino = world.ino("/file");
    world.fs.setattr(ino, &change, Some(handle)).unwrap();
    world.close(handle).unwrap();
    drop(go);
    world.eventually("the stream's file is removed", |world| {
        world.leftovers().is_empty() && world.calls(Operation::RemoveFile) == 1
    });
    assert_eq!(world.on("/file").unwrap(), b"");
}
