//! Blocks on disk: the second tier behind the block cache in memory, which survives a restart.
//!
//! What is hard here, and what answers it:
//! 1. A read must not wait for a write: blocks are handed to one thread through a bounded [`Queue`], and dropped when it is full.
//! 2. The machine may stop at any moment, and disks err: each block has a checksum ([`slot`]), and nothing is synchronised.
//! 3. Size and time alone do not tell our own changes apart: what is changed here is forgotten first. Writes of the old content
//!    may still wait in the queue then; they carry a flag ([`Binding`]) by which they are known.
//! 4. Whatever the disk does, programs must not notice: any error switches the cache off, with one warning.

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod index;
mod key;
mod queue;
mod slot;
mod trees;

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::BytesMut;
use lru::LruCache;
use rustix::{
    fs::{FlockOperation, flock},
    process::nice,
};
use twox_hash::XxHash3_64;

use self::{
    index::Index,
    key::{Binding, FileKey, PartKey},
    queue::Queue,
    slot::Slot,
    trees::Trees,
};
use super::block::{Block, FileId, Version};
use crate::{
    clock::Clock,
    config::DiskConfig,
    local::{self, HashKey},
    remote::RemotePath,
};

/// How old a version must be before its content is kept. 2 s: a file that was changed in this second may be changed once more
/// without showing another time; one more for clocks that differ a little.
const AGE_MIN: Duration = Duration::from_secs(2);

/// How many open files are known by number. 1024: those whose streams may still leave something behind.
const BINDINGS_MAX: usize = 1024;

/// How many flags are kept before those are dropped that nobody holds.
const FLAGS_MAX: usize = 4 * BINDINGS_MAX;

/// How far behind others the writing thread stands. 10: a tenth of a processor that readers want too, which writes some 250 MB/s.
const WRITER_NICE: i32 = 10;

/// The file with the key of the hashes by which paths are found.
const KEY: &str = "key";

/// Reads of the same block wait for each other; of different ones hardly ever.
const LOADERS: usize = 16;

/// The blocks of one server and directory.
pub(super) struct DiskCache {
    dir: PathBuf,
    bytes_max: u64,
    clock: Arc<dyn Clock>,
    is_off: AtomicBool,
    state: Mutex<State>,
    queue: Queue,
    writer: Mutex<Option<JoinHandle<()>>>,
    loaders: [Mutex<()>; LOADERS],
    /// Held for as long as the directory is ours.
    dir_lock: File,
}

/// Guarded by `DiskCache::state`; nothing else is taken under it, and no disk is waited for but to note a renamed directory.
struct State {
    index: Index,
    trees: Trees,
    bindings: LruCache<FileId, Binding>,
    /// The flags of paths that bindings or queued writes have.
    flags: HashMap<RemotePath, Arc<AtomicBool>>,
}

impl State {
    /// What was fetched before is not to be kept, nor found, of the files that are meant.
    fn flag(&mut self, is_meant: impl Fn(&RemotePath) -> bool) {
        for (_, flag) in self.flags.extract_if(|path, _| is_meant(path)) {
            flag.store(true, Ordering::SeqCst);
        }
    }
}

impl DiskCache {
    /// The cache of a server and directory, with what an earlier mount has left; `None`, and a warning, where it cannot be had.
    pub(super) fn open(
        config: &DiskConfig,
        queue_bytes_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Option<Arc<Self>> {
        let dir = config.dir.join(dir_name(&config.server));
        let opened = Self::open_in(dir.clone(), config.bytes_max, queue_bytes_max, clock);
        opened
            .inspect_err(|error| log::warn!("no disk cache in {}: {error}", dir.display()))
            .ok()
    }

    fn open_in(
        dir: PathBuf,
        bytes_max: u64,
        queue_bytes_max: usize,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Arc<Self>> {
        prepare(&dir)?;
        let lock = private_file().truncate(false).open(dir.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => io::Error::other("another ftpfs uses it"),
            error => error.into(),
        })?;
        let kept = HashKey::kept_in(&dir.join(KEY))?;
        let (mut trees, is_sound) = Trees::load(&dir, kept.key);
        let mut index = Index::scan(&dir)?;
        if !is_sound || (kept.is_new && index.bytes() > 0) {
            log::warn!("{}: not to be read, so all is dropped", dir.display());
            remove_parts(&dir, &index.take_all());
            trees.clear();
        }
        let cache = Arc::new(Self {
            bytes_max,
            clock,
            is_off: AtomicBool::new(false),
            state: Mutex::new(State {
                index,
                trees,
                bindings: LruCache::unbounded(),
                flags: HashMap::new(),
            }),
            queue: Queue::new(queue_bytes_max),
            writer: Mutex::default(),
            loaders: Default::default(),
            dir,
            dir_lock: lock,
        });
        cache.make_room(0);
        let writer = Arc::clone(&cache);
        let thread = thread::Builder::new()
            .name("ftpfs-disk".into())
            .spawn(move || writer.write_behind())?;
        *lock_of(&cache.writer) = Some(thread);
        log::info!(
            "disk cache in {}: {} of {} bytes used",
            cache.dir.display(),
            cache.bytes(),
            bytes_max
        );
        Ok(cache)
    }

    /// How many bytes of the disk it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().index.bytes()
    }

    /// How many bytes of memory may wait to be written.
    pub(super) fn queue_bytes_max(&self) -> usize {
        self.queue.bytes_max()
    }

    /// Tells under which path the file of this number is read, in this version. Without a time to the second, or so soon after it that
    /// the file may change unnoticed, it is not kept.
    pub(super) fn bind(&self, file: FileId, version: &Version, path: &RemotePath) {
        let mut state = self.lock();
        let state = &mut *state;
        let age = version.modified.map(|modified| {
            let modified = modified.to_system_time();
            self.clock.wall().duration_since(modified)
        });
        let is_settled = matches!(age, Some(Ok(age)) if age >= AGE_MIN);
        let key = FileKey::new(state.trees.hash(path), version).filter(|_| is_settled);
        let Some(key) = key else {
            state.bindings.pop(&file);
            return;
        };
        if state.flags.len() >= FLAGS_MAX {
            state.flags.retain(|_, flag| Arc::strong_count(flag) > 1);
        }
        let is_forgotten = Arc::clone(state.flags.entry(path.clone()).or_default());
        let binding = Binding {
            version: *version,
            key,
            is_forgotten,
        };
        state.bindings.put(file, binding);
        if state.bindings.len() > BINDINGS_MAX {
            state.bindings.pop_lru();
        }
    }

    /// Hands a block over to be written, if there is room in the queue. Never waits for the disk.
    pub(super) fn offer(&self, file: FileId, version: &Version, block: &Block) {
        if block.is_empty() || block.end() > version.size {
            return;
        }
        let Some(binding) = self.binding(file, version) else {
            return;
        };
        self.queue.push(binding, block);
    }

    /// Reads a block, if it is there in this version and undamaged; `buffer` provides the memory.
    pub(super) fn read(
        &self,
        file: FileId,
        version: &Version,
        index: u64,
        buffer: impl FnOnce(usize) -> BytesMut,
    ) -> Option<Block> {
        let binding = self.binding(file, version)?;
        let part = PartKey::of(binding.key, index);
        let read = self.open_part(part).and_then(|opened| match opened {
            Some(opened) => match slot::read(&opened, &binding.key, index, buffer)? {
                Slot::Block(block) => Ok(Some(block)),
                Slot::Absent => Ok(None),
                Slot::Damaged => {
                    log::warn!("block {index} in {} is damaged", self.path(&part).display());
                    slot::erase(&opened, index).map(|()| None)
                }
            },
            None => Ok(None),
        });
        let block = read.inspect_err(|error| self.turn_off(error)).ok()?;
        block.filter(|_| !binding.is_forgotten())
    }

    /// Keeps others away who want to read the same block.
    pub(super) fn load_alone(&self, file: FileId, index: u64) -> Option<MutexGuard<'_, ()>> {
        let number = file.0.wrapping_add(index) % LOADERS as u64;
        let loader = self.loaders.get(usize::try_from(number).ok()?)?;
        Some(lock_of(loader))
    }

    /// Forgets what is known of the file at a path: it is about to change, or has changed. Done also when the cache is off, for
    /// the next mount's sake.
    pub(super) fn forget(&self, path: &RemotePath) {
        let parts = {
            let mut state = self.lock();
            if let Some(flag) = state.flags.remove(path) {
                flag.store(true, Ordering::SeqCst);
            }
            let hash = state.trees.hash(path);
            state.index.take_path(hash)
        };
        remove_parts(&self.dir, &parts);
    }

    /// Forgets what is known of all files at and below some paths: directories that are about to be renamed.
    pub(super) fn forget_trees(&self, dirs: &[&RemotePath]) {
        let parts = {
            let mut state = self.lock();
            state.flag(|path| dirs.iter().any(|dir| path.is_within(dir)));
            if state.trees.renew(dirs) {
                return;
            }
            state.flag(|_| true);
            state.index.take_all()
        };
        remove_parts(&self.dir, &parts);
        self.lock().trees.clear();
    }

    /// Writes what is queued, and leaves the directory to others.
    pub(super) fn shutdown(&self) {
        self.queue.close();
        let writer = lock_of(&self.writer).take();
        if let Some(writer) = writer {
            // It ends when the queue is empty.
            let _ = writer.join();
        }
        self.is_off.store(true, Ordering::Relaxed);
        // Not left to the end of the value: a thread that is slow to end may still have it.
        let _ = flock(&self.dir_lock, FlockOperation::Unlock);
    }

    fn binding(&self, file: FileId, version: &Version) -> Option<Binding> {
        if self.is_off.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.lock();
        let binding = state.bindings.get(&file)?;
        (binding.version == *version && !binding.is_forgotten()).then(|| binding.clone())
    }

    /// The life of the writing thread.
    fn write_behind(&self) {
        // Readers come first where processors are few; on Linux this is the thread's own.
        let _ = nice(WRITER_NICE);
        let mut written = 0;
        while let Some((binding, block)) = self.queue.next(written) {
            if let Err(error) = self.write(&binding, &block) {
                self.turn_off(&error);
            }
            written = block.allocated();
        }
    }

    fn write(&self, binding: &Binding, block: &Block) -> io::Result<()> {
        if self.is_off.load(Ordering::Relaxed) || binding.is_forgotten() {
            return Ok(());
        }
        let bytes = slot::disk_bytes(block.len());
        self.make_room(bytes);
        let part = PartKey::of(binding.key, block.index());
        let file = match self.open_part(part)? {
            Some(file) => file,
            // Whatever lies there was forgotten.
            None => Arc::new(private_file().truncate(true).open(self.path(&part))?),
        };
        slot::write(&file, &binding.key, block)?;
        self.note_written(binding, part, file, bytes);
        Ok(())
    }

    /// A write is over: now it is found, unless the file was changed here meanwhile.
    fn note_written(&self, binding: &Binding, part: PartKey, file: Arc<File>, bytes: u64) {
        let mut state = self.lock();
        // Only this thread adds parts: what was forgotten is not in the index, and may not come back.
        if binding.is_forgotten() {
            drop(state);
            remove_parts(&self.dir, &[part]);
        } else {
            state.index.add(part, bytes);
            state.index.hold(part, file);
        }
    }

    /// A part that is in the index, as a file; `None` if it is not, or was removed behind our back.
    fn open_part(&self, part: PartKey) -> io::Result<Option<Arc<File>>> {
        {
            let mut state = self.lock();
            if !state.index.touch(&part) {
                return Ok(None);
            }
            if let Some(file) = state.index.opened(&part) {
                return Ok(Some(file));
            }
        }
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(&part));
        let file = match opened {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.lock().index.remove(&part);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // By this the next mount knows what was used last.
        file.set_modified(self.clock.wall())?;
        let mut state = self.lock();
        if !state.index.touch(&part) {
            return Ok(None);
        }
        state.index.hold(part, Arc::clone(&file));
        Ok(Some(file))
    }

    /// Evicts until so many bytes more fit.
    fn make_room(&self, bytes: u64) {
        loop {
            let evicted = self.lock().index.evict(bytes, self.bytes_max);
            match evicted {
                Some(part) => remove_parts(&self.dir, &[part]),
                None => return,
            }
        }
    }

    fn turn_off(&self, error: &io::Error) {
        if !self.is_off.swap(true, Ordering::Relaxed) {
            let dir = self.dir.display();
            log::warn!("the disk cache in {dir} is off until the next mount: {error}");
        }
    }

    fn path(&self, part: &PartKey) -> PathBuf {
        self.dir.join(part.name())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock_of(&self.state)
    }
}

/// The directory of a server: its host for those who look, a hash for the rest.
fn dir_name(server: &str) -> String {
    let host = server.rsplit_once('@').map_or(server, |(_, host)| host);
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let shown: String = host.chars().take_while(is_plain).take(64).collect();
    format!("{shown}-{:016x}", XxHash3_64::oneshot(server.as_bytes()))
}

/// Makes the directory, for this user alone.
fn prepare(dir: &Path) -> io::Result<()> {
    local::check_place(dir)?;
    local::private_dir(dir)
}

/// A file for this user alone, made if need be.
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn remove_parts(dir: &Path, parts: &[PartKey]) {
    for part in parts {
        let path = dir.join(part.name());
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("{}: {error}", path.display());
        }
    }
}

fn lock_of<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for DiskCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskCache")
            .field("dir", &self.dir)
            .field("bytes", &self.bytes())
            .field("bytes_max", &self.bytes_max)
            .field("is_off", &self.is_off)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
