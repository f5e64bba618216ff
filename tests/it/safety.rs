//! Nothing is destroyed that no program asked to destroy: each way in which that once happened, on real servers.
//!
//! After each case the bytes on the server's disk are compared, and what the program was told has to agree with them.

mod conflict;
mod content;
mod create;
mod debts;
mod hotfolder;
mod inside;
mod listing;
mod lost;
mod private;
mod remount;
mod replace;
mod rights;
mod space;
mod unlisted;
mod verify;
mod writers;

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::IntoRawFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::Path,
    thread,
    time::Duration,
};

use crate::common::{Meddler, Target, names_in};

/// Options of a mount that looks at nothing again by itself and does not wait long for a server.
const OLD: &[&str] = &["dir-ttl=600", "timeout=5", "drain-timeout=1"];

/// Sizes on both sides of what is sent at once (64 KiB) and of what is changed in place (1 MiB).
const SIZES: [usize; 5] = [5_000, 65_537, (1 << 20) - 1, 1 << 20, 3_000_000];

/// Lets what was listed get older than the two seconds for which it is believed.
fn grow_old() {
    thread::sleep(Duration::from_millis(2_100));
}

/// What a file holds after a change inside it.
fn changed(old: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut new = old.to_vec();
    new.resize(new.len().max(at + bytes.len()), 0);
    new[at..at + bytes.len()].copy_from_slice(bytes);
    new
}

/// Opens a file that exists for reading and writing.
fn open(path: &Path) -> File {
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).open(path);
    opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Opens or creates a file, and truncates nothing.
fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_CREAT);
    options.open(path)
}

/// Closes a file; what close(2) says.
pub(crate) fn close(file: File) -> io::Result<()> {
    // SAFETY: the descriptor is the file's own, which gives it away.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Changes a file that exists and closes it.
fn change(path: &Path, at: usize, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(bytes, at as u64)?;
    close(file)
}

/// Replaces or creates a file and closes it.
pub(crate) fn store(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = File::create(path)?;
    file.write_all_at(bytes, 0)?;
    close(file)
}

/// Asserts that the server's disk holds this.
#[track_caller]
fn assert_disk(t: &Target, name: &str, expected: &[u8], what: &str) {
    let found = t.on_disk(name);
    assert!(
        found == expected,
        "{what}: {name} has {} bytes of {}, and the first wrong one is at {:?}",
        found.len(),
        expected.len(),
        found.iter().zip(expected).position(|(a, b)| a != b)
    );
}

/// Asserts that a program that was told of success finds the new bytes on the disk, and one that was not the old ones.
#[track_caller]
fn assert_agrees(
    t: &Target,
    name: &str,
    told: &io::Result<()>,
    old: &[u8],
    new: &[u8],
    what: &str,
) {
    match told {
        Ok(()) => assert_disk(t, name, new, &format!("{what}, success")),
        Err(error) => assert_disk(t, name, old, &format!("{what}, {error}")),
    }
}

/// Whether the mount shows a file as it is on the server's disk.
#[track_caller]
fn assert_shown(t: &Target, name: &str, what: &str) {
    let disk = fs::read(t.disk(name)).ok();
    let size = fs::metadata(t.path(name)).ok().map(|known| known.len());
    let on_disk = disk.as_ref().map(|bytes| bytes.len() as u64);
    assert_eq!(size, on_disk, "{what}: size of {name}");
    let shown = fs::read(t.path(name)).ok();
    assert!(shown == disk, "{what}: bytes of {name}");
}

/// Replaces a file on the server by another one, as a client does that uploads beside it and renames.
fn swap_on_disk(t: &Target, name: &str, content: &[u8]) {
    t.put_on_disk("swap", content);
    let later = std::time::SystemTime::now() + Duration::from_mins(2);
    let file = OpenOptions::new().write(true).open(t.disk("swap")).unwrap();
    file.set_modified(later).unwrap();
    fs::rename(t.disk("swap"), t.disk(name)).unwrap();
}

/// Lists a directory, so that the mount knows what is in it.
fn look(t: &Target, name: &str) {
    names_in(&t.path(name));
}

/// How often a file was stored under its own name, as far as the proxy heard.
fn stored_in_place(heard: &[String], name: &str) -> usize {
    let end = format!("/{name}");
    let is_store = |line: &&String| line.starts_with("STOR ") && line.ends_with(&end);
    heard.iter().filter(is_store).count()
}

/// Whether a command is a listing.
fn is_listing(line: &str) -> bool {
    line.starts_with("MLSD") || line.starts_with("LIST")
}

/// Lets the proxy refuse temporary names.
fn refuse_temporary(meddler: &Meddler, reply: &str) {
    meddler.on("STOR ").holding("ftpfs-").answer(reply);
}
