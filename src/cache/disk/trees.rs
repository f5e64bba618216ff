//! What a path is called on the disk, so that after a directory was renamed nothing below its old or new name is found any more.
//!
//! Nobody without the cache's key can choose paths with the same hash. It cannot be told from those of other paths, so what lies below a directory cannot be looked for. Instead
//! the directory gets a number that goes into the hash of every path below it. The numbers are kept in a file.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{local::HashKey, remote::RemotePath};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// The most numbers; with more, everything is dropped. 1000: renames of directories over years, and some 100 KB to write at each.
const TREES_MAX: usize = 1000;

/// The last line of the file, which shows that it is whole.
const END: &str = "end";

/// The numbers of the directories that were renamed here.
#[derive(Debug)]
pub(super) struct Trees {
    key: HashKey,
    file: PathBuf,
    numbers: HashMap<Box<[u8]>, u64>,
}

impl Trees {
    /// Those that were kept in this directory, and whether they can be read, without which nothing there can be trusted. Paths are
    /// hashed with `key`.
    pub(super) fn load(dir: &Path, key: HashKey) -> (Self, bool) {
        let file = dir.join("trees");
        let numbers = match fs::read_to_string(&file) {
            Ok(text) => parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(HashMap::new()),
            Err(_) => None,
        };
        let is_sound = numbers.is_some();
        let numbers = numbers.unwrap_or_default();
        (Self { key, file, numbers }, is_sound)
    }

    /// The hash of a path.
    pub(super) fn hash(&self, path: &RemotePath) -> u128 {
        let path = path.as_bytes();
        let mut renewed = Vec::new();
        if !self.numbers.is_empty() {
            let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            let ends = ends.map(|(at, _)| at).chain([path.len()]);
            for number in ends.filter_map(|end| self.numbers.get(path.get(..end)?)) {
                renewed.extend_from_slice(&number.to_le_bytes());
            }
        }
        self.key.hash_128([&*renewed, path])
    }

    /// Makes the hashes of these paths and of all below them new. Returns whether that is kept; else everything has to go.
    pub(super) fn renew(&mut self, dirs: &[&RemotePath]) -> bool {
        for dir in dirs {
            let number = fastrand::u64(..);
            self.numbers.insert(Box::from(dir.as_bytes()), number);
        }
        if self.numbers.len() > TREES_MAX {
            return false;
        }
        let saved = self.save();
        if let Err(error) = &saved {
            log::warn!("{}: {error}", self.file.display());
        }
        saved.is_ok()
    }

    /// Forgets all numbers, when nothing is left that they belong to.
    pub(super) fn clear(&mut self) {
        self.numbers.clear();
        if let Err(error) = fs::remove_file(&self.file)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("{}: {error}", self.file.display());
        }
    }

    fn save(&self) -> io::Result<()> {
        let mut text = Vec::new();
        for (path, number) in &self.numbers {
            let path = percent_encode(path, NON_ALPHANUMERIC);
            writeln!(text, "{number:x} {path}")?;
        }
        text.extend_from_slice(END.as_bytes());
        let new = self.file.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        // A name that is on the disk before its content would be an empty list after a power failure.
        file.sync_data()?;
        fs::rename(&new, &self.file)
    }
}

fn parse(text: &str) -> Option<HashMap<Box<[u8]>, u64>> {
    let lines = text.strip_suffix(END)?.lines();
    let entry = |line: &str| {
        let (number, path) = line.split_once(' ')?;
        let path: Vec<u8> = percent_decode_str(path).collect();
        Some((path.into(), u64::from_str_radix(number, 16).ok()?))
    };
    lines.map(entry).collect()
}
