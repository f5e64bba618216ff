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
    kept::{Kept, keep},
    uploader::Uploader,
};
use crate::{
    budget::Demand,
    fs::{
        error::{FsError, FsErrorKind, Result},
        file::OpenFile,
        inode::Inodes,
        number::Ino,
        server::{Server, Space},
        spool::SpoolLimits,
    },
    remote::RemoteErrorKind,
};

/// How often closed files that the server lacks are tried again. Often enough that a restarted server gets them before the user
/// looks, seldom enough for a server that is down for hours.
const RETRY_EVERY: Duration = Duration::from_secs(10);

/// The longest time between two tries, after each one in vain took twice the time before. 5 min: a server that is full or down
/// for hours is not asked all the time, and a user who has made room need not wait long.
const RETRY_EVERY_MAX: Duration = Duration::from_mins(5);

/// What came of trying closed files again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// There were none, or some are on the server now.
    Well,
    /// None could be sent.
    InVain,
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
    /// Its path on the server, or what a file without one is called.
    pub path: String,
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

/// What is left to send of closed files.
#[derive(Debug)]
pub(crate) struct Backlog {
    uploader: Arc<Uploader>,
    server: Arc<Server>,
    inodes: Arc<Inodes>,
    limits: SpoolLimits,
    /// Where the last round stopped. The next one goes on behind it, so that one file that fails cannot keep the others back.
    stopped_at: AtomicU64,
}

impl Backlog {
    /// Nothing is left; what cannot be sent is kept in the directory of the spools.
    pub(super) fn new(
        uploader: Arc<Uploader>,
        server: Arc<Server>,
        inodes: Arc<Inodes>,
        limits: SpoolLimits,
    ) -> Self {
        Self {
            uploader,
            server,
            inodes,
            limits,
            stopped_at: AtomicU64::new(0),
        }
    }

    /// Starts the thread that tries closed files again; it ends with the filesystem.
    pub(crate) fn start_retrying(self: &Arc<Self>) -> io::Result<()> {
        let backlog = Arc::downgrade(self);
        let run = move || {
            let mut pause = RETRY_EVERY;
            loop {
                std::thread::park_timeout(pause);
                let Some(backlog) = Weak::upgrade(&backlog) else {
                    return;
                };
                pause = next_pause(pause, backlog.retry());
            }
        };
        std::thread::Builder::new()
            .name("ftpfs-retry".into())
            .spawn(run)
            .map(drop)
    }

    /// Tries once more what was closed and is not on the server; stops at a failure that the others would meet too.
    pub(crate) fn retry(&self) -> Round {
        let mut files = self.unsent_and_closed();
        files.sort_unstable_by_key(|file| file.ino);
        let stopped_at = Ino(self.stopped_at.load(Ordering::Relaxed));
        let behind = files.partition_point(|file| file.ino <= stopped_at);
        files.rotate_left(behind);
        let (mut is_any_done, mut is_any_left) = (false, self.look_for_room(&files));
        for file in files {
            if file.lock().failure.held().is_some() {
                continue;
            }
            forget_emptied(&file);
            let sent = self.send_or_keep(&file);
            self.inodes.release_if_done(&file);
            match sent {
                Ok(()) => is_any_done = true,
                Err(error) => {
                    self.stopped_at.store(file.ino.0, Ordering::Relaxed);
                    is_any_left = true;
                    if concerns_all(&error) {
                        break;
                    }
                }
            }
        }
        if is_any_left && !is_any_done {
            Round::InVain
        } else {
            Round::Well
        }
    }

    /// Lets those of the files be tried again for which the server had no room and may have some now. Whether the server was asked in vain.
    fn look_for_room(&self, files: &[Arc<OpenFile>]) -> bool {
        let room = self.server.room();
        let mut was_in_vain = false;
        for file in files {
            let freed = {
                let mut state = file.lock();
                let Some(seen) = state.failure.seen_full() else {
                    continue;
                };
                seen.freed != room.freed()
            };
            let dir = self.inodes.path(file.ino).and_then(|path| path.parent());
            let free = match dir {
                Some(dir) if !freed => match room.ask(&dir) {
                    Space::Free(bytes) => Some(bytes),
                    Space::Unknown => None,
                },
                _ => None,
            };
            let mut state = file.lock();
            let needed = state
                .changes()
                .spool()
                .map_or(0, |spool| spool.dirty().bytes());
            let Some(seen) = state.failure.seen_full() else {
                continue;
            };
            // As much more as the file needs: what others write and remove all the time is not a reason to fill the server again.
            let has_grown = match (free, seen.free) {
                (Some(free), Some(before)) => free > before && free >= needed,
                _ => false,
            };
            seen.free = seen.free.or(free);
            if freed || has_grown {
                state.failure.unhold_full();
            } else {
                was_in_vain |= free.is_some();
            }
        }
        was_in_vain
    }

    fn unsent_and_closed(&self) -> Vec<Arc<OpenFile>> {
        let mut files = self.inodes.files();
        files.retain(|file| {
            let state = file.lock();
            !state.is_open() && state.needs_upload()
        });
        files
    }

    /// Uploads a file that no program has open. What the server will never take is kept on this machine and shown no longer.
    pub(crate) fn upload_or_keep(&self, file: &Arc<OpenFile>) {
        // It has been logged, and is tried again.
        let _ = self.send_or_keep(file);
        forget_emptied(file);
    }

    /// The same; after an error the file is to be tried again.
    fn send_or_keep(&self, file: &Arc<OpenFile>) -> Result<()> {
        let Err(error) = self.uploader.upload(file) else {
            return Ok(());
        };
        if !file.lock().needs_upload() {
            return Ok(());
        }
        let path = self.inodes.location(file);
        let name = Inodes::describe_path(path.as_ref());
        // No program waits for this, so it is said here.
        if error.is_transient() {
            let later = match file.lock().failure.held() {
                Some(_) => "when there is room or a program asks",
                None => "later",
            };
            log::warn!("{name} is not on the server, its bytes are kept and sent {later}: {error}");
            self.spare_memory(file, &name);
            return Err(error);
        }
        match keep(&self.limits.dir, file, path.as_ref()) {
            Ok(kept) if file.lock().is_open() => {
                // Opened again meanwhile: what the program does now counts, and its close goes through all this anew.
                for copy in [Some(kept.copy), kept.ranges].into_iter().flatten() {
                    if let Err(io) = std::fs::remove_file(&copy) {
                        log::warn!("{} is superseded and stays: {io}", copy.display());
                    }
                }
            }
            Ok(kept) => {
                log::error!("the server does not take {name} ({error}); its bytes are in {kept}");
                self.give_up(file);
            }
            Err(io) => {
                log::error!(
                    "the server does not take {name} ({error}), nor could it be kept: {io}"
                );
                return Err(error);
            }
        }
        Ok(())
    }

    /// Moves a closed file's bytes to the disk when spools have taken half of their memory: the other half is for files that are open.
    fn spare_memory(&self, file: &OpenFile, name: &str) {
        let mut state = file.lock();
        if state.is_open() || self.limits.budget.is_enough(Demand::Guess) {
            return;
        }
        if let Err(error) = state.changes_mut().move_to_file() {
            log::warn!("{name} stays in memory: {error}");
        }
    }

    /// Forgets what was written: the server's file is shown again.
    pub(crate) fn give_up(&self, file: &OpenFile) {
        let is_nothing = file.lock().give_up();
        let Some(path) = self.inodes.path(file.ino) else {
            return;
        };
        self.server.kernel().forget_name(&path);
        if is_nothing
            && let (Some(name), Some(parent)) = (path.name(), self.inodes.parent(file.ino))
        {
            self.inodes.unlink(parent, name);
        }
    }

    /// Brings to the server what it lacks at this moment, for the end of the mount; whether that was all done. Goes on as long as
    /// files get done, and gives up when a failure has lasted for `limit`. [`Self::progress`] shows how it goes on.
    pub(crate) fn drain(&self, limit: Duration) -> bool {
        // Not what comes later: a program that goes on writing would keep the mount from ending.
        let mut files = self.unsent();
        self.look_for_room(&files);
        let mut deadline = None;
        loop {
            let mut is_hopeless = true;
            let mut failed = Vec::new();
            let mut rest = files.into_iter();
            for file in rest.by_ref() {
                forget_emptied(&file);
                let Err(error) = self.uploader.upload(&file) else {
                    deadline = None;
                    continue;
                };
                log::debug!("not sent: {error}");
                // What it was about is elsewhere.
                if !file.lock().needs_upload() {
                    deadline = None;
                    continue;
                }
                let is_held = file.lock().failure.held().is_some();
                is_hopeless &= is_held || !error.is_transient();
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
    pub(crate) fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for file in self.inodes.files() {
            let state = file.lock();
            if !state.is_sent() {
                let spool = state.changes().spool();
                let dirty = spool.map_or(0, |spool| spool.dirty().bytes());
                progress.files_left += 1;
                progress.bytes_left += dirty + state.traffic.on_way();
                progress.bytes_moved = progress.bytes_moved.wrapping_add(state.traffic.moved());
            }
        }
        progress
    }

    /// Keeps on this machine what the server lacks, without asking the server any more; for the end of a mount that waits no
    /// longer. What is on its way at this moment is kept too.
    pub(crate) fn keep_unsent(&self) -> Vec<Unsent> {
        let mut files = self.inodes.files();
        files.retain(|file| !file.lock().is_sent());
        files.iter().map(|file| self.unsent_file(file)).collect()
    }

    fn unsent(&self) -> Vec<Arc<OpenFile>> {
        let mut files = self.inodes.files();
        files.retain(|file| file.wait_for_upload().needs_upload());
        files
    }

    fn unsent_file(&self, file: &OpenFile) -> Unsent {
        let path = self.inodes.location(file);
        let failure = file.lock().failure.error().cloned();
        // Without one its upload was still under way.
        let error = failure.unwrap_or_else(|| FsError::about(FsErrorKind::TimedOut, path.clone()));
        let kept = keep(&self.limits.dir, file, path.as_ref());
        let path = Inodes::describe_path(path.as_ref());
        let kept = kept
            .inspect_err(|io| log::error!("{path} could not be kept: {io}"))
            .ok();
        Unsent { path, error, kept }
    }
}

/// A program that empties a file wins at its last close, and not when it is tried again later or opened by another: what others have put
/// there since stays.
pub(crate) fn forget_emptied(file: &OpenFile) {
    let mut state = file.lock();
    if !state.is_open() {
        state.changes_mut().forget_emptied();
    }
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
