//! The read engine: all running streams of a mount, their number and their memory, and the block cache behind them.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    block::{BLOCK_BYTES, Block, FileId, Found, Version},
    block_cache::BlockCache,
    cursor::Cursor,
    disk::DiskCache,
    stream::{IDLE_MAX, Part, Source, Stream, WINDOW_BYTES_MIN, WINDOW_OVERHEAD_BYTES},
    stream_count::{Learnt, StreamCount},
    under_way::UnderWay,
};
use crate::{
    clock::Clock,
    config::CacheConfig,
    remote::{Remote, RemotePath},
};

/// The least that a stream may grow to. 1 MiB: what is on its way at 400 Mbit/s and 20 ms.
const WINDOW_BYTES_LIMIT_MIN: usize = 1 << 20;

/// The most that a stream may grow to. 16 MiB: what is on its way at 1 Gbit/s and 130 ms.
const WINDOW_BYTES_LIMIT_MAX: usize = 16 << 20;

/// What part of the budget several streams of one file may be ahead of their reader. A quarter: what they have fetched waits
/// in the block cache, which has half of it, and may not push itself out.
const AHEAD_SHARE: u64 = 4;

/// How many more streams than sessions there may be. 4: they wait for a session and take turns with the others, which is
/// faster than to fetch what each read asks; more would each get too little of it.
pub(super) const STREAMS_WAITING_MAX: usize = 4;

/// How many streams go on with new connections when another ends. 2: one alone needs a round trip more to take the free share, and
/// several at once overrun the link.
const RENEWED_MAX: usize = 2;

/// A stream that was read so lately is not ended for another's sake. 1 s: a program that reads on comes back sooner,
/// and two that compete do not end each other's streams by turns.
const BUSY_MAX: Duration = Duration::from_secs(1);

/// The most memory of blocks that wait to be written to disk. 8 MiB: what comes in a tenth of a second at 700 Mbit/s, while a disk
/// is busy with something else. At most an eighth of the budget, from which it is taken.
const DISK_QUEUE_BYTES_MAX: usize = 8 << 20;

/// The streams of all open files, and what they have fetched.
#[derive(Debug)]
pub struct ReadEngine {
    remote: Arc<dyn Remote>,
    clock: Arc<dyn Clock>,
    cache: Arc<BlockCache>,
    streams_max: usize,
    window_bytes_max: usize,
    /// How many streams of one file there are, if that is not to be found out.
    streams_of_one_file: Option<usize>,
    /// How far ahead of its reader a file is fetched.
    ahead_bytes_max: u64,
    last_id: AtomicU64,
    /// The bytes that have arrived by streams.
    arrived: Arc<AtomicU64>,
    /// What was found out about streams of one file; a lock of its own, nothing else is taken under it.
    learnt: Mutex<Option<Learnt>>,
    under_way: UnderWay,
    registry: Mutex<Registry>,
}

/// Guarded by `ReadEngine::registry`; taken after a reader's list of streams and before a stream's window.
#[derive(Debug, Default)]
struct Registry {
    running: Vec<Arc<Stream>>,
    threads: Vec<JoinHandle<()>>,
    is_shut: bool,
}

impl Cursor {
    /// A handle that has read nothing yet.
    pub fn new(engine: &ReadEngine) -> Self {
        Self::numbered(engine.next_id())
    }
}

impl ReadEngine {
    /// An engine that reads from `remote`, holds at most `config.bytes_max` of content, and has sessions for `streams_max`
    /// streams at once; a few more may wait for their turn (fewer where the memory does not suffice for so many). One stream is always possible as long as
    /// `bytes_max` is 768 KiB or more; with less, everything is fetched as it is asked.
    pub fn new(
        remote: Arc<dyn Remote>,
        config: &CacheConfig,
        streams_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let queue_bytes_max = DISK_QUEUE_BYTES_MAX.min(config.bytes_max / 8);
        let disk = config.disk.as_ref();
        let disk = disk.and_then(|disk| DiskCache::open(disk, queue_bytes_max, clock.clone()));
        let cache = match disk {
            Some(disk) => BlockCache::with_disk(config.bytes_max, disk),
            None => BlockCache::new(config.bytes_max),
        };
        // Half for the windows, half for what was read.
        let share = config.bytes_max / 2;
        let least = WINDOW_BYTES_LIMIT_MIN + WINDOW_OVERHEAD_BYTES;
        let streams_max = streams_max.min(share / least).max(1);
        let window_bytes_max = (share / streams_max)
            .saturating_sub(WINDOW_OVERHEAD_BYTES)
            .clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_LIMIT_MAX);
        Self {
            remote,
            clock,
            cache: Arc::new(cache),
            streams_max,
            window_bytes_max,
            streams_of_one_file: config.streams,
            ahead_bytes_max: config.bytes_max as u64 / AHEAD_SHARE,
            last_id: AtomicU64::new(0),
            arrived: Arc::default(),
            learnt: Mutex::default(),
            under_way: UnderWay::default(),
            registry: Mutex::default(),
        }
    }

    /// The block cache.
    pub fn cache(&self) -> &BlockCache {
        &self.cache
    }

    /// A read of a file has come that nothing was read of yet: [`Reader::read`] is to follow, and others may come meanwhile.
    ///
    /// [`Reader::read`]: super::Reader::read
    pub fn expect(&self, file: FileId, cursor: &Cursor, offset: u64, len: usize) {
        self.under_way.arrive(file, cursor.place(), offset, len);
    }

    /// Keeps a whole file that was fetched by other means.
    pub fn keep_whole(&self, file: FileId, version: &Version, content: &[u8]) {
        let mut start = 0;
        for part in content.chunks(BLOCK_BYTES) {
            let mut block = Block::copy_of(start, part);
            start = block.end();
            if start == content.len() as u64 {
                block.set_ends_file();
            }
            self.cache.insert(file, version, block);
        }
    }

    /// Whether the last block of a file is cached, as [`Self::keep_whole`] leaves it, in memory or on disk.
    pub fn has_whole(&self, file: FileId, version: &Version) -> bool {
        let is_end = |found| matches!(found, Found::End);
        is_end(self.cache.slice(file, version, version.size, 1))
            || is_end(self.cache.load(file, version, version.size, 1))
    }

    /// Whether content is kept on disk.
    pub fn has_disk(&self) -> bool {
        self.cache.disk().is_some()
    }

    /// Drops what the disk holds of the file at a path, under any version: it is about to be changed, or was.
    pub fn forget(&self, path: &RemotePath) {
        if let Some(disk) = self.cache.disk() {
            disk.forget(path);
        }
    }

    /// Drops what the disk holds of the files in and below some directories.
    pub fn forget_trees(&self, dirs: &[&RemotePath]) {
        if let Some(disk) = self.cache.disk() {
            disk.forget_trees(dirs);
        }
    }

    /// Drops what is cached of a file.
    pub fn invalidate(&self, file: FileId) {
        self.cache.invalidate(file);
    }

    /// How many streams run.
    pub fn streams(&self) -> usize {
        self.lock().running.len()
    }

    /// Ends the streams that nobody reads from; a stream that waits for room does so by itself.
    pub fn reap_idle(&self) {
        let idle = |stream: &&Arc<Stream>| stream.idle().is_some_and(|idle| idle >= IDLE_MAX);
        self.lock()
            .running
            .iter()
            .filter(idle)
            .for_each(|stream| stream.cancel());
    }

    /// Ends all streams and waits for their threads, which ends as the remote's calls do. Reads that come later are
    /// answered without streams.
    pub fn shutdown(&self) {
        let threads = {
            let mut registry = self.lock();
            registry.is_shut = true;
            registry.running.iter().for_each(|stream| stream.cancel());
            std::mem::take(&mut registry.threads)
        };
        for thread in threads {
            // A stream's thread catches panics itself.
            let _ = thread.join();
        }
        if let Some(disk) = self.cache.disk() {
            disk.shutdown();
        }
    }

    pub(super) fn under_way(&self) -> &UnderWay {
        &self.under_way
    }

    pub(super) fn remote(&self) -> &dyn Remote {
        &*self.remote
    }

    /// A number that nothing else of this engine has.
    pub(super) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Counts the bytes that arrive.
    pub(super) fn arrived(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.arrived)
    }

    /// How far ahead of its reader a file is fetched by several streams, in bytes.
    pub(super) fn ahead_max(&self) -> u64 {
        self.ahead_bytes_max
    }

    /// Whether a file may be read by several streams at all.
    pub(super) fn may_help(&self) -> bool {
        self.streams_max > 1 && self.streams_of_one_file != Some(1)
    }

    /// The search for how many streams a file pays to be read by.
    pub(super) fn stream_count(&self) -> StreamCount {
        let now = self.now();
        match self.streams_of_one_file {
            Some(count) => StreamCount::fixed(count.min(self.streams_max), now),
            None => StreamCount::new(self.streams_max, *self.learnt(), now),
        }
    }

    /// Keeps what was found out for the files that come next.
    pub(super) fn learn(&self, learnt: Learnt) {
        *self.learnt() = Some(learnt);
    }

    /// Whether no other file is read by streams.
    pub(super) fn is_alone(&self, file: FileId) -> bool {
        let registry = self.lock();
        registry
            .running
            .iter()
            .all(|stream| stream.file() == file || stream.is_over())
    }

    /// Starts a stream, ending a helper or the longest idle one if there are too many; `None` if too many wait already, or
    /// there is no memory or thread for it. A helper starts only where nothing has to give way to it. `tend` is called now and
    /// then, and at the end.
    pub(super) fn start(
        self: &Arc<Self>,
        source: Source,
        part: Part,
        tend: impl Fn() + Send + 'static,
    ) -> Option<Arc<Stream>> {
        let mut registry = self.lock();
        if registry.is_shut {
            return None;
        }
        registry.threads.retain(|thread| !thread.is_finished());
        if !self.has_place(&registry, part.is_helper) {
            return None;
        }
        let reserved = part.window_bytes + WINDOW_OVERHEAD_BYTES;
        if !self.cache.reserve(reserved) {
            return None;
        }
        let (cache, clock) = (Arc::clone(&self.cache), Arc::clone(&self.clock));
        let (file, version) = (source.file, source.version);
        let (id, size_max) = (self.next_id(), self.window_bytes_max);
        let stream = Arc::new(Stream::new(id, source, part, size_max, cache, clock));
        let spawned = thread::Builder::new()
            .name(format!("ftpfs-stream-{id}"))
            .spawn({
                let (engine, stream) = (Arc::clone(self), Arc::clone(&stream));
                move || {
                    let ending = || engine.pass_on(&stream);
                    stream.run(engine.remote(), &tend, &ending);
                    engine
                        .lock()
                        .running
                        .retain(|running| !Arc::ptr_eq(running, &stream));
                    tend();
                }
            });
        match spawned {
            Ok(thread) => {
                registry.threads.push(thread);
                registry.running.push(Arc::clone(&stream));
                Some(stream)
            }
            Err(error) => {
                log::warn!("no thread to read ahead with: {error}");
                self.cache
                    .settle(file, &version, std::iter::empty(), reserved);
                None
            }
        }
    }

    /// A stream is about to end: the slowest of the others take over its share of the link, with new connections.
    fn pass_on(&self, stream: &Stream) {
        let Some(ending) = stream.pace() else {
            return;
        };
        let registry = self.lock();
        let running = registry.running.iter().filter(|other| !other.is_over());
        let mut slow: Vec<_> = running
            .filter_map(|other| Some((other.pace()?, other)))
            .filter(|(pace, _)| pace.is_worth_renewing(&ending))
            .collect();
        slow.sort_by_key(|(pace, _)| pace.rate());
        let count = self.remote.spare_transfers().min(RENEWED_MAX);
        slow.iter()
            .take(count)
            .for_each(|(_, stream)| stream.renew());
    }

    /// Whether another stream may start, after one was ended for it if need be.
    fn has_place(&self, registry: &Registry, is_helper: bool) -> bool {
        let active = registry.running.iter().filter(|stream| !stream.is_over());
        let count = active.clone().count();
        if is_helper {
            return count < self.streams_max && self.remote.spare_transfers() > 0;
        }
        if count < self.streams_max {
            return true;
        }
        let mut helpers = active.clone().filter(|stream| stream.is_helper());
        if let Some(latest) = helpers.next_back() {
            latest.cancel();
            return true;
        }
        let idle = active.filter_map(|stream| Some((stream.idle()?, stream)));
        match idle.max_by_key(|(idle, _)| *idle) {
            Some((idle, longest)) if idle >= BUSY_MAX => longest.cancel(),
            _ => return count < self.streams_max + STREAMS_WAITING_MAX,
        }
        true
    }

    fn learnt(&self) -> MutexGuard<'_, Option<Learnt>> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
