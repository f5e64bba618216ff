//! Accounts that may store and not rename or remove, and links that a server resolves in its own way.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{OLD, assert_disk, close, open, store};
use crate::common::{
    Kind, Rig, Server, Site, Target, can_mount, errno, for_each_site, names_in, pattern, wait_for,
};

for_each_site!(crate::safety::OLD; relative_links_lead_where_they_say);

/// What the account may not do, in the words of both servers.
fn limits(kind: Kind, denied: &str) -> String {
    match kind {
        Kind::Vsftpd => format!("cmds_denied={}", denied.replace(' ', ",")),
        _ => format!("<Limit {denied}>\nDenyAll\n</Limit>"),
    }
}

fn rig(kind: Kind, denied: &str) -> Option<Rig> {
    rig_of(kind, &limits(kind, denied))
}

/// A mount of a server with these settings.
pub(super) fn rig_of(kind: Kind, settings: &str) -> Option<Rig> {
    if !can_mount() {
        return None;
    }
    let server = Server::start_limited(kind, settings)?;
    let mut rig = Rig::of(server, OLD);
    rig.site.mount.may_end_badly();
    Some(rig)
}

/// How many temporary files lie on the server.
fn left(root: &Path) -> usize {
    let is_left = |name: &Vec<u8>| name.windows(6).any(|part| part == b"ftpfs-");
    names_in(root).iter().filter(|name| is_left(name)).count()
}

// SEMANTICS: S-account
fn an_account_that_may_only_store_does(kind: Kind, denied: &str) {
    let Some(rig) = rig(kind, denied) else {
        return;
    };
    let t = rig.target();
    t.put_on_disk("old", b"old");
    t.put_on_disk("large", &pattern(9, 3_000_000));
    for (number, size) in [3_000_000, 100_000, 5, 3_000_000].into_iter().enumerate() {
        let name = format!("new{number}");
        let told = store(&t.path(&name), &pattern(number as u64, size));
        assert!(told.is_ok(), "{name}: {told:?}");
        assert_disk(&t, &name, &pattern(number as u64, size), "new");
    }
    fs::write(t.scratch("source"), pattern(7, 2_000_000)).unwrap();
    t.sh("cp $SCRATCH/source copied");
    assert_disk(&t, "copied", &pattern(7, 2_000_000), "cp");
    assert!(left(rig.site.server.root()) <= 1, "temporary files pile up");
    for (name, old) in [("old", b"old".to_vec()), ("large", pattern(9, 3_000_000))] {
        for size in [10, 2_000_000] {
            let told = store(&t.path(name), &pattern(1, size));
            assert_eq!(errno(told), libc::EACCES, "{name}");
            assert_disk(&t, name, &old, "the old file");
        }
    }
    assert!(!t.try_sh("echo new | cat > old").status.success());
    // The kernel reports the last close after close(2) has returned; until then the file is shown as it was written.
    wait_for("the old file to be shown", Duration::from_secs(5), || {
        fs::read(t.path("old")).is_ok_and(|shown| shown == b"old")
    });
    // What only adds is allowed.
    t.sh("echo more >> old");
    assert_disk(&t, "old", b"oldmore\n", "append");
    assert!(left(rig.site.server.root()) <= 1, "temporary files pile up");
}

#[test]
fn an_account_that_may_only_store_does_vsftpd() {
    an_account_that_may_only_store_does(Kind::Vsftpd, "RNFR RNTO DELE");
}

#[test]
fn an_account_that_may_only_store_does_proftpd() {
    an_account_that_may_only_store_does(Kind::Proftpd, "RNFR RNTO DELE");
}

#[test]
fn an_account_that_may_not_rename_does_without_vsftpd() {
    an_account_that_may_only_store_does(Kind::Vsftpd, "RNFR RNTO");
}

#[test]
fn an_account_that_may_not_rename_does_without_proftpd() {
    an_account_that_may_only_store_does(Kind::Proftpd, "RNFR RNTO");
}

fn an_account_that_may_not_remove_replaces(kind: Kind) {
    let Some(rig) = rig(kind, "DELE") else {
        return;
    };
    let t = rig.target();
    t.put_on_disk("old", b"old");
    for size in [10, 100_000, 3_000_000] {
        store(&t.path("old"), &pattern(1, size)).unwrap();
        assert_disk(&t, "old", &pattern(1, size), "replaced");
        store(&t.path(format!("new{size}")), &pattern(2, size)).unwrap();
        assert_disk(&t, &format!("new{size}"), &pattern(2, size), "new");
    }
    // Even a change inside, whose scratch file could not be removed.
    let file = open(&t.path("old"));
    std::os::unix::fs::FileExt::write_all_at(&file, b"X", 1_500_000).unwrap();
    close(file).unwrap();
    let new = super::changed(&pattern(1, 3_000_000), 1_500_000, b"X");
    assert_disk(&t, "old", &new, "changed");
    assert!(left(rig.site.server.root()) <= 1, "temporary files pile up");
}

#[test]
fn an_account_that_may_not_remove_replaces_vsftpd() {
    an_account_that_may_not_remove_replaces(Kind::Vsftpd);
}

#[test]
fn an_account_that_may_not_remove_replaces_proftpd() {
    an_account_that_may_not_remove_replaces(Kind::Proftpd);
}

fn relative_links_lead_where_they_say(site: &mut Site) {
    let t = site.target();
    t.make_dir_on_disk("a");
    t.make_dir_on_disk("a/b");
    for (name, content) in [
        ("a/conf", "right"),
        ("conf", "wrong"),
        ("a/x", "right"),
        ("x", "wrong"),
        ("a/b/x", "wrong"),
        ("a/b/conf", "wrong"),
    ] {
        t.put_on_disk(name, content.as_bytes());
    }
    look_everywhere(&t);
    for (target, link) in [
        ("conf", "a/link"),
        ("../x", "a/b/link"),
        ("./conf", "a/dot"),
        ("b/../conf", "a/around"),
    ] {
        let script = format!("ln -s {target} {link}");
        if !site.server.kind().makes_symlinks() {
            let made = std::os::unix::fs::symlink(target, t.path(link));
            assert_eq!(errno(made), libc::EPERM, "{script}");
            assert!(fs::symlink_metadata(t.disk(link)).is_err());
            continue;
        }
        let made = std::os::unix::fs::symlink(target, t.path(link));
        if let Err(error) = made {
            // Refused is better than wrong.
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{script}");
            assert!(fs::symlink_metadata(t.disk(link)).is_err());
            continue;
        }
        let led = fs::read(resolve(&t, link)).ok();
        assert_eq!(led.as_deref(), Some(&b"right"[..]), "{script}");
        assert_eq!(fs::read(t.path(link)).unwrap(), b"right", "{script}");
        let shown = fs::read_link(t.path(link)).unwrap();
        assert!(shown.is_relative(), "{script}: {}", shown.display());
    }
}

/// Where a link leads on the server, whose root is that of the account.
fn resolve(t: &Target, link: &str) -> PathBuf {
    let target = fs::read_link(t.disk(link)).unwrap();
    match target.strip_prefix("/") {
        Ok(target) => t.disk(target),
        Err(_) => t.disk(link).parent().unwrap().join(target),
    }
}

/// Leaves the sessions in other directories than those of the links.
fn look_everywhere(t: &Target) {
    for dir in ["a", "a/b", ""] {
        names_in(&t.path(dir));
    }
}
