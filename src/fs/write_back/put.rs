//! Small files that are new or empty, in one exchange under their own names.

use super::{
    doubt::{is_new_ours, park},
    private::is_private,
    replace::replace,
    store::{Place, TRIES_MAX, check_name, note_broken, place, put_failed, settle_stored},
    upload::{Landed, Upload},
};
use crate::{
    fs::{
        error::Result,
        job::Want,
        on_server::{Doubt, Stage},
    },
    remote::{self, Attributes, Confirmed, Permit, RemoteError, RemoteErrorKind},
};

/// A small file that is new or empty.
pub(super) fn put(upload: &mut Upload<'_>) -> Result<Landed> {
    let path = upload.path;
    if is_private(upload) {
        return replace(upload);
    }
    let mut tries = 1;
    loop {
        let permit = match place(upload)? {
            Place::Free(permit) => permit,
            Place::Taken => return replace(upload),
        };
        let error = match put_once(upload, permit) {
            Ok(confirmed) => {
                check_name(upload)?;
                match settle_stored(upload, confirmed)? {
                    Ok(landed) => return Ok(landed),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        if error.kind() == RemoteErrorKind::Expired && tries < TRIES_MAX {
            tries += 1;
            continue;
        }
        if error.kind() == RemoteErrorKind::Disconnected && tries < TRIES_MAX {
            log::debug!("{path}: {error}; looking what has become of it");
            tries += 1;
            match look_after(upload, error)? {
                Some(landed) => return Ok(landed),
                None => continue,
            }
        }
        // A server that does not let files be overwritten may let them be replaced.
        if error.kind() == RemoteErrorKind::Refused && upload.job.base.is_some() {
            return replace(upload);
        }
        return Err(put_failed(upload, &error));
    }
}

/// Looks what has come of an upload that broke off, and goes on with that; `None` when nothing has, so that it is sent once more.
fn look_after(upload: &mut Upload<'_>, error: RemoteError) -> Result<Option<Landed>> {
    let sent = note_broken(upload, &error);
    let Ok(evidence) = upload.ask() else {
        return Err(error.into());
    };
    let Some(reported) = evidence.version() else {
        let doubt = upload.file.lock().on_server().doubt().cloned();
        return match doubt.map_or(Stage::Unheard, |doubt| doubt.stage()) {
            Stage::Unheard => Ok(None),
            Stage::Begun => Err(park(upload)),
            Stage::Confirmed => Ok(Some(Landed::Taken)),
        };
    };
    if !is_new_ours(upload, reported, sent.as_deref())? {
        // Before it was begun the name was free, or the file empty.
        return match upload.job.want() {
            Want::Any => replace(upload).map(Some),
            Want::Absent | Want::Base => Err(upload.conflict()),
        };
    }
    let base = upload.server.versions();
    upload.job.base = Some(base.base(reported, evidence.asked(), None));
    if reported.size == upload.job.len && upload.job.dirty.is_empty() {
        let settled = upload.settle_seen(&evidence)?;
        return Ok(Some(Landed::There(settled)));
    }
    replace(upload).map(Some)
}

/// Sends the file; it may have been settled as well.
fn put_once(upload: &mut Upload<'_>, permit: Permit) -> remote::Result<Confirmed> {
    let data = upload
        .spooled(0..upload.job.len)
        .map_err(|error| RemoteError::new(RemoteErrorKind::NoSpace, "STOR").with_source(error))?;
    let wanted = upload.attributes();
    // A refused upload may leave them to the file that is there: never to one that is known to be.
    let along = if permit.want() == remote::Want::Absent {
        wanted
    } else {
        Attributes::default()
    };
    let confirmed = upload.server.remote().put(permit, &data, &along)?;
    // Until it is known to be whole.
    let mut state = upload.file.lock();
    state.on_server_mut().set_doubt(Some(Doubt::New {
        stage: Stage::Confirmed,
        revision: upload.job.revision,
        sent: Some(data.into()),
    }));
    state.traffic.note_sent(upload.job.len);
    drop(state);
    Ok(Confirmed {
        settled: confirmed.settled.filter(|_| along == wanted),
        ..confirmed
    })
}
