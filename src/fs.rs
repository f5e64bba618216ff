//! Operations on inodes: what a program's system call becomes.
//!
//! Nothing here knows the kernel's protocol or FTP. Operations come in two kinds: those named `..._cached` answer from memory and never
//! block, so that the kernel's event loops may call them; all others may wait for the server and run on worker threads.
//!
//! # Locks
//!
//! A partial order, outermost first; nothing else is held while the network is waited for:
//!
//! 1. the inode table (`inode`), held for look-ups only;
//! 2. one file's state (`file`), held for copies into and out of its spool;
//! 3. a stream's progress (`streaming`), the listing cache, the read engine: leaves.
//!
//! Two states, no locks, last over the network: a file that is being uploaded, and one whose name is held (`file::Held`). Who changes a
//! name waits for uploads of the files below it; an upload waits for nobody's name.

mod account;
mod append;
mod attr;
mod doubt;
mod error;
mod evidence;
mod file;
mod handle;
mod inode;
mod io;
mod kept;
mod kernel;
mod link;
mod lookup;
mod namespace;
mod open;
mod patch;
mod prefetch;
mod process;
mod put;
mod ranges;
mod readdir;
mod rename;
mod replace;
mod setattr;
mod spool;
mod streaming;
mod unsent;
mod upload;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

pub use attr::{Attr, SpaceInfo};
pub use error::{FsError, FsErrorKind, Result};
pub use io::PreallocateMode;
pub use kept::Kept;
pub use lookup::Found;
pub use open::{OpenMode, Opened};
pub use readdir::{DirItem, DirPages, DirSink};
pub use rename::RenameMode;
pub use setattr::{Change, NewTime};
pub use unsent::{Progress, Round, Unsent};

use crate::{
    cache::{ListingCache, ReadEngine},
    clock::Clock,
    config::{CacheConfig, FsConfig},
    remote::{Habits, Remote, RemotePath},
};
use account::Account;
use file::OpenFile;
use handle::Handles;
use inode::Inodes;
use kernel::Kernel;
use prefetch::Prefetcher;
use spool::SpoolLimits;
use unsent::Backlog;

/// The mounted tree.
#[derive(Debug)]
pub struct Filesystem {
    remote: Arc<dyn Remote>,
    config: FsConfig,
    clock: Arc<dyn Clock>,
    listings: ListingCache,
    engine: Arc<ReadEngine>,
    dir_ttl: Duration,
    inodes: Inodes,
    handles: Handles,
    learnt: Learnt,
    account: Arc<Account>,
    kernel: Kernel,
    /// How often the server has refused to rename over a file and has let it be moved aside.
    renames_refused: AtomicU64,
    prefetcher: Prefetcher,
    /// For threads that outlive the call that starts them.
    this: Weak<Self>,
    /// What the root directory shows as its time.
    mounted: SystemTime,
    /// Counts our own changes of content: the same size and second do not make two contents one version.
    epoch: AtomicU64,
    /// How many uploads stream at the moment; they may take half of the sessions.
    streams: Arc<AtomicUsize>,
    streams_max: usize,
    /// What is left to send of closed files.
    backlog: Backlog,
    /// Begins the names of this mount's temporary files, which are never shown.
    temporary_prefix: String,
    temporary_count: AtomicU64,
}

/// What the server has refused for good.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "each is a refusal, and says so")]
struct Learnt {
    no_mode: AtomicBool,
    no_append: AtomicBool,
    no_dot_names: AtomicBool,
    no_rename: AtomicBool,
    no_rename_over: AtomicBool,
}

impl Learnt {
    fn new(habits: Habits) -> Self {
        Self {
            no_mode: habits.no_mode.into(),
            no_append: habits.no_append.into(),
            no_dot_names: habits.no_dot_names.into(),
            no_rename: habits.no_rename.into(),
            no_rename_over: habits.no_rename_over.into(),
        }
    }

    fn to_habits(&self) -> Habits {
        let is_so = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        Habits {
            no_mode: is_so(&self.no_mode),
            no_append: is_so(&self.no_append),
            no_dot_names: is_so(&self.no_dot_names),
            no_rename: is_so(&self.no_rename),
            no_rename_over: is_so(&self.no_rename_over),
        }
    }
}

impl Filesystem {
    /// Learns what the server refuses, or that it does not after all, for this mount and the next.
    fn learn(&self, which: impl FnOnce(&Learnt) -> &AtomicBool, is_refused: bool) {
        if which(&self.learnt).swap(is_refused, Ordering::Relaxed) != is_refused {
            self.remote.keep_habits(self.learnt.to_habits());
        }
    }

    /// A tree over `remote`; nothing is asked of it yet. `sessions_max` is how many sessions the remote may use at once.
    pub fn new(
        remote: Arc<dyn Remote>,
        config: FsConfig,
        cache: &CacheConfig,
        sessions_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let readers_max = sessions_max.saturating_sub(1).max(1);
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            // One session for the program itself; with two, the other is for what it asks of other directories and files.
            prefetcher: Prefetcher::new(
                if sessions_max > 2 {
                    sessions_max - 1
                } else {
                    0
                },
                cache,
            ),
            listings: ListingCache::new(cache, clock.clone()),
            engine: Arc::new(ReadEngine::new(
                remote.clone(),
                cache,
                readers_max,
                clock.clone(),
            )),
            dir_ttl: cache.dir_ttl,
            inodes: Inodes::new(cache.entries_max),
            handles: Handles::default(),
            learnt: Learnt::new(remote.habits()),
            account: Arc::default(),
            kernel: Kernel::default(),
            renames_refused: AtomicU64::new(0),
            mounted: clock.wall(),
            epoch: AtomicU64::new(1),
            streams: Arc::new(AtomicUsize::new(0)),
            streams_max: sessions_max / 2,
            backlog: Backlog::default(),
            temporary_prefix: format!("ftpfs-{:08x}", fastrand::u32(..)),
            temporary_count: AtomicU64::new(0),
            remote,
            config,
            clock,
        })
    }

    /// Has `forget` called for names of a directory (its inode) that the kernel is to forget because there are too many, for as long as the
    /// mount lasts. It forgets by way of [`Self::forget`].
    pub fn forget_surplus(&self, forget: &dyn Fn(u64, &[u8])) {
        while let Some(names) = self.inodes.surplus() {
            for (dir, name) in names {
                forget(dir, &name);
            }
        }
    }

    /// Stops the threads that read ahead and that forget. Uploads are [`Self::drain`]'s business.
    pub fn shutdown(&self) {
        self.engine.shutdown();
        self.inodes.close();
    }

    /// What is kept on disk of these files is of no use any more: they change. In memory their epoch tells.
    fn forget_content(&self, paths: &[&RemotePath]) {
        for path in paths {
            self.engine.forget(path);
        }
    }

    /// The path of an inode that still has its name.
    fn path(&self, ino: u64) -> Result<RemotePath> {
        self.inodes
            .path(ino)
            .ok_or_else(|| FsError::new(FsErrorKind::Stale, &RemotePath::root()))
    }

    /// The failure of a request that was never begun, because all before it wait for the server.
    pub fn timed_out(&self, ino: u64) -> FsError {
        let path = self.inodes.path(ino).unwrap_or_else(RemotePath::root);
        FsError::new(FsErrorKind::TimedOut, &path)
    }

    /// What an inode is called in messages.
    pub fn describe(&self, ino: u64) -> String {
        self.inodes
            .path(ino)
            .map_or_else(|| "a removed file".into(), |path| path.to_string())
    }

    /// The path of a name in a directory.
    fn child_path(&self, parent: u64, name: &[u8]) -> Result<RemotePath> {
        let dir = self.path(parent)?;
        let len = self.remote.name_len(name).unwrap_or(name.len());
        if len > error::NAME_BYTES_MAX {
            return Err(FsError::new(FsErrorKind::NameTooLong, &dir));
        }
        dir.join(name)
            .map_err(|invalid| FsError::new(invalid.into(), &dir))
    }

    fn check_writable(&self, path: &RemotePath) -> Result<()> {
        if self.config.is_read_only {
            return Err(FsError::new(FsErrorKind::ReadOnly, path));
        }
        // Now, while the program can still choose another name, and not with the first upload.
        if path
            .name()
            .is_some_and(|name| self.remote.name_len(name).is_none())
        {
            return Err(FsError::new(FsErrorKind::Unencodable, path));
        }
        Ok(())
    }

    fn spool_limits(&self) -> SpoolLimits {
        SpoolLimits {
            memory_bytes_max: self.config.spool_memory_bytes_max,
            dir: self.config.spool_dir.clone(),
        }
    }

    fn next_epoch(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::Relaxed)
    }

    /// A new name for a temporary file in `dir`, with a dot in front or without: some servers forbid names that begin with one (vsftpd's
    /// `deny_file`, Pure-FTPd's `ProhibitDotFilesWrite`).
    fn temporary_path(&self, dir: &RemotePath, has_dot: bool) -> Option<RemotePath> {
        let count = self.temporary_count.fetch_add(1, Ordering::Relaxed);
        let dot = if has_dot { "." } else { "" };
        dir.join(format!("{dot}{}-{count}.tmp", self.temporary_prefix).as_bytes())
            .ok()
    }

    /// Whether a name is one of this mount's temporary files.
    fn is_temporary(&self, name: &[u8]) -> bool {
        let name = name.strip_prefix(b".").unwrap_or(name);
        name.starts_with(self.temporary_prefix.as_bytes())
    }

    /// Lets an open file go when nothing needs it any more.
    fn release_if_done(&self, file: &OpenFile) {
        self.inodes.close_file(file.ino, |file| {
            let state = file.lock();
            state.handles == 0 && (state.is_unlinked || !state.is_ahead())
        });
    }
}
