//! open, create and their flags.

use std::time::Duration;

use ftpfs::{
    fs::{OpenMode, Opened},
    remote::{Precision, RemoteErrorKind, memory::Operation},
};

use crate::world::{APPEND, EXCLUSIVE, READ, ROOT, TRUNCATE, WRITE, World, errno, path};

// SEMANTICS: S-create
#[test]
fn a_new_file_is_there_at_once_for_programs_and_on_the_server_after_close() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    assert_eq!(world.size("/file"), 0);
    assert_eq!(world.names("/").unwrap(), ["file"]);
    assert_eq!(world.on("/file"), None);
    world.close(handle).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"");
}

#[test]
fn o_excl_refuses_a_name_that_exists() {
    let world = World::new();
    world.put("/file", b"old");
    assert_eq!(world.create("/file", EXCLUSIVE).err(), Some(libc::EEXIST));
    assert_eq!(world.on("/file").unwrap(), b"old");
    world.create("/new", EXCLUSIVE).unwrap();
    assert_eq!(
        world.create("/new", EXCLUSIVE).err(),
        Some(libc::EEXIST),
        "not uploaded yet"
    );
}

#[test]
fn o_creat_without_o_excl_opens_what_is_there() {
    let world = World::new();
    world.put("/file", b"old");
    let handle = world.create("/file", WRITE).unwrap();
    assert_eq!(world.read_handle(handle).unwrap(), b"old");
}

#[test]
fn o_trunc_empties_the_file_for_all_handles_and_on_the_server_with_close() {
    let world = World::new();
    world.put("/file", b"old content");
    let reader = world.open("/file", READ).unwrap();
    let handle = world.open("/file", TRUNCATE).unwrap();
    assert_eq!(world.size("/file"), 0);
    assert_eq!(world.read_handle(reader).unwrap(), b"");
    world.close(handle).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"");
}

#[test]
fn o_append_writes_at_the_end_whatever_the_offset_is() {
    let world = World::new();
    world.put("/log", b"one,");
    let one = world.open("/log", APPEND).unwrap();
    let two = world.open("/log", APPEND).unwrap();
    world.write(one, 0, b"two,");
    world.write(two, 0, b"three");
    world.close(one).unwrap();
    world.close(two).unwrap();
    assert_eq!(world.on("/log").unwrap(), b"one,two,three");
}

#[test]
fn a_directory_is_no_file() {
    let world = World::new();
    world.put("/dir/file", b"");
    assert_eq!(world.open("/dir", READ).err(), Some(libc::EISDIR));
    assert_eq!(world.create("/dir", TRUNCATE).err(), Some(libc::EISDIR));
}

#[test]
fn opening_an_entry_that_was_just_looked_up_costs_nothing() {
    let world = World::new();
    world.put("/file", b"1");
    world.ino("/file");
    let before = world.requests();
    let handle = world.open("/file", READ).unwrap();
    world.close(handle).unwrap();
    assert_eq!(world.requests(), before);
}

#[test]
fn a_file_that_was_only_read_is_not_uploaded() {
    let world = World::new();
    world.put("/file", b"1");
    let handle = world.open("/file", WRITE).unwrap();
    world.read_handle(handle).unwrap();
    world.close(handle).unwrap();
    assert_eq!(
        world.calls(Operation::Put) + world.calls(Operation::OpenUpload),
        0
    );
}

fn opened(world: &World) -> Opened {
    let opened = world.fs.open(world.ino("/file"), READ).unwrap();
    world.read_handle(opened.handle).unwrap();
    world.fs.release(opened.handle);
    opened
}

#[test]
fn the_kernels_pages_are_kept_as_long_as_the_content_is_the_same() {
    let world = World::new();
    world.put("/file", b"one");
    assert!(!opened(&world).is_content_known);
    assert!(opened(&world).is_content_known);
    world.clock.advance(Duration::from_secs(2));
    world.put("/file", b"two");
    world.expire();
    assert!(!opened(&world).is_content_known);
    assert!(opened(&world).is_content_known);
}

#[test]
fn open_asks_for_the_exact_time_where_listings_tell_minutes() {
    let world = World::on_server(|server| server.list_precision = Precision::Minute);
    world.put("/file", b"one");
    opened(&world);
    world.clock.advance(Duration::from_secs(1));
    world.put("/file", b"two");
    world.expire();
    assert!(
        !opened(&world).is_content_known,
        "the same size and perhaps the same minute"
    );
    assert_eq!(world.cat("/file").unwrap(), b"two");
}

#[test]
fn a_file_made_anew_behind_our_back_is_another_than_the_one_that_is_open() {
    let world = World::new();
    world.put("/file", b"old");
    let old = world.open("/file", READ).unwrap();
    world.server.remove(&path("/file"));
    world.expire();
    let new = world.create("/file", WRITE).unwrap();
    assert_eq!(world.read_handle(new).unwrap(), b"");
    world.write(new, 0, b"n");
    world.close(new).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"n");
    world.fs.release(old);
    assert_eq!(world.cat("/file").unwrap(), b"n");
}

#[test]
fn an_open_that_fails_leaves_no_handle_behind() {
    let world = World::with(|setup| setup.cache.dir_ttl = Duration::ZERO);
    world.put("/file", b"old");
    for nth in 1..=3 {
        world
            .server
            .fail_next(Operation::List, nth, RemoteErrorKind::Disconnected);
        let created = world.create("/file", TRUNCATE);
        if let Ok(handle) = created {
            world.close(handle).unwrap();
        }
    }
    assert!(
        !format!("{:?}", world.fs).contains("OpenFile"),
        "a file stays open that nobody has open"
    );
}

#[test]
fn mknod_makes_an_empty_file_on_the_server() {
    let world = World::new();
    let attr = world.fs.make_file(ROOT, b"file", 0o600).unwrap();
    assert_eq!((attr.size, attr.mode), (0, 0o600));
    assert_eq!(world.on("/file").unwrap(), b"");
    assert_eq!(
        world
            .fs
            .make_file(ROOT, b"file", 0o600)
            .map_err(errno)
            .err(),
        Some(libc::EEXIST)
    );
}

#[test]
fn the_mode_of_creation_is_set_on_the_server() {
    let world = World::new();
    let (_, opened) = world.create_with("/script", 0o755, WRITE).unwrap();
    world.write(opened.handle, 0, b"#!");
    world.close(opened.handle).unwrap();
    assert_eq!(world.server.node(&path("/script")).unwrap().mode, 0o755);
    assert_eq!(world.attr("/script").mode, 0o755);
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let world = World::with(|setup| setup.fs.is_read_only = true);
    world.put("/file", b"1");
    world.put("/dir/x", b"1");
    let erofs = Some(libc::EROFS);
    assert_eq!(world.create("/new", WRITE).err(), erofs);
    assert_eq!(world.open("/file", WRITE).err(), erofs);
    assert_eq!(
        world
            .open(
                "/file",
                OpenMode {
                    is_truncate: true,
                    ..READ
                }
            )
            .err(),
        erofs
    );
    assert_eq!(world.unlink("/file").err(), erofs);
    assert_eq!(world.mkdir("/new").err(), erofs);
    assert_eq!(world.rmdir("/dir").err(), erofs);
    assert_eq!(world.rename("/file", "/x").err(), erofs);
    assert_eq!(world.truncate("/file", 0).err(), erofs);
    assert_eq!(
        world.fs.symlink(ROOT, b"l", b"file").map_err(errno).err(),
        erofs
    );
    assert_eq!(
        world.fs.make_file(ROOT, b"f", 0o644).map_err(errno).err(),
        erofs
    );
    assert_eq!(world.cat("/file").unwrap(), b"1");
}

// SEMANTICS: S-exclusive
#[test]
fn an_exclusive_create_does_not_trust_a_listing_older_than_two_seconds() {
    let world = World::new();
    world.put("/other", b"");
    assert!(!world.exists("/new"));
    world.put("/new", b"theirs");
    world.clock.advance(Duration::from_secs(3));
    assert_eq!(world.create("/new", EXCLUSIVE).err(), Some(libc::EEXIST));
    assert_eq!(world.on("/new").unwrap(), b"theirs");
}

#[test]
fn exclusive_creates_one_after_the_other_share_a_listing() {
    let world = World::new();
    world.put("/other", b"");
    world.clock.advance(Duration::from_secs(3));
    assert!(world.exists("/other"));
    let before = world.calls(Operation::List);
    for index in 0..20 {
        let handle = world.create(&format!("/new{index}"), EXCLUSIVE).unwrap();
        world.close(handle).unwrap();
    }
    assert_eq!(world.calls(Operation::List), before);
}
