//! Content of files: every open mode, writes anywhere, truncation, appending, two handles, the whole range of sizes.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    process::Command,
};

use crate::common::{Kind, Target, errno, for_each_server, on, pattern};

for_each_server!(&[];
    copy_in_and_out,
    rewrite,
    append,
    append_by_two_handles,
    truncate,
    truncate_an_open_file,
    sparse,
    patch_in_place,
    read_anywhere,
    read_while_writing,
    two_handles_see_each_other,
    fsync_reaches_the_server,
    a_childs_close_publishes_nothing,
    created_exclusively,
    empty,
    allocate,
    overwrite_needs_no_read,
    beyond_four_gib,
    many_small,
    open_modes_are_kept,
    run_a_program,
);

// SEMANTICS: S-write, S-replace
pub(crate) fn copy_in_and_out(t: &Target) {
    // The last two lie around the 8 MiB beyond which a spool moves to a file.
    for size in [
        0,
        1,
        4096,
        65_537,
        (1 << 20) + 7,
        (8 << 20) - 1,
        (9 << 20) + 1,
    ] {
        let content = pattern(size as u64, size);
        fs::write(t.scratch("in"), &content).unwrap();
        t.sh(&format!("cp $SCRATCH/in copy-{size}"));
        assert!(
            t.on_disk(format!("copy-{size}")) == content,
            "{size} bytes on the disk"
        );
        t.sh(&format!(
            "cp copy-{size} $SCRATCH/out && cmp $SCRATCH/in $SCRATCH/out"
        ));
    }
}

// SEMANTICS: S-replace
pub(crate) fn rewrite(t: &Target) {
    t.put_on_disk("theirs", b"from another user, long enough");
    assert_eq!(
        t.sh("cat theirs; echo ours > theirs; cat theirs"),
        "from another user, long enoughours\n"
    );
    assert_eq!(t.on_disk("theirs"), b"ours\n");
    t.sh("echo first, and longer than the second > f; echo second > f; cat f");
    assert_eq!(t.on_disk("f"), b"second\n");
}

// SEMANTICS: S-append
pub(crate) fn append(t: &Target) {
    let start = pattern(1, 3 << 20);
    t.put_on_disk("big", &start);
    t.sh("echo appended >> big; tail -n 1 big | grep -qa appended");
    assert!(t.on_disk("big") == [&start[..], b"appended\n"].concat());

    t.sh("for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i >> log; done; printf tail | tee -a log");
    let mut expected = (1..=10)
        .map(|i| format!("line {i}\n"))
        .collect::<Vec<_>>()
        .concat();
    expected.push_str("tail");
    assert_eq!(t.on_disk("log"), expected.as_bytes());
}

fn append_by_two_handles(t: &Target) {
    let open = || {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(t.path("log"))
            .unwrap()
    };
    let (mut a, mut b) = (open(), open());
    for i in 0..5 {
        writeln!(a, "a{i}").unwrap();
        writeln!(b, "b{i}").unwrap();
    }
    drop((a, b));
    let expected = (0..5)
        .map(|i| format!("a{i}\nb{i}\n"))
        .collect::<Vec<_>>()
        .concat();
    assert_eq!(String::from_utf8(t.on_disk("log")).unwrap(), expected);
}

// SEMANTICS: S-truncate
pub(crate) fn truncate(t: &Target) {
    let content = pattern(2, 300_000);
    t.put_on_disk("f", &content);
    t.sh("truncate -s 100000 f");
    assert!(t.on_disk("f") == content[..100_000]);
    t.sh("truncate -s 150000 f");
    let mut grown = content[..100_000].to_vec();
    grown.resize(150_000, 0);
    assert!(t.on_disk("f") == grown);
    assert!(fs::read(t.path("f")).unwrap() == grown);
    t.sh("truncate -s 0 f");
    assert_eq!(t.on_disk("f"), b"");
    t.sh("truncate -s 5000 new");
    assert_eq!(t.on_disk("new"), vec![0; 5000]);
}

fn truncate_an_open_file(t: &Target) {
    t.put_on_disk("f", &pattern(3, 10_000));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(t.path("f"))
        .unwrap();
    file.set_len(10).unwrap();
    file.write_all_at(b"behind", 20).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 26);
    let mut expected = pattern(3, 10);
    expected.resize(20, 0);
    expected.extend_from_slice(b"behind");
    let mut seen = vec![0; 26];
    file.read_exact_at(&mut seen, 0).unwrap();
    assert_eq!(seen, expected);
    drop(file);
    assert_eq!(t.on_disk("f"), expected);
}

// SEMANTICS: S-sparse
fn sparse(t: &Target) {
    let file = File::create(t.path("f")).unwrap();
    file.write_all_at(b"middle", 1 << 20).unwrap();
    file.write_all_at(b"start", 0).unwrap();
    file.write_all_at(b"end", 3 << 20).unwrap();
    drop(file);
    let mut expected = vec![0; (3 << 20) + 3];
    expected[..5].copy_from_slice(b"start");
    expected[1 << 20..][..6].copy_from_slice(b"middle");
    expected[3 << 20..].copy_from_slice(b"end");
    assert!(t.on_disk("f") == expected);
    assert!(fs::read(t.path("f")).unwrap() == expected);
}

// SEMANTICS: S-patch
pub(crate) fn patch_in_place(t: &Target) {
    let mut content = pattern(4, 2 << 20);
    t.put_on_disk("f", &content);
    fs::write(t.scratch("patch"), pattern(5, 4096)).unwrap();
    t.sh("dd if=$SCRATCH/patch of=f bs=4096 seek=100 conv=notrunc status=none");
    content[100 * 4096..][..4096].copy_from_slice(&pattern(5, 4096));
    assert!(t.on_disk("f") == content);
    // Three far apart ranges through one handle, one of them across the old end.
    let file = OpenOptions::new().write(true).open(t.path("f")).unwrap();
    for offset in [10, 1_000_001, (2 << 20) - 3] {
        file.write_all_at(b"PATCHED", offset as u64).unwrap();
        content.resize(content.len().max(offset + 7), 0);
        content[offset..][..7].copy_from_slice(b"PATCHED");
    }
    drop(file);
    assert!(t.on_disk("f") == content);
    assert!(fs::read(t.path("f")).unwrap() == content);
}

// SEMANTICS: S-read
pub(crate) fn read_anywhere(t: &Target) {
    let content = pattern(6, 3_000_000);
    t.put_on_disk("f", &content);
    let file = File::open(t.path("f")).unwrap();
    // Backwards, then all over the place, then across the end.
    for offset in (0..content.len())
        .step_by(400_000)
        .rev()
        .chain([5, 2_999_990, 131_071, 1_500_000])
    {
        let mut seen = vec![0; 10_000.min(content.len() - offset)];
        file.read_exact_at(&mut seen, offset as u64).unwrap();
        assert!(seen == content[offset..][..seen.len()], "at {offset}");
    }
    let mut behind = [0; 16];
    assert_eq!(file.read_at(&mut behind, 3_000_000).unwrap(), 0);
    assert_eq!(file.read_at(&mut behind, 5_000_000).unwrap(), 0);
    assert_eq!(file.read_at(&mut behind, 2_999_990).unwrap(), 10);
}

fn read_while_writing(t: &Target) {
    let content = pattern(7, 600_000);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(t.path("f"))
        .unwrap();
    file.write_all(&content).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut seen = Vec::new();
    file.read_to_end(&mut seen).unwrap();
    assert!(seen == content);
    file.write_all_at(b"over", 300_000).unwrap();
    let mut four = [0; 4];
    file.read_exact_at(&mut four, 300_000).unwrap();
    assert_eq!(&four, b"over");
    drop(file);
    assert_eq!(&t.on_disk("f")[300_000..300_004], b"over");
}

// SEMANTICS: S-write, S-close
fn two_handles_see_each_other(t: &Target) {
    t.put_on_disk("f", b"0123456789");
    let reader = File::open(t.path("f")).unwrap();
    let mut seen = [0; 10];
    reader.read_exact_at(&mut seen, 0).unwrap();
    let writer = OpenOptions::new().write(true).open(t.path("f")).unwrap();
    writer.write_all_at(b"abc", 3).unwrap();
    writer.write_all_at(b"more", 10).unwrap();
    // Nothing is closed: what one handle has written the other one sees.
    assert_eq!(reader.metadata().unwrap().len(), 14);
    let mut seen = [0; 14];
    reader.read_exact_at(&mut seen, 0).unwrap();
    assert_eq!(&seen, b"012abc6789more");
    assert_eq!(fs::metadata(t.path("f")).unwrap().len(), 14);
    drop(writer);
    assert_eq!(t.on_disk("f"), b"012abc6789more");
}

// SEMANTICS: S-close, S-tenet-confirmed
fn fsync_reaches_the_server(t: &Target) {
    let mut file = File::create(t.path("f")).unwrap();
    file.write_all(b"first ").unwrap();
    file.sync_all().unwrap();
    assert_eq!(t.on_disk("f"), b"first ");
    file.write_all(b"second").unwrap();
    file.sync_data().unwrap();
    assert_eq!(t.on_disk("f"), b"first second");
    file.write_all_at(b"F", 0).unwrap();
    drop(file);
    assert_eq!(t.on_disk("f"), b"First second");
}

// SEMANTICS: S-close
fn a_childs_close_publishes_nothing(t: &Target) {
    t.put_on_disk("f", b"old content");
    let mut file = File::create(t.path("f")).unwrap();
    file.write_all(b"the first ").unwrap();
    // It inherits the descriptor, and closes it when it starts its program.
    assert!(Command::new("true").status().unwrap().success());
    if t.kind() != Kind::Local {
        assert_eq!(fs::read(t.disk("f")).unwrap(), b"old content");
    }
    file.write_all(b"and the second half").unwrap();
    drop(file);
    assert_eq!(t.on_disk("f"), b"the first and the second half");
}

// SEMANTICS: S-exclusive
fn created_exclusively(t: &Target) {
    t.put_on_disk("theirs", b"x");
    let theirs = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(t.path("theirs"));
    assert_eq!(errno(theirs), libc::EEXIST);
    let create = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(t.path("lock"))
    };
    create().unwrap().write_all(b"mine").unwrap();
    assert_eq!(errno(create()), libc::EEXIST);
    assert_eq!(t.on_disk("lock"), b"mine");
    fs::remove_file(t.path("lock")).unwrap();
    create().unwrap();
    assert_eq!(t.on_disk("lock"), b"");
}

fn empty(t: &Target) {
    t.sh("touch a; : > b; touch a; test -f a -a ! -s a -a ! -s b");
    assert_eq!((t.on_disk("a"), t.on_disk("b")), (Vec::new(), Vec::new()));
    t.sh("echo x > a; : > a");
    assert_eq!(t.on_disk("a"), b"");
}

// SEMANTICS: S-sparse
fn allocate(t: &Target) {
    t.sh("echo x > f; fallocate -l 20000 f; test $(stat -c %s f) = 20000");
    let content = t.on_disk("f");
    assert_eq!((content.len(), &content[..3]), (20_000, &b"x\n\0"[..]));
    // Room behind the end that does not show: either kept as it is or refused, never a longer file.
    let _ = t.try_sh("fallocate --keep-size -o 0 -l 90000 f");
    assert_eq!(t.on_disk("f").len(), 20_000);
}

fn overwrite_needs_no_read(t: &Target) {
    t.put_on_disk("f", &pattern(8, 100_000));
    let content = pattern(9, 100_000);
    let mut file = OpenOptions::new().write(true).open(t.path("f")).unwrap();
    for piece in content.chunks(30_000) {
        file.write_all(piece).unwrap();
    }
    drop(file);
    assert!(t.on_disk("f") == content);
}

fn beyond_four_gib(t: &Target) {
    t.put_on_disk("big", b"start");
    let disk = OpenOptions::new().write(true).open(t.disk("big")).unwrap();
    let offset = (5 << 30) + 12_345;
    disk.write_all_at(b"far out", offset).unwrap();
    let file = File::open(t.path("big")).unwrap();
    assert_eq!(file.metadata().unwrap().size(), offset + 7);
    let mut seen = [0; 12];
    file.read_exact_at(&mut seen, offset - 5).unwrap();
    assert_eq!(&seen, b"\0\0\0\0\0far out");
    file.read_exact_at(&mut seen[..5], 0).unwrap();
    assert_eq!(&seen[..5], b"start");
    // Not compared as a whole afterwards: five gigabytes of nothing.
    drop(file);
    fs::remove_file(t.path("big")).unwrap();
    assert!(!t.disk("big").exists());
}

fn many_small(t: &Target) {
    t.sh("mkdir d; for i in $(seq 100); do echo $i > d/$i; done; cat d/* | sort -n > all");
    let expected = (1..=100)
        .map(|i| format!("{i}\n"))
        .collect::<Vec<_>>()
        .concat();
    assert_eq!(t.on_disk("all"), expected.as_bytes());
}

// SEMANTICS: S-open-modes
fn open_modes_are_kept(t: &Target) {
    t.put_on_disk("f", b"content");
    let mut reader = File::open(t.path("f")).unwrap();
    assert_eq!(errno(reader.write(b"x")), libc::EBADF);
    let mut writer = OpenOptions::new().write(true).open(t.path("f")).unwrap();
    assert_eq!(errno(writer.read(&mut [0; 4])), libc::EBADF);
    assert_eq!(errno(File::open(t.path("missing"))), libc::ENOENT);
    assert_eq!(errno(File::open(t.path("f/below"))), libc::ENOTDIR);
    let dir = OpenOptions::new().write(true).open(t.path("."));
    assert_eq!(errno(dir), libc::EISDIR);
    let link = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(t.path("f"));
    assert_eq!(errno(link), libc::ENOTDIR);
    drop((reader, writer));
    assert_eq!(t.on_disk("f"), b"content");
}

fn run_a_program(t: &Target) {
    assert_eq!(t.sh("cp $(type -P true) prog; ./prog; echo $?"), "0\n");
    t.sh("printf '#!/bin/sh\\necho from the script\\n' > s.sh; chmod +x s.sh");
    assert_eq!(t.sh("./s.sh"), "from the script\n");
}

// SEMANTICS: S-replace-refused
/// `ProFTPD`'s compiled defaults refuse STOR over a file, RNTO over a file and APPE; the old bytes must not be lost.
#[test]
fn a_server_that_refuses_to_overwrite() {
    for body in [rewrite, append, truncate, patch_in_place] {
        on(Kind::ProftpdStrict, &[], body);
    }
}

/// libunftp: no SITE CHMOD, no way to set times, commands in one write answered out of order.
#[test]
fn the_embedded_server() {
    for body in [
        copy_in_and_out,
        rewrite,
        append,
        patch_in_place,
        read_anywhere,
    ] {
        on(Kind::Embedded, &[], body);
    }
}
