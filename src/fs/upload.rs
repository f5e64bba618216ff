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
    num::NonZeroU64,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Filesystem, FsError, FsErrorKind, Result,
    file::{Base, OpenFile, UploadJob},
    lookup::Intent,
    namespace::is_name_refusal,
    streaming::{CHUNK_BYTES, discard},
};
use crate::{
    cache::{FileId, Version},
    remote::{
        self, Attributes, EntryKind, Modified, Precision, RemoteEntry, RemoteError,
        RemoteErrorKind, RemotePath, Settled, UploadMode,
    },
};

/// What goes up at once under its own name: as much as a socket takes without waiting for the server.
const PUT_BYTES_MAX: u64 = 64 << 10;

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

/// Ends an upload, also when the thread panics in it.
struct Running<'a> {
    file: &'a OpenFile,
    job: UploadJob,
    uploaded: Option<Base>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.file.end_upload(&self.job, self.uploaded.take());
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
            uploaded: None,
        };
        let path = self.path(file.ino)?;
        // Before, should this be the last that the program does; and after, should somebody have read meanwhile.
        self.forget_content(&[&path]);
        let settled = self.run_plan(file, &path, &mut running.job);
        self.forget_content(&[&path]);
        // A failure is the caller's to log: most answer a program, and `fuse` says it then.
        let settled = settled.inspect_err(|error| file.lock().failure = Some(error.clone()))?;
        self.engine.invalidate(FileId(file.ino));
        running.uploaded = Some(self.record(&path, &running.job, &settled));
        Ok(())
    }

    fn run_plan(&self, file: &OpenFile, path: &RemotePath, job: &mut UploadJob) -> Result<Settled> {
        let plan = self.plan(path, job);
        log::debug!("upload of {path}, {} bytes: {plan:?}", job.len);
        match plan {
            Plan::Attributes => self.settle(path, job),
            Plan::Stream => self.finish_stream(file, path, job),
            Plan::Put => self.put(file, path, job),
            Plan::Append => self.append(file, path, job),
            Plan::Patch => self.patch(file, path, job),
            Plan::Whole => self.replace(file, path, job),
        }
    }

    fn plan(&self, path: &RemotePath, job: &UploadJob) -> Plan {
        let old_len = job.base.as_ref().map_or(0, |base| base.version.size);
        if job.stream.is_some() {
            return Plan::Stream;
        }
        if job.is_base_uncertain {
            return Plan::Whole;
        }
        if job.base.is_some() && job.dirty.is_empty() && job.len == old_len {
            return Plan::Attributes;
        }
        if old_len == 0 {
            return if job.len <= PUT_BYTES_MAX {
                Plan::Put
            } else {
                Plan::Whole
            };
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
        file: &OpenFile,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<Settled> {
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

    fn put(&self, file: &OpenFile, path: &RemotePath, job: &UploadJob) -> Result<Settled> {
        let data = self.spooled(file, 0..job.len)?;
        let wanted = self.attributes(job);
        // A refused upload may leave them to the file that is there: never to one that is known to be.
        let along = if job.base.is_none() {
            wanted
        } else {
            Attributes::default()
        };
        match self.remote.put(path, &data, &along) {
            Ok(settled) => {
                // Until it is known to be whole.
                let mut state = file.lock();
                state.doubt_server();
                state.note_sent(job.len);
                drop(state);
                self.check_name(path, |stored| self.remote.remove_file(stored))?;
                let settled = match settled {
                    Some(settled) if along == wanted => self.note_settled(path, settled),
                    _ => self.settle(path, job)?,
                };
                check_size(path, &settled, job.len)?;
                Ok(settled)
            }
            // A server that does not let files be overwritten may let them be replaced.
            Err(error) if error.kind() == RemoteErrorKind::Refused && job.is_replacing() => {
                self.replace(file, path, job)
            }
            Err(error) => {
                if !is_name_refusal(&error) {
                    match job.base {
                        Some(_) => file.lock().doubt_server(),
                        None => self.remove_half(file, path, &error),
                    }
                }
                Err(self.explain(error, path, Intent::Upload))
            }
        }
    }

    /// Removes what a broken upload of a new file may have left under its own name: a server takes it for the whole.
    fn remove_half(&self, file: &OpenFile, path: &RemotePath, cause: &RemoteError) {
        if has_timed_out(cause) {
            // Who did not answer the upload would not answer this either, and the program has waited long enough.
            file.lock().may_be_there = true;
            return;
        }
        let Err(error) = self.remote.remove_file(path) else {
            return;
        };
        if !is_name_refusal(&error) {
            log::warn!("{path} may be there in part until it is uploaded again: {error}");
            file.lock().doubt_server();
        }
    }

    fn append(&self, file: &OpenFile, path: &RemotePath, job: &mut UploadJob) -> Result<Settled> {
        let old_len = job.base.as_ref().map_or(0, |base| base.version.size);
        let before = self.remote.settle(path, &Attributes::default())?;
        let old_len = match before.size {
            Ok(Some(size)) if size == old_len => size,
            Ok(Some(size)) if size > old_len => {
                log::info!("{path} has grown elsewhere: what was appended here goes behind that");
                file.move_tail(job, old_len, size - old_len)
                    .map_err(|error| self.spool_error(&error))?;
                size
            }
            _ => return self.replace(file, path, job),
        };
        let opened = self.remote.open_upload(path, UploadMode::Append);
        let sent = match opened {
            Ok(upload) => self
                .send(file, old_len..job.len, upload)
                .map_err(FsError::from),
            Err(error) if is_name_refusal(&error) || error.kind() == RemoteErrorKind::Failed => {
                log::info!("this server does not append ({error}): whole files go up instead");
                self.learn(|learnt| &learnt.no_append, true);
                return self.replace(file, path, job);
            }
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = &sent
            && error.remote().is_some_and(has_timed_out)
        {
            file.lock().doubt_server();
            return Err(error.clone());
        }
        let settled = self.settle(path, job);
        let size = settled
            .as_ref()
            .ok()
            .and_then(|settled| settled.size.clone().ok())
            .flatten();
        match (sent, size) {
            (_, Some(size)) if size == job.len => settled,
            (Ok(()), None) if settled.is_ok() => settled,
            (sent, _) => {
                // Some of the tail may have arrived; only a whole upload is certain to be right now.
                file.lock().doubt_server();
                let cause = sent.err().or(settled.err());
                Err(cause.unwrap_or_else(|| FsError::new(FsErrorKind::Io, path)))
            }
        }
    }

    fn patch(&self, file: &OpenFile, path: &RemotePath, job: &mut UploadJob) -> Result<Settled> {
        let base = job
            .base
            .as_ref()
            .map(|base| base.version)
            .unwrap_or_default();
        let before = self.remote.settle(path, &Attributes::default())?;
        let is_same_size = matches!(before.size, Ok(Some(size)) if size == base.size);
        let is_same_time = match (before.seen_modified, base.modified) {
            (Some(now), Some(then)) => now.agrees_with(then),
            _ => true,
        };
        if !is_same_size || !is_same_time {
            return self.replace(file, path, job);
        }
        for range in job.dirty.iter() {
            let Some(offset) = NonZeroU64::new(range.start) else {
                return self.replace(file, path, job);
            };
            let upload = match self.remote.open_upload(path, UploadMode::At(offset)) {
                Ok(upload) => upload,
                Err(error) if error.command() == "REST" => {
                    log::info!("{path} goes up as a whole: {error}");
                    return self.replace(file, path, job);
                }
                Err(error) => return Err(self.explain(error, path, Intent::Upload)),
            };
            self.send(file, range, upload)?;
        }
        let settled = self.settle(path, job)?;
        check_size(path, &settled, job.len)?;
        Ok(settled)
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
    fn spooled(&self, file: &OpenFile, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        match &file.lock().spool {
            Some(spool) => spool
                .read(range.start, &mut bytes)
                .map_err(|error| self.spool_error(&error))?,
            None if bytes.is_empty() => {}
            // Never zeros in the place of bytes that only the server has.
            None => return Err(FsError::new(FsErrorKind::Io, &RemotePath::root())),
        }
        Ok(bytes)
    }

    /// What the server is to be told of the file.
    pub(super) fn attributes(&self, job: &UploadJob) -> Attributes {
        let kept = job.base.as_ref().and_then(|base| base.mode);
        let has_mode = !self.learnt.no_mode.load(Ordering::Relaxed);
        Attributes {
            mode: job.wanted.mode.or(kept).filter(|_| has_mode),
            modified: job.wanted.modified,
        }
    }

    /// Sets mode and time and reads back what the server has.
    pub(super) fn settle(&self, path: &RemotePath, job: &UploadJob) -> Result<Settled> {
        let settled = self.remote.settle(path, &self.attributes(job))?;
        Ok(self.note_settled(path, settled))
    }

    /// Takes down what could not be set.
    pub(super) fn note_settled(&self, path: &RemotePath, settled: Settled) -> Settled {
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
        let modified = settled.seen_modified.unwrap_or(Modified {
            precision: Precision::Minute,
            ..self.clock.wall().into()
        });
        if let (Some(dir), Some(name)) = (path.parent(), path.name()) {
            let mut entry = RemoteEntry::new(name, EntryKind::File);
            entry.size = Some(job.len);
            entry.modified = Some(modified);
            entry.mode = mode;
            self.listings.upsert(&dir, entry);
            if job.base.is_none() {
                self.touch_dir(&dir);
            }
        }
        let version = Version {
            size: job.len,
            modified: Some(modified),
            epoch: self.next_epoch(),
        };
        Base { version, mode }
    }

    /// Removes a temporary file without making anyone wait.
    pub(super) fn discard(&self, temporary: RemotePath) {
        discard(self.remote.clone(), temporary);
    }
}

fn has_timed_out(error: &RemoteError) -> bool {
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
