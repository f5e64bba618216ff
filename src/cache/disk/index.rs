//! What lies on the disk: the parts of files, the one used least first out, and how many bytes they take.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use lru::LruCache;

use super::key::{FileKey, PartKey};

/// The most parts. 100 000: some 20 MB of memory; as many small files, or 1.6 TB of large ones.
const PARTS_MAX: usize = 100_000;

/// How many parts are held open, those used last. 32: more files are seldom read at once.
const OPEN_MAX: usize = 32;

/// The parts that are there.
#[derive(Debug)]
pub(super) struct Index {
    /// How many bytes of the disk each takes.
    parts: LruCache<PartKey, u64>,
    /// The same in the order of their paths.
    by_path: BTreeSet<PartKey>,
    open: LruCache<PartKey, Arc<File>>,
    bytes: u64,
}

impl Index {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            parts: LruCache::unbounded(),
            by_path: BTreeSet::new(),
            open: LruCache::unbounded(),
            bytes: 0,
        }
    }

    /// What a directory holds, oldest use first. Parts of another format are removed; nothing else is touched.
    pub(super) fn scan(dir: &Path) -> io::Result<Self> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(key) = PartKey::parse(name) {
                let metadata = entry.metadata()?;
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                // st_blocks counts in 512 bytes whatever the disk does.
                found.push((used, key, metadata.blocks() * 512));
            } else if is_of_another_format(name) {
                log::info!("{} is of another format: removed", entry.path().display());
                fs::remove_file(entry.path())?;
            }
        }
        found.sort_unstable();
        let mut index = Self::new();
        for (_, key, bytes) in found {
            index.add(key, bytes);
        }
        Ok(index)
    }

    /// How many bytes all take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a part is there; it counts as used.
    pub(super) fn touch(&mut self, key: &PartKey) -> bool {
        self.parts.get(key).is_some()
    }

    /// The part as an open file, if it is held.
    pub(super) fn opened(&mut self, key: &PartKey) -> Option<Arc<File>> {
        self.open.get(key).cloned()
    }

    /// Holds a part open.
    pub(super) fn hold(&mut self, key: PartKey, file: Arc<File>) {
        self.open.put(key, file);
        if self.open.len() > OPEN_MAX {
            self.open.pop_lru();
        }
    }

    /// Holds none open any more.
    #[cfg(test)]
    pub(super) fn close_all(&mut self) {
        self.open.clear();
    }

    /// A part has grown, or is new.
    pub(super) fn add(&mut self, key: PartKey, bytes: u64) {
        self.bytes += bytes;
        if let Some(held) = self.parts.get_mut(&key) {
            *held += bytes;
        } else {
            self.parts.put(key, bytes);
            self.by_path.insert(key);
        }
    }

    /// Forgets a part; whether it was there.
    pub(super) fn remove(&mut self, key: &PartKey) -> bool {
        self.open.pop(key);
        self.by_path.remove(key);
        let bytes = self.parts.pop(key);
        self.bytes -= bytes.unwrap_or(0);
        bytes.is_some()
    }

    /// Forgets the part used least, if that must be so that `more` bytes fit into `bytes_max`.
    pub(super) fn evict(&mut self, more: u64, bytes_max: u64) -> Option<PartKey> {
        let is_too_much = self.bytes + more > bytes_max || self.parts.len() > PARTS_MAX;
        let (key, _) = self.parts.peek_lru().filter(|_| is_too_much)?;
        let key = *key;
        self.remove(&key);
        Some(key)
    }

    /// Forgets all parts of all versions of a file, which are returned.
    pub(super) fn take_path(&mut self, path: u128) -> Vec<PartKey> {
        let key = |size, seconds, nanoseconds, number| PartKey {
            file: FileKey {
                path,
                size,
                seconds,
                nanoseconds,
            },
            number,
        };
        let all = key(0, i64::MIN, 0, 0)..=key(u64::MAX, i64::MAX, u32::MAX, u64::MAX);
        let keys: Vec<_> = self.by_path.range(all).copied().collect();
        for key in &keys {
            self.remove(key);
        }
        keys
    }

    /// Forgets all parts, which are returned.
    pub(super) fn take_all(&mut self) -> Vec<PartKey> {
        self.parts.clear();
        self.open.clear();
        self.bytes = 0;
        std::mem::take(&mut self.by_path).into_iter().collect()
    }
}

/// Whether a name is what an older or newer ftpfs calls a part: hexadecimal fields and a format.
fn is_of_another_format(name: &str) -> bool {
    name.rsplit_once(".v").is_some_and(|(fields, format)| {
        let is_hexadecimal = |c: char| c.is_ascii_hexdigit() || c == '-';
        fields.len() > 32 && fields.chars().all(is_hexadecimal) && format.parse::<u32>().is_ok()
    })
}
