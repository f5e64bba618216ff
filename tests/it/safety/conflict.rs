//! A file that another client changed while we had it: theirs stays whole, ours is kept, and attributes are theirs.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, PermissionsExt},
    time::Duration,
};

use super::{SIZES, assert_disk, change, changed, close, look, lost::append, open, swap_on_disk};
use crate::common::{Kind, Rig, Site, errno, for_each_rig, for_each_site, pattern, wait_for};

for_each_site!(crate::safety::OLD;
    a_file_that_was_replaced_while_it_was_open_stays,
    a_truncated_file_replaces_what_came_meanwhile,
    an_append_goes_behind_the_present_end,
    an_append_through_an_open_file_goes_behind_the_present_end,
);

for_each_rig!(crate::safety::OLD; a_change_leaves_the_mode_to_others);

// SEMANTICS: S-conflict
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
    rig.meddler.take_heard();
    t.sh("echo x >> appended; printf more >> end");
    change(&t.path("large"), 2_000_000, b"PATCH").unwrap();
    assert_disk(&t, "appended", b"old\nx\n", "append");
    let new = changed(&pattern(1, 3_000_000), 2_000_000, b"PATCH");
    assert_disk(&t, "large", &new, "patch");
    for name in names {
        assert_eq!(mode_of(name), 0o600, "{name}");
    }
    // Pure-FTPd gets a whole new file, with the mode that the old one has now.
    let modes = usize::from(t.kind() == Kind::PureFtpd);
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
