//! One upload of one file: what each way of it needs.

use std::{ops::Range, path::Path, sync::Arc};

use crate::{
    fs::{
        error::{FsError, FsErrorKind, Result},
        file::OpenFile,
        job::{self, UploadEnd, UploadJob},
        on_server::{Base, Doubt},
        ranges::RangeSet,
        server::{Intent, Server},
        spool::SpoolLimits,
        streaming::CHUNK_BYTES,
    },
    remote::{
        self, Attributes, Evidence, RemoteError, RemoteErrorKind, RemotePath, Reported, Settled,
        Want,
    },
};

/// How an upload has ended well.
#[derive(Debug)]
pub(super) enum Landed {
    /// The file is there, and is this.
    There(Settled),
    /// The server confirmed all of it, and has taken it away since.
    Taken,
}

/// Ends the file's upload when it is dropped, also when the thread panics in it.
pub(super) struct Upload<'a> {
    pub(super) server: &'a Server,
    pub(super) file: &'a Arc<OpenFile>,
    pub(super) path: &'a RemotePath,
    pub(super) job: UploadJob,
    /// Whether some of the bytes were fetched from the server: they are right only if the version that the job was made from is there still.
    pub(super) has_fetched: bool,
    limits: &'a SpoolLimits,
    /// `None` for a part of another upload, which ends with that.
    end: Option<UploadEnd>,
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            self.file.end_upload(&self.job, end);
        }
    }
}

impl<'a> Upload<'a> {
    /// Of the file at `path`, from which `job` was taken.
    pub(super) fn new(
        server: &'a Server,
        limits: &'a SpoolLimits,
        file: &'a Arc<OpenFile>,
        path: &'a RemotePath,
        job: UploadJob,
    ) -> Self {
        Self {
            server,
            file,
            path,
            job,
            has_fetched: false,
            limits,
            end: Some(UploadEnd::Failed),
        }
    }

    /// The same bytes as a new file at another path, as a part of this upload.
    pub(super) fn beside<'b>(&'b self, path: &'b RemotePath) -> Upload<'b> {
        let mut dirty = RangeSet::default();
        dirty.insert(0..self.job.len);
        let job = UploadJob {
            base: None,
            len: self.job.len,
            revision: self.job.revision,
            dirty,
            // Who may not read the file may not read this one.
            wanted: Attributes {
                mode: self.job.wanted.mode.or(self.base_mode()),
                ..self.job.wanted
            },
            stream: None,
            seen: None,
            doubt: None,
            is_emptied: false,
        };
        Upload {
            server: self.server,
            file: self.file,
            path,
            job,
            has_fetched: false,
            limits: self.limits,
            end: None,
        }
    }

    /// How it will have ended when it is over.
    pub(super) fn end_as(&mut self, end: UploadEnd) {
        self.end = Some(end);
    }

    /// It is over.
    pub(super) fn end(mut self, end: UploadEnd) {
        self.end_as(end);
    }

    /// The directory of files for bytes that the server does not have.
    pub(super) fn spool_dir(&self) -> &Path {
        &self.limits.dir
    }

    /// Sends a range of the file, and waits until the server has it.
    pub(super) fn send(
        &self,
        range: Range<u64>,
        mut sending: Box<dyn remote::Upload>,
    ) -> remote::Result<Evidence> {
        // At least this; a plan may send more than what was changed.
        self.file.lock().traffic.expect(range.end - range.start);
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + CHUNK_BYTES as u64);
            let chunk = self.spooled(at..end).map_err(|error| {
                RemoteError::new(RemoteErrorKind::Failed, "STOR").with_source(error)
            })?;
            sending.write_all(&chunk)?;
            self.file.lock().traffic.note_sent(end - at);
            at = end;
        }
        sending.finish()
    }

    /// Bytes of the spool; zeros where it was cut off meanwhile.
    pub(super) fn spooled(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        match self.file.lock().changes().spool() {
            // Never zeros in the place of bytes that only the server has.
            Some(spool) if !spool.has(range.clone()) => {
                return Err(FsError::new(FsErrorKind::Io, self.path));
            }
            Some(spool) => spool
                .read(range.start, &mut bytes)
                .map_err(|error| self.limits.explain(&error, Some(self.path)))?,
            None if bytes.is_empty() => {}
            None => return Err(FsError::new(FsErrorKind::Io, self.path)),
        }
        Ok(bytes)
    }

    /// What a program has set on the file.
    pub(super) fn attributes(&self) -> Attributes {
        let has_mode = self.server.learnt().sets_modes();
        Attributes {
            mode: self.job.wanted.mode.filter(|_| has_mode),
            modified: self.job.wanted.modified,
        }
    }

    /// The same, and the mode of the old file for one that takes its place.
    pub(super) fn attributes_of_new(&self) -> Attributes {
        let has_mode = self.server.learnt().sets_modes();
        let kept = self.job.base.as_ref().and_then(|base| base.mode);
        Attributes {
            mode: self.job.wanted.mode.or(kept).filter(|_| has_mode),
            modified: self.job.wanted.modified,
        }
    }

    /// Sets mode and time of the file that a change of ours has just been confirmed for, and reads back what the server has.
    pub(super) fn settle(&self, evidence: &Evidence) -> Result<Settled> {
        let len = Some(self.job.len);
        self.server
            .settle(evidence, Want::Ours, len, self.attributes())
    }

    /// The same for the file that evidence of now shows.
    pub(super) fn settle_seen(&self, evidence: &Evidence) -> Result<Settled> {
        self.server
            .settle(evidence, Want::AnyFile, None, self.attributes())
    }

    /// Asks for the file's size and time.
    pub(super) fn ask(&self) -> Result<Evidence> {
        self.server.versions().ask(self.path)
    }

    /// What the name holds now, found out in the way in which the job's base was.
    pub(super) fn ask_again(&self) -> Result<Evidence> {
        let base = self.job.base.as_ref();
        self.server.versions().ask_as(base, self.path)
    }

    /// What the name must hold, of what it was just seen to hold, for the job to take its place.
    pub(super) fn wanted(&self, seen: &Evidence) -> Result<Want> {
        match (self.job.want(), &self.job.base) {
            (job::Want::Any, _) => Ok(Want::AnyFile),
            _ if seen.is_absent() && !self.has_fetched => Ok(Want::Absent),
            (job::Want::Base, Some(base)) if self.is_still(seen.version()) => {
                Ok(Want::Same(base.version.reported()))
            }
            _ => Err(self.conflict()),
        }
    }

    /// Whether the name holds what the job's bytes were made from, or nothing.
    pub(super) fn is_still(&self, reported: Option<Reported>) -> bool {
        match (reported, &self.job.base) {
            (None, _) => true,
            (Some(reported), Some(base)) => reported.agrees_with(&base.version.reported()),
            (Some(_), None) => false,
        }
    }

    /// What was last seen of the file, if it is recent enough to decide by.
    pub(super) fn recent_base(&self) -> Option<Evidence> {
        let base = self.job.base.as_ref()?;
        self.server.versions().evidence(self.path, base)
    }

    /// The mode that the file was last seen to have.
    pub(super) fn base_mode(&self) -> Option<u32> {
        self.job.base.as_ref().and_then(|base| base.mode)
    }

    /// The file is another on the server than was believed.
    pub(super) fn see(&mut self, base: Base) {
        self.file.lock().on_server_mut().see(base.clone());
        self.job.base = Some(base);
    }

    /// A change of ours to the file itself begins.
    pub(super) fn begin_change(&self, doubt: Doubt) {
        self.file.lock().on_server_mut().set_doubt(Some(doubt));
    }

    /// Whether the server's bytes in this range are those that are here.
    pub(super) fn holds_ours(&self, range: Range<u64>) -> Result<bool> {
        if range.end > self.job.len {
            return Ok(false);
        }
        self.compare(range, |part, theirs| Ok(self.spooled(part)? == theirs))
    }

    /// Whether the server's bytes in this range are a beginning of these.
    pub(super) fn holds(&self, range: Range<u64>, bytes: &[u8]) -> Result<bool> {
        self.server.versions().holds(self.path, range, bytes)
    }

    /// Reads a range of the file on the server, and asks of each piece whether it is the right one.
    pub(super) fn compare(
        &self,
        range: Range<u64>,
        is_right: impl Fn(Range<u64>, &[u8]) -> Result<bool>,
    ) -> Result<bool> {
        self.server.versions().compare(self.path, range, is_right)
    }

    /// Moves what was appended, as the file ends at `to` and not at `at`.
    pub(super) fn move_tail(&mut self, at: u64, to: u64) -> Result<()> {
        let moved = self.file.lock().move_tail(&mut self.job, at, to);
        moved.map_err(|error| {
            log::debug!("{}: {error}", self.path);
            self.limits.explain(&error, Some(self.path))
        })
    }

    /// Why the server has said no to a change of the file.
    pub(super) fn explain(&self, error: RemoteError) -> FsError {
        self.server.explain(error, self.path, Intent::Upload)
    }

    /// The failure of this upload over something else than what its bytes were made from.
    pub(super) fn conflict(&self) -> FsError {
        self.server.conflict(self.path)
    }
}

/// Fails unless a file that was sent has `len` bytes on the server.
pub(super) fn check_size(path: &RemotePath, settled: &Settled, len: u64) -> Result<()> {
    match &settled.report.size {
        Ok(Some(size)) if *size != len => {
            log::error!("{path}: the server has {size} bytes of {len}");
            Err(FsError::new(FsErrorKind::Io, path))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.clone().into()),
    }
}
