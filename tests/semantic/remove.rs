//! unlink and rmdir, also of what is open.

use ftpfs::remote::{Phase, RemoteErrorKind as Kind, memory::Operation};

use crate::world::{READ, TRUNCATE, WRITE, World, errno, path, pattern};

#[test]
fn unlink_costs_one_request_and_the_name_is_gone() {
    let world = World::new();
    world.put("/file", b"1");
    world.ino("/file");
    world.server.forget_calls();
    world.unlink("/file").unwrap();
    assert!(!world.exists("/file"));
    assert_eq!(world.requests(), 1);
    assert_eq!(world.on("/file"), None);
}

#[test]
fn unlink_says_why_it_was_refused() {
    let world = World::new();
    world.put("/dir/x", b"1");
    world.put("/file", b"1");
    world.put("/gone", b"1");
    assert_eq!(world.unlink("/dir"), Err(libc::EISDIR));
    assert_eq!(world.unlink("/nothing"), Err(libc::ENOENT));
    world.ino("/gone");
    world.server.remove(&path("/gone"));
    assert_eq!(world.unlink("/gone"), Err(libc::ENOENT));
    assert!(!world.exists("/gone"), "the refusal told us of it");
    for (kind, expected) in [
        (Kind::Refused, libc::EACCES),
        (Kind::Busy, libc::EBUSY),
        (Kind::Disconnected, libc::EIO),
        (Kind::TimedOut(Phase::Reply), libc::ETIMEDOUT),
    ] {
        world.server.fail_next(Operation::RemoveFile, 1, kind);
        assert_eq!(world.unlink("/file"), Err(expected));
        assert!(world.exists("/file"));
    }
}

#[test]
fn an_open_file_that_was_removed_is_read_on_and_leaves_nothing() {
    for dot_names_refused in [None, Some(Kind::Refused), Some(Kind::NameRefused)] {
        let world = World::on_server(|server| server.dot_names_refused = dot_names_refused);
        let content = pattern(600_000, 1);
        world.put("/dir/file", &content);
        let handle = world.open("/dir/file", READ).unwrap();
        assert!(world.read(handle, 0, 1000).unwrap() == content[..1000]);
        world.unlink("/dir/file").unwrap();
        assert!(!world.exists("/dir/file"));
        world.rmdir("/dir").unwrap();
        assert_eq!(world.names("/").unwrap(), Vec::<String>::new());
        assert!(
            world.read_handle(handle).unwrap() == content,
            "{dot_names_refused:?}"
        );
        world.fs.release(handle);
        assert!(world.server.tree().is_empty());
    }
}

#[test]
fn an_open_file_is_read_on_where_the_mounted_directory_takes_no_new_names() {
    let world = World::on_server(|server| {
        server.closed_dirs.insert(path("/"));
    });
    world.put("/dir/file", b"content");
    let handle = world.open("/dir/file", READ).unwrap();
    world.unlink("/dir/file").unwrap();
    assert_eq!(world.read_handle(handle).unwrap(), b"content");
    assert_eq!(world.names("/dir").unwrap(), Vec::<String>::new());
    assert_eq!(
        world.rmdir("/dir"),
        Err(libc::ENOTEMPTY),
        "the file that is still read lies there"
    );
    assert_eq!(world.read_handle(handle).unwrap(), b"content");
    world.fs.release(handle);
    world.rmdir("/dir").unwrap();
    assert!(world.server.tree().is_empty());
}

#[test]
fn a_removed_file_is_written_to_and_goes_nowhere() {
    let world = World::new();
    let content = pattern(300_000, 1);
    world.put("/file", &content);
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 5, b"changed");
    world.unlink("/file").unwrap();
    world.write(handle, 300_000, b" more");
    let mut expected = [&content[..], b" more"].concat();
    expected[5..12].copy_from_slice(b"changed");
    assert!(world.read_handle(handle).unwrap() == expected);
    world.fs.fsync(handle).unwrap();
    world.close(handle).unwrap();
    assert!(world.server.tree().is_empty());
    assert_eq!(world.calls(Operation::Put), 0);
}

#[test]
fn a_removed_file_tells_its_size_to_those_who_have_it_open() {
    let world = World::new();
    world.put("/file", b"content");
    let handle = world.open("/file", WRITE).unwrap();
    let ino = world.ino("/file");
    world.unlink("/file").unwrap();
    assert_eq!(world.fs.getattr(ino).unwrap().0.size, 7);
    world.write(handle, 7, b"!");
    assert_eq!(world.fs.getattr(ino).unwrap().0.size, 8);
    let again = world.fs.open(ino, READ).unwrap();
    assert_eq!(world.read_handle(again.handle).unwrap(), b"content!");
    world.fs.release(handle);
    assert_eq!(world.read_handle(again.handle).unwrap(), b"content!");
    world.fs.release(again.handle);
    assert!(world.server.tree().is_empty());
}

#[test]
fn a_file_never_uploaded_is_removed_without_asking() {
    let world = World::new();
    let handle = world.create("/file", TRUNCATE).unwrap();
    world.write(handle, 0, b"1");
    let before = world.requests();
    world.unlink("/file").unwrap();
    assert_eq!(world.requests(), before);
    assert!(!world.exists("/file"));
    world.close(handle).unwrap();
    assert_eq!(world.on("/file"), None);
}

#[test]
fn an_unsent_file_that_is_removed_is_let_go() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    world.write(handle, 0, b"1");
    for nth in 1..=6 {
        world
            .server
            .fail_next(Operation::Put, nth, Kind::Disconnected);
    }
    assert_eq!(world.close(handle), Err(libc::EIO));
    assert!(world.exists("/file"));
    world.unlink("/file").unwrap();
    assert!(!world.exists("/file"));
    assert!(!format!("{:?}", world.fs).contains("OpenFile"));
    world.drain();
    assert!(world.server.tree().is_empty());
}

#[test]
fn rmdir_removes_an_empty_directory_only() {
    let world = World::new();
    world.put("/full/x", b"1");
    world.put("/file", b"1");
    world.server.write_dir(&path("/empty"));
    assert_eq!(world.rmdir("/full"), Err(libc::ENOTEMPTY));
    world.names("/full").unwrap();
    assert_eq!(world.rmdir("/full"), Err(libc::ENOTEMPTY));
    assert_eq!(world.rmdir("/file"), Err(libc::ENOTDIR));
    assert_eq!(world.rmdir("/nothing"), Err(libc::ENOENT));
    world.rmdir("/empty").unwrap();
    assert!(!world.exists("/empty"));
    world.unlink("/full/x").unwrap();
    world.rmdir("/full").unwrap();
    assert!(!world.is_dir_on_server("/full"));
}

#[test]
fn a_directory_with_a_file_that_is_not_uploaded_yet_is_not_empty() {
    let world = World::new();
    world.server.write_dir(&path("/dir"));
    let handle = world.create("/dir/file", WRITE).unwrap();
    assert_eq!(world.rmdir("/dir"), Err(libc::ENOTEMPTY));
    world.close(handle).unwrap();
    assert_eq!(world.rmdir("/dir"), Err(libc::ENOTEMPTY));
}

#[test]
fn a_directory_emptied_behind_our_back_can_be_removed_at_once() {
    let world = World::new();
    world.put("/dir/x", b"1");
    assert_eq!(world.names("/dir").unwrap(), ["x"]);
    world.server.remove(&path("/dir/x"));
    world.rmdir("/dir").unwrap();
    assert!(!world.is_dir_on_server("/dir"));
}

#[test]
fn a_directory_made_anew_is_another_one() {
    let world = World::new();
    world.mkdir("/dir").unwrap();
    let old = world.ino("/dir");
    world.save("/dir/x", b"1").unwrap();
    world.unlink("/dir/x").unwrap();
    world.rmdir("/dir").unwrap();
    world.mkdir("/dir").unwrap();
    assert_ne!(world.ino("/dir"), old);
    assert_eq!(world.names("/dir").unwrap(), Vec::<String>::new());
    assert_eq!(world.fs.lookup(old, b"x").map_err(errno), Err(libc::ESTALE));
}
