//! Ranges inside a large file: REST + STOR of these, where the server is known to keep the rest.
//!
//! The file itself is changed, so it must be the version that was opened; and the size cannot tell whether all has arrived, so that the
//! ranges are read back.

use std::{num::NonZeroU64, sync::Arc};

use super::{
    Filesystem, FsError, FsErrorKind, Result,
    doubt::is_still,
    file::{Doubt, OpenFile, UploadJob},
    lookup::Intent,
    upload::{Landed, check_size},
};
use crate::remote::{RemoteErrorKind, RemotePath, UploadMode};

impl Filesystem {
    /// Writes the ranges into the file.
    pub(super) fn patch(
        &self,
        file: &Arc<OpenFile>,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<Landed> {
        // However recently it was opened: others may have replaced it since, and what is written into it cannot be taken back.
        let told = self.told_now(path, job)?;
        let told = told.ok_or_else(|| FsError::new(FsErrorKind::NotFound, path))?;
        if !is_still(Some(told), job) {
            return Err(self.conflict(path));
        }
        let before = job.base.as_ref().map(|base| base.version);
        for range in job.dirty.clone().iter() {
            let Some(offset) = NonZeroU64::new(range.start) else {
                return self.replace(file, path, job);
            };
            let upload = match self.remote.open_upload(path, UploadMode::At(offset)) {
                Ok(upload) => upload,
                Err(error)
                    if error.command() == "REST"
                        && (error.is_answer() || error.kind() == RemoteErrorKind::Unsupported) =>
                {
                    log::info!("{path} goes up as a whole: {error}");
                    // Some ranges may be in it already.
                    job.doubt = file.lock().doubt.clone();
                    self.resolve(file, path, job)?;
                    return self.replace(file, path, job);
                }
                Err(error) => return Err(self.explain(error, path, Intent::Upload)),
            };
            file.lock().doubt = Doubt::Patch(before.unwrap_or_default());
            self.send(file, range, upload)?;
        }
        let settled = self.settle(path, self.attributes(job))?;
        check_size(path, &settled, job.len)?;
        for range in job.dirty.iter() {
            // What was written there again meanwhile goes up next.
            let is_untouched = file.lock().spool.as_ref().is_some_and(|spool| {
                spool.dirty().gaps(range.clone()) == std::slice::from_ref(&range)
            });
            if !is_untouched {
                continue;
            }
            if !self.holds_ours(file, path, range.clone(), job)? {
                log::error!(
                    "{path}: the server has not stored all of what was changed at {}",
                    range.start
                );
                return Err(FsError::new(FsErrorKind::Io, path));
            }
        }
        Ok(Landed::There(settled))
    }
}
