//! What has become of a change whose outcome was not known: looked up before anything else is sent.
//!
//! | the change | it is ours, and is gone on with, when the server has |
//! |---|---|
//! | a new file under its own name | a beginning of its bytes |
//! | an append | the version of before, or the old size, then a beginning of the tail |
//! | ranges inside | the version of before, or the first of the new bytes (one is enough where the size is that of before): they are written once more |
//! | a whole new file that was to take the name | that file, or the one before |
//!
//! Anything else was made by others, and stays.

use std::sync::Arc;

use super::upload::{Landed, Upload};
use crate::{
    fs::{
        error::{FsError, FsErrorKind, Result},
        on_server::{Doubt, Stage},
    },
    remote::Reported,
};

/// Finds out what has become of the change that was under way, and makes the job fit that; how it has ended, if nothing is left to do.
pub(super) fn resolve(upload: &mut Upload<'_>) -> Result<Option<Landed>> {
    let Some(doubt) = upload.job.doubt.take() else {
        return Ok(None);
    };
    let is_new = matches!(doubt, Doubt::New { .. });
    if doubt == Doubt::InPlace {
        upload.job.is_emptied = true;
    }
    if upload.job.is_emptied && !is_new {
        return Ok(None);
    }
    if let Doubt::Append { at, .. } = doubt
        && upload.job.base.is_none()
    {
        let gone = Reported {
            size: at,
            modified: None,
        };
        let asked = upload.server.evidence().now();
        upload.job.base = Some(upload.server.versions().base(gone, asked, None));
    }
    let evidence = upload.ask()?;
    let Some(reported) = evidence.version() else {
        return resolve_absent(&doubt, upload);
    };
    if upload.job.is_emptied {
        return Ok(None);
    }
    let is_ours = match doubt {
        Doubt::InPlace => true,
        Doubt::New { sent, .. } => is_new_ours(upload, reported, sent.as_deref())?,
        Doubt::Append { at, .. } if reported.size < at => {
            // It was cut off or replaced since: where it ends is asked for again.
            if let Some(base) = upload.job.base.as_mut() {
                base.asked = None;
            }
            return Ok(None);
        }
        // Nothing of it has arrived. What was written inside is meant for the version of before; a tail goes behind any.
        Doubt::Append { at, .. } if reported.size == at => {
            is_base(upload, reported) || upload.job.dirty.iter().all(|range| range.start >= at)
        }
        Doubt::Append { at, tail } => {
            let range = at..reported.size;
            let is_there = upload.holds_ours(range.clone())?;
            if is_there {
                upload.job.dirty.remove(range.clone());
            }
            let tail = tail.as_deref().unwrap_or_default();
            is_there || upload.holds(range, tail)?
        }
        Doubt::Patch { before, len, first } => {
            let is_as_before = reported.agrees_with(&before.reported());
            let is_as_long = (before.size..=len).contains(&reported.size);
            is_as_before || is_as_long && holds_first(upload, reported, before.size, &first)?
        }
        Doubt::Placed(version) => {
            reported.agrees_with(&version.reported()) || is_base(upload, reported)
        }
    };
    if !is_ours {
        return Err(upload.conflict());
    }
    let base = upload
        .server
        .versions()
        .base(reported, evidence.asked(), upload.base_mode());
    upload.job.base = Some(base);
    Ok(None)
}

/// Whether what is there is the version that the job was made from.
fn is_base(upload: &Upload<'_>, reported: Reported) -> bool {
    let base = upload.job.base.as_ref();
    base.is_some_and(|base| reported.agrees_with(&base.version.reported()))
}

/// Whether what is there is a beginning of a new file that was being stored.
pub(super) fn is_new_ours(
    upload: &mut Upload<'_>,
    reported: Reported,
    sent: Option<&[u8]>,
) -> Result<bool> {
    let range = 0..reported.size;
    let is_there = upload.holds_ours(range.clone())?;
    if is_there {
        upload.job.dirty.remove(range.clone());
    }
    Ok(is_there || upload.holds(range, sent.unwrap_or_default())?)
}

/// Whether a file of the right size holds what was to be written first: the change had begun, and others have not replaced the file.
fn holds_first(
    upload: &Upload<'_>,
    reported: Reported,
    old_len: u64,
    (start, first): &(u64, Arc<[u8]>),
) -> Result<bool> {
    let holds = |bytes: &[u8]| {
        let end = (start + bytes.len() as u64).min(reported.size);
        Ok::<_, FsError>(end > *start && upload.holds(*start..end, bytes)?)
    };
    // It may have stopped inside that range.
    let one = first.get(..1).filter(|_| reported.size == old_len);
    Ok(holds(first)? || one.map_or(Ok(false), holds)?)
}

/// A file that was sent, whose confirmation was lost and that is not there: the server may have taken it away, so it is not sent again
/// until a program asks for it.
pub(super) fn park(upload: &Upload<'_>) -> FsError {
    log::error!(
        "{} was sent, its confirmation was lost, and it is not there: it is not sent again by itself",
        upload.path
    );
    let error = FsError::new(FsErrorKind::Unconfirmed, upload.path);
    upload.file.lock().park(error.clone());
    error
}

/// What has become of a change when nothing has the name.
fn resolve_absent(doubt: &Doubt, upload: &mut Upload<'_>) -> Result<Option<Landed>> {
    match doubt {
        Doubt::New {
            stage: Stage::Confirmed,
            revision,
            ..
        } if *revision == upload.job.revision => return Ok(Some(Landed::Taken)),
        Doubt::New {
            stage: Stage::Begun,
            ..
        } => return Err(park(upload)),
        // What was only appended may begin a new file; that is found out when it is asked for again.
        Doubt::Append { .. } => {
            if let Some(base) = upload.job.base.as_mut() {
                base.asked = None;
            }
        }
        _ => upload.job.base = None,
    }
    Ok(None)
}
