//! Files that lose their name while they are open: they live on under a hidden name, and are removed with their last handle.

use crate::{
    fs::{
        error::Result,
        file::OpenFile,
        server::{Intent, Server, renaming},
        spool::Spool,
        state::Name,
    },
    remote::RemotePath,
};

/// Moves a file whose name is going out of the way, if its handles still need bytes that only the server has; whether it was
/// moved. A server that does not allow it leaves those handles with what is here.
pub(super) fn move_aside(server: &Server, file: &OpenFile, path: &RemotePath) -> Result<bool> {
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
    let mut hidden = renaming::aside(server, path, &RemotePath::root())?.map_err(explain)?;
    if let Some(dir) = path
        .parent()
        .filter(|dir| hidden.is_none() && !dir.is_root())
    {
        hidden = renaming::aside(server, path, &dir)?.map_err(explain)?;
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
    let Some(hidden) = file.lock().name.take_hidden() else {
        return;
    };
    let hidden = hidden.path();
    // Never over the new file, should that be there nevertheless.
    match renaming::put(server, hidden, path) {
        Ok(()) => {
            if let Some(reader) = file.lock().reader() {
                reader.set_path(path.clone());
            }
        }
        Err(error) => log::error!(
            "{path} is now called {hidden} on the server, and could not be moved back: {error}"
        ),
    }
}

/// Removes what such a file has left on the server, once its last handle is closed; the close may come before the name is gone.
pub(super) fn leave(server: &Server, file: &OpenFile) {
    let hidden = {
        let mut state = file.lock();
        if state.is_open() {
            return;
        }
        state.name.take_hidden()
    };
    let Some(hidden) = hidden else {
        return;
    };
    match server.remove_made(&hidden) {
        Ok(()) => server.room().note_freed(),
        Err(error) => log::warn!(
            "{}, which was removed while it was open, stays on the server: {error}",
            hidden.path()
        ),
    }
}
