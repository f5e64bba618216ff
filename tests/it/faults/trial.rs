//! An operation with bytes of its own, and what the server's disk may hold afterwards.

use std::{
    borrow::Cow,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::Path,
    time::Duration,
};

use super::{
    operation::{LISTED, Operation, bystanders},
    wrong::{Failure, Wrong},
};
use crate::{
    common::{names_in, pattern},
    safety::{close, store},
};

/// A second that the clock of no test shows.
const TIME: Duration = Duration::from_mins(25_000_000);

/// How much the program stores when it goes on after a failure.
const NEWER: usize = 6_000;

/// What one case does. Its bytes are its own, so that none of another one can be taken for them.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) operation: Operation,
    /// What a writing operation leaves in `file`.
    new: Vec<u8>,
    /// What the program stores there afterwards, if it goes on.
    newer: Vec<u8>,
}

/// How an operation has failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// Before anything was written.
    Opening(io::Error),
    /// With bytes that the mount has taken.
    Writing(io::Error),
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> Self {
        let (Failed::Opening(error) | Failed::Writing(error)) = failed;
        error
    }
}

/// What the disk was found to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Old,
    New,
    /// Some of ours, as far as that is allowed.
    Part,
    /// What was there has a hidden name.
    Hidden,
}

impl Trial {
    /// The case of that number.
    pub(super) fn new(operation: Operation, number: usize) -> Self {
        let seed = 1_000 + 2 * number as u64;
        let mut new = operation.old();
        if !operation.has_file() {
            new.clear();
        }
        for &(at, len) in operation.ranges() {
            new.resize(new.len().max(at + len), 0);
            new[at..at + len].copy_from_slice(&pattern(seed, len));
        }
        Self {
            operation,
            new,
            newer: pattern(seed + 1, NEWER),
        }
    }

    /// Does it; what was read.
    pub(super) fn run(&self, dir: &Path) -> Result<Vec<u8>, Failed> {
        let file = dir.join("file");
        if self.operation.writes() {
            return self.write(&file).map(|()| Vec::new());
        }
        let done = match self.operation {
            Operation::Read | Operation::ReadLarge => {
                return fs::read(file).map_err(Failed::Opening);
            }
            Operation::List => return list(dir).map_err(Failed::Opening),
            Operation::Rename => fs::rename(file, dir.join("renamed")),
            Operation::RenameOver => fs::rename(file, dir.join("target")),
            Operation::Unlink => fs::remove_file(file),
            Operation::Mkdir => fs::create_dir(dir.join("dir")),
            Operation::Rmdir => fs::remove_dir(dir.join("dir")),
            Operation::Chmod => fs::set_permissions(file, fs::Permissions::from_mode(0o600)),
            Operation::Utimens => {
                let then = rustix::fs::Timespec {
                    tv_sec: TIME.as_secs().cast_signed(),
                    tv_nsec: 0,
                };
                let times = rustix::fs::Timestamps {
                    last_access: then,
                    last_modification: then,
                };
                let none = rustix::fs::AtFlags::empty();
                rustix::fs::utimensat(rustix::fs::CWD, &file, &times, none).map_err(Into::into)
            }
            _ => symlink("bystander", dir.join("link")),
        };
        done.map(|()| Vec::new()).map_err(Failed::Opening)
    }

    /// Writes to the file and closes it.
    fn write(&self, path: &Path) -> Result<(), Failed> {
        let mut options = OpenOptions::new();
        options.write(true);
        let is_append = self.operation == Operation::Append;
        match self.operation {
            Operation::Append => options.append(true),
            Operation::Patch | Operation::PatchFirst | Operation::PatchStart => &mut options,
            _ => options.create(true).truncate(true),
        };
        let mut file = options.open(path).map_err(Failed::Opening)?;
        let mut pieces = self.pieces();
        let written = pieces.try_for_each(|(at, bytes)| {
            if is_append {
                file.write_all(bytes)
            } else {
                file.write_all_at(bytes, at as u64)
            }
        });
        written.and(close(file)).map_err(Failed::Writing)
    }

    /// What is written, and where.
    fn pieces(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let ranges = self.operation.ranges().iter();
        ranges.map(|&(at, len)| (at, &self.new[at..at + len]))
    }

    /// The program goes on: it stores another file under the name.
    pub(super) fn store_newer(&self, dir: &Path) -> io::Result<()> {
        store(&dir.join("file"), &self.newer)
    }

    /// What was written, or stored afterwards.
    pub(super) fn written(&self, is_newer: bool) -> &[u8] {
        if is_newer { &self.newer } else { &self.new }
    }

    /// Whether this holds what was written, or stored afterwards.
    pub(super) fn is_in(&self, content: &[u8], is_newer: bool) -> bool {
        let has = |(at, bytes): (usize, &[u8])| content.get(at..at + bytes.len()) == Some(bytes);
        if is_newer {
            content == self.newer
        } else {
            self.pieces().all(has)
        }
    }

    /// Whether what was read is what is there.
    pub(super) fn check_read(&self, read: &[u8]) -> Result<(), Failure> {
        let expected = match self.operation {
            Operation::Read | Operation::ReadLarge => self.operation.old(),
            Operation::List => {
                let mut names: Vec<String> = (0..LISTED).map(|n| format!("listed{n:02}")).collect();
                names.extend(bystanders().map(|(name, _)| name.to_owned()));
                names.push("file".to_owned());
                names.sort();
                names.join("\n").into_bytes()
            }
            _ => Vec::new(),
        };
        if read == expected {
            return Ok(());
        }
        let (read, expected) = (read.len(), expected.len());
        Err(Wrong::Read.with(format!("{read} bytes of {expected}, with success")))
    }

    /// What the disk holds; a failure is what it must never hold.
    pub(super) fn found(&self, disk: &Path) -> Result<Found, Failure> {
        let file = fs::read(disk.join("file")).ok();
        let old = self.operation.old();
        match self.operation {
            operation if operation.writes() => self.found_written(disk, file.as_deref()),
            Operation::Rename | Operation::RenameOver => self.found_renamed(disk, file.as_deref()),
            Operation::Unlink if file.is_none() && is_hidden(disk, &old) => Ok(Found::Hidden),
            Operation::Unlink if file.is_none() => Ok(Found::New),
            Operation::Mkdir => Ok(is_new(disk.join("dir").is_dir())),
            Operation::Rmdir => Ok(is_new(!disk.join("dir").is_dir())),
            Operation::Link => match fs::read_link(disk.join("link")) {
                Ok(to) if to.ends_with("bystander") => Ok(Found::New),
                Ok(to) => Err(Wrong::Mixed.with(format!("a link to {}", to.display()))),
                Err(_) => Ok(Found::Old),
            },
            _ if file.as_ref() != Some(&old) => {
                Err(Wrong::Mixed.with(describe("file", file.as_deref())))
            }
            Operation::Chmod => match fs::metadata(disk.join("file")).unwrap().mode() & 0o7777 {
                0o600 => Ok(Found::New),
                0o644 => Ok(Found::Old),
                mode => Err(Wrong::Mixed.with(format!("mode {mode:o}"))),
            },
            Operation::Utimens => {
                let time = fs::metadata(disk.join("file")).unwrap().mtime();
                Ok(is_new(time == TIME.as_secs().cast_signed()))
            }
            _ => Ok(Found::Old),
        }
    }

    fn found_renamed(&self, disk: &Path, file: Option<&[u8]>) -> Result<Found, Failure> {
        let (old, theirs) = (self.operation.old(), self.operation.target());
        let to = fs::read(disk.join(self.new_name())).ok();
        match (file, to) {
            (Some(file), to) if file == old && to == theirs => Ok(Found::Old),
            (None, Some(to)) if to == old => Ok(Found::New),
            (Some(file), None)
                if file == old && theirs.is_some_and(|theirs| is_hidden(disk, &theirs)) =>
            {
                Ok(Found::Hidden)
            }
            (file, to) => Err(Wrong::Mixed.with(format!(
                "after the rename: {}, and {}",
                describe("file", file),
                describe(self.new_name(), to.as_deref())
            ))),
        }
    }

    /// What a file is called after a rename.
    fn new_name(&self) -> &'static str {
        if self.operation == Operation::RenameOver {
            "target"
        } else {
            "renamed"
        }
    }

    fn found_written(&self, disk: &Path, file: Option<&[u8]>) -> Result<Found, Failure> {
        let (old, new) = (self.operation.old(), &self.new);
        let has_file = self.operation.has_file();
        let Some(file) = file else {
            return match has_file {
                false => Ok(Found::Old),
                true if is_hidden(disk, &old) => Ok(Found::Hidden),
                true => Err(Wrong::Mixed.with("the file is gone")),
            };
        };
        if file == new {
            return Ok(Found::New);
        }
        if has_file && file == old {
            return Ok(Found::Old);
        }
        let is_part = match self.operation {
            Operation::New => new.starts_with(file),
            Operation::Append => file.starts_with(&old) && new.starts_with(file),
            Operation::Patch | Operation::PatchFirst => {
                let mut all = file.iter().zip(old.iter().zip(new));
                file.len() == new.len() && all.all(|(is, (old, new))| is == old || is == new)
            }
            _ => false,
        };
        if is_part {
            return Ok(Found::Part);
        }
        let first = file.iter().zip(new).position(|(a, b)| a != b);
        let what = describe("file", Some(file));
        Err(Wrong::Mixed.with(format!("{what}, wrong from {first:?}")))
    }

    /// Whether what was stored afterwards, with success, is there, and the operation has changed nothing but what it may.
    pub(super) fn check_newer(&self, disk: &Path) -> Result<(), Failure> {
        let file = fs::read(disk.join("file")).ok();
        if file.as_ref() != Some(&self.newer) {
            let what = describe("file", file.as_deref());
            return Err(Wrong::Overwritten.with(format!("by a late command: {what}")));
        }
        self.check_moved(disk, false)
    }

    /// Whether the disk holds what it may when neither the operation nor what was stored afterwards was a success.
    pub(super) fn check_either(&self, disk: &Path) -> Result<(), Failure> {
        let Some(file) = fs::read(disk.join("file")).ok() else {
            let operation = self.operation;
            let may_be_gone = !operation.writes() || !operation.has_file();
            return if may_be_gone || is_hidden(disk, &operation.old()) {
                self.check_moved(disk, true)
            } else {
                Err(Wrong::Mixed.with("the file is gone"))
            };
        };
        let was_free = !self.operation.has_file() || !self.operation.writes();
        let is_newer = file == self.newer || was_free && self.newer.starts_with(&file);
        if is_newer || !self.operation.writes() && file == self.operation.old() {
            return self.check_moved(disk, true);
        }
        if self.operation.writes() {
            return self.found_written(disk, Some(&file)).map(|_| ());
        }
        Err(Wrong::Mixed.with(describe("file", Some(&file))))
    }

    /// Whether a rename that had failed has moved nothing else than what it was for.
    fn check_moved(&self, disk: &Path, may_be_newer: bool) -> Result<(), Failure> {
        let Ok(moved) = fs::read(disk.join("renamed")) else {
            return Ok(());
        };
        let is_right = self.operation == Operation::Rename && moved == self.operation.old();
        if is_right || may_be_newer && moved == self.newer {
            return Ok(());
        }
        Err(Wrong::Mixed.with(describe("renamed", Some(&moved))))
    }
}

/// Whether others' files are as they were, and no others are there.
pub(super) fn check_others(disk: &Path) -> Result<(), Failure> {
    for (name, content) in bystanders() {
        if fs::read(disk.join(name)).ok().as_ref() != Some(&content) {
            return Err(Wrong::Others.with(format!("{name} has changed")));
        }
    }
    let mine = ["file", "renamed", "target", "dir", "link", "after"];
    let is_known = |name: &str| {
        mine.contains(&name)
            || name.starts_with("listed")
            || name.contains("ftpfs-")
            || bystanders().iter().any(|(theirs, _)| *theirs == name)
    };
    let names = names_in(disk);
    let names = names.iter().map(|name| String::from_utf8_lossy(name));
    let strange: Vec<String> = names
        .filter(|name| !is_known(name))
        .map(Cow::into_owned)
        .collect();
    if strange.is_empty() {
        return Ok(());
    }
    Err(Wrong::Others.with(format!("there is {strange:?}")))
}

/// The temporary files of a directory, and copies that lie beside a file.
pub(super) fn hidden(disk: &Path) -> Vec<(String, Vec<u8>)> {
    let names = names_in(disk);
    let names = names.iter().map(|name| String::from_utf8_lossy(name));
    names
        .filter(|name| name.contains("ftpfs-"))
        .map(|name| {
            let content = fs::read(disk.join(&*name)).unwrap_or_default();
            (name.into_owned(), content)
        })
        .collect()
}

/// Whether this lies under a hidden name.
fn is_hidden(disk: &Path, content: &[u8]) -> bool {
    hidden(disk).iter().any(|(_, found)| found == content)
}

fn is_new(is_new: bool) -> Found {
    if is_new { Found::New } else { Found::Old }
}

fn describe(name: &str, content: Option<&[u8]>) -> String {
    match content {
        None => format!("no {name}"),
        Some(content) => format!("{name} has {} bytes", content.len()),
    }
}

/// The names of a directory, or the error that its reader gets.
fn list(dir: &Path) -> io::Result<Vec<u8>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join("\n").into_bytes())
}
