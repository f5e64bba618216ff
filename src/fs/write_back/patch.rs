//! Ranges inside a large file: REST + STOR of these, where the server is known to keep the rest.
//!
//! The file itself is changed, so it must be the version that was opened; and the size does not show whether all has arrived, so that the
//! ranges are read back, unless the server has computed a checksum of them.

use std::{num::NonZeroU64, ops::Range, sync::Arc};

use super::{
    doubt::resolve,
    replace::replace,
    store::TRIES_MAX,
    upload::{Landed, Upload, check_size},
    verify::{self, Verdict},
};
use crate::{
    fs::{
        error::{FsError, FsErrorKind, Result},
        on_server::Doubt,
    },
    remote::{RemoteErrorKind, UploadMode, Want},
};

/// How much of the first range is remembered to see whether it was written. 4 KiB: by chance no other file has the same there.
const FIRST_BYTES_MAX: u64 = 4 << 10;

/// Writes the ranges into the file.
pub(super) fn patch(upload: &mut Upload<'_>) -> Result<Landed> {
    let path = upload.path;
    // However recently it was opened: others may have replaced it since, and what is written into it cannot be taken back.
    let mut evidence = upload.ask_again()?;
    if evidence.is_absent() {
        return Err(FsError::new(FsErrorKind::NotFound, path));
    }
    let mut want = upload.wanted(&evidence)?;
    let mut tries = 1;
    let before = upload.job.base.as_ref().map(|base| base.version);
    let mut ranges: Vec<_> = upload.job.dirty.iter().collect();
    let first = first_bytes(upload, ranges.first())?;
    ranges.reverse();
    while let Some(range) = ranges.pop() {
        let Some(offset) = NonZeroU64::new(range.start) else {
            return replace(upload);
        };
        let permit = evidence.permit(want).map_err(|_| upload.conflict())?;
        let sending = match upload
            .server
            .remote()
            .open_upload(permit, UploadMode::At(offset))
        {
            Ok(sending) => sending,
            Err(error)
                if want != Want::Ours
                    && tries < TRIES_MAX
                    && matches!(
                        error.kind(),
                        RemoteErrorKind::Disconnected | RemoteErrorKind::Expired
                    ) =>
            {
                // Nothing was written yet.
                tries += 1;
                evidence = upload.ask_again()?;
                want = upload.wanted(&evidence)?;
                ranges.push(range);
                continue;
            }
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
        upload.begin_change(Doubt::Patch {
            before: before.unwrap_or_default(),
            len: upload.job.len,
            first: first.clone(),
        });
        evidence = upload.send(range, sending)?;
        want = Want::Ours;
    }
    let settled = upload.settle(&evidence)?;
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
        let verified = verify::range(upload, range.clone());
        let verdict = verify::or_doubt(upload, &settled, verified)?;
        if verdict == Verdict::Unknown && !upload.holds_ours(range.clone())? {
            log::error!(
                "{path}: the server has not stored all of what was changed at {}",
                range.start
            );
            return Err(FsError::new(FsErrorKind::Io, path));
        }
    }
    Ok(Landed::There(settled))
}

/// Where the first range begins, and its first bytes.
fn first_bytes(upload: &Upload<'_>, first: Option<&Range<u64>>) -> Result<(u64, Arc<[u8]>)> {
    let Range { start, end } = first.cloned().unwrap_or_default();
    let bytes = upload.spooled(start..end.min(start + FIRST_BYTES_MAX))?;
    Ok((start, bytes.into()))
}
