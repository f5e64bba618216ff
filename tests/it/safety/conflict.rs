//! A file that another client changed while we had it: theirs stays whole, ours is kept, and attributes are theirs.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, PermissionsExt},
    time::Duration,
};

use super::{
    SIZES, assert_disk, change, changed, close, grow_old, look, lost::append, open, open_or_create,
    swap_on_disk,
};
use crate::common::{
    Kind, Rig, Site, Target, errno, for_each_rig, for_each_site, names_in, pattern, wait_for,
};

for_each_site!(crate::safety::OLD;
    a_file_that_was_replaced_while_it_was_open_stays,
    a_truncated_file_replaces_what_came_meanwhile,
    an_append_goes_behind_the_present_end,
    an_append_through_an_open_file_goes_behind_the_present_end,
);

for_each_site!(&["dir-ttl=600", "drain-timeout=1", "conflict=keep-both"];
    what_meets_others_is_stored_beside_theirs,
    an_open_file_writes_nothing_into_theirs,
);

for_each_site!(&["dir-ttl=600", "drain-timeout=1", "conflict=fail"]; what_meets_others_is_kept_here);

for_each_site!(&["dir-ttl=600", "drain-timeout=1", "conflict=ours"]; what_meets_others_replaces_theirs);

for_each_rig!(crate::safety::OLD; a_change_leaves_the_mode_to_others);

/// A file that was written as a whole, and changed by others before it was closed: its name, what was written, what others have
/// written, and what close said.
type Met = (String, Vec<u8>, Vec<u8>, io::Result<()>);

/// Such files, new ones and ones that exist.
fn meet(t: &Target) -> Vec<Met> {
    look(t, "");
    let cases = SIZES
        .into_iter()
        .flat_map(|size| [(size, true), (size, false)]);
    let mut met = Vec::new();
    for (number, (size, is_new)) in cases.enumerate() {
        let name = format!("f{number}.txt");
        if !is_new {
            t.put_on_disk(&name, &pattern(1, size / 2));
            // Seen before it is opened.
            t.sh(&format!("cat {name} > /dev/null"));
        }
        let file = open_or_create(&t.path(&name)).unwrap();
        let ours = pattern(200 + number as u64, size);
        file.write_all_at(&ours, 0).unwrap();
        let theirs = pattern(100 + number as u64, 70_000);
        if is_new {
            grow_old();
        }
        swap_on_disk(t, &name, &theirs);
        met.push((name, ours, theirs, close(file)));
    }
    met
}

/// The copies of a file on the server's disk.
fn copies(t: &Target, name: &str) -> Vec<Vec<u8>> {
    let stem = name.trim_end_matches(".txt");
    let start = format!("{stem}.ftpfs-conflict-").into_bytes();
    let names = names_in(&t.disk("")).into_iter();
    let copies = names.filter(|name| name.starts_with(&start) && name.ends_with(b".txt"));
    copies
        .map(|name| t.on_disk(String::from_utf8(name).unwrap()))
        .collect()
}

// SEMANTICS: S-conflict
fn what_meets_others_is_stored_beside_theirs(site: &mut Site) {
    let t = site.target();
    for (name, ours, theirs, told) in meet(&t) {
        let what = format!("{name}: {told:?}");
        assert_eq!(errno(told), libc::ESTALE, "{what}");
        assert_disk(&t, &name, &theirs, &what);
        assert!(copies(&t, &name) == [ours], "{what}");
        assert!(fs::read(t.path(&name)).unwrap() == theirs, "{what}: shown");
    }
    assert_eq!(site.mount.logged("is stored as /"), SIZES.len() * 2);
    // Nothing is unsent any more.
    assert!(site.mount.unmount());
    assert!(site.mount.kept().is_empty());
}

// SEMANTICS: S-conflict
fn an_open_file_writes_nothing_into_theirs(site: &mut Site) {
    let t = site.target();
    t.put_on_disk("f", &pattern(1, 3_000_000));
    let file = open(&t.path("f"));
    file.write_all_at(&pattern(2, 3_000_000), 0).unwrap();
    swap_on_disk(&t, "f", &pattern(3, 2_000_000));
    assert_eq!(errno(file.sync_all()), libc::ESTALE);
    let mut shown = vec![0; 2_000_000];
    file.read_exact_at(&mut shown, 0).unwrap();
    assert!(shown == pattern(3, 2_000_000), "theirs is shown");
    assert_eq!(file.metadata().unwrap().len(), 2_000_000);
    // A database puts back what it has changed.
    assert_eq!(
        errno(file.write_all_at(b"OLD PAGE", 1_500_000)),
        libc::ESTALE
    );
    assert_eq!(errno(file.sync_all()), libc::ESTALE);
    assert_eq!(errno(close(file)), libc::ESTALE);
    assert_disk(&t, "f", &pattern(3, 2_000_000), "theirs");
    let again = open(&t.path("f"));
    again.write_all_at(b"PAGE", 1_500_000).unwrap();
    close(again).unwrap();
    let new = changed(&pattern(3, 2_000_000), 1_500_000, b"PAGE");
    assert_disk(&t, "f", &new, "opened anew");
}

// SEMANTICS: S-conflict
fn what_meets_others_is_kept_here(site: &mut Site) {
    let t = site.target();
    let met = meet(&t);
    let all_kept = || {
        met.iter()
            .all(|(_, ours, ..)| site.mount.kept().contains(ours))
    };
    wait_for("our bytes", Duration::from_secs(5), all_kept);
    for (name, _, theirs, told) in met {
        let what = format!("{name}: {told:?}");
        assert_eq!(errno(told), libc::ESTALE, "{what}");
        assert_disk(&t, &name, &theirs, &what);
        assert!(copies(&t, &name).is_empty(), "{what}");
    }
}

// SEMANTICS: S-conflict
fn what_meets_others_replaces_theirs(site: &mut Site) {
    let t = site.target();
    for (name, ours, _, told) in meet(&t) {
        let what = format!("{name}: {told:?}");
        assert!(told.is_ok(), "{what}");
        assert_disk(&t, &name, &ours, &what);
        assert!(copies(&t, &name).is_empty(), "{what}");
    }
    site.assert_same();
}

// SEMANTICS: S-conflict-part
fn a_file_that_was_replaced_while_it_was_open_stays(site: &mut Site) {
    site.mount.may_end_badly();
    let t = site.target();
    let mut cases = Vec::new();
    for size in SIZES {
        for other in [size, size / 2, size + 70_000] {
            cases.extend([(size, other, false), (size, other, true)]);
        }
    }
    for (number, (size, ..)) in cases.iter().enumerate() {
        t.put_on_disk(format!("f{number}"), &pattern(1, *size));
    }
    for (number, (size, other, is_written_before)) in cases.into_iter().enumerate() {
        let name = format!("f{number}");
        let what = format!(
            "{name}: {size} bytes replaced by {other}, written before: {is_written_before}"
        );
        t.put_on_disk(&name, &pattern(1, size));
        let file = open(&t.path(&name));
        let ours = format!("OURS {number}").into_bytes();
        let at = size / 3;
        if is_written_before {
            file.write_all_at(&ours, at as u64).unwrap();
        }
        let theirs = pattern(100 + number as u64, other);
        swap_on_disk(&t, &name, &theirs);
        if !is_written_before {
            file.write_all_at(&ours, at as u64).unwrap();
        }
        let told = close(file);
        assert_disk(&t, &name, &theirs, &what);
        assert_eq!(errno(told), libc::ESTALE, "{what}");
        wait_for(
            &format!("our bytes of {what}"),
            Duration::from_secs(5),
            || {
                let kept = site.mount.kept();
                kept.iter()
                    .any(|kept| kept.get(at..at + ours.len()) == Some(&ours[..]))
            },
        );
        // Nothing comes later.
        assert_disk(&t, &name, &theirs, &what);
    }
}

fn a_truncated_file_replaces_what_came_meanwhile(site: &mut Site) {
    let t = site.target();
    for number in 0..SIZES.len() {
        t.put_on_disk(format!("f{number}"), &pattern(1, 2_000));
    }
    for (number, size) in SIZES.into_iter().enumerate() {
        let name = format!("f{number}");
        let mut file = File::create(t.path(&name)).unwrap();
        let ours = pattern(2, size);
        file.write_all(&ours[..size / 2]).unwrap();
        swap_on_disk(&t, &name, &pattern(3, 1_000_000));
        file.write_all(&ours[size / 2..]).unwrap();
        close(file).unwrap();
        assert_disk(&t, &name, &ours, "truncated");
    }
}

fn a_change_leaves_the_mode_to_others(rig: &mut Rig) {
    let t = rig.target();
    let mode_of = |name: &str| fs::metadata(t.disk(name)).unwrap().permissions().mode() & 0o777;
    t.put_on_disk("appended", b"old\n");
    t.put_on_disk("large", &pattern(1, 3_000_000));
    t.put_on_disk("end", &pattern(1, 3_000_000));
    let names = ["appended", "large", "end"];
    for name in names {
        t.sh(&format!("stat {name}; cat {name} > /dev/null"));
        fs::set_permissions(t.disk(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    // Files are known to be removable, so that the change inside goes up as one.
    t.sh("echo x > removed; rm removed");
    rig.meddler.take_heard();
    t.sh("echo x >> appended; printf more >> end");
    change(&t.path("large"), 2_000_000, b"PATCH").unwrap();
    assert_disk(&t, "appended", b"old\nx\n", "append");
    let new = changed(&pattern(1, 3_000_000), 2_000_000, b"PATCH");
    assert_disk(&t, "large", &new, "patch");
    for name in names {
        assert_eq!(mode_of(name), 0o600, "{name}");
    }
    // Pure-FTPd gets a whole new file, with the mode that the old one has now: before its content, and in the end.
    let modes = if t.kind() == Kind::PureFtpd { 2 } else { 0 };
    assert_eq!(rig.meddler.heard("SITE CHMOD"), modes);
    assert_eq!(rig.meddler.heard("MFF"), 0);
}

fn an_append_goes_behind_the_present_end(site: &mut Site) {
    let t = site.target();
    for (number, size) in SIZES.into_iter().enumerate() {
        for way in ["emptied", "cut", "rotated"] {
            t.put_on_disk(format!("{way}{number}"), &pattern(1, size));
        }
    }
    for (number, size) in SIZES.into_iter().enumerate() {
        for (way, now) in [("emptied", 0), ("cut", size / 2), ("rotated", 10)] {
            let name = format!("{way}{number}");
            t.sh(&format!("tail -c 1 {name} > /dev/null"));
            let theirs = if way == "rotated" {
                swap_on_disk(&t, &name, &pattern(2, now));
                pattern(2, now)
            } else {
                let disk = OpenOptions::new().write(true).open(t.disk(&name)).unwrap();
                disk.set_len(now as u64).unwrap();
                pattern(1, now)
            };
            let told = append(&t.path(&name), b"line\n");
            assert!(told.is_ok(), "{name}: {told:?}");
            assert_disk(&t, &name, &[&theirs[..], b"line\n"].concat(), &name);
            t.sh(&format!("echo more >> {name}"));
            assert_disk(&t, &name, &[&theirs[..], b"line\nmore\n"].concat(), &name);
        }
    }
}

fn an_append_through_an_open_file_goes_behind_the_present_end(site: &mut Site) {
    let t = site.target();
    for size in [1_000, 3_000_000] {
        t.put_on_disk(format!("log{size}"), &pattern(1, size));
    }
    look(&t, "");
    for size in [1_000, 3_000_000] {
        let name = format!("log{size}");
        let mut file = OpenOptions::new().append(true).open(t.path(&name)).unwrap();
        file.write_all(b"one\n").unwrap();
        file.sync_all().unwrap();
        let before = [&pattern(1, size)[..], b"one\n"].concat();
        assert_disk(&t, &name, &before, "before");
        // Copied and truncated, as logrotate does.
        let disk = OpenOptions::new().write(true).open(t.disk(&name)).unwrap();
        disk.set_len(0).unwrap();
        file.write_all(b"two\n").unwrap();
        file.sync_all().unwrap();
        assert_disk(&t, &name, b"two\n", "emptied");
        swap_on_disk(&t, &name, b"new\n");
        file.write_all(b"three\n").unwrap();
        file.sync_all().unwrap();
        assert_disk(&t, &name, b"new\nthree\n", "rotated");
        close(file).unwrap();
        assert_disk(&t, &name, b"new\nthree\n", "closed");
    }
}
