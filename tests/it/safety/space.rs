//! Files that are too large for the server: refused before a byte is sent, and what a full server refused is not stored again and again.

use std::{
    fs, io,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::Path,
    thread,
    time::Duration,
};

use super::{OLD, assert_disk, close, open, store};
use crate::common::{
    Kind, Meddler, Mount, Rig, Server, Site, Target, can_mount, errno, for_each_kind, for_each_rig,
    pattern, wait_for,
};

for_each_rig!(crate::safety::OLD; a_huge_offset_is_refused, a_limit_of_the_user_holds);
for_each_kind!(
    a_full_server_is_not_filled_again,
    the_space_that_the_server_reports_counts
);

/// 8 MiB: what the small server holds.
const SMALL: usize = 8 << 20;

/// As fallocate(2) says it.
fn fallocate(file: &fs::File, mode: i32, from: i64, len: i64) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as the file lives.
    match unsafe { libc::fallocate(file.as_raw_fd(), mode, from, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Each way to make a file end at `len`, by one step.
fn grow_in_each_way(path: &Path, len: u64) -> Vec<(&'static str, io::Result<()>)> {
    let file = open(path);
    let signed = i64::try_from(len).unwrap();
    let old = i64::try_from(file.metadata().unwrap().len()).unwrap();
    let grown = vec![
        ("write", file.write_all_at(b"x", len - 1)),
        ("fallocate", fallocate(&file, 0, 0, signed)),
        (
            "fallocate from the end",
            fallocate(&file, 0, old, signed - old),
        ),
        ("ftruncate", file.set_len(len)),
        ("truncate", truncate(path, signed)),
    ];
    close(file).unwrap();
    grown
}

fn truncate(path: &Path, len: i64) -> io::Result<()> {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the path is a string with its end.
    match unsafe { libc::truncate(path.as_ptr(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Asserts that a file can be made to end there in no way, and that nothing comes of trying.
fn assert_too_large(t: &Target, meddler: &Meddler, name: &str, len: u64) {
    let before = t.on_disk(name);
    meddler.take_heard();
    for (way, grown) in grow_in_each_way(&t.path(name), len) {
        assert_eq!(errno(grown), libc::EFBIG, "{way} to {len}");
    }
    assert_eq!(
        fs::metadata(t.path(name)).unwrap().len(),
        before.len() as u64
    );
    let heard = meddler.take_heard();
    let is_upload = |line: &String| line.starts_with("STOR") || line.starts_with("APPE");
    assert!(!heard.iter().any(is_upload), "{heard:?}");
    assert_disk(t, name, &before, "after EFBIG");
}

// SEMANTICS: S-too-large
fn a_huge_offset_is_refused(rig: &mut Rig) {
    let t = rig.target();
    t.put_on_disk("file", b"content");
    t.put_on_disk("empty", b"");
    for name in ["file", "empty"] {
        for len in [1 << 62, 32 << 40, (1 << 40) + 1] {
            assert_too_large(&t, &rig.meddler, name, len);
        }
    }
    // A new file too, and what was in it goes up.
    let file = fs::File::create_new(t.path("new")).unwrap();
    file.write_all_at(b"first", 0).unwrap();
    assert_eq!(errno(file.write_all_at(b"x", 1 << 62)), libc::EFBIG);
    file.write_all_at(b"!", 5).unwrap();
    close(file).unwrap();
    assert_disk(&t, "new", b"first!", "new");
    // A hole that is no mistake.
    let file = open(&t.path("file"));
    file.write_all_at(b"end", 3_000_000).unwrap();
    fallocate(&file, libc::FALLOC_FL_KEEP_SIZE, 0, 32 << 40).unwrap();
    close(file).unwrap();
    let sparse = super::changed(b"content", 3_000_000, b"end");
    assert_disk(&t, "file", &sparse, "sparse");
}

// SEMANTICS: S-too-large
fn a_limit_of_the_user_holds(rig: &mut Rig) {
    let mount = Mount::of_url(
        &rig.meddler.url(&rig.site.server),
        &[OLD, &["max-file-size=10K"]].concat(),
    );
    let t = Target::new(rig.kind(), mount.path(), rig.site.server.root());
    t.put_on_disk("file", b"content");
    t.put_on_disk("large", &pattern(1, 50_000));
    assert_too_large(&t, &rig.meddler, "file", 10_241);
    store(&t.path("fits"), &pattern(2, 10_240)).unwrap();
    assert_disk(&t, "fits", &pattern(2, 10_240), "at the limit");
    assert_eq!(
        errno(store(&t.path("new"), &pattern(2, 10_241))),
        libc::EFBIG
    );
    assert!(!t.try_sh("echo more >> large").status.success());
    // What is larger already may be changed and made smaller.
    super::change(&t.path("large"), 20_000, b"changed").unwrap();
    let changed = super::changed(&pattern(1, 50_000), 20_000, b"changed");
    assert_disk(&t, "large", &changed, "changed inside");
    t.sh("truncate -s 30000 large");
    assert_disk(&t, "large", &changed[..30_000], "made smaller");
}

/// The space that the server reports is asked for where a file grows at once, and is the limit.
// SEMANTICS: S-too-large
fn the_space_that_the_server_reports_counts(kind: Kind) {
    if !can_mount() {
        return;
    }
    let Some(server) = Server::start(kind) else {
        return;
    };
    let meddler = Meddler::start(&server);
    meddler
        .on("FEAT")
        .replace("211-Features:\r\n SIZE\r\n MDTM\r\n AVBL\r\n211 End");
    let asked = meddler.on("AVBL").answer("213 5368709120");
    let mount = Mount::of_url(&meddler.url(&server), OLD);
    let site = Site { mount, server };
    let t = site.target();
    t.put_on_disk("file", b"content");
    let limit = (5 << 30) + 7;
    assert_too_large(&t, &meddler, "file", limit + 1);
    assert!(asked.get() > 0, "the server was not asked");
    // What a program writes in order asks for nothing.
    let before = asked.get();
    store(&t.path("ordinary"), &pattern(3, 3_000_000)).unwrap();
    t.sh("truncate -s 100M sparse; rm sparse");
    assert_eq!(asked.get(), before);
    // Up to there it may grow.
    let file = open(&t.path("file"));
    file.set_len(limit).unwrap();
    file.set_len(7).unwrap();
    close(file).unwrap();
    assert_disk(&t, "file", b"content", "as before");
}

/// How many uploads the server was asked to take.
fn uploads(meddler: &Meddler) -> usize {
    meddler.heard("STOR") + meddler.heard("APPE")
}

/// What the log says of a file that is sent no more by itself.
const HELD: &str = "when there is room or a program asks";

/// Waits until it is known that the server is full. pyftpdlib says so by a data connection that ends or stalls for 5 s; its answer is lost at
/// times, and then a program asks once more.
fn wait_until_held(rig: &Rig, name: &str, held_before: usize) {
    if rig.kind() != Kind::Pyftpdlib {
        thread::sleep(Duration::from_secs(4));
        return;
    }
    let t = rig.target();
    wait_for(HELD, Duration::from_secs(100), || {
        let is_held = rig.site.mount.logged(HELD) > held_before;
        if !is_held {
            // It fails, or is busy for as long as the last try may be carried out.
            let _ = close(open(&t.path(name)));
            thread::sleep(Duration::from_secs(1));
        }
        is_held
    });
}

/// A full server gets what it refused when a program asks, and not by itself.
// SEMANTICS: S-no-space
fn a_full_server_is_not_filled_again(kind: Kind) {
    for name in ["new", "old"] {
        if can_mount()
            && let Some(server) = Server::start_small(kind, SMALL)
        {
            let mut rig = Rig::of(server, OLD);
            rig.site.mount.may_end_badly();
            is_not_filled_again(&mut rig, name);
        }
    }
}

fn is_not_filled_again(rig: &mut Rig, name: &str) {
    /// A try, another one because of what may be wrong with the session, and both again as the last handle is closed: not every
    /// server says that its disk is full.
    const UPLOADS_MAX: usize = 4;
    let uploads_max = match rig.kind() {
        // Programs ask until it has answered.
        Kind::Pyftpdlib => usize::MAX,
        _ => UPLOADS_MAX,
    };
    let t = rig.target();
    t.put_on_disk("old", b"old");
    rig.meddler.take_heard();
    // More than fits, nearly all of it zeros.
    let file = fs::File::create(t.path(name)).unwrap();
    file.write_all_at(b"end", 2 * SMALL as u64).unwrap();
    let told = errno(close(file));
    assert!(
        [libc::ENOSPC, libc::EDQUOT, libc::EIO, libc::ETIMEDOUT].contains(&told),
        "{told}"
    );
    wait_until_held(rig, name, 0);
    let tried = uploads(&rig.meddler);
    assert!((1..=uploads_max).contains(&tried), "{tried} uploads");
    // Over the time of the next try.
    thread::sleep(Duration::from_secs(11));
    assert_eq!(uploads(&rig.meddler), tried, "stored again by itself");
    t.wait_until_settled();
    assert_disk(&t, "old", b"old", "the old file");
    // What fits is not in its way.
    store(&t.path("small"), b"small").unwrap();
    assert_disk(&t, "small", b"small", "small");
    // A program asks: it is tried.
    rig.meddler.take_heard();
    let held_before = rig.site.mount.logged(HELD);
    let file = open(&t.path(name));
    file.sync_all().unwrap_err();
    let tried = uploads(&rig.meddler);
    assert!(tried > 0, "a program asks");
    drop(file);
    wait_until_held(rig, name, held_before);
    rig.meddler.take_heard();
    assert!(!rig.site.mount.unmount(), "something is unsent");
    assert_eq!(uploads(&rig.meddler), 0, "stored again at the end");
    t.wait_until_settled();
    assert_disk(&t, "old", b"old", "the old file");
    let kept = rig.site.mount.kept();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].len(), 2 * SMALL + 3);
    assert!(kept[0].ends_with(b"end"));
}
