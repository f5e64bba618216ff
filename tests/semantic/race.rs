//! Two system calls at once: what one does between the steps of the other.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use ftpfs::{
    fs::Change,
    remote::memory::{MemoryRemote, Operation},
};

use crate::world::{READ, ROOT, TRUNCATE, WRITE, World, errno, path, pattern};

/// Runs `other` on a thread of its own when the server has not yet begun `operation`, and lets it run for a while before going
/// on: it may have to wait for the operation's end.
fn meanwhile(
    world: &World,
    operation: Operation,
    other: impl FnOnce() + Send + 'static,
) -> mpsc::Receiver<()> {
    let (step, wait) = aside(other);
    world.server.before(operation, step);
    wait
}

/// The same when the server has done `operation` and its reply is still on its way.
fn before_the_reply(
    world: &World,
    operation: Operation,
    other: impl FnOnce() + Send + 'static,
) -> mpsc::Receiver<()> {
    let (step, wait) = aside(other);
    world.server.after(operation, step);
    wait
}

fn aside(
    other: impl FnOnce() + Send + 'static,
) -> (
    impl FnOnce(&MemoryRemote) + Send + 'static,
    mpsc::Receiver<()>,
) {
    let (done, wait) = mpsc::channel();
    let step = move |_: &MemoryRemote| {
        let (has_ended, ended) = mpsc::channel();
        thread::spawn(move || {
            other();
            let _ = has_ended.send(());
            let _ = done.send(());
        });
        let _ = ended.recv_timeout(Duration::from_millis(100));
    };
    (step, wait)
}

fn wait(done: &mpsc::Receiver<()>) {
    done.recv_timeout(Duration::from_secs(10))
        .expect("a deadlock");
}

#[test]
fn a_file_that_is_closed_while_it_is_unlinked_does_not_come_back() {
    let world = World::new();
    world.put("/file", b"old");
    let handle = world.open("/file", TRUNCATE).unwrap();
    world.write(handle, 0, b"new");
    let fs = world.fs.clone();
    let done = before_the_reply(&world, Operation::RemoveFile, move || {
        let _ = fs.flush(handle);
    });
    world.unlink("/file").unwrap();
    wait(&done);
    assert!(!world.exists("/file"));
    assert_eq!(world.on("/file"), None);
    world.fs.release(handle);
    assert_eq!(world.on("/file"), None);
}

#[test]
fn bytes_written_while_their_file_is_renamed_arrive_under_its_new_name() {
    let world = World::new();
    world.put("/old", b"old");
    let handle = world.open("/old", WRITE).unwrap();
    let fs = world.fs.clone();
    let done = before_the_reply(&world, Operation::Rename, move || {
        fs.write(handle, 0, b"NEW").unwrap();
        fs.flush(handle).unwrap();
    });
    world.rename("/old", "/new").unwrap();
    wait(&done);
    world.close(handle).unwrap();
    assert_eq!(world.on("/new").unwrap(), b"NEW");
    assert_eq!(world.on("/old"), None);
}

#[test]
fn bytes_written_while_their_directory_is_renamed_arrive_below_its_new_name() {
    let world = World::new();
    world.put("/a/file", b"old");
    let handle = world.open("/a/file", WRITE).unwrap();
    let fs = world.fs.clone();
    let done = before_the_reply(&world, Operation::Rename, move || {
        fs.write(handle, 0, b"NEW").unwrap();
        fs.flush(handle).unwrap();
    });
    world.rename("/a", "/b").unwrap();
    wait(&done);
    world.close(handle).unwrap();
    assert_eq!(world.on("/b/file").unwrap(), b"NEW");
    assert_eq!(world.on("/a/file"), None);
}

#[test]
fn a_file_that_is_written_while_another_is_renamed_over_it_is_gone() {
    let world = World::new();
    world.put("/new", b"winner");
    world.put("/file", b"old");
    let handle = world.open("/file", TRUNCATE).unwrap();
    let fs = world.fs.clone();
    let done = before_the_reply(&world, Operation::Rename, move || {
        fs.write(handle, 0, b"loser").unwrap();
        let _ = fs.flush(handle);
    });
    world.rename("/new", "/file").unwrap();
    wait(&done);
    assert_eq!(world.read_handle(handle).unwrap(), b"loser");
    let _ = world.close(handle);
    assert_eq!(world.on("/file").unwrap(), b"winner");
    assert_eq!(world.cat("/file").unwrap(), b"winner");
}

#[test]
fn bytes_written_while_an_upload_runs_follow_with_the_next() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    world.write(handle, 0, b"first");
    let fs = world.fs.clone();
    let done = meanwhile(&world, Operation::Put, move || {
        fs.write(handle, 5, b" second").unwrap();
    });
    world.fs.fsync(handle).unwrap();
    wait(&done);
    assert_eq!(world.read_handle(handle).unwrap(), b"first second");
    world.close(handle).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"first second");
}

#[test]
fn a_file_cut_off_while_it_goes_up_ends_as_it_was_left() {
    let world = World::new();
    let content = pattern(300 << 10, 1);
    let handle = world.create("/file", WRITE).unwrap();
    world.write(handle, 0, &content);
    let (fs, ino) = (world.fs.clone(), world.ino("/file"));
    let done = meanwhile(&world, Operation::WriteAll, move || {
        let change = Change {
            size: Some(1000),
            ..Change::default()
        };
        fs.setattr(ino, &change, Some(handle)).unwrap();
    });
    world.fs.fsync(handle).unwrap();
    wait(&done);
    world.close(handle).unwrap();
    assert_eq!(world.on("/file").unwrap(), &content[..1000]);
}

#[test]
fn a_mode_set_while_the_file_goes_up_is_set() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    world.write(handle, 0, b"content");
    let (fs, ino) = (world.fs.clone(), world.ino("/file"));
    let done = meanwhile(&world, Operation::Put, move || {
        let change = Change {
            mode: Some(0o600),
            ..Change::default()
        };
        fs.setattr(ino, &change, None).unwrap();
    });
    world.fs.flush(handle).unwrap();
    wait(&done);
    world.close(handle).unwrap();
    assert_eq!(world.server.node(&path("/file")).unwrap().mode, 0o600);
    assert_eq!(world.attr("/file").mode, 0o600);
}

#[test]
fn a_file_shows_its_mode_while_it_goes_up() {
    let world = World::new();
    let (attr, opened) = world.create_with("/file", 0o600, WRITE).unwrap();
    world.write(opened.handle, 0, b"content");
    let fs = world.fs.clone();
    let (tell, seen) = mpsc::channel();
    let done = meanwhile(&world, Operation::Put, move || {
        tell.send(fs.getattr(attr.ino).unwrap().0.mode).unwrap();
    });
    world.close(opened.handle).unwrap();
    wait(&done);
    assert_eq!(seen.recv().unwrap(), 0o600);
}

#[test]
fn a_lookup_that_raced_with_a_new_directory_does_not_hide_it() {
    let world = World::new();
    world.put("/other", b"1");
    world.ino("/other");
    world.expire();
    let fs = world.fs.clone();
    // The listing was taken on the server, and is not here yet.
    let (go, gone) = mpsc::channel();
    let maker = thread::spawn(move || {
        gone.recv_timeout(Duration::from_secs(10)).unwrap();
        fs.mkdir(ROOT, b"dir", 0o755).unwrap();
    });
    let joined = Arc::new(std::sync::Mutex::new(Some(maker)));
    world.server.after(Operation::List, move |_| {
        go.send(()).unwrap();
        joined.lock().unwrap().take().unwrap().join().unwrap();
    });
    assert!(world.exists("/other"));
    assert!(world.exists("/dir"));
}

#[test]
fn readers_of_one_directory_share_one_listing() {
    let world = World::new();
    world.put("/dir/file", b"1");
    let dir = world.ino("/dir");
    world.server.forget_calls();
    let fs = world.fs.clone();
    let done = meanwhile(&world, Operation::List, move || {
        fs.lookup(dir, b"file").unwrap();
    });
    world.fs.lookup(dir, b"other").unwrap();
    wait(&done);
    assert_eq!(world.calls(Operation::List), 1);
}

#[test]
fn a_second_close_waits_for_the_upload_of_the_first() {
    let world = World::new();
    let first = world.create("/file", WRITE).unwrap();
    let second = world.open("/file", WRITE).unwrap();
    world.write(first, 0, b"content");
    let (server, fs) = (world.server.clone(), world.fs.clone());
    let done = meanwhile(&world, Operation::Put, move || {
        fs.flush(second).unwrap();
        assert_eq!(server.read_file(&path("/file")).unwrap(), b"content");
        fs.release(second);
    });
    world.close(first).unwrap();
    wait(&done);
    assert_eq!(world.calls(Operation::Put), 1);
}

#[test]
fn a_handle_of_a_removed_file_is_read_on_while_its_name_is_taken_anew() {
    let world = World::new();
    world.put("/file", b"old");
    let old = world.open("/file", READ).unwrap();
    world.unlink("/file").unwrap();
    world.save("/file", b"new").unwrap();
    assert_eq!(world.read_handle(old).unwrap(), b"old");
    assert_eq!(world.cat("/file").unwrap(), b"new");
    assert_eq!(
        world.fs.read(ftpfs::fs::HandleId(99), 0, 1).map_err(errno),
        Err(libc::ESTALE)
    );
    world.fs.release(old);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}
