//! Listings that are cut, not understood or without sizes: unknown is neither absent nor zero.

use std::{
    fs::{self, OpenOptions},
    io,
    path::PathBuf,
};

use super::{OLD, assert_disk, change, changed, is_listing, lost::append};
use crate::common::{End, Mount, Rig, Target, errno, for_each_rig, names_in, pattern};
use crate::common::{
    can_mount,
    simulated::{Dialect, Simulated},
};

/// With two sessions nothing is listed before it is asked for.
const UNGUESSED: &[&str] = &[
    "dir-ttl=600",
    "timeout=5",
    "drain-timeout=1",
    "connections=2",
];

for_each_rig!(crate::safety::listing::UNGUESSED;
    a_listing_that_was_cut_once_is_asked_for_again,
    a_listing_that_is_always_cut_is_an_error,
    a_line_that_is_not_understood_is_no_free_name,
    a_directory_with_a_line_that_is_not_understood_is_not_removed,
    a_size_that_cannot_be_read_is_not_zero,
);

/// How many files are in the directory whose listing is cut.
const FILES: usize = 40;

fn cut_in_a_line(mut listing: Vec<u8>) -> Vec<u8> {
    let mut at = listing.len() / 2;
    if listing[..at].ends_with(b"\n") || listing[..at].ends_with(b"\r") {
        at -= 3;
    }
    listing.truncate(at);
    listing
}

fn cut_between_lines(mut listing: Vec<u8>) -> Vec<u8> {
    let half = listing.len() / 2;
    let end = listing[..half].iter().rposition(|&byte| byte == b'\n');
    listing.truncate(end.map_or(0, |end| end + 1));
    listing
}

fn nothing(_: Vec<u8>) -> Vec<u8> {
    Vec::new()
}

/// What is left of a listing.
type Cut = fn(Vec<u8>) -> Vec<u8>;

/// How a listing may be cut so that it can be noticed.
const CUTS: [(&str, End, Cut); 4] = [
    ("closed in a line", End::Close, cut_in_a_line),
    ("reset in a line", End::Reset, cut_in_a_line),
    ("reset between lines", End::Reset, cut_between_lines),
    ("reset at once", End::Reset, nothing),
];

fn fill(t: &Target, dir: &str) {
    t.make_dir_on_disk(dir);
    for number in 0..FILES {
        t.put_on_disk(format!("{dir}/file-{number:03}"), b"theirs");
    }
}

fn a_listing_that_was_cut_once_is_asked_for_again(rig: &mut Rig) {
    let t = rig.target();
    fill(&t, "before");
    for number in 0..CUTS.len() {
        fill(&t, &format!("d{number}"));
    }
    // What LIST can do is found out first.
    assert_eq!(names_in(&t.path("before")).len(), FILES);
    for (number, (what, end, edit)) in CUTS.into_iter().enumerate() {
        let dir = format!("d{number}");
        fs::metadata(t.path("before/file-000")).unwrap();
        let cut = rig
            .meddler
            .on("")
            .when(is_listing)
            .times(1)
            .download(end, edit);
        assert_eq!(names_in(&t.path(&dir)).len(), FILES, "{what}");
        assert_eq!(cut.get(), 1, "{what}: nothing was cut");
    }
}

fn a_listing_that_is_always_cut_is_an_error(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    fill(&t, "before");
    t.put_on_disk("source", b"ours");
    for number in 0..CUTS.len() {
        fill(&t, &format!("d{number}"));
    }
    assert_eq!(names_in(&t.path("before")).len(), FILES);
    for (number, (what, end, edit)) in CUTS.into_iter().enumerate() {
        let dir = format!("d{number}");
        rig.meddler.on("").when(is_listing).download(end, edit);
        let listed: io::Result<Vec<_>> = fs::read_dir(t.path(&dir)).and_then(Iterator::collect);
        assert_eq!(errno(listed), libc::EIO, "{what}");
        // No name counts as free now, whichever it is.
        for number in [0, FILES - 1] {
            let name = format!("{dir}/file-{number:03}");
            let mut options = OpenOptions::new();
            let created = options.write(true).create_new(true).open(t.path(&name));
            assert!(created.is_err(), "{what}: O_EXCL");
            t.try_sh(&format!("cp -n source {name}; mv -n source {name}"));
            assert_disk(&t, &name, b"theirs", what);
            let told = append(&t.path(&name), b"ours");
            let found = t.on_disk(&name);
            let is_right = found == b"theirsours" || told.is_err() && found == b"theirs";
            assert!(is_right, "{what}: append {told:?}");
        }
        assert_eq!(t.on_disk("source"), b"ours");
        rig.meddler.behave();
        assert_eq!(names_in(&t.path(&dir)).len(), FILES, "afterwards");
    }
}

/// Makes the lines of one name into something that nobody understands and that still holds the name.
fn garble(listing: &[u8], name: &str) -> Vec<u8> {
    let end = format!(" {name}");
    let text = String::from_utf8_lossy(listing);
    let lines = text.lines().map(|line| match line.strip_suffix(&end) {
        Some(_) => format!("?{{}}? 12 of 34{end}\r\n"),
        None => format!("{line}\r\n"),
    });
    lines.collect::<String>().into_bytes()
}

fn a_line_that_is_not_understood_is_no_free_name(rig: &mut Rig) {
    let t = rig.target();
    for number in 0..NO_FREE_NAME.len() {
        let dir = format!("d{number}");
        t.make_dir_on_disk(&dir);
        t.put_on_disk(format!("{dir}/f"), b"theirs");
        t.put_on_disk(format!("{dir}/source"), b"ours");
    }
    for (number, work) in NO_FREE_NAME.into_iter().enumerate() {
        let dir = format!("d{number}");
        let rule = rig.meddler.on("").when(is_listing);
        rule.download(End::Close, |listing| garble(&listing, "f"));
        let expected = work(&t.path(&dir), &t);
        assert_disk(&t, &format!("{dir}/f"), expected, &dir);
        assert_disk(&t, &format!("{dir}/source"), b"ours", &dir);
    }
}

/// Each with what is in the file afterwards.
const NO_FREE_NAME: [fn(&PathBuf, &Target) -> &'static [u8]; 5] = [
    |dir, _| {
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).open(dir.join("f"));
        assert_eq!(errno(opened), libc::EEXIST);
        b"theirs"
    },
    |dir, t| {
        t.try_sh(&format!("mv -n {0}/source {0}/f", dir.display()));
        b"theirs"
    },
    |dir, t| {
        t.try_sh(&format!("cp -n {0}/source {0}/f", dir.display()));
        b"theirs"
    },
    |dir, _| match append(&dir.join("f"), b" and ours") {
        Ok(()) => b"theirs and ours",
        Err(_) => b"theirs",
    },
    |dir, _| match super::open_or_create(&dir.join("f")) {
        Ok(file) => {
            std::os::unix::fs::FileExt::write_all_at(&file, b"T", 0).unwrap();
            super::close(file).unwrap();
            b"Theirs"
        }
        Err(_) => b"theirs",
    },
];

fn a_directory_with_a_line_that_is_not_understood_is_not_removed(rig: &mut Rig) {
    let t = rig.target();
    t.make_dir_on_disk("d");
    t.put_on_disk("d/f", b"theirs");
    // A listing of which nothing is understood is an error.
    t.make_dir_on_disk("d/understood");
    let rule = rig.meddler.on("").when(is_listing);
    rule.download(End::Close, |listing| garble(&listing, "f"));
    names_in(&t.path("d"));
    assert!(fs::remove_dir(t.path("d")).is_err());
    assert_eq!(rig.meddler.heard("RMD"), 0);
    assert_disk(&t, "d/f", b"theirs", "rmdir");
}

/// The same where RMD removes whatever is in a directory, and only ls lines are known.
#[test]
fn a_tree_that_is_not_understood_is_not_removed() {
    if !can_mount() {
        return;
    }
    let server = Simulated::start(Dialect::parse(
        "knows = [\"USER\", \"PASS\", \"TYPE\", \"CWD\", \"EPSV\", \"LIST\", \"RETR\", \"STOR\", \"APPE\", \"REST\", \"SIZE\", \"MDTM\", \
         \"DELE\", \"MKD\", \"RMD\", \"RNFR\", \"RNTO\"]\n\
         [listing]\nfile = \"?{mode}? {size} of {name}\"\n[files]\nremove_dir = \"tree\"\n",
    ));
    server.tree().make_dir("/d");
    server.tree().make_dir("/d/understood");
    server.tree().put("/d/f", b"theirs");
    server.tree().put("/source", b"ours");
    let mount = Mount::of_url(&server.url(), OLD);
    let path = |name: &str| mount.path().join(name);
    let theirs = || server.tree().get("/d/f").unwrap().content.clone();
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).open(path("d/f"));
    assert_eq!(errno(opened), libc::EEXIST);
    let _ = fs::rename(path("source"), path("d/f2"));
    assert!(fs::remove_dir(path("d")).is_err());
    let heard = server.take_heard();
    assert!(
        !heard.iter().any(|line| line.starts_with("RMD")),
        "{heard:?}"
    );
    assert_eq!(theirs().as_deref(), Some(&b"theirs"[..]));
    assert!(append(&path("d/f"), b" and ours").is_ok());
    assert_eq!(theirs().as_deref(), Some(&b"theirs and ours"[..]));
}

/// Makes sizes into what servers with 32 bits say, or takes them away.
fn spoil_sizes(listing: &[u8], size: usize) -> Vec<u8> {
    let text = String::from_utf8_lossy(listing);
    let spoiled = text
        .replace(&format!("size={size};"), "")
        .replace(&format!("Size={size};"), "")
        .replace(&format!(" {size} "), " -1294967296 ");
    spoiled.into_bytes()
}

fn a_size_that_cannot_be_read_is_not_zero(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    let sizes = [100_003, 3_000_017];
    let dir_of = |size, is_asked| format!("d{size}{is_asked}");
    for size in sizes {
        for is_asked in [true, false] {
            t.make_dir_on_disk(dir_of(size, is_asked));
            let name = dir_of(size, is_asked) + "/f";
            t.put_on_disk(name, &pattern(1, size));
        }
    }
    for size in sizes {
        for is_asked in [true, false] {
            let name = dir_of(size, is_asked) + "/f";
            let old = pattern(1, size);
            let rule = rig.meddler.on("").when(is_listing);
            rule.download(End::Close, move |listing| spoil_sizes(&listing, size));
            if !is_asked {
                rig.meddler.on("SIZE").answer("550 Not now.");
            }
            rig.meddler.take_heard();
            let told = append(&t.path(&name), b"line\n");
            let new = [&old[..], b"line\n"].concat();
            super::assert_agrees(&t, &name, &told, &old, &new, "append");
            assert!(told.is_ok() || !is_asked, "{told:?}");
            let old = t.on_disk(&name);
            let told = change(&t.path(&name), size / 2, b"PATCH");
            let new = changed(&old, size / 2, b"PATCH");
            super::assert_agrees(&t, &name, &told, &old, &new, "patch");
            let heard = rig.meddler.take_heard();
            let in_place = super::stored_in_place(&heard, &name);
            let is_patched = heard.iter().any(|line| line.starts_with("REST "));
            assert!(in_place == 0 || is_patched, "{heard:?}");
            rig.meddler.behave();
        }
    }
}
