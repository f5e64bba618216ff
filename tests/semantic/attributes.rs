//! chmod, chown, utimens, masks, statfs.

use std::time::{Duration, SystemTime};

use ftpfs::{
    fs::{Change, NewTime},
    remote::{Modified, RemoteErrorKind as Kind, memory::Operation},
};

use crate::world::{ROOT, WRITE, World, errno, path};

fn mode(bits: u32) -> Change {
    Change {
        mode: Some(bits),
        ..Change::default()
    }
}

fn time(time: SystemTime) -> Change {
    Change {
        modified: Some(NewTime::At(time)),
        ..Change::default()
    }
}

/// A time with whole seconds, as servers keep it.
fn instant(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn chmod_is_set_on_the_server_and_shown() {
    let world = World::new();
    world.put("/file", b"1");
    assert_eq!(world.setattr("/file", &mode(0o751)).unwrap().mode, 0o751);
    assert_eq!(world.server.node(&path("/file")).unwrap().mode, 0o751);
    world.expire();
    assert_eq!(world.attr("/file").mode, 0o751);
}

#[test]
fn a_mode_that_is_set_already_costs_nothing() {
    let world = World::new();
    world.put("/file", b"1");
    world.ino("/file");
    world.server.forget_calls();
    world.setattr("/file", &mode(0o644)).unwrap();
    assert_eq!(world.requests(), 0);
}

#[test]
fn a_mode_set_on_an_open_file_outlives_its_next_upload() {
    for size in [3, 70_000] {
        let world = World::new();
        world.put("/file", &vec![b'x'; size]);
        let handle = world.open("/file", WRITE).unwrap();
        world.setattr("/file", &mode(0o600)).unwrap();
        world.write(handle, 0, b"changed");
        world.close(handle).unwrap();
        assert_eq!(world.server.node(&path("/file")).unwrap().mode, 0o600);
        assert_eq!(world.attr("/file").mode, 0o600);
    }
}

#[test]
fn mode_and_time_set_before_close_go_up_with_the_file() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    world.write(handle, 0, b"content");
    world.setattr("/file", &mode(0o755)).unwrap();
    world
        .setattr("/file", &time(instant(1_000_000_000)))
        .unwrap();
    assert_eq!(world.attr("/file").modified, instant(1_000_000_000));
    world.server.forget_calls();
    world.close(handle).unwrap();
    assert_eq!(world.requests(), 2, "the upload, and one exchange for both");
    let node = world.server.node(&path("/file")).unwrap();
    assert_eq!((node.mode, node.modified), (0o755, instant(1_000_000_000)));
    assert_eq!(world.attr("/file").modified, instant(1_000_000_000));
}

#[test]
fn a_write_after_utimens_is_newer() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    world
        .setattr("/file", &time(instant(1_000_000_000)))
        .unwrap();
    world.write(handle, 0, b"content");
    world.close(handle).unwrap();
    assert!(world.server.node(&path("/file")).unwrap().modified > instant(1_000_000_001));
}

#[test]
fn utimens_is_set_on_the_server_and_shown() {
    let world = World::new();
    world.put("/file", b"1");
    for seconds in [0, 1, 1_234_567_890, 4_000_000_000] {
        let attr = world.setattr("/file", &time(instant(seconds))).unwrap();
        assert_eq!(attr.modified, instant(seconds));
        assert_eq!(
            world.server.node(&path("/file")).unwrap().modified,
            instant(seconds)
        );
    }
    let now = Change {
        modified: Some(NewTime::Now),
        ..Change::default()
    };
    let attr = world.setattr("/file", &now).unwrap();
    let wall = ftpfs::clock::Clock::wall(&*world.clock);
    assert_eq!(
        Modified::from(attr.modified).seconds,
        Modified::from(wall).seconds
    );
}

#[test]
fn what_the_server_cannot_set_is_eopnotsupp_and_a_copy_succeeds_all_the_same() {
    let world = World::on_server(|server| {
        server.can_set_mode = false;
        server.can_set_time = false;
    });
    world.put("/file", b"1");
    assert_eq!(
        world.setattr("/file", &mode(0o600)).err(),
        Some(libc::EOPNOTSUPP)
    );
    assert_eq!(
        world.setattr("/file", &time(instant(1))).err(),
        Some(libc::EOPNOTSUPP)
    );
    let (_, opened) = world.create_with("/copy", 0o600, WRITE).unwrap();
    world.write(opened.handle, 0, b"content");
    world.setattr("/copy", &time(instant(1))).unwrap();
    world.close(opened.handle).unwrap();
    assert_eq!(world.on("/copy").unwrap(), b"content");
    world.expire();
    assert_eq!(
        world.attr("/copy").mode,
        world.server.node(&path("/copy")).unwrap().mode
    );
}

#[test]
fn a_refused_chmod_is_eperm_and_one_of_a_vanished_file_enoent() {
    let world = World::new();
    world.put("/file", b"1");
    world.server.fail_next(Operation::Settle, 1, Kind::Refused);
    assert_eq!(
        world.setattr("/file", &mode(0o600)).err(),
        Some(libc::EPERM)
    );
    world
        .server
        .fail_next(Operation::Settle, 1, Kind::Disconnected);
    assert_eq!(world.setattr("/file", &mode(0o600)).err(), Some(libc::EIO));
    let ino = world.ino("/file");
    world.server.remove(&path("/file"));
    assert_eq!(
        world
            .fs
            .setattr(ino, &mode(0o600), None)
            .map_err(errno)
            .err(),
        Some(libc::ENOENT)
    );
}

#[test]
fn files_cannot_be_given_away_and_keeping_the_owner_is_no_change() {
    let world = World::new();
    world.put("/file", b"1");
    let owner = |uid, gid| Change {
        uid,
        gid,
        ..Change::default()
    };
    world
        .setattr("/file", &owner(Some(1000), Some(1000)))
        .unwrap();
    assert_eq!(
        world.setattr("/file", &owner(Some(0), None)).err(),
        Some(libc::EPERM)
    );
    assert_eq!(
        world.setattr("/file", &owner(None, Some(5))).err(),
        Some(libc::EPERM)
    );
}

#[test]
fn masks_take_bits_away_from_what_the_server_shows() {
    let world = World::with(|setup| {
        setup.fs.file_mask = 0o077;
        setup.fs.dir_mask = 0o027;
        setup.fs.uid = 7;
        setup.fs.gid = 8;
    });
    world.put("/dir/file", b"1");
    assert_eq!(world.attr("/dir").mode, 0o750);
    let file = world.attr("/dir/file");
    assert_eq!((file.mode, file.uid, file.gid), (0o600, 7, 8));
    assert_eq!(world.fs.getattr(ROOT).unwrap().0.mode, 0o750);
}

#[test]
fn a_server_that_tells_no_mode_gets_the_usual_ones() {
    let world = World::on_server(|server| server.tells_mode = false);
    world.put("/dir/file", b"1");
    assert_eq!(
        (world.attr("/dir").mode, world.attr("/dir/file").mode),
        (0o755, 0o644)
    );
}

#[test]
fn free_space_is_what_the_server_tells_or_large() {
    let world = World::new();
    assert!(world.fs.space().unwrap().free >= 1 << 40);
    let world = World::on_server(|server| server.space = Some(12_345_678));
    assert_eq!(world.fs.space().unwrap().free, 12_345_678);
}

#[test]
fn the_mounted_directory_cannot_be_changed() {
    let world = World::new();
    let changed = world.fs.setattr(ROOT, &mode(0o700), None).map_err(errno);
    assert_eq!(changed.err(), Some(libc::EPERM));
}
