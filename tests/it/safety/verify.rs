//! `--verify` on a real server: a byte that is changed on the way is an error of close, and the old file is whole.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
};

use super::{assert_disk, change, changed, close, lost::append, open, store};
use crate::common::{Kind, Rig, Server, can_mount, pattern};

/// What loads `ProFTPD`'s checksums, which Debian ships and does not load.
const MOD_DIGEST: &str = "LoadModule mod_digest.c\nDigestEngine on";

const OPTIONS: &[&str] = &["dir-ttl=600", "timeout=5", "drain-timeout=1", "verify"];

/// A server with these directives, mounted through the proxy with `--verify`.
fn rig(directives: &str) -> Option<Rig> {
    if !can_mount() {
        return None;
    }
    let server = Server::start_limited(Kind::Proftpd, directives)?;
    Some(Rig::of(server, OPTIONS))
}

/// Changes one bit of the next upload.
fn spoil(rig: &Rig, at: usize) {
    rig.meddler.on("STOR ").times(1).change_upload(at);
    rig.meddler.on("APPE ").times(1).change_upload(at);
}

fn assert_eio(told: &io::Result<()>, what: &str) {
    let errno = told.as_ref().err().and_then(io::Error::raw_os_error);
    assert_eq!(errno, Some(libc::EIO), "{what}: {told:?}");
}

// SEMANTICS: S-verify
#[test]
fn a_byte_that_was_changed_on_the_way_is_no_success() {
    let Some(mut rig) = rig(MOD_DIGEST) else {
        return;
    };
    rig.site.mount.may_end_badly();
    let t = rig.target();
    let old = pattern(1, 3_000_000);
    fs::create_dir(t.path("dir with blanks")).unwrap();
    for size in [10, 65_537, 3_000_000] {
        for name in ["f", "dir with blanks/f"] {
            store(&t.path(name), &old).unwrap();
            let what = format!("{name}, {size} bytes");
            let new = pattern(2, size);
            spoil(&rig, size - 1);
            assert_eio(&store(&t.path(name), &new), &what);
            assert_disk(&t, name, &old, &what);
            rig.meddler.behave();
            store(&t.path(name), &new).unwrap();
            assert_disk(&t, name, &new, &what);
        }
    }
    spoil(&rig, 3);
    assert_eio(&store(&t.path("new"), b"content"), "new");
    rig.meddler.behave();
    store(&t.path("new"), b"content").unwrap();
    assert_disk(&t, "new", b"content", "new");
}

// SEMANTICS: S-verify
#[test]
fn a_tail_or_range_that_was_changed_on_the_way_is_no_success() {
    let Some(mut rig) = rig(MOD_DIGEST) else {
        return;
    };
    rig.site.mount.may_end_badly();
    let t = rig.target();
    let old = pattern(1, 3_000_000);
    t.put_on_disk("f", &old);
    // What the server does with offsets is found out.
    let mut new = changed(&old, 1_000_000, b"probe");
    change(&t.path("f"), 1_000_000, b"probe").unwrap();
    let file = open(&t.path("f"));
    file.write_all_at(b"inside", 2_000_000).unwrap();
    spoil(&rig, 2);
    assert_eio(&file.sync_all(), "range");
    rig.meddler.behave();
    rig.meddler.take_heard();
    close(file).unwrap();
    new = changed(&new, 2_000_000, b"inside");
    assert_disk(&t, "f", &new, "range");
    let heard = rig.meddler.take_heard();
    let is_asked = |line: &&String| line.starts_with("XCRC ") && line.ends_with(" 2000000 2000006");
    assert_eq!(heard.iter().filter(is_asked).count(), 1, "{heard:?}");
    let mut options = OpenOptions::new();
    let mut file = options.append(true).open(t.path("f")).unwrap();
    file.write_all(b"tail").unwrap();
    spoil(&rig, 2);
    assert_eio(&file.sync_all(), "tail");
    rig.meddler.behave();
    close(file).unwrap();
    new.extend_from_slice(b"tail");
    assert_disk(&t, "f", &new, "tail");
}

// SEMANTICS: S-verify
#[test]
fn what_arrives_whole_is_verified_and_old_checksums_do_no_harm() {
    let Some(rig) = rig(MOD_DIGEST) else { return };
    let t = rig.target();
    fs::create_dir(t.path("dir with blanks")).unwrap();
    for size in [0, 10, 65_537, 3_000_000] {
        for name in ["f", "dir with blanks/a 1 3", "quote\"d"] {
            for seed in 0..2 {
                store(&t.path(name), &pattern(seed, size)).unwrap();
                assert_disk(&t, name, &pattern(seed, size), "replaced");
            }
        }
    }
    append(&t.path("f"), b"tail").unwrap();
    // ProFTPD keeps checksums by name, second and size.
    for seed in 0..4 {
        store(&t.path("again"), &pattern(seed, 100)).unwrap();
        assert_disk(&t, "again", &pattern(seed, 100), "made again");
        fs::remove_file(t.path("again")).unwrap();
    }
    let heard = rig.meddler.take_heard();
    let asked = heard.iter().filter(|line| line.starts_with("XCRC "));
    assert!(asked.count() >= 10, "{heard:?}");
    assert_eq!(rig.site.mount.logged("only its size is verified"), 0);
    assert_eq!(rig.site.mount.logged("refused"), 0);
}

// SEMANTICS: S-verify-limits
#[test]
fn a_server_without_checksums_is_named_in_the_log() {
    let Some(rig) = rig("") else { return };
    let t = rig.target();
    store(&t.path("f"), b"content").unwrap();
    change(&t.path("f"), 2, b"NT").unwrap();
    assert_disk(&t, "f", b"coNTent", "no checksums");
    assert_eq!(
        rig.site
            .mount
            .logged("--verify has no effect beyond the size"),
        1
    );
}
