//! Making and removing names.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Attr, Filesystem, FsError, FsErrorKind, Result,
    file::{Doubt, OpenFile},
    lookup::Intent,
};
use crate::remote::{
    self, Attributes, EntryKind, RemoteEntry, RemoteError, RemoteErrorKind, RemotePath,
};

impl Filesystem {
    /// Makes a directory and looks it up.
    pub fn mkdir(&self, parent: u64, name: &[u8], mode: u32) -> Result<Attr> {
        let path = self.child_path(parent, name)?;
        self.check_writable(&path)?;
        self.remote
            .make_dir(&path)
            .map_err(|error| self.explain(error, &path, Intent::Make))?;
        self.check_name(&path, |made| self.remote.remove_dir(made))?;
        let mut entry = RemoteEntry::new(name, EntryKind::Directory);
        entry.modified = Some(self.clock.wall().into());
        entry.mode = self.set_dir_mode(&path, mode & 0o7777);
        self.enter(&path, entry.clone());
        self.listings.made_dir(&path);
        let ino = self.inodes.look_up(parent, name, EntryKind::Directory);
        Ok(self.attr(ino, &entry))
    }

    /// Gives a new directory the mode that was asked for, unless it is what servers give anyway.
    fn set_dir_mode(&self, path: &RemotePath, mode: u32) -> Option<u32> {
        // The mode of nearly every directory, and what every server's default umask leaves.
        const COMMON: u32 = 0o755;
        if mode == COMMON || self.learnt.no_mode.load(Ordering::Relaxed) {
            return None;
        }
        let attributes = Attributes {
            mode: Some(mode),
            modified: None,
        };
        match self.remote.settle(path, &attributes) {
            Ok(settled) => settled.mode.is_ok().then_some(mode),
            Err(error) => {
                log::info!("{path}: mode not set: {error}");
                None
            }
        }
    }

    /// Makes an empty file without opening it (mknod(2) of a regular file).
    pub fn make_file(&self, parent: u64, name: &[u8], mode: u32) -> Result<Attr> {
        let exclusive = super::OpenMode {
            is_write: true,
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
    pub fn unlink(&self, parent: u64, name: &[u8]) -> Result<()> {
        let path = self.child_path(parent, name)?;
        self.check_writable(&path)?;
        self.forget_content(&[&path]);
        let file = self.inodes.file_named(parent, name);
        match &file {
            Some(file) => self.unlink_open(file, &path)?,
            None => self.remove_file(&path)?,
        }
        self.leave(&path);
        self.inodes.unlink(parent, name);
        if let Some(file) = file {
            self.release_if_done(&file);
        }
        Ok(())
    }

    fn remove_file(&self, path: &RemotePath) -> Result<()> {
        self.remote
            .remove_file(path)
            .map_err(|error| self.explain(error, path, Intent::RemoveFile))
    }

    /// Takes the name of a file that is open, so that its handles go on working.
    fn unlink_open(&self, file: &Arc<OpenFile>, path: &RemotePath) -> Result<()> {
        let held = file.hold();
        let (is_on_server, may_be_there) = {
            let mut state = file.lock();
            state.stream = None;
            (state.base.is_some(), state.doubt != Doubt::No)
        };
        if is_on_server && !self.shelter(file, path)? {
            self.remove_file(path)?;
        } else if may_be_there {
            match self.remove_file(path) {
                Err(error) if error.kind() != FsErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        file.lock().is_unlinked = true;
        drop(held);
        self.leave_refuge(file);
        Ok(())
    }

    /// Moves a file whose name is going out of the way, if its handles still need bytes that only the server has; whether it was
    /// moved. A server that does not allow it leaves those handles with what is here.
    pub(super) fn shelter(&self, file: &OpenFile, path: &RemotePath) -> Result<bool> {
        let needs_server = {
            let state = file.lock();
            let spool = state.spool.as_ref();
            let has_all = spool.is_some_and(|spool| spool.missing().is_empty());
            state.base.is_some() && state.handles > 0 && !has_all
        };
        if !needs_server {
            return Ok(false);
        }
        // In the mounted directory itself, so that the file's own directory can be removed too; beside it if that is not allowed.
        let explain = |error| self.explain(error, path, Intent::RemoveFile);
        let mut refuge = self
            .move_aside(path, &RemotePath::root())
            .map_err(explain)?;
        if let Some(dir) = path
            .parent()
            .filter(|dir| refuge.is_none() && !dir.is_root())
        {
            refuge = self.move_aside(path, &dir).map_err(explain)?;
        }
        let Some(refuge) = refuge else {
            return Ok(false);
        };
        let mut state = file.lock();
        if let Some(reader) = &state.reader {
            reader.set_path(refuge.clone());
        }
        state.refuge = Some(refuge);
        Ok(true)
    }

    /// Moves what is at `path` to a temporary name in `dir`, which is returned; `None` where the server allows none.
    pub(super) fn move_aside(
        &self,
        path: &RemotePath,
        dir: &RemotePath,
    ) -> remote::Result<Option<RemotePath>> {
        // Once more for a server that forbids names with a dot.
        for _ in 0..2 {
            let had_dot = !self.learnt.no_dot_names.load(Ordering::Relaxed);
            let Some(aside) = self.temporary_path(dir, had_dot) else {
                break;
            };
            match self.rename_for_sure(path, &aside) {
                Ok(()) => return Ok(Some(aside)),
                Err(error) if is_name_refusal(&error) && had_dot => {
                    self.learn(|learnt| &learnt.no_dot_names, true);
                }
                Err(error) if is_name_refusal(&error) => break,
                Err(error) => return Err(error),
            }
        }
        self.learn(|learnt| &learnt.no_dot_names, false);
        Ok(None)
    }

    /// Renames, and finds out whether that happened when the reply was lost.
    pub(super) fn rename_for_sure(&self, from: &RemotePath, to: &RemotePath) -> remote::Result<()> {
        self.assure_renamed(from, to, self.remote.rename(from, to))
    }

    /// How a rename ended, if need be by looking.
    pub(super) fn assure_renamed(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        outcome: remote::Result<()>,
    ) -> remote::Result<()> {
        match outcome {
            Err(error)
                if error.is_reply_lost()
                    && matches!(self.look_now(from), Ok(None))
                    && matches!(self.look_now(to), Ok(Some(_))) =>
            {
                log::debug!("{from} was renamed to {to}, although: {error}");
                Ok(())
            }
            answered => answered,
        }
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, parent: u64, name: &[u8]) -> Result<()> {
        let path = self.child_path(parent, name)?;
        self.check_writable(&path)?;
        // No server is trusted to refuse a directory that has entries: some remove all that is in it.
        self.check_empty(self.inodes.child(parent, name), &path)?;
        self.remove_dir(&path)?;
        self.leave(&path);
        self.listings.forget_tree(&path);
        self.inodes.unlink(parent, name);
        Ok(())
    }

    fn remove_dir(&self, path: &RemotePath) -> Result<()> {
        let Err(error) = self.remote.remove_dir(path) else {
            return Ok(());
        };
        let refusal = self.explain(error, path, Intent::RemoveDir);
        // A stream that was given up a moment ago may have left a file there that only we know of.
        if refusal.kind() != FsErrorKind::NotEmpty || !self.remove_temporaries(path) {
            return Err(refusal);
        }
        self.remote
            .remove_dir(path)
            .map_err(|error| self.explain(error, path, Intent::RemoveDir))
    }

    /// Removes this mount's temporary files from a directory that holds nothing else; whether it did.
    fn remove_temporaries(&self, dir: &RemotePath) -> bool {
        let Ok(listing) = self.listings.refetch(&*self.remote, dir) else {
            return false;
        };
        let entries = listing.entries();
        let ours = entries
            .iter()
            .filter(|entry| self.is_temporary(&entry.name));
        let paths: Vec<RemotePath> = ours
            .filter_map(|entry| dir.join(&entry.name).ok())
            .collect();
        let files = self.inodes.files();
        let is_read = |path| {
            files
                .iter()
                .any(|file| file.lock().refuge.as_ref() == Some(path))
        };
        if paths.len() != entries.len() || paths.iter().any(is_read) {
            return false;
        }
        for path in &paths {
            // The thread that removes it may be there before us.
            if let Err(error) = self.remote.remove_file(path) {
                log::debug!("temporary file not removed: {error}");
            }
        }
        true
    }

    /// Some servers change a name that they do not like and report success (Pure-FTPd: blanks at the end, control characters): a name
    /// that is out of the ordinary is looked for after it was made, and what is there instead is undone.
    pub(super) fn check_name(
        &self,
        path: &RemotePath,
        undo: impl FnOnce(&RemotePath) -> remote::Result<()>,
    ) -> Result<()> {
        let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
            return Ok(());
        };
        if is_ordinary(name) {
            return Ok(());
        }
        // What is undone must be ours: seen not to have been there right before.
        let known = self.recent_listing(&dir);
        // Not by asking for it alone: the same server would change the name in that command too.
        let listing = self.listings.refetch(&*self.remote, &dir)?;
        if !listing.lacks(name) {
            return Ok(());
        }
        log::info!(
            "the server has stored {path} under another name, because it does not take this one"
        );
        let was_there = |other: &[u8]| known.as_ref().is_none_or(|known| !known.lacks(other));
        let mut others = listing.entries().iter().map(|entry| &entry.name);
        let stored = others.find(|other| is_made_ordinary(name, other) && !was_there(other));
        if let Some(stored) = stored.and_then(|other| dir.join(other).ok()) {
            if let Err(error) = undo(&stored) {
                log::warn!("{stored} stays on the server: {error}");
            }
            self.listings.invalidate(&dir);
        }
        Err(FsError::new(FsErrorKind::Invalid, path))
    }

    /// Enters a new name into its directory's listing.
    pub(super) fn enter(&self, path: &RemotePath, entry: RemoteEntry) {
        if let Some(dir) = path.parent() {
            self.listings.upsert(&dir, entry);
            self.touch_dir(&dir);
        }
    }

    /// Takes a name out of its directory's listing.
    pub(super) fn leave(&self, path: &RemotePath) {
        if let (Some(dir), Some(name)) = (path.parent(), path.name()) {
            self.listings.remove(&dir, name);
            self.touch_dir(&dir);
        }
    }

    /// A directory's time moves when its names do.
    pub(super) fn touch_dir(&self, dir: &RemotePath) {
        if let (Some(parent), Some(name)) = (dir.parent(), dir.name()) {
            let now = self.clock.wall().into();
            self.listings
                .update(&parent, name, move |entry| entry.modified = Some(now));
        }
    }
}

/// Whether servers take a name as it is, as far as is known.
pub(super) fn is_ordinary(name: &[u8]) -> bool {
    let has_blank_at_an_end = name.starts_with(b" ") || name.ends_with(b" ");
    !has_blank_at_an_end
        && !name
            .iter()
            .any(|byte| byte.is_ascii_control() || *byte == b'\\')
}

/// Whether `stored` is what Pure-FTPd makes of `name`: underscores in place of what it does not like.
fn is_made_ordinary(name: &[u8], stored: &[u8]) -> bool {
    let is_odd = |byte: u8| byte == b' ' || byte == b'\\' || byte.is_ascii_control();
    name.len() == stored.len()
        && name
            .iter()
            .zip(stored)
            .all(|(ours, theirs)| ours == theirs || (is_odd(*ours) && *theirs == b'_'))
}

/// Whether the server will not have this name, however often it is asked.
pub(super) fn is_name_refusal(error: &RemoteError) -> bool {
    matches!(
        error.kind(),
        RemoteErrorKind::Refused | RemoteErrorKind::NameRefused | RemoteErrorKind::Unsupported
    )
}
