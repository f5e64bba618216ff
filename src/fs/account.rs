//! What this mount has found that its account may not do, and where others take files away: reasons to use no hidden names.
//!
//! Nothing of this is kept for the next mount: it makes this one more careful at once, and rights change.

use std::{
    collections::HashSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::remote::RemotePath;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Account {
    cannot_rename: AtomicBool,
    cannot_remove: AtomicBool,
    has_removed: AtomicBool,
    /// Directories in which the server takes files away as soon as they are complete.
    watched: Mutex<HashSet<RemotePath>>,
}

impl Account {
    /// Whether a new file of this directory goes up under a hidden name first.
    pub(super) fn hides_new_files(&self, dir: &RemotePath) -> bool {
        self.may_rename() && !self.cannot_remove.load(Ordering::Relaxed) && !self.is_watched(dir)
    }

    /// Whether files may be renamed, as far as is known.
    pub(super) fn may_rename(&self) -> bool {
        !self.cannot_rename.load(Ordering::Relaxed)
    }

    /// Two trials on a file of ours have shown that it may not be renamed.
    pub(super) fn note_no_rename(&self) {
        if !self.cannot_rename.swap(true, Ordering::Relaxed) {
            log::warn!(
                "this account may not rename: new files go up under their own names, and files that exist cannot be replaced"
            );
        }
    }

    /// Whether it has removed a file in this mount, and was refused none of ours.
    pub(super) fn may_remove(&self) -> bool {
        self.has_removed.load(Ordering::Relaxed) && !self.cannot_remove.load(Ordering::Relaxed)
    }

    /// It has removed a file.
    pub(super) fn note_removed(&self) {
        self.has_removed.store(true, Ordering::Relaxed);
    }

    /// A file of ours could not be removed.
    pub(super) fn note_no_removal(&self) {
        if !self.cannot_remove.swap(true, Ordering::Relaxed) {
            log::warn!("this account may not remove files: new ones go up under their own names");
        }
    }

    /// A file of ours was taken away when it was complete.
    pub(super) fn note_taken(&self, dir: &RemotePath) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.insert(dir.clone()) {
            log::info!("{dir}: the server takes files away; new ones go up under their own names");
        }
    }

    fn is_watched(&self, dir: &RemotePath) -> bool {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.contains(dir)
    }
}
