//! Files that lose their name while they are open: they live on under a hidden name, and are removed with their last handle.

use crate::{
    fs::{
        debts::Debt,
        error::Result,
        file::OpenFile,
        hidden::Removal,
        server::{Intent, Returned, Server, bring_back as give_back, renaming},
        spool::Spool,
        state::Name,
    },
    remote::RemotePath,
};

/// Moves a file whose name is going out of the way, if its handles still need bytes that only the server has; whether it was
/// moved. A server that does not allow it leaves those handles with what is here. `size` is that of the file that takes the name, if
/// one does and that is known.
pub(super) fn move_aside(
    server: &Server,
    file: &OpenFile,
    path: &RemotePath,
    size: Option<u64>,
) -> Result<bool> {
    let needs_server = {
        let state = file.lock();
        let missing = state.changes().spool().map(Spool::missing);
        let has_all = missing.is_some_and(|missing| missing.is_empty());
        state.on_server().base().is_some() && state.is_open() && !has_all
    };
    if !needs_server {
        return Ok(false);
    }
    // In the mounted directory itself, so that the file's own directory can be removed too; beside it if that is not allowed.
    let explain = |error| server.explain(error, path, Intent::RemoveFile);
    let mut hidden = renaming::aside(server, path, &RemotePath::root(), size)?.map_err(explain)?;
    if let Some(dir) = path
        .parent()
        .filter(|dir| hidden.is_none() && !dir.is_root())
    {
        hidden = renaming::aside(server, path, &dir, size)?.map_err(explain)?;
    }
    let Some(hidden) = hidden else {
        return Ok(false);
    };
    let mut state = file.lock();
    if let Some(reader) = state.reader() {
        reader.set_path(hidden.path().clone());
    }
    state.name = Name::Aside(hidden);
    Ok(true)
}

/// Gives a file that was moved out of the way its name again.
pub(super) fn bring_back(server: &Server, file: &OpenFile, path: &RemotePath) {
    let Some(hidden) = file.lock().name.hidden().cloned() else {
        return;
    };
    match give_back(server, &hidden) {
        Returned::Back => file.lock().get_back_name(path),
        // It is looked at again in the background, also whether the new file has arrived nevertheless.
        Returned::Superseded => server.hidden().debts().fall_due(&hidden),
        Returned::Shown | Returned::Later => {}
    }
}

/// The name of such a file is gone for good.
pub(super) fn lose_name(server: &Server, file: &OpenFile) {
    let mut state = file.lock();
    state.name.remove();
    if let Some(hidden) = state.name.hidden() {
        server.hidden().debts().record(hidden, Debt::Removed);
    }
}

/// Removes what such a file has left on the server, once its last handle is closed; the close may come before the name is gone.
pub(super) fn leave(server: &Server, file: &OpenFile) {
    let hidden = {
        let mut state = file.lock();
        // While the name is only on its way to be lost, this is the only copy.
        if state.is_open() || !state.name.is_removed() {
            return;
        }
        state.name.take_hidden()
    };
    let Some(hidden) = hidden else {
        return;
    };
    match server.hidden().remove(&hidden) {
        Removal::Gone => server.room().note_freed(),
        Removal::Later => {}
        Removal::Refused => {
            log::warn!("{hidden}, which was removed while it was open, stays on the server");
        }
    }
}
