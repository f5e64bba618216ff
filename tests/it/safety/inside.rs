//! Changes inside a file: at its start, where offsets are refused, and where bytes get lost on the way.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt},
    time::Duration,
};

use super::{
    OLD, SIZES, assert_agrees, assert_disk, change, changed, close, look, lost::append, open, store,
};
use crate::common::{
    End, Kind, Rig, Server, Site, Target, can_mount, for_each_kind, for_each_rig, for_each_site,
    give_to_server, pattern,
};

for_each_site!(crate::safety::OLD;
    a_change_at_the_start_keeps_the_rest,
    changes_at_the_start_and_elsewhere_are_all_there,
    a_database_above_a_mebibyte_stays_whole,
    an_append_beyond_two_gibibytes_keeps_the_rest,
);

for_each_rig!(crate::safety::OLD;
    a_file_that_grew_before_it_was_opened_keeps_its_tail,
    opening_for_writing_asks_for_size_and_time,
    a_change_that_is_cut_on_the_way_is_no_success,
    an_upload_that_is_cut_on_the_way_is_no_success,
    an_unreadable_size_is_no_proof,
);

fn a_change_at_the_start_keeps_the_rest(site: &mut Site) {
    let t = site.target();
    for (number, size) in SIZES.into_iter().enumerate() {
        t.put_on_disk(format!("f{number}"), &pattern(number as u64, size));
    }
    for (number, size) in SIZES.into_iter().enumerate() {
        let name = format!("f{number}");
        let new = changed(&pattern(number as u64, size), 0, b"HEAD");
        t.sh(&format!(
            "printf HEAD | dd of={name} bs=4 conv=notrunc status=none"
        ));
        assert_disk(&t, &name, &new, "dd");
        t.sh(&format!(
            "python3 -c \"f = open('{name}', 'r+b'); f.write(b'P'); f.close()\""
        ));
        assert_disk(&t, &name, &changed(&new, 0, b"P"), "python");
    }
}

fn changes_at_the_start_and_elsewhere_are_all_there(site: &mut Site) {
    let t = site.target();
    for (number, size) in SIZES.into_iter().enumerate() {
        t.put_on_disk(format!("f{number}"), &pattern(number as u64, size));
    }
    for (number, size) in SIZES.into_iter().enumerate() {
        let name = format!("f{number}");
        let file = open(&t.path(&name));
        let mut new = pattern(number as u64, size);
        for at in [0, size / 2, size - 4, size + 10] {
            file.write_all_at(b"HERE", at as u64).unwrap();
            new = changed(&new, at, b"HERE");
        }
        close(file).unwrap();
        assert_disk(&t, &name, &new, "four ranges");
        // One after the other, with a look at the file in between.
        let file = open(&t.path(&name));
        for at in [size / 3, 0] {
            file.write_all_at(b"AGAIN", at as u64).unwrap();
            file.sync_all().unwrap();
            new = changed(&new, at, b"AGAIN");
            assert_disk(&t, &name, &new, "fsync");
        }
        close(file).unwrap();
        assert_disk(&t, &name, &new, "close");
    }
}

fn a_database_above_a_mebibyte_stays_whole(site: &mut Site) {
    let t = site.target();
    let fill = "create table t(id integer primary key, v blob);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 700)
        insert into t select i, randomblob(4000) from n;";
    t.sh(&format!(
        "sqlite3 $SCRATCH/db \"{fill}\"; cp $SCRATCH/db db"
    ));
    for number in 0..3 {
        t.sh(&format!(
            "sqlite3 db 'insert into t values(1000 + {number}, randomblob(10)); update t set v = randomblob(4000) where id = {number} * 300 + 1'"
        ));
        fs::copy(t.disk("db"), t.scratch("copy")).unwrap();
        let told =
            t.sh("cd $SCRATCH; sqlite3 copy 'pragma integrity_check; select count(*) from t'");
        assert_eq!(told, format!("ok\n{}\n", 701 + number));
    }
}

fn an_append_beyond_two_gibibytes_keeps_the_rest(site: &mut Site) {
    const SIZE: u64 = (2 << 30) + 5;
    let t = site.target();
    let file = File::create(t.disk("f")).unwrap();
    file.write_all_at(b"start", 0).unwrap();
    file.write_all_at(b"end", SIZE - 3).unwrap();
    give_to_server(&t.disk("f"));
    t.sh("printf more >> f");
    let mut seen = [0; 7];
    file_at(&t.disk("f"), SIZE - 3, &mut seen);
    assert_eq!(&seen, b"endmore");
    let mut seen = [0; 5];
    file_at(&t.disk("f"), 0, &mut seen);
    assert_eq!(&seen, b"start");
    assert_eq!(fs::metadata(t.disk("f")).unwrap().len(), SIZE + 4);
}

fn file_at(path: &std::path::Path, at: u64, bytes: &mut [u8]) {
    File::open(path).unwrap().read_exact_at(bytes, at).unwrap();
}

/// On the servers that change a file in place: elsewhere it would go there and back as a whole.
fn a_change_beyond_two_gibibytes_keeps_the_rest(kind: Kind) {
    const AT: u64 = (2 << 30) + (5 << 20);
    let Some(site) = Site::start(kind, OLD) else {
        return;
    };
    let t = site.target();
    let file = File::create(t.disk("f")).unwrap();
    file.write_all_at(b"start", 0).unwrap();
    file.write_all_at(b"around the change", AT).unwrap();
    file.set_len(AT + (1 << 20)).unwrap();
    give_to_server(&t.disk("f"));
    may_be_tried(&t);
    let mut file = OpenOptions::new().write(true).open(t.path("f")).unwrap();
    file.seek(SeekFrom::Start(AT + 7)).unwrap();
    file.write_all(b"THE").unwrap();
    close(file).unwrap();
    let mut seen = [0; 17];
    file_at(&t.disk("f"), AT, &mut seen);
    assert_eq!(&seen, b"around THE change");
    file_at(&t.disk("f"), 0, &mut seen[..5]);
    assert_eq!(&seen[..5], b"start");
    let known = fs::metadata(t.disk("f")).unwrap();
    assert_eq!(known.size(), AT + (1 << 20));
    assert!(known.blocks() < 1 << 14, "the file was filled");
}

/// Shows the mount that files can be removed, so that it makes a scratch file for a change inside.
fn may_be_tried(t: &Target) {
    t.sh("echo x > removed; rm removed");
}

#[test]
fn a_change_beyond_two_gibibytes_keeps_the_rest_vsftpd() {
    a_change_beyond_two_gibibytes_keeps_the_rest(Kind::Vsftpd);
}

#[test]
fn a_change_beyond_two_gibibytes_keeps_the_rest_proftpd() {
    a_change_beyond_two_gibibytes_keeps_the_rest(Kind::Proftpd);
}

/// Where the change is whose offset the server refuses.
const REFUSED_AT: usize = 1_500_000;

/// Each refusal needs a mount and a server that have learnt nothing.
fn a_refused_offset_is_no_offset_at_all(kind: Kind) {
    let refusals = [
        "501 What?",
        "502 Not here.",
        "550 No.",
        "451 Not now.",
        "200 Fine.",
        // Of a server that knows less of an offset than we do.
        "350 Restarting at 0. Send STORE or RETRIEVE to initiate transfer.",
    ];
    for (number, reply) in refusals.into_iter().enumerate() {
        if !can_mount() {
            return;
        }
        let Some(server) = Server::start(kind) else {
            return;
        };
        let mut rig = Rig::of(server, OLD);
        rig.site.mount.may_end_badly();
        let t = rig.target();
        let old = pattern(number as u64, 3_000_000);
        t.put_on_disk("f", &old);
        may_be_tried(&t);
        let refused = rig.meddler.on(&format!("REST {REFUSED_AT}")).answer(reply);
        let told = change(&t.path("f"), REFUSED_AT, b"CHANGE");
        let new = changed(&old, REFUSED_AT, b"CHANGE");
        assert_agrees(&t, "f", &told, &old, &new, reply);
        if kind != Kind::PureFtpd {
            assert!(refused.get() > 0, "no offset was ever sent");
        }
        // And not a second time either.
        let _ = change(&t.path("f"), REFUSED_AT, b"SECOND");
        let (found, second) = (t.on_disk("f"), changed(&old, REFUSED_AT, b"SECOND"));
        assert!([&old, &new, &second].contains(&&found), "{reply}: again");
    }
}

/// The second of two ranges is refused: the first may be there.
fn a_second_offset_that_is_refused_keeps_the_rest(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    let old = pattern(9, 3_000_000);
    t.put_on_disk("f", &old);
    may_be_tried(&t);
    rig.meddler
        .on(&format!("REST {REFUSED_AT}"))
        .answer("501 What?");
    let file = open(&t.path("f"));
    file.write_all_at(b"FIRST", 1_000).unwrap();
    file.write_all_at(b"CHANGE", REFUSED_AT as u64).unwrap();
    let told = close(file);
    let first = changed(&old, 1_000, b"FIRST");
    let both = changed(&first, REFUSED_AT, b"CHANGE");
    let found = t.on_disk("f");
    match told {
        Ok(()) => assert!(found == both, "success"),
        Err(error) => assert!([old, first, both].contains(&found), "{error}"),
    }
}

/// The server has taken it all the same, for whatever transfer comes next on that session.
fn an_offset_that_is_taken_and_refused_moves_nothing(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    let old = pattern(9, 3_000_000);
    t.put_on_disk("f", &old);
    rig.meddler
        .on(&format!("REST {REFUSED_AT}"))
        .times(1)
        .replace("500 OOPS: child died");
    let told = change(&t.path("f"), REFUSED_AT, b"CHANGE");
    let new = changed(&old, REFUSED_AT, b"CHANGE");
    assert_agrees(&t, "f", &told, &old, &new, "taken and refused");
}

for_each_rig!(crate::safety::OLD;
    a_second_offset_that_is_refused_keeps_the_rest,
    an_offset_that_is_taken_and_refused_moves_nothing,
);

for_each_kind!(a_refused_offset_is_no_offset_at_all);

fn a_file_that_grew_before_it_was_opened_keeps_its_tail(rig: &mut Rig) {
    let t = rig.target();
    let cases = SIZES.into_iter().flat_map(|size| {
        let ends = [size * 3 / 2, size / 2];
        ends.map(|len| (size, len))
    });
    let cases: Vec<_> = cases.collect();
    for (number, (before, _)) in cases.iter().enumerate() {
        t.put_on_disk(format!("f{number}"), &pattern(number as u64, *before));
    }
    look(&t, "");
    for (number, (before, now)) in cases.into_iter().enumerate() {
        let name = format!("f{number}");
        let content = pattern(100 + number as u64, now);
        t.put_on_disk(&name, &content);
        let at = now / 2;
        change(&t.path(&name), at, b"!").unwrap();
        let what = format!("{before} bytes that became {now}");
        assert_disk(&t, &name, &changed(&content, at, b"!"), &what);
    }
}

fn opening_for_writing_asks_for_size_and_time(rig: &mut Rig) {
    let t = rig.target();
    t.put_on_disk("small", &pattern(1, 10));
    t.put_on_disk("large", &pattern(1, 2_000_000));
    look(&t, "");
    for name in ["small", "large"] {
        fs::metadata(t.path(name)).unwrap();
        rig.meddler.take_heard();
        let file = open(&t.path(name));
        let heard = rig.meddler.take_heard();
        for verb in ["SIZE", "MDTM"] {
            let is_asked = |line: &String| line.starts_with(verb) || line.starts_with("MLST");
            assert!(heard.iter().any(is_asked), "{verb}: {heard:?}");
        }
        close(file).unwrap();
    }
}

fn a_change_that_is_cut_on_the_way_is_no_success(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    let cases = [(0, 100_000), (1, 100_000), (30_000, 70_000), (5, 10)];
    for number in 0..cases.len() {
        let old = pattern(number as u64, 3_000_000);
        t.put_on_disk(format!("f{number}"), &old);
    }
    for (number, (arrives, len)) in cases.into_iter().enumerate() {
        let name = format!("f{number}");
        let old = pattern(number as u64, 3_000_000);
        let new = pattern(50, len);
        let rule = rig.meddler.on("STOR ").holding(&name).times(1);
        rule.cut_upload(arrives);
        let told = change(&t.path(&name), 1_000_000, &new);
        let found = t.on_disk(&name);
        let right = changed(&old, 1_000_000, &new);
        let outside = |bytes: &[u8]| [&bytes[..1_000_000], &bytes[1_000_000 + len..]].concat();
        assert!(found.len() == old.len(), "{name}: {} bytes", found.len());
        assert!(outside(&found) == outside(&old), "{name}: outside");
        assert!(told.is_err() || found == right, "{name}: {told:?}");
        rig.meddler.behave();
    }
}

fn an_upload_that_is_cut_on_the_way_is_no_success(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    let old = pattern(1, 2_000);
    for size in SIZES {
        for way in ["replaced", "appended"] {
            t.put_on_disk(format!("{way}{size}"), &old);
        }
    }
    for size in SIZES {
        let new = pattern(2, size);
        for way in ["new", "replaced"] {
            let name = format!("{way}{size}");
            rig.meddler.on("STOR ").times(1).cut_upload(size / 2);
            let told = store(&t.path(&name), &new);
            rig.meddler.behave();
            let found = fs::read(t.disk(&name)).unwrap_or_default();
            assert!(told.is_err() || found == new, "{name}: {told:?}");
            let is_whole = [&old, &new].contains(&&found);
            assert!(is_whole || way == "new", "{name}: half");
        }
        let name = format!("appended{size}");
        rig.meddler.on("APPE ").times(1).cut_upload(size / 2);
        let told = append(&t.path(&name), &new);
        rig.meddler.behave();
        let found = t.on_disk(&name);
        assert!(found.starts_with(&old), "{name}");
        assert!(new.starts_with(&found[old.len()..]), "{name}");
        let is_right = found.len() == old.len() + new.len();
        assert!(told.is_err() || is_right, "{name}: {told:?}");
    }
}

fn an_unreadable_size_is_no_proof(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    for (number, size) in SIZES.into_iter().enumerate() {
        let name = format!("f{number}");
        let new = pattern(3, size);
        rig.meddler.on("SIZE ").replace("213 ??");
        rig.meddler.on("STOR ").cut_upload(size / 2);
        let told = store(&t.path(&name), &new);
        rig.meddler.behave();
        let found = fs::read(t.disk(&name)).ok();
        assert!(told.is_err() || found == Some(new), "{name}: {told:?}");
    }
}

/// Cut by a reset: the server may have any part.
fn a_change_whose_connection_is_lost_is_no_success(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    let old = pattern(5, 3_000_000);
    t.put_on_disk("f", &old);
    for end in [End::Close, End::Reset] {
        rig.meddler
            .on("STOR ")
            .holding("/f")
            .times(1)
            .cut_reply(end);
        let old = t.on_disk("f");
        let told = change(&t.path("f"), 2_000_000, &pattern(6, 50_000));
        let right = changed(&old, 2_000_000, &pattern(6, 50_000));
        let found = t.on_disk("f");
        assert!(told.is_err() || found == right, "{end:?}: {told:?}");
        assert!([&old, &right].contains(&&found), "{end:?}: mixed");
        rig.meddler.behave();
        std::thread::sleep(Duration::from_millis(50));
    }
}

for_each_rig!(crate::safety::OLD; a_change_whose_connection_is_lost_is_no_success);
