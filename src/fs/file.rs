//! One file that is open, or whose bytes are not on the server yet: what all its handles share.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::{
    job::{UploadEnd, UploadJob},
    number::Ino,
    state::{Busy, FileState},
};

/// Shared by the handles of one inode. The state's lock is never held across the network.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) ino: Ino,
    state: Mutex<FileState>,
    /// The file is not busy any more.
    idle: Condvar,
}

/// Keeps uploads of a file away while its name changes: one that began meanwhile would bring the old name back. Several
/// are taken in the order of their inodes, so that two renames cannot wait for each other; no upload takes one.
#[derive(Debug)]
pub(crate) struct Held {
    file: Arc<OpenFile>,
}

impl Held {
    pub(crate) fn file(&self) -> &Arc<OpenFile> {
        &self.file
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.file.lock().set_busy(Busy::No);
        self.file.idle.notify_all();
    }
}

impl OpenFile {
    pub(crate) fn new(ino: Ino, now: SystemTime) -> Self {
        Self {
            ino,
            state: Mutex::new(FileState::new(now)),
            idle: Condvar::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an upload that runs, then takes out what is to be uploaded; `None` when the server has all.
    /// The caller ends it with [`Self::end_upload`].
    pub(crate) fn begin_upload(&self) -> Option<UploadJob> {
        let mut state = self.wait_for_upload();
        state.needs_upload().then(|| state.begin_upload())
    }

    /// The upload is over.
    pub(crate) fn end_upload(&self, job: &UploadJob, end: UploadEnd) {
        self.lock().end_upload(job, end);
        self.idle.notify_all();
    }

    /// Keeps uploads away until the guard is dropped; waits for one that runs.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        self.wait_for_upload().set_busy(Busy::Held);
        Held { file: self.clone() }
    }

    /// Waits until no upload runs and the name does not change.
    pub(crate) fn wait_for_upload(&self) -> MutexGuard<'_, FileState> {
        let mut state = self.lock();
        // Both end by themselves: each of their waits has a deadline.
        while state.is_busy() {
            state = self
                .idle
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}
