//! Fetching what of a changed file only the server has, before the whole goes up.

use std::ops::Range;

use super::upload::Upload;
use crate::{
    fs::{
        error::{FsError, FsErrorKind, Result},
        server::Intent,
        spool::Spool,
        streaming::CHUNK_BYTES,
    },
    remote::{self, RemoteError, RemoteErrorKind},
};

/// Brings the bytes that only the server has into the spool, and returns where they are. They must be those of the version that was
/// changed here.
pub(super) fn fetch_missing(upload: &Upload<'_>) -> Result<Vec<Range<u64>>> {
    let path = upload.path;
    let missing = upload
        .file
        .lock()
        .changes()
        .spool()
        .map_or_else(Vec::new, Spool::missing);
    if missing.is_empty() {
        return Ok(missing);
    }
    if upload.recent_base().is_none() {
        let evidence = upload.ask_again()?;
        if evidence.is_absent() {
            return Err(FsError::new(FsErrorKind::NotFound, path));
        }
        if !upload.is_still(evidence.version()) {
            return Err(upload.conflict());
        }
    }
    for gap in &missing {
        if let Err(error) = fetch(upload, gap) {
            // What came may be another version's.
            upload.file.lock().changes_mut().forget_fetched(&missing);
            let is_other =
                matches!(upload.ask_again(), Ok(seen) if !upload.is_still(seen.version()));
            return Err(if is_other {
                upload.conflict()
            } else {
                upload.server.explain(error, path, Intent::Content)
            });
        }
    }
    Ok(missing)
}

fn fetch(upload: &Upload<'_>, gap: &Range<u64>) -> remote::Result<()> {
    let mut download =
        upload
            .server
            .remote()
            .open_download(upload.path, gap.start, Some(gap.end - gap.start))?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = gap.start;
    loop {
        let count = download.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        let mut state = upload.file.lock();
        state.traffic.note_fetched(count as u64);
        let kept = state.changes_mut().fill(at, bytes);
        drop(state);
        kept.map_err(|error| {
            RemoteError::new(RemoteErrorKind::NoSpace, "RETR").with_source(error)
        })?;
        at += count as u64;
    }
    if at < gap.end {
        return Err(RemoteError::new(RemoteErrorKind::Failed, "RETR")
            .with_path(upload.path)
            .with_source("the file became shorter on the server while it was changed here"));
    }
    Ok(())
}
