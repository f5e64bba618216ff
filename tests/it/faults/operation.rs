//! What a program does, and what the server's disk may hold afterwards.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::Path,
    sync::{LazyLock, Mutex},
    time::{Duration, SystemTime},
};

use super::plan::Choice;
use crate::{
    common::{Kind, give_to_server, names_in, pattern as made},
    safety::close,
};

/// A file that goes in one write.
const SMALL: usize = 5_000;

/// A file that is sent while it is written, and patched in place.
const LARGE: usize = 3_000_000;

/// The ranges of a patch, none at the start.
const RANGES: [(usize, usize); 2] = [(1_200_000, 10), (2_000_000, 100_000)];

/// A second that the clock of no test shows.
const TIME: Duration = Duration::from_mins(25_000_000);

/// What is in a directory that is only listed.
const LISTED: usize = 30;

/// One operation of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    ReadLarge,
    List,
    New,
    NewLarge,
    Replace,
    ReplaceLarge,
    Append,
    Patch,
    /// The first one of a mount, which finds out whether the server can do it.
    PatchFirst,
    PatchStart,
    Rename,
    RenameOver,
    Unlink,
    Mkdir,
    Rmdir,
    Chmod,
    Utimens,
    Link,
}

/// How an operation has failed.
#[derive(Debug)]
#[expect(dead_code, reason = "the error is printed")]
pub(super) enum Failed {
    /// Before anything was written.
    Opening(io::Error),
    /// With bytes that the mount has taken.
    Writing(io::Error),
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

impl Operation {
    const ALL: [Self; 19] = [
        Self::Read,
        Self::ReadLarge,
        Self::List,
        Self::New,
        Self::NewLarge,
        Self::Replace,
        Self::ReplaceLarge,
        Self::Append,
        Self::Patch,
        Self::PatchFirst,
        Self::PatchStart,
        Self::Rename,
        Self::RenameOver,
        Self::Unlink,
        Self::Mkdir,
        Self::Rmdir,
        Self::Chmod,
        Self::Utimens,
        Self::Link,
    ];

    /// Those that a server can do and that are wanted.
    pub(super) fn all(kind: Kind, choice: &Choice) -> Vec<Self> {
        let can = |operation: &Self| *operation != Self::Link || kind.makes_symlinks();
        let all = Self::ALL.into_iter().filter(can);
        all.filter(|operation| choice.has_operation(*operation))
            .collect()
    }

    /// Whether it changes what is in a file.
    pub(super) fn writes(self) -> bool {
        matches!(
            self,
            Self::New
                | Self::NewLarge
                | Self::Replace
                | Self::ReplaceLarge
                | Self::Append
                | Self::Patch
                | Self::PatchFirst
                | Self::PatchStart
        )
    }

    /// Whether the server is changed by it.
    pub(super) fn changes(self) -> bool {
        !matches!(self, Self::Read | Self::ReadLarge | Self::List)
    }

    /// Whether another program may store a file under the same name when it has failed.
    pub(super) fn has_name(self) -> bool {
        self.writes() || matches!(self, Self::Rename | Self::Unlink)
    }

    /// Whether it needs a mount that has done nothing yet.
    pub(super) fn is_alone(self) -> bool {
        self == Self::PatchFirst
    }

    /// Whether the mount has seen the directory before.
    pub(super) fn looks_first(self) -> bool {
        self != Self::List
    }

    fn is_large(self) -> bool {
        matches!(
            self,
            Self::ReadLarge
                | Self::NewLarge
                | Self::ReplaceLarge
                | Self::Patch
                | Self::PatchFirst
                | Self::PatchStart
        )
    }

    fn has_file(self) -> bool {
        !matches!(self, Self::New | Self::NewLarge | Self::Mkdir | Self::Link)
    }

    fn old(self) -> Vec<u8> {
        pattern(1, if self.is_large() { LARGE } else { SMALL })
    }

    /// What the file holds when a writing operation is done.
    pub(super) fn written(self) -> Vec<u8> {
        let mut new = self.old();
        match self {
            Self::New | Self::Replace => pattern(7, SMALL),
            Self::NewLarge | Self::ReplaceLarge => pattern(7, LARGE),
            Self::Append => [new, pattern(7, 4_000)].concat(),
            Self::PatchStart => {
                new[..10].copy_from_slice(&pattern(7, 10));
                new
            }
            Self::Patch | Self::PatchFirst => {
                for (at, len) in RANGES {
                    new[at..at + len].copy_from_slice(&pattern(at as u64, len));
                }
                new
            }
            _ => new,
        }
    }

    /// Puts everything where it is before.
    pub(super) fn prepare(self, disk: &Path) {
        fs::create_dir(disk).unwrap();
        give_to_server(disk);
        let put = |name: &str, content: &[u8]| {
            let path = disk.join(name);
            fs::write(&path, content).unwrap();
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            let then = SystemTime::now() - Duration::from_secs(1_000);
            file.set_modified(then).unwrap();
            give_to_server(&path);
        };
        for (name, content) in bystanders() {
            put(name, &content);
        }
        if self.has_file() {
            put("file", &self.old());
        }
        match self {
            Self::RenameOver => put("target", &pattern(4, SMALL)),
            Self::Rmdir => {
                fs::create_dir(disk.join("dir")).unwrap();
                give_to_server(&disk.join("dir"));
            }
            Self::List => {
                for number in 0..LISTED {
                    put(&format!("listed{number:02}"), &pattern(5, number));
                }
            }
            _ => {}
        }
    }

    /// Does it; what was read.
    pub(super) fn run(self, dir: &Path) -> Result<Vec<u8>, Failed> {
        let file = dir.join("file");
        if self.writes() {
            return self.write(&file).map(|()| Vec::new());
        }
        let done = match self {
            Self::Read | Self::ReadLarge => return fs::read(file).map_err(Failed::Opening),
            Self::List => return list(dir).map_err(Failed::Opening),
            Self::Rename => fs::rename(file, dir.join("renamed")),
            Self::RenameOver => fs::rename(file, dir.join("target")),
            Self::Unlink => fs::remove_file(file),
            Self::Mkdir => fs::create_dir(dir.join("dir")),
            Self::Rmdir => fs::remove_dir(dir.join("dir")),
            Self::Chmod => fs::set_permissions(file, fs::Permissions::from_mode(0o600)),
            Self::Utimens => {
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
    fn write(self, path: &Path) -> Result<(), Failed> {
        let mut options = OpenOptions::new();
        options.write(true);
        match self {
            Self::Append => options.append(true),
            Self::Patch | Self::PatchFirst | Self::PatchStart => &mut options,
            _ => options.create(true).truncate(true),
        };
        let mut file = options.open(path).map_err(Failed::Opening)?;
        let written = match self {
            Self::Append => file.write_all(&pattern(7, 4_000)),
            Self::PatchStart => file.write_all_at(&pattern(7, 10), 0),
            Self::Patch => RANGES
                .into_iter()
                .try_for_each(|(at, len)| file.write_all_at(&pattern(at as u64, len), at as u64)),
            _ => file.write_all(&self.written()),
        };
        written.and(close(file)).map_err(Failed::Writing)
    }

    /// Whether bytes that were kept on this machine are those that were written.
    pub(super) fn is_kept(self, kept: &[Vec<u8>]) -> bool {
        let new = self.written();
        let ranges: Vec<(usize, usize)> = match self {
            Self::Append => vec![(SMALL, 4_000)],
            Self::PatchStart => vec![(0, 10)],
            Self::Patch | Self::PatchFirst => RANGES.to_vec(),
            _ => vec![(0, new.len())],
        };
        let has = |kept: &Vec<u8>, at: usize, len: usize| {
            kept.get(at..at + len) == Some(&new[at..at + len])
        };
        kept.iter()
            .any(|kept| ranges.iter().all(|&(at, len)| has(kept, at, len)))
    }

    /// Whether what was read is what is there.
    pub(super) fn check_read(self, read: &[u8]) -> Result<(), String> {
        let expected = match self {
            Self::Read | Self::ReadLarge => self.old(),
            Self::List => {
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
        Err(format!("READ {read} bytes of {expected}, with success"))
    }

    /// What the disk holds; an error is what it must never hold.
    pub(super) fn found(self, disk: &Path) -> Result<Found, String> {
        let file = fs::read(disk.join("file")).ok();
        let hidden = hidden(disk);
        let is_hidden = |content: &[u8]| hidden.iter().any(|(_, found)| found == content);
        let old = self.old();
        match self {
            _ if self.writes() => self.found_written(file, is_hidden(&old)),
            Self::Rename | Self::RenameOver => {
                let to = if self == Self::Rename {
                    "renamed"
                } else {
                    "target"
                };
                let to = fs::read(disk.join(to)).ok();
                let theirs = (self == Self::RenameOver).then(|| pattern(4, SMALL));
                match (file, to) {
                    (Some(file), to) if file == old && to == theirs => Ok(Found::Old),
                    (None, Some(to)) if to == old => Ok(Found::New),
                    (Some(file), None)
                        if file == old && theirs.is_some_and(|it| is_hidden(&it)) =>
                    {
                        Ok(Found::Hidden)
                    }
                    (file, to) => Err(format!(
                        "after the rename: {}, and {}",
                        describe("file", file.as_deref()),
                        describe("target", to.as_deref())
                    )),
                }
            }
            Self::Unlink if file.is_none() => Ok(if is_hidden(&old) {
                Found::Hidden
            } else {
                Found::New
            }),
            Self::Mkdir => Ok(is_new(disk.join("dir").is_dir())),
            Self::Rmdir => Ok(is_new(!disk.join("dir").is_dir())),
            Self::Link => match fs::read_link(disk.join("link")) {
                Ok(to) => {
                    let is_right = to == Path::new("bystander") || to.ends_with("bystander");
                    is_right
                        .then_some(Found::New)
                        .ok_or(format!("a link to {}", to.display()))
                }
                Err(_) => Ok(Found::Old),
            },
            _ if file.as_ref() != Some(&old) => Err(describe("file", file.as_deref())),
            Self::Chmod => {
                let mode = fs::metadata(disk.join("file")).unwrap().mode() & 0o7777;
                match mode {
                    0o600 => Ok(Found::New),
                    0o644 => Ok(Found::Old),
                    mode => Err(format!("mode {mode:o}")),
                }
            }
            Self::Utimens => {
                let time = fs::metadata(disk.join("file")).unwrap().mtime();
                Ok(is_new(time == TIME.as_secs().cast_signed()))
            }
            _ => Ok(Found::Old),
        }
    }

    fn found_written(self, file: Option<Vec<u8>>, is_hidden: bool) -> Result<Found, String> {
        let (old, new) = (self.old(), self.written());
        let Some(file) = file else {
            return match self.has_file() {
                false => Ok(Found::Old),
                true if is_hidden => Ok(Found::Hidden),
                true => Err("the file is GONE".to_owned()),
            };
        };
        if file == new {
            return Ok(Found::New);
        }
        if self.has_file() && file == old {
            return Ok(Found::Old);
        }
        let is_part = match self {
            Self::New => new.starts_with(&file),
            Self::Append => file.starts_with(&old) && new.starts_with(&file),
            Self::Patch | Self::PatchFirst => {
                file.len() == new.len()
                    && (0..file.len()).all(|at| file[at] == old[at] || file[at] == new[at])
            }
            _ => false,
        };
        if is_part {
            return Ok(Found::Part);
        }
        let first = file.iter().zip(&new).position(|(a, b)| a != b);
        Err(format!(
            "{}, wrong from {first:?}",
            describe("file", Some(&file))
        ))
    }

    /// Whether others' files are as they were, and no others are there.
    pub(super) fn check_others(disk: &Path) -> Result<(), String> {
        for (name, content) in bystanders() {
            if fs::read(disk.join(name)).ok().as_ref() != Some(&content) {
                return Err(format!("{name} has CHANGED"));
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
        Err(format!("there is {strange:?}"))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::ReadLarge => "read-large",
            Self::List => "list",
            Self::New => "new",
            Self::NewLarge => "new-large",
            Self::Replace => "replace",
            Self::ReplaceLarge => "replace-large",
            Self::Append => "append",
            Self::Patch => "patch",
            Self::PatchFirst => "patch-first",
            Self::PatchStart => "patch-start",
            Self::Rename => "rename",
            Self::RenameOver => "rename-over",
            Self::Unlink => "unlink",
            Self::Mkdir => "mkdir",
            Self::Rmdir => "rmdir",
            Self::Chmod => "chmod",
            Self::Utimens => "utimens",
            Self::Link => "link",
        })
    }
}

fn is_new(is_new: bool) -> Found {
    if is_new { Found::New } else { Found::Old }
}

/// Others' files in the same directory.
fn bystanders() -> [(&'static str, Vec<u8>); 4] {
    [
        ("bystander", pattern(2, SMALL)),
        ("file.bak", pattern(3, SMALL)),
        ("fil", pattern(8, 100)),
        ("File", pattern(9, 200)),
    ]
}

/// Bytes that differ at every offset and between seeds; made once.
pub(super) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    type Made = HashMap<(u64, usize), Vec<u8>>;
    static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);
    let mut known = MADE.lock().unwrap();
    let bytes = known.entry((seed, len)).or_insert_with(|| made(seed, len));
    bytes.clone()
}

/// The temporary files of a directory.
pub(super) fn hidden(disk: &Path) -> Vec<(String, Vec<u8>)> {
    let names = names_in(disk);
    let names = names.iter().map(|name| String::from_utf8_lossy(name));
    names
        .filter(|name| name.contains("ftpfs-"))
        .map(|name| {
            (
                name.clone().into_owned(),
                fs::read(disk.join(&*name)).unwrap_or_default(),
            )
        })
        .collect()
}

pub(super) fn describe(name: &str, content: Option<&[u8]>) -> String {
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
