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
        server::{
            Intent,
            change::{Again, has_left, is_respelled},
            renaming,
        },
    },
    remote::{Evidence, RemoteEntry, RemoteError, RemoteErrorKind, RemotePath, Want},
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
        let target_seen = check_target(self, &entry, &source, to, &target, mode)?;
        let old_file = held
            .iter()
            .map(Held::file)
            .find(|file| self.inodes.child(to.0, to.1) == Some(file.ino));
        let debts = self.server.hidden().debts();
        let moving = entry.is_dir().then(|| debts.moving(&source));
        if entry.is_dir() {
            self.engine.forget_trees(&[&source, &target]);
            rename_dir(self, &source, &target_seen)?;
        } else {
            // Before, should this be the last that the program does; and after, should a program have read meanwhile.
            self.engine.forget(&source);
            self.engine.forget(&target);
            let want = match mode {
                RenameMode::Replace => Want::AnyFile,
                RenameMode::NoReplace => Want::Absent,
            };
            let renamed = rename_file(self, (&source, entry.size), &target_seen, want, old_file);
            self.engine.forget(&source);
            self.engine.forget(&target);
            renamed?;
        }
        self.server.check_name(&target, |stored| {
            let back = renaming::put(&self.server, stored.path(), &source);
            back.map_err(|error| {
                RemoteError::new(RemoteErrorKind::Failed, "RNTO").with_source(error.to_string())
            })
        })?;
        rename_here(self, from, to, &entry, &source, &target);
        drop(moving);
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
            // A program waits for this one.
            file.lock().failure.unhold_full();
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
    source: &RemotePath,
    to: Place<'_>,
    target: &RemotePath,
    mode: RenameMode,
) -> Result<Evidence> {
    let ahead = fs
        .inodes
        .file_named(to.0, to.1)
        .filter(|file| file.lock().needs_upload());
    // Servers replace without asking, so a listing that is some seconds old is not enough.
    let seen = if is_respelled(source, target) {
        fs.server.evidence().look_spelled(target)?
    } else {
        fs.server.evidence().look(target)?
    };
    let found = match seen.entry() {
        Some(found) => Some(found.is_dir()),
        // What this mount has not sent yet.
        None => ahead.map(|_| false),
    };
    let refusal = match (mode, entry.is_dir(), found) {
        (.., None) | (RenameMode::Replace, false, Some(false)) => return Ok(seen),
        (RenameMode::NoReplace, ..) => FsErrorKind::Exists,
        (RenameMode::Replace, true, Some(false)) => FsErrorKind::NotADirectory,
        (RenameMode::Replace, false, Some(true)) => FsErrorKind::IsADirectory,
        (RenameMode::Replace, true, Some(true)) => {
            return check_empty(fs, fs.inodes.child(to.0, to.1), target);
        }
    };
    Err(FsError::new(refusal, target))
}

/// Renames a file; `old_file` is the open one that it replaces.
fn rename_file(
    fs: &Filesystem,
    (source, size): (&RemotePath, Option<u64>),
    target_seen: &Evidence,
    want: Want,
    old_file: Option<&Arc<OpenFile>>,
) -> Result<()> {
    let target = target_seen.path();
    let is_aside = match old_file {
        Some(file) => removed::move_aside(&fs.server, file, target, size)?,
        None => false,
    };
    let renamed = if is_aside {
        renaming::put(&fs.server, source, target)
    } else {
        renaming::over(&fs.server, source, target_seen, want, size)
    };
    if renamed.is_ok() && !target_seen.is_absent() && !is_aside {
        fs.server.room().note_freed();
    }
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

fn rename_dir(fs: &Filesystem, source: &RemotePath, target_seen: &Evidence) -> Result<()> {
    let target = target_seen.path();
    let is_replacing = !target_seen.is_absent();
    let look = |again| {
        let seen = match again {
            Again::No => target_seen.clone(),
            Again::Expired | Again::Unheard if is_replacing => fs.server.look_empty(target)?,
            Again::Expired | Again::Unheard => fs.server.evidence().look_now(target)?,
        };
        let want = if is_replacing {
            Want::EmptyDir
        } else {
            Want::Absent
        };
        seen.permit(want)
            .map_err(|_| FsError::new(FsErrorKind::Exists, target))
    };
    match renaming::surely(&fs.server, source, target, look)? {
        Ok(seen) if has_left(&fs.server, source, target, is_replacing, seen.as_ref())? => {
            return Ok(());
        }
        // Others have taken the name in this moment.
        Ok(_) if !is_replacing => return Err(FsError::new(FsErrorKind::Exists, target)),
        Ok(_) => {}
        Err(error) if is_replacing && error.kind() == RemoteErrorKind::Refused => {}
        Err(error) => {
            fs.server
                .kernel()
                .forget_if_unknown(&error, &[source, target]);
            return Err(fs.server.explain(error, source, Intent::Rename));
        }
    }
    // The server does not rename over an empty directory; it is known to be empty.
    fs.server.remove_dir(target)?;
    renaming::put(&fs.server, source, target).inspect_err(|_| {
        // As it was, as far as that is possible.
        if let Err(error) = fs.server.make_dir(target) {
            log::warn!("{target} was empty and is gone: {error}");
        }
        fs.server.kernel().forget_name(target);
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
        fs.server.hidden().debts().follow(source, target);
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
