//! Ranges inside a large file: REST + STOR of these, where the server is known to keep the rest.
//!
//! The file itself is changed, so it must be the version that was opened; and the size does not show whether all has arrived, so that the
//! ranges are read back.

use std::num::NonZeroU64;

use super::{
    doubt::resolve,
    replace::replace,
    upload::{Landed, Upload, check_size},
};
use crate::{
    fs::{
        error::{FsError, FsErrorKind, Result},
        on_server::Doubt,
    },
    remote::{RemoteErrorKind, UploadMode},
};

/// Writes the ranges into the file.
pub(super) fn patch(upload: &mut Upload<'_>) -> Result<Landed> {
    let path = upload.path;
    // However recently it was opened: others may have replaced it since, and what is written into it cannot be taken back.
    let reported = upload.ask_again()?;
    let reported = reported.ok_or_else(|| FsError::new(FsErrorKind::NotFound, path))?;
    if !upload.is_still(Some(reported)) {
        return Err(upload.conflict());
    }
    let before = upload.job.base.as_ref().map(|base| base.version);
    for range in upload.job.dirty.clone().iter() {
        let Some(offset) = NonZeroU64::new(range.start) else {
            return replace(upload);
        };
        let sending = match upload
            .server
            .remote()
            .open_upload(path, UploadMode::At(offset))
        {
            Ok(sending) => sending,
            Err(error)
                if error.command() == "REST"
                    && (error.is_answer() || error.kind() == RemoteErrorKind::Unsupported) =>
            {
                log::info!("{path} goes up as a whole: {error}");
                // Some ranges may be in it already.
                upload.job.doubt = upload.file.lock().on_server().doubt().cloned();
                resolve(upload)?;
                return replace(upload);
            }
            Err(error) => return Err(upload.explain(error)),
        };
        upload.begin_change(Doubt::Patch(before.unwrap_or_default()));
        upload.send(range, sending)?;
    }
    let settled = upload.settle()?;
    check_size(path, &settled, upload.job.len)?;
    for range in upload.job.dirty.iter() {
        // What was written there again meanwhile goes up next.
        let is_untouched = upload
            .file
            .lock()
            .changes()
            .spool()
            .is_some_and(|spool| spool.dirty().gaps(&range) == std::slice::from_ref(&range));
        if !is_untouched {
            continue;
        }
        if !upload.holds_ours(range.clone())? {
            log::error!(
                "{path}: the server has not stored all of what was changed at {}",
                range.start
            );
            return Err(FsError::new(FsErrorKind::Io, path));
        }
    }
    Ok(Landed::There(settled))
}
