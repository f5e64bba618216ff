//! Renames on servers that replace, refuse or only pretend, and whose reply may be lost.

use super::{
    Server,
    refusal::Intent,
    repay::{Returned, bring_back},
};
use crate::{
    fs::{
        debts::Debt,
        error::{FsError, FsErrorKind, Result},
        hidden::{MadeName, Removal, is_name_refusal},
    },
    remote::{self, RemotePath},
};

/// Puts `source` in the place of `target`: by a rename over it, or, where the server refuses or only pretends that, by moving the
/// old file aside first. The old bytes are removed only when the new ones are in place; `size` is that of these, if it is known.
pub(crate) fn over(
    server: &Server,
    source: &RemotePath,
    target: &RemotePath,
    is_replacing: bool,
    size: Option<u64>,
) -> Result<()> {
    let is_refused = is_replacing && !server.learnt().renames_over();
    if !is_refused {
        match surely(server, source, target) {
            Ok(()) if !is_replacing || server.evidence().look_now(source)?.is_none() => {
                return Ok(());
            }
            Ok(()) => log::info!("this server only pretends to rename over {target}"),
            // Only a no to the new name can be for the sake of the old file there.
            Err(error) if !error.is_answer() || error.command() != "RNTO" => {
                server.kernel().forget_if_unknown(&error, &[source, target]);
                return Err(server.explain(error, source, Intent::Rename));
            }
            Err(error) if server.evidence().look_now(target)?.is_none() => {
                return Err(server.explain(error, source, Intent::Rename));
            }
            Err(error) => log::info!("this server does not rename over files: {error}"),
        }
    }
    swap_aside(server, source, target, size)
}

fn swap_aside(
    server: &Server,
    source: &RemotePath,
    target: &RemotePath,
    size: Option<u64>,
) -> Result<()> {
    let explain = |error| {
        server.kernel().forget_if_unknown(&error, &[source, target]);
        server.explain(error, target, Intent::Rename)
    };
    let dir = target.parent().unwrap_or_else(RemotePath::root);
    let aside = aside(server, target, &dir, size).map_err(explain)?;
    if aside.is_none() && server.evidence().look_now(target)?.is_some() {
        return Err(FsError::new(FsErrorKind::AccessDenied, target));
    }
    if let Err(error) = surely(server, source, target) {
        if let Some(aside) = &aside
            && bring_back(server, aside) == Returned::Superseded
        {
            server.hidden().release(aside);
        }
        return Err(explain(error));
    }
    let Some(aside) = aside else { return Ok(()) };
    server.learnt().note_rename_over_refused();
    if server.hidden().release(&aside) == Removal::Refused {
        log::warn!("the old content of {target} stays on the server as {aside}");
    }
    Ok(())
}

/// Moves what is at `path` to a hidden name in `dir`, which is returned; `None` where the server allows none. `size` is that of the file
/// that is to take its place.
pub(crate) fn aside(
    server: &Server,
    path: &RemotePath,
    dir: &RemotePath,
    size: Option<u64>,
) -> remote::Result<Option<MadeName>> {
    let debts = server.hidden().debts();
    // Once more for a server that forbids names with a dot.
    for _ in 0..2 {
        let had_dot = server.learnt().takes_dot_names();
        let Some(aside) = server.hidden().make_for(
            dir,
            had_dot,
            Debt::Aside {
                of: path.clone(),
                size,
            },
        ) else {
            break;
        };
        match surely(server, path, &aside) {
            Ok(()) => return Ok(Some(aside)),
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
                return Err(error);
            }
        }
    }
    server.learnt().note_dot_names(true);
    Ok(None)
}

/// Renames, and finds out whether that happened when the reply was lost.
pub(crate) fn surely(server: &Server, from: &RemotePath, to: &RemotePath) -> remote::Result<()> {
    assured(server, from, to, server.remote().rename(from, to))
}

/// How a rename ended, if need be by looking.
pub(crate) fn assured(
    server: &Server,
    from: &RemotePath,
    to: &RemotePath,
    outcome: remote::Result<()>,
) -> remote::Result<()> {
    match outcome {
        Err(error)
            if error.is_reply_lost()
                && matches!(server.evidence().look_now(from), Ok(None))
                && matches!(server.evidence().look_now(to), Ok(Some(_))) =>
        {
            log::debug!("{from} was renamed to {to}, although: {error}");
            Ok(())
        }
        answered => answered,
    }
}
