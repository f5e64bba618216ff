//! New files under their own names, their bytes after the server's go-ahead; and what all uploads to a free name need.
//!
//! A file of that name is never written over: right before, the name must be free, or hold an empty file. When an upload breaks off,
//! nothing is removed, for what is there may be another's; the next try looks ([`super::doubt`]).

use std::sync::Arc;

use super::{
    upload::{Landed, Upload},
    verify,
};
use crate::{
    fs::{
        error::{FsError, FsErrorKind, Result},
        hidden::is_name_refusal,
        job,
        on_server::{Doubt, Stage},
    },
    remote::{
        self, Confirmed, EntryKind, Permit, RemoteError, RemoteErrorKind, RemotePath, Settled,
        UploadMode, Want,
    },
};

/// What goes up at once under its own name: as much as a socket takes without waiting for the server.
pub(super) const PUT_BYTES_MAX: u64 = 64 << 10;

/// How often a file is sent whose connection breaks before anything has come of it. 3: one for a session that was dead, one for a
/// data connection that was.
pub(super) const TRIES_MAX: usize = 3;

/// What a name holds for a file that is to be stored under it.
pub(super) enum Place {
    /// Nothing, or a file without a byte: it may be stored there.
    Free(Permit),
    /// A file, which is to be replaced.
    Taken,
}

/// Keeps in mind that a part of the file may be there; returns what was sent, if it is small.
pub(super) fn note_broken(upload: &Upload<'_>, error: &RemoteError) -> Option<Arc<[u8]>> {
    let (was, sent) = match upload.file.lock().on_server().doubt() {
        Some(Doubt::New {
            stage,
            revision,
            sent,
        }) if *revision == upload.job.revision => (*stage, sent.clone()),
        _ => (Stage::Unheard, None),
    };
    let stage = match was {
        Stage::Confirmed => Stage::Confirmed,
        _ if error.has_begun() && error.is_reply_lost() => Stage::Begun,
        _ => Stage::Unheard,
    };
    let is_small = upload.job.len <= PUT_BYTES_MAX;
    let copy = || upload.spooled(0..upload.job.len).ok().map(Arc::from);
    let sent = sent.or_else(|| is_small.then(copy).flatten());
    upload.begin_change(Doubt::New {
        stage,
        revision: upload.job.revision,
        sent: sent.clone(),
    });
    sent
}

/// Settles a file that the server has confirmed, unless that is done already, and makes sure that it is whole.
///
/// # Errors
///
/// What it holds is not known, or not what was sent; inside, what the server says.
pub(super) fn settle_stored(
    upload: &Upload<'_>,
    confirmed: Confirmed,
) -> Result<remote::Result<Landed>> {
    let settled = match confirmed.settled {
        Some(settled) => upload.server.note_settled(upload.path, settled),
        None => match upload.settle(&confirmed.evidence) {
            Ok(settled) => settled,
            Err(error) => return error.remote().cloned().ok_or(error).map(Err),
        },
    };
    let landed = confirm(upload, settled);
    if let Ok(Landed::There(settled)) = &landed {
        verify::or_doubt(upload, settled, verify::whole(upload, upload.path))?;
    }
    Ok(landed)
}

/// Sees to it that the server has not stored the file under another name than its own.
pub(super) fn check_name(upload: &Upload<'_>) -> Result<()> {
    let server = upload.server;
    server.check_name(upload.path, |stored| match stored.permit(Want::AnyFile) {
        Ok(permit) => server.remote().remove_file(permit),
        Err(_) => Ok(()),
    })
}

/// Makes sure that a file which the server has confirmed is there under its name and whole, or was taken away.
fn confirm(upload: &Upload<'_>, settled: Settled) -> remote::Result<Landed> {
    let path = upload.path;
    match &settled.report.size {
        Err(error) if error.kind() == RemoteErrorKind::Refused => {
            if upload.server.evidence().is_gone(path) {
                if let Some(dir) = path.parent() {
                    upload.server.account().note_taken(&dir);
                }
                return Ok(Landed::Taken);
            }
            Err(error.clone())
        }
        Err(error) => Err(error.clone()),
        Ok(Some(size)) if *size != upload.job.len => {
            log::error!("{path}: the server has {size} bytes of {}", upload.job.len);
            Err(RemoteError::new(RemoteErrorKind::Failed, "STOR")
                .with_path(path)
                .with_source("the server has another size"))
        }
        Ok(_) => Ok(Landed::There(settled)),
    }
}

/// Any new file, under its own name, its bytes after the server's go-ahead.
pub(super) fn store(upload: &mut Upload<'_>) -> Result<Landed> {
    let path = upload.path;
    let mut tries = 1;
    let sending = loop {
        let Place::Free(permit) = place(upload)? else {
            return Err(no_replacing(path));
        };
        match upload
            .server
            .remote()
            .open_upload(permit, UploadMode::Whole)
        {
            Ok(sending) => break sending,
            Err(error)
                if matches!(
                    error.kind(),
                    RemoteErrorKind::Disconnected | RemoteErrorKind::Expired
                ) && tries < TRIES_MAX =>
            {
                tries += 1;
            }
            Err(error) => return Err(put_failed(upload, &error)),
        }
    };
    let revision = upload.job.revision;
    let begun = |stage| Doubt::New {
        stage,
        revision,
        sent: None,
    };
    upload.begin_change(begun(Stage::Begun));
    let evidence = match upload.send(0..upload.job.len, sending) {
        Ok(evidence) => evidence,
        Err(error) => return Err(put_failed(upload, &error)),
    };
    upload.begin_change(begun(Stage::Confirmed));
    check_name(upload)?;
    let confirmed = Confirmed {
        evidence,
        settled: None,
    };
    settle_stored(upload, confirmed)?.map_err(|error| put_failed(upload, &error))
}

/// What is under the name now. What was seen when the file was created counts once.
pub(super) fn place(upload: &mut Upload<'_>) -> Result<Place> {
    let path = upload.path;
    let seen = upload.job.seen.take();
    if upload.job.base.is_none()
        && let Some(seen) = seen.filter(|seen| upload.server.evidence().is_recent(seen))
        && let Ok(permit) = seen.permit(Want::Absent)
    {
        return Ok(Place::Free(permit));
    }
    let evidence = upload.server.evidence().look(path)?;
    let Some(entry) = evidence.entry() else {
        let permit = evidence.permit(Want::Absent);
        return permit.map(Place::Free).map_err(|_| upload.conflict());
    };
    if entry.kind == EntryKind::Directory {
        return Err(FsError::new(FsErrorKind::IsADirectory, path));
    }
    match (upload.job.want(), evidence.permit(Want::Empty)) {
        (job::Want::Absent, _) => Err(upload.conflict()),
        (_, Ok(permit)) if entry.kind == EntryKind::File => Ok(Place::Free(permit)),
        _ => Ok(Place::Taken),
    }
}

/// Keeps in mind that a part of the file may be there, unless the server did not let it begin.
pub(super) fn put_failed(upload: &Upload<'_>, error: &RemoteError) -> FsError {
    if error.has_begun() || !is_name_refusal(error) {
        note_broken(upload, error);
    }
    upload.explain(error.clone())
}

/// The failure of an upload over a file that exists, by an account that may not rename.
pub(super) fn no_replacing(path: &RemotePath) -> FsError {
    log::error!(
        "{path} is not overwritten: this account may not rename, so the old file could be lost (give it that right, or remove the file first)"
    );
    FsError::new(FsErrorKind::AccessDenied, path)
}
