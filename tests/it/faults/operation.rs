//! What a program may do, and what is on the server's disk before.

use std::{
    collections::HashMap,
    fmt,
    fs::{self, OpenOptions},
    path::Path,
    sync::{LazyLock, Mutex},
    time::{Duration, SystemTime},
};

use super::plan::Choice;
use crate::common::{Kind, give_to_server, pattern as made};

/// A file that goes in one write.
const SMALL: usize = 5_000;

/// A file that is sent while it is written, and patched in place.
const LARGE: usize = 3_000_000;

/// The ranges of a patch, none at the start: where, and how long.
const RANGES: &[(usize, usize)] = &[(1_200_000, 10), (2_000_000, 100_000)];

/// How many files are in a directory that is only listed.
pub(super) const LISTED: usize = 30;

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

    /// Those that are wanted and that a server can do.
    pub(super) fn all(kind: Kind, choice: &Choice) -> Vec<Self> {
        let is_wanted = |operation: &Self| choice.has_operation(*operation);
        let wanted: Vec<Self> = Self::ALL.into_iter().filter(is_wanted).collect();
        assert!(!wanted.is_empty(), "there is no such operation: {choice:?}");
        let can = |operation: &Self| *operation != Self::Link || kind.makes_symlinks();
        wanted.into_iter().filter(can).collect()
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

    /// Whether `file` is there before.
    pub(super) fn has_file(self) -> bool {
        !matches!(self, Self::New | Self::NewLarge | Self::Mkdir | Self::Link)
    }

    /// What `file` holds before.
    pub(super) fn old(self) -> Vec<u8> {
        pattern(1, if self.is_large() { LARGE } else { SMALL })
    }

    /// What `target` holds before.
    pub(super) fn target(self) -> Option<Vec<u8>> {
        (self == Self::RenameOver).then(|| pattern(4, SMALL))
    }

    /// Where a writing operation writes, and how much.
    pub(super) fn ranges(self) -> &'static [(usize, usize)] {
        match self {
            Self::New | Self::Replace => &[(0, SMALL)],
            Self::NewLarge | Self::ReplaceLarge => &[(0, LARGE)],
            Self::Append => &[(SMALL, 4_000)],
            Self::PatchStart => &[(0, 10)],
            Self::Patch | Self::PatchFirst => RANGES,
            _ => &[],
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
        if let Some(target) = self.target() {
            put("target", &target);
        }
        match self {
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

/// Others' files in the same directory.
pub(super) fn bystanders() -> [(&'static str, Vec<u8>); 4] {
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
