//! Renaming, also over what is there, on servers that replace, refuse or only pretend.
//!
//! What is hard here, and what answers it:
//! 1. A server that does not rename over files: the old one is moved aside first, and back when the new one does not arrive.
//! 2. A reply that is lost: [`Filesystem::rename_for_sure`] looks where the file is.
//! 3. An upload that runs meanwhile would bring the old name back: the files concerned are [`Held`].
//! 4. Handles of the file that is replaced go on: it is moved to a refuge, and back when the rename fails.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Filesystem, FsError, FsErrorKind, Result,
    file::{Doubt, Held, OpenFile},
    lookup::Intent,
};
use crate::remote::{EntryKind, RemoteEntry, RemoteErrorKind, RemotePath};

/// What renameat2(2) is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// A target is replaced.
    Replace,
    /// A target is an error (`RENAME_NOREPLACE`).
    NoReplace,
}

/// A name in a directory, by the directory's inode.
type Place<'a> = (u64, &'a [u8]);

impl Filesystem {
    /// Renames, over an existing file or empty directory where there is one.
    pub fn rename(&self, from: Place<'_>, to: Place<'_>, mode: RenameMode) -> Result<()> {
        let source = self.child_path(from.0, from.1)?;
        let target = self.child_path(to.0, to.1)?;
        self.check_writable(&source)?;
        self.check_writable(&target)?;
        let held = self.hold_for_rename(&source, &target)?;
        let not_found = || FsError::new(FsErrorKind::NotFound, &source);
        let entry = self.entry(&source)?.ok_or_else(not_found)?;
        if source == target && mode == RenameMode::Replace {
            return Ok(());
        }
        let replaced = self.check_target(&entry, to, &target, mode)?;
        let victim = held
            .iter()
            .map(|held| &held.file)
            .find(|file| self.inodes.child(to.0, to.1) == Some(file.ino));
        if entry.is_dir() {
            self.engine.forget_trees(&[&source, &target]);
            self.rename_dir(&source, &target, replaced.is_some())?;
        } else {
            // Before, should this be the last that the program does; and after, should somebody have read meanwhile.
            self.forget_content(&[&source, &target]);
            let renamed = self.rename_file(&source, &target, replaced.is_some(), victim);
            self.forget_content(&[&source, &target]);
            renamed?;
        }
        self.check_name(&target, |stored| self.remote.rename(stored, &source))?;
        self.rename_here(from, to, &entry, &source, &target);
        if let Some(file) = victim {
            self.release_if_done(file);
        }
        Ok(())
    }

    /// Brings to the server what it lacks of the files to rename (it renames what it has), and keeps further uploads of these and of
    /// the file that is replaced away until the names have changed.
    fn hold_for_rename(&self, source: &RemotePath, target: &RemotePath) -> Result<Vec<Held>> {
        loop {
            let mut files = self.inodes.files_within(source);
            files.retain(|file| !file.lock().is_unlinked);
            for file in &files {
                self.upload(file)?;
            }
            let is_source = |file: &OpenFile| files.iter().any(|one| one.ino == file.ino);
            let targets = self.inodes.files_within(target);
            let mut all: Vec<_> = targets
                .into_iter()
                .filter(|file| !is_source(file))
                .collect();
            all.extend(files.iter().cloned());
            all.sort_by_key(|file| file.ino);
            let held: Vec<Held> = all.iter().map(OpenFile::hold).collect();
            // Its temporary file would be renamed with its directory.
            for held in &held {
                held.file.lock().stream = None;
            }
            if files.iter().all(|file| !file.lock().needs_upload()) {
                return Ok(held);
            }
            // One was created after the others went up.
        }
    }

    /// What the target is now, and whether it may be replaced.
    fn check_target(
        &self,
        entry: &RemoteEntry,
        to: Place<'_>,
        target: &RemotePath,
        mode: RenameMode,
    ) -> Result<Option<Arc<RemoteEntry>>> {
        let ahead = self
            .inodes
            .file_named(to.0, to.1)
            .filter(|file| file.lock().needs_upload());
        let replaced = match ahead {
            Some(_) => Some(Arc::new(RemoteEntry::new(to.1, EntryKind::File))),
            // Servers replace without asking, so a listing that is some seconds old is not enough.
            None => self.look(target)?,
        };
        let Some(found) = &replaced else {
            return Ok(None);
        };
        let refusal = match (mode, entry.is_dir(), found.is_dir()) {
            (RenameMode::NoReplace, ..) => Some(FsErrorKind::Exists),
            (_, true, false) => Some(FsErrorKind::NotADirectory),
            (_, false, true) => Some(FsErrorKind::IsADirectory),
            (_, true, true) => {
                self.check_empty(self.inodes.child(to.0, to.1), target)?;
                None
            }
            (_, false, false) => None,
        };
        match refusal {
            Some(kind) => Err(FsError::new(kind, target)),
            None => Ok(replaced),
        }
    }

    /// Renames a file; `victim` is the open one that it replaces.
    fn rename_file(
        &self,
        source: &RemotePath,
        target: &RemotePath,
        is_replacing: bool,
        victim: Option<&Arc<OpenFile>>,
    ) -> Result<()> {
        let is_sheltered = match victim {
            Some(file) => self.shelter(file, target)?,
            None => false,
        };
        let is_unborn = victim.is_some_and(|file| {
            let state = file.lock();
            state.base.is_none() && state.doubt == Doubt::No
        });
        let renamed =
            self.replace_by_rename(source, target, is_replacing && !is_sheltered && !is_unborn);
        if let Some(file) = victim {
            match &renamed {
                Ok(()) => {
                    file.lock().is_unlinked = true;
                    self.leave_refuge(file);
                }
                Err(_) if is_sheltered => self.bring_back(file, target),
                Err(_) => {}
            }
        }
        renamed
    }

    /// Gives a file that was moved out of the way its name again.
    fn bring_back(&self, file: &OpenFile, path: &RemotePath) {
        let Some(refuge) = file.lock().refuge.take() else {
            return;
        };
        // Never over the new file, should that be there nevertheless.
        let is_free = matches!(self.look_now(path), Ok(None));
        if is_free && self.rename_for_sure(&refuge, path).is_ok() {
            if let Some(reader) = &file.lock().reader {
                reader.set_path(path.clone());
            }
        } else {
            log::error!("{path} is now called {refuge} on the server, and could not be moved back");
        }
    }

    fn rename_dir(
        &self,
        source: &RemotePath,
        target: &RemotePath,
        is_replacing: bool,
    ) -> Result<()> {
        match self.rename_for_sure(source, target) {
            Ok(()) if !is_replacing || self.look_now(source)?.is_none() => return Ok(()),
            Ok(()) => log::info!("this server only pretends to rename over {target}"),
            Err(error) if is_replacing && error.kind() == RemoteErrorKind::Refused => {}
            Err(error) => {
                self.forget_if_unknown(&error, &[source, target]);
                return Err(self.explain(error, source, Intent::Rename));
            }
        }
        // The server does not rename over an empty directory; it is known to be empty.
        self.remote
            .remove_dir(target)
            .map_err(|error| self.explain(error, target, Intent::RemoveDir))?;
        self.rename_for_sure(source, target).map_err(|error| {
            // As it was, as far as that is possible.
            if let Err(error) = self.remote.make_dir(target) {
                log::warn!("{target} was empty and is gone: {error}");
            }
            self.forget_name(target);
            self.explain(error, source, Intent::Rename)
        })
    }

    fn rename_here(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        entry: &RemoteEntry,
        source: &RemotePath,
        target: &RemotePath,
    ) {
        self.leave(source);
        if entry.is_dir() {
            self.listings.forget_tree(source);
            self.listings.forget_tree(target);
        }
        let mut entry = entry.clone();
        entry.name = Box::from(to.1);
        self.enter(target, entry);
        self.inodes.rename(from, to);
        for file in self.inodes.files_within(target) {
            let path = self.inodes.path(file.ino);
            if let (Some(path), Some(reader)) = (path, &file.lock().reader) {
                reader.set_path(path);
            }
        }
    }

    /// Puts `source` in the place of `target`: by a rename over it, or, where the server refuses or only pretends that, by moving the
    /// old file aside first. The old bytes are removed only when the new ones are in place.
    pub(super) fn replace_by_rename(
        &self,
        source: &RemotePath,
        target: &RemotePath,
        is_replacing: bool,
    ) -> Result<()> {
        let is_refused = is_replacing && self.learnt.no_rename_over.load(Ordering::Relaxed);
        if !is_refused {
            match self.rename_for_sure(source, target) {
                Ok(()) if !is_replacing || self.look_now(source)?.is_none() => return Ok(()),
                Ok(()) => log::info!("this server only pretends to rename over {target}"),
                // Only a no to the new name can be for the sake of the old file there.
                Err(error) if !error.is_answer() || error.command() != "RNTO" => {
                    self.forget_if_unknown(&error, &[source, target]);
                    return Err(self.explain(error, source, Intent::Rename));
                }
                Err(error) if self.look_now(target)?.is_none() => {
                    return Err(self.explain(error, source, Intent::Rename));
                }
                Err(error) => log::info!("this server does not rename over files: {error}"),
            }
        }
        self.swap_aside(source, target)
    }

    fn swap_aside(&self, source: &RemotePath, target: &RemotePath) -> Result<()> {
        let explain = |error| {
            self.forget_if_unknown(&error, &[source, target]);
            self.explain(error, target, Intent::Rename)
        };
        let dir = target.parent().unwrap_or_else(RemotePath::root);
        let aside = self.move_aside(target, &dir).map_err(explain)?;
        if aside.is_none() && self.look_now(target)?.is_some() {
            return Err(FsError::new(FsErrorKind::AccessDenied, target));
        }
        if let Err(error) = self.rename_for_sure(source, target) {
            if let Some(aside) = &aside
                && let Err(back) = self.rename_for_sure(aside, target)
            {
                log::error!(
                    "{target} is now called {aside} on the server, and could not be moved back: {back}"
                );
            }
            return Err(explain(error));
        }
        let Some(aside) = aside else { return Ok(()) };
        // One refusal may have had a reason of its own.
        if self.renames_refused.fetch_add(1, Ordering::Relaxed) > 0 {
            self.learn(|learnt| &learnt.no_rename_over, true);
        }
        if let Err(error) = self.remote.remove_file(&aside) {
            log::warn!("the old content of {target} stays on the server as {aside}: {error}");
        }
        Ok(())
    }
}
