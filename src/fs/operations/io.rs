//! Reading and writing through handles, and what pushes written bytes to the server.

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::Filesystem;
use crate::{
    cache::{FileId, Reader},
    fs::{
        error::{FsError, FsErrorKind, Result},
        file::OpenFile,
        handle::Access,
        number::HandleId,
        on_server::Base,
        server::Intent,
        spool::Spool,
        state::FileState,
        write_back::FILE_BYTES_MAX,
    },
    remote::RemotePath,
};

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
    pub fn read_cached(&self, handle: HandleId, offset: u64, len: usize) -> Option<Result<Bytes>> {
        let handle = self.handles.file(handle).ok()?;
        let state = handle.file.lock();
        if let Some(spool) = state.changes().spool() {
            let is_here = spool.has(offset..offset.saturating_add(len as u64));
            let read = is_here.then(|| read_spool(spool, offset, len));
            drop(state);
            return read.map(|read| self.write_back.spooled(&handle.file, read));
        }
        let (reader, has_base) = (state.reader().cloned(), state.on_server().base().is_some());
        drop(state);
        let Some(reader) = reader else {
            if has_base {
                let file = FileId(handle.file.ino.0);
                self.engine.expect(file, &handle.cursor, offset, len);
            }
            return None;
        };
        reader.read_cached(&handle.cursor, offset, len).map(Ok)
    }

    /// Reads up to `len` bytes; fewer at the end of the file only.
    pub fn read(&self, handle: HandleId, offset: u64, len: usize) -> Result<Bytes> {
        let handle = self.handles.file(handle)?;
        let wanted = offset..offset.saturating_add(len as u64);
        confirm(self, &handle.file, &wanted)?;
        let fetch = |range: Range<u64>| {
            let (reader, path) = reader(self, &handle.file)?;
            let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let fetched = reader.read(&handle.cursor, range.start, wanted);
            fetched.map_err(|error| {
                self.server.broken_reads().note(&path);
                self.server.explain(error, &path, Intent::Content)
            })
        };
        let state = handle.file.lock();
        // Of a file without unsent changes, one read shows what the server has now: never that beside what was written here before.
        let spool = state.changes().spool();
        let Some(spool) = spool.filter(|spool| state.is_ahead() || spool.has(wanted.clone()))
        else {
            let is_nothing = state.on_server().base().is_none();
            drop(state);
            return if is_nothing {
                Ok(Bytes::new())
            } else {
                fetch(wanted)
            };
        };
        let pieces = pieces(spool, offset, len);
        drop(state);
        let pieces = self.write_back.spooled(&handle.file, pieces)?;
        let mut all = BytesMut::with_capacity(if pieces.len() > 1 { len } else { 0 });
        let is_one = pieces.len() == 1;
        for piece in pieces {
            let (bytes, is_whole) = match piece {
                Piece::Local(bytes) => (bytes, true),
                Piece::Remote(range) => {
                    let bytes = fetch(range.clone())?;
                    let is_whole = bytes.len() as u64 == range.end - range.start;
                    if !is_whole && handle.file.lock().size() >= range.end {
                        return Err(missing(self, &handle.file));
                    }
                    (bytes, is_whole)
                }
            };
            if is_one {
                return Ok(bytes);
            }
            all.extend_from_slice(&bytes);
            if !is_whole {
                // A program has cut the file off in the same moment.
                break;
            }
        }
        Ok(all.freeze())
    }

    /// Writes as [`Self::write`] does, for a program's `thread`; 0 when the kernel writes back a mapping. Waits for nothing: `None` when the
    /// server must be asked first, and nothing was written.
    pub fn write_cached_by(
        &self,
        handle: HandleId,
        thread: u32,
        offset: u64,
        data: &[u8],
    ) -> Option<Result<()>> {
        let handle = match self.handles.file(handle) {
            Ok(handle) => handle,
            Err(error) => return Some(Err(error)),
        };
        if let Err(error) = handle.check_current() {
            return Some(Err(error));
        }
        handle.writers.add(thread);
        let is_append = handle.access == Access::Append;
        self.write_back
            .write_cached(&handle.file, is_append, offset, data)
    }

    /// Writes all of `data` at `offset`, or at the end through a handle that appends.
    pub fn write(&self, handle: HandleId, offset: u64, data: &[u8]) -> Result<()> {
        let handle = self.handles.file(handle)?;
        handle.check_current()?;
        self.write_back
            .write(&handle.file, handle.access == Access::Append, offset, data)
    }

    /// Whether closing a descriptor needs nothing of the server; `None` when it does.
    pub fn flush_cached(&self, handle: HandleId) -> Option<Result<()>> {
        let handle = self.handles.file(handle).ok()?;
        if let Err(error) = handle.check_current() {
            return Some(Err(error));
        }
        let is_done = !handle.access.is_write() || handle.file.lock().is_sent();
        is_done.then_some(Ok(()))
    }

    /// The same when it is a program's `thread` that closes it: one that has neither opened nor written the file says nothing.
    pub fn flush_cached_by(&self, handle: HandleId, thread: u32) -> Option<Result<()>> {
        let is_writer = self.handles.file(handle).ok()?.writers.has(thread);
        if is_writer {
            self.flush_cached(handle)
        } else {
            Some(Ok(()))
        }
    }

    /// Brings what was written through a handle to the server.
    pub fn flush(&self, handle: HandleId) -> Result<()> {
        let handle = self.handles.file(handle)?;
        handle.check_current()?;
        self.write_back.upload_as_asked(&handle.file)
    }

    /// Brings everything written to a file to the server.
    pub fn fsync(&self, handle: HandleId) -> Result<()> {
        self.flush(handle)
    }

    /// Makes room in a file.
    pub fn fallocate(
        &self,
        handle: HandleId,
        range: Range<u64>,
        mode: PreallocateMode,
    ) -> Result<()> {
        let handle = self.handles.file(handle)?;
        handle.check_current()?;
        let file = handle.file.clone();
        if range.end > FILE_BYTES_MAX {
            return Err(self.write_back.failure(FsErrorKind::TooLarge, &file));
        }
        let size = file.lock().size();
        match mode {
            PreallocateMode::Reserve => Ok(()),
            PreallocateMode::Grow if range.end <= size => Ok(()),
            PreallocateMode::Grow => self.write_back.set_len(&file, range.end),
            PreallocateMode::Zero => self
                .write_back
                .zero(&file, range.start..range.end.min(size)),
        }
    }
}

/// The failure to read bytes of a changed file that only the server had: they are unknown, and not zeros.
fn missing(fs: &Filesystem, file: &OpenFile) -> FsError {
    let error = fs.write_back.failure(FsErrorKind::Io, file);
    log::warn!("{error}: it became shorter on the server while it was changed here");
    error
}

/// Makes sure, before a range is read, that the server's file is still the one of which bytes are here, where a download of it has broken off,
/// or where it has unsent changes and was last asked about too long ago.
fn confirm(fs: &Filesystem, file: &OpenFile, range: &Range<u64>) -> Result<()> {
    let Some(path) = fs.inodes.location(file) else {
        return Ok(());
    };
    let Some(base) = doubtful_base(fs, file, &path, range) else {
        return Ok(());
    };
    let seen = if base.asked.is_some() || fs.server.broken_reads().has(&path) {
        fs.server.versions().ask_as(Some(&base), &path)?
    } else {
        fs.server.evidence().look(&path)?
    };
    let Some(version) = seen.version() else {
        // Removed, or of a size that is not known: the download tells.
        return Ok(());
    };
    fs.server.broken_reads().settle(&path);
    let mut state = file.lock();
    let is_untouched = state.on_server().base().map(|base| base.version) == Some(base.version);
    if !is_untouched || !is_of_others(&state) {
        // A change of ours has come in between.
        return Ok(());
    }
    if version.agrees_with(&base.version.reported()) {
        if let Some(base) = state
            .on_server_mut()
            .base_mut()
            .filter(|base| base.asked.is_some())
        {
            base.asked = Some(seen.asked());
            // That is as old as it was.
            base.is_mode_asked = false;
        }
        return Ok(());
    }
    let theirs = fs.server.versions().base(version, seen.asked(), base.mode);
    if state.rebase(theirs) {
        drop(state);
        fs.server.kernel().forget_attributes(file.ino);
        return Ok(());
    }
    drop(state);
    let error = fs.write_back.failure(FsErrorKind::Io, file);
    log::warn!("{error}: others have changed it on the server while it was changed here");
    Err(error)
}

/// The file on the server, as last seen, if it has to be asked about before the range is read.
fn doubtful_base(
    fs: &Filesystem,
    file: &OpenFile,
    path: &RemotePath,
    range: &Range<u64>,
) -> Option<Base> {
    let state = file.lock();
    let has_broken = state.reader().is_some_and(|reader| reader.take_broken());
    if has_broken {
        fs.server.broken_reads().note(path);
    }
    let base = state.on_server().base().filter(|_| is_of_others(&state))?;
    let spool = state.changes().spool();
    let is_partly_here = spool.is_some_and(|spool| !spool.has(range.clone())) && state.is_ahead();
    let is_old = || fs.server.versions().evidence(path, base).is_none();
    let is_doubtful = fs.server.broken_reads().has(path) || is_partly_here && is_old();
    is_doubtful.then(|| base.clone())
}

/// Whether only others change the file on the server at this moment, as far as is known.
fn is_of_others(state: &FileState) -> bool {
    !state.is_busy() && state.on_server().doubt().is_none() && !state.name.is_removed()
}

/// Splits a read of a file with a spool.
fn pieces(spool: &Spool, offset: u64, len: usize) -> std::io::Result<Vec<Piece>> {
    let end = offset.saturating_add(len as u64).min(spool.len());
    let mut pieces = Vec::new();
    let mut at = offset;
    while at < end {
        let (run, is_local) = spool.run_at(at..end);
        at = run.end;
        pieces.push(if is_local {
            let count = usize::try_from(run.end - run.start).unwrap_or(0);
            Piece::Local(read_spool(spool, run.start, count)?)
        } else {
            Piece::Remote(run)
        });
    }
    Ok(pieces)
}

fn read_spool(spool: &Spool, offset: u64, len: usize) -> std::io::Result<Bytes> {
    let rest = spool.len().saturating_sub(offset);
    let mut bytes = vec![0; usize::try_from(rest).unwrap_or(len).min(len)];
    spool.read(offset, &mut bytes)?;
    Ok(bytes.into())
}

/// The engine that reads what lies on the server, and where that is.
fn reader(fs: &Filesystem, file: &OpenFile) -> Result<(Arc<Reader>, RemotePath)> {
    let path = fs.inodes.location(file).ok_or_else(FsError::stale)?;
    let make = |version| Reader::new(&fs.engine, FileId(file.ino.0), path.clone(), version);
    let reader = file.lock().reader_or(make);
    Ok((reader, path))
}
