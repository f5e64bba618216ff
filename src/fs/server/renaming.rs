//! Renames on servers that replace, refuse or only pretend, and whose reply may be lost.

use super::{
    Server,
    change::{Again, carry_out, has_left},
    refusal::Intent,
    repay::{Returned, bring_back},
};
use crate::{
    fs::{
        debts::Debt,
        error::{FsError, FsErrorKind, Result},
        hidden::{Removal, is_name_refusal},
    },
    remote::{self, Evidence, MadeName, Permit, RemotePath, Want},
};

/// Puts `source` in the place of what `target` shows, which must be what is wanted: by a rename over it, or, where the server refuses or only
/// pretends that, by moving the old file aside first. The old bytes are removed only when the new ones are in place; `size` is that of
/// these, if it is known.
pub(crate) fn over(
    server: &Server,
    source: &RemotePath,
    target: &Evidence,
    want: Want,
    size: Option<u64>,
) -> Result<()> {
    let path = target.path();
    let is_replacing = !target.is_absent();
    if !is_replacing || server.learnt().renames_over() {
        match surely(server, source, path, |again| {
            grant(server, target, want, again)
        })? {
            Ok(seen) if has_left(server, source, path, is_replacing, seen.as_ref())? => {
                return Ok(());
            }
            // Others have taken the name in this moment.
            Ok(_) if want == Want::Absent => return Err(changed(server, path, want)),
            Ok(_) => {}
            // Only a no to the new name can be for the sake of the old file there.
            Err(error) if !error.is_answer() || error.command() != "RNTO" => {
                server.kernel().forget_if_unknown(&error, &[source, path]);
                return Err(server.explain(error, source, Intent::Rename));
            }
            Err(error) if server.evidence().look_now(path)?.is_absent() => {
                return Err(server.explain(error, source, Intent::Rename));
            }
            Err(error) => log::info!("this server does not rename over files: {error}"),
        }
    }
    swap_aside(server, source, path, want, size)
}

/// The permit to change what was seen, or, when that is too old, what is seen now.
fn grant(server: &Server, seen: &Evidence, want: Want, again: Again) -> Result<Permit> {
    let path = seen.path();
    let permit = match again {
        Again::No => seen.permit(want),
        Again::Expired | Again::Unheard => server.evidence().look_now(path)?.permit(want),
    };
    permit.map_err(|_| changed(server, path, want))
}

/// The failure of a change of a name that holds something else than what is wanted.
fn changed(server: &Server, path: &RemotePath, want: Want) -> FsError {
    match want {
        Want::Same(_) => server.conflict(path),
        Want::AnyFile => FsError::new(FsErrorKind::IsADirectory, path),
        Want::EmptyDir => FsError::new(FsErrorKind::NotEmpty, path),
        _ => FsError::new(FsErrorKind::Exists, path),
    }
}

fn swap_aside(
    server: &Server,
    source: &RemotePath,
    path: &RemotePath,
    want: Want,
    size: Option<u64>,
) -> Result<()> {
    let explain = |error| {
        server.kernel().forget_if_unknown(&error, &[source, path]);
        server.explain(error, path, Intent::Rename)
    };
    let dir = path.parent().unwrap_or_else(RemotePath::root);
    let Some(aside) = aside(server, path, &dir, size)?.map_err(explain)? else {
        return Err(FsError::new(FsErrorKind::AccessDenied, path));
    };
    // Moved away, it is out of others' reach: what is removed in the end is what was seen, or what is wanted whatever it is.
    let is_wanted = matches!(want, Want::AnyFile)
        || server
            .evidence()
            .look_now(aside.path())?
            .permit(want)
            .is_ok();
    let placed = if is_wanted {
        place(server, source, path)
    } else {
        Err(changed(server, path, want))
    };
    if !matches!(placed, Ok(Ok(()))) {
        if bring_back(server, &aside) == Returned::Superseded {
            server.hidden().release(&aside);
        }
        // The reason is in a listing in which the old file is back.
        return placed?.map_err(explain);
    }
    server.learnt().note_rename_over_refused();
    if server.hidden().release(&aside) == Removal::Refused {
        log::warn!("the old content of {path} stays on the server as {aside}");
    }
    Ok(())
}

/// Gives a file a name that must be free.
pub(crate) fn put(server: &Server, source: &RemotePath, path: &RemotePath) -> Result<()> {
    place(server, source, path)?.map_err(|error| {
        server.kernel().forget_if_unknown(&error, &[source, path]);
        server.explain(error, source, Intent::Rename)
    })
}

/// The same; inside, what the server says.
fn place(server: &Server, source: &RemotePath, path: &RemotePath) -> Result<remote::Result<()>> {
    let look = |_| {
        let seen = server.evidence().look_now(path)?;
        seen.permit(Want::Absent)
            .map_err(|_| FsError::new(FsErrorKind::Exists, path))
    };
    let seen = match surely(server, source, path, look)? {
        Ok(seen) => seen,
        Err(error) => return Ok(Err(error)),
    };
    if !has_left(server, source, path, false, seen.as_ref())? {
        return Err(changed(server, path, Want::Absent));
    }
    Ok(Ok(()))
}

/// Moves what is at `path` to a hidden name in `dir`, which is returned; `None` where the server allows none. `size` is that of the file
/// that is to take its place.
pub(crate) fn aside(
    server: &Server,
    path: &RemotePath,
    dir: &RemotePath,
    size: Option<u64>,
) -> Result<remote::Result<Option<MadeName>>> {
    let debts = server.hidden().debts();
    // Once more for a server that forbids names with a dot.
    for _ in 0..2 {
        let had_dot = server.learnt().takes_dot_names();
        let debt = Debt::Aside {
            of: path.clone(),
            size,
        };
        let Some(aside) = server.hidden().make_for(dir, had_dot, debt) else {
            break;
        };
        match surely(server, path, aside.path(), |_| Ok(aside.permit()))? {
            Ok(_) => return Ok(Ok(Some(aside))),
            Err(error) if is_name_refusal(&error) && had_dot => {
                debts.settle(&aside);
                server.learnt().note_dot_names(false);
            }
            Err(error) if is_name_refusal(&error) => {
                debts.settle(&aside);
                break;
            }
            Err(error) => {
                // It may have happened all the same.
                debts.fall_due(&aside);
                return Ok(Err(error));
            }
        }
    }
    server.learnt().note_dot_names(true);
    Ok(Ok(None))
}

/// Renames for the permit that `look` gives, and finds out whether that happened when the reply was lost. Inside, what has the old name
/// then, if that was seen.
pub(crate) fn surely(
    server: &Server,
    from: &RemotePath,
    to: &RemotePath,
    look: impl Fn(Again) -> Result<Permit>,
) -> Result<remote::Result<Option<Evidence>>> {
    let look = |again| match again {
        Again::Unheard if has_moved(server, from, to) => Ok(None),
        again => look(again).map(Some),
    };
    let outcome = carry_out(server, &[from, to], look, |permit| {
        server.remote().rename(from, permit)
    })?;
    Ok(match outcome {
        None => Ok(None),
        Some(Err(error)) if error.is_reply_lost() && has_moved(server, from, to) => {
            log::debug!("{from} was renamed to {to}, although: {error}");
            Ok(None)
        }
        Some(answered) => answered,
    })
}

/// Whether a rename has happened.
fn has_moved(server: &Server, from: &RemotePath, to: &RemotePath) -> bool {
    let is_there = |path| match server.evidence().look_now(path) {
        Ok(evidence) => Some(!evidence.is_absent()),
        Err(_) => None,
    };
    is_there(from) == Some(false) && is_there(to) == Some(true)
}
