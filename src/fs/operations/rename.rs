//! Renaming, also over what is there, on servers that replace, refuse or only pretend.
//!
//! What is hard here, and what answers it:
//! 1. A server that does not rename over files: the old one is moved aside first, and back when the new one does not arrive.
//! 2. A reply that is lost: [`renaming::surely`] looks where the file is.
//! 3. An upload that runs meanwhile would bring the old name back: the files concerned are [`Held`].
//! 4. Handles of the file that is replaced go on: it is moved to a hidden name, and back when the rename fails.

use std::sync::Arc;

use super::{Filesystem, namespace::check_empty, removed};
use crate::{
    fs::{
        error::{FsError, FsErrorKind, Result},
        file::{Held, OpenFile},
        number::Ino,
        server::{Intent, renaming},
    },
    remote::{EntryKind, RemoteEntry, RemoteErrorKind, RemotePath},
};

/// What renameat2(2) is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// A target is replaced.
    Replace,
    /// A target is an error (`RENAME_NOREPLACE`).
    NoReplace,
}

/// A name in a directory, by the directory's inode.
type Place<'a> = (Ino, &'a [u8]);

impl Filesystem {
    /// Renames, over an existing file or empty directory where there is one.
    pub fn rename(&self, from: Place<'_>, to: Place<'_>, mode: RenameMode) -> Result<()> {
        let source = self.child_path(from.0, from.1)?;
        let target = self.child_path(to.0, to.1)?;
        self.check_writable(Some(&source))?;
        self.check_writable(Some(&target))?;
        let held = hold_for_rename(self, &source, &target)?;
        let not_found = || FsError::new(FsErrorKind::NotFound, &source);
        let entry = self.server.tree().entry(&source)?.ok_or_else(not_found)?;
        if source == target && mode == RenameMode::Replace {
            return Ok(());
        }
        let replaced = check_target(self, &entry, to, &target, mode)?;
        let old_file = held
            .iter()
            .map(Held::file)
            .find(|file| self.inodes.child(to.0, to.1) == Some(file.ino));
        if entry.is_dir() {
            self.engine.forget_trees(&[&source, &target]);
            rename_dir(self, &source, &target, replaced.is_some())?;
        } else {
            // Before, should this be the last that the program does; and after, should a program have read meanwhile.
            self.engine.forget(&source);
            self.engine.forget(&target);
            let renamed = rename_file(
                self,
                &entry,
                (&source, &target),
                replaced.is_some(),
                old_file,
            );
            self.engine.forget(&source);
            self.engine.forget(&target);
            renamed?;
        }
        self.server.check_name(&target, |stored| {
            self.server.remote().rename(stored, &source)
        })?;
        rename_here(self, from, to, &entry, &source, &target);
        if let Some(file) = old_file {
            self.inodes.release_if_done(file);
        }
        Ok(())
    }
}

/// Brings to the server what it lacks of the files to rename (it renames what it has), and keeps further uploads of these and of
/// the file that is replaced away until the names have changed.
fn hold_for_rename(fs: &Filesystem, source: &RemotePath, target: &RemotePath) -> Result<Vec<Held>> {
    loop {
        let mut files = fs.inodes.files_within(source);
        files.retain(|file| !file.lock().name.is_removed());
        for file in &files {
            fs.write_back.upload(file)?;
        }
        let is_source = |file: &OpenFile| files.iter().any(|one| one.ino == file.ino);
        let targets = fs.inodes.files_within(target);
        let mut all: Vec<_> = targets
            .into_iter()
            .filter(|file| !is_source(file))
            .collect();
        all.extend(files.iter().cloned());
        all.sort_by_key(|file| file.ino);
        let held: Vec<Held> = all.iter().map(OpenFile::hold).collect();
        // Its hidden file would be renamed with its directory.
        for held in &held {
            held.file().lock().stop_stream();
        }
        if files.iter().all(|file| !file.lock().needs_upload()) {
            return Ok(held);
        }
        // One was created after the others went up.
    }
}

/// What the target is now, and whether it may be replaced.
fn check_target(
    fs: &Filesystem,
    entry: &RemoteEntry,
    to: Place<'_>,
    target: &RemotePath,
    mode: RenameMode,
) -> Result<Option<Arc<RemoteEntry>>> {
    let ahead = fs
        .inodes
        .file_named(to.0, to.1)
        .filter(|file| file.lock().needs_upload());
    let replaced = match ahead {
        Some(_) => Some(Arc::new(RemoteEntry::new(to.1, EntryKind::File))),
        // Servers replace without asking, so a listing that is some seconds old is not enough.
        None => fs.server.evidence().look(target)?,
    };
    let Some(found) = &replaced else {
        return Ok(None);
    };
    let refusal = match (mode, entry.is_dir(), found.is_dir()) {
        (RenameMode::NoReplace, ..) => Some(FsErrorKind::Exists),
        (_, true, false) => Some(FsErrorKind::NotADirectory),
        (_, false, true) => Some(FsErrorKind::IsADirectory),
        (_, true, true) => {
            check_empty(fs, fs.inodes.child(to.0, to.1), target)?;
            None
        }
        (_, false, false) => None,
    };
    match refusal {
        Some(kind) => Err(FsError::new(kind, target)),
        None => Ok(replaced),
    }
}

/// Renames a file; `old_file` is the open one that it replaces.
fn rename_file(
    fs: &Filesystem,
    entry: &RemoteEntry,
    (source, target): (&RemotePath, &RemotePath),
    is_replacing: bool,
    old_file: Option<&Arc<OpenFile>>,
) -> Result<()> {
    let is_aside = match old_file {
        Some(file) => removed::move_aside(&fs.server, file, target, entry.size)?,
        None => false,
    };
    let is_unborn = old_file.is_some_and(|file| {
        let state = file.lock();
        state.on_server().base().is_none() && state.on_server().doubt().is_none()
    });
    let renamed = renaming::over(
        &fs.server,
        source,
        target,
        is_replacing && !is_aside && !is_unborn,
        entry.size,
    );
    if let Some(file) = old_file {
        match &renamed {
            Ok(()) => {
                removed::lose_name(&fs.server, file);
                removed::leave(&fs.server, file);
            }
            Err(_) if is_aside => removed::bring_back(&fs.server, file, target),
            Err(_) => {}
        }
    }
    renamed
}

fn rename_dir(
    fs: &Filesystem,
    source: &RemotePath,
    target: &RemotePath,
    is_replacing: bool,
) -> Result<()> {
    match renaming::surely(&fs.server, source, target) {
        Ok(()) if !is_replacing || fs.server.evidence().look_now(source)?.is_none() => {
            return Ok(());
        }
        Ok(()) => log::info!("this server only pretends to rename over {target}"),
        Err(error) if is_replacing && error.kind() == RemoteErrorKind::Refused => {}
        Err(error) => {
            fs.server
                .kernel()
                .forget_if_unknown(&error, &[source, target]);
            return Err(fs.server.explain(error, source, Intent::Rename));
        }
    }
    // The server does not rename over an empty directory; it is known to be empty.
    fs.server
        .remote()
        .remove_dir(target)
        .map_err(|error| fs.server.explain(error, target, Intent::RemoveDir))?;
    renaming::surely(&fs.server, source, target).map_err(|error| {
        // As it was, as far as that is possible.
        if let Err(error) = fs.server.remote().make_dir(target) {
            log::warn!("{target} was empty and is gone: {error}");
        }
        fs.server.kernel().forget_name(target);
        fs.server.explain(error, source, Intent::Rename)
    })
}

fn rename_here(
    fs: &Filesystem,
    from: Place<'_>,
    to: Place<'_>,
    entry: &RemoteEntry,
    source: &RemotePath,
    target: &RemotePath,
) {
    fs.server.tree().leave(source);
    if entry.is_dir() {
        fs.server.tree().listings().forget_tree(source);
        fs.server.tree().listings().forget_tree(target);
    }
    let mut entry = entry.clone();
    entry.name = Box::from(to.1);
    fs.server.tree().enter(target, entry);
    fs.inodes.rename(from, to);
    for file in fs.inodes.files_within(target) {
        let path = fs.inodes.path(file.ino);
        if let (Some(path), Some(reader)) = (path, file.lock().reader()) {
            reader.set_path(path);
        }
    }
}
