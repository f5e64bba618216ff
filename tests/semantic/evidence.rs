//! What others have done within the TTL, and what a listing does not show for certain: neither is overwritten.

use std::time::Duration;

use ftpfs::{
    fs::RenameMode,
    remote::{Rejected, memory::Operation},
};

use crate::world::{APPEND, EXCLUSIVE, WRITE, World, path};

/// A world whose root was listed so long ago; within the TTL that is still shown.
fn listed_before(seconds: u64) -> World {
    let world = World::new();
    world.put("/dir/old", b"1");
    world.names("/").unwrap();
    world.names("/dir").unwrap();
    world.advance(Duration::from_secs(seconds));
    world
}

// SEMANTICS: S-tenet-evidence, S-exclusive
#[test]
fn a_name_that_others_have_made_within_the_ttl_is_not_taken_for_free() {
    for seconds in [3, 10, 19] {
        let world = listed_before(seconds);
        world.put("/name", b"theirs");
        world.put("/source", b"ours");
        assert_eq!(world.create("/name", EXCLUSIVE), Err(libc::EEXIST));
        let no_replace = world.rename_as("/source", "/name", RenameMode::NoReplace);
        assert!(no_replace.is_err());
        let appending = world.create("/name", APPEND).unwrap();
        world.write(appending, 0, b", ours");
        world.close(appending).unwrap();
        assert_eq!(world.on("/name").unwrap(), b"theirs, ours");
        world.put("/dir/name", b"theirs");
        let both = world.create("/dir/name", WRITE).unwrap();
        world.write(both, 0, b"T");
        world.close(both).unwrap();
        assert_eq!(world.on("/dir/name").unwrap(), b"Theirs");
    }
}

// SEMANTICS: S-exclusive
#[test]
fn many_new_files_cost_one_listing_every_two_seconds() {
    let world = listed_before(5);
    world.server.forget_calls();
    for number in 0..20 {
        world.save(&format!("/new-{number}"), b"x").unwrap();
    }
    let looks = world.calls(Operation::List) + world.calls(Operation::Stat);
    assert_eq!(looks, 1);
    world.advance(Duration::from_secs(3));
    world.save("/one-more", b"x").unwrap();
    let looks = world.calls(Operation::List) + world.calls(Operation::Stat);
    assert_eq!(looks, 2);
}

// SEMANTICS: S-list-rejected
#[test]
fn a_name_in_a_line_that_is_not_understood_is_asked_for() {
    let mut rejected = Rejected::default();
    rejected.push(b"-rw-r--r-- 1 o g ?? Jan 5 12:30 odd");
    let world = World::on_server(|server| {
        server.list_entries_max = Some(0);
        server.tells_truncation = false;
        server.rejected = rejected.clone();
    });
    world.put("/odd", b"there");
    world.put("/source", b"ours");
    assert!(world.exists("/odd"));
    assert_eq!(world.create("/odd", EXCLUSIVE), Err(libc::EEXIST));
    let no_replace = world.rename_as("/odd", "/odd", RenameMode::NoReplace);
    assert_eq!(no_replace, Err(libc::EEXIST));
    let appending = world.create("/odd", APPEND).unwrap();
    world.write(appending, 0, b" still");
    world.close(appending).unwrap();
    assert_eq!(world.on("/odd").unwrap(), b"there still");
    // The other is in no line.
    assert!(world.create("/free", EXCLUSIVE).is_ok());
}

// SEMANTICS: S-rmdir
#[test]
fn a_directory_is_removed_only_when_a_recent_listing_shows_it_empty() {
    let world = World::on_server(|server| server.removes_trees = true);
    world.put("/full/file", b"1");
    world.server.write_dir(&path("/empty"));
    world.server.write_dir(&path("/source"));
    world.ino("/full");
    world.server.forget_calls();
    assert_eq!(world.rmdir("/full"), Err(libc::ENOTEMPTY));
    assert_eq!(world.calls(Operation::RemoveDir), 0);
    world.names("/empty").unwrap();
    world.advance(Duration::from_secs(5));
    world.put("/empty/late", b"theirs");
    assert_eq!(world.rmdir("/empty"), Err(libc::ENOTEMPTY));
    assert_eq!(world.on("/empty/late").unwrap(), b"theirs");
    // An empty target of a rename is one that is removed, too.
    assert_eq!(world.rename("/source", "/empty"), Err(libc::ENOTEMPTY));
    world.server.remove(&path("/empty/late"));
    world.rmdir("/empty").unwrap();
    assert_eq!(world.calls(Operation::RemoveDir), 1);
}

// SEMANTICS: S-rmdir
#[test]
fn a_directory_with_a_line_that_is_not_understood_is_not_empty() {
    let mut rejected = Rejected::default();
    rejected.push(b"?????????? 1 o g");
    let world = World::on_server(|server| server.removes_trees = true);
    world.server.write_dir(&path("/dir"));
    world.ino("/dir");
    world
        .server
        .set_behaviour(|server| server.rejected = rejected);
    assert_eq!(world.rmdir("/dir"), Err(libc::ENOTEMPTY));
    assert_eq!(world.calls(Operation::RemoveDir), 0);
}

#[test]
fn a_directory_handle_that_is_old_does_not_make_it_empty() {
    let world = World::on_server(|server| server.removes_trees = true);
    world.server.write_dir(&path("/dir"));
    let dir = world.ino("/dir");
    let handle = world.fs.opendir(dir).unwrap();
    world.advance(Duration::from_secs(3));
    world.put("/dir/theirs", b"1");
    assert_eq!(world.rmdir("/dir"), Err(libc::ENOTEMPTY));
    world.fs.releasedir(handle);
}

// SEMANTICS: S-spelling
#[test]
fn a_name_that_the_server_has_under_another_spelling_is_not_taken_for_free() {
    let world = World::on_server(|server| server.ignores_case = true);
    world.put("/Makefile", b"theirs");
    world.put("/source", b"ours");
    world.names("/").unwrap();
    for mode in [EXCLUSIVE, APPEND, WRITE] {
        assert_eq!(world.create("/makefile", mode), Err(libc::EEXIST));
    }
    let no_replace = world.rename_as("/source", "/makefile", RenameMode::NoReplace);
    assert_eq!(no_replace, Err(libc::EEXIST));
    assert_eq!(world.on("/Makefile").unwrap(), b"theirs");
    assert_eq!(world.names("/").unwrap(), ["Makefile", "source"]);
    // Its own spelling can be changed.
    assert_eq!(world.rename("/Makefile", "/makefile"), Ok(()));
    world.expire();
    assert_eq!(world.names("/").unwrap(), ["makefile", "source"]);
    // Where the server distinguishes them both may be there.
    let world = World::new();
    world.put("/Makefile", b"theirs");
    world.save("/makefile", b"ours").unwrap();
    assert_eq!(world.on("/Makefile").unwrap(), b"theirs");
    assert_eq!(world.on("/makefile").unwrap(), b"ours");
}
