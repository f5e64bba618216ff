//! Making and removing names.

use std::sync::Arc;

use super::{Filesystem, attr::Attr, open::OpenMode, removed};
use crate::{
    fs::{
        error::{FsError, FsErrorKind, Result},
        file::OpenFile,
        handle::Access,
        number::Ino,
        server::Intent,
    },
    remote::{Attributes, EntryKind, Evidence, MadeName, RemoteEntry, RemotePath, Want},
};

impl Filesystem {
    /// Makes a directory and looks it up.
    pub fn mkdir(&self, parent: Ino, name: &[u8], mode: u32) -> Result<Attr> {
        let path = self.child_path(parent, name)?;
        self.check_writable(Some(&path))?;
        self.server.holds().check(&path)?;
        self.server
            .make_dir(&path)
            .map_err(|error| self.server.explain(error, &path, Intent::Make))?;
        self.server.check_name(&path, |made| {
            // Empty, as nobody else knows of it.
            match self.server.look_empty(made.path()) {
                Ok(evidence) => match evidence.permit(Want::EmptyDir) {
                    Ok(permit) => self.server.remote().remove_dir(permit),
                    Err(_) => Ok(()),
                },
                Err(_) => Ok(()),
            }
        })?;
        let mut entry = RemoteEntry::new(name, EntryKind::Directory);
        entry.modified = Some(self.clock.wall().into());
        entry.mode = set_dir_mode(self, &path, mode & 0o7777);
        self.server.tree().enter(&path, entry.clone());
        self.server.tree().listings().made_dir(&path);
        let ino = self.inodes.look_up(parent, name, EntryKind::Directory);
        Ok(self.view.attr(ino, entry.as_borrowed()))
    }

    /// Makes an empty file without opening it (mknod(2) of a regular file).
    pub fn make_file(&self, parent: Ino, name: &[u8], mode: u32) -> Result<Attr> {
        let exclusive = OpenMode {
            access: Access::Write,
            is_exclusive: true,
            ..Default::default()
        };
        let (attr, opened) = self.create(parent, name, mode, exclusive)?;
        let flushed = self.flush(opened.handle);
        self.release(opened.handle);
        flushed.inspect_err(|_| self.inodes.forget(attr.ino, 1))?;
        Ok(attr)
    }

    /// Removes a file, symbolic link or other thing that is no directory.
    pub fn unlink(&self, parent: Ino, name: &[u8]) -> Result<()> {
        let path = self.child_path(parent, name)?;
        self.check_writable(Some(&path))?;
        self.engine.forget(&path);
        let file = self.inodes.file_named(parent, name);
        match &file {
            Some(file) => unlink_open(self, file, &path)?,
            None => self.server.remove_file(&path)?,
        }
        self.server.tree().leave(&path);
        self.inodes.unlink(parent, name);
        if let Some(file) = file {
            self.inodes.release_if_done(&file);
        }
        Ok(())
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, parent: Ino, name: &[u8]) -> Result<()> {
        let path = self.child_path(parent, name)?;
        self.check_writable(Some(&path))?;
        // No server is trusted to refuse a directory that has entries: some remove all that is in it.
        check_empty(self, self.inodes.child(parent, name), &path)?;
        remove_dir(self, &path)?;
        self.server.room().note_freed();
        self.server.tree().leave(&path);
        self.server.tree().listings().forget_tree(&path);
        self.inodes.unlink(parent, name);
        Ok(())
    }
}

/// Fails unless a directory (its inode, where it has one) holds nothing, here and on the server.
pub(super) fn check_empty(
    fs: &Filesystem,
    ino: Option<Ino>,
    path: &RemotePath,
) -> Result<Evidence> {
    let unsent = |ino| {
        let mut files = fs.inodes.files_in(ino).into_iter();
        files.any(|(_, file)| file.lock().needs_upload())
    };
    if ino.is_some_and(unsent) {
        return Err(FsError::new(FsErrorKind::NotEmpty, path));
    }
    fs.server.look_empty(path)
}

/// Takes the name of a file that is open, so that its handles go on working.
fn unlink_open(fs: &Filesystem, file: &Arc<OpenFile>, path: &RemotePath) -> Result<()> {
    let held = file.hold();
    let (is_there, may_be_there) = {
        let mut state = file.lock();
        state.stop_stream();
        let on_server = state.on_server();
        (on_server.base().is_some(), on_server.doubt().is_some())
    };
    if is_there && !removed::move_aside(&fs.server, file, path, None)? {
        fs.server.remove_file(path)?;
    } else if may_be_there {
        match fs.server.remove_file(path) {
            Err(error) if error.kind() != FsErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    removed::lose_name(&fs.server, file);
    drop(held);
    removed::leave(&fs.server, file);
    Ok(())
}

/// Gives a new directory the mode that was asked for, unless it is what servers give anyway.
fn set_dir_mode(fs: &Filesystem, path: &RemotePath, mode: u32) -> Option<u32> {
    // The mode of nearly every directory, and what every server's default umask leaves.
    const COMMON: u32 = 0o755;
    if mode == COMMON || !fs.server.learnt().sets_modes() {
        return None;
    }
    let attributes = Attributes {
        mode: Some(mode),
        modified: None,
    };
    // The directory that was just made: a MKD was confirmed.
    let made = Evidence::confirmed(path, fs.clock.now());
    match fs.server.settle(&made, Want::Ours, None, attributes) {
        Ok(settled) => settled.mode.is_ok().then_some(mode),
        Err(error) => {
            log::info!("{path}: mode not set: {error}");
            None
        }
    }
}

fn remove_dir(fs: &Filesystem, path: &RemotePath) -> Result<()> {
    let Err(refusal) = fs.server.remove_dir(path) else {
        return Ok(());
    };
    // A stream that was given up a moment ago may have left a file there that only we know of.
    if refusal.kind() != FsErrorKind::NotEmpty || !remove_hidden(fs, path) {
        return Err(refusal);
    }
    fs.server.remove_dir(path)
}

/// Removes this mount's own files with hidden names from a directory that holds nothing else; whether it did.
fn remove_hidden(fs: &Filesystem, dir: &RemotePath) -> bool {
    let Ok(listing) = fs.server.tree().relist(dir) else {
        return false;
    };
    let entries = listing.entries();
    let ours = entries
        .iter()
        .filter(|entry| fs.server.hidden().is_hidden(entry.name));
    let names: Vec<MadeName> = ours
        .filter_map(|entry| dir.join(entry.name).ok())
        .filter_map(|path| fs.server.hidden().debts().removable(&path))
        .collect();
    if names.len() != entries.len() {
        return false;
    }
    for name in &names {
        // The thread that removes it may be there before us.
        fs.server.hidden().remove(name);
    }
    true
}
