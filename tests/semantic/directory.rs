//! opendir, readdir, readdirplus, mkdir.

use std::time::Duration;

use ftpfs::{
    fs::{DirItem, DirPages},
    remote::{EntryKind, RemoteErrorKind, memory::Operation},
};

use crate::world::{List, ROOT, WRITE, World, errno, path, pattern};

#[test]
fn a_directory_shows_its_entries_sorted_behind_the_dots() {
    let world = World::new();
    for name in ["/b", "/a", "/dir/x"] {
        world.put(name, b"1");
    }
    let handle = world.fs.opendir(ROOT).unwrap();
    let mut list = List::default();
    world.fs.readdir(ROOT, handle, 0, &mut list).unwrap();
    assert_eq!(list.names(), [".", "..", "a", "b", "dir"]);
    assert_eq!(list.items[4].1, EntryKind::Directory);
}

#[test]
fn reading_goes_on_at_each_offset_with_the_next_entry() {
    let world = World::new();
    for index in 0..20 {
        world.put(&format!("/file{index:02}"), b"1");
    }
    let unborn = world.create("/unborn", WRITE).unwrap();
    let handle = world.fs.opendir(ROOT).unwrap();
    let mut whole = List::default();
    world.fs.readdir(ROOT, handle, 0, &mut whole).unwrap();
    assert_eq!(whole.items.len(), 23);
    for room in 1..=4 {
        let mut names = Vec::new();
        let mut offset = 0;
        loop {
            let mut part = List {
                room,
                ..List::default()
            };
            world.fs.readdir(ROOT, handle, offset, &mut part).unwrap();
            let Some(last) = part.items.last() else { break };
            offset = last.3;
            names.extend(part.names());
        }
        assert_eq!(names, whole.names(), "{room} at once");
    }
    for (index, item) in whole.items.iter().enumerate() {
        let mut rest = List::default();
        world.fs.readdir(ROOT, handle, item.3, &mut rest).unwrap();
        assert_eq!(rest.names(), whole.names()[index + 1..]);
    }
    world.close(unborn).unwrap();
}

#[test]
fn readdirplus_tells_what_lookup_would_and_counts_as_one() {
    let world = World::new();
    world.put("/a", b"12345");
    world.put("/dir/x", b"");
    let handle = world.fs.opendir(ROOT).unwrap();
    let mut list = List::default();
    world.fs.readdirplus(ROOT, handle, 0, &mut list).unwrap();
    let by_lookup = world.attr("/a");
    assert_eq!(list.attrs[2], by_lookup);
    world.fs.forget(by_lookup.ino, 1);
    assert!(
        world.fs.getattr_cached(by_lookup.ino).is_some(),
        "one look-up is left"
    );
    world.fs.forget(by_lookup.ino, 1);
    assert_eq!(
        world.fs.getattr(by_lookup.ino).map_err(errno),
        Err(libc::ESTALE)
    );
}

#[test]
fn an_entry_that_did_not_fit_counts_for_nothing() {
    let world = World::new();
    world.put("/a", b"1");
    world.put("/b", b"2");
    let handle = world.fs.opendir(ROOT).unwrap();
    let mut list = List {
        room: 3,
        ..List::default()
    };
    world.fs.readdirplus(ROOT, handle, 0, &mut list).unwrap();
    assert_eq!(list.names(), [".", "..", "a"]);
    let mut rest = List::default();
    world.fs.readdirplus(ROOT, handle, 3, &mut rest).unwrap();
    let b = rest.attrs[0].ino;
    world.fs.forget(b, 1);
    assert_eq!(world.fs.getattr(b).map_err(errno), Err(libc::ESTALE));
}

#[test]
fn a_snapshot_shows_the_directory_as_it_was_opened() {
    let world = World::new();
    world.put("/a", b"1");
    world.put("/b", b"1");
    let handle = world.fs.opendir(ROOT).unwrap();
    world.unlink("/a").unwrap();
    world.save("/c", b"1").unwrap();
    let mut list = List::default();
    world.fs.readdir(ROOT, handle, 0, &mut list).unwrap();
    assert_eq!(list.names(), [".", "..", "a", "b"]);
    let mut plus = List::default();
    world.fs.readdirplus(ROOT, handle, 0, &mut plus).unwrap();
    assert_eq!(
        plus.names(),
        [".", "..", "b"],
        "a removed name must not come to life in the kernel"
    );
    world.fs.releasedir(handle);
    let mut none = List::default();
    let closed = world.fs.readdir(ROOT, handle, 0, &mut none);
    assert_eq!(closed.map_err(errno), Err(libc::ESTALE));
}

// SEMANTICS: S-names-temporary
#[test]
fn files_not_on_the_server_yet_are_shown_and_temporary_ones_are_not() {
    let world = World::new();
    let handle = world.create("/large", WRITE).unwrap();
    for index in 0..16 {
        world.write(handle, index * (128 << 10), &pattern(128 << 10, index));
    }
    world.eventually("the stream runs", |world| !world.server.tree().is_empty());
    assert_eq!(world.names("/").unwrap(), ["large"]);
    let mut plus = List::default();
    let dir = world.fs.opendir(ROOT).unwrap();
    world.fs.readdirplus(ROOT, dir, 0, &mut plus).unwrap();
    assert_eq!(plus.names(), [".", "..", "large"]);
    assert_eq!(plus.attrs[2].size, 2 << 20);
    world.close(handle).unwrap();
    assert_eq!(world.names("/").unwrap(), ["large"]);
}

/// Notes the number of one name.
struct Sink<'a>(&'a mut Option<ftpfs::fs::Ino>);
impl ftpfs::fs::DirSink for Sink<'_> {
    fn add(&mut self, item: &DirItem<'_>) -> bool {
        if item.name == b"a" {
            *self.0 = Some(item.ino);
        }
        true
    }
}

#[test]
fn an_inode_number_shown_by_readdir_is_the_one_that_lookup_gives() {
    let world = World::new();
    world.put("/a", b"1");
    // Before it is looked up.
    let handle = world.fs.opendir(ROOT).unwrap();
    let mut seen = None;
    world
        .fs
        .readdir(ROOT, handle, 0, &mut Sink(&mut seen))
        .unwrap();
    assert_eq!(seen, Some(world.ino("/a")));
}

#[test]
fn mkdir_costs_one_request_and_the_new_directory_needs_no_listing() {
    let world = World::new();
    world.names("/").unwrap();
    world.server.forget_calls();
    world.mkdir("/dir").unwrap();
    assert_eq!(world.names("/dir").unwrap(), Vec::<String>::new());
    assert!(world.exists("/dir"));
    assert_eq!(world.requests(), 1);
    assert!(world.is_dir_on_server("/dir"));
}

#[test]
fn mkdir_says_why_it_was_refused() {
    let world = World::on_server(|server| {
        server.closed_dirs.insert(path("/closed"));
    });
    world.put("/file", b"1");
    world.server.write_dir(&path("/dir"));
    world.server.write_dir(&path("/closed"));
    world.server.write_dir(&path("/gone"));
    assert_eq!(world.mkdir("/dir"), Err(libc::EEXIST));
    assert_eq!(world.mkdir("/file"), Err(libc::EEXIST));
    assert_eq!(world.mkdir("/closed/new"), Err(libc::EACCES));
    let gone = world.ino("/gone");
    world.server.remove(&path("/gone"));
    assert_eq!(
        world.fs.mkdir(gone, b"new", 0o755).map_err(errno).err(),
        Some(libc::ENOENT)
    );
}

#[test]
fn mkdir_sets_a_mode_that_servers_do_not_give_by_themselves() {
    let world = World::new();
    let attr = world.fs.mkdir(ROOT, b"private", 0o700).unwrap();
    assert_eq!(attr.mode, 0o700);
    assert_eq!(world.server.node(&path("/private")).unwrap().mode, 0o700);
    world.expire();
    assert_eq!(world.attr("/private").mode, 0o700);
}

#[test]
fn a_directory_made_behind_our_back_is_eexist_although_it_was_not_seen() {
    let world = World::new();
    assert!(!world.exists("/dir"));
    world.server.write_dir(&path("/dir"));
    assert_eq!(world.mkdir("/dir"), Err(libc::EEXIST));
    assert!(world.exists("/dir"), "the refusal told us of it");
}

#[test]
fn a_file_is_no_directory_and_a_vanished_one_is_enoent() {
    let world = World::new();
    world.put("/dir/x", b"1");
    world.put("/file", b"1");
    let (dir, file) = (world.ino("/dir"), world.ino("/file"));
    assert_eq!(world.fs.opendir(file).map_err(errno), Err(libc::ENOTDIR));
    world.server.remove(&path("/dir"));
    assert_eq!(world.fs.opendir(dir).map_err(errno), Err(libc::ENOENT));
    world.server.fail_next(
        Operation::List,
        1,
        RemoteErrorKind::TimedOut(ftpfs::remote::Phase::Reply),
    );
    world.expire();
    assert_eq!(world.fs.opendir(ROOT).map_err(errno), Err(libc::ETIMEDOUT));
}

#[test]
fn a_truncated_directory_shows_what_we_added_ourselves() {
    let world = World::on_server(|server| server.list_entries_max = Some(2));
    for name in ["/a", "/b", "/c"] {
        world.put(name, b"1");
    }
    assert_eq!(world.names("/").unwrap(), ["a", "b"]);
    world.save("/z", b"1").unwrap();
    assert_eq!(world.names("/").unwrap(), ["a", "b", "z"]);
    assert!(world.exists("/c"));
}

// SEMANTICS: S-listing-memory
#[test]
fn an_entry_that_does_not_fit_into_a_reply_is_an_error_and_not_the_end() {
    let world = World::new();
    world.put("/a", b"1");
    let handle = world.fs.opendir(ROOT).unwrap();
    for offset in 0..3 {
        let mut list = List {
            room: 0,
            ..List::default()
        };
        let read = world.fs.readdir(ROOT, handle, offset, &mut list);
        assert_eq!(read.map_err(errno), Err(libc::EINVAL));
        let read = world.fs.readdirplus(ROOT, handle, offset, &mut list);
        assert_eq!(read.map_err(errno), Err(libc::EINVAL));
    }
    let mut list = List {
        room: 0,
        ..List::default()
    };
    world.fs.readdir(ROOT, handle, 3, &mut list).unwrap();
    world.fs.releasedir(handle);
}

// SEMANTICS: S-listing-memory
#[test]
fn a_directory_that_is_too_large_is_an_error_and_its_names_are_asked_for_alone() {
    let world = World::on_server(|server| server.listing_bytes_max = 4_000);
    for number in 0..300 {
        world.put(&format!("/dir/{number}"), b"1");
    }
    let dir = world.ino("/dir");
    for _ in 0..2 {
        assert_eq!(world.fs.opendir(dir).map_err(errno), Err(libc::ENOMEM));
    }
    // The root's listing had to make way.
    assert!(world.exists("/dir"));
    let listed = world.server.calls(Operation::List);
    assert!(world.exists("/dir/7") && !world.exists("/dir/x"));
    assert_eq!(world.server.calls(Operation::List), listed, "in vain");
    world.save("/dir/x", b"new").unwrap();
    assert_eq!(world.on("/dir/x").unwrap(), b"new");
}

/// Opens the root, reads it whole with attributes or without, and closes it: what the kernel might do with its pages.
fn pages_of_walk(world: &World, has_attributes: bool) -> DirPages {
    let handle = world.fs.opendir(ROOT).unwrap();
    let pages = world.fs.dir_pages(handle);
    let mut list = List::default();
    if has_attributes {
        world.fs.readdirplus(ROOT, handle, 0, &mut list).unwrap();
    } else {
        world.fs.readdir(ROOT, handle, 0, &mut list).unwrap();
    }
    world.fs.releasedir(handle);
    pages
}

// SEMANTICS: S-kernel-names
#[test]
fn the_kernel_keeps_the_names_that_it_was_given_with_attributes() {
    let world = World::new();
    world.put("/a", b"1");
    world.put("/b", b"1");
    world.ino("/a");
    assert_eq!(pages_of_walk(&world, false), DirPages::Fill);
    for has_attributes in [false, true] {
        assert_eq!(
            pages_of_walk(&world, has_attributes),
            DirPages::Bypass,
            "names alone would make each stat a look-up"
        );
    }
    assert_eq!(pages_of_walk(&world, true), DirPages::Fill);
    assert_eq!(pages_of_walk(&world, true), DirPages::Keep);
    assert_eq!(pages_of_walk(&world, false), DirPages::Keep);
    let ino = world.ino("/a");
    world.fs.forget(ino, u64::MAX);
    assert_eq!(
        pages_of_walk(&world, true),
        DirPages::Fill,
        "a forgotten name costs a look-up"
    );
    assert_eq!(pages_of_walk(&world, true), DirPages::Keep);
}

// SEMANTICS: S-kernel-names
#[test]
fn the_kernel_drops_the_names_of_another_listing() {
    let world = World::new();
    world.put("/a", b"1");
    let changes: [(&str, &dyn Fn()); 6] = [
        ("create", &|| world.save("/b", b"1").unwrap()),
        ("rename", &|| world.rename("/b", "/c").unwrap()),
        ("unlink", &|| world.unlink("/c").unwrap()),
        ("mkdir", &|| world.mkdir("/d").unwrap()),
        ("rmdir", &|| world.rmdir("/d").unwrap()),
        ("expiry", &|| world.expire()),
    ];
    for (what, change) in changes {
        pages_of_walk(&world, true);
        assert_eq!(pages_of_walk(&world, true), DirPages::Keep, "before {what}");
        change();
        assert_eq!(pages_of_walk(&world, true), DirPages::Fill, "after {what}");
    }
}

// SEMANTICS: S-kernel-names
#[test]
fn handles_that_show_different_listings_share_no_pages() {
    let world = World::new();
    world.put("/a", b"1");
    pages_of_walk(&world, true);
    let old = world.fs.opendir(ROOT).unwrap();
    assert_eq!(world.fs.dir_pages(old), DirPages::Keep);
    world.save("/b", b"1").unwrap();
    for _ in 0..2 {
        assert_eq!(pages_of_walk(&world, true), DirPages::Bypass);
    }
    // It may fill the pages again, with names of before.
    let mut list = List::default();
    world.fs.readdirplus(ROOT, old, 0, &mut list).unwrap();
    world.fs.releasedir(old);
    assert_eq!(pages_of_walk(&world, true), DirPages::Fill);
    assert_eq!(pages_of_walk(&world, true), DirPages::Keep);
}

// SEMANTICS: S-kernel-names
#[test]
fn names_that_may_change_under_one_listing_go_past_the_pages() {
    let world = World::new();
    world.put("/a", b"1");
    let unborn = world.create("/unborn", WRITE).unwrap();
    world.write(unborn, 0, b"1");
    pages_of_walk(&world, true);
    assert_eq!(pages_of_walk(&world, true), DirPages::Bypass);
    world.close(unborn).unwrap();
    assert_eq!(pages_of_walk(&world, true), DirPages::Fill);

    let world = World::with(|setup| setup.cache.dir_ttl = Duration::ZERO);
    world.put("/a", b"1");
    for _ in 0..2 {
        assert_eq!(pages_of_walk(&world, true), DirPages::Bypass);
    }
}
