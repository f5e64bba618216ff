//! lookup and getattr.

use std::time::Duration;

use ftpfs::remote::{EntryKind, RemoteErrorKind, memory::Operation};

use crate::world::{READ, ROOT, WRITE, World, errno};

#[test]
fn a_name_is_found_with_what_the_listing_tells() {
    let world = World::new();
    world.put("/dir/file", b"hello");
    let dir = world.attr("/dir");
    assert_eq!(dir.kind, EntryKind::Directory);
    let file = world.attr("/dir/file");
    assert_eq!(
        (file.kind, file.size, file.mode),
        (EntryKind::File, 5, 0o644)
    );
    assert_eq!((file.uid, file.gid), (1000, 1000));
    assert!(!world.exists("/dir/other"));
}

#[test]
fn a_second_lookup_in_a_directory_costs_nothing() {
    let world = World::new();
    world.put("/a", b"1");
    world.put("/b", b"2");
    assert!(world.exists("/a"));
    let before = world.requests();
    assert!(world.exists("/b"));
    assert!(!world.exists("/nothing"));
    assert!(world.fs.lookup_cached(ROOT, b"a").is_some());
    assert_eq!(world.requests(), before);
}

#[test]
fn a_walk_over_a_directory_costs_one_listing() {
    let world = World::new();
    for index in 0..100 {
        world.put(&format!("/dir/file{index}"), b"x");
    }
    let dir = world.ino("/dir");
    world.server.forget_calls();
    for name in world.names("/dir").unwrap() {
        let found = world.fs.lookup(dir, name.as_bytes()).unwrap();
        world.fs.getattr(found.attr.unwrap().ino).unwrap();
    }
    assert_eq!(world.calls(Operation::List), 1);
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_change_behind_our_back_is_seen_when_the_ttl_has_passed() {
    let world = World::new();
    world.put("/file", b"one");
    assert_eq!(world.size("/file"), 3);
    world.put("/file", b"three");
    world.put("/new", b"");
    assert_eq!(world.size("/file"), 3, "as old as the TTL");
    assert!(!world.exists("/new"));
    world.expire();
    assert_eq!(world.size("/file"), 5);
    assert!(world.exists("/new"));
}

#[test]
fn an_answer_may_be_kept_for_what_is_left_of_the_ttl() {
    let world = World::new();
    world.put("/file", b"one");
    world.ino("/file");
    world.clock.advance(Duration::from_secs(5));
    let found = world.fs.lookup(ROOT, b"file").unwrap();
    assert_eq!(found.ttl + Duration::from_secs(5), world.dir_ttl);
}

#[test]
fn without_a_ttl_every_lookup_asks() {
    let world = World::with(|setup| setup.cache.dir_ttl = Duration::ZERO);
    world.put("/file", b"one");
    assert_eq!(world.size("/file"), 3);
    world.put("/file", b"three");
    assert_eq!(world.size("/file"), 5);
}

#[test]
fn what_we_wrote_ourselves_is_never_older() {
    let world = World::new();
    world.put("/file", b"one");
    let handle = world.open("/file", WRITE).unwrap();
    world.write(handle, 3, b" and more");
    assert_eq!(world.size("/file"), 12, "before the upload");
    let found = world.fs.lookup(ROOT, b"file").unwrap();
    assert_eq!(found.ttl, Duration::ZERO, "the next write changes it again");
    world.close(handle).unwrap();
    assert_eq!(world.size("/file"), 12);
    let before = world.calls(Operation::List);
    assert_eq!(world.size("/file"), 12);
    assert_eq!(
        world.calls(Operation::List),
        before,
        "no listing for our own change"
    );
}

#[test]
fn a_file_removed_behind_our_back_is_gone_with_the_ttl() {
    let world = World::new();
    world.put("/file", b"one");
    let ino = world.ino("/file");
    world.server.remove(&crate::world::path("/file"));
    world.expire();
    assert!(!world.exists("/file"));
    assert_eq!(world.fs.getattr(ino).map_err(errno), Err(libc::ENOENT));
}

#[test]
fn a_name_that_changed_its_kind_is_another_inode() {
    let world = World::new();
    world.put("/x", b"one");
    let file = world.ino("/x");
    world.server.remove(&crate::world::path("/x"));
    world.put("/x/inner", b"");
    world.expire();
    assert_eq!(world.fs.getattr(file).map_err(errno), Err(libc::ENOENT));
    let dir = world.attr("/x");
    assert_eq!(dir.kind, EntryKind::Directory);
    assert_ne!(dir.ino, file);
    assert!(world.exists("/x/inner"));
}

// SEMANTICS: S-truncated
#[test]
fn a_miss_in_a_truncated_listing_is_confirmed() {
    let world = World::on_server(|server| server.list_entries_max = Some(2));
    for name in ["/a", "/b", "/c"] {
        world.put(name, name.as_bytes());
    }
    assert_eq!(world.size("/c"), 2);
    assert_eq!(world.calls(Operation::Stat), 1);
    assert!(!world.exists("/d"));
    assert_eq!(world.cat("/c").unwrap(), b"/c");
    world.unlink("/c").unwrap();
    assert!(!world.exists("/c"));
}

#[test]
fn a_name_that_ftp_cannot_carry_is_refused_before_anything_is_sent() {
    let world = World::new();
    for name in [&b"a\rb"[..], b"a\nb", b"a\0b"] {
        assert_eq!(
            world.fs.lookup(ROOT, name).map_err(errno),
            Err(libc::EINVAL)
        );
        assert_eq!(
            world.fs.mkdir(ROOT, name, 0o755).map_err(errno),
            Err(libc::EINVAL)
        );
    }
    let long = [b'x'; 256];
    assert_eq!(
        world.fs.lookup(ROOT, &long).map_err(errno),
        Err(libc::ENAMETOOLONG)
    );
    assert_eq!(world.requests(), 0);
}

#[test]
fn any_other_bytes_are_a_name() {
    let world = World::new();
    for name in [
        &b" lead and trail "[..],
        b"\xff\xfe latin",
        b"*?[a]",
        b"\"q\"",
        b"-rf",
        b"a\tb",
        b"\xc3\xa4",
    ] {
        let (_, opened) = world.fs.create(ROOT, name, 0o644, WRITE).unwrap();
        world.write(opened.handle, 0, name);
        world.close(opened.handle).unwrap();
        world.expire();
        let found = world.fs.lookup(ROOT, name).unwrap().attr.unwrap();
        assert_eq!(found.size, name.len() as u64, "{}", name.escape_ascii());
    }
}

#[test]
fn a_listing_that_fails_is_an_error_and_no_empty_directory() {
    let world = World::new();
    world.put("/dir/file", b"1");
    let dir = world.ino("/dir");
    world
        .server
        .fail_next(Operation::List, 1, RemoteErrorKind::Disconnected);
    assert_eq!(world.fs.lookup(dir, b"file").map_err(errno), Err(libc::EIO));
    assert!(world.exists("/dir/file"));
}

// SEMANTICS: S-unlistable
#[test]
fn a_directory_that_may_not_be_listed_can_be_entered() {
    let world = World::new();
    world.put("/dir/file", b"1");
    let dir = world.ino("/dir");
    world
        .server
        .fail_next(Operation::List, 1, RemoteErrorKind::Refused);
    assert!(world.fs.lookup(dir, b"file").unwrap().attr.is_some());
}

#[test]
fn an_open_file_that_changed_on_the_server_shows_its_new_content() {
    let world = World::new();
    world.put("/file", b"one");
    let handle = world.open("/file", READ).unwrap();
    assert_eq!(world.read_handle(handle).unwrap(), b"one");
    world.clock.advance(Duration::from_secs(1));
    world.put("/file", b"two");
    world.expire();
    world.attr("/file");
    assert_eq!(world.read_handle(handle).unwrap(), b"two");
}
