//! Replies that are lost: what was done is found out, and shown as it is.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{assert_shown, close, look, store};
use crate::common::{End, Kind, Meddler, Rig, for_each_rig, pattern};

for_each_rig!(crate::safety::OLD;
    a_rename_whose_reply_is_lost_is_shown_as_it_is,
    an_append_whose_reply_is_lost_is_shown_as_it_is,
    a_removal_whose_reply_is_lost_is_shown_as_it_is,
    a_mode_whose_reply_is_lost_is_shown_as_it_is,
    an_upload_whose_reply_is_lost_is_shown_as_it_is,
);

for_each_rig!(&["dir-ttl=600", "timeout=1", "drain-timeout=1"];
    changes_that_time_out_are_shown_as_they_are,
);

/// Appends to a file and closes it.
pub(super) fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(bytes)?;
    close(file)
}

/// Calls `work` while the reply to a command is lost: once, or with every session that looks what became of it.
fn with_lost_replies(rig: &mut Rig, start: &str, mut work: impl FnMut(&mut Rig, usize)) {
    rig.site.mount.may_end_badly();
    let ways: [fn(&Meddler, &str); 4] = [
        |meddler, start| drop(meddler.on(start).times(1).cut_reply(End::Close)),
        |meddler, start| drop(meddler.on(start).times(1).cut_reply(End::Reset)),
        |meddler, start| drop(meddler.on(start).cut_reply(End::Close)),
        // Nor can it be found out by asking, until the test goes on.
        |meddler, start| {
            let is_lost = Arc::new(AtomicBool::new(false));
            let lost = Arc::clone(&is_lost);
            let rule = meddler.on(start).times(1);
            rule.after(move || lost.store(true, Ordering::SeqCst))
                .cut_reply(End::Close);
            let rule = meddler.on("");
            rule.when(move |_| is_lost.load(Ordering::SeqCst))
                .cut(End::Close);
        },
    ];
    for (number, lose) in ways.into_iter().enumerate() {
        lose(&rig.meddler, start);
        work(rig, number);
        rig.meddler.behave();
    }
}

fn a_rename_whose_reply_is_lost_is_shown_as_it_is(rig: &mut Rig) {
    let t = rig.target();
    for number in 0..4 {
        t.put_on_disk(format!("a{number}"), &pattern(1, 5_000));
        t.put_on_disk(format!("b{number}"), &pattern(2, 1_000));
        t.put_on_disk(format!("c{number}"), &pattern(3, 1_000));
    }
    look(&t, "");
    t.sh("cat a* b* c* > /dev/null");
    with_lost_replies(rig, "RNTO ", |rig, number| {
        let (a, b, c) = (
            format!("a{number}"),
            format!("b{number}"),
            format!("c{number}"),
        );
        let told = fs::rename(t.path(&a), t.path(&b));
        rig.meddler.behave();
        assert_shown(&t, &a, &format!("{number}: {told:?}"));
        assert_shown(&t, &b, &format!("{number}: {told:?}"));
        assert!(told.is_err() || t.on_disk(&b) == pattern(1, 5_000));
        rig.meddler.on("RNTO ").times(1).cut_reply(End::Close);
        let told = store(&t.path(&c), &pattern(4, 5_000));
        rig.meddler.behave();
        if told.is_ok() {
            assert!(t.on_disk(&c) == pattern(4, 5_000), "success");
            assert_shown(&t, &c, &format!("{number}: {told:?}"));
        }
    });
}

fn an_append_whose_reply_is_lost_is_shown_as_it_is(rig: &mut Rig) {
    let t = rig.target();
    let old = pattern(1, 1_000);
    for number in 0..4 {
        t.put_on_disk(format!("f{number}"), &old);
    }
    look(&t, "");
    t.sh("cat f* > /dev/null");
    let new = [&old[..], &pattern(2, 4_000)].concat();
    with_lost_replies(rig, "APPE ", |rig, number| {
        let name = format!("f{number}");
        let told = append(&t.path(&name), &pattern(2, 4_000));
        rig.meddler.behave();
        let found = t.on_disk(&name);
        assert!(
            [&old, &new].contains(&&found),
            "{number}: {} bytes",
            found.len()
        );
        assert!(told.is_err() || found == new, "{number}: success");
        if told.is_ok() {
            assert_shown(&t, &name, &format!("{number}: {told:?}"));
        } else {
            // Ours is unsent and shown; nothing of theirs is left out.
            assert!(fs::read(t.path(&name)).unwrap().starts_with(&old));
        }
    });
}

fn a_removal_whose_reply_is_lost_is_shown_as_it_is(rig: &mut Rig) {
    let t = rig.target();
    for number in 0..4 {
        t.put_on_disk(format!("f{number}"), &pattern(1, 1_000));
    }
    look(&t, "");
    with_lost_replies(rig, "DELE ", |rig, number| {
        let name = format!("f{number}");
        let told = fs::remove_file(t.path(&name));
        rig.meddler.behave();
        assert_shown(&t, &name, &format!("{number}: {told:?}"));
        assert!(told.is_err() || !t.disk(&name).exists());
    });
}

fn a_mode_whose_reply_is_lost_is_shown_as_it_is(rig: &mut Rig) {
    let t = rig.target();
    for number in 0..4 {
        t.put_on_disk(format!("f{number}"), &pattern(1, 1_000));
    }
    look(&t, "");
    // ProFTPD offers a command of its own.
    let is_proftpd = rig.kind() == Kind::Proftpd;
    let verb = if is_proftpd { "MFF " } else { "SITE CHMOD " };
    with_lost_replies(rig, verb, |rig, number| {
        let name = format!("f{number}");
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        let told = fs::set_permissions(t.path(&name), fs::Permissions::from_mode(0o600));
        rig.meddler.behave();
        let (shown, on_disk) = (mode(t.path(&name)), mode(t.disk(&name)));
        assert_eq!(shown, on_disk, "{number}: {told:?}");
        assert!(told.is_err() || on_disk & 0o777 == 0o600);
    });
}

fn an_upload_whose_reply_is_lost_is_shown_as_it_is(rig: &mut Rig) {
    let t = rig.target();
    look(&t, "");
    with_lost_replies(rig, "STOR ", |rig, number| {
        for size in [10, 100_000] {
            let name = format!("f{number}-{size}");
            let told = store(&t.path(&name), &pattern(1, size));
            rig.meddler.behave();
            if told.is_ok() {
                assert!(t.on_disk(&name) == pattern(1, size), "{name}");
                assert_shown(&t, &name, &format!("{number}: {told:?}"));
            }
        }
    });
}

fn changes_that_time_out_are_shown_as_they_are(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    for name in ["a", "b", "gone"] {
        t.put_on_disk(name, &pattern(1, if name == "a" { 5_000 } else { 1_000 }));
    }
    look(&t, "");
    t.sh("cat a b > /dev/null");
    rig.meddler.on("RNTO ").times(1).swallow();
    let told = fs::rename(t.path("a"), t.path("b"));
    rig.meddler.behave();
    for name in ["a", "b"] {
        assert_shown(&t, name, &format!("{told:?}"));
    }
    rig.meddler
        .on("DELE ")
        .times(1)
        .delay(Duration::from_millis(1_500));
    let told = fs::remove_file(t.path("gone"));
    rig.meddler.behave();
    assert_shown(&t, "gone", &format!("{told:?}"));
}
