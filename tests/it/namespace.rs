//! Names and directories: making, removing, renaming, also of what is open.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::Path,
};

use crate::common::{Kind, Target, errno, for_each_server, names_in, on};

for_each_server!(&[];
    make_directories,
    remove_directories,
    rename_over_a_file,
    rename_into_place,
    rename_directories,
    rename_without_replacing,
    rename_refused,
    unlink_while_open,
    rename_while_open,
    replace_while_open,
    wrong_kinds,
    missing,
    removed_while_read,
    current_directory,
    temporary_files,
    names_kept_by_the_kernel,
);

// SEMANTICS: S-mkdir
fn make_directories(t: &Target) {
    t.sh("mkdir a; mkdir -p a/b/c/d; mkdir -p a/b; echo deep > a/b/c/d/f; cat a/b/c/d/f");
    assert_eq!(t.on_disk("a/b/c/d/f"), b"deep\n");
    assert_eq!(errno(fs::create_dir(t.path("a"))), libc::EEXIST);
    assert_eq!(errno(fs::create_dir(t.path("a/b/c/d/f"))), libc::EEXIST);
    assert_eq!(errno(fs::create_dir(t.path("no/d"))), libc::ENOENT);
    assert_eq!(errno(fs::create_dir(t.path("a/b/c/d/f/d"))), libc::ENOTDIR);
}

// SEMANTICS: S-rmdir
fn remove_directories(t: &Target) {
    t.sh("mkdir -p full/sub empty; echo x > full/f");
    assert_eq!(errno(fs::remove_dir(t.path("full"))), libc::ENOTEMPTY);
    fs::remove_dir(t.path("empty")).unwrap();
    assert!(!t.disk("empty").exists());
    assert_eq!(errno(fs::remove_dir(t.path("empty"))), libc::ENOENT);
    assert_eq!(errno(fs::remove_dir(t.path("full/f"))), libc::ENOTDIR);
    fs::remove_file(t.path("full/f")).unwrap();
    assert_eq!(errno(fs::remove_dir(t.path("full"))), libc::ENOTEMPTY);
    t.sh("rmdir full/sub full; test -z \"$(ls -A)\"");
    assert!(names_in(&t.disk("")).is_empty());
}

// SEMANTICS: S-rename-over
pub(crate) fn rename_over_a_file(t: &Target) {
    t.sh("echo old, and longer > old; echo new > new; mv new old; cat old");
    assert_eq!(t.on_disk("old"), b"new\n");
    assert_eq!(names_in(&t.path("")), [b"old".to_vec()]);
    t.sh("mkdir d; echo other > d/old; mv -f old d/old; cat d/old");
    assert_eq!(t.on_disk("d/old"), b"new\n");
    fs::rename(t.path("d/old"), t.path("d/old")).unwrap();
    assert_eq!(t.on_disk("d/old"), b"new\n");
}

/// How careful programs write: a temporary file, fsync, rename over the target, again and again.
fn rename_into_place(t: &Target) {
    for i in 0..10 {
        let mut file = File::create(t.path(".config.tmp")).unwrap();
        writeln!(file, "version {i}").unwrap();
        file.sync_all().unwrap();
        fs::rename(t.path(".config.tmp"), t.path("config")).unwrap();
        drop(file);
        assert_eq!(t.on_disk("config"), format!("version {i}\n").as_bytes());
        assert_eq!(
            fs::read_to_string(t.path("config")).unwrap(),
            format!("version {i}\n")
        );
    }
    assert_eq!(names_in(&t.disk("")), [b"config".to_vec()]);
}

// SEMANTICS: S-rename-directories
fn rename_directories(t: &Target) {
    t.sh("mkdir -p a/b/c empty full; echo deep > a/b/c/f; echo x > full/f");
    t.sh("cat a/b/c/f; mv a z; cat z/b/c/f; test ! -e a");
    assert_eq!(t.on_disk("z/b/c/f"), b"deep\n");
    // Onto an empty directory; onto a full one never.
    fs::rename(t.path("z"), t.path("empty")).unwrap();
    assert_eq!(t.on_disk("empty/b/c/f"), b"deep\n");
    let refused = errno(fs::rename(t.path("empty"), t.path("full")));
    assert!(
        [libc::ENOTEMPTY, libc::EEXIST].contains(&refused),
        "{refused}"
    );
    assert_eq!(
        (t.on_disk("full/f"), t.on_disk("empty/b/c/f")),
        (b"x\n".to_vec(), b"deep\n".to_vec())
    );
    // Up and down in the tree.
    t.sh(
        "mv empty/b/c . && mv c full/ && cat full/c/f && echo more >> full/c/f && mkdir a && ls a",
    );
    assert_eq!(t.on_disk("full/c/f"), b"deep\nmore\n");
}

// SEMANTICS: S-rename-noreplace
fn rename_without_replacing(t: &Target) {
    t.sh("echo a > a; echo b > b; mkdir d");
    assert_eq!(
        errno(rename_noreplace(&t.path("a"), &t.path("b"))),
        libc::EEXIST
    );
    assert_eq!(
        errno(rename_noreplace(&t.path("a"), &t.path("d"))),
        libc::EEXIST
    );
    assert_eq!(
        (t.on_disk("a"), t.on_disk("b")),
        (b"a\n".to_vec(), b"b\n".to_vec())
    );
    rename_noreplace(&t.path("a"), &t.path("c")).unwrap();
    assert_eq!(t.on_disk("c"), b"a\n");
    t.sh("echo n > n; mv -n n c; cat n; rm n");
    assert_eq!(
        names_in(&t.disk("")),
        [b"b".to_vec(), b"c".to_vec(), b"d".to_vec()]
    );
}

fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (c_string(from), c_string(to));
    // SAFETY: both pointers are to strings that end in NUL and live through the call.
    let result = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

// SEMANTICS: S-rename-directories
fn rename_refused(t: &Target) {
    t.sh("mkdir -p d/sub; echo x > f");
    assert_eq!(errno(fs::rename(t.path("no"), t.path("new"))), libc::ENOENT);
    assert_eq!(errno(fs::rename(t.path("f"), t.path("no/f"))), libc::ENOENT);
    assert_eq!(errno(fs::rename(t.path("f"), t.path("d"))), libc::EISDIR);
    assert_eq!(errno(fs::rename(t.path("d"), t.path("f"))), libc::ENOTDIR);
    assert_eq!(
        errno(fs::rename(t.path("d"), t.path("d/sub/d"))),
        libc::EINVAL
    );
    assert_eq!(t.on_disk("f"), b"x\n");
    assert!(t.disk("d/sub").is_dir());
}

// SEMANTICS: S-unlink-open
fn unlink_while_open(t: &Target) {
    t.put_on_disk("f", b"old content");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(t.path("f"))
        .unwrap();
    fs::remove_file(t.path("f")).unwrap();
    assert_eq!(errno(fs::metadata(t.path("f"))), libc::ENOENT);
    file.write_all_at(b"NEW", 0).unwrap();
    let mut seen = String::new();
    file.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "NEW content");
    // The name is free at once, and the one who holds the old file does not disturb the new one.
    fs::write(t.path("f"), b"another file").unwrap();
    file.write_all_at(b"more", 11).unwrap();
    drop(file);
    assert_eq!(t.on_disk("f"), b"another file");
    t.wait_until_settled();
    assert_eq!(names_in(&t.disk("")), [b"f".to_vec()]);
}

// SEMANTICS: S-rename
fn rename_while_open(t: &Target) {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(t.path("f"))
        .unwrap();
    file.write_all(b"before ").unwrap();
    fs::create_dir(t.path("d")).unwrap();
    fs::rename(t.path("f"), t.path("d/g")).unwrap();
    file.write_all(b"after").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut seen = String::new();
    file.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "before after");
    // Its directory goes too.
    fs::rename(t.path("d"), t.path("e")).unwrap();
    file.write_all(b" and on").unwrap();
    drop(file);
    assert_eq!(t.on_disk("e/g"), b"before after and on");
    assert_eq!(names_in(&t.disk("")), [b"e".to_vec()]);
}

// SEMANTICS: S-rename-over-open
fn replace_while_open(t: &Target) {
    t.put_on_disk("f", b"the old file");
    t.put_on_disk("n", b"the new file");
    let reader = File::open(t.path("f")).unwrap();
    let mut start = [0; 3];
    reader.read_exact_at(&mut start, 0).unwrap();
    fs::rename(t.path("n"), t.path("f")).unwrap();
    assert_eq!(fs::read(t.path("f")).unwrap(), b"the new file");
    // Whoever has the replaced file open never gets a mixture of the two.
    let mut seen = [0; 12];
    if reader.read_exact_at(&mut seen, 0).is_ok() {
        assert!(
            &seen == b"the old file" || t.kind() != Kind::Local && &seen == b"the new file",
            "{seen:?}"
        );
    }
}

// SEMANTICS: S-unlink
fn wrong_kinds(t: &Target) {
    t.sh("mkdir d; echo x > f");
    let unlinked = errno(fs::remove_file(t.path("d")));
    assert!(
        [libc::EISDIR, libc::EPERM].contains(&unlinked),
        "{unlinked}"
    );
    assert_eq!(errno(fs::write(t.path("d"), b"x")), libc::EISDIR);
    assert_eq!(errno(fs::read_dir(t.path("f"))), libc::ENOTDIR);
    assert_eq!(errno(fs::read(t.path("d"))), libc::EISDIR);
    assert_eq!(errno(fs::write(t.path("f/x"), b"x")), libc::ENOTDIR);
    assert_eq!(errno(fs::write(t.path("f/"), b"x")), libc::EISDIR);
    assert_eq!(t.on_disk("f"), b"x\n");
}

// SEMANTICS: S-refused
fn missing(t: &Target) {
    for result in [
        fs::metadata(t.path("no")).map(drop),
        fs::read_dir(t.path("no")).map(drop),
        fs::remove_file(t.path("no")),
        fs::remove_dir(t.path("no")),
        fs::write(t.path("no/f"), b"x"),
        OpenOptions::new().write(true).open(t.path("no")).map(drop),
    ] {
        assert_eq!(errno(result), libc::ENOENT);
    }
    // Absent once, made, there; removed, absent again.
    for _ in 0..3 {
        assert_eq!(errno(fs::metadata(t.path("f"))), libc::ENOENT);
        fs::write(t.path("f"), b"x").unwrap();
        assert_eq!(fs::metadata(t.path("f")).unwrap().len(), 1);
        fs::remove_file(t.path("f")).unwrap();
    }
    assert!(names_in(&t.disk("")).is_empty());
}

// SEMANTICS: S-readdir
fn removed_while_read(t: &Target) {
    t.sh("mkdir d; for i in $(seq 200); do : > d/$i; done");
    // Every name is seen once, whatever is removed meanwhile.
    let mut count = 0;
    for entry in fs::read_dir(t.path("d")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
        count += 1;
    }
    assert_eq!(count, 200);
    fs::remove_dir(t.path("d")).unwrap();
    assert!(!t.disk("d").exists());
}

fn current_directory(t: &Target) {
    t.sh("mkdir -p a/b; cd a/b; echo x > ../up; cat ../up; cd ..; rmdir b; ls; test ! -e b; test \"$(pwd -P)\" != /");
    assert_eq!(t.on_disk("a/up"), b"x\n");
    assert_eq!(t.sh("ls -a . | head -2 | tr '\\n' ' '"), ". .. ");
}

fn temporary_files(t: &Target) {
    t.sh("f=$(mktemp tmp.XXXXXX); echo x > $f; d=$(mktemp -d dir.XXXXXX); mv $f $d/; rm -r $d; sort -T . -o sorted <(seq 100 -1 1); head -1 sorted");
    assert!(t.on_disk("sorted").starts_with(b"1\n10\n100\n"));
    assert_eq!(names_in(&t.disk("")), [b"sorted".to_vec()]);
}

// SEMANTICS: S-rename-over, S-replace-refused
/// `ProFTPD`'s compiled defaults answer 550 to a rename over a file.
#[test]
fn renaming_where_the_server_refuses_to_overwrite() {
    for body in [rename_over_a_file, rename_into_place] {
        on(Kind::ProftpdStrict, &[], body);
    }
}

// SEMANTICS: S-readdir
/// libunftp lists the directory that was the current one when the data connection was opened.
fn list_one_after_the_other(t: &Target) {
    for name in ["one", "two", "three"] {
        fs::create_dir(t.disk(name)).unwrap();
        fs::write(t.disk(name).join(format!("in {name}")), name).unwrap();
    }
    assert_eq!(
        t.sh("ls . one two three | sort | uniq -c | grep -c 'in '"),
        "3\n"
    );
    for name in ["three", "one", "two"] {
        let listed = fs::read_dir(t.path(name)).unwrap();
        let names: Vec<_> = listed.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [format!("in {name}").as_str()]);
    }
}

/// libunftp: no SITE CHMOD, no way to set times, commands in one write answered out of order.
#[test]
fn the_embedded_server() {
    for body in [
        list_one_after_the_other,
        make_directories,
        remove_directories,
        rename_over_a_file,
        rename_directories,
        wrong_kinds,
    ] {
        on(Kind::Embedded, &[], body);
    }
}

// SEMANTICS: S-kernel-names
fn names_kept_by_the_kernel(t: &Target) {
    t.sh("mkdir d; touch d/a d/b");
    let shows = |expected: &[&str]| {
        for _ in 0..3 {
            t.sh("ls -l d");
            let expected: Vec<_> = expected.iter().map(|name| name.as_bytes()).collect();
            assert_eq!(names_in(&t.path("d")), expected);
        }
    };
    shows(&["a", "b"]);
    t.sh("echo c > d/c");
    shows(&["a", "b", "c"]);
    t.sh("rm d/a; mv d/b d/e");
    shows(&["c", "e"]);
    // A directory that stays open shows its own moment, and leaves nothing of it to those opened later.
    let before = fs::read_dir(t.path("d")).unwrap();
    t.sh("rm d/c");
    let during = fs::read_dir(t.path("d")).unwrap();
    assert!(before.count() >= 1);
    let during: Vec<_> = during.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(during, ["e"]);
    shows(&["e"]);
    t.sh("rm d/e");
    shows(&[]);
}
