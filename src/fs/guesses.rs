//! What a program will ask for next, fetched while it is busy with what it asked for last.
//!
//! Two patterns are recognised: a walk over directories (`ls -R`, `find`, `du`, `git status`) by its second step, for which the next
//! siblings are listed, and a walk over the small files of a directory (`cat *`, `tar c`, `cp -r`; see [`Walk`]) by its second
//! file, or by its first as soon as the directory was listed, for which the next ones are fetched whole. A wrong guess costs nothing: guesses run on sessions that are spare ([`Remote::ahead`]), a new one replaces those
//! still queued, and what is fetched only fills the caches.
//!
//! [`Remote::ahead`]: crate::remote::Remote::ahead

mod order;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use self::order::{STEP_MAX, Step, Walk};
use super::{error::Result, inode::Inodes, number::Ino, server::Server};
use crate::{
    budget::Demand,
    cache::{FileId, ReadEngine, Version},
    clock::Clock,
    config::CacheConfig,
    remote::{EntryKind, EntryRef, Remote, RemoteEntry, RemotePath},
};

/// How many steps ahead of the walk are guessed, for each thread that guesses.
const AHEAD_PER_THREAD: usize = 3;

/// Files up to this size are fetched ahead. 128 KiB: what the kernel asks for at once, and less than a round trip's worth on a
/// fast link.
const FILE_BYTES_MAX: usize = 128 << 10;

/// With listings that are kept for less, a walk comes too late for what was listed ahead of it.
const TTL_MIN: Duration = Duration::from_secs(1);

/// With a smaller cache of blocks, files fetched ahead would push each other out.
const CACHE_BYTES_MIN: usize = 4 << 20;

/// How many of the last fetched files are remembered.
const FETCHED_MAX: usize = 1024;

/// Which part of the memory for listings may be taken by such as were listed ahead and not opened yet: a quarter. More would push out the listing
/// that the walk is in, and each look-up there would fetch it again.
const LISTED_SHARE: usize = 4;

/// Guesses of one mount.
#[derive(Debug)]
pub(crate) struct Guesses {
    server: Arc<Server>,
    inodes: Arc<Inodes>,
    engine: Arc<ReadEngine>,
    clock: Arc<dyn Clock>,
    queue: Queue,
    /// In which order files are opened. Taken before the inode table.
    files: Mutex<Walk>,
    fetches_files: bool,
}

/// What is to be guessed, and what has come of it.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    fetch_ended: Condvar,
    threads_max: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Guess>,
    threads: usize,
    /// Directories that were listed ahead and not opened yet, and how many bytes their listings take.
    listed: HashMap<RemotePath, usize>,
    /// Directories in which a directory was opened, and when.
    walked: HashMap<RemotePath, Instant>,
    /// Files that are being fetched.
    fetching: HashSet<Ino>,
    /// The versions that were fetched ahead, so that opening the file finds their blocks.
    fetched: HashMap<Ino, Version>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Guess {
    List(RemotePath),
    Fetch { dir: Ino, path: RemotePath },
}

impl Queue {
    fn new(threads_max: usize, cache: &CacheConfig) -> Self {
        let is_of_use = cache.dir_ttl >= TTL_MIN;
        Self {
            threads_max: if is_of_use { threads_max } else { 0 },
            ..Self::default()
        }
    }

    /// The version of a file that was fetched ahead.
    fn fetched(&self, ino: Ino) -> Option<Version> {
        self.lock().fetched.get(&ino).copied()
    }

    /// Waits while a file is being fetched ahead: its reader would fetch the same once more.
    fn wait_for(&self, ino: Ino) {
        let mut state = self.lock();
        while state.fetching.contains(&ino) {
            // Ends with the fetch, each wait of which has a deadline.
            state = self
                .fetch_ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn ahead(&self) -> usize {
        self.threads_max * AHEAD_PER_THREAD
    }

    /// Replaces what is queued; returns how many further threads are wanted: one for each guess, so that all begin at once.
    fn enqueue(&self, guesses: impl IntoIterator<Item = Guess>) -> usize {
        let mut state = self.lock();
        state.waiting.clear();
        state.waiting.extend(guesses.into_iter().take(self.ahead()));
        let useful = state.waiting.len().min(self.threads_max);
        let wanted = useful.saturating_sub(state.threads);
        state.threads += wanted;
        wanted
    }

    /// The next guess; no listing when there is no room for it, as when those listed ahead take too much of `bytes_max`.
    fn next(&self, bytes_max: usize, has_room: impl FnOnce() -> bool) -> Option<Guess> {
        let mut state = self.lock();
        let listed = state.listed.values().sum::<usize>();
        let is_full = listed > bytes_max / LISTED_SHARE || !has_room();
        let guess = state.waiting.pop_front()?;
        match guess {
            Guess::List(_) if is_full => {
                state.waiting.clear();
                None
            }
            guess => Some(guess),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guesses {
    /// Guesses with so many threads, and as many sessions, at once, 0 for never. What the caches would not keep until it is asked for is
    /// not fetched.
    pub(crate) fn new(
        server: Arc<Server>,
        inodes: Arc<Inodes>,
        engine: Arc<ReadEngine>,
        threads_max: usize,
        cache: &CacheConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            server,
            inodes,
            engine,
            clock,
            queue: Queue::new(threads_max, cache),
            files: Mutex::default(),
            fetches_files: cache.bytes_max >= CACHE_BYTES_MIN,
        }
    }

    /// The version of a file that was fetched ahead.
    pub(crate) fn fetched(&self, ino: Ino) -> Option<Version> {
        self.queue.fetched(ino)
    }

    /// Waits while a file is being fetched ahead: its reader would fetch the same once more.
    pub(crate) fn wait_for(&self, ino: Ino) {
        self.queue.wait_for(ino);
    }

    /// A directory was opened: if its parent is being walked, its sub-directories and then its next siblings are listed.
    pub(crate) fn opened_dir(self: &Arc<Self>, dir: &RemotePath) {
        if self.queue.threads_max == 0 {
            return;
        }
        let now = self.clock.now();
        let parent = dir.parent();
        let is_walk = {
            let mut state = self.queue.lock();
            state
                .walked
                .retain(|_, step| now.saturating_duration_since(*step) < STEP_MAX);
            state.walked.insert(dir.clone(), now);
            // What another walk has left lying counts no more.
            state.listed.retain(|path, _| {
                let place = path.parent();
                path != dir && (place == parent || place.as_ref() == Some(dir))
            });
            parent
                .as_ref()
                .is_some_and(|parent| state.walked.contains_key(parent))
        };
        let (true, Some(parent), Some(name)) = (is_walk, parent, dir.name()) else {
            return;
        };
        let below = self.unlisted(dir, |_| true);
        let beside = self.unlisted(&parent, |sibling| *sibling > *name);
        self.start_guessing(below.chain(beside).map(Guess::List).collect());
    }

    /// The directories in `dir` whose listing is neither at hand nor coming.
    fn unlisted(
        &self,
        dir: &RemotePath,
        is_meant: impl Fn(&[u8]) -> bool,
    ) -> impl Iterator<Item = RemotePath> {
        let listing = self.server.tree().listings().last_known(dir);
        let entries = listing.iter().flat_map(|listing| listing.entries().iter());
        let dirs =
            entries.filter(|entry| entry.kind == EntryKind::Directory && is_meant(entry.name));
        let paths = dirs.filter_map(|entry| dir.join(entry.name).ok());
        let unlisted = paths.filter(|path| !self.server.tree().listings().is_coming(path));
        unlisted
            .take(self.queue.ahead())
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// A file was opened: if its directory's files are being walked, the next small ones are fetched.
    pub(crate) fn opened_file(self: &Arc<Self>, ino: Ino, path: &RemotePath) {
        if self.queue.threads_max == 0 || !self.fetches_files {
            return;
        }
        let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
            return;
        };
        let Some(listing) = self.server.tree().listings().fresh(&dir) else {
            return;
        };
        let Some(place) = listing.entries().position(name) else {
            return;
        };
        let Some(dir_ino) = self.inodes.parent(ino) else {
            return;
        };
        let opened = self.queue.lock().walked.get(&dir).copied();
        let step = Step {
            dir: &dir,
            dir_ino,
            ino,
            place,
            now: self.clock.now(),
            opened,
        };
        let count = self.queue.ahead();
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let next = files.step(&step, &listing, &self.inodes, count);
        drop(files);
        if next.is_empty() {
            return;
        }
        let next = next
            .iter()
            .filter_map(|place| listing.entries().get(*place));
        let small = next
            .filter(|entry| is_small_file(entry) && !self.server.hidden().is_hidden(entry.name));
        let guesses = small.filter_map(|entry| {
            Some(Guess::Fetch {
                dir: dir_ino,
                path: dir.join(entry.name).ok()?,
            })
        });
        self.start_guessing(guesses.collect());
    }

    fn start_guessing(self: &Arc<Self>, guesses: Vec<Guess>) {
        for _ in 0..self.queue.enqueue(guesses) {
            let guesses = self.clone();
            let spawned = std::thread::Builder::new()
                .name("ftpfs-ahead".into())
                .spawn(move || guesses.guess());
            if let Err(error) = spawned {
                log::debug!("no thread to fetch ahead: {error}");
                self.queue.lock().threads -= 1;
            }
        }
    }

    /// Works off the queue.
    fn guess(&self) {
        loop {
            let mut state = self.queue.lock();
            if state.waiting.is_empty() {
                state.threads -= 1;
                return;
            }
            drop(state);
            // What is guessed is decided once there is a session for it: the walk has gone on meanwhile.
            if !self
                .server
                .remote()
                .ahead(&mut |remote| self.guess_next(remote))
            {
                self.queue.lock().waiting.clear();
            }
        }
    }

    /// Does the next guess; `remote` has a session for its first request.
    fn guess_next(&self, remote: &dyn Remote) {
        let budget = self.server.tree().listings().budget();
        let has_room = || budget.has_room(Demand::Guess);
        let Some(guess) = self.queue.next(budget.bytes_max(), has_room) else {
            return;
        };
        let done = match &guess {
            Guess::List(dir) => self.list_ahead(remote, dir),
            Guess::Fetch { dir, path } => self.fetch_ahead(remote, *dir, path),
        };
        if let Err(error) = done {
            log::debug!("fetching ahead: {error}");
        }
    }

    fn list_ahead(&self, remote: &dyn Remote, dir: &RemotePath) -> Result<()> {
        if let Some(fetched) = self.server.tree().list_ahead(remote, dir) {
            let bytes = fetched?.bytes();
            self.queue.lock().listed.insert(dir.clone(), bytes);
        }
        Ok(())
    }

    fn fetch_ahead(&self, remote: &dyn Remote, dir: Ino, path: &RemotePath) -> Result<()> {
        let Some(name) = path.name() else {
            return Ok(());
        };
        // Names that were read without attributes have no inode yet.
        let ino = self.inodes.number(dir, name);
        {
            let mut state = self.queue.lock();
            if state.fetched.len() >= FETCHED_MAX {
                state.fetched.clear();
            }
            if !state.fetching.insert(ino) {
                return Ok(());
            }
        }
        let _ends = EndOfFetch {
            queue: &self.queue,
            ino,
        };
        if self.inodes.file(ino).is_some() {
            return Ok(());
        }
        // Not listed anew: a guess waits for no one else, and opening the file lists.
        let listing = path
            .parent()
            .and_then(|dir| self.server.tree().listings().fresh(&dir));
        let Some(entry) = listing.as_ref().and_then(|listing| listing.find(name)) else {
            return Ok(());
        };
        self.fetch_content(remote, ino, path, &entry)
    }

    /// Fetches the whole of a small file, and its exact version where the listing does not show that.
    fn fetch_content(
        &self,
        remote: &dyn Remote,
        ino: Ino,
        path: &RemotePath,
        entry: &RemoteEntry,
    ) -> Result<()> {
        let Some(mut base) = self.server.versions().base_of(entry) else {
            return Ok(());
        };
        let file = FileId(ino.0);
        let known = self
            .queue
            .fetched(ino)
            .or_else(|| self.inodes.last_version(ino));
        let mut content = None;
        if !entry.has_exact_time() {
            let is_cached = known.is_some_and(|known| self.engine.has_whole(file, &known));
            if is_cached || self.engine.has_disk() {
                // Perhaps nothing has to be fetched.
                base = self.server.versions().ask_exact_of(remote, path, entry)?;
            } else {
                let (settled, whole) = remote.read_small_exact(path, FILE_BYTES_MAX)?;
                base = self.server.versions().take_exact(path, entry, settled)?;
                content = Some(whole);
            }
        }
        base.version.adopt_epoch(known);
        self.engine.cache().bind(file, &base.version, path);
        let content = match content {
            Some(content) => content,
            None if base.version.size > FILE_BYTES_MAX as u64 => return Ok(()),
            None if self.engine.has_whole(file, &base.version) => return Ok(()),
            None => {
                // One byte more than expected shows a file that has grown.
                let bytes_max = usize::try_from(base.version.size).unwrap_or(0) + 1;
                remote.read_small(path, bytes_max)?
            }
        };
        if content.len() as u64 == base.version.size {
            self.engine.keep_whole(file, &base.version, &content);
            self.queue.lock().fetched.insert(ino, base.version);
        }
        Ok(())
    }
}

fn is_small_file(entry: &EntryRef<'_>) -> bool {
    entry.kind == EntryKind::File
        && entry
            .size
            .is_some_and(|size| (1..=FILE_BYTES_MAX as u64).contains(&size))
}

/// Wakes those that wait for a fetch, however it ended.
struct EndOfFetch<'a> {
    queue: &'a Queue,
    ino: Ino,
}

impl Drop for EndOfFetch<'_> {
    fn drop(&mut self) {
        self.queue.lock().fetching.remove(&self.ino);
        self.queue.fetch_ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> RemotePath {
        RemotePath::root().join(name.as_bytes()).unwrap()
    }

    fn lists(count: usize) -> Vec<Guess> {
        let all = (0..count).map(|index| Guess::List(path(&format!("d{index:02}"))));
        all.collect()
    }

    // SEMANTICS: S-ahead
    #[test]
    fn all_threads_begin_with_the_first_step_and_no_more_than_there_is_to_do() {
        let queue = Queue::new(7, &CacheConfig::default());
        assert_eq!(queue.enqueue(lists(2)), 2);
        assert_eq!(queue.enqueue(lists(40)), 5);
        assert_eq!(queue.enqueue(lists(40)), 0);
        assert_eq!(queue.lock().waiting.len(), 21);
    }

    // SEMANTICS: S-ahead
    #[test]
    fn what_is_listed_ahead_leaves_room_for_what_is_in_use() {
        let queue = Queue::new(7, &CacheConfig::default());
        queue.enqueue(lists(10));
        assert!(queue.next(100, || true).is_some());
        queue.lock().listed.insert(path("d00"), 25);
        assert!(queue.next(100, || true).is_some());
        queue.lock().listed.insert(path("d01"), 1);
        assert!(queue.next(100, || true).is_none());
        assert!(queue.lock().waiting.is_empty());
        queue.lock().listed.clear();
        queue.enqueue(lists(10));
        assert!(queue.next(100, || false).is_none());
    }
}
