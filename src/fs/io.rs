//! Reading and writing through handles, and what pushes written bytes to the server.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Bytes, BytesMut};

use super::{
    Filesystem, FsError, FsErrorKind, Result,
    file::{FileState, OpenFile},
    lookup::Intent,
    streaming::UploadStream,
};
use crate::{
    cache::{FileId, Reader},
    remote::RemotePath,
};

/// A file that is written in order is streamed from this length on: below it one exchange at close is quicker.
const STREAM_BYTES_MIN: u64 = 1 << 20;

/// The kernel's own limit of a file's size.
const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// What fallocate(2) is asked for, as far as a file on a server can have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreallocateMode {
    /// The file grows to hold the range.
    Grow,
    /// Space without growth: nothing to do.
    Reserve,
    /// The range reads as zero; the file does not grow.
    Zero,
}

/// A part of a read: bytes at hand, or a range to fetch.
enum Piece {
    Local(Bytes),
    Remote(Range<u64>),
}

impl Filesystem {
    /// Reads without asking the server; `None` when it must be asked.
    pub fn read_cached(&self, handle: u64, offset: u64, len: usize) -> Option<Result<Bytes>> {
        let handle = self.handles.file(handle).ok()?;
        let state = handle.file.lock();
        match &state.spool {
            Some(spool) if spool.has(offset..offset.saturating_add(len as u64)) => {
                Some(self.read_spool(&state, offset, len))
            }
            Some(_) => None,
            None => {
                let Some(reader) = state.reader.clone() else {
                    let (file, has_base) = (FileId(handle.file.ino), state.base.is_some());
                    drop(state);
                    if has_base {
                        self.engine.expect(file, &handle.cursor, offset, len);
                    }
                    return None;
                };
                drop(state);
                reader.read_cached(&handle.cursor, offset, len).map(Ok)
            }
        }
    }

    /// Reads up to `len` bytes; fewer at the end of the file only.
    pub fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Bytes> {
        let handle = self.handles.file(handle)?;
        let state = handle.file.lock();
        let mut pieces = match &state.spool {
            Some(_) => self.pieces(&state, offset, len)?,
            None if state.base.is_none() => return Ok(Bytes::new()),
            None => vec![Piece::Remote(offset..offset.saturating_add(len as u64))],
        };
        let is_spooled = state.spool.is_some();
        drop(state);
        let fetch = |range: Range<u64>| {
            let (reader, path) = self.reader(&handle.file)?;
            let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let fetched = reader.read(&handle.cursor, range.start, wanted);
            fetched.map_err(|error| self.explain(error, &path, Intent::Content))
        };
        if let (1, Some(Piece::Remote(_))) = (pieces.len(), pieces.first())
            && let Some(Piece::Remote(range)) = pieces.pop()
        {
            return fetch(range);
        }
        let mut all = BytesMut::with_capacity(len);
        for piece in pieces {
            match piece {
                Piece::Local(bytes) => all.extend_from_slice(&bytes),
                Piece::Remote(range) => {
                    let wanted = all.len() + usize::try_from(range.end - range.start).unwrap_or(0);
                    all.extend_from_slice(&fetch(range)?);
                    // The server's file became shorter: what follows must not move to the left.
                    if is_spooled {
                        all.resize(wanted, 0);
                    }
                }
            }
        }
        Ok(all.freeze())
    }

    /// Splits a read of a file with a spool.
    fn pieces(&self, state: &FileState, offset: u64, len: usize) -> Result<Vec<Piece>> {
        let Some(spool) = &state.spool else {
            return Ok(Vec::new());
        };
        let end = offset.saturating_add(len as u64).min(spool.len());
        let mut pieces = Vec::new();
        let mut at = offset;
        while at < end {
            let (run, is_local) = spool.run_at(at..end);
            at = run.end;
            pieces.push(if is_local {
                let count = usize::try_from(run.end - run.start).unwrap_or(0);
                Piece::Local(self.read_spool(state, run.start, count)?)
            } else {
                Piece::Remote(run)
            });
        }
        Ok(pieces)
    }

    fn read_spool(&self, state: &FileState, offset: u64, len: usize) -> Result<Bytes> {
        let Some(spool) = &state.spool else {
            return Ok(Bytes::new());
        };
        let rest = spool.len().saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(rest).unwrap_or(len).min(len)];
        spool
            .read(offset, &mut bytes)
            .map_err(|error| self.spool_error(&error))?;
        Ok(bytes.into())
    }

    /// The engine that reads what lies on the server, and where that is.
    fn reader(&self, file: &OpenFile) -> Result<(Arc<Reader>, RemotePath)> {
        let path = self
            .location(file)
            .ok_or_else(|| FsError::new(FsErrorKind::Stale, &RemotePath::root()))?;
        let mut state = file.lock();
        let version = state
            .base
            .as_ref()
            .map(|base| base.version)
            .unwrap_or_default();
        let reader = state.reader.get_or_insert_with(|| {
            Arc::new(Reader::new(
                &self.engine,
                FileId(file.ino),
                path.clone(),
                version,
            ))
        });
        Ok((reader.clone(), path))
    }

    /// Where a file lies on the server now.
    pub(super) fn location(&self, file: &OpenFile) -> Option<RemotePath> {
        let refuge = file.lock().refuge.clone();
        refuge.or_else(|| self.inodes.path(file.ino))
    }

    /// Writes as [`Self::write`] does, for a program's `thread`; 0 when the kernel writes back a mapping.
    pub fn write_by(&self, handle: u64, thread: u32, offset: u64, data: &[u8]) -> Result<()> {
        self.handles.file(handle)?.writers.add(thread);
        self.write(handle, offset, data)
    }

    /// Writes all of `data` at `offset`, or at the end through a handle that appends.
    pub fn write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<()> {
        let handle = self.handles.file(handle)?;
        let mut state = handle.file.lock();
        let offset = if handle.is_append {
            state.size()
        } else {
            offset
        };
        if offset
            .checked_add(data.len() as u64)
            .is_none_or(|end| end > FILE_BYTES_MAX)
        {
            return Err(FsError::new(FsErrorKind::TooLarge, &RemotePath::root()));
        }
        state.before_write(offset);
        let is_clean = state.spool.as_ref().is_none_or(|spool| !spool.is_dirty());
        state.is_appending = handle.is_append && (is_clean || state.is_appending);
        let spool = state.spool_mut(&self.spool_limits());
        spool
            .write(offset, data)
            .map_err(|error| self.spool_error(&error))?;
        state.written = self.clock.wall();
        state.wanted.modified = None;
        if let Some(stream) = &state.stream {
            stream.wake();
        } else if wants_stream(&state) {
            drop(state);
            self.start_streaming(&handle.file);
        }
        Ok(())
    }

    /// Lets a file that is written in order go up while it is written.
    fn start_streaming(&self, file: &Arc<OpenFile>) {
        let Some(permit) = StreamPermit::take(&self.streams, self.streams_max) else {
            return;
        };
        let Some(dir) = self.inodes.path(file.ino).and_then(|path| path.parent()) else {
            return;
        };
        // A temporary file that cannot be renamed is of no use.
        if self.learnt.no_rename.load(Ordering::Relaxed) || !self.account.hides_new_files(&dir) {
            return;
        }
        let has_dot = !self.learnt.no_dot_names.load(Ordering::Relaxed);
        let Some(temporary) = self.temporary_path(&dir, has_dot) else {
            return;
        };
        let source = file.clone();
        let read_chunk = Box::new(
            move |offset: u64, out: &mut [u8], claim: &mut dyn FnMut(u64)| {
                let _permit = &permit;
                let mut state = source.lock();
                let Some(spool) = &state.spool else {
                    return Ok(0);
                };
                let ready = spool.local_prefix().saturating_sub(offset);
                let count = usize::try_from(ready).unwrap_or(out.len()).min(out.len());
                spool.read(offset, out.get_mut(..count).unwrap_or_default())?;
                claim(offset + count as u64);
                state.note_sent(count as u64);
                Ok(count)
            },
        );
        let mut state = file.lock();
        if state.stream.is_none() && wants_stream(&state) {
            state.stream = UploadStream::start(
                self.remote.clone(),
                self.account.clone(),
                temporary,
                read_chunk,
            );
        }
    }

    /// Whether closing a descriptor needs nothing of the server; `None` when it does.
    pub fn flush_cached(&self, handle: u64) -> Option<Result<()>> {
        let handle = self.handles.file(handle).ok()?;
        let is_done = !handle.is_write || handle.file.lock().is_on_server();
        is_done.then_some(Ok(()))
    }

    /// The same when it is a program's `thread` that closes it: one that has neither opened nor written the file says nothing.
    pub fn flush_cached_by(&self, handle: u64, thread: u32) -> Option<Result<()>> {
        let is_writer = self.handles.file(handle).ok()?.writers.has(thread);
        if is_writer {
            self.flush_cached(handle)
        } else {
            Some(Ok(()))
        }
    }

    /// Brings what was written through a handle to the server.
    pub fn flush(&self, handle: u64) -> Result<()> {
        self.upload_as_asked(&self.handles.file(handle)?.file)
    }

    /// Brings everything written to a file to the server.
    pub fn fsync(&self, handle: u64) -> Result<()> {
        self.upload_as_asked(&self.handles.file(handle)?.file)
    }

    /// A program asks for it, so what was parked goes up again too.
    fn upload_as_asked(&self, file: &Arc<OpenFile>) -> Result<()> {
        file.lock().is_parked = false;
        self.upload(file)
    }

    /// Makes room in a file.
    pub fn fallocate(&self, handle: u64, range: Range<u64>, mode: PreallocateMode) -> Result<()> {
        let file = self.handles.file(handle)?.file.clone();
        if range.end > FILE_BYTES_MAX {
            return Err(FsError::new(FsErrorKind::TooLarge, &RemotePath::root()));
        }
        let size = file.lock().size();
        match mode {
            PreallocateMode::Reserve => Ok(()),
            PreallocateMode::Grow if range.end <= size => Ok(()),
            PreallocateMode::Grow => self.truncate_state(&file, range.end),
            PreallocateMode::Zero => self.write_zeros(&file, range.start..range.end.min(size)),
        }
    }

    fn write_zeros(&self, file: &OpenFile, range: Range<u64>) -> Result<()> {
        let mut state = file.lock();
        state.before_write(range.start);
        state.is_appending = false;
        let spool = state.spool_mut(&self.spool_limits());
        spool
            .zero(range)
            .map_err(|error| self.spool_error(&error))?;
        state.written = self.clock.wall();
        Ok(())
    }

    /// Gives a file another length, for its handles; the server learns of it with the next upload.
    pub(super) fn truncate_state(&self, file: &OpenFile, len: u64) -> Result<()> {
        if len > FILE_BYTES_MAX {
            return Err(FsError::new(FsErrorKind::TooLarge, &RemotePath::root()));
        }
        let mut state = file.lock();
        state.before_write(len);
        state.is_appending = false;
        if len < state.size() {
            // Also one that has sent nothing yet: the file may be as it is on the server now, and no upload would end the stream.
            state.stream = None;
        }
        let spool = state.spool_mut(&self.spool_limits());
        spool
            .set_len(len)
            .map_err(|error| self.spool_error(&error))?;
        // An empty file that is emptied is no change that would be sent.
        let is_change = spool.is_dirty() || state.base.is_none();
        state.is_emptied |= len == 0 && is_change;
        state.written = self.clock.wall();
        state.wanted.modified = None;
        Ok(())
    }

    pub(super) fn spool_error(&self, error: &io::Error) -> FsError {
        let dir = self.config.spool_dir.display();
        log::error!("the spool in {dir} failed: {error} (--cache-dir names another place)");
        let kind = match error.kind() {
            io::ErrorKind::StorageFull => FsErrorKind::NoSpace,
            io::ErrorKind::QuotaExceeded => FsErrorKind::QuotaExceeded,
            _ => FsErrorKind::Io,
        };
        FsError::new(kind, &RemotePath::root())
    }
}

/// Whether a file is written in order, from its start and as a whole, and is large enough to be sent while it is written.
fn wants_stream(state: &FileState) -> bool {
    let Some(spool) = &state.spool else {
        return false;
    };
    let is_in_order = spool.local_prefix() == spool.len() && spool.len() >= STREAM_BYTES_MIN;
    let keeps_old = spool.server_len() > 0 && !spool.dirty().covers(0..spool.server_len());
    is_in_order && !keeps_old && state.may_stream()
}

/// One of the sessions that streams may take; given back when the stream's thread ends.
struct StreamPermit(Arc<AtomicUsize>);

impl StreamPermit {
    fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let permit = Self(taken.clone());
        (taken.fetch_add(1, Ordering::Relaxed) < most).then_some(permit)
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
