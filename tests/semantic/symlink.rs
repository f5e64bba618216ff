//! Symbolic links, and what they may not do.

use ftpfs::{
    fs::Change,
    remote::{EntryKind, memory::Operation},
};

use crate::world::{ROOT, World, errno, path};

fn target(world: &World, at: &str) -> Result<Vec<u8>, i32> {
    world.fs.readlink(world.ino(at)).map_err(errno)
}

#[test]
fn a_link_is_shown_as_one_and_tells_its_target() {
    for tells_target in [true, false] {
        let world = World::on_server(|server| server.tells_target = tells_target);
        world.put("/dir/file", b"1");
        world.server.write_symlink(&path("/dir/link"), b"file");
        assert_eq!(world.attr("/dir/link").kind, EntryKind::Symlink);
        assert_eq!(target(&world, "/dir/link").unwrap(), b"file");
        let asked = u64::from(!tells_target);
        assert_eq!(world.calls(Operation::ReadLink), asked, "{tells_target}");
    }
}

#[test]
fn a_link_out_of_the_mounted_directory_is_not_followed() {
    let world = World::new();
    let cases: [(&str, &[u8]); 3] = [
        ("/up", b"../../etc/passwd"),
        ("/dir/up", b"x/../../../etc/passwd"),
        ("/dir/deep", b"../.."),
    ];
    for (link, to) in cases {
        world.server.write_symlink(&path(link), to);
        world.expire();
        assert_eq!(target(&world, link), Err(libc::EPERM), "{link}");
    }
}

#[test]
fn an_absolute_link_leads_into_the_mounted_directory() {
    let world = World::new();
    world
        .server
        .write_symlink(&path("/dir/link"), b"/etc/passwd");
    assert_eq!(target(&world, "/dir/link").unwrap(), b"../etc/passwd");
}

#[test]
fn a_link_is_made_where_the_server_can() {
    let world = World::new();
    world.put("/file", b"1");
    let attr = world.fs.symlink(ROOT, b"link", b"file").unwrap();
    assert_eq!((attr.kind, attr.size), (EntryKind::Symlink, 4));
    assert_eq!(target(&world, "/link").unwrap(), b"file");
    let again = world.fs.symlink(ROOT, b"link", b"file").map_err(errno);
    assert_eq!(again.err(), Some(libc::EEXIST));
    let world = World::on_server(|server| server.can_symlink = false);
    let made = world.fs.symlink(ROOT, b"link", b"file").map_err(errno);
    assert_eq!(
        made.err(),
        Some(libc::EPERM),
        "as on every filesystem without links"
    );
}

#[test]
fn a_link_is_removed_and_renamed_itself() {
    let world = World::new();
    world.put("/file", b"1");
    world.server.write_symlink(&path("/link"), b"file");
    world.rename("/link", "/other").unwrap();
    assert_eq!(target(&world, "/other").unwrap(), b"file");
    world.unlink("/other").unwrap();
    assert_eq!(world.on("/file").unwrap(), b"1");
    assert!(!world.exists("/other"));
}

#[test]
fn a_link_has_no_mode_or_time_to_set() {
    let world = World::new();
    world.put("/file", b"1");
    world.server.write_symlink(&path("/link"), b"file");
    let change = Change {
        mode: Some(0o600),
        ..Change::default()
    };
    assert_eq!(
        world.setattr("/link", &change).err(),
        Some(libc::EOPNOTSUPP)
    );
    assert_eq!(
        world.server.node(&path("/file")).unwrap().mode,
        0o644,
        "a server would follow it"
    );
    assert_eq!(world.calls(Operation::Settle), 0);
}

#[test]
fn readlink_of_a_file_is_einval() {
    let world = World::new();
    world.put("/file", b"1");
    assert_eq!(target(&world, "/file"), Err(libc::EINVAL));
}
