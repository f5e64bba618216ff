//! How much memory the filesystem takes at most, whatever a server sends and a program writes: what the kernel has seen of its process.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::Path,
    sync::Arc,
};

use crate::common::{
    Mount, can_mount, errno, pattern,
    simulated::{Dialect, Simulated},
};

/// What the filesystem takes when nothing is listed or written: the program itself, its threads and their heaps. 24 MiB: an unoptimised build
/// with all its sessions takes 15.
const AT_REST_BYTES_MAX: u64 = 24 << 20;

/// The memory for listings in most tests.
const LISTINGS: &str = "listing-memory=8M";

/// The same in bytes, and what the heap wastes between pieces of different lengths.
const LISTINGS_BYTES_MAX: u64 = 12 << 20;

/// A server with MLSD, and nothing on it.
fn server() -> Simulated {
    let features = "211-Features\\n MLST type*;size*;modify*;UNIX.mode*;unique*;\\n211 End";
    Simulated::start(Dialect::parse(&format!("[says]\nFEAT = \"{features}\"\n")))
}

/// The most memory that the filesystem has ever taken.
fn peak(mount: &Mount) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", mount.pid())).unwrap();
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[track_caller]
fn assert_peak(mount: &Mount, bytes_max: u64) {
    let peak = peak(mount);
    eprintln!("{} KiB of {} KiB", peak >> 10, bytes_max >> 10);
    assert!(
        peak <= bytes_max,
        "{} of {} KiB",
        peak >> 10,
        bytes_max >> 10
    );
}

/// The lines of so many files, as MLSD shows them.
fn ordinary(count: usize) -> Arc<Vec<u8>> {
    let mut text = Vec::with_capacity(count * 100);
    for index in 0..count {
        write!(
            text,
            "type=file;size={index};modify=20260227090512;UNIX.mode=0644;unique=801U{index:X}; file number {index:07}.txt\r\n"
        )
        .unwrap();
    }
    Arc::new(text)
}

/// Lines of one kind, up to a length of the text.
fn filled(bytes: usize, line: impl Fn(usize) -> Vec<u8>) -> Arc<Vec<u8>> {
    let mut text = Vec::with_capacity(bytes + 10_000);
    let mut index = 0;
    while text.len() < bytes {
        text.extend_from_slice(&line(index));
        index += 1;
    }
    Arc::new(text)
}

fn link(index: usize, target: usize) -> Vec<u8> {
    let target = "t".repeat(target);
    format!("type=OS.unix=slink:{target}; link{index:07}\r\n").into_bytes()
}

/// How many entries a directory shows, or the errno of reading it.
fn count(dir: &Path) -> Result<usize, i32> {
    let listed = fs::read_dir(dir).and_then(|entries| {
        let mut count = 0;
        for entry in entries {
            entry?;
            count += 1;
        }
        Ok(count)
    });
    listed.map_err(|error| error.raw_os_error().unwrap())
}

// SEMANTICS: S-listing-memory
#[test]
fn a_million_entries() {
    if !can_mount() {
        return;
    }
    let server = server();
    server.make_listed("/large", &ordinary(1_000_000));
    let mount = Mount::of_url(&server.url(), &[]);
    assert_eq!(count(&mount.path().join("large")), Ok(1_000_000));
    assert_peak(&mount, AT_REST_BYTES_MAX + (64 << 20));
}

// SEMANTICS: S-listing-memory, S-list-rejected
#[test]
fn the_worst_that_a_server_can_send() {
    if !can_mount() {
        return;
    }
    let server = server();
    // More than four times the memory.
    let endless = 10 << 20;
    let hostile = [
        // As many entries as fit into a text.
        (
            "/short",
            filled(4 << 20, |index| format!(" {index:x}\n").into_bytes()),
        ),
        ("/rejected", filled(endless, |_| b"x\n".repeat(1 << 20))),
        ("/one-line", filled(endless, |_| b"x".repeat(1 << 20))),
        ("/targets", filled(4 << 20, |index| link(index, 4095))),
        ("/same", filled(endless, |_| b" same\n".repeat(1 << 18))),
    ];
    for (dir, text) in &hostile {
        server.make_listed(dir, text);
        server.tree().put(&format!("{dir}/known"), b"content");
    }
    server.make_listed("/long-targets", &filled(1 << 20, |index| link(index, 4096)));
    server.make_listed("/after", &ordinary(10));
    let mount = Mount::of_url(&server.url(), &["listing-memory=2M"]);
    for (dir, _) in &hostile {
        let dir = mount.path().join(&dir[1..]);
        assert_eq!(count(&dir), Err(libc::ENOMEM), "{}", dir.display());
        // What is in it can be used all the same.
        assert_eq!(fs::read(dir.join("known")).unwrap(), b"content");
        let absent = File::open(dir.join("absent"));
        assert_eq!(absent.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert!(mount.logged("--listing-memory") >= hostile.len());
    assert_eq!(count(&mount.path().join("long-targets")), Ok(0));
    assert_eq!(count(&mount.path().join("after")), Ok(10));
    assert_peak(&mount, AT_REST_BYTES_MAX + LISTINGS_BYTES_MAX);
}

// SEMANTICS: S-listing-memory, S-ahead
#[test]
fn many_listings_that_are_kept_and_fetched_ahead() {
    if !can_mount() {
        return;
    }
    let server = server();
    // 3 MiB each, and so more than are kept.
    let text = ordinary(50_000);
    for number in 0..16 {
        server.make_listed(&format!("/dir{number:02}"), &text);
    }
    let mount = Mount::of_url(&server.url(), &[LISTINGS, "connections=8"]);
    let dirs: Vec<_> = fs::read_dir(mount.path()).unwrap().collect();
    for dir in dirs {
        assert_eq!(count(&dir.unwrap().path()), Ok(50_000));
    }
    assert_peak(&mount, AT_REST_BYTES_MAX + LISTINGS_BYTES_MAX);
}

// SEMANTICS: S-listing-memory
#[test]
fn directories_that_are_held_open() {
    if !can_mount() {
        return;
    }
    let server = server();
    let text = ordinary(60_000);
    for number in 0..4 {
        server.make_listed(&format!("/dir{number}"), &text);
    }
    let mount = Mount::of_url(&server.url(), &[LISTINGS, "connections=2"]);
    let open = |number: usize| fs::read_dir(mount.path().join(format!("dir{number}")));
    let mut held = vec![open(0).unwrap(), open(1).unwrap()];
    assert_eq!(errno(open(2)), libc::ENOMEM, "nothing can make way");
    // What is shown is shown to its end.
    assert_eq!(held.pop().unwrap().count(), 60_000);
    assert_eq!(open(3).unwrap().count(), 60_000);
    assert_eq!(held.pop().unwrap().count(), 60_000);
    assert_peak(&mount, AT_REST_BYTES_MAX + LISTINGS_BYTES_MAX);
}

// SEMANTICS: S-write
#[test]
fn sixty_files_that_are_being_written() {
    if !can_mount() {
        return;
    }
    let server = server();
    let mount = Mount::of_url(&server.url(), &["spool-memory-total=16M", "cache-size=4M"]);
    let content = pattern(1, 7 << 20);
    let files: Vec<_> = (0..60)
        .map(|number| {
            let mut file = File::create(mount.path().join(format!("file{number}"))).unwrap();
            file.write_all(&content).unwrap();
            file
        })
        .collect();
    // What uploads have under way comes on top.
    assert_peak(&mount, AT_REST_BYTES_MAX + (32 << 20));
    drop(files);
    for number in [0, 30, 59] {
        let node = server.tree().get(&format!("/file{number}")).cloned();
        assert!(node.unwrap().content.unwrap() == content, "{number}");
    }
    assert_peak(&mount, AT_REST_BYTES_MAX + (32 << 20));
}
