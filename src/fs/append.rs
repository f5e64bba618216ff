//! Bytes behind a file's end: APPE, which destroys nothing, and doubles when it is repeated without a look.

use std::sync::Arc;

use super::{
    Filesystem, FsError, FsErrorKind, Result,
    doubt::{Told, take_base},
    file::{Base, Doubt, OpenFile, UploadJob},
    lookup::Intent,
    namespace::is_name_refusal,
    upload::Landed,
};
use crate::remote::{RemoteErrorKind, RemotePath, UploadMode};

/// The largest tail of which a copy is kept until it is confirmed. 1 MiB: more than programs append at once, and little memory.
const TAIL_BYTES_MAX: u64 = 1 << 20;

impl Filesystem {
    /// Sends the tail, behind the end that the file has now: others may have appended meanwhile, or cut it off.
    pub(super) fn append(
        &self,
        file: &Arc<OpenFile>,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<Landed> {
        if !job.base.as_ref().is_some_and(|base| self.is_recent(base)) {
            self.find_end(file, path, job)?;
        }
        let at = job.old_len();
        let upload = match self.remote.open_upload(path, UploadMode::Append) {
            Ok(upload) => upload,
            Err(error) if is_name_refusal(&error) || error.kind() == RemoteErrorKind::Failed => {
                log::info!("{path} is not appended to ({error}): the whole file goes up instead");
                if error.kind() == RemoteErrorKind::Unsupported {
                    self.learn(|learnt| &learnt.no_append, true);
                }
                return self.replace(file, path, job);
            }
            Err(error) => return Err(self.explain(error, path, Intent::Upload)),
        };
        let tail = if job.len - at <= TAIL_BYTES_MAX {
            Some(self.spooled(file, at..job.len)?.into())
        } else {
            None
        };
        file.lock().doubt = Doubt::Append { at, tail };
        let sent = self.send(file, at..job.len, upload);
        if let Err(error) = &sent
            && !error.is_answer()
            && error.kind() != RemoteErrorKind::Disconnected
        {
            return Err(error.clone().into());
        }
        let settled = self.settle(path, self.attributes(job));
        let size = settled
            .as_ref()
            .ok()
            .and_then(|settled| settled.size.clone().ok());
        let settled = settled.map(Landed::There);
        match (sent, size) {
            (Ok(()), Some(None)) => settled,
            (Ok(()), Some(Some(size))) if size == job.len => settled,
            // Others have appended in the same moment, before or behind what was sent; or the file had been cut off before.
            (Ok(()), Some(Some(size)))
                if size > job.len || self.ends_with_tail(file, path, at, size, job)? =>
            {
                self.check_appending(file, path)?;
                let len = job.len;
                self.spool_moved(file.move_tail(job, len, size), path)?;
                settled
            }
            (Err(_), Some(Some(size)))
                if size == job.len && self.holds_ours(file, path, at..size, job)? =>
            {
                settled
            }
            (sent, _) => {
                let cause = sent.err().map(FsError::from).or(settled.err());
                Err(cause.unwrap_or_else(|| FsError::new(FsErrorKind::Io, path)))
            }
        }
    }

    /// Whether the server's file, of this size, ends with the tail that was to begin at `at`.
    fn ends_with_tail(
        &self,
        file: &OpenFile,
        path: &RemotePath,
        at: u64,
        size: u64,
        job: &UploadJob,
    ) -> Result<bool> {
        let Some(start) = size.checked_sub(job.len - at) else {
            return Ok(false);
        };
        self.compare(path, start..size, |part, theirs| {
            let here = part.start - start + at..part.end - start + at;
            Ok(self.spooled(file, here)? == theirs)
        })
    }

    /// Whether what the server has told of the file is recent enough to decide by.
    pub(super) fn is_recent(&self, base: &Base) -> bool {
        base.asked.is_some_and(|asked| self.is_evidence(asked))
    }

    /// Asks where the file ends now, and moves the tail there.
    fn find_end(&self, file: &Arc<OpenFile>, path: &RemotePath, job: &mut UploadJob) -> Result<()> {
        let not_found = || FsError::new(FsErrorKind::NotFound, path);
        let told = self.ask_version(path)?;
        let is_appending = file.lock().is_appending;
        // What was written through handles that only append may begin a new file: a log that was moved away.
        let told = told.or_else(|| {
            let gone = Told {
                size: 0,
                modified: None,
            };
            is_appending.then_some(gone)
        });
        let told = told.ok_or_else(not_found)?;
        let at = job.old_len();
        if told.size != at {
            self.check_appending(file, path)?;
            log::info!(
                "{path} had {at} bytes and has {} now: what was appended goes behind these",
                told.size
            );
            self.spool_moved(file.move_tail(job, at, told.size), path)?;
        }
        let mode = job.base.as_ref().and_then(|base| base.mode);
        take_base(file, job, self.base_told(told, mode));
        Ok(())
    }

    /// Only what was written through handles that append may move with the file's end: a program that wrote at an offset means that one.
    fn check_appending(&self, file: &OpenFile, path: &RemotePath) -> Result<()> {
        if file.lock().is_appending {
            Ok(())
        } else {
            Err(self.conflict(path))
        }
    }

    fn spool_moved(&self, moved: std::io::Result<()>, path: &RemotePath) -> Result<()> {
        moved.map_err(|error| {
            log::debug!("{path}: {error}");
            self.spool_error(&error)
        })
    }
}
