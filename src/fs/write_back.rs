//! Changes on their way to the server: what programs write, which way it goes up, and what is tried again or kept.
//!
//! It uses the server and the files of the inode table, and is used by the operations; it never calls one.
//! [`uploader`] chooses a way for each upload; the ways are [`put`], [`store`], [`append`], [`patch`] and [`replace`], each a function
//! of one [`upload`].

mod append;
mod conflict;
mod doubt;
mod fetch;
mod growth;
mod kept;
mod patch;
mod private;
mod put;
mod replace;
mod store;
mod streams;
mod unsent;
mod upload;
mod uploader;
mod verify;

use std::{ops::Range, sync::Arc};

use self::{
    growth::{Growth, GrowthLimit},
    streams::Streams,
    unsent::Backlog,
    uploader::Uploader,
};
pub use self::{
    kept::Kept,
    unsent::{Progress, Round, Unsent},
};
use super::{
    error::{FsError, FsErrorKind, Result},
    file::OpenFile,
    inode::Inodes,
    on_server::{Base, OnServer},
    server::Server,
    spool::SpoolLimits,
};
use crate::{budget::Budget, cache::ReadEngine, clock::Clock, config::FsConfig};
pub(crate) use unsent::forget_emptied;

/// The kernel's own limit of a file's size.
pub(super) const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// See the module.
#[derive(Debug)]
pub(crate) struct WriteBack {
    server: Arc<Server>,
    inodes: Arc<Inodes>,
    clock: Arc<dyn Clock>,
    limits: SpoolLimits,
    growth: GrowthLimit,
    uploader: Arc<Uploader>,
    streams: Streams,
    backlog: Arc<Backlog>,
}

impl WriteBack {
    /// To `server`, with the limits of `config`; `streams_max` files may go up while they are written.
    pub(crate) fn new(
        server: Arc<Server>,
        inodes: Arc<Inodes>,
        engine: Arc<ReadEngine>,
        config: &FsConfig,
        streams_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let limits = SpoolLimits {
            memory_bytes_max: config.spool_memory_bytes_max,
            budget: Budget::new(config.spool_memory_total_max),
            dir: config.spool_dir.clone(),
        };
        let uploader = Arc::new(Uploader::new(
            server.clone(),
            inodes.clone(),
            engine,
            limits.clone(),
            config.on_conflict,
        ));
        Self {
            streams: Streams::new(server.clone(), inodes.clone(), streams_max),
            growth: GrowthLimit::new(server.clone(), inodes.clone(), config.file_bytes_max),
            backlog: Arc::new(Backlog::new(
                uploader.clone(),
                server.clone(),
                inodes.clone(),
                limits.clone(),
            )),
            server,
            inodes,
            clock,
            limits,
            uploader,
        }
    }

    /// What is left to send of closed files.
    pub(crate) fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }

    /// Writes all of `data` at `offset`; at the end for a handle that appends. `None` when the server must be asked first whether it has
    /// the room.
    pub(crate) fn write_cached(
        &self,
        file: &Arc<OpenFile>,
        is_append: bool,
        offset: u64,
        data: &[u8],
    ) -> Option<Result<()>> {
        let mut state = file.lock();
        let offset = if is_append { state.size() } else { offset };
        let end = offset.checked_add(data.len() as u64);
        let Some(end) = end.filter(|end| *end <= FILE_BYTES_MAX) else {
            drop(state);
            return Some(Err(self.failure(FsErrorKind::TooLarge, file)));
        };
        let growth = self.growth.of(&state, offset, end);
        if growth != Growth::Ordinary {
            drop(state);
            if !self.growth.allows_cached(file, growth, end)? {
                return Some(Err(self.failure(FsErrorKind::TooLarge, file)));
            }
            state = file.lock();
        }
        let written = state.write(&self.limits, offset, data, is_append, self.clock.wall());
        let wants_stream = written.is_ok() && state.wants_stream();
        drop(state);
        if wants_stream {
            self.streams.start(file);
        }
        Some(self.spooled(file, written))
    }

    /// The same; asks the server.
    pub(crate) fn write(
        &self,
        file: &Arc<OpenFile>,
        is_append: bool,
        offset: u64,
        data: &[u8],
    ) -> Result<()> {
        loop {
            if let Some(written) = self.write_cached(file, is_append, offset, data) {
                return written;
            }
            self.growth.ask(file);
        }
    }

    /// Makes a range read as zero.
    pub(crate) fn zero(&self, file: &OpenFile, range: Range<u64>) -> Result<()> {
        let now = self.clock.wall();
        let zeroed = file.lock().zero(&self.limits, range, now);
        self.spooled(file, zeroed)
    }

    /// Gives a file another length, for its handles; the server learns of it with the next upload.
    pub(crate) fn set_len(&self, file: &OpenFile, len: u64) -> Result<()> {
        if len > FILE_BYTES_MAX {
            return Err(self.failure(FsErrorKind::TooLarge, file));
        }
        let growth = self.growth.of(&file.lock(), len, len);
        if !self.growth.allows(file, growth, len) {
            return Err(self.failure(FsErrorKind::TooLarge, file));
        }
        let theirs = if len == 0 {
            self.put_by_others(file)?
        } else {
            None
        };
        let now = self.clock.wall();
        let cut = || file.lock().set_len(&self.limits, len, now);
        self.spooled(file, cut())?;
        if let Some(theirs) = theirs
            && file.lock().rebase(theirs)
        {
            self.spooled(file, cut())?;
        }
        Ok(())
    }

    /// What others have put into a file that is to be emptied and is believed to be empty on the server. However lately it was seen to be so:
    /// nothing would be sent that would notice, what is there would stay, and be taken for the file when it is made longer.
    ///
    /// # Errors
    ///
    /// Also when there is no such file any more.
    fn put_by_others(&self, file: &OpenFile) -> Result<Option<Base>> {
        let state = file.lock();
        let base = match state.on_server() {
            OnServer::Known(base) if base.version.size == 0 => Some(base.clone()),
            _ => None,
        };
        let base = base.filter(|_| !state.is_busy() && !state.name.is_removed());
        let is_ahead = state.is_ahead();
        drop(state);
        let (Some(base), Some(path)) = (base, self.inodes.path(file.ino)) else {
            return Ok(None);
        };
        let seen = self.server.evidence().look_now(&path)?;
        if seen.is_absent() && !is_ahead {
            self.server.kernel().forget_name(&path);
            return Err(FsError::new(FsErrorKind::NotFound, &path));
        }
        let versions = self.server.versions();
        let theirs = seen.version().filter(|version| version.size > 0);
        Ok(theirs.map(|version| versions.base(version, seen.asked(), base.mode)))
    }

    /// Brings a file to the server, if the server lacks anything of it.
    pub(crate) fn upload(&self, file: &Arc<OpenFile>) -> Result<()> {
        self.uploader.upload(file)
    }

    /// The same when a program asks for it, so that what is held goes up again too.
    pub(crate) fn upload_as_asked(&self, file: &Arc<OpenFile>) -> Result<()> {
        file.lock().failure.unhold();
        self.upload(file)
    }

    /// The failure of an operation on a file, by the path that it has.
    pub(crate) fn failure(&self, kind: FsErrorKind, file: &OpenFile) -> FsError {
        FsError::about(kind, self.inodes.path(file.ino))
    }

    /// What came of reading or changing the spool of a file.
    pub(crate) fn spooled<T>(&self, file: &OpenFile, done: std::io::Result<T>) -> Result<T> {
        done.map_err(|error| {
            let path = self.inodes.path(file.ino);
            self.limits.explain(&error, path.as_ref())
        })
    }
}
