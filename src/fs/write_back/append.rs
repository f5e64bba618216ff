//! Bytes behind a file's end: APPE, which destroys nothing, and doubles when it is repeated without a look.

use super::{
    replace::replace,
    store::TRIES_MAX,
    upload::{Landed, Upload},
    verify,
};
use crate::{
    fs::{
        error::{FsError, FsErrorKind, Result},
        hidden::is_name_refusal,
        on_server::Doubt,
    },
    remote::{Evidence, Permit, RemoteErrorKind, Reported, Settled, UploadMode, Want},
};

/// The largest tail of which a copy is kept until it is confirmed. 1 MiB: more than programs append at once, and little memory.
const TAIL_BYTES_MAX: u64 = 1 << 20;

/// Sends the tail, behind the end that the file has now: others may have appended meanwhile, or cut it off.
pub(super) fn append(upload: &mut Upload<'_>) -> Result<Landed> {
    let path = upload.path;
    let mut seen = upload.recent_base();
    let mut tries = 1;
    let (at, sending) = loop {
        let permit = match seen.take() {
            Some(evidence) => permit(upload, &evidence)?,
            None => find_end(upload)?,
        };
        let at = upload.job.old_len();
        match upload
            .server
            .remote()
            .open_upload(permit, UploadMode::Append)
        {
            Err(error)
                if tries < TRIES_MAX
                    && (error.kind() == RemoteErrorKind::Expired
                        || error.kind() == RemoteErrorKind::Disconnected) =>
            {
                // It has not begun; the file may end elsewhere by now.
                tries += 1;
            }
            begun => break (at, begun),
        }
    };
    let sending = match sending {
        Ok(sending) => sending,
        Err(error) if is_name_refusal(&error) || error.kind() == RemoteErrorKind::Failed => {
            log::info!("{path} is not appended to ({error}): the whole file goes up instead");
            if error.kind() == RemoteErrorKind::Unsupported {
                upload.server.learnt().note_no_append();
            }
            return replace(upload);
        }
        Err(error) => return Err(upload.explain(error)),
    };
    let tail = if upload.job.len - at <= TAIL_BYTES_MAX {
        Some(upload.spooled(at..upload.job.len)?.into())
    } else {
        None
    };
    upload.begin_change(Doubt::Append { at, tail });
    let sent = upload.send(at..upload.job.len, sending);
    if let Err(error) = &sent
        && !error.is_answer()
        && error.kind() != RemoteErrorKind::Disconnected
    {
        return Err(error.clone().into());
    }
    let settled = match &sent {
        Ok(evidence) => upload.settle(evidence),
        Err(_) => settle_doubtful(upload),
    };
    let size = settled
        .as_ref()
        .ok()
        .and_then(|settled| settled.report.size.clone().ok());
    let settled = settled.map(Landed::There);
    match (sent, size) {
        (Ok(_), Some(None)) => settled,
        (Ok(_), Some(Some(size))) if size == upload.job.len => {
            let landed = settled?;
            if let Landed::There(settled) = &landed {
                let verified = verify::range(upload, at..size);
                verify::or_doubt(upload, settled, verified)?;
            }
            Ok(landed)
        }
        // Others have appended in the same moment, before or after what was sent; or the file had been cut off before.
        (Ok(_), Some(Some(size))) if size > upload.job.len || ends_with_tail(upload, at, size)? => {
            check_appending(upload)?;
            let len = upload.job.len;
            upload.move_tail(len, size)?;
            settled
        }
        (Err(_), Some(Some(size))) if size == upload.job.len && upload.holds_ours(at..size)? => {
            settled
        }
        (sent, _) => {
            let cause = sent.err().map(FsError::from).or(settled.err());
            Err(cause.unwrap_or_else(|| FsError::new(FsErrorKind::Io, path)))
        }
    }
}

/// Whether the server's file, of this size, ends with the tail that was to begin at `at`.
fn ends_with_tail(upload: &Upload<'_>, at: u64, size: u64) -> Result<bool> {
    let Some(start) = size.checked_sub(upload.job.len - at) else {
        return Ok(false);
    };
    upload.compare(start..size, |part, theirs| {
        let here = part.start - start + at..part.end - start + at;
        Ok(upload.spooled(here)? == theirs)
    })
}

/// The permit to append to the file that was seen, which is the version that the job is for.
fn permit(upload: &Upload<'_>, seen: &Evidence) -> Result<Permit> {
    let version = seen.version();
    let permit = version.and_then(|version| seen.permit(Want::Same(version)).ok());
    permit.ok_or_else(|| upload.conflict())
}

/// Asks what the file is after an append whose end is not known; no attributes are set on what may be another's.
fn settle_doubtful(upload: &Upload<'_>) -> Result<Settled> {
    Ok(Settled {
        mode: Ok(()),
        modified: Ok(()),
        report: upload.server.remote().report(upload.path)?,
    })
}

/// Asks where the file ends now, and moves the tail there; the permit to append to it.
fn find_end(upload: &mut Upload<'_>) -> Result<Permit> {
    let path = upload.path;
    let not_found = || FsError::new(FsErrorKind::NotFound, path);
    let evidence = upload.ask()?;
    let reported = evidence.version();
    let is_appended = upload.file.lock().changes().is_appended();
    // What was written through handles that only append may begin a new file: a log that was moved away.
    let reported = reported.or_else(|| {
        let gone = Reported {
            size: 0,
            modified: None,
        };
        is_appended.then_some(gone)
    });
    let reported = reported.ok_or_else(not_found)?;
    let at = upload.job.old_len();
    if reported.size != at {
        check_appending(upload)?;
        log::info!(
            "{path} had {at} bytes and has {} now: what was appended goes behind these",
            reported.size
        );
        upload.move_tail(at, reported.size)?;
    }
    let base = upload
        .server
        .versions()
        .base(reported, evidence.asked(), upload.base_mode());
    upload.see(base);
    let want = if evidence.is_absent() {
        Want::Absent
    } else {
        Want::Same(reported)
    };
    evidence.permit(want).map_err(|_| upload.conflict())
}

/// Only what was written through handles that append may move with the file's end: a program that wrote at an offset means that one.
fn check_appending(upload: &Upload<'_>) -> Result<()> {
    if upload.file.lock().changes().is_appended() {
        Ok(())
    } else {
        Err(upload.conflict())
    }
}
