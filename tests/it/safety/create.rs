//! New names: what another client made meanwhile stays, whether the server refuses, breaks off or says nothing.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, OpenOptionsExt},
};

use super::{assert_disk, changed, close, grow_old, look, open_or_create};
use crate::common::{
    End, Rig, Site, Target, errno, for_each_rig, for_each_site, give_to_server, names_in, pattern,
};

for_each_rig!(crate::safety::OLD;
    a_refused_upload_removes_nothing_of_others,
    a_broken_upload_removes_nothing_of_others,
    a_refused_upload_of_a_free_name_leaves_nothing,
);

for_each_site!(crate::safety::OLD;
    a_name_that_was_made_meanwhile_stays,
    a_name_that_was_taken_before_the_close_stays,
);

/// What another client makes.
const THEIRS: &[u8] = b"made by another client";

/// A hook that makes a file as another client does.
fn make(rig: &Rig, name: &str) -> impl Fn() + Send + Sync + 'static {
    let path = rig.target().disk(name);
    move || {
        if !path.exists() {
            fs::write(&path, THEIRS).unwrap();
            give_to_server(&path);
        }
    }
}

fn a_refused_upload_removes_nothing_of_others(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    let refusals = [
        "450 Busy.",
        "451 Local error.",
        "452 No space.",
        "425 No data connection.",
        "426 Broken.",
        "550 No.",
        "552 Quota.",
        "553 No.",
    ];
    for (number, reply) in refusals.into_iter().enumerate() {
        let name = format!("f{number}");
        look(&t, "");
        let rule = rig.meddler.on("STOR ").holding(&name).times(1);
        let refused = rule.before(make(rig, &name)).answer(reply);
        let told = fresh(&t, &name, b"ours");
        assert!(refused.get() > 0, "{reply}: nothing was stored");
        assert_disk(&t, &name, THEIRS, reply);
        assert!(told.is_err(), "{reply}: success");
        assert_eq!(removed(rig, &name), 0, "{reply}");
    }
}

fn a_broken_upload_removes_nothing_of_others(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    let t = rig.target();
    for (number, end) in [End::Close, End::Reset].into_iter().enumerate() {
        for (count, name) in [(1, format!("once{number}")), (9, format!("often{number}"))] {
            look(&t, "");
            let rule = rig.meddler.on("STOR ").holding(&name).times(count);
            let broken = rule.before(make(rig, &name)).cut(end);
            let told = fresh(&t, &name, b"ours");
            assert!(broken.get() > 0, "nothing was stored");
            assert_disk(&t, &name, THEIRS, "cut");
            assert!(told.is_err(), "success");
            assert_eq!(removed(rig, &name), 0);
            rig.meddler.behave();
            look(&t, "");
        }
    }
}

fn a_refused_upload_of_a_free_name_leaves_nothing(rig: &mut Rig) {
    let t = rig.target();
    for (number, reply) in ["451 Local error.", "452 No space.", "550 No."]
        .iter()
        .enumerate()
    {
        let name = format!("f{number}");
        rig.meddler.on("STOR ").answer(reply);
        let file = open_or_create(&t.path(&name)).unwrap();
        file.write_all_at(b"ours", 0).unwrap();
        assert!(file.sync_all().is_err(), "{reply}");
        assert!(!t.disk(&name).exists());
        rig.meddler.behave();
        file.sync_all().unwrap();
        close(file).unwrap();
        assert_disk(&t, &name, b"ours", "afterwards");
        assert_eq!(removed(rig, &name), 0, "{reply}");
    }
}

/// Makes a small file.
fn fresh(t: &Target, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let file = open_or_create(&t.path(name))?;
    file.write_all_at(bytes, 0)?;
    close(file)
}

/// How often a file was removed.
fn removed(rig: &Rig, name: &str) -> usize {
    rig.meddler.heard(&format!("DELE /{name}"))
}

/// What a program does in a directory.
type Work = fn(&Target, &str);

fn a_name_that_was_made_meanwhile_stays(site: &mut Site) {
    let t = site.target();
    let theirs = pattern(1, 100_000);
    let cases: [(&str, Work, Vec<u8>); 13] = [
        ("append", append, [&theirs[..], b"line\n"].concat()),
        (
            "large-append",
            append_much,
            [&theirs[..], &pattern(2, 3_000_000)].concat(),
        ),
        ("open", read_and_write, changed(&theirs, 0, b"X")),
        ("open-end", write_at_end, [&theirs[..], b"X"].concat()),
        ("exclusive", create_exclusively, theirs.clone()),
        ("noclobber", no_clobber, theirs.clone()),
        ("python", python_exclusively, theirs.clone()),
        ("move", move_without_replacing, theirs.clone()),
        ("copy", copy_without_replacing, theirs.clone()),
        ("touch", touch, theirs.clone()),
        ("link", link, theirs.clone()),
        ("mkdir", make_dir, theirs.clone()),
        ("truncate", truncate_up, [&theirs[..], &[0; 7]].concat()),
    ];
    for (dir, ..) in &cases {
        t.make_dir_on_disk(dir);
        t.put_on_disk(format!("{dir}/source"), b"ours");
    }
    t.make_dir_on_disk("sql");
    for (dir, ..) in &cases {
        look(&t, dir);
    }
    look(&t, "sql");
    grow_old();
    for (dir, ..) in &cases {
        t.put_on_disk(format!("{dir}/f"), &theirs);
    }
    t.sh("sqlite3 $SCRATCH/db 'create table t(v); insert into t values(1)'");
    t.put_on_disk("sql/db", &fs::read(t.scratch("db")).unwrap());
    for (dir, work, expected) in &cases {
        work(&t, dir);
        assert_disk(&t, &format!("{dir}/f"), expected, dir);
    }
    t.sh("sqlite3 sql/db 'insert into t values(2)'");
    fs::copy(t.disk("sql/db"), t.scratch("copy")).unwrap();
    let told = t.sh("sqlite3 $SCRATCH/copy 'pragma integrity_check; select sum(v) from t'");
    assert_eq!(told, "ok\n3\n");
}

fn append(t: &Target, dir: &str) {
    t.sh(&format!("echo line >> {dir}/f"));
}

fn append_much(t: &Target, dir: &str) {
    let mut options = OpenOptions::new();
    let opened = options
        .append(true)
        .create(true)
        .open(t.path(format!("{dir}/f")));
    let mut file = opened.unwrap();
    file.write_all(&pattern(2, 3_000_000)).unwrap();
    close(file).unwrap();
}

fn read_and_write(t: &Target, dir: &str) {
    let file = open_or_create(&t.path(format!("{dir}/f"))).unwrap();
    let mut seen = [0; 8];
    file.read_exact_at(&mut seen, 0).unwrap();
    assert_eq!(seen, pattern(1, 8)[..]);
    file.write_all_at(b"X", 0).unwrap();
    close(file).unwrap();
}

fn write_at_end(t: &Target, dir: &str) {
    t.sh(&format!(
        "python3 -c \"import os; f = os.open('{dir}/f', os.O_RDWR | os.O_CREAT); os.lseek(f, 0, 2); os.write(f, b'X'); os.close(f)\""
    ));
}

fn create_exclusively(t: &Target, dir: &str) {
    let mut options = OpenOptions::new();
    let opened = options
        .write(true)
        .create_new(true)
        .open(t.path(format!("{dir}/f")));
    assert_eq!(errno(opened), libc::EEXIST);
}

fn no_clobber(t: &Target, dir: &str) {
    assert!(
        !t.try_sh(&format!("set -C; echo ours > {dir}/f"))
            .status
            .success()
    );
}

fn python_exclusively(t: &Target, dir: &str) {
    let script = format!("python3 -c \"open('{dir}/f', 'x').write('ours')\"");
    assert!(!t.try_sh(&script).status.success());
}

fn move_without_replacing(t: &Target, dir: &str) {
    // Newer ones say so with their exit status.
    t.try_sh(&format!("mv -n {dir}/source {dir}/f"));
    assert_eq!(t.on_disk(format!("{dir}/source")), b"ours");
}

fn copy_without_replacing(t: &Target, dir: &str) {
    t.try_sh(&format!("cp -n {dir}/source {dir}/f"));
}

fn touch(t: &Target, dir: &str) {
    t.sh(&format!("touch {dir}/f"));
}

fn link(t: &Target, dir: &str) {
    assert!(!t.try_sh(&format!("ln -s source {dir}/f")).status.success());
}

fn make_dir(t: &Target, dir: &str) {
    assert!(!t.try_sh(&format!("mkdir {dir}/f")).status.success());
}

fn truncate_up(t: &Target, dir: &str) {
    t.sh(&format!("truncate -s +7 {dir}/f"));
}

/// Ours is open, and theirs takes the name before ours is closed.
fn a_name_that_was_taken_before_the_close_stays(site: &mut Site) {
    site.mount.may_end_badly();
    let t = site.target();
    look(&t, "");
    let flags = [libc::O_CREAT, libc::O_CREAT | libc::O_EXCL];
    let cases: Vec<_> = flags
        .into_iter()
        .flat_map(|flags| [10, 65_536, 65_537, 3_000_000].map(|size| (flags, size)))
        .collect();
    let mut files = Vec::new();
    for (number, (flags, size)) in cases.into_iter().enumerate() {
        let name = format!("f{number}");
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(flags);
        let file = options.open(t.path(&name)).unwrap();
        let ours = pattern(number as u64, size);
        // Some of them have sent most of it before the name is taken.
        if number % 2 == 1 {
            file.write_all_at(&ours, 0).unwrap();
        }
        files.push((name, file, ours));
    }
    grow_old();
    for (name, ..) in &files {
        t.put_on_disk(name, THEIRS);
    }
    let mut all = Vec::new();
    for (name, file, ours) in files {
        file.write_all_at(&ours, 0).unwrap();
        let told = close(file);
        let what = format!("{name} of {} bytes", ours.len());
        assert_disk(&t, &name, THEIRS, &what);
        assert_eq!(errno(told), libc::ESTALE, "{what}");
        all.push(ours);
    }
    // Our bytes are on this machine, or on the server beside theirs.
    let hold = |ours: &Vec<u8>| {
        let beside = names_in(&t.disk("")).into_iter().any(|name| {
            // A temporary file may be gone by now.
            let content = fs::read(t.disk(String::from_utf8(name).unwrap()));
            content.is_ok_and(|content| content == *ours)
        });
        beside || site.mount.kept().contains(ours)
    };
    crate::common::wait_for("our bytes", std::time::Duration::from_secs(5), || {
        all.iter().all(hold)
    });
}
