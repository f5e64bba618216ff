//! What a mount leaves under hidden names when it is killed, or when the server goes away half-way: it goes, or gets its name back.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::common::{End, Rig, Target, for_each_rig, names_in, pattern, wait_for};

for_each_rig!(crate::safety::OLD;
    a_killed_mount_leaves_no_temporary_file_and_touches_no_other,
    a_rename_over_an_open_file_that_breaks_off_loses_no_name,
    an_unlink_of_an_open_file_that_breaks_off_loses_no_name,
);

/// How soon after the server's return everything has its name: 5 s, and some more for machines that are busy.
const CLEAN_WITHIN: Duration = Duration::from_secs(10);

/// Files of others with names like ours.
const OTHERS: [&str; 3] = [
    ".ftpfs-0123abcd-0123456789abcdef0123456789abcdef.tmp",
    "ftpfs-0123abcd-7.tmp",
    ".ftpfs-probe-0123456789abcdef0123456789abcdef",
];

/// How often the names of a broken change are lost: as the command leaves, and as its reply comes.
const BREAKS: [(&str, bool); 3] = [("RNFR ", false), ("RNTO ", false), ("RNTO ", true)];

fn ours(t: &Target) -> Vec<String> {
    let names = names_in(&t.disk(""));
    let names = names
        .into_iter()
        .map(|name| String::from_utf8(name).unwrap());
    names
        .filter(|name| name.contains("ftpfs-") && !OTHERS.contains(&name.as_str()))
        .collect()
}

/// Lets the control connection end at the nth command of this kind, and the server be gone until the proxy behaves again.
fn break_at(rig: &Rig, (verb, is_after): (&str, bool), nth: usize, end: End) {
    let is_gone = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&is_gone);
    rig.meddler
        .on("")
        .when(move |_| gone.load(Ordering::SeqCst))
        .cut(End::Close);
    let rule = rig.meddler.on(verb).skip(nth).times(1);
    if is_after {
        rule.after(move || is_gone.store(true, Ordering::SeqCst))
            .cut_reply(end);
    } else {
        rule.before(move || is_gone.store(true, Ordering::SeqCst))
            .cut(end);
    }
}

/// Brings the server back, to this mount or to the next one after this was killed.
fn come_back(rig: &mut Rig, is_killed: bool) {
    if is_killed {
        rig.site.mount.kill();
    }
    rig.meddler.behave();
    if is_killed {
        rig.mount_again();
    }
}

fn first_byte(path: &Path) -> File {
    let mut file = File::open(path).unwrap();
    file.read_exact(&mut [0]).unwrap();
    file
}

// SEMANTICS: S-names-temporary
fn a_killed_mount_leaves_no_temporary_file_and_touches_no_other(rig: &mut Rig) {
    let t = rig.target();
    for name in OTHERS {
        t.put_on_disk(name, b"theirs");
    }
    t.put_on_disk("large", &pattern(1, 2_000_000));
    let mut file = File::create(t.path("large")).unwrap();
    file.write_all(&pattern(2, 4 << 20)).unwrap();
    wait_for("the upload to run", CLEAN_WITHIN, || !ours(&t).is_empty());
    rig.site.mount.kill();
    drop(file);
    assert_eq!(ours(&t).len(), 1);
    rig.mount_again();
    wait_for("its temporary file to go", Duration::from_secs(5), || {
        ours(&t).is_empty()
    });
    for name in OTHERS {
        assert_eq!(t.on_disk(name), b"theirs", "{name}");
    }
    assert!(t.on_disk("large") == pattern(1, 2_000_000));
}

// SEMANTICS: S-names-temporary
fn a_rename_over_an_open_file_that_breaks_off_loses_no_name(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    let (old, new) = (pattern(1, 900_000), pattern(2, 70_000));
    let mut number = 0;
    for kind in BREAKS {
        for (nth, end) in [(0, End::Close), (1, End::Reset)] {
            for is_killed in [false, true] {
                let what = format!("{kind:?} {nth}, killed: {is_killed}");
                number += 1;
                let (from, to) = (format!("new{number}"), format!("old{number}"));
                t.put_on_disk(&to, &old);
                t.put_on_disk(&from, &new);
                rig.mount_again();
                let open = first_byte(&t.path(&to));
                break_at(rig, kind, nth, end);
                let told = fs::rename(t.path(&from), t.path(&to));
                come_back(rig, is_killed);
                let before = || {
                    fs::read(t.disk(&to)).is_ok_and(|bytes| bytes == old)
                        && fs::read(t.disk(&from)).is_ok_and(|bytes| bytes == new)
                };
                let after = || {
                    fs::read(t.disk(&to)).is_ok_and(|bytes| bytes == new) && !t.disk(&from).exists()
                };
                wait_for(&what, CLEAN_WITHIN, || before() || after());
                assert!(told.is_err() || after(), "{what}");
                drop(open);
                wait_for(&what, CLEAN_WITHIN, || ours(&t).is_empty());
                assert!(before() || after(), "{what}");
                let shown = fs::read(t.path(&to)).unwrap();
                assert!(shown == t.on_disk(&to), "{what}");
            }
        }
    }
}

// SEMANTICS: S-names-temporary
fn an_unlink_of_an_open_file_that_breaks_off_loses_no_name(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    let old = pattern(1, 900_000);
    for (number, kind) in BREAKS.into_iter().enumerate() {
        for is_killed in [false, true] {
            let what = format!("{kind:?}, killed: {is_killed}");
            let name = format!("file{number}-{is_killed}");
            t.put_on_disk(&name, &old);
            rig.mount_again();
            let open = first_byte(&t.path(&name));
            break_at(rig, kind, 0, End::Close);
            let told = fs::remove_file(t.path(&name));
            come_back(rig, is_killed);
            if told.is_err() {
                let is_back = || fs::read(t.disk(&name)).is_ok_and(|bytes| bytes == old);
                wait_for(&what, CLEAN_WITHIN, is_back);
            }
            drop(open);
            wait_for(&what, CLEAN_WITHIN, || ours(&t).is_empty());
            assert_eq!(told.is_err(), t.disk(&name).exists(), "{what}");
        }
    }
}
