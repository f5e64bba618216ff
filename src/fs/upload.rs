//! From spool to server: the cheapest plan that cannot lose bytes.
//!
//! | what was changed | plan |
//! |---|---|
//! | everything, in order, and large | the stream that has run meanwhile, then a rename |
//! | a new (or empty) small file | one STOR under its own name |
//! | only bytes behind the old end | APPE of the tail |
//! | some ranges of a large file, none at its start | REST + STOR of these, where the server is known to keep the rest |
//! | mode or time only | these |
//! | anything else | the whole file under a temporary name, then a rename over the old one |
//!
//! Every plan ends with the size that the server tells. The spool keeps the bytes until then.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Filesystem, FsError, FsErrorKind, Result,
    doubt::Told,
    file::{Base, OpenFile, UploadEnd, UploadJob},
    streaming::{CHUNK_BYTES, discard},
};
use crate::{
    cache::FileId,
    remote::{
        self, Attributes, EntryKind, Modified, Precision, RemoteEntry, RemoteError,
        RemoteErrorKind, RemotePath, Settled,
    },
};

/// What goes up at once under its own name: as much as a socket takes without waiting for the server.
pub(super) const PUT_BYTES_MAX: u64 = 64 << 10;

/// Smaller files are replaced as a whole, which is safe and as quick.
const PATCH_BYTES_MIN: u64 = 1 << 20;

/// More ranges than this cost more round trips than the whole file.
const PATCH_RANGES_MAX: usize = 64;

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Attributes,
    Stream,
    Put,
    Append,
    Patch,
    Whole,
}

/// How an upload has ended well.
#[derive(Debug)]
pub(super) enum Landed {
    /// The file is there, and is this.
    There(Settled),
    /// The server confirmed all of it, and has taken it away since.
    Taken,
}

/// Ends an upload, also when the thread panics in it.
struct Running<'a> {
    file: &'a OpenFile,
    job: UploadJob,
    end: UploadEnd,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let end = std::mem::take(&mut self.end);
        self.file.end_upload(&self.job, end);
    }
}

impl Filesystem {
    /// Brings a file to the server, if the server lacks anything of it.
    pub(super) fn upload(&self, file: &Arc<OpenFile>) -> Result<()> {
        let Some(job) = file.begin_upload() else {
            return Ok(());
        };
        let mut running = Running {
            file,
            job,
            end: UploadEnd::Failed,
        };
        let path = self.path(file.ino)?;
        if let Some(failure) = file.parked() {
            return Err(failure);
        }
        // Before, should this be the last that the program does; and after, should somebody have read meanwhile.
        self.forget_content(&[&path]);
        let landed = self.run_plan(file, &path, &mut running.job);
        self.forget_content(&[&path]);
        // A failure is the caller's to log: most answer a program, and `fuse` says it then.
        let landed = landed.inspect_err(|error| {
            file.lock().failure = Some(error.clone());
            // What is known of the file may not be so any more.
            self.forget_name(&path);
        })?;
        self.engine.invalidate(FileId(file.ino));
        running.end = UploadEnd::Done(match landed {
            Landed::There(settled) => Some(self.record(&path, &running.job, &settled)),
            Landed::Taken => {
                self.leave(&path);
                None
            }
        });
        Ok(())
    }

    fn run_plan(
        &self,
        file: &Arc<OpenFile>,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<Landed> {
        if let Some(landed) = self.resolve(file, path, job)? {
            return Ok(landed);
        }
        let plan = self.plan(path, job);
        log::debug!("upload of {path}, {} bytes: {plan:?}", job.len);
        match plan {
            Plan::Attributes => self.settle(path, self.attributes(job)).map(Landed::There),
            Plan::Stream => self.finish_stream(file, path, job),
            Plan::Put => self.put(file, path, job),
            Plan::Append => self.append(file, path, job),
            Plan::Patch => self.patch(file, path, job),
            Plan::Whole => self.replace(file, path, job),
        }
    }

    fn plan(&self, path: &RemotePath, job: &UploadJob) -> Plan {
        let old_len = job.old_len();
        if job.stream.is_some() {
            return Plan::Stream;
        }
        if job.base.is_some() && job.dirty.is_empty() && job.len == old_len {
            return Plan::Attributes;
        }
        if old_len == 0 || job.base.is_none() {
            return if job.len <= PUT_BYTES_MAX {
                Plan::Put
            } else {
                Plan::Whole
            };
        }
        if job.is_emptied {
            return Plan::Whole;
        }
        let is_tail = job.len > old_len && job.dirty.iter().all(|range| range.start >= old_len);
        if is_tail && !self.learnt.no_append.load(Ordering::Relaxed) {
            return Plan::Append;
        }
        let is_patch = job.len >= old_len
            && old_len >= PATCH_BYTES_MIN
            && job.dirty.bytes() <= job.len / 2
            && job.dirty.iter().count() <= PATCH_RANGES_MAX
            // FTP has no way to write the first bytes alone.
            && job.dirty.iter().all(|range| range.start > 0);
        match path.parent() {
            Some(dir) if is_patch && self.remote.can_patch(&dir) => Plan::Patch,
            _ => Plan::Whole,
        }
    }

    fn finish_stream(
        &self,
        file: &Arc<OpenFile>,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<Landed> {
        let Some(stream) = job.stream.take() else {
            return self.replace(file, path, job);
        };
        match stream.finish(job.len) {
            Ok(temporary) => self.put_in_place(file, &temporary, path, job),
            Err(error) if is_out_of_space(&error) || has_timed_out(&error) => Err(error.into()),
            Err(error) => {
                log::debug!("{path} goes up again as a whole: {error}");
                self.replace(file, path, job)
            }
        }
    }

    pub(super) fn send(
        &self,
        file: &OpenFile,
        range: Range<u64>,
        mut upload: Box<dyn remote::Upload>,
    ) -> remote::Result<()> {
        // At least this; a plan may send more than what was changed.
        let mut state = file.lock();
        state.on_way = state.on_way.max(range.end - range.start);
        drop(state);
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + CHUNK_BYTES as u64);
            let chunk = self.spooled(file, at..end).map_err(|error| {
                RemoteError::new(RemoteErrorKind::Failed, "STOR").with_source(error)
            })?;
            upload.write_all(&chunk)?;
            file.lock().note_sent(end - at);
            at = end;
        }
        upload.finish()
    }

    /// Bytes of the spool; zeros where it was cut off meanwhile.
    pub(super) fn spooled(&self, file: &OpenFile, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        match &file.lock().spool {
            // Never zeros in the place of bytes that only the server has.
            Some(spool) if !spool.has(range.clone()) => {
                return Err(FsError::new(FsErrorKind::Io, &RemotePath::root()));
            }
            Some(spool) => spool
                .read(range.start, &mut bytes)
                .map_err(|error| self.spool_error(&error))?,
            None if bytes.is_empty() => {}
            None => return Err(FsError::new(FsErrorKind::Io, &RemotePath::root())),
        }
        Ok(bytes)
    }

    /// What a program has set on the file.
    pub(super) fn attributes(&self, job: &UploadJob) -> Attributes {
        let has_mode = !self.learnt.no_mode.load(Ordering::Relaxed);
        Attributes {
            mode: job.wanted.mode.filter(|_| has_mode),
            modified: job.wanted.modified,
        }
    }

    /// The same, and the mode of the old file for one that takes its place.
    pub(super) fn attributes_of_new(&self, job: &UploadJob) -> Attributes {
        let has_mode = !self.learnt.no_mode.load(Ordering::Relaxed);
        let kept = job.base.as_ref().and_then(|base| base.mode);
        Attributes {
            mode: job.wanted.mode.or(kept).filter(|_| has_mode),
            modified: job.wanted.modified,
        }
    }

    /// Sets mode and time and reads back what the server has.
    pub(super) fn settle(&self, path: &RemotePath, attributes: Attributes) -> Result<Settled> {
        let settled = self.remote.settle(path, &attributes)?;
        Ok(self.note_settled(path, settled))
    }

    /// Takes down what could not be set; a size that SIZE does not tell comes from a listing.
    pub(super) fn note_settled(&self, path: &RemotePath, mut settled: Settled) -> Settled {
        let is_unreadable =
            matches!(&settled.size, Err(error) if error.kind() == RemoteErrorKind::Failed);
        if (is_unreadable || matches!(settled.size, Ok(None)))
            && let (Some(dir), Some(name)) = (path.parent(), path.name())
            && let Ok(listing) = self.listings.refetch(&*self.remote, &dir)
            && let Some(size) = listing.find(name).and_then(|entry| entry.size)
        {
            settled.size = Ok(Some(size));
        }
        if let Err(error) = &settled.mode {
            if error.kind() == RemoteErrorKind::Unsupported {
                self.learn(|learnt| &learnt.no_mode, true);
            }
            log::info!("{path}: mode not set: {error}");
        }
        if let Err(error) = &settled.modified {
            log::warn!("{path}: time not set: {error}");
        }
        settled
    }

    /// Enters what is on the server now into the listing, and returns it.
    fn record(&self, path: &RemotePath, job: &UploadJob, settled: &Settled) -> Base {
        let old_mode = job.base.as_ref().and_then(|base| base.mode);
        let mode = job
            .wanted
            .mode
            .filter(|_| settled.mode.is_ok())
            .or(old_mode);
        let mode = mode
            .filter(|_| !self.learnt.no_mode.load(Ordering::Relaxed))
            .or(old_mode);
        let shown = settled.seen_modified.unwrap_or(Modified {
            precision: Precision::Minute,
            ..self.clock.wall().into()
        });
        if let (Some(dir), Some(name)) = (path.parent(), path.name()) {
            let mut entry = RemoteEntry::new(name, EntryKind::File);
            entry.size = Some(job.len);
            entry.modified = Some(shown);
            entry.mode = mode;
            self.listings.upsert(&dir, entry);
            if job.base.is_none() {
                self.touch_dir(&dir);
            }
        }
        // Not what this machine's clock says: the file is known again by its time.
        let told = Told {
            size: job.len,
            modified: settled.seen_modified,
        };
        self.base_told(told, mode)
    }

    /// Removes a temporary file without making anyone wait.
    pub(super) fn discard(&self, temporary: RemotePath) {
        discard(self.remote.clone(), self.account.clone(), temporary);
    }
}

pub(super) fn has_timed_out(error: &RemoteError) -> bool {
    matches!(error.kind(), RemoteErrorKind::TimedOut(_))
}

fn is_out_of_space(error: &RemoteError) -> bool {
    matches!(
        error.kind(),
        RemoteErrorKind::NoSpace | RemoteErrorKind::QuotaExceeded
    )
}

pub(super) fn check_size(path: &RemotePath, settled: &Settled, len: u64) -> Result<()> {
    match &settled.size {
        Ok(Some(size)) if *size != len => {
            log::error!("{path}: the server has {size} bytes of {len}");
            Err(FsError::new(FsErrorKind::Io, path))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.clone().into()),
    }
}
