//! Changes that others make on the server: seen within the TTL, and never mixed up with our own.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    time::Duration,
};

use crate::common::{Target, for_each_server, names_in, pattern, wait_for};

for_each_server!(&["dir-ttl=1"];
    new_files,
    removed_files,
    changed_content,
    grown_files,
    replaced_by_another_kind,
    renamed_directories,
    read_while_it_grows,
);

for_each_server!(&["dir-ttl=60"]; our_own_changes_are_never_old);

/// The TTL of these mounts and room for a busy machine.
const SEEN_WITHIN: Duration = Duration::from_secs(4);

// SEMANTICS: S-ttl
fn new_files(t: &Target) {
    fs::create_dir(t.path("d")).unwrap();
    assert!(!t.path("new").exists() && names_in(&t.path("d")).is_empty());
    t.put_on_disk("new", b"from outside");
    t.put_on_disk("d/inner", b"from outside");
    wait_for("a new file, by name", SEEN_WITHIN, || {
        t.path("new").exists()
    });
    wait_for("a new file, in a listing", SEEN_WITHIN, || {
        names_in(&t.path("d")).len() == 1
    });
    assert_eq!(fs::read(t.path("d/inner")).unwrap(), b"from outside");
}

// SEMANTICS: S-ttl
fn removed_files(t: &Target) {
    fs::write(t.path("f"), b"x").unwrap();
    fs::create_dir(t.path("d")).unwrap();
    assert_eq!(fs::read(t.path("f")).unwrap(), b"x");
    fs::remove_file(t.disk("f")).unwrap();
    fs::remove_dir(t.disk("d")).unwrap();
    wait_for("a file's end, by name", SEEN_WITHIN, || {
        !t.path("f").exists()
    });
    wait_for("a directory's end, in a listing", SEEN_WITHIN, || {
        names_in(&t.path("")).is_empty()
    });
}

// SEMANTICS: S-ttl, S-version
fn changed_content(t: &Target) {
    t.put_on_disk("f", b"the first content");
    assert_eq!(fs::read(t.path("f")).unwrap(), b"the first content");
    t.put_on_disk("f", b"another");
    wait_for("another content", SEEN_WITHIN, || {
        fs::read(t.path("f")).unwrap() == b"another"
    });
    assert_eq!(fs::metadata(t.path("f")).unwrap().len(), 7);
    // Of the same size; the time tells, to the second at best and to the minute in an ls line.
    t.put_on_disk("f", b"changed");
    let later = fs::metadata(t.disk("f")).unwrap().modified().unwrap() + Duration::from_mins(2);
    File::options()
        .write(true)
        .open(t.disk("f"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    wait_for("content of the same size", SEEN_WITHIN, || {
        fs::read(t.path("f")).unwrap() == b"changed"
    });
}

// SEMANTICS: S-growth
fn grown_files(t: &Target) {
    t.put_on_disk("log", b"line 1\n");
    assert_eq!(t.sh("cat log"), "line 1\n");
    for i in 2..4 {
        let mut disk = OpenOptions::new().append(true).open(t.disk("log")).unwrap();
        writeln!(disk, "line {i}").unwrap();
        drop(disk);
        let expected = (1..=i)
            .map(|i| format!("line {i}\n"))
            .collect::<Vec<_>>()
            .concat();
        wait_for("the new line", SEEN_WITHIN, || {
            fs::read(t.path("log")).unwrap() == expected.as_bytes()
        });
    }
    // Appended here after it had grown there.
    t.sh("echo ours >> log");
    assert_eq!(t.on_disk("log"), b"line 1\nline 2\nline 3\nours\n");
}

// SEMANTICS: S-inodes
fn replaced_by_another_kind(t: &Target) {
    t.put_on_disk("x", b"a file");
    assert!(fs::metadata(t.path("x")).unwrap().is_file());
    fs::remove_file(t.disk("x")).unwrap();
    t.make_dir_on_disk("x");
    t.put_on_disk("x/inside", b"deep");
    wait_for("a directory", SEEN_WITHIN, || {
        fs::read(t.path("x/inside")).is_ok()
    });
    assert_eq!(fs::read(t.path("x/inside")).unwrap(), b"deep");
    assert!(fs::metadata(t.path("x")).unwrap().is_dir());
}

fn renamed_directories(t: &Target) {
    t.sh("mkdir -p a/b; echo x > a/b/f; cat a/b/f");
    fs::rename(t.disk("a"), t.disk("z")).unwrap();
    wait_for("the new name", SEEN_WITHIN, || {
        fs::read(t.path("z/b/f")).is_ok()
    });
    wait_for("the old name's end", SEEN_WITHIN, || !t.path("a").exists());
    t.sh("echo y > z/b/f; mkdir a; echo new > a/f");
    assert_eq!(
        (t.on_disk("z/b/f"), t.on_disk("a/f")),
        (b"y\n".to_vec(), b"new\n".to_vec())
    );
}

/// A file is opened while it is being written elsewhere, and is read to the end that it has in the end.
fn read_while_it_grows(t: &Target) {
    let content = pattern(30, 400_000);
    t.put_on_disk("f", &content[..100_000]);
    let reader = File::open(t.path("f")).unwrap();
    let mut seen = vec![0; 100_000];
    reader.read_exact_at(&mut seen, 0).unwrap();
    assert!(seen == content[..100_000]);
    let mut disk = OpenOptions::new().append(true).open(t.disk("f")).unwrap();
    disk.write_all(&content[100_000..]).unwrap();
    let mut rest = vec![0; 300_000];
    wait_for("the rest, through a handle of its own", SEEN_WITHIN, || {
        let reader = File::open(t.path("f")).unwrap();
        reader.read_exact_at(&mut rest, 100_000).is_ok()
    });
    assert!(rest == content[100_000..]);
    // The handle from before: no error, and no bytes that were never there.
    let mut byte = [0];
    if reader.read_at(&mut byte, 399_999).unwrap() == 1 {
        assert_eq!(byte[0], content[399_999]);
    }
}

// SEMANTICS: S-own-changes, S-tenet-fresh
fn our_own_changes_are_never_old(t: &Target) {
    for i in 0..5 {
        assert_eq!(names_in(&t.path("")).len(), i);
        let name = format!("f{i}");
        fs::write(t.path(&name), vec![b'x'; i]).unwrap();
        assert_eq!(fs::metadata(t.path(&name)).unwrap().len(), i as u64);
        let mut file = OpenOptions::new().append(true).open(t.path(&name)).unwrap();
        file.write_all(b"more").unwrap();
        drop(file);
        assert_eq!(fs::metadata(t.path(&name)).unwrap().len(), i as u64 + 4);
        assert_eq!(fs::read(t.path(&name)).unwrap().len(), i + 4);
        assert_eq!(names_in(&t.path("")).len(), i + 1);
    }
    t.sh("mkdir d; mv f0 d/; test ! -e f0; ls d | grep -qx f0; rm f1; test ! -e f1; rmdir d 2>/dev/null && exit 1; rm d/f0; rmdir d");
    assert_eq!(names_in(&t.path("")), names_in(&t.disk("")));
}
