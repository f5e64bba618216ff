//! Replacing a file as a whole: an upload to a hidden name, and a rename over the old one.
//!
//! The old file is touched by that rename only, when the hidden file is known to be whole and the old one to be what the new one was
//! made from. A refusal of the hidden name never leads to writing over the old file: it may mean a full disk.

use super::{
    fetch::fetch_missing,
    private::first_mode,
    store::{check_name, no_replacing, store},
    upload::{Landed, Upload, check_size},
    verify,
};
use crate::{
    cache::Version,
    fs::{
        error::{FsError, FsErrorKind, Result},
        hidden::is_name_refusal,
        job,
        on_server::Doubt,
        server::{Begun, change::carry_out, renaming},
    },
    remote::{
        Evidence, MadeName, RemoteError, RemoteErrorKind, RemotePath, Settled, UploadMode, Want,
    },
};

/// What a trial on a file of our own has shown of renaming.
enum Renaming {
    /// It works; the file is called so now.
    Works(MadeName),
    /// The server knows no renaming.
    Unknown,
    /// It is refused.
    Refused,
}

/// The whole file, under a hidden name that then takes the old one's place.
pub(super) fn replace(upload: &mut Upload<'_>) -> Result<Landed> {
    let fetched = fetch_missing(upload)?;
    upload.has_fetched = !fetched.is_empty();
    let placed = replace_by(upload);
    if let Err(error) = &placed
        && upload.has_fetched
        && !is_fetched_from_base(upload, error)
    {
        // These may be another's.
        upload.file.lock().changes_mut().forget_fetched(&fetched);
    }
    placed
}

/// Whether the bytes that were fetched for an upload which has failed are known to be those of the version that the job was made from.
fn is_fetched_from_base(upload: &Upload<'_>, error: &FsError) -> bool {
    if error.kind() == FsErrorKind::Conflict {
        return false;
    }
    // It was there when the upload in place began, and may be nowhere but here by now.
    if upload.file.lock().on_server().doubt() == Some(&Doubt::InPlace) {
        return true;
    }
    let is_answer = error.remote().is_some_and(RemoteError::is_answer);
    is_answer
        && matches!(upload.ask_again(), Ok(seen) if !seen.is_absent() && upload.is_still(seen.version()))
}

/// The same, once all bytes are here.
fn replace_by(upload: &mut Upload<'_>) -> Result<Landed> {
    let path = upload.path;
    let Some(dir) = path.parent() else {
        return Err(FsError::new(FsErrorKind::IsADirectory, path));
    };
    if !upload.server.learnt().renames() {
        return write_in_place(upload);
    }
    let is_shown = !upload.server.account().hides_new_files(&dir);
    if is_shown
        && (upload.job.want() == job::Want::Absent
            || upload.server.evidence().look(path)?.is_absent())
    {
        if upload.has_fetched {
            return Err(upload.conflict());
        }
        return store(upload);
    }
    if !upload.server.account().may_rename() {
        return Err(no_replacing(path));
    }
    let first_mode = first_mode(upload, &dir);
    if let Some(hidden) = send_hidden(upload, &dir, first_mode)? {
        return put_in_place(upload, &hidden);
    }
    replace_from_room(upload, &dir)
}

/// The same for a file that others may not read, on a server that stores nothing over an empty file.
fn replace_from_room(upload: &mut Upload<'_>, dir: &RemotePath) -> Result<Landed> {
    let server = upload.server;
    let room = server.privacy().make_room(dir, server.learnt());
    if room.is_none()
        && !server.account().hides_new_files(dir)
        && upload.job.want() == job::Want::Absent
    {
        return store(upload);
    }
    let sent = send_hidden(upload, room.as_deref().unwrap_or(dir), None);
    let placed = sent.and_then(|hidden| match hidden {
        Some(hidden) => put_in_place(upload, &hidden),
        None => Err(FsError::new(FsErrorKind::Io, upload.path)),
    });
    if let Some(room) = room {
        server.privacy().leave(&room);
    }
    placed
}

/// Uploads the whole file under a hidden name in `dir`, with this mode before its content. `None` when the server stores nothing over an
/// empty file.
fn send_hidden(
    upload: &Upload<'_>,
    dir: &RemotePath,
    first_mode: Option<u32>,
) -> Result<Option<MadeName>> {
    let path = upload.path;
    let mut was_broken = false;
    let mut refused = None;
    // Once more after a broken connection, once more for a server that forbids names with a dot.
    for _ in 0..3 {
        let has_dot = upload.server.learnt().takes_dot_names() && refused.is_none();
        let hidden = upload
            .server
            .hidden()
            .make(dir, has_dot)
            .ok_or_else(|| FsError::new(FsErrorKind::NameTooLong, path))?;
        let sending = match upload.server.privacy().begin(&hidden, first_mode, b"") {
            Ok(Begun::Sending(sending)) => sending,
            Ok(Begun::NotTwice) => {
                // Whether it can be removed decides what comes next.
                upload.server.hidden().remove(&hidden);
                return Ok(None);
            }
            Err(error) if is_name_refusal(&error) && has_dot => {
                upload.server.hidden().discard(hidden);
                refused = Some(error);
                continue;
            }
            Err(error) if is_name_refusal(&error) => {
                upload.server.hidden().discard(hidden);
                log::warn!(
                    "{path} is not replaced: no temporary file can be made beside it ({error}); it needs the right to make files in {dir}, and room on the server's disk"
                );
                return Err(upload.explain(error));
            }
            Err(error) => {
                // It may have begun all the same.
                upload.server.hidden().discard_after(hidden, &error);
                return Err(error.into());
            }
        };
        if refused.is_some() {
            upload.server.learnt().note_dot_names(false);
        }
        match upload.send(0..upload.job.len, sending) {
            Ok(_) => return Ok(Some(hidden)),
            Err(error) => {
                upload.server.hidden().discard_after(hidden, &error);
                if was_broken || error.kind() != RemoteErrorKind::Disconnected {
                    return Err(error.into());
                }
                was_broken = true;
            }
        }
    }
    Err(FsError::new(FsErrorKind::Io, path))
}

/// Writes over the file itself, on a server that cannot rename at all.
fn write_in_place(upload: &mut Upload<'_>) -> Result<Landed> {
    let path = upload.path;
    // Until all of it has been confirmed, anything may be there.
    let before = upload.file.lock().on_server().doubt().cloned();
    upload.begin_change(Doubt::InPlace);
    let look = |_| {
        let evidence = upload.ask_again()?;
        let (want, mode) = match upload.wanted(&evidence)? {
            Want::Absent => (Want::Absent, UploadMode::Whole),
            want => (want, UploadMode::InPlace),
        };
        let permit = evidence.permit(want).map_err(|_| upload.conflict())?;
        Ok(Some((permit, mode)))
    };
    let begun = carry_out(upload.server, &[path], look, |(permit, mode)| {
        upload.server.remote().open_upload(permit, mode)
    });
    let sending = match begun {
        Ok(Some(Ok(sending))) => sending,
        Ok(Some(Err(error))) => {
            if error.is_answer() {
                upload.file.lock().on_server_mut().set_doubt(before);
            }
            return Err(upload.explain(error));
        }
        Ok(None) => return Err(upload.conflict()),
        Err(error) => {
            upload.file.lock().on_server_mut().set_doubt(before);
            return Err(error);
        }
    };
    let evidence = upload
        .send(0..upload.job.len, sending)
        .map_err(|error| upload.explain(error))?;
    let settled = upload.settle(&evidence)?;
    check_size(path, &settled, upload.job.len)?;
    verify::whole(upload, path)?;
    Ok(Landed::There(settled))
}

/// Gives a complete hidden file its attributes and its real name.
pub(super) fn put_in_place(upload: &mut Upload<'_>, hidden: &MadeName) -> Result<Landed> {
    let path = upload.path;
    let mut hidden = hidden.clone();
    let placed = take_place(upload, &hidden);
    let placed = placed.and_then(|landed| {
        check_name(upload)?;
        Ok(landed)
    });
    let error = match placed {
        Ok(Landed::There(settled)) => {
            upload.server.hidden().debts().settle(&hidden);
            return Ok(Landed::There(settled));
        }
        Ok(Landed::Taken) => {
            upload.server.hidden().discard(hidden);
            return store_where_files_are_taken(upload);
        }
        Err(error) => error,
    };
    let refused = error
        .remote()
        .filter(|error| error.is_answer() && matches!(error.command(), "RNFR" | "RNTO"));
    if refused.is_none() {
        upload.server.hidden().discard(hidden);
        return Err(error);
    }
    match try_renaming(upload, &hidden) {
        Renaming::Works(now) => hidden = now,
        Renaming::Refused => {
            upload.server.account().note_no_rename();
            upload.server.hidden().discard(hidden);
            return match upload.job.want() {
                job::Want::Base => Err(no_replacing(path)),
                job::Want::Absent | job::Want::Any => store(upload),
            };
        }
        Renaming::Unknown => {
            log::info!("this server does not rename ({error}): files are written in place");
            upload.server.learnt().note_no_rename();
            upload.server.hidden().discard(hidden);
            return write_in_place(upload);
        }
    }
    upload.server.hidden().discard(hidden);
    Err(error)
}

/// After the hidden file was taken away: under its own name the file is what the server expects.
fn store_where_files_are_taken(upload: &mut Upload<'_>) -> Result<Landed> {
    let path = upload.path;
    let dir = path.parent().unwrap_or_else(RemotePath::root);
    upload.server.account().note_taken(&dir);
    if !upload.server.evidence().look(path)?.is_absent() {
        log::error!("{path} is not replaced: the server takes the temporary file away");
        return Err(FsError::new(FsErrorKind::Unconfirmed, path));
    }
    store(upload)
}

/// Tries on a hidden file whether anything can be renamed, after a rename of it was refused: that may have had a reason of its own.
fn try_renaming(upload: &Upload<'_>, hidden: &MadeName) -> Renaming {
    let dir = hidden.parent().unwrap_or_else(RemotePath::root);
    let has_dot = hidden.name().is_some_and(|name| name.starts_with(b"."));
    let names = upload.server.hidden();
    let Some(other) = names.make(&dir, has_dot) else {
        return Renaming::Works(hidden.clone());
    };
    let renamed = upload.server.remote().rename(hidden, other.permit());
    match &renamed {
        Ok(_) => names.debts().settle(hidden),
        Err(_) => names.debts().fall_due(&other),
    }
    match renamed {
        Ok(_) => Renaming::Works(other),
        Err(error) if !error.is_answer() => Renaming::Works(hidden.clone()),
        Err(error) if error.command() == "RNFR" && error.kind() == RemoteErrorKind::Unsupported => {
            Renaming::Unknown
        }
        // Busy, or a failure of the moment.
        Err(error) if !is_name_refusal(&error) => Renaming::Works(hidden.clone()),
        Err(_) => Renaming::Refused,
    }
}

/// Renames a file to the real name, once it is known to be whole, and the name to hold what it may take the place of.
fn take_place(upload: &mut Upload<'_>, hidden: &MadeName) -> Result<Landed> {
    keep_mode(upload)?;
    let (settled, seen) = settle_beside(upload, hidden)?;
    if matches!(&settled.report.size, Err(error) if error.kind() == RemoteErrorKind::Refused)
        && upload.server.evidence().is_gone(hidden.path())
    {
        return Ok(Landed::Taken);
    }
    check_size(hidden.path(), &settled, upload.job.len)?;
    verify::whole(upload, hidden.path())?;
    let seen = seen?;
    let want = upload.wanted(&seen)?;
    upload.begin_change(Doubt::Placed(Version {
        size: upload.job.len,
        modified: settled.report.modified,
        epoch: 0,
    }));
    let len = Some(upload.job.len);
    renaming::over(upload.server, hidden, &seen, want, len)?;
    Ok(Landed::There(settled))
}

/// The mode that the old file has now is that of the new one, unless a program has set another.
fn keep_mode(upload: &mut Upload<'_>) -> Result<()> {
    let is_known = upload.recent_base().is_some()
        && upload
            .job
            .base
            .as_ref()
            .is_some_and(|base| base.is_mode_asked);
    if upload.job.base.is_some()
        && upload.job.wanted.mode.is_none()
        && upload.server.learnt().sets_modes()
        && !is_known
        && let Some(entry) = upload.server.evidence().look(upload.path)?.entry()
        && let Some(base) = upload.job.base.as_mut()
    {
        base.mode = entry.mode.or(base.mode);
    }
    Ok(())
}

/// Gives the hidden file its attributes, and asks what both names hold, in one exchange where the server takes that.
fn settle_beside(upload: &Upload<'_>, hidden: &MadeName) -> Result<(Settled, Result<Evidence>)> {
    let path = upload.path;
    let attributes = upload.attributes_of_new();
    let remote = upload.server.remote();
    let settle = || remote.settle_beside(hidden.permit(), &attributes, path);
    // Nobody else has a file of that name: done twice is done once.
    let (settled, beside) = match settle() {
        Err(error) if error.kind() == RemoteErrorKind::Disconnected => settle()?,
        settled => settled?,
    };
    let settled = upload.server.note_settled(hidden.path(), settled);
    let seen = match beside {
        Ok(evidence) if evidence.entry().is_some_and(|entry| entry.is_dir()) => {
            Err(FsError::new(FsErrorKind::IsADirectory, path))
        }
        Ok(evidence) if evidence.is_absent() || evidence.version().is_some() => Ok(evidence),
        // It has to be asked in another way.
        Ok(_) | Err(_) => upload.ask(),
    };
    let is_listed = upload
        .job
        .base
        .as_ref()
        .is_some_and(|base| base.asked.is_none());
    let seen = match seen {
        Ok(seen) if !seen.is_absent() && is_listed && upload.job.want() == job::Want::Base => {
            upload.ask_again()
        }
        seen => seen,
    };
    Ok((settled, seen))
}
