//! Bytes that could not be sent when their file was closed: tried again, and kept when the mount ends without them.

use std::{
    fmt, io,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Filesystem, FsError, FsErrorKind, Kept, Result,
    file::{Doubt, OpenFile},
};
use crate::remote::{Attributes, RemoteErrorKind, RemotePath};

/// How often closed files that the server lacks are tried again. Often enough that a restarted server gets them before the user
/// looks, seldom enough for a server that is down for hours.
const RETRY_EVERY: Duration = Duration::from_secs(10);

/// The longest time between two tries, after each one in vain took twice the time before. 5 min: a server that is full or down
/// for hours is not asked all the time, and who has made room need not wait long.
const RETRY_EVERY_MAX: Duration = Duration::from_mins(5);

/// The most memory that closed files take which the server lacks; the bytes of further ones move to the disk. 64 MiB: what the
/// cache may have too. `--spool-memory` limits one file only, and a copied tree may have thousands.
const UNSENT_MEMORY_BYTES_MAX: u64 = 64 << 20;

/// What came of trying closed files again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// There were none, or some are on the server now.
    Well,
    /// None could be sent.
    InVain,
}

/// What is left to send of closed files.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The memory that they take: counted up when an upload fails, and anew with each round.
    memory_bytes: AtomicU64,
    /// Where the last round stopped. The next one goes on behind it, so that one file that fails cannot keep the others back.
    stopped_at: AtomicU64,
}

/// How an orderly end goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files that the server still lacks.
    pub files_left: usize,
    /// Their bytes.
    pub bytes_left: u64,
    /// Bytes of these files that were sent or fetched so far, for uploads that failed too: it changes while the network works.
    pub bytes_moved: u64,
}

/// A file that the server does not have.
#[derive(Debug)]
pub struct Unsent {
    /// Its path on the server.
    pub path: RemotePath,
    /// Why it is not there.
    pub error: FsError,
    /// Where its bytes lie now; `None` when even that failed.
    pub kept: Option<Kept>,
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.error)?;
        let Some(Kept { copy, ranges }) = &self.kept else {
            return f.write_str(" (its bytes are lost)");
        };
        match ranges {
            None => write!(f, " (its bytes are kept in {})", copy.display()),
            Some(ranges) => write!(
                f,
                " (the bytes written here are kept in {}, with holes where the server has others; {} lists them)",
                copy.display(),
                ranges.display()
            ),
        }
    }
}

impl Filesystem {
    /// Starts the thread that tries closed files again; it ends with the filesystem.
    pub fn start_retrying(self: &Arc<Self>) -> io::Result<()> {
        let filesystem = Arc::downgrade(self);
        let run = move || {
            let mut pause = RETRY_EVERY;
            loop {
                std::thread::park_timeout(pause);
                let Some(filesystem) = Weak::upgrade(&filesystem) else {
                    return;
                };
                pause = next_pause(pause, filesystem.retry());
            }
        };
        std::thread::Builder::new()
            .name("ftpfs-retry".into())
            .spawn(run)
            .map(drop)
    }

    /// Tries once more what was closed and is not on the server; stops at a failure that the others would meet too.
    pub fn retry(&self) -> Round {
        let mut files = self.unsent_and_closed();
        files.sort_unstable_by_key(|file| file.ino);
        let stopped_at = self.backlog.stopped_at.load(Ordering::Relaxed);
        let behind = files.partition_point(|file| file.ino <= stopped_at);
        files.rotate_left(behind);
        let (mut is_any_done, mut is_any_left) = (false, false);
        for file in files {
            forget_emptied(&file);
            let sent = self.send_or_keep(&file);
            self.release_if_done(&file);
            match sent {
                Ok(()) => is_any_done = true,
                Err(error) => {
                    self.backlog.stopped_at.store(file.ino, Ordering::Relaxed);
                    is_any_left = true;
                    if concerns_all(&error) {
                        break;
                    }
                }
            }
        }
        let left = self.unsent_and_closed().into_iter();
        let memory = left.filter_map(|file| Some(file.lock().spool.as_ref()?.memory_bytes()));
        self.backlog
            .memory_bytes
            .store(memory.sum(), Ordering::Relaxed);
        if is_any_left && !is_any_done {
            Round::InVain
        } else {
            Round::Well
        }
    }

    fn unsent_and_closed(&self) -> Vec<Arc<OpenFile>> {
        let mut files = self.inodes.files();
        files.retain(|file| {
            let state = file.lock();
            state.handles == 0 && state.needs_upload()
        });
        files
    }

    /// Uploads a file that nobody has open. What the server will never take is kept on this machine and shown no longer.
    pub(super) fn upload_or_keep(&self, file: &Arc<OpenFile>) {
        // It has been logged, and is tried again.
        let _ = self.send_or_keep(file);
    }

    /// The same; after an error the file is to be tried again.
    fn send_or_keep(&self, file: &Arc<OpenFile>) -> Result<()> {
        let Err(error) = self.upload(file) else {
            return Ok(());
        };
        let path = self.location(file).unwrap_or_else(RemotePath::root);
        // No program waits for this, so it is said here.
        if error.is_transient() {
            log::warn!("{path} is not on the server, its bytes are kept and sent later: {error}");
            self.limit_memory(file, &path);
            return Err(error);
        }
        match self.keep(file, &path) {
            Ok(kept) if file.lock().handles > 0 => {
                // Opened again meanwhile: what the program does now counts, and its close goes through all this anew.
                for copy in [Some(kept.copy), kept.ranges].into_iter().flatten() {
                    if let Err(io) = std::fs::remove_file(&copy) {
                        log::warn!("{} is superseded and stays: {io}", copy.display());
                    }
                }
            }
            Ok(kept) => {
                log::error!("the server does not take {path} ({error}); its bytes are in {kept}");
                self.give_up(file);
            }
            Err(io) => {
                log::error!(
                    "the server does not take {path} ({error}), nor could it be kept: {io}"
                );
                return Err(error);
            }
        }
        Ok(())
    }

    /// Moves a closed file's bytes to the disk when the memory for such files is used up.
    fn limit_memory(&self, file: &OpenFile, path: &RemotePath) {
        let mut state = file.lock();
        let is_closed = state.handles == 0;
        let Some(spool) = state.spool.as_mut().filter(|_| is_closed) else {
            return;
        };
        let bytes = spool.memory_bytes();
        let memory = &self.backlog.memory_bytes;
        let taken = memory.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if bytes == 0 || taken <= UNSENT_MEMORY_BYTES_MAX {
            return;
        }
        match spool.move_to_file() {
            Ok(()) => {
                memory.fetch_sub(bytes, Ordering::Relaxed);
            }
            Err(error) => log::warn!("{path} stays in memory: {error}"),
        }
    }

    /// Forgets what was written: the server's file is shown again.
    pub(super) fn give_up(&self, file: &OpenFile) {
        let mut state = file.lock();
        state.spool = None;
        state.wanted = Attributes::default();
        state.doubt = Doubt::No;
        let is_unborn = state.base.is_none();
        state.is_unlinked |= is_unborn;
        drop(state);
        if let Some(path) = self.inodes.path(file.ino) {
            self.forget_name(&path);
        }
        if is_unborn
            && let Some(path) = self.inodes.path(file.ino)
            && let (Some(name), Some(parent)) = (path.name(), self.inodes.parent(file.ino))
        {
            self.inodes.unlink(parent, name);
        }
    }

    /// Brings to the server what it lacks at this moment, for the end of the mount; whether that was all done. Goes on as long as
    /// files get done, and gives up when a failure has lasted for `limit`. How it goes on is told by [`Self::progress`].
    pub fn drain(&self, limit: Duration) -> bool {
        // Not what comes later: a program that goes on writing would keep the mount from ending.
        let mut files = self.unsent();
        let mut deadline = None;
        loop {
            let mut is_hopeless = true;
            let mut failed = Vec::new();
            let mut rest = files.into_iter();
            for file in rest.by_ref() {
                forget_emptied(&file);
                let Err(error) = self.upload(&file) else {
                    deadline = None;
                    continue;
                };
                log::debug!("not sent: {error}");
                is_hopeless &= !error.is_transient();
                failed.push(file);
                // A frozen server would take as long over each of the others.
                if error.kind() == FsErrorKind::TimedOut {
                    break;
                }
            }
            // Those that were not tried come first.
            files = rest.chain(failed).collect();
            if files.is_empty() {
                return true;
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
            if is_hopeless || Instant::now() >= deadline {
                return false;
            }
            // A server that was just restarted needs a moment.
            std::thread::sleep(Duration::from_secs(1).min(limit));
        }
    }

    /// What the server lacks now.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for file in self.inodes.files() {
            let state = file.lock();
            if !state.is_on_server() {
                let dirty = state
                    .spool
                    .as_ref()
                    .map_or(0, |spool| spool.dirty().bytes());
                progress.files_left += 1;
                progress.bytes_left += dirty + state.on_way;
                progress.bytes_moved = progress.bytes_moved.wrapping_add(state.moved);
            }
        }
        progress
    }

    /// Keeps on this machine what the server lacks, without asking the server any more; for the end of a mount that waits no
    /// longer. What is on its way at this moment is kept too.
    pub fn keep_unsent(&self) -> Vec<Unsent> {
        let mut files = self.inodes.files();
        files.retain(|file| !file.lock().is_on_server());
        files.iter().map(|file| self.unsent_file(file)).collect()
    }

    fn unsent(&self) -> Vec<Arc<OpenFile>> {
        let mut files = self.inodes.files();
        files.retain(|file| file.wait_for_upload().needs_upload());
        files
    }

    fn unsent_file(&self, file: &OpenFile) -> Unsent {
        let path = self.location(file).unwrap_or_else(RemotePath::root);
        let failure = file.lock().failure.clone();
        // Without one its upload was still under way.
        let error = failure.unwrap_or_else(|| FsError::new(FsErrorKind::TimedOut, &path));
        let kept = self.keep(file, &path);
        let kept = kept
            .inspect_err(|io| log::error!("{path} could not be kept: {io}"))
            .ok();
        Unsent { path, error, kept }
    }
}

/// Who empties a file wins at its close, and not when it is tried again later: what others have put there since stays.
fn forget_emptied(file: &OpenFile) {
    let mut state = file.lock();
    state.is_emptied &= state.handles > 0;
}

fn next_pause(pause: Duration, round: Round) -> Duration {
    match round {
        Round::Well => RETRY_EVERY,
        Round::InVain => (pause * 2).min(RETRY_EVERY_MAX),
    }
}

/// Whether what kept one file from the server keeps the others too.
fn concerns_all(error: &FsError) -> bool {
    let is_cut_off = error.remote().is_some_and(|error| {
        matches!(
            error.kind(),
            RemoteErrorKind::Disconnected | RemoteErrorKind::LoginRefused
        )
    });
    let is_full_or_frozen = matches!(
        error.kind(),
        FsErrorKind::NoSpace | FsErrorKind::QuotaExceeded | FsErrorKind::TimedOut
    );
    is_cut_off || is_full_or_frozen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_takes_nothing_is_asked_more_and_more_seldom() {
        let mut pause = RETRY_EVERY;
        let mut seconds = Vec::new();
        for _ in 0..6 {
            pause = next_pause(pause, Round::InVain);
            seconds.push(pause.as_secs());
        }
        assert_eq!(seconds, [20, 40, 80, 160, 300, 300]);
        assert_eq!(next_pause(pause, Round::Well), RETRY_EVERY);
    }
}
