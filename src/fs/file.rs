//! One file that is open, or whose bytes are not on the server yet: what all its handles share.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::{
    FsError,
    ranges::RangeSet,
    spool::{Spool, SpoolLimits},
    streaming::UploadStream,
};
use crate::{
    cache::{Reader, Version},
    remote::{Attributes, RemotePath},
};

/// Shared by the handles of one inode. The state's lock is never held across the network.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) ino: u64,
    state: Mutex<FileState>,
    upload_ended: Condvar,
}

/// What is known of the file now.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, in any combination"
)]
pub(crate) struct FileState {
    /// How many handles there are.
    pub(crate) handles: u32,
    /// The file on the server; `None` while there is none.
    pub(crate) base: Option<Base>,
    /// What was written; `None` when the server has all.
    pub(crate) spool: Option<Spool>,
    /// Mode and time that go up with the next upload.
    pub(crate) wanted: Attributes,
    /// When a program wrote last.
    pub(crate) written: SystemTime,
    /// The engine that reads what lies on the server; made by the first read.
    pub(crate) reader: Option<Arc<Reader>>,
    /// The upload that runs while the program still writes.
    pub(crate) stream: Option<UploadStream>,
    /// Where the file lives on after its name was removed while it was open.
    pub(crate) refuge: Option<RemotePath>,
    /// Whether the name was removed: nothing goes up any more.
    pub(crate) is_unlinked: bool,
    /// Whether a stream was given up since the last upload: the program does not write in order.
    pub(crate) is_random: bool,
    /// Whether an upload into the file itself broke off, so that nobody can say what the server has of it.
    pub(crate) is_base_uncertain: bool,
    /// Whether an upload that failed may have left a new file, or a part of it, under its own name.
    pub(crate) may_be_there: bool,
    /// Why the last upload failed; `None` after one that succeeded.
    pub(crate) failure: Option<FsError>,
    /// What the running upload has still to send, as far as that is known.
    pub(crate) on_way: u64,
    /// Bytes that were sent or fetched for uploads: changes while one makes progress.
    pub(crate) moved: u64,
    is_uploading: bool,
    /// Whether the name changes at this moment, so that no upload may begin.
    is_held: bool,
}

/// Keeps uploads of a file away while its name changes: one that began meanwhile would bring the old name back. Several
/// are taken in the order of their inodes, so that two renames cannot wait for each other; no upload takes one.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) file: Arc<OpenFile>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.file.lock().is_held = false;
        self.file.upload_ended.notify_all();
    }
}

/// The file on the server, as last seen.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// Which content it is.
    pub(crate) version: Version,
    /// Its permission bits, where known.
    pub(crate) mode: Option<u32>,
}

/// One upload's share of the state: what it has to bring to the server.
#[derive(Debug)]
pub(crate) struct UploadJob {
    /// The file that is there now.
    pub(crate) base: Option<Base>,
    /// The length that the file shall have.
    pub(crate) len: u64,
    /// The ranges that the server does not have.
    pub(crate) dirty: RangeSet,
    /// Mode and time that shall be set.
    pub(crate) wanted: Attributes,
    /// A stream that has sent a part of it already.
    pub(crate) stream: Option<UploadStream>,
    /// See [`FileState::is_base_uncertain`].
    pub(crate) is_base_uncertain: bool,
    /// See [`FileState::may_be_there`].
    pub(crate) may_be_there: bool,
}

impl UploadJob {
    /// Whether the upload takes the place of something.
    pub(crate) fn is_replacing(&self) -> bool {
        self.base.is_some() || self.may_be_there
    }
}

impl OpenFile {
    pub(crate) fn new(ino: u64, base: Option<Base>, now: SystemTime) -> Self {
        Self {
            ino,
            state: Mutex::new(FileState {
                handles: 0,
                base,
                spool: None,
                wanted: Attributes::default(),
                written: now,
                reader: None,
                stream: None,
                refuge: None,
                is_unlinked: false,
                is_random: false,
                is_base_uncertain: false,
                may_be_there: false,
                failure: None,
                on_way: 0,
                moved: 0,
                is_uploading: false,
                is_held: false,
            }),
            upload_ended: Condvar::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an upload that runs, then takes out what is to be uploaded; `None` when the server has all.
    /// The caller ends it with [`Self::end_upload`].
    pub(crate) fn begin_upload(&self) -> Option<UploadJob> {
        let mut state = self.wait_for_upload();
        if !state.needs_upload() {
            return None;
        }
        state.is_uploading = true;
        let (len, dirty) = match state.spool.as_mut() {
            Some(spool) => (spool.len(), spool.take_dirty()),
            None => (state.size(), RangeSet::default()),
        };
        state.on_way = match &state.stream {
            Some(stream) => len.saturating_sub(stream.claimed()),
            None => dirty.bytes(),
        };
        Some(UploadJob {
            base: state.base.clone(),
            len,
            dirty,
            wanted: state.wanted,
            stream: state.stream.take(),
            is_base_uncertain: state.is_base_uncertain,
            may_be_there: state.may_be_there,
        })
    }

    /// Somebody else has appended `by` bytes at `at`, the old end: what was appended here moves behind them.
    pub(crate) fn move_tail(&self, job: &mut UploadJob, at: u64, by: u64) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(spool) = state.spool.as_mut() {
            spool.move_tail(at, by)?;
        }
        job.len += by;
        let moved = job
            .dirty
            .iter()
            .map(|range| range.start + by..range.end + by);
        job.dirty = moved.collect();
        if let Some(base) = state.base.as_mut() {
            base.version.size = at + by;
            job.base = Some(base.clone());
        }
        Ok(())
    }

    /// The upload is over: with the file as it is on the server now, or with nothing achieved.
    pub(crate) fn end_upload(&self, job: &UploadJob, uploaded: Option<Base>) {
        let mut state = self.lock();
        state.is_uploading = false;
        state.on_way = 0;
        if let Some(base) = uploaded {
            if let Some(spool) = state.spool.as_mut() {
                spool.set_server_len(job.len);
                // Memory stays, for the reads and the changes that often follow; a file would hold disk space.
                if spool.is_in_file() && !spool.is_dirty() {
                    state.spool = None;
                }
            }
            state.base = Some(base);
            // Nothing was added meanwhile: to set attributes waits for the upload's end.
            state.wanted = Attributes::default();
            state.reader = None;
            state.is_random = false;
            state.is_base_uncertain = false;
            state.may_be_there = false;
            state.failure = None;
        } else {
            if let Some(spool) = state.spool.as_mut() {
                spool.give_back_dirty(&job.dirty);
            }
            state.wanted.mode = state.wanted.mode.or(job.wanted.mode);
            state.wanted.modified = state.wanted.modified.or(job.wanted.modified);
        }
        self.upload_ended.notify_all();
    }

    /// Keeps uploads away until the guard is dropped; waits for one that runs.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        self.wait_for_upload().is_held = true;
        Held { file: self.clone() }
    }

    /// Waits until no upload runs.
    pub(crate) fn wait_for_upload(&self) -> MutexGuard<'_, FileState> {
        let mut state = self.lock();
        // Both end by themselves: each of their waits has a deadline.
        while state.is_uploading || state.is_held {
            state = self
                .upload_ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}

impl FileState {
    /// Whether the server lacks something that a program has written or created.
    pub(crate) fn needs_upload(&self) -> bool {
        // What was set while the file was ahead goes up also when the bytes have become what they were.
        !self.is_unlinked
            && (self.base.is_none()
                || self.is_base_uncertain
                || !self.wanted.is_empty()
                || self.spool.as_ref().is_some_and(Spool::is_dirty))
    }

    /// An upload is about to change what the server has under the file's own name: should it fail, nobody knows what that is.
    pub(crate) fn doubt_server(&mut self) {
        match self.base {
            Some(_) => self.is_base_uncertain = true,
            None => self.may_be_there = true,
        }
    }

    /// Bytes of an upload have left.
    pub(crate) fn note_sent(&mut self, bytes: u64) {
        self.on_way = self.on_way.saturating_sub(bytes);
        self.moved = self.moved.wrapping_add(bytes);
    }

    /// Whether a stream may begin now.
    pub(crate) fn may_stream(&self) -> bool {
        !self.is_uploading && !self.is_held && !self.is_unlinked && !self.is_random
    }

    /// Whether the server has all, and nothing is on its way.
    pub(crate) fn is_on_server(&self) -> bool {
        !self.is_uploading && !self.needs_upload()
    }

    /// Whether the handles see something else than the server shows.
    pub(crate) fn is_ahead(&self) -> bool {
        self.is_uploading || self.is_unlinked || self.needs_upload()
    }

    /// The size that programs see.
    pub(crate) fn size(&self) -> u64 {
        match &self.spool {
            Some(spool) => spool.len(),
            None => self.base.as_ref().map_or(0, |base| base.version.size),
        }
    }

    /// The spool, made when there is none.
    pub(crate) fn spool_mut(&mut self, limits: &SpoolLimits) -> &mut Spool {
        let size = self.base.as_ref().map_or(0, |base| base.version.size);
        self.spool
            .get_or_insert_with(|| Spool::new(size, limits.clone()))
    }

    /// A write at `offset` is about to happen: a stream that has sent these bytes already is of no use any more.
    pub(crate) fn before_write(&mut self, offset: u64) {
        if self
            .stream
            .as_ref()
            .is_some_and(|stream| stream.claimed() > offset)
        {
            // Dropped: it cancels itself and removes what it has made.
            self.stream = None;
            self.is_random = true;
        }
    }

    /// Takes over what the server shows, unless programs have changed the file meanwhile. Returns whether the content is
    /// another than before.
    pub(crate) fn rebase(&mut self, base: Base) -> bool {
        if self.is_ahead() {
            return false;
        }
        let is_same = self
            .base
            .as_ref()
            .is_some_and(|old| old.version == base.version);
        if !is_same {
            self.spool = None;
            self.reader = None;
        }
        self.base = Some(base);
        !is_same
    }
}
