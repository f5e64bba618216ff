//! Directories that nobody has looked into, or not lately: they are listed before they are removed.

use std::fs;

use super::{OLD, grow_old, look};
use crate::common::{
    Mount, Rig, can_mount, errno, for_each_rig, names_in,
    simulated::{Dialect, Simulated},
};

for_each_rig!(crate::safety::OLD; a_directory_is_listed_before_it_is_removed);

fn a_directory_is_listed_before_it_is_removed(rig: &mut Rig) {
    let t = rig.target();
    for dir in ["full", "hidden", "nested", "empty", "filled", "from"] {
        t.make_dir_on_disk(dir);
    }
    t.put_on_disk("full/f", b"theirs");
    t.put_on_disk("hidden/.f", b"theirs");
    t.make_dir_on_disk("nested/d");
    t.put_on_disk("nested/d/f", b"theirs");
    for dir in ["full", "hidden", "nested"] {
        assert_eq!(errno(fs::remove_dir(t.path(dir))), libc::ENOTEMPTY, "{dir}");
    }
    look(&t, "filled");
    look(&t, "from");
    grow_old();
    t.put_on_disk("filled/f", b"theirs");
    // rename(2) replaces an empty directory only.
    assert_eq!(
        errno(fs::rename(t.path("from"), t.path("filled"))),
        libc::ENOTEMPTY
    );
    grow_old();
    t.put_on_disk("filled/g", b"theirs");
    assert_eq!(errno(fs::remove_dir(t.path("filled"))), libc::ENOTEMPTY);
    assert_eq!(rig.meddler.heard("RMD"), 0);
    t.sh("rmdir empty; mkdir new; rmdir new; rm -r full");
    assert_eq!(rig.meddler.heard("RMD"), 3);
    let left = ["filled", "from", "hidden", "nested"];
    assert_eq!(
        names_in(&t.disk("")),
        left.map(|name| name.as_bytes().to_vec())
    );
    assert_eq!(names_in(&t.disk("filled")).len(), 2);
}

/// A server that removes whole trees by RMD.
#[test]
fn a_server_that_removes_trees_is_not_asked_to() {
    if !can_mount() {
        return;
    }
    for listing in ["", "[listing]\nhidden = \"never\"\n"] {
        let text = format!("{listing}[files]\nremove_dir = \"tree\"\n");
        let server = Simulated::start(Dialect::parse(&text));
        let mut tree = server.tree();
        for dir in ["/unlisted", "/filled", "/from", "/empty"] {
            tree.make_dir(dir);
        }
        tree.put("/unlisted/f", b"theirs");
        drop(tree);
        let mount = Mount::of_url(&server.url(), OLD);
        let path = |name: &str| mount.path().join(name);
        assert_eq!(errno(fs::remove_dir(path("unlisted"))), libc::ENOTEMPTY);
        assert!(names_in(&path("filled")).is_empty());
        grow_old();
        server.tree().put("/filled/f", b"theirs");
        assert_eq!(
            errno(fs::rename(path("from"), path("filled"))),
            libc::ENOTEMPTY
        );
        assert_eq!(errno(fs::remove_dir(path("filled"))), libc::ENOTEMPTY);
        let heard = server.take_heard();
        assert!(
            !heard.iter().any(|line| line.starts_with("RMD")),
            "{heard:?}"
        );
        for name in ["/unlisted/f", "/filled/f"] {
            assert!(server.tree().get(name).is_some(), "{name}");
        }
        if listing.is_empty() {
            fs::remove_dir(path("empty")).unwrap();
            assert!(server.tree().get("/empty").is_none());
        }
    }
}
