//! One file that is open, or whose bytes are not on the server yet: what all its handles share.

use std::{
    io,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
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
    /// When the server was asked about the name of a new file, and had nothing there.
    pub(crate) free_at: Option<Instant>,
    /// A change of ours to the file itself whose outcome is not known.
    pub(crate) doubt: Doubt,
    /// Whether all that was written since the last upload was appended, through handles that do nothing else.
    pub(crate) is_appending: bool,
    /// Whether a program has had whatever the name holds emptied (`O_TRUNC`), so that it may be replaced.
    pub(crate) is_emptied: bool,
    /// Whether the server has taken the file away once it had all of it: nothing is missing there.
    pub(crate) is_delivered: bool,
    /// Whether the file is not sent again until a program asks for it.
    pub(crate) is_parked: bool,
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
    /// When the server was asked for this file's size and time; `None` when they come from a listing.
    pub(crate) asked: Option<Instant>,
    /// Whether the mode was asked for with them.
    pub(crate) is_mode_asked: bool,
}

/// A change of ours to the file itself whose outcome is not known. The next upload looks what has become of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// There is none.
    #[default]
    No,
    /// A new file was being stored under its own name.
    New {
        /// How far the server had come with it.
        stage: Stage,
        /// What was sent, if it is small: a program may change it before it is known what has become of it.
        sent: Option<Arc<[u8]>>,
    },
    /// The file itself was being written over, on a server that cannot rename: whatever is there is to be replaced.
    InPlace,
    /// A tail was being appended.
    Append {
        /// Where the file ended before.
        at: u64,
        /// The tail, unless it is large: a program may take it back before it is known what has become of it.
        tail: Option<Arc<[u8]>>,
    },
    /// Ranges inside the file were being written, which was of this version before.
    Patch(Version),
    /// A whole new file of this version was about to take the name.
    Placed(Version),
}

impl Doubt {
    /// How far the server had come with a new file.
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::New { stage, .. } => *stage,
            _ => Stage::Unheard,
        }
    }
}

/// How far the server had come with a new file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has said nothing.
    #[default]
    Unheard,
    /// It had begun to take it.
    Begun,
    /// It has confirmed all of it.
    Confirmed,
}

/// What the name must hold for an upload to take its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Nothing.
    Absent,
    /// The version that was last seen, or nothing.
    Base,
    /// Anything.
    Any,
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
    /// See [`FileState::free_at`].
    pub(crate) free_at: Option<Instant>,
    /// See [`FileState::doubt`].
    pub(crate) doubt: Doubt,
    /// See [`FileState::is_emptied`].
    pub(crate) is_emptied: bool,
}

impl UploadJob {
    /// What the name must hold.
    pub(crate) fn want(&self) -> Want {
        match &self.base {
            _ if self.is_emptied => Want::Any,
            None => Want::Absent,
            Some(_) => Want::Base,
        }
    }

    /// The length of the file on the server, as last seen.
    pub(crate) fn old_len(&self) -> u64 {
        self.base.as_ref().map_or(0, |base| base.version.size)
    }
}

/// How an upload has ended.
#[derive(Debug, Default)]
pub(crate) enum UploadEnd {
    /// With nothing achieved, as far as is known.
    #[default]
    Failed,
    /// The server has confirmed it, and the file is this now; `None` when it was taken away.
    Done(Option<Base>),
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
                free_at: None,
                doubt: Doubt::No,
                is_appending: false,
                is_emptied: false,
                is_delivered: false,
                is_parked: false,
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
            free_at: state.free_at.take(),
            doubt: state.doubt.clone(),
            is_emptied: std::mem::take(&mut state.is_emptied),
        })
    }

    /// The file's end on the server is not at `at` any more, as was believed, but at `to`: what was appended here moves there.
    pub(crate) fn move_tail(&self, job: &mut UploadJob, at: u64, to: u64) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(spool) = state.spool.as_mut() {
            spool.move_tail(at, to)?;
        }
        let behind = |range: &Range<u64>| range.start >= at;
        let moved = job.dirty.iter().map(|range| {
            if behind(&range) {
                range.start - at + to..range.end - at + to
            } else {
                range
            }
        });
        job.dirty = moved.collect();
        job.len = job.len.saturating_sub(at) + to;
        state.reader = None;
        Ok(())
    }

    /// The upload is over.
    pub(crate) fn end_upload(&self, job: &UploadJob, end: UploadEnd) {
        let mut state = self.lock();
        state.is_uploading = false;
        state.on_way = 0;
        if let UploadEnd::Done(base) = end {
            if let Some(spool) = state.spool.as_mut() {
                spool.set_server_len(job.len);
                // Memory stays, for the reads and the changes that often follow; a file would hold disk space.
                if spool.is_in_file() && !spool.is_dirty() && base.is_some() {
                    state.spool = None;
                }
            }
            state.is_delivered = base.is_none();
            state.base = base;
            // Nothing was added meanwhile: to set attributes waits for the upload's end.
            state.wanted = Attributes::default();
            state.reader = None;
            state.is_random = false;
            state.doubt = Doubt::No;
            state.failure = None;
        } else {
            state.is_emptied |= job.is_emptied;
            if let Some(spool) = state.spool.as_mut() {
                spool.give_back_dirty(&job.dirty);
            }
            state.wanted.mode = state.wanted.mode.or(job.wanted.mode);
            state.wanted.modified = state.wanted.modified.or(job.wanted.modified);
        }
        self.upload_ended.notify_all();
    }

    /// Why it is not sent by itself, if that is so.
    pub(crate) fn parked(&self) -> Option<FsError> {
        let state = self.lock();
        state.failure.clone().filter(|_| state.is_parked)
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
            && ((self.base.is_none() && !self.is_delivered)
                || self.doubt != Doubt::No
                || !self.wanted.is_empty()
                || self.spool.as_ref().is_some_and(Spool::is_dirty))
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
        self.is_emptied = false;
        !is_same
    }
}
