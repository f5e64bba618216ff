//! What content is called on the disk: files by path and version, the parts that they are stored in, and open files.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{cache::block::Version, remote::Precision};

/// The format of slots and of the names of parts; slots of another are not read.
pub(super) const FORMAT: u32 = 2;

/// How many blocks a part holds. 64: 16 MiB, so that a large cache is a few thousand files and what is evicted at once is
/// a small piece of it.
pub(super) const PART_BLOCKS: u64 = 64;

/// The content of a file as it is known after a restart: by path, size and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileKey {
    /// The hash of its path.
    pub(super) path: u128,
    pub(super) size: u64,
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

impl FileKey {
    /// The key of this version of the file at a path; `None` without a time to the second.
    pub(super) fn new(path: u128, version: &Version) -> Option<Self> {
        let modified = version.modified?;
        (modified.precision == Precision::Second).then_some(Self {
            path,
            size: version.size,
            seconds: modified.seconds,
            nanoseconds: modified.nanoseconds,
        })
    }
}

/// Some consecutive blocks of a file, which are one file here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PartKey {
    pub(super) file: FileKey,
    pub(super) number: u64,
}

impl PartKey {
    /// The part that a block of a file lies in.
    pub(super) fn of(file: FileKey, index: u64) -> Self {
        Self {
            file,
            number: index / PART_BLOCKS,
        }
    }

    /// What it is called.
    pub(super) fn name(&self) -> String {
        let FileKey {
            path,
            size,
            seconds,
            nanoseconds,
        } = self.file;
        format!(
            "{path:032x}-{size:x}-{seconds:x}-{nanoseconds:x}-{:x}.v{FORMAT}",
            self.number
        )
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let name = name.strip_suffix(&format!(".v{FORMAT}"))?;
        let mut fields = name.split('-');
        let mut field = || fields.next().filter(|field| !field.starts_with('+'));
        let key = Self {
            file: FileKey {
                path: u128::from_str_radix(field()?, 16).ok()?,
                size: u64::from_str_radix(field()?, 16).ok()?,
                seconds: u64::from_str_radix(field()?, 16).ok()?.cast_signed(),
                nanoseconds: u32::from_str_radix(field()?, 16).ok()?,
            },
            number: u64::from_str_radix(field()?, 16).ok()?,
        };
        field().is_none().then_some(key)
    }
}

/// What an open file is called on the disk.
#[derive(Debug, Clone)]
pub(super) struct Binding {
    pub(super) version: Version,
    pub(super) key: FileKey,
    /// Set when the file is changed here: what was fetched before is not to be kept, nor found.
    pub(super) is_forgotten: Arc<AtomicBool>,
}

impl Binding {
    pub(super) fn is_forgotten(&self) -> bool {
        self.is_forgotten.load(Ordering::SeqCst)
    }
}
