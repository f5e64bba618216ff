//! What is known of an open file now, and how that changes.

mod failure;
mod name;
mod traffic;

use std::{io, ops::Range, sync::Arc, time::SystemTime};

pub(crate) use self::name::Name;
use self::{failure::Failure, traffic::Traffic};
use super::{
    changes::{Before, Changes},
    error::FsError,
    job::{UploadEnd, UploadJob},
    on_server::{Base, OnServer},
    spool::{Spool, SpoolLimits},
    streaming::UploadStream,
};
use crate::{
    cache::{Reader, Version},
    remote::{Attributes, Evidence, RemotePath},
};

/// A file that is written in order is streamed from this length on: below it one exchange at close is quicker.
const STREAM_BYTES_MIN: u64 = 1 << 20;

/// The state of one open file. These hold at all times:
///
/// 1. While it is [`Busy`], no upload and no stream begins, and nothing else changes its name.
/// 2. A running stream has sent nothing that has been changed since: the change ends it.
/// 3. What an upload has taken is either on the server when it ends, or back in the changes.
/// 4. A file whose name was removed is not uploaded any more.
/// 5. What the server shows is taken over only while programs see just that ([`Self::is_ahead`]), or when all that they have written was
///    set aside.
#[derive(Debug)]
pub(crate) struct FileState {
    handles: u32,
    on_server: OnServer,
    changes: Changes,
    /// The engine that reads what lies on the server; made by the first read.
    reader: Option<Arc<Reader>>,
    stream: Stream,
    busy: Busy,
    /// What has become of its name.
    pub(crate) name: Name,
    /// Why the last upload failed.
    pub(crate) failure: Failure,
    /// How far uploads have come.
    pub(crate) traffic: Traffic,
    /// How often what was written has given way to a file of others.
    set_asides: SetAsides,
}

/// A count, by which a handle knows whether its file is still the one that it was opened on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SetAsides(u32);

/// What keeps an upload from beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Busy {
    /// Nothing.
    No,
    /// One runs.
    Uploading,
    /// The name changes at this moment.
    Held,
}

/// The upload that runs while the program still writes.
#[derive(Debug)]
enum Stream {
    /// There is none.
    No,
    Running(UploadStream),
    /// One was given up since the last upload: the program does not write in order.
    GivenUp,
}

impl FileState {
    /// Of a file that is opened `now`, of which nothing is known yet.
    pub(super) fn new(now: SystemTime) -> Self {
        Self {
            handles: 0,
            on_server: OnServer::Absent { seen: None },
            changes: Changes::new(now),
            reader: None,
            stream: Stream::No,
            busy: Busy::No,
            name: Name::Kept,
            failure: Failure::None,
            traffic: Traffic::default(),
            set_asides: SetAsides::default(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.handles > 0
    }

    /// One handle more, of the file as it is now.
    pub(crate) fn add_handle(&mut self) -> SetAsides {
        self.handles += 1;
        self.set_asides
    }

    /// How often what was written has given way to a file of others.
    pub(crate) fn set_asides(&self) -> SetAsides {
        self.set_asides
    }

    /// A program has created the file under a name that the server was asked about at that moment.
    pub(crate) fn create(&mut self, seen: Option<Evidence>, mode: u32) {
        self.on_server.note_free(seen);
        if self.on_server.base().is_some() {
            return;
        }
        // There is nothing yet that the program could have emptied.
        self.changes.forget_emptied();
        if self.changes.wanted().mode.is_none() {
            self.changes.want(Attributes {
                mode: Some(mode),
                modified: None,
            });
        }
    }

    /// One handle less. Gives the reader back that is not needed any more, when it was the last.
    pub(crate) fn remove_handle(&mut self) -> Option<Arc<Reader>> {
        self.handles = self.handles.saturating_sub(1);
        if self.is_open() {
            None
        } else {
            self.reader.take()
        }
    }

    pub(crate) fn on_server(&self) -> &OnServer {
        &self.on_server
    }

    pub(crate) fn on_server_mut(&mut self) -> &mut OnServer {
        &mut self.on_server
    }

    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    pub(crate) fn changes_mut(&mut self) -> &mut Changes {
        &mut self.changes
    }

    pub(crate) fn reader(&self) -> Option<&Arc<Reader>> {
        self.reader.as_ref()
    }

    /// The reader of the version that was last seen, made when there is none.
    pub(crate) fn reader_or(&mut self, make: impl FnOnce(Version) -> Reader) -> Arc<Reader> {
        let base = self.on_server.base();
        let version = base.map(|base| base.version).unwrap_or_default();
        self.reader
            .get_or_insert_with(|| Arc::new(make(version)))
            .clone()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy != Busy::No
    }

    pub(super) fn set_busy(&mut self, busy: Busy) {
        self.busy = busy;
    }

    /// Whether the server lacks something that a program has written or created, and shall have it (invariant 4).
    pub(crate) fn needs_upload(&self) -> bool {
        let is_settled = matches!(self.on_server, OnServer::Known(_) | OnServer::Taken);
        !self.name.is_removed() && (!is_settled || self.changes.is_any())
    }

    /// Whether the server has all, and nothing is on its way.
    pub(crate) fn is_sent(&self) -> bool {
        self.busy != Busy::Uploading && !self.needs_upload()
    }

    /// Whether the handles see something else than the server shows.
    pub(crate) fn is_ahead(&self) -> bool {
        self.name.is_removed() || !self.is_sent()
    }

    /// The size that programs see.
    pub(crate) fn size(&self) -> u64 {
        let spool = self.changes.spool();
        spool.map_or_else(|| self.on_server.len(), Spool::len)
    }

    /// Writes at `offset`.
    pub(crate) fn write(
        &mut self,
        limits: &SpoolLimits,
        offset: u64,
        data: &[u8],
        is_append: bool,
        now: SystemTime,
    ) -> io::Result<()> {
        self.end_stream_beyond(offset);
        self.failure.unhold_full();
        let server_len = self.on_server.len();
        self.changes
            .write(server_len, limits, offset, data, is_append, now)?;
        if let Stream::Running(stream) = &self.stream {
            stream.wake();
        }
        Ok(())
    }

    /// Makes a range read as zero.
    pub(crate) fn zero(
        &mut self,
        limits: &SpoolLimits,
        range: Range<u64>,
        now: SystemTime,
    ) -> io::Result<()> {
        self.end_stream_beyond(range.start);
        self.failure.unhold_full();
        let server_len = self.on_server.len();
        self.changes.zero(server_len, limits, range, now)
    }

    /// Gives the file another length.
    pub(crate) fn set_len(
        &mut self,
        limits: &SpoolLimits,
        len: u64,
        now: SystemTime,
    ) -> io::Result<()> {
        self.end_stream_beyond(len);
        self.failure.unhold_full();
        if len < self.size() {
            // Also one that has sent nothing yet: the file may be as it is on the server now, and no upload would end the stream.
            self.stop_stream();
        }
        let before = match &self.on_server {
            OnServer::Known(_) | OnServer::Doubtful(..) => Before::File,
            OnServer::Maybe(_) => Before::Part,
            OnServer::Absent { .. } | OnServer::Taken => Before::Nothing,
        };
        self.changes
            .set_len(self.on_server.len(), limits, len, before, now)
    }

    /// Whether a file is written in order, from its start and as a whole, is large enough to be sent while it is written, and is not.
    pub(crate) fn wants_stream(&self) -> bool {
        let is_free = !self.is_busy() && !self.name.is_removed();
        let (Stream::No, true, Some(spool)) = (&self.stream, is_free, self.changes.spool()) else {
            return false;
        };
        let is_in_order = spool.local_prefix() == spool.len() && spool.len() >= STREAM_BYTES_MIN;
        let keeps_old = spool.server_len() > 0 && !spool.dirty().covers(0..spool.server_len());
        is_in_order && !keeps_old
    }

    /// The file lies under its own name again, after it was moved out of the way.
    pub(crate) fn get_back_name(&mut self, path: &RemotePath) {
        self.name.take_hidden();
        if let Some(reader) = &self.reader {
            reader.set_path(path.clone());
        }
    }

    /// Lets it be sent while it is written, if that is still wanted.
    pub(crate) fn start_stream(&mut self, start: impl FnOnce() -> Option<UploadStream>) {
        if self.wants_stream()
            && let Some(stream) = start()
        {
            self.stream = Stream::Running(stream);
        }
    }

    /// Ends such a stream: dropped, it removes what it has made.
    pub(crate) fn stop_stream(&mut self) {
        if let Stream::Running(_) = self.stream {
            self.stream = Stream::No;
        }
    }

    /// Bytes from `offset` on are about to change: a stream that has sent these already is of no use any more (invariant 2).
    fn end_stream_beyond(&mut self, offset: u64) {
        if matches!(&self.stream, Stream::Running(stream) if stream.claimed() > offset) {
            self.stream = Stream::GivenUp;
        }
    }

    /// An upload begins; it takes what it has to bring to the server (invariants 1 and 3).
    pub(super) fn begin_upload(&mut self) -> UploadJob {
        self.busy = Busy::Uploading;
        let len = self.size();
        let (dirty, is_emptied) = self.changes.take();
        let stream = match std::mem::replace(&mut self.stream, Stream::No) {
            Stream::Running(stream) => Some(stream),
            none => {
                self.stream = none;
                None
            }
        };
        self.traffic.begin(match &stream {
            Some(stream) => len.saturating_sub(stream.claimed()),
            None => dirty.bytes(),
        });
        UploadJob {
            base: self.on_server.base().cloned(),
            len,
            revision: self.changes.revision(),
            dirty,
            wanted: self.changes.wanted(),
            stream,
            seen: self.on_server.take_seen(),
            doubt: self.on_server.doubt().cloned(),
            is_emptied,
        }
    }

    /// The upload is over (invariant 3).
    pub(super) fn end_upload(&mut self, job: &UploadJob, end: UploadEnd) {
        self.busy = Busy::No;
        self.traffic.begin(0);
        match end {
            UploadEnd::Done(base) => {
                self.changes.sent(job.len, base.is_none());
                self.on_server = base.map_or(OnServer::Taken, OnServer::Known);
                self.reader = None;
                if let Stream::GivenUp = self.stream {
                    self.stream = Stream::No;
                }
                self.failure = Failure::None;
            }
            // What was written meanwhile is not among it: all of that stays to be sent.
            UploadEnd::SetAside(theirs) if self.changes.is_as_taken(job.len) => {
                self.changes.give_up();
                self.on_server = OnServer::Known(theirs);
                self.reader = None;
                self.stream = Stream::No;
                self.failure = Failure::None;
                self.set_asides.0 = self.set_asides.0.wrapping_add(1);
            }
            UploadEnd::Failed | UploadEnd::SetAside(_) => {
                self.changes
                    .give_back(&job.dirty, job.is_emptied, job.wanted);
            }
        }
    }

    /// The file's end on the server is not at `at` any more, as was believed, but at `to`: what was appended here moves there.
    pub(crate) fn move_tail(&mut self, job: &mut UploadJob, at: u64, to: u64) -> io::Result<()> {
        self.changes.move_tail(at, to)?;
        job.move_tail(at, to);
        self.reader = None;
        Ok(())
    }

    /// Not sent again until a program asks for it: what has become of it is not known, and will not be.
    pub(crate) fn park(&mut self, error: FsError) {
        self.failure = Failure::Parked(error);
        self.on_server.set_doubt(None);
    }

    /// Takes over what the server shows at an opening; `last` is what was seen when the file was last open. True when the content is the
    /// one that was last seen here.
    pub(crate) fn open_as(&mut self, mut base: Base, last: Option<Version>) -> bool {
        let before = self.on_server.base().map(|base| base.version).or(last);
        // The epoch tells apart what size and time do not: it changes with our own changes only.
        let is_same = base.version.adopt_epoch(before);
        let is_unknown = self.on_server.base().is_none() && !self.is_open();
        if is_unknown && self.changes.spool().is_none() {
            self.on_server.see(base);
        } else {
            self.rebase(base);
        }
        is_same
    }

    /// Takes over what the server shows, unless programs have changed the file meanwhile (invariant 5). Returns whether the content is another than before.
    pub(crate) fn rebase(&mut self, base: Base) -> bool {
        if self.is_ahead() {
            return false;
        }
        let old = self.on_server.base();
        let is_same = old.is_some_and(|old| old.version == base.version);
        if !is_same {
            self.changes.drop_spool();
            self.reader = None;
        }
        self.on_server.see(base);
        self.changes.forget_emptied();
        !is_same
    }

    /// Forgets what was written: the server's file is shown again. Whether there is none, so that the name is gone.
    pub(crate) fn give_up(&mut self) -> bool {
        self.changes.give_up();
        self.on_server.set_doubt(None);
        let is_nothing = self.on_server.base().is_none();
        if is_nothing {
            self.name.remove();
        }
        is_nothing
    }
}
